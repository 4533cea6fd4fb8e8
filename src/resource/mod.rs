//! The kinds of thing that can be managed.

pub mod app;
