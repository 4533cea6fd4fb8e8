//! The service under a real systemd: installed from its package, followed through crashes and reboots.
//!
//! Each test boots a machine of its own (`tests/booted/boot.sh`). What is configured there is what the README
//! says; a drop-in only makes the waits of the unit shorter.
#![cfg(feature = "interop")]

mod extension;
mod fleet;
mod machine;
mod package;
mod renewal;
mod service;
mod timer;
