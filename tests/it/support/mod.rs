//! Worlds that tests set up for themselves.

pub mod github;
pub mod offer;
pub mod server;
pub mod tree;
pub mod world;
