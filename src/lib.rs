//! Keeps the software a Linux host runs outside its package manager equal to a desired state.

pub mod format;
pub mod model;
pub mod trust;
pub mod unpack;
pub mod source;
pub mod resource;
