//! Errors of the disk at every call: nothing in use is harmed, the next pass converges.

use std::path::{Path, PathBuf};
use std::process::Command;

use nix::errno::Errno;

use crate::support::duo::{DRY, PASS, RECONCILE, World, said, web};
use crate::support::trace::{Act, Call, Ended, Program, trace};

/// Of the points from which on the disk is full, every so many are tried.
const FULL_EVERY: usize = 4;

/// How far above a path that failed the directory may be that is named instead, the path itself
/// included: what removes a whole directory names that.
const DIRECTORIES_ABOVE: usize = 4;

/// How the app comes into use.
#[derive(Clone, Copy, Debug)]
enum Layout {
    /// Links to its programs.
    Links,
    /// One file replaced in place.
    File,
}

impl Layout {
    fn wish(self, world: &World, source: &str, version: &str) {
        world.wish_from(source, version, 1);
        if let Self::File = self {
            world.wish_also("    layout: { file: /usr/local/bin/alpha }\n");
        }
    }

    fn in_use(self, world: &World) -> Result<Option<String>, String> {
        match self {
            Self::Links => world.in_use(),
            Self::File => {
                let output = Command::new(world.host("usr/local/bin/alpha")).output();
                let output = output.map_err(|error| error.to_string())?;
                Ok(Some(String::from_utf8_lossy(&output.stdout).trim().to_owned()))
            }
        }
    }

    /// What hooks note, which look at the links.
    fn effects(self) -> [&'static str; 2] {
        match self {
            Self::Links => ["restart duo.service 2.0", "hook 2.0 2.0"],
            Self::File => ["restart duo.service ", "hook 2.0 "],
        }
    }

    /// Whether beside the file there is what belongs there, and nothing else.
    fn beside(self, world: &World) -> bool {
        match self {
            Self::Links => true,
            Self::File => world.names("usr/local/bin").into_iter().eq(["alpha", "alpha.backup"]),
        }
    }
}

/// An upgrade with retention: the most different calls.
fn upgrade(source: &str, layout: Layout) -> World {
    let mut world = World::new();
    layout.wish(&world, source, "1.0");
    world.pass();
    layout.wish(&world, source, "2.0");
    world.remember();
    world.reset();
    world
}

fn run(world: &World, act: Act) -> Ended {
    let program = Program {
        path: RECONCILE.into(),
        arguments: world.arguments(&PASS),
        environment: world.environment(),
    };
    trace(&program, act)
}

/// What is wrong after a pass of which `failed` failed.
fn check(world: &World, layout: Layout, ended: &Ended, failed: &[Call]) -> Vec<String> {
    let mut bad = Vec::new();
    let in_use = layout.in_use(world);
    if !matches!(in_use.as_ref().map(Option::as_deref), Ok(Some("1.0" | "2.0"))) {
        bad.push(format!("in use is {in_use:?}"));
    }
    match ended.code {
        Some(0) => {
            bad.extend(check_converged(world, layout).map(|what| format!("exit 0, but {what}")));
        }
        Some(1 | 73) if names_path(world, ended, failed) => {}
        Some(1 | 73) => bad.push(format!("no path is named in: {}", ended.said())),
        other => bad.push(format!("exit {other:?}: {}", ended.said())),
    }
    let again = world.agent(&PASS);
    if !again.status.success() {
        bad.push(format!("the next pass failed: {}", said(&again)));
    }
    bad.extend(check_converged(world, layout).map(|what| format!("after the next pass {what}")));
    let leftovers = world.leftovers();
    if !leftovers.is_empty() {
        bad.push(format!("left behind: {leftovers:?}"));
    }
    bad
}

fn check_converged(world: &World, layout: Layout) -> Option<String> {
    let dry = world.agent(&DRY);
    let nothing = said(&dry).lines().any(|line| line.starts_with("No changes"));
    let noted = world.noted();
    let effects = layout.effects().iter().all(|effect| noted.contains(*effect));
    let converged = nothing
        && dry.status.success()
        && layout.in_use(world) == Ok(Some("2.0".to_owned()))
        && layout.beside(world)
        && world.names("opt/duo/releases").into_iter().eq(["2.0"])
        && effects;
    (!converged).then(|| format!("it is not converged, {noted:?}: {}", said(&dry)))
}

/// Whether what was printed names one of the paths that failed, or a directory that it is in.
fn names_path(world: &World, ended: &Ended, failed: &[Call]) -> bool {
    let said = ended.said();
    let root = world.path("root");
    let named = |path: &Path| {
        let below = path.ancestors().take_while(|p| p.starts_with(&root) && *p != root);
        below.take(DIRECTORIES_ABOVE).any(|p| said.contains(p.to_str().unwrap()))
    };
    failed.iter().flat_map(|call| &call.paths).any(|path: &PathBuf| named(path))
}

#[track_caller]
fn report(name: &str, points: usize, failures: &[String]) {
    println!("{name}: {points} points, {} failures", failures.len());
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

fn single_errors(layout: Layout) {
    let (_server, source) = web();
    let mut world = upgrade(&source, layout);
    let points = run(&world, Act::Watch).calls.len();
    let mut failures = Vec::new();
    for point in 1..=points {
        world.reset();
        // Both errors come at every sort of call, as there are many of each.
        let error = if point % 2 == 0 { Errno::EIO } else { Errno::ENOSPC };
        let ended = run(&world, Act::Fail(point, error));
        let Some(call) = ended.calls.get(point - 1) else { continue };
        let bad = check(&world, layout, &ended, std::slice::from_ref(call));
        failures.extend(bad.into_iter().map(|what| {
            format!("{error} at {point} of {points}, {} {:?}: {what}", call.name, call.paths)
        }));
    }
    report("single error", points, &failures);
}

fn full_disks(layout: Layout) {
    let (_server, source) = web();
    let mut world = upgrade(&source, layout);
    let points = run(&world, Act::Watch).calls.len();
    let mut failures = Vec::new();
    for point in (1..=points).step_by(FULL_EVERY) {
        world.reset();
        let ended = run(&world, Act::FullFrom(point));
        let failed = ended.calls.get(point - 1..).unwrap_or_default();
        let bad = check(&world, layout, &ended, failed);
        failures
            .extend(bad.into_iter().map(|what| format!("full from {point} of {points}: {what}")));
    }
    report("full disk", points.div_ceil(FULL_EVERY), &failures);
}

#[test]
fn single_error_of_the_disk_harms_nothing_in_use() {
    single_errors(Layout::Links);
}

#[test]
fn single_error_of_the_disk_harms_no_file_in_place() {
    single_errors(Layout::File);
}

#[test]
fn disk_that_stays_full_harms_nothing_in_use() {
    full_disks(Layout::Links);
}

#[test]
fn disk_that_stays_full_harms_no_file_in_place() {
    full_disks(Layout::File);
}
