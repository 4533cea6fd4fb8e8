//! Keeps the software a Linux host runs outside its package manager equal to a desired state.

pub mod format;
pub mod model;
pub mod host;
pub mod trust;
pub mod unpack;
pub mod source;
pub mod resource;
pub mod desired;
pub mod observe;
pub mod plan;
pub mod record;
pub mod status;
