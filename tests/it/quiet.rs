//! Commands that only look change nothing, and a pass with nothing to do writes one file.

use reconcile::record::last_pass::SAME_FOR;

use crate::support::duo::{PASS, RECONCILE, World, web};
use crate::support::trace::{Act, Call, Ended, Program, trace};

/// Commands that only look.
const LOOKING: [&[&str]; 11] = [
    &["--dry-run"],
    &["--dry-run", "--deep", "-o", "json"],
    &["plan"],
    &["plan", "-o", "markdown"],
    &["apply", "--dry-run"],
    &["status"],
    &["diff"],
    &["validate"],
    &["explain", "app/duo"],
    &["list", "app/duo"],
    &["history"],
];

fn run(world: &World, command: &[&str]) -> Ended {
    let program = Program {
        path: RECONCILE.into(),
        arguments: world.arguments(command),
        environment: world.environment(),
    };
    trace(&program, Act::Watch)
}

#[track_caller]
fn look_at_everything(world: &World) {
    let before = world.picture();
    for command in LOOKING {
        let ended = run(world, command);
        assert!(ended.code.is_some_and(|code| code <= 1), "{command:?}: {}", ended.said());
        assert!(!ended.stdout.is_empty(), "{command:?} says nothing");
        assert_eq!(ended.calls, [], "{command:?}");
    }
    assert_eq!(world.picture(), before);
}

#[test]
fn looking_at_a_fresh_host_changes_nothing() {
    let world = World::new();
    world.wish("2.0", 3);
    look_at_everything(&world);
}

#[test]
fn looking_at_a_converged_host_changes_nothing() {
    let world = World::new();
    world.wish("2.0", 3);
    world.pass();
    look_at_everything(&world);
}

#[test]
fn looking_at_a_host_with_work_to_do_changes_nothing() {
    let world = World::new();
    world.wish("1.0", 3);
    world.pass();
    std::fs::remove_file(world.host("opt/duo/bin/alpha")).unwrap();
    world.wish("2.0", 3);
    look_at_everything(&world);
    let rollback = ["rollback", "app/duo", "--to", "1.0", "--reason", "x", "--dry-run"];
    assert_eq!(run(&world, &rollback).calls, []);
}

#[test]
fn looking_at_a_web_source_changes_nothing() {
    let (_server, source) = web();
    let world = World::new();
    world.wish_from(&source, "latest", 3);
    look_at_everything(&world);
    world.pass();
    look_at_everything(&world);
}

#[test]
fn dry_run_of_a_command_without_a_plan_is_refused() {
    let world = World::new();
    world.wish("2.0", 3);
    world.pass();
    let manual = world.path("manual");
    let commands: [&[&str]; 5] = [
        &["suspend", "app/duo", "--reason", "x", "--dry-run"],
        &["resume", "app/duo", "--dry-run"],
        &["gc", "--dry-run"],
        &["gc", "--all", "--dry-run"],
        &["man", manual.to_str().unwrap(), "--dry-run"],
    ];
    for command in commands {
        let ended = run(&world, command);
        assert_eq!(ended.calls, [], "{command:?}");
        assert_eq!(ended.code, Some(64), "{command:?}: {}", ended.said());
    }
}

#[test]
fn pass_with_nothing_to_do_writes_only_when_it_was() {
    let world = World::new();
    world.wish("2.0", 3);
    world.pass();
    world.pass();
    // Within a moment, not even that it was is worth writing.
    let later = (jiff::Timestamp::now() + SAME_FOR * 2).to_string();
    let ended = run(&world, &[&PASS[..], &["--clock", &later]].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    let state = world.host("var/lib/reconcile");
    // The lock is there already and only opened.
    let allowed =
        [state.join("lock"), state.join("last-pass.json"), state.join("last-pass.json.new")];
    let other = |call: &&Call| !call.paths.iter().all(|path| allowed.contains(path));
    let others: Vec<&Call> = ended.calls.iter().filter(other).collect();
    assert!(others.is_empty(), "{others:?}");
    assert!(ended.calls.iter().any(|call| call.name == "rename"), "{:?}", ended.calls);
    assert!(ended.calls.iter().all(|call| !call.name.contains("sync")), "{:?}", ended.calls);
}
