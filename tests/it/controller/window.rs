//! Maintenance windows, over both days on which clocks are set.

use std::collections::BTreeMap;

use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use reconcile::model::window::{Gate, Rule, Window, Windows};

/// As in Berlin since 1996, written so that no zone database is needed.
fn berlin() -> TimeZone {
    TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn window(start: (i8, i8), minutes: i64) -> Window {
    Window {
        rule: Rule::Allow,
        days: Vec::new(),
        start: Time::constant(start.0, start.1, 0, 0),
        open: SignedDuration::from_mins(minutes),
        zone: berlin(),
    }
}

fn windows(list: &[(&str, Window)]) -> Windows {
    let list = list.iter().map(|(name, window)| ((*name).to_owned(), window.clone()));
    Windows(list.collect::<BTreeMap<_, _>>())
}

/// Whether it is open at a time, and when it opens if not.
#[track_caller]
fn check(windows: &Windows, now: &str, opens: Option<&str>) {
    let closed = windows.closed(at(now));
    assert_eq!(closed.map(|closed| closed.until), opens.map(|time| Some(at(time))), "at {now}");
}

#[test]
fn without_windows_everything_is_allowed() {
    assert_eq!(Windows::default().closed(at("2026-03-29T00:00:00Z")), None);
}

#[test]
fn window_is_open_from_its_start_to_its_end() {
    let nights = windows(&[("nights", window((2, 0), 120))]);
    check(&nights, "2026-01-10T00:59:59Z", Some("2026-01-10T01:00:00Z"));
    check(&nights, "2026-01-10T01:00:00Z", None);
    check(&nights, "2026-01-10T02:59:59Z", None);
    check(&nights, "2026-01-10T03:00:00Z", Some("2026-01-11T01:00:00Z"));
}

#[test]
fn open_window_says_when_it_closes_and_windows_that_meet_close_together() {
    let closes = |list: &[(&str, Window)], now: &str| windows(list).gate(at(now));
    let until = |time: &str| Gate::Open { until: Some(at(time)) };
    let (two, four) = (("two", window((2, 0), 120)), ("four", window((4, 0), 60)));
    assert_eq!(
        closes(std::slice::from_ref(&two), "2026-01-10T02:00:00Z"),
        until("2026-01-10T03:00:00Z")
    );
    assert_eq!(closes(&[two.clone(), four], "2026-01-10T02:00:00Z"), until("2026-01-10T04:00:00Z"));
    let deny = Window { rule: Rule::Deny, ..window((3, 30), 10) };
    let denied = closes(&[two, ("backup", deny)], "2026-01-10T02:00:00Z");
    assert_eq!(denied, until("2026-01-10T02:30:00Z"));
    assert_eq!(Windows::default().gate(at("2026-01-10T02:00:00Z")), Gate::ALWAYS);
}

#[test]
fn time_that_does_not_exist_opens_later_and_for_its_full_length() {
    // On 2026-03-29 the clock goes from 02:00 to 03:00: 02:30 is 03:30, which is 01:30 UTC.
    let nights = windows(&[("nights", window((2, 30), 60))]);
    check(&nights, "2026-03-28T23:00:00Z", Some("2026-03-29T01:30:00Z"));
    check(&nights, "2026-03-29T01:29:59Z", Some("2026-03-29T01:30:00Z"));
    check(&nights, "2026-03-29T01:30:00Z", None);
    check(&nights, "2026-03-29T02:29:59Z", None);
    check(&nights, "2026-03-29T02:30:00Z", Some("2026-03-30T00:30:00Z"));
}

#[test]
fn time_that_exists_twice_opens_once() {
    // On 2026-10-25 02:30 comes at 00:30 UTC and again at 01:30 UTC.
    let nights = windows(&[("nights", window((2, 30), 45))]);
    check(&nights, "2026-10-25T00:29:00Z", Some("2026-10-25T00:30:00Z"));
    check(&nights, "2026-10-25T00:30:00Z", None);
    check(&nights, "2026-10-25T01:14:59Z", None);
    check(&nights, "2026-10-25T01:15:00Z", Some("2026-10-26T01:30:00Z"));
    check(&nights, "2026-10-25T01:40:00Z", Some("2026-10-26T01:30:00Z"));
}

#[test]
fn window_over_a_change_of_clocks_keeps_its_length() {
    let long = windows(&[("long", window((22, 0), 8 * 60))]);
    check(&long, "2026-03-29T04:59:59Z", None);
    check(&long, "2026-03-29T05:00:00Z", Some("2026-03-29T20:00:00Z"));
    check(&long, "2026-10-25T03:59:59Z", None);
    check(&long, "2026-10-25T04:00:00Z", Some("2026-10-25T21:00:00Z"));
}

#[test]
fn days_are_those_of_the_windows_own_zone() {
    let friday = Window { days: vec![Weekday::Friday], ..window((0, 30), 60) };
    let friday = windows(&[("friday", friday)]);
    // 00:30 on Friday in Berlin is Thursday evening in UTC.
    check(&friday, "2026-01-08T23:30:00Z", None);
    check(&friday, "2026-01-09T00:30:00Z", Some("2026-01-15T23:30:00Z"));
}

#[test]
fn denial_is_stronger_than_permission() {
    let deny = Window { rule: Rule::Deny, ..window((3, 0), 60) };
    let both = windows(&[("backup", deny.clone()), ("nights", window((2, 0), 180))]);
    check(&both, "2026-01-10T01:30:00Z", None);
    check(&both, "2026-01-10T02:00:00Z", Some("2026-01-10T03:00:00Z"));
    assert!(both.closed(at("2026-01-10T02:00:00Z")).unwrap().why.contains("`backup`"));
    check(&both, "2026-01-10T03:00:00Z", None);
    let only_denied = windows(&[("backup", deny)]);
    check(&only_denied, "2026-01-10T12:00:00Z", None);
    check(&only_denied, "2026-01-10T02:30:00Z", Some("2026-01-10T03:00:00Z"));
}

#[test]
fn window_that_is_always_denied_has_no_opening() {
    let never = Window { rule: Rule::Deny, ..window((0, 0), 24 * 60 + 60) };
    let closed = windows(&[("never", never)]).closed(at("2026-05-01T00:00:00Z")).unwrap();
    assert_eq!(closed.until, None);
}

fn any_window() -> impl Strategy<Value = Window> {
    let days = proptest::sample::subsequence(
        vec![Weekday::Monday, Weekday::Wednesday, Weekday::Saturday, Weekday::Sunday],
        0..=4,
    );
    (any::<bool>(), days, 0..24_i8, 0..60_i8, 1..3000_i64).prop_map(
        |(allow, days, hours, minutes, open)| Window {
            rule: if allow { Rule::Allow } else { Rule::Deny },
            days,
            ..window((hours, minutes), open)
        },
    )
}

proptest! {
    #[test]
    fn opening_that_is_promised_is_the_first_one(
        list in proptest::collection::vec(any_window(), 1..4),
        minutes in 0..(500 * 24 * 60_i64),
    ) {
        let named = list.into_iter().enumerate().map(|(n, window)| (n.to_string(), window));
        let windows = Windows(named.collect());
        let now = at("2026-01-01T00:00:00Z") + SignedDuration::from_mins(minutes);
        if let Some(until) = windows.closed(now).and_then(|closed| closed.until) {
            prop_assert!(until > now);
            prop_assert_eq!(windows.closed(until), None);
            let before = until - SignedDuration::from_secs(1);
            prop_assert!(before < now || windows.closed(before).is_some());
            let halfway = now + (until.duration_since(now) / 2);
            prop_assert!(windows.closed(halfway).is_some());
        }
    }

    #[test]
    fn every_day_has_one_window_of_full_length(day in 0..730_i64, hour in 0..24_i8, minute in 0..60_i8) {
        let open = 37;
        let window = windows(&[("w", window((hour, minute), open))]);
        let noon = at("2026-01-01T12:00:00Z") + SignedDuration::from_hours(24 * day);
        let first = window.closed(noon).map_or(noon, |closed| closed.until.unwrap());
        let ends = first + SignedDuration::from_mins(open);
        prop_assert!(window.closed(ends).is_some() || window.closed(noon).is_none());
        // The next one comes within a day, the hour of set clocks included.
        prop_assert!(first.duration_since(noon) <= SignedDuration::from_hours(25));
    }
}

#[test]
fn own_windows_stand_instead_of_what_the_host_allows_and_beside_what_it_forbids() {
    let deny = |window: Window| Window { rule: Rule::Deny, ..window };
    let host = windows(&[("nights", window((2, 0), 120)), ("backup", deny(window((22, 15), 30)))]);
    let own = windows(&[("evenings", window((22, 0), 60))]);
    let both = host.with_own(&own);
    // In winter Berlin is an hour ahead.
    let closed = |windows: &Windows, time: &str| windows.closed(at(&format!("2026-01-10T{time}Z")));
    assert!(closed(&host, "01:30:00").is_none() && closed(&both, "01:30:00").is_some());
    assert!(closed(&host, "21:05:00").is_some() && closed(&both, "21:05:00").is_none());
    assert!(closed(&both, "21:20:00").unwrap().why.contains("`backup`"));
    // Who says only when not, is allowed when the host allows it.
    let own = windows(&[("backup", deny(window((3, 0), 10)))]);
    let both = host.with_own(&own);
    assert!(closed(&both, "01:30:00").is_none());
    assert!(closed(&both, "02:05:00").unwrap().why.contains("`backup of its own`"));
    assert!(closed(&both, "21:20:00").unwrap().why.contains("`backup`"), "both have that name");
}
