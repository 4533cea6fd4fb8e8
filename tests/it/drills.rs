//! The twenty drills of `tests/DRILLS.md`: each is held by tests that exist, and some by those here.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use crate::support::server::{Reply, Server};
use crate::support::world::World;

/// Bytes of an artifact that memory is to be independent of.
const LARGE_BYTES: u64 = 128 << 20;

/// Memory of a pass besides the program itself, which is large without optimisation, in KiB.
const ANONYMOUS_KIB_MAX: u64 = 32 << 10;

/// The text of all files with tests.
fn tests(directory: &Path, text: &mut String) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        if entry.path().is_dir() {
            tests(&entry.path(), text);
        } else if entry.path().extension().is_some_and(|e| e == "rs") {
            text.push_str(&fs::read_to_string(entry.path()).unwrap());
        }
    }
}

#[test]
fn every_drill_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut text = String::new();
    tests(&root.join("tests/it"), &mut text);
    let table = fs::read_to_string(root.join("tests/DRILLS.md")).unwrap();
    for number in 1..=20 {
        let row = format!("| D{number} | ");
        let row = table.lines().find(|line| line.starts_with(&row)).unwrap();
        let held_by = row.split(" | ").nth(2).unwrap();
        let names: Vec<&str> = held_by.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "{row}");
        for name in names {
            let scenario = root.join("tests/scenarios").join(name).is_dir();
            let file = name.starts_with("benches/") && root.join(name).is_file();
            assert!(scenario || file || text.contains(&format!("fn {name}(")), "{name}: {row}");
        }
    }
}

fn release(name: &str) -> String {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/repository");
    let repository = repository.display();
    format!(
        "  {name}:\n    source: {{ file: {{ path: {repository}, pattern: \"{name}-{{version}}.gz\" }} }}\n"
    )
}

#[test]
fn edited_file_moved_link_and_lost_release_are_repaired_in_one_pass() {
    let mut world = World::new();
    let hello = format!(
        "  hello:\n    source: {{ file: {}/examples/repository }}\n",
        env!("CARGO_MANIFEST_DIR")
    );
    world.wish("desired", &format!("apps:\n{}{}{hello}", release("clock"), release("weather")));
    world.run(&[]).exits(0);
    let of = |app: &str| world.path(&format!("/opt/{app}/bin/{app}"));
    let whole = ["clock", "weather", "hello"].map(|app| (of(app), fs::read(of(app)).unwrap()));
    let target = fs::canonicalize(of("clock")).unwrap();
    fs::write(target, "edited").unwrap();
    fs::remove_file(of("weather")).unwrap();
    std::os::unix::fs::symlink("/bin/true", of("weather")).unwrap();
    fs::remove_dir_all(world.path("/opt/hello/releases")).unwrap();
    let ran = world.run(&[]).exits(0);
    assert_eq!(ran.stdout.matches("drift-corrected").count(), 3, "{}", ran.stdout);
    for (path, bytes) in whole {
        assert_eq!(fs::read(&path).unwrap(), bytes, "{}", path.display());
    }
    assert!(world.run(&[]).exits(0).stdout.starts_with("No changes"));
}

/// A server with one release of `tool`, and what its host is to have.
fn offered(world: &mut World, body: Vec<u8>, name: &str) -> Server {
    let server = Server::start();
    let sums = format!("{}  {name}\n", HEXLOWER.encode(&Sha256::digest(&body)));
    server.serve("/SHA256SUMS", Reply::file(sums));
    server.serve(&format!("/{name}"), Reply::file(body));
    world.wish(
        "desired",
        &format!(
            "apps:\n  tool:\n    source: {{ http: {{ url: \"{}\", pattern: \"{}\" }} }}\n    verify: {{ min: checksum, \
             checksums: SHA256SUMS }}\n",
            server.url(""),
            name.replace("1.0", "{version}")
        ),
    );
    server
}

#[test]
fn source_that_fails_three_passes_costs_nothing_twice() {
    let mut world = World::new();
    let program = b"#!/bin/sh\necho tool\n".to_vec();
    let server = offered(&mut world, program.clone(), "tool-1.0");
    server.serve("/tool-1.0", Reply::status(500));
    for _ in 0..3 {
        world.run(&[]).exits(1);
        world.tick();
    }
    server.serve("/tool-1.0", Reply::file(program.clone()));
    server.take_requests();
    world.run(&[]).exits(0);
    let asked = server.requests();
    let sent: u64 = asked.iter().filter(|r| r.path == "/tool-1.0").map(|r| r.sent).sum();
    assert_eq!(sent, program.len() as u64, "each byte came once");
    assert_eq!(fs::read(world.path("/opt/tool/bin/tool")).unwrap(), program);
}

#[test]
fn memory_of_an_install_does_not_grow_with_the_artifact() {
    let mut world = World::new();
    let mut archive = Vec::new();
    let mut header = tar::Header::new_gnu();
    header.set_path("tool").unwrap();
    header.set_mode(0o755);
    header.set_size(LARGE_BYTES);
    header.set_cksum();
    archive.write_all(header.as_bytes()).unwrap();
    archive.extend(b"#!/bin/sh\n");
    archive.resize(usize::try_from(512 + LARGE_BYTES + 1024).unwrap(), b'#');
    let end = archive.len() - 1024;
    archive[end..].fill(0);
    let _server = offered(&mut world, archive, "tool-1.0.tar");
    let mut child = world.start(&[]);
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
        peak = peak.max(kib.unwrap_or(0));
        std::thread::sleep(Duration::from_millis(2));
    }
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let installed = fs::metadata(world.path("/opt/tool/bin/tool")).unwrap();
    assert_eq!(installed.len(), LARGE_BYTES);
    println!("at its highest {peak} KiB");
    assert!(peak > 0 && peak < ANONYMOUS_KIB_MAX, "{peak} KiB");
}
