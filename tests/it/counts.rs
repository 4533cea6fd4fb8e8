//! What a pass costs in things that can be counted: requests, bytes, writes, waits for the disk.

#[cfg(feature = "interop")]
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use reconcile::record::last_pass::SAME_FOR;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

#[cfg(feature = "interop")]
use crate::support::casync::Publisher;
use crate::support::github::{GitHub, release};
use crate::support::server::Reply;
#[cfg(feature = "interop")]
use crate::support::tree::{self, render, snapshot};

/// Apps of the host.
const APPS: usize = 5;

/// A host, the forge its apps come from, and the wish for their latest releases.
struct World {
    root: tempfile::TempDir,
    github: GitHub,
}

impl World {
    fn new() -> Self {
        let world = Self { root: tempfile::tempdir().unwrap(), github: GitHub::start() };
        let apps = (0..APPS).map(|i| format!("app{i}")).collect::<Vec<_>>();
        for app in &apps {
            world.publish(app, &archive(3));
        }
        world.desire(&apps);
        world
    }

    fn publish(&self, app: &str, archive: &[u8]) {
        // The forge keeps files by tag and name, so no two apps share a tag.
        let tag = format!("v1.0.{}", app.trim_start_matches("app"));
        let release = release(&tag).asset("tool.tar.gz", archive);
        self.github.publish(&format!("acme/{app}"), [release]);
    }

    fn desire(&self, apps: &[String]) {
        let app = |app: &String| {
            format!(
                "  {app}:\n    version: latest\n    source: {{ github: {{ repo: acme/{app}, api: \"{}\" \
                 }} }}\n    asset: tool.tar.gz\n    verify: {{ min: forge-digest }}\n",
                self.github.api.url("")
            )
        };
        let text = format!("apps:\n{}", apps.iter().map(app).collect::<String>());
        fs::write(self.root.path().join("desired.yaml"), text).unwrap();
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reconcile"));
        command.arg("--root").arg(self.root.path());
        command.arg("--desired").arg(self.root.path().join("desired.yaml")).args(more);
        command
    }

    fn reconcile(&self, more: &[&str]) -> String {
        successful(self.command(more).output().unwrap())
    }
}

#[track_caller]
fn successful(output: Output) -> String {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (out, err) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    out
}

/// A program and `others` more files.
fn archive(others: usize) -> Vec<u8> {
    let pack = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut builder = tar::Builder::new(pack);
    let mut add = |path: &str, mode: u32, content: &str| {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(mode);
        builder.append_data(&mut header, path, content.as_bytes()).unwrap();
    };
    add("tool", 0o755, "#!/bin/sh\n");
    for i in 0..others {
        add(&format!("share/{}/file{i}", i % 7), 0o644, "content");
    }
    builder.into_inner().unwrap().finish().unwrap()
}

#[test]
fn converged_host_costs_one_bodyless_exchange_for_each_source() {
    let world = World::new();
    world.reconcile(&[]);
    assert!(world.github.api.take_requests().len() >= APPS);
    assert!(!world.github.files.take_requests().is_empty());
    for more in [&[][..], &["--dry-run"], &["--deep"]] {
        let printed = world.reconcile(more);
        assert!(printed.contains("No changes"), "{printed}");
        let asked = world.github.api.take_requests();
        assert_eq!(asked.len(), APPS, "{asked:?}");
        assert!(
            asked.iter().all(|request| request.status == 304 && request.sent == 0),
            "{asked:?}"
        );
        assert!(world.github.files.take_requests().is_empty());
    }
    world.reconcile(&["--max-age", "1h"]);
    assert!(world.github.api.take_requests().is_empty(), "what is fresh is not asked for");
}

#[test]
fn interrupted_download_transfers_each_byte_once() {
    let world = World::new();
    world.desire(&["app0".to_owned()]);
    let archive = archive(500);
    world.publish("app0", &archive);
    let whole = Reply::file(archive.clone());
    let path = "/storage/v1.0.0/tool.tar.gz";
    world.github.files.serve_in_turn(path, [whole.clone().truncated_after(1_000), whole]);
    world.reconcile(&[]);
    let statuses: Vec<_> =
        world.github.files.requests().iter().map(|r| (r.status, r.sent)).collect();
    assert_eq!(statuses, [(200, 1_000), (206, archive.len() as u64 - 1_000)]);
}

/// Directories below `path`, itself included.
fn directories(path: &Path) -> Vec<PathBuf> {
    let mut found = vec![path.to_owned()];
    let mut at = 0;
    while at < found.len() {
        let entries = fs::read_dir(&found[at]).unwrap().map(|entry| entry.unwrap().path());
        let below: Vec<_> = entries.filter(|path| path.is_dir() && !path.is_symlink()).collect();
        found.extend(below);
        at += 1;
    }
    found
}

/// Names of what was made, changed, removed or only opened for writing below `root` meanwhile.
fn touched(root: &Path, work: impl FnOnce()) -> Vec<String> {
    let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
    let flags = WatchFlags::CREATE
        | WatchFlags::MODIFY
        | WatchFlags::ATTRIB
        | WatchFlags::CLOSE_WRITE
        | WatchFlags::DELETE
        | WatchFlags::MOVE;
    for directory in directories(root) {
        inotify::add_watch(&watch, &directory, flags).unwrap();
    }
    work();
    let mut buffer = [const { std::mem::MaybeUninit::uninit() }; 8 << 10];
    let mut reader = inotify::Reader::new(&watch, &mut buffer);
    let mut names = Vec::new();
    while let Ok(event) = reader.next() {
        let name = event.file_name().map(|name| name.to_string_lossy().into_owned());
        names.push(format!("{} {:?}", name.unwrap_or_default(), event.events()));
    }
    names
}

