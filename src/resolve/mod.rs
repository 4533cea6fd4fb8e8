//! What could be installed: the choice of a release and of one of its files.

pub mod asset;
pub mod policy;
