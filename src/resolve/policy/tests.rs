//! Tables of releases and what is chosen of them.

use super::*;
use crate::resource::app::spec::{Downgrade, TagPattern};

fn at(hours: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hours)
}

/// `TAG@HOURS`, with `!` at the end for a release that the forge marks as a prerelease.
fn releases(text: &str) -> Vec<Release> {
    text.split(' ')
        .map(|item| {
            let (bare, prerelease) = item.strip_suffix('!').map_or((item, false), |b| (b, true));
            let (tag, hours) = bare.split_once('@').unwrap_or((bare, ""));
            Release {
                version: TagPattern::Plain.version(tag).unwrap(),
                tag: tag.to_owned(),
                prerelease,
                published: hours.parse().ok().map(at),
                artifacts: Vec::new(),
            }
        })
        .collect()
}

fn wish(want: &str) -> VersionWish {
    VersionWish {
        want: want.parse().unwrap(),
        prereleases: Prereleases::Refused,
        tag: TagPattern::Plain,
        min_age: SignedDuration::ZERO,
        downgrade: Downgrade::Refused,
        order: Order::Version,
    }
}

fn tags(releases: &[Release], wish: &VersionWish) -> Vec<String> {
    let chosen = choose(releases, wish, at(1000)).unwrap();
    chosen.into_iter().map(|release| release.tag.clone()).collect()
}

#[test]
fn the_highest_wished_version_comes_first() {
    let all = releases("v1.9@9 v1.10@8 v2.0-rc.1@10 v1.8@7 v1.7@6 v1.6@5 v3.0@11!");
    assert_eq!(tags(&all, &wish("latest")), ["v1.10", "v1.9", "v1.8", "v1.7"]);
    assert_eq!(tags(&all, &wish("<1.9")), ["v1.8", "v1.7", "v1.6"]);
    assert_eq!(tags(&all, &wish(">=2.0-rc.1")), ["v2.0-rc.1"]);
    let wanted = VersionWish { prereleases: Prereleases::Wanted, ..wish("latest") };
    assert_eq!(tags(&all, &wanted)[..2], ["v3.0", "v2.0-rc.1"]);
}

#[test]
fn pinned_release_survives_newer_one() {
    let all = releases("v1.0@1! v2.0@2");
    assert_eq!(tags(&all, &wish("1.0")), ["v1.0"]);
}

#[test]
fn publish_time_decides_where_asked_and_among_opaque_versions() {
    let all = releases("v1.2@9 v1.3@8");
    let published = VersionWish { order: Order::Published, ..wish("latest") };
    assert_eq!(tags(&all, &published), ["v1.2", "v1.3"]);
    let nightly = releases("nightly-2024-05-01@5 nightly-2024-05-03@7 nightly-2024-05-02@6");
    assert_eq!(tags(&nightly, &wish("latest"))[0], "nightly-2024-05-03");
    let mixed = releases("nightly@9 v1.0@1");
    assert_eq!(tags(&mixed, &wish("latest")), ["v1.0", "nightly"]);
}

#[test]
fn equal_versions_are_ordered_by_time_then_tag() {
    let all = releases("1.2@3 v1.2@3 1.2.0@4");
    assert_eq!(tags(&all, &wish("latest")), ["1.2.0", "1.2", "v1.2"]);
    let reversed: Vec<Release> = all.into_iter().rev().collect();
    assert_eq!(tags(&reversed, &wish("latest")), ["1.2.0", "1.2", "v1.2"]);
}

#[test]
fn a_young_release_is_passed_over_for_an_older_one() {
    let all = releases("v1.1@990 v1.0@900 v0.9");
    let aged = VersionWish { min_age: SignedDuration::from_hours(24), ..wish("latest") };
    assert_eq!(tags(&all, &aged), ["v1.0"]);
    let at_once = choose(&all, &aged, at(910)).unwrap_err();
    assert_eq!(at_once, NoChoice::TooYoung { tag: "v1.0".to_owned(), at: at(924) });
    assert_eq!(choose(&all, &aged, at(924)).unwrap()[0].tag, "v1.0", "the moment itself is enough");
    let pinned = VersionWish { want: "1.1".parse().unwrap(), ..aged.clone() };
    assert_eq!(tags(&all, &pinned), ["v1.1"], "an exact version needs no age");
    let undated = choose(&releases("v1"), &aged, at(9)).unwrap_err();
    assert_eq!(undated, NoChoice::AgeUnknown { count: 1 });
}

#[test]
fn refusals_say_what_was_seen() {
    let text = |tags: &str, want: &str| {
        choose(&releases(tags), &wish(want), at(1000)).unwrap_err().to_string()
    };
    assert_eq!(
        text("v16.0@2 v13.0@1", ">=14, <15"),
        "choosing a release: none of 2 satisfies `>=14, <15`; the newest, v16.0, is outside it"
    );
    assert!(text("v1.0-rc1@1", "latest").contains("is a prerelease"));
    let prefixed = text("cli/v1.0@1 cli/v1.1@2 lib-2.0@3", ">=1");
    assert!(prefixed.contains("carries no version number"), "{prefixed}");
    assert!(prefixed.ends_with("write `tag: \"cli/v{version}\"`"), "{prefixed}");
    let several = text("cli/v1.0@1 cli/v1.1@2 lib-2.0@3", "latest");
    assert!(several.contains("several products (cli/v, lib-)"), "{several}");
    assert_eq!(choose(&[], &wish("latest"), at(0)).unwrap_err(), NoChoice::NoRelease);
}

#[test]
fn prefixes_end_where_the_version_begins() {
    let cases = [
        ("cli/v1.2.3", Some("cli/v")),
        ("jq-1.7.1", Some("jq-")),
        ("k8s-v1.30", Some("k8s-v")),
        ("@biomejs/biome@2.5.0", Some("@biomejs/biome@")),
        ("nightly", None),
        ("v1.0", None),
        ("1.0", None),
    ];
    for (tag, expected) in cases {
        assert_eq!(prefix(tag).filter(|p| *p != "v"), expected, "{tag}");
    }
}

#[test]
fn fresh_releases_are_looked_at_again_ever_more_rarely() {
    let release = &releases("v1@10")[0];
    let after = |minutes: i64| {
        recheck_after(release, at(10) + SignedDuration::from_mins(minutes)).map(|d| d.as_mins())
    };
    let expected = [(-5, 1), (0, 1), (2, 2), (4, 2), (5, 5), (20, 15), (60, 60), (1439, 60)];
    for (age, wait) in expected {
        assert_eq!(after(age), Some(wait), "{age} min old");
    }
    assert_eq!(after(1440), None);
    assert_eq!(recheck_after(&releases("v1")[0], at(0)), None);
}
