//! Why a change is made: an edit and the end of a decision are not the source's doing.

use std::fs;

use crate::operator::world;
use crate::support::casync::Publisher;
use crate::support::offer::Offer;
use crate::support::tree;
use crate::support::world::World;

/// Wishes `tool` with more lines.
fn wish(world: &mut World, offer: &Offer, more: &str) {
    let text = format!("apps:\n  tool:\n    source: {{ file: {} }}\n{more}", offer.address());
    world.wish("desired", &text);
}

/// What the next pass says of its one change.
#[track_caller]
fn told(world: &mut World) -> (String, String) {
    let planned = world.run(&["--dry-run", "-o", "json"]).exits(0).json();
    let changes = planned["spec"]["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 1, "{planned:#}");
    let (who, why) = (&changes[0]["attribution"], &changes[0]["reason"]);
    (who.as_str().unwrap().to_owned(), why.as_str().unwrap().to_owned())
}

#[track_caller]
fn is_told(world: &mut World, who: &str, why: &str) {
    assert_eq!(told(world), (who.to_owned(), why.to_owned()));
    world.run(&[]).exits(0);
    let history = world.run(&["history"]).exits(0).stdout;
    assert!(history.lines().last().unwrap().contains(&format!("({who}: {why})")), "{history}");
    world.nothing_to_do();
    world.tick();
}

#[test]
fn edited_version_is_the_cause_and_not_the_source() {
    let (mut world, mut offer) = world("    version: 1.0.0\n");
    offer.publish("1.1.0");
    world.run(&[]).exits(0);
    wish(&mut world, &offer, "    version: \">=1.0, <1.2\"\n");
    let why = ">=1.0, <1.2 is wished, which was 1.0.0; the source has 1.1.0";
    is_told(&mut world, "desired-changed", why);
}

#[test]
fn edit_that_changed_nothing_is_no_cause_of_what_comes_later() {
    let (mut world, mut offer) = world("    version: 1.0.0\n");
    wish(&mut world, &offer, "    version: latest\n");
    world.run(&[]).exits(0);
    world.tick();
    offer.publish("1.1.0");
    is_told(&mut world, "upstream-moved", "the source has 1.1.0");
}

#[test]
fn end_of_a_rollback_is_the_cause_by_word_and_by_time() {
    let (mut world, mut offer) = world("");
    offer.publish("1.1.0");
    world.run(&[]).exits(0);
    let rollback = ["rollback", "app/tool", "--reason", "it loses data"];
    let why = "no longer rolled back; the source has 1.1.0";
    world.run(&rollback).exits(0);
    world.run(&["resume", "app/tool"]).exits(0);
    is_told(&mut world, "desired-changed", why);
    world.run(&[&rollback[..], &["--until", "1m"]].concat()).exits(0);
    world.now += jiff::SignedDuration::from_mins(2);
    is_told(&mut world, "desired-changed", why);
}

#[test]
fn end_of_a_suspension_is_the_cause_wherever_it_was_written() {
    let (mut world, mut offer) = world("");
    world.run(&["suspend", "app/tool", "--reason", "audit"]).exits(0);
    offer.publish("1.1.0");
    world.run(&[]).exits(3);
    world.run(&["resume", "app/tool"]).exits(0);
    let why = "no longer suspended; the source has 1.1.0";
    assert_eq!(told(&mut world), ("desired-changed".to_owned(), why.to_owned()));
    wish(&mut world, &offer, "    suspend: { reason: audit }\n");
    world.run(&[]).exits(3);
    wish(&mut world, &offer, "");
    is_told(&mut world, "desired-changed", why);
}

#[test]
fn end_of_a_rollback_of_a_tree_is_the_cause() {
    let mut world = World::new();
    let publisher = Publisher::new(&world.temp().join("publisher"));
    world.wish("desired", &publisher.wish(""));
    for state in ["one", "two"] {
        tree::write(&publisher.source.join("state"), state.as_bytes());
        publisher.publish();
        world.run(&[]).exits(0);
        world.tick();
    }
    world.run(&["rollback", "tree/site", "--reason", "broken"]).exits(0);
    world.tick();
    world.run(&["resume", "tree/site"]).exits(0);
    let (who, why) = told(&mut world);
    assert_eq!(who, "desired-changed");
    assert!(why.starts_with("no longer rolled back; the source has "), "{why}");
}

#[test]
fn another_home_is_the_cause_of_another_installation() {
    let (mut world, offer) = world("");
    wish(&mut world, &offer, "    home: /srv/tool\n");
    let why = "its place is /srv/tool now and was /opt/tool; not installed; latest is 1.0.0";
    is_told(&mut world, "desired-changed", why);
    assert!(fs::exists(world.path("/opt/tool/bin/tool")).unwrap(), "the old one is told of once");
}
