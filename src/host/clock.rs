//! The wall clock, read once per pass.

use jiff::Timestamp;

/// The time now. Everything after this call works with the value it was given.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
pub fn now() -> Timestamp {
    Timestamp::now()
}
