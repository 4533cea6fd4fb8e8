//! The one integration-test binary: every test is a module of it.
#![expect(missing_docs, reason = "tests are named as statements")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::print_stdout,
    unreachable_pub,
    reason = "tests fail by panicking and set up their own worlds"
)]

mod documents;
mod schema;
mod import;
