//! Keeps the software a Linux host runs outside its package manager equal to a desired state.
//!
//! The program is the product. The library is there for it, for tests and for benches; it promises no stable interface.

pub mod model;
pub mod parallel;
pub mod host;
pub mod format;
pub mod trust;
pub mod fetch;
pub mod unpack;
pub mod assemble;
pub mod source;
pub mod resource;
pub mod repository;
pub mod desired;
pub mod observe;
pub mod resolve;
pub mod plan;
pub mod provider;
pub mod publish;
pub mod record;
pub mod apply;
pub mod status;
pub mod units;
pub mod reconcile;
pub mod monitor;
pub mod controller;
pub mod cli;
