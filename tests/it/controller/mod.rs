//! The loop: its decisions with a clock of the tests' own, and the real program.

mod config;
mod machine;
mod meanwhile;
mod run;
mod unwished;
mod watch;
mod window;
