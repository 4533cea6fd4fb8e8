//! The loop around the pass: when passes are made, of what, and what they leave for later.
//!
//! Decisions are pure and have no clock: [`machine`] turns what is heard into passes, with [`queue`] (triggers
//! coalesce), [`schedule`] (a host's own slot), [`backoff`], [`verdict`] (what failed for good and what may work
//! the next time), [windows](crate::model::window) and [`fight`] (corrections that somebody keeps undoing). [`config`] is what an
//! operator may say about all that.
//!
//! [`drive`] is where they meet the world: the clock, the files ([`watch`]), operators ([`control`]) and systemd
//! ([`notify`], [`told`]). What a pass is, it does not know: it is given [`drive::Hands`], and tells [`drive::Observer`]s.

pub mod backoff;
pub mod config;
pub mod control;
pub mod drive;
pub mod fight;
pub mod machine;
pub mod notify;
pub mod queue;
pub mod schedule;
pub mod told;
pub mod verdict;
pub mod watch;
