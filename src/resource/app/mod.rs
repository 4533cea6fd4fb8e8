//! Apps: release directories and a `bin` directory of links.

pub mod spec;
