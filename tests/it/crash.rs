//! Kills at every disk-changing system call: the host is whole, and the next pass converges.
//!
//! Thousands of syncs make this slow on a busy disk. A kill cannot tell a disk from memory, so
//! `TMPDIR=/dev/shm cargo test --test it crash` proves as much where programs may be run from there.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Mode, OFlags};

use crate::support::duo::{DRY, PASS, PROGRAMS, RECONCILE, World, said, web};
use crate::support::trace::{Act, Ended, Program, trace};

/// What a pass that is killed starts from, and what it leads to.
struct Case<'a> {
    name: &'a str,
    /// The command that is killed.
    command: &'a [&'a str],
    /// Versions that may be in use after it was killed. `None` is nothing at all.
    between: &'a [Option<&'a str>],
    /// The version in use in the end, and releases on disk then.
    ends: &'a [(Option<&'a str>, &'a [&'a str])],
    /// Effects noted in the end when the version in use at the end is another than before, or repaired.
    owed: &'a [&'a str],
}

/// Kills a command before each of its calls in turn; `check` says what is wrong with the host then. Left to
/// itself it must end with `code`.
#[track_caller]
pub fn kill_at_every_call(
    world: &mut World,
    (name, command, code): (&str, &[&str], i32),
    check: impl Fn(&World) -> Vec<String>,
) {
    kill_while(world, (name, command, code), |_, killed| (killed(), Vec::new()), check);
}

