//! Where releases come from: one file for each kind of source.

pub mod spec;
