//! Maintenance windows as they are written, in the agent's configuration and in a desired state alike.

use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::model::span::Span;
use crate::model::window::{OPEN_MAX, OPEN_MIN, Rule, Window, time_of_day, zone};

/// A window that comes back every week.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Window")]
pub struct WindowDocument {
    /// `allow` (the default): what is in use is replaced only while such a window is open. `deny`: not while
    /// this one is open.
    #[serde(default)]
    pub rule: RuleDocument,
    /// The days on which it begins. Default: every day.
    #[serde(default)]
    pub days: Vec<Day>,
    /// The time of day at which it begins, such as `02:30`.
    pub start: Clock,
    /// How long it stays open, at least a minute and at most 7 days, such as `3h`. Set clocks change nothing
    /// about that.
    #[serde(rename = "for")]
    pub open: Open,
    /// The zone of its days and time: a name such as `Europe/Berlin`, or a POSIX rule such as
    /// `CET-1CEST,M3.5.0,M10.5.0/3`. Default: that of the host.
    #[serde(default)]
    pub zone: Zone,
}

/// How long a window stays open.
pub type Open = Span<{ OPEN_MIN.as_secs() }, { OPEN_MAX.as_secs() }, { OPEN_MIN.as_secs() }>;

impl WindowDocument {
    /// What it says, on this host.
    pub fn window(&self) -> Window {
        let rule = match self.rule {
            RuleDocument::Allow => Rule::Allow,
            RuleDocument::Deny => Rule::Deny,
        };
        let days = self.days.iter().map(|day| Weekday::from(*day)).collect();
        let zone = self.zone.0.clone().unwrap_or_else(TimeZone::system);
        Window { rule, days, start: self.start.0, open: self.open.0, zone }
    }
}

/// What a window does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "Rule")]
pub enum RuleDocument {
    /// Replacing is allowed while it is open.
    #[default]
    Allow,
    /// Replacing is not allowed while it is open.
    Deny,
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the days of the week")]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl From<Day> for Weekday {
    fn from(day: Day) -> Self {
        match day {
            Day::Mon => Self::Monday,
            Day::Tue => Self::Tuesday,
            Day::Wed => Self::Wednesday,
            Day::Thu => Self::Thursday,
            Day::Fri => Self::Friday,
            Day::Sat => Self::Saturday,
            Day::Sun => Self::Sunday,
        }
    }
}

/// A time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock(pub Time);

impl<'de> Deserialize<'de> for Clock {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        time_of_day(&text).map(Self).map_err(D::Error::custom)
    }
}

impl JsonSchema for Clock {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Clock".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-2][0-9]:[0-5][0-9]$" })
    }
}

/// A time zone; `None` is the host's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zone(pub Option<TimeZone>);

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        zone(&text).map(|zone| Self(Some(zone))).map_err(D::Error::custom)
    }
}

impl JsonSchema for Zone {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Zone".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": 1 })
    }
}
