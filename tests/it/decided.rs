//! Places about which an operator decided: they are left alone, whoever is wished there.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::casync::Publisher;
use crate::support::duo::{DRY, PASS, World as Duo, said};
use crate::support::tree;
use crate::support::world::World;

/// Where an app is: a directory of its own, or one file.
#[derive(Clone, Copy, Debug)]
enum Place {
    Home,
    File,
}

const PLACES: [Place; 2] = [Place::Home, Place::File];

impl Place {
    fn wish(self, side: &str) -> String {
        match self {
            Self::Home => format!("    home: /opt/{side}\n"),
            Self::File => format!("    layout: {{ file: /srv/{side}/alpha }}\n"),
        }
    }

    /// The program in it.
    fn program(self, world: &Duo, side: &str) -> String {
        let path = match self {
            Self::Home => format!("opt/{side}/bin/alpha"),
            Self::File => format!("srv/{side}/alpha"),
        };
        fs::read_to_string(world.host(&path)).unwrap()
    }
}

/// The name, version and place of an app.
type App<'a> = (&'a str, &'a str, &'a str);

/// Apps with their versions and sides.
fn wish(world: &Duo, place: Place, apps: &[App<'_>]) {
    let source = world.path("source");
    let app = |(name, version, side): &(&str, &str, &str)| {
        let (source, place) = (source.display(), place.wish(side));
        format!("  {name}:\n    version: \"{version}\"\n    source: {{ file: {source} }}\n{place}")
    };
    let text: String = apps.iter().map(app).collect();
    fs::write(world.path("desired/apps.yaml"), format!("apps:\n{text}")).unwrap();
}

/// `one` is on the left at 1.0 and an operator wants that left alone; `two` is on the right at 1.0.
fn decided(place: Place, decision: &str) -> Duo {
    let world = Duo::new();
    for side in ["left", "right"] {
        fs::create_dir_all(world.host("srv").join(side)).unwrap();
    }
    wish(&world, place, &[("one", "1.0", "left"), ("two", "1.0", "right")]);
    world.pass();
    if decision == "rollback" {
        wish(&world, place, &[("one", "2.0", "left"), ("two", "1.0", "right")]);
        world.pass();
    }
    does(&world, &[decision, "app/one", "--reason", "2.0 eats data"]);
    assert!(place.program(&world, "left").contains("1.0"));
    world
}

#[track_caller]
fn does(world: &Duo, command: &[&str]) -> String {
    let done = world.agent(command);
    assert!(done.status.success(), "{}", said(&done));
    said(&done)
}

fn file(world: &Duo, name: &str) -> Value {
    let path = world.host("var/lib/reconcile").join(name);
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Who is remembered to be in the place on the left.
fn on_the_left(world: &Duo) -> Vec<String> {
    let inventory = file(world, "inventory.json");
    let all = inventory["resources"].as_object().unwrap().iter();
    let left = all.filter(|(_, owned)| owned["home"] == "/opt/left");
    left.map(|(id, _)| id.clone()).collect()
}

#[test]
fn place_that_an_operator_decided_about_is_not_given_to_a_known_app() {
    let edits: [(&str, &[App<'_>]); 2] = [
        ("the other is gone", &[("two", "2.0", "left")]),
        ("the other is elsewhere", &[("one", "1.0", "third"), ("two", "2.0", "left")]),
    ];
    for (place, decision) in
        PLACES.into_iter().flat_map(|place| [(place, "suspend"), (place, "rollback")])
    {
        for (edit, apps) in &edits {
            let case = format!("{place:?}, {decision}, {edit}");
            let world = decided(place, decision);
            fs::create_dir_all(world.host("srv/third")).unwrap();
            wish(&world, place, apps);
            let planned = world.agent(&DRY);
            let passed = world.agent(&PASS);
            for told in [said(&planned), said(&passed)] {
                let named = told.contains("app/one") && told.contains("resume app/one");
                assert!(named && told.contains("2.0 eats data"), "{case}: {told}");
                assert!(!told.contains("app/two moves"), "{case}: {told}");
            }
            assert_eq!(passed.status.code(), Some(1), "{case}: {}", said(&passed));
            assert!(place.program(&world, "left").contains("1.0"), "{case}: {}", said(&passed));
        }
    }
}

#[test]
fn places_of_programs_are_not_exchanged_past_a_suspension() {
    let world = decided(Place::File, "suspend");
    wish(&world, Place::File, &[("one", "1.0", "right"), ("two", "2.0", "left")]);
    let passed = world.agent(&PASS);
    assert!(Place::File.program(&world, "left").contains("1.0"), "{}", said(&passed));
    does(&world, &["resume", "app/one"]);
    world.pass();
    assert!(Place::File.program(&world, "left").contains("2.0"));
    assert!(Place::File.program(&world, "right").contains("1.0"));
}

#[test]
fn decision_that_ended_gives_the_place_away_and_nobody_else_is_remembered_there() {
    for decision in ["suspend", "rollback"] {
        let world = decided(Place::Home, decision);
        wish(&world, Place::Home, &[("two", "2.0", "left")]);
        assert!(!world.agent(&PASS).status.success());
        does(&world, &["resume", "app/one"]);
        world.pass();
        assert!(Place::Home.program(&world, "left").contains("2.0"));
        assert_eq!(on_the_left(&world), ["app/two"]);
        let status = world.agent(&["status"]);
        assert!(status.status.success() && !said(&status).contains("app/one"), "{}", said(&status));
    }
}

#[test]
fn plan_that_was_saved_before_a_place_was_suspended_is_not_carried_out() {
    let world = decided(Place::Home, "suspend");
    does(&world, &["resume", "app/one"]);
    wish(&world, Place::Home, &[("two", "2.0", "left")]);
    let saved = world.path("plan.json").display().to_string();
    let planned = world.agent(&["plan", "--out", &saved]);
    assert!(planned.status.success(), "{}", said(&planned));
    does(&world, &["suspend", "app/one", "--reason", "incident"]);
    let applied = world.agent(&["apply", &saved]);
    assert_eq!(applied.status.code(), Some(5), "{}", said(&applied));
    assert!(Place::Home.program(&world, "left").contains("1.0"), "{}", said(&applied));
}

/// What is known of a release that did not work goes along with its place.
#[test]
fn release_that_did_not_work_is_not_brought_back_by_a_known_app() {
    for place in PLACES {
        let world = Duo::new();
        for side in ["left", "right"] {
            fs::create_dir_all(world.host("srv").join(side)).unwrap();
        }
        wish(&world, place, &[("one", "1.0", "left"), ("two", "1.0", "right")]);
        world.pass();
        let mut trust = file(&world, "trust.json");
        trust["quarantined"] = json!([{ "resource": "app/one", "tag": "2.0", "digests": [],
            "reason": "it ends at once", "since": "2026-06-01T00:00:00Z" }]);
        fs::write(world.host("var/lib/reconcile/trust.json"), trust.to_string()).unwrap();
        wish(&world, place, &[("two", "2.0", "left")]);
        for _ in 0..2 {
            let passed = world.agent(&PASS);
            assert!(said(&passed).contains("it ends at once"), "{place:?}: {}", said(&passed));
            let program = place.program(&world, "left");
            assert!(program.contains("1.0"), "{place:?}: {program} {}", said(&passed));
        }
        let resumed = does(&world, &["resume", "app/two"]);
        assert!(resumed.contains("quarantine of 2.0"), "{place:?}: {resumed}");
        world.pass();
        assert!(place.program(&world, "left").contains("2.0"), "{place:?}");
        assert!(!world.owns("app/one"), "{place:?}");
    }
}

#[test]
fn what_did_not_work_in_a_file_is_known_of_whoever_has_the_file_after_an_exchange() {
    for order in [["one", "two"], ["two", "one"]] {
        let world = Duo::new();
        for side in ["left", "right"] {
            fs::create_dir_all(world.host("srv").join(side)).unwrap();
        }
        let [left, right] = order;
        wish(&world, Place::File, &[(left, "1.0", "left"), (right, "1.0", "right")]);
        world.pass();
        let mut trust = file(&world, "trust.json");
        trust["quarantined"] = json!([{ "resource": format!("app/{left}"), "tag": "2.0",
            "digests": [], "reason": "it ends at once", "since": "2026-06-01T00:00:00Z" }]);
        fs::write(world.host("var/lib/reconcile/trust.json"), trust.to_string()).unwrap();
        // What was on the left has the name of what was on the right, and the other way round.
        wish(&world, Place::File, &[(right, "2.0", "left"), (left, "1.0", "right")]);
        for _ in 0..3 {
            let passed = world.agent(&PASS);
            assert!(said(&passed).contains("it ends at once"), "{}", said(&passed));
            assert!(Place::File.program(&world, "left").contains("1.0"), "{}", said(&passed));
        }
        does(&world, &["resume", &format!("app/{right}")]);
        world.pass();
        assert!(Place::File.program(&world, "left").contains("2.0"));
        assert!(Place::File.program(&world, "right").contains("1.0"));
    }
}

#[test]
fn history_follows_names_that_are_exchanged() {
    let told = |world: &Duo, name: &str| {
        let text = does(world, &["--output", "json", "history", &format!("app/{name}")]);
        let entries: Value = serde_json::from_str(&text).unwrap();
        let entries = entries["entries"].as_array().unwrap().iter();
        entries.map(|entry| entry["to"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let last_change = |world: &Duo, name: &str| {
        let text = does(world, &["--output", "json", "status"]);
        let status: Value = serde_json::from_str(&text).unwrap();
        let all = status["resources"].as_array().unwrap().clone();
        let id = format!("app/{name}");
        all.into_iter().find(|r| r["id"] == id).unwrap()["lastChange"]["at"].to_string()
    };
    let world = Duo::new();
    wish(&world, Place::Home, &[("one", "1.0", "left")]);
    world.pass();
    wish(&world, Place::Home, &[("one", "2.0", "left"), ("two", "1.0", "right")]);
    world.pass();
    let changed = ["one", "two"].map(|name| last_change(&world, name));
    for [left, right] in [["two", "one"], ["one", "two"], ["two", "three"]] {
        wish(&world, Place::Home, &[(left, "2.0", "left"), (right, "1.0", "right")]);
        assert_eq!([left, right].map(|name| last_change(&world, name)), changed);
        for _ in 0..2 {
            world.pass();
            assert_eq!([left, right].map(|name| last_change(&world, name)), changed);
            assert_eq!(told(&world, left), ["1.0", "2.0"]);
            assert_eq!(told(&world, right), ["1.0"]);
        }
    }
}

/// The wish for a tree.
fn tree_wish(publisher: &Publisher, name: &str, path: &str) -> String {
    publisher.wish("").replace("  site:", &format!("  {name}:")).replace("/srv/site", path)
}

#[test]
fn suspended_tree_is_not_given_to_a_known_tree_nor_to_one_around_it() {
    for (name, path) in [("other", "/srv/site"), ("around", "/srv")] {
        let mut world = World::new();
        let publisher = Publisher::new(&world.temp().join("publisher"));
        tree::make(&publisher.source, "a \"one\"\n");
        publisher.publish();
        let both = tree_wish(&publisher, "other", "/opt/other").replace("trees:\n", "");
        world.wish("desired", &(publisher.wish("") + &both));
        world.pass();
        world.run(&["suspend", "tree/site", "--reason", "incident"]).exits(0);
        tree::write(&publisher.source.join("a"), b"two");
        publisher.publish();
        world.wish("desired", &tree_wish(&publisher, name, path));
        world.tick();
        let ran = world.run(&["--confirm-removals"]);
        assert!(ran.stdout.contains("resume tree/site"), "{name}: {ran:#?}");
        let path: &Path = &world.path("/srv/site/a");
        assert_eq!(fs::read(path).unwrap(), b"one", "{name}: {ran:#?}");
    }
}
