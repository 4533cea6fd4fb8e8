//! Maintenance windows: when what is in use may be replaced.
//!
//! A window opens on some days of the week at a time of day of its own zone and stays open for a while.
//! The time of day follows the clock on the wall, the length does not: on the day on which clocks are set
//! forward a time that does not exist opens as much later, and on the day on which they are set back a
//! time that exists twice opens once, at its first. Every day has its one window, of its full length.

pub mod document;

use std::collections::BTreeMap;

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

/// Longest time that one window may stay open.
pub const OPEN_MAX: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Shortest.
pub const OPEN_MIN: SignedDuration = SignedDuration::from_mins(1);

/// How far ahead an opening is looked for: every weekly pattern repeats within it, long windows included.
const AHEAD_DAYS: i64 = 15;

/// Up to when every window that is open is known: a day less, for zones.
const KNOWN: SignedDuration = SignedDuration::from_hours((AHEAD_DAYS - 1) * 24);

/// How far back a window may have begun that is open still: [`OPEN_MAX`] and a day for zones.
const BACK_DAYS: i64 = 8;

/// Why nothing in use may be replaced now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Why.
    pub why: String,
    /// When it may, as far as that can be told.
    pub until: Option<Timestamp>,
}

/// Whether what is in use may be replaced at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gate {
    /// It may.
    Open {
        /// When it may no more, where that is ever.
        until: Option<Timestamp>,
    },
    /// It may not.
    Closed(Closed),
}

impl Gate {
    /// That of a host without any windows.
    pub const ALWAYS: Self = Self::Open { until: None };

    /// Why it is closed, if it is.
    pub fn closed(&self) -> Option<&Closed> {
        match self {
            Self::Open { .. } => None,
            Self::Closed(closed) => Some(closed),
        }
    }
}

/// What a window does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Replacing is allowed while it is open, and outside of every such window it is not.
    Allow,
    /// Replacing is not allowed while it is open, whatever others allow.
    Deny,
}

/// A window that comes back every week.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// What it does.
    pub rule: Rule,
    /// On which days it begins; every day when empty.
    pub days: Vec<Weekday>,
    /// At what time of day it begins.
    pub start: Time,
    /// How long it stays open, at most [`OPEN_MAX`].
    pub open: SignedDuration,
    /// The zone of its days and time.
    pub zone: TimeZone,
}

impl Window {
    /// When it begins on a date of its zone.
    fn begins(&self, date: Date) -> Option<Timestamp> {
        if !self.days.is_empty() && !self.days.contains(&date.weekday()) {
            return None;
        }
        // "Compatible": what a gap skips comes as much later, what a fold repeats comes at its first.
        let zoned = self.zone.to_ambiguous_zoned(date.to_datetime(self.start)).compatible();
        zoned.ok().map(|zoned| zoned.timestamp())
    }

    /// Its occurrences around a moment, in order.
    fn around(&self, now: Timestamp) -> Vec<(Timestamp, Timestamp)> {
        let today = self.zone.to_datetime(now).date();
        let dates =
            (-BACK_DAYS..=AHEAD_DAYS).filter_map(|days| today.checked_add(days.days()).ok());
        let begins = dates.filter_map(|date| self.begins(date));
        begins.filter_map(|from| Some((from, from.checked_add(self.open).ok()?))).collect()
    }
}

/// All windows, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Windows(pub BTreeMap<String, Window>);

impl Windows {
    /// Why nothing may be replaced at a moment, and until when; `None` when it may.
    pub fn closed(&self, now: Timestamp) -> Option<Closed> {
        match self.gate(now) {
            Gate::Open { .. } => None,
            Gate::Closed(closed) => Some(closed),
        }
    }

    /// Whether what is in use may be replaced at a moment, and until when that is so.
    pub fn gate(&self, now: Timestamp) -> Gate {
        let occurrences: Vec<Occurrence<'_>> = self.occurrences(now);
        let why = self.why_closed(&occurrences, now);
        let mut turns: Vec<Timestamp> = occurrences.iter().flat_map(|o| [o.from, o.to]).collect();
        turns.retain(|turn| *turn > now && turn.duration_since(now) <= KNOWN);
        turns.sort_unstable();
        let until = turns
            .into_iter()
            .find(|turn| self.why_closed(&occurrences, *turn).is_some() != why.is_some());
        match why {
            Some(why) => Gate::Closed(Closed { why, until }),
            None => Gate::Open { until },
        }
    }

    /// The windows that a resource goes by which has some of its own: whatever forbids here forbids there; what is allowed
    /// here is allowed there unless it says itself when it is.
    #[must_use]
    pub fn with_own(&self, own: &Self) -> Self {
        let allows = own.0.values().any(|window| window.rule == Rule::Allow);
        let kept = self.0.iter().filter(|(_, window)| window.rule == Rule::Deny || !allows);
        let mut all: BTreeMap<_, _> = kept.map(|(name, w)| (name.clone(), w.clone())).collect();
        for (name, window) in &own.0 {
            let name =
                if all.contains_key(name) { format!("{name} of its own") } else { name.clone() };
            all.insert(name, window.clone());
        }
        Self(all)
    }

    fn occurrences(&self, now: Timestamp) -> Vec<Occurrence<'_>> {
        let windows = self.0.iter();
        let occurrences = windows.flat_map(|(name, window)| {
            let around = window.around(now).into_iter();
            around.map(move |(from, to)| Occurrence { name, rule: window.rule, from, to })
        });
        occurrences.collect()
    }

    fn why_closed(&self, occurrences: &[Occurrence<'_>], now: Timestamp) -> Option<String> {
        let open = |rule| {
            let mut of_rule = occurrences.iter().filter(move |o| o.rule == rule);
            of_rule.find(|o| o.from <= now && now < o.to)
        };
        if let Some(denied) = open(Rule::Deny) {
            return Some(format!("the window `{}` forbids it", denied.name));
        }
        let allows = || self.0.iter().filter(|(_, window)| window.rule == Rule::Allow);
        if allows().next().is_none() || open(Rule::Allow).is_some() {
            return None;
        }
        let names: Vec<String> = allows().map(|(name, _)| format!("`{name}`")).collect();
        Some(format!("outside the maintenance window {}", names.join(", ")))
    }
}

/// One opening of a window.
#[derive(Clone, Copy, Debug)]
struct Occurrence<'a> {
    name: &'a str,
    rule: Rule,
    from: Timestamp,
    to: Timestamp,
}

/// A time of day such as `02:30`.
pub fn time_of_day(text: &str) -> Result<Time, String> {
    let parts = text.split_once(':').filter(|_| text.len() == 5);
    let time = parts.and_then(|(hours, minutes)| {
        Time::new(hours.parse().ok()?, minutes.parse().ok()?, 0, 0).ok()
    });
    time.ok_or_else(|| format!("`{text}` is no time of day; write one such as `02:30`"))
}

/// A time zone by its name or by a POSIX rule.
pub fn zone(text: &str) -> Result<TimeZone, String> {
    TimeZone::get(text).or_else(|_| TimeZone::posix(text)).map_err(|_| {
        format!("`{text}` is no time zone of this host; check the name, or install tzdata")
    })
}
