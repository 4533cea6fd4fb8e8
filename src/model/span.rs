//! Spans of time as people write them: `90s`, `5m`, `1h 30m`.

use std::str::FromStr;

use jiff::{SignedDuration, SpanRelativeTo};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// A time span of at least `MIN` and at most `MAX` seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span<const MIN: i64, const MAX: i64, const DEFAULT: i64>(pub SignedDuration);

impl<const MIN: i64, const MAX: i64, const DEFAULT: i64> Default for Span<MIN, MAX, DEFAULT> {
    fn default() -> Self {
        Self(SignedDuration::from_secs(DEFAULT))
    }
}

impl<'de, const MIN: i64, const MAX: i64, const DEFAULT: i64> Deserialize<'de>
    for Span<MIN, MAX, DEFAULT>
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl<const MIN: i64, const MAX: i64, const DEFAULT: i64> FromStr for Span<MIN, MAX, DEFAULT> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // A day is 24 hours here: only windows follow the clock on the wall.
        let parsed = text.parse::<jiff::Span>().ok();
        let span =
            parsed.and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()).ok());
        let span = span.ok_or_else(|| {
            format!("`{text}` is no time span; write one such as `90s` or `1h 30m`")
        })?;
        let (min, max) = (SignedDuration::from_secs(MIN), SignedDuration::from_secs(MAX));
        if span < min || span > max {
            return Err(format!("`{text}` is out of bounds: at least {min:#} and at most {max:#}"));
        }
        Ok(Self(span))
    }
}

impl<const MIN: i64, const MAX: i64, const DEFAULT: i64> JsonSchema for Span<MIN, MAX, DEFAULT> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": 2 })
    }
}
