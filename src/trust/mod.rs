//! What makes bytes acceptable: the only maker of `Verified`.

pub mod policy;
