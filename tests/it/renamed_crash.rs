//! Names that two apps exchange in one edit, in passes that are killed.
//!
//! What was decided and learned follows the place.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::crash::kill_at_every_call;
use crate::support::duo::{PASS, World, said};

/// Two apps with these names of their places, the left one on the latest release and the right one on 1.0, and one more.
fn wish(world: &World, [left, right]: [&str; 2]) {
    let source = world.path("source");
    let app = |name, version, place| {
        format!(
            "  {name}:\n    version: {version}\n    home: /opt/{place}\n    source: {{ file: {} }}\n",
            source.display()
        )
    };
    let two = app(left, "latest", "left") + &app(right, "1.0", "right");
    let text = format!("apps:\n{two}{}", app("bystander", "1.0", "bystander"));
    fs::write(world.path("desired/apps.yaml"), text).unwrap();
}

fn file(world: &World, name: &str) -> Value {
    let path = world.host("var/lib/reconcile").join(name);
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// `one` is on the left and suspended, `two` is on the right and 2.0 did not work there.
fn decided() -> World {
    let world = World::new();
    wish(&world, ["one", "two"]);
    world.pass();
    let suspended = world.agent(&["suspend", "app/one", "--reason", "incident"]);
    assert!(suspended.status.success(), "{}", said(&suspended));
    let mut trust = file(&world, "trust.json");
    trust["quarantined"] = json!([{ "resource": "app/two", "tag": "2.0", "digests": [],
        "reason": "it ends at once", "since": "2026-06-01T00:00:00Z" }]);
    fs::write(world.host("var/lib/reconcile/trust.json"), trust.to_string()).unwrap();
    world
}

/// Makes a pass, and says what is not remembered of the place it is about. What is on the left is suspended.
fn not_of_its_place(world: &World, [left, right]: [&str; 2]) -> Vec<String> {
    let passed = world.agent(&PASS);
    let [left, right] = [left, right].map(|name| format!("app/{name}"));
    let (trust, inventory) = (file(world, "trust.json"), file(world, "inventory.json"));
    let suspended = file(world, "overrides.json")["suspended"].clone();
    let names = suspended.as_object().unwrap().keys().filter(|name| *name != "app/bystander");
    let names: Vec<&String> = names.collect();
    let quarantined: Vec<&Value> =
        trust["quarantined"].as_array().unwrap().iter().map(|q| &q["resource"]).collect();
    let home = |name: &String| inventory["resources"][name]["home"].clone();
    let remembered = [
        ("exit", json!(passed.status.code()), json!(3)),
        ("suspended", json!(names), json!([left])),
        ("quarantined", json!(quarantined), json!([right])),
        ("floor", trust["floors"][&left].clone(), json!("2.0")),
        ("other floor", trust["floors"][&right].clone(), json!("1.0")),
        ("left", home(&left), json!("/opt/left")),
        ("right", home(&right), json!("/opt/right")),
        ("left behind", json!(world.leftovers()), json!([])),
    ];
    let wrong = remembered.into_iter().filter(|(_, found, expected)| found != expected);
    wrong.map(|(what, found, _)| format!("{what}: {found}; {}", said(&passed))).collect()
}

#[test]
fn killed_exchange_of_names_ends_exchanged() {
    let mut world = decided();
    wish(&world, ["two", "one"]);
    let written = AtomicUsize::new(0);
    kill_at_every_call(&mut world, ("exchanged", &PASS, 3), |world| {
        if world.host("var/lib/reconcile/renamed.json").exists() {
            assert_eq!(file(world, "renamed.json")["format"], 1);
            written.fetch_add(1, Ordering::Relaxed);
        }
        not_of_its_place(world, ["two", "one"])
    });
    assert_ne!(written.into_inner(), 0);
}

#[test]
fn killed_exchange_of_names_can_be_taken_back() {
    let mut world = decided();
    wish(&world, ["two", "one"]);
    kill_at_every_call(&mut world, ("taken back", &PASS, 3), |world| {
        wish(world, ["one", "two"]);
        let wrong = not_of_its_place(world, ["one", "two"]);
        wish(world, ["two", "one"]);
        wrong
    });
}

#[test]
fn killed_rotation_of_names_ends_rotated() {
    let mut world = decided();
    wish(&world, ["three", "one"]);
    kill_at_every_call(&mut world, ("rotated", &PASS, 3), |world| {
        not_of_its_place(world, ["three", "one"])
    });
}

#[test]
fn decision_after_a_killed_exchange_is_kept() {
    let mut world = decided();
    wish(&world, ["two", "one"]);
    kill_at_every_call(&mut world, ("decided", &PASS, 3), |world| {
        let decided = world.agent(&["suspend", "app/bystander", "--reason", "later"]);
        let mut wrong = not_of_its_place(world, ["two", "one"]);
        if file(world, "overrides.json")["suspended"]["app/bystander"].is_null() {
            wrong.push(format!("app/bystander is not suspended; {}", said(&decided)));
        }
        wrong
    });
}

/// Two apps that exchanged their names since the last pass: `two` is on the left now, which has a release to go back to.
fn exchanged(decide: impl Fn(&World)) -> World {
    let world = World::new();
    let named = ["one", "two"];
    wish(&world, named);
    let latest = fs::read_to_string(world.path("desired/apps.yaml")).unwrap();
    fs::write(world.path("desired/apps.yaml"), latest.replace("latest", "1.0")).unwrap();
    world.pass();
    wish(&world, named);
    world.pass();
    decide(&world);
    wish(&world, ["two", "one"]);
    world
}

/// Makes a pass, and says what is wrong unless exactly these decisions are known of their places then.
fn not_decided(world: &World, (what, expected): (&str, &[(&str, &str)])) -> Vec<String> {
    let passed = world.agent(&PASS);
    let (decided, inventory) = (file(world, "overrides.json"), file(world, "inventory.json"));
    let names = decided[what].as_object().into_iter().flatten().map(|(name, _)| name);
    let home = |name: &String| inventory["resources"][name]["home"].clone();
    let found: Vec<(Value, Value)> = names.map(|name| (json!(name), home(name))).collect();
    let expected: Vec<(Value, Value)> =
        expected.iter().map(|(a, b)| (json!(a), json!(b))).collect();
    let mut wrong = Vec::new();
    if found != expected {
        wrong.push(format!("{what}: {found:?} for {expected:?}; {}", said(&passed)));
    }
    wrong.extend(world.leftovers());
    wrong
}

#[test]
fn suspension_is_of_what_has_the_name_now() {
    let world = exchanged(|_| {});
    let decided = world.agent(&["suspend", "app/one", "--reason", "incident"]);
    assert!(decided.status.success(), "{}", said(&decided));
    assert_eq!(not_decided(&world, ("suspended", &[("app/one", "/opt/right")])), [""; 0]);
}

#[test]
fn suspension_is_ended_of_what_has_the_name_now() {
    let world = exchanged(|world| {
        for (name, place) in [("app/one", "left"), ("app/two", "right")] {
            let decided = world.agent(&["suspend", name, "--reason", place]);
            assert!(decided.status.success(), "{}", said(&decided));
        }
    });
    let ended = world.agent(&["resume", "app/one"]);
    assert!(said(&ended).contains("app/one: ended suspension (right)"), "{}", said(&ended));
    assert_eq!(not_decided(&world, ("suspended", &[("app/two", "/opt/left")])), [""; 0]);
}

const ROLLBACK: [&str; 6] = ["rollback", "app/two", "--reason", "incident", "--effects", "run"];

#[test]
fn rollback_is_of_what_has_the_name_now() {
    let world = exchanged(|_| {});
    let decided = world.agent(&ROLLBACK);
    assert!(said(&decided).contains("2.0 -> 1.0"), "{}", said(&decided));
    assert_eq!(not_decided(&world, ("pinned", &[("app/two", "/opt/left")])), [""; 0]);
}

#[test]
fn killed_rollback_by_a_new_name_is_of_its_place_or_of_none() {
    let mut world = exchanged(|_| {});
    kill_at_every_call(&mut world, ("rolled back by a new name", &ROLLBACK, 0), |world| {
        // Before anything was decided there may be no decision, but none about another place.
        let decided = fs::read_to_string(world.host("var/lib/reconcile/renamed.json"));
        let decided =
            decided.or_else(|_| fs::read_to_string(world.host("var/lib/reconcile/overrides.json")));
        let expected: &[_] = match decided {
            Ok(text) if text.contains("incident") => &[("app/two", "/opt/left")],
            _ => &[],
        };
        not_decided(world, ("pinned", expected))
    });
}
