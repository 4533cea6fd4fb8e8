//! A program replaced in place while others start it: whatever is killed when, every start succeeds.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use reconcile::format::packed::Packing;

use crate::crash::kill_while;
use crate::support::duo::{DRY, PASS, World, said};
use crate::support::trace::Ended;
use crate::support::tree;

const FILE: &str = "usr/local/bin/alpha";

/// Bytes after the program's code: enough for several writes.
const PADDING: usize = 300_000;

/// A program for Linux on x86-64 that needs nothing and prints a line.
fn elf(line: &str) -> Vec<u8> {
    let mut program = b"\x7fELF\x02\x01\x01".to_vec();
    program.resize(16, 0);
    let halves = |values: &[u16]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>();
    let longs = |values: &[u64]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>();
    // Executable, x86-64, version 1; entry, program headers, section headers; flags and sizes.
    program.extend(halves(&[2, 62]));
    program.extend(1_u32.to_le_bytes());
    program.extend(longs(&[0x40_0078, 64, 0]));
    program.extend(0_u32.to_le_bytes());
    program.extend(halves(&[64, 56, 1, 64, 0, 0]));
    // One segment: the whole file, to be read and executed.
    let code: Vec<u8> = [
        &[0xb8, 1, 0, 0, 0, 0xbf, 1, 0, 0, 0][..],
        // The line begins 16 bytes after the next instruction.
        &[0x48, 0x8d, 0x35, 16, 0, 0, 0, 0xba, u8::try_from(line.len()).unwrap(), 0, 0, 0],
        &[0x0f, 0x05, 0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05],
        line.as_bytes(),
    ]
    .concat();
    let size = (120 + code.len() + PADDING) as u64;
    program.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    program.extend(longs(&[0, 0x40_0000, 0x40_0000, size, size, 0x1000]));
    program.extend(code);
    // Padding that does not pack away, and differs.
    let mut noise = u32::from(line.as_bytes()[0]);
    program.extend((0..PADDING).map(|_| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (noise >> 24) as u8
    }));
    program
}

/// Versions 1.0 and 2.0 of a program, in a repository.
fn publish(world: &World) {
    for version in ["1.0", "2.0"] {
        let built = world.path(&format!("built/{version}"));
        let mut packed = Vec::new();
        Packing::Gzip.pack(&mut &elf(&format!("{version}\n"))[..], &mut packed).unwrap();
        tree::write(&built.join("alpha-linux-x86_64.gz"), &packed);
        let (built, to) = (built.display().to_string(), world.path("repository"));
        let to = to.display().to_string();
        let published = world.agent(&["publish", "release", &built, "--to", &to]);
        assert!(published.status.success(), "{}", said(&published));
    }
}

fn wish(world: &World, version: &str, more: &str) {
    let source = format!("{{ file: {} }}", world.path("repository").display());
    world.wish_from(&source, version, 3);
    world.wish_also(&format!(
        "    asset: alpha-linux-x86_64.gz\n    layout: {{ file: /{FILE} }}\n{more}"
    ));
}

fn says(path: &Path) -> Result<String, String> {
    let output = Command::new(path).output().map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Starts the program again and again while something else happens.
fn start_while(
    file: &Path,
    starts: &AtomicUsize,
    killed: &dyn Fn() -> Ended,
) -> (Ended, Vec<String>) {
    // Another test that starts a program just now may still hold this one open, from when it was copied here.
    while Command::new(file).output().is_err_and(|e| e.kind() == ErrorKind::ExecutableFileBusy) {}
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let starter = scope.spawn(|| {
            let mut wrong = BTreeSet::new();
            loop {
                match says(file) {
                    Ok(version) if version == "1.0" || version == "2.0" => {}
                    other => drop(wrong.insert(format!("a start came to {other:?}"))),
                }
                starts.fetch_add(1, Ordering::Relaxed);
                if stop.load(Ordering::Relaxed) {
                    return wrong;
                }
            }
        });
        let ended = killed();
        stop.store(true, Ordering::Relaxed);
        (ended, starter.join().unwrap().into_iter().collect())
    })
}

#[test]
fn every_start_succeeds_while_replacements_are_killed() {
    let mut world = World::new();
    publish(&world);
    wish(&world, "1.0", "");
    world.pass();
    assert_eq!(says(&world.host(FILE)).as_deref(), Ok("1.0"));
    wish(&world, "2.0", "");
    let starts = AtomicUsize::new(0);
    let meanwhile =
        |world: &World, killed: &dyn Fn() -> Ended| start_while(&world.host(FILE), &starts, killed);
    kill_while(&mut world, ("replaced in use", &PASS, 0), meanwhile, |world| {
        let again = world.agent(&PASS);
        let (after, before) =
            (says(&world.host(FILE)), says(&world.host("usr/local/bin/alpha.backup")));
        let dry = said(&world.agent(&DRY));
        let good = again.status.success()
            && (after.as_deref(), before.as_deref()) == (Ok("2.0"), Ok("1.0"))
            && dry.contains("No changes")
            && world.names("usr/local/bin").len() == 2
            && world.leftovers().is_empty();
        if good { Vec::new() } else { vec![format!("{after:?}, {before:?}: {dry}")] }
    });
    println!("{starts:?} starts");
}

#[test]
fn every_start_succeeds_while_a_failing_release_is_switched_back_and_that_is_killed() {
    let mut world = World::new();
    publish(&world);
    let file = world.host(FILE);
    let health = format!(
        "    health:\n      exec: [/bin/sh, -c, \"{} | grep -q 1.0\"]\n      interval: 100ms\n      \
         stable: 100ms\n      deadline: 200ms\n",
        file.display()
    );
    wish(&world, "1.0", &health);
    world.pass();
    wish(&world, "2.0", &health);
    let starts = AtomicUsize::new(0);
    let meanwhile =
        |world: &World, killed: &dyn Fn() -> Ended| start_while(&world.host(FILE), &starts, killed);
    kill_while(&mut world, ("switched back in use", &PASS, 6), meanwhile, |world| {
        // At most the rollback is made up for, then the release is known not to work.
        let codes: Vec<Option<i32>> = (0..3).map(|_| world.agent(&PASS).status.code()).collect();
        let dry = said(&world.agent(&DRY));
        let in_use = says(&world.host(FILE));
        let good = codes.last() == Some(&Some(3))
            && dry.contains("quarantined; staying on 1.0")
            && in_use.as_deref() == Ok("1.0")
            && world.leftovers().is_empty();
        if good { Vec::new() } else { vec![format!("{codes:?}, {in_use:?}: {dry}")] }
    });
    println!("{starts:?} starts");
    assert_eq!(fs::read(file).unwrap(), elf("1.0\n"));
}
