//! Worlds that tests set up for themselves.

pub mod github;
pub mod server;
