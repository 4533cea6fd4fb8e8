//! What systemd-vpick 262 picked among generated names, and what is said to be in use of them here.
//!
//! `tests/golden/vpick/README.md` says how the answers were recorded.

use std::fs;

use reconcile::format::sysext::{Wanted, pick};
use reconcile::format::sysupdate::order::compare;
use serde_json::Value;

use super::Host;

/// What was recorded.
const CASES: &str = include_str!("../../golden/vpick/cases.jsonl");

/// Cases at the least: fewer were a mistake in recording.
const CASES_MIN: usize = 300;

/// Every how manyth of them is asked of the whole program.
const ASKED: usize = 4;

fn cases() -> Vec<Value> {
    let cases: Vec<Value> = CASES.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(cases.len() >= CASES_MIN);
    cases
}

fn entries(case: &Value) -> Vec<&str> {
    case["entries"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect()
}

#[test]
fn what_systemd_picks_is_picked() {
    for case in cases() {
        let suffix = case["suffix"].as_str().unwrap();
        let wanted = Wanted { name: "demo", suffix, architecture: "x86-64" };
        let picked = pick(entries(&case), wanted, compare).map(|picked| picked.entry.to_owned());
        assert_eq!(picked.as_deref(), case["picked"].as_str(), "{case}");
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn image_that_systemd_picks_is_the_one_in_use() {
    let images = cases().into_iter().filter(|case| case["suffix"] == ".raw");
    for case in images.step_by(ASKED) {
        let mut host = Host::new();
        host.list();
        host.wish(&[("demo", "    layout: versioned\n")]);
        let place = host.world.path("var/lib/extensions/demo.raw.v");
        fs::create_dir_all(&place).unwrap();
        for name in entries(&case) {
            fs::write(place.join(name), name).unwrap();
        }
        let status = host.world.run(&["status", "-o", "json"]).json();
        let picked = case["picked"].as_str();
        let version = picked.map(|name| &name["demo_".len()..name.len() - ".raw".len()]);
        assert_eq!(status["resources"][0]["version"].as_str(), version, "{case}: {status:#}");
    }
}
