//! Keeps the software a Linux host runs outside its package manager equal to a desired state.

pub mod model;
pub mod format;
pub mod trust;
pub mod source;
pub mod resource;
pub mod resolve;
