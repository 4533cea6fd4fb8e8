//! The other side: makes what sources read.

pub mod tree;
