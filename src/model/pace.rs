//! When one resource is looked after, as far as that differs from what the agent does for all.

use jiff::SignedDuration;

use crate::model::window::Windows;

/// The shortest time after which a source may be asked again.
pub const EVERY_MIN: SignedDuration = SignedDuration::from_secs(1);

/// The longest.
pub const EVERY_MAX: SignedDuration = SignedDuration::from_hours(7 * 24);

/// The part of a time by which an answer may be too young and counts as due all the same: passes do not begin at the very
/// moment, and an answer that is a millisecond too young must not wait for another pass.
const SLACK: i32 = 20;

/// A rhythm of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// How often its source is asked, instead of as often as the agent asks sources.
    pub every: Option<SignedDuration>,
    /// When what is in use may be replaced; see [`Windows::with_own`].
    pub windows: Windows,
}

/// How old an answer may be to be used without asking, where a source is asked `every` so often.
pub fn age_max(every: SignedDuration) -> SignedDuration {
    every - every / SLACK
}