/// The same, each time during something else, which says what went wrong meanwhile.
#[track_caller]
pub fn kill_while(
    world: &mut World,
    (name, command, code): (&str, &[&str], i32),
    meanwhile: impl Fn(&World, &dyn Fn() -> Ended) -> (Ended, Vec<String>),
    check: impl Fn(&World) -> Vec<String>,
) {
    world.remember();
    let program = |world: &World| Program {
        path: RECONCILE.into(),
        arguments: world.arguments(command),
        environment: world.environment(),
    };
    world.reset();
    let whole = trace(&program(world), Act::Watch);
    assert_eq!(whole.code, Some(code), "{}", whole.said());
    let points = whole.calls.len();
    let mut failures = Vec::new();
    for point in 1..=points {
        world.reset();
        let killed = || trace(&program(world), Act::KillBefore(point));
        let (killed, mut bad) = meanwhile(world, &killed);
        // Threads take turns differently from run to run, so the last points may not be reached.
        let Some(call) = killed.calls.get(point - 1).filter(|_| killed.code.is_none()) else {
            continue;
        };
        bad.extend(check(world));
        failures.extend(bad.into_iter().map(|what| {
            format!("killed before {point} of {points}, {} {:?}: {what}", call.name, call.paths)
        }));
    }
    println!("{name}: {points} points, {} failures", failures.len());
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

/// The same for a case.
#[track_caller]
fn kill_everywhere(world: &mut World, case: &Case<'_>) {
    let before = world.in_use().unwrap();
    kill_at_every_call(world, (case.name, case.command, 0), |world| {
        let mut bad = check_between(world, case);
        bad.extend(check_converges(world, case, before.as_deref()));
        bad
    });
}

fn check_between(world: &World, case: &Case<'_>) -> Vec<String> {
    match world.in_use() {
        Ok(version) if case.between.contains(&version.as_deref()) => Vec::new(),
        found => vec![format!("in use is {found:?}")],
    }
}

/// Runs the pass again, undisturbed.
fn check_converges(world: &World, case: &Case<'_>, before: Option<&str>) -> Vec<String> {
    let mut bad = Vec::new();
    let again = world.agent(&PASS);
    if !again.status.success() {
        bad.push(format!("the next pass failed: {}", said(&again)));
    }
    let in_use = world.in_use().unwrap_or_else(Some);
    let releases = world.names("opt/duo/releases");
    let expected = case.ends.iter().any(|(version, kept)| {
        in_use.as_deref() == *version
            && releases.iter().map(String::as_str).eq(kept.iter().copied())
    });
    if !expected {
        bad.push(format!("the next pass led to {in_use:?} of {releases:?}"));
    }
    if in_use.as_deref() != before {
        let noted = world.noted();
        let missing = case.owed.iter().filter(|effect| !noted.contains(**effect));
        bad.extend(missing.map(|effect| format!("`{effect}` is missing in {noted:?}")));
    }
    let dry = world.agent(&DRY);
    let nothing = said(&dry).lines().any(|line| line.starts_with("No changes"));
    if !dry.status.success() || !nothing || said(&dry).contains("is gone") {
        bad.push(format!("a further pass would do something: {}", said(&dry)));
    }
    if in_use.is_none() && (world.host("opt/duo").exists() || world.owns("app/duo")) {
        bad.push("it is not gone".to_owned());
    }
    if in_use.is_some() && !world.trusts_from("2.0") {
        bad.push("the highest version that was in use is not remembered".to_owned());
    }
    let leftovers = world.leftovers();
    if !leftovers.is_empty() {
        bad.push(format!("left behind: {leftovers:?}"));
    }
    bad
}

#[test]
fn killed_first_install_ends_installed() {
    let mut world = World::new();
    world.wish("2.0", 3);
    kill_everywhere(
        &mut world,
        &Case {
            name: "first install",
            command: &PASS,
            between: &[None, Some("2.0")],
            ends: &[(Some("2.0"), &["2.0"])],
            owed: &["restart duo.service 2.0", "hook 2.0 2.0"],
        },
    );
}

#[test]
fn killed_upgrade_is_on_the_old_or_the_new_release() {
    let (_server, source) = web();
    let mut world = World::new();
    world.wish_from(&source, "1.0", 1);
    world.pass();
    world.wish_from(&source, "2.0", 1);
    kill_everywhere(
        &mut world,
        &Case {
            name: "upgrade",
            command: &PASS,
            between: &[Some("1.0"), Some("2.0")],
            ends: &[(Some("2.0"), &["2.0"])],
            owed: &["restart duo.service 2.0", "hook 2.0 2.0"],
        },
    );
}

#[test]
fn killed_repair_ends_repaired() {
    let mut world = World::new();
    world.wish("2.0", 3);
    world.pass();
    for name in ["alpha", "beta"] {
        let path = world.host("opt/duo/releases/2.0").join(name);
        fs::write(&path, "#!/bin/sh\necho broken\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::remove_file(world.host("opt/duo/releases/2.0/share/data")).unwrap();
    kill_everywhere(
        &mut world,
        &Case {
            name: "repair",
            command: &PASS,
            between: &[Some("broken"), Some("2.0")],
            ends: &[(Some("2.0"), &["2.0"])],
            owed: &["restart duo.service 2.0", "hook 2.0 2.0"],
        },
    );
}

#[test]
fn killed_removal_ends_removed() {
    let mut world = World::new();
    world.wish("1.0", 3);
    world.pass();
    world.wish("2.0", 3);
    world.pass();
    world.wish_nothing();
    kill_everywhere(
        &mut world,
        &Case {
            name: "removal",
            command: &PASS,
            between: &[Some("2.0"), None],
            ends: &[(None, &[])],
            owed: &[],
        },
    );
}

#[test]
fn killed_rollback_is_decided_or_not() {
    let mut world = World::new();
    world.wish("1.0", 3);
    world.pass();
    world.wish("2.0", 3);
    world.pass();
    let rollback = ["rollback", "app/duo", "--reason", "it fails", "--effects", "run"];
    kill_everywhere(
        &mut world,
        &Case {
            name: "rollback",
            command: &rollback,
            between: &[Some("2.0"), Some("1.0")],
            ends: &[(Some("1.0"), &["1.0", "2.0"]), (Some("2.0"), &["1.0", "2.0"])],
            owed: &["restart duo.service 1.0", "hook 1.0 1.0"],
        },
    );
}

/// A health check that only release 1.0 passes.
fn only_1_0_works(world: &World) {
    let alpha = world.host("opt/duo/bin/alpha");
    world.wish_also(&format!(
        "    health:\n      exec: [/bin/sh, -c, \"{} | grep -q 1.0\"]\n      interval: 100ms\n      \
         stable: 100ms\n      deadline: 200ms\n",
        alpha.display()
    ));
}

#[test]
fn killed_while_a_release_fails_ends_on_the_release_that_works() {
    let mut world = World::new();
    world.wish("1.0", 3);
    only_1_0_works(&world);
    world.pass();
    world.wish("2.0", 3);
    only_1_0_works(&world);
    kill_at_every_call(&mut world, ("failing release", &PASS, 6), |world| {
        // At most the rollback is made up for, then the release is known not to work.
        let codes: Vec<Option<i32>> = (0..3).map(|_| world.agent(&PASS).status.code()).collect();
        let dry = world.agent(&DRY);
        let settled = said(&dry).contains("quarantined; staying on 1.0");
        let in_use = world.in_use();
        let left = world.leftovers();
        let good = codes.last() == Some(&Some(3))
            && settled
            && in_use == Ok(Some("1.0".to_owned()))
            && left.is_empty();
        if good {
            return Vec::new();
        }
        vec![format!("{codes:?}, {in_use:?}, {left:?}: {}", said(&dry))]
    });
}

#[test]
fn killed_replacement_of_one_file_always_leaves_one_that_runs() {
    let mut world = World::new();
    let file = |world: &World| world.host("usr/local/bin/alpha");
    let layout = "    layout: { file: /usr/local/bin/alpha }\n";
    world.wish("1.0", 3);
    world.wish_also(layout);
    world.pass();
    world.wish("2.0", 3);
    world.wish_also(layout);
    let says = |path: &Path| {
        let output = Command::new(path).output().map_err(|e| e.to_string())?;
        Ok::<String, String>(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    kill_at_every_call(&mut world, ("one file", &PASS, 0), |world| {
        let between = says(&file(world));
        let again = world.agent(&PASS);
        let after = says(&file(world));
        let before = says(&world.host("usr/local/bin/alpha.backup"));
        let beside = world.names("usr/local/bin").len();
        let left = world.leftovers();
        let good = matches!(between.as_deref(), Ok("1.0" | "2.0"))
            && again.status.success()
            && after.as_deref() == Ok("2.0")
            && before.as_deref() == Ok("1.0")
            && beside == 2
            && left.is_empty();
        if good {
            return Vec::new();
        }
        vec![format!("{between:?}, {after:?}, {before:?}, {left:?}: {}", said(&again))]
    });
}

/// Back-and-forth switches while others use the programs.
const SWITCHES: usize = 50;

#[test]
fn readers_never_miss_a_program_nor_see_a_mixture_during_switches() {
    let world = World::new();
    for version in ["1.0", "2.0"] {
        world.wish(version, 3);
        world.pass();
    }
    let bin = world.host("opt/duo/bin");
    let stop = AtomicBool::new(false);
    let counts: Vec<Seen> = std::thread::scope(|scope| {
        let readers = [
            scope.spawn(|| watch_links(&bin, &stop)),
            scope.spawn(|| watch_links(&bin, &stop)),
            scope.spawn(|| watch_programs(&bin, &stop)),
        ];
        for round in 0..SWITCHES {
            world.wish(["1.0", "2.0"][round % 2], 3);
            world.pass();
        }
        stop.store(true, Ordering::Relaxed);
        readers.map(|reader| reader.join().unwrap()).into_iter().collect()
    });
    println!("{counts:?}");
    for seen in counts {
        assert!(seen.looks > SWITCHES && seen.wrong.is_empty(), "{seen:?}");
        assert_eq!(seen.versions.len(), 2, "a reader that sees one version only proves nothing");
    }
}

/// What one reader saw.
#[derive(Debug, Default)]
struct Seen {
    looks: usize,
    versions: BTreeSet<String>,
    wrong: BTreeSet<String>,
}

/// Reads both links of one and the same directory, and opens both programs by their paths.
fn watch_links(bin: &Path, stop: &AtomicBool) -> Seen {
    let mut seen = Seen::default();
    while !stop.load(Ordering::Relaxed) {
        seen.looks += 1;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let directory = match rustix::fs::open(bin, flags, Mode::empty()) {
            Ok(directory) => directory,
            Err(error) => {
                seen.wrong.insert(format!("opening bin: {error}"));
                continue;
            }
        };
        let release = |name: &str| {
            let text = rustix::fs::readlinkat(&directory, name, Vec::new()).ok()?;
            Some(text.to_str().ok()?.strip_suffix(name)?.to_owned())
        };
        // A directory that was exchanged is emptied while it is held open: no link is no mixture.
        if let (Some(one), Some(other)) = (release(PROGRAMS[0]), release(PROGRAMS[1])) {
            if one != other {
                seen.wrong.insert(format!("a mixture of {one} and {other}"));
            }
            seen.versions.insert(one);
        }
        for name in PROGRAMS {
            if let Err(error) = fs::File::open(bin.join(name)) {
                seen.wrong.insert(format!("opening {name}: {error}"));
            }
        }
    }
    seen
}

/// Runs both programs by their paths.
fn watch_programs(bin: &Path, stop: &AtomicBool) -> Seen {
    let mut seen = Seen::default();
    while !stop.load(Ordering::Relaxed) {
        for name in PROGRAMS {
            seen.looks += 1;
            match Command::new(bin.join(name)).output() {
                Ok(output) if output.status.success() => {
                    seen.versions.insert(String::from_utf8_lossy(&output.stdout).into_owned());
                }
                other => {
                    seen.wrong.insert(format!("running {name}: {other:?}"));
                }
            }
        }
    }
    seen
}
