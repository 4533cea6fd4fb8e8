//! The `reconcile` program.

fn main() {}
