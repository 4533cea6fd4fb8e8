//! When a resource is looked after, as it is written.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::desired::field::Field;

/// A window that comes back every week.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["start", "for"]))]
pub struct WindowDocument {
    /// `allow` (the default): what is in use is replaced only while such a window is open. `deny`: not while this one is
    /// open.
    pub rule: Field<RuleDocument>,
    /// The days on which it begins. Default: every day.
    pub days: Field<Vec<Field<DayDocument>>>,
    /// The time of day at which it begins, such as `02:30`.
    pub start: Field<String>,
    /// How long it stays open, at least a minute and at most 7 days, such as `3h`.
    #[serde(rename = "for")]
    pub open: Field<String>,
    /// The zone of its days and time: a name such as `Europe/Berlin`, or a POSIX rule such as
    /// `CET-1CEST,M3.5.0,M10.5.0/3`. Default: that of the host.
    pub zone: Field<String>,
}

/// What a window does.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RuleDocument {
    /// Replacing is allowed while it is open.
    Allow,
    /// Replacing is not allowed while it is open.
    Deny,
}

/// A day of the week.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the days of the week")]
pub enum DayDocument {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}
