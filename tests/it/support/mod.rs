//! Worlds that tests set up for themselves.

pub mod casync;
pub mod duo;
pub mod github;
#[cfg(feature = "interop")]
pub mod gpg;
pub mod offer;
#[cfg(feature = "git")]
pub mod repository;
pub mod server;
#[cfg(feature = "git")]
pub mod smart;
#[cfg(target_arch = "x86_64")]
pub mod trace;
pub mod tree;
pub mod wish;
pub mod world;
