//! Trees: directories kept equal to a casync chunk store.
//!
//! A tree is replaced as a whole: a new generation is assembled beside it, then both are exchanged by one
//! rename. Which generation is in use is told by the inode of the directory at the path, so no record can
//! disagree with the host.

pub mod contents;
pub mod layout;
pub mod observe;
pub mod plan;
pub mod remove;
pub mod spec;
pub mod wanted;
mod back;
mod drift;
mod effects;
mod explain;
mod health;
mod keep;
mod retain;

use camino::Utf8Path;

pub use observe::TreeObserved;
pub use spec::TreeSpec;

/// What an operator should know about the tree at a path, in every pass.
pub fn note(path: &Utf8Path, observed: &TreeObserved) -> Option<String> {
    keep::note(&layout::Layout::new(path), observed)
}
