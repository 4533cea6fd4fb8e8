//! Times and lengths of time as they are typed.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// A point in time, or a date that means its first moment in UTC.
pub(super) fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(moment);
    }
    let date = text.parse::<Date>().ok().and_then(|date| date.to_zoned(TimeZone::UTC).ok());
    date.map(|zoned| zoned.timestamp()).ok_or_else(|| {
        "write a date such as `2026-12-24`, or a time such as `2026-12-24T18:00:00Z`".to_owned()
    })
}

/// When something ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Then.
    Moment(Timestamp),
    /// So long from now.
    Length(SignedDuration),
}

impl Until {
    /// The point in time; the last one there is where the length leads beyond it.
    pub fn from(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Moment(moment) => moment,
            Self::Length(length) => now.saturating_add(length).unwrap_or(Timestamp::MAX),
        }
    }
}

/// A point in time, or a length of time from now such as `2h`.
pub(super) fn until(text: &str) -> Result<Until, String> {
    let by_length =
        || length(text).ok().filter(|_| text.parse::<u32>().is_err()).map(Until::Length);
    moment(text)
        .map(Until::Moment)
        .or_else(|why| by_length().ok_or(format!("{why}, or a length of time such as `2h`")))
}

/// A length of time such as `90s` or `15m`, or a number of seconds.
pub(super) fn length(text: &str) -> Result<SignedDuration, String> {
    if let Ok(seconds) = text.parse::<u32>() {
        return Ok(SignedDuration::from_secs(seconds.into()));
    }
    let length = text.parse::<SignedDuration>().ok().filter(|length| !length.is_negative());
    length.ok_or_else(|| "write a length of time such as `90s` or `15m`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_count_from_now() {
        let now: Timestamp = "2026-12-01T00:00:00Z".parse().unwrap_or_default();
        let then = |text| until(text).map(|until| until.from(now).to_string());
        assert_eq!(then("2h").as_deref(), Ok("2026-12-01T02:00:00Z"));
        assert_eq!(then("2026-12-24").as_deref(), Ok("2026-12-24T00:00:00Z"));
        for bad in ["", "5", "-2h", "tomorrow"] {
            assert!(then(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn dates_and_bare_seconds_are_understood() {
        assert_eq!(moment("2027-01-01"), moment("2027-01-01T00:00:00Z"));
        assert_eq!(length("5"), length("5s"));
        assert_eq!(length("2m").map(|length| length.as_secs()), Ok(120));
        for bad in ["", "tomorrow", "-5", "-5s", "5 apples"] {
            assert!(moment(bad).is_err() && length(bad).is_err(), "{bad}");
        }
    }
}