#[test]
fn dry_run_opens_nothing_for_writing() {
    let world = World::new();
    world.reconcile(&[]);
    let root = world.root.path();
    // Within a moment, not even that it was is worth writing.
    let later = (jiff::Timestamp::now() + SAME_FOR * 2).to_string();
    let seen = touched(root, || drop(world.reconcile(&["--clock", &later])));
    assert!(seen.iter().any(|name| name.contains("last-pass.json")), "blind: {seen:?}");
    let seen = touched(root, || drop(world.reconcile(&["--dry-run"])));
    assert!(seen.is_empty(), "{seen:?}");
    fs::write(root.join("opt/app0/releases/v1.0.0/tool"), "changed").unwrap();
    let seen = touched(root, || {
        let plan = world.reconcile(&["--dry-run"]);
        assert!(plan.contains("app/app0"), "{plan}");
    });
    assert!(seen.is_empty(), "{seen:?}");
}

#[test]
fn converged_pass_touches_only_what_it_remembers() {
    let world = World::new();
    world.reconcile(&[]);
    let opt = world.root.path().join("opt");
    let seen = touched(&opt, || drop(world.reconcile(&[])));
    assert!(seen.is_empty(), "{seen:?}");
}

/// Waits for the disk while an archive with so many files is installed.
#[cfg(feature = "interop")]
fn syncs_of_install(files: usize) -> usize {
    let world = World::new();
    world.desire(&["app0".to_owned()]);
    world.publish("app0", &archive(files));
    let log = world.root.path().join("strace");
    let command = world.command(&[]);
    let mut traced = Command::new("strace");
    traced.args(["-f", "-e", "trace=fsync,fdatasync,syncfs,sync,sync_file_range,msync", "-o"]);
    traced.arg(&log).arg(command.get_program()).args(command.get_args());
    successful(traced.output().unwrap());
    fs::read_to_string(log).unwrap().lines().filter(|line| line.contains("sync")).count()
}

#[cfg(feature = "interop")]
#[test]
fn install_waits_for_the_disk_as_often_for_many_files_as_for_few() {
    let (few, many) = (syncs_of_install(2), syncs_of_install(700));
    assert_eq!(few, many);
    assert!(few > 0, "nothing is durable");
}

/// System calls by name while a tree is updated in place of whose files some stay and ten become others.
#[cfg(feature = "interop")]
fn calls_of_update_in_place(stays: u32) -> BTreeMap<String, usize> {
    let temp = tempfile::tempdir().unwrap();
    let publisher = Publisher::new(&temp.path().join("publisher"));
    let write = |path: String, content: &str| {
        tree::write(&publisher.source.join(path), content.as_bytes());
    };
    for number in 0..stays {
        write(format!("stays/d{}/{number}", number / 100), &format!("{number}\n").repeat(300));
    }
    (0..10).for_each(|number| write(format!("changes/{number}"), "one\n"));
    publisher.publish();
    let desired = temp.path().join("desired.yaml");
    fs::write(&desired, publisher.wish("    layout: in-place\n")).unwrap();
    let log = temp.path().join("strace");
    let pass = || {
        let mut traced = Command::new("strace");
        traced.args(["-f", "-c", "-U", "calls,name", "-o"]).arg(&log);
        traced.arg(env!("CARGO_BIN_EXE_reconcile")).arg("--root").arg(temp.path().join("root"));
        successful(traced.arg("--desired").arg(&desired).output().unwrap());
    };
    fs::create_dir(temp.path().join("root")).unwrap();
    pass();
    (0..10).for_each(|number| write(format!("changes/{number}"), "two\n"));
    publisher.publish();
    pass();
    let updated = render(&snapshot(&temp.path().join("root/srv/site")));
    assert_eq!(updated, render(&snapshot(&publisher.source)));
    let counts = fs::read_to_string(log).unwrap();
    let lines = counts.lines().filter_map(|line| line.trim().split_once(' '));
    lines.filter_map(|(calls, name)| Some((name.trim().to_owned(), calls.parse().ok()?))).collect()
}

#[cfg(feature = "interop")]
#[test]
fn update_in_place_looks_once_at_a_file_that_stays_and_does_nothing_to_it() {
    let (few, many) = (calls_of_update_in_place(100), calls_of_update_in_place(1_100));
    // Calls for each of a thousand files more.
    let more = |names: &[&str]| {
        let sum = |counts: &BTreeMap<String, usize>| {
            names.iter().filter_map(|name| counts.get(*name)).sum::<usize>()
        };
        sum(&many).saturating_sub(sum(&few))
    };
    let looks = more(&["stat", "lstat", "fstat", "newfstatat", "statx"]);
    assert!((1_000..1_200).contains(&looks), "{looks} looks: {few:#?} {many:#?}");
    let writes = ["openat", "linkat", "unlinkat", "renameat", "mkdirat", "fchmod", "utimensat"];
    for name in writes {
        assert!(more(&[name]) < 100, "{name}: {few:#?} {many:#?}");
    }
}
