//! Loss of power while a tree is updated.
//!
//! What was not synced is gone, and the old or the new tree is whole, always.
//!
//! A file system of its own is cut off by ext4's shutdown call, which drops what was not written. Before that an
//! unrelated file is synced, so that renames and sizes are on disk that their data may not have followed. Needs root,
//! loop devices, `mkfs.ext4` and `python3`; runs with `--features interop`.
#![cfg(feature = "interop")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::casync::Publisher;
use crate::support::trace::{Act, Call, Ended, Program, trace};
use crate::support::tree::{self, render, snapshot};
use crate::support::world::scratch;

/// `EXT4_IOC_SHUTDOWN` without flushing the journal. Source: `fs/ext4/ext4.h`.
const CUT: &str = "import fcntl,os,struct,sys
fd=os.open(sys.argv[1]+'/unrelated',os.O_CREAT|os.O_WRONLY); os.write(fd,b'x'); os.fsync(fd); os.close(fd)
fd=os.open(sys.argv[1],os.O_RDONLY); fcntl.ioctl(fd,0x8004587d,struct.pack('I',2))";

/// A host on a disk of its own, with an older tree installed and a newer one published.
struct Powered {
    temp: tempfile::TempDir,
    old: String,
    new: String,
}

#[track_caller]
fn succeeds(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
}

impl Powered {
    fn new(layout: &str) -> Self {
        let temp = scratch();
        let publisher = Publisher::new(&temp.path().join("publisher"));
        tree::make(
            &publisher.source,
            "conf.d/main \"one\\n\"\nbin/run 0755 \"#!/bin/sh\\n\"\ngone/x \"x\"\n",
        );
        for number in 0..30_u32 {
            let bytes: Vec<u8> = (0..number * 300).flat_map(u32::to_le_bytes).collect();
            tree::write(&publisher.source.join(format!("data/{number}")), &bytes);
        }
        publisher.publish();
        tree::write(&temp.path().join("desired/wish.yaml"), publisher.wish(layout).as_bytes());
        fs::create_dir(temp.path().join("disk")).unwrap();
        let image = temp.path().join("disk.img");
        fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
        succeeds("mkfs.ext4", &["-q", "-F", &image.display().to_string()]);
        let mut powered = Self { temp, old: String::new(), new: String::new() };
        powered.mount();
        let ended = powered.pass(Act::Watch);
        assert_eq!(ended.code, Some(0), "{}", ended.said());
        powered.old = powered.in_use();
        tree::write(&publisher.source.join("conf.d/main"), b"two\n");
        tree::write(&publisher.source.join("data/new"), &vec![7; 50_000]);
        tree::remove(&publisher.source.join("gone"));
        publisher.publish();
        powered.new = render(&snapshot(&publisher.source));
        powered.umount();
        fs::copy(&image, powered.path("before.img")).unwrap();
        powered
    }

    fn path(&self, path: &str) -> PathBuf {
        self.temp.path().join(path)
    }

    fn text(&self, path: &str) -> String {
        self.path(path).display().to_string()
    }

    fn mount(&self) {
        succeeds("mount", &["-o", "loop", &self.text("disk.img"), &self.text("disk")]);
        fs::create_dir_all(self.path("disk/root")).unwrap();
    }

    fn umount(&self) {
        succeeds("umount", &[&self.text("disk")]);
        // The loop device lets go a little later.
        for _ in 0..200 {
            let output = Command::new("losetup").arg("-j").arg(self.path("disk.img")).output();
            if output.unwrap().stdout.is_empty() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    fn reset(&self) {
        fs::copy(self.path("before.img"), self.path("disk.img")).unwrap();
        self.mount();
    }

    fn cut_power(&self) {
        succeeds("python3", &["-c", CUT, &self.text("disk")]);
        self.umount();
        self.mount();
    }

    fn pass(&self, act: Act) -> Ended {
        let arguments = ["--root", &self.text("disk/root"), "--desired", &self.text("desired")];
        let arguments = arguments.map(str::to_owned).to_vec();
        let environment = vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())];
        trace(
            &Program { path: env!("CARGO_BIN_EXE_reconcile").into(), arguments, environment },
            act,
        )
    }

    fn site(&self) -> PathBuf {
        self.path("disk/root/srv/site")
    }

    fn in_use(&self) -> String {
        render(&snapshot(&self.site()))
    }
}

impl Drop for Powered {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path("disk")).output();
    }
}

fn whole(powered: &Powered, found: &str) -> bool {
    found == powered.old || found == powered.new
}

#[test]
fn power_lost_at_any_moment_of_an_update_leaves_the_old_or_the_new_tree() {
    let powered = Powered::new("");
    powered.reset();
    let points = powered.pass(Act::Watch).calls.len();
    // What was reported as done is on disk.
    powered.cut_power();
    assert_eq!(powered.in_use(), powered.new, "after success was reported");
    powered.umount();
    let mut failures = Vec::new();
    let mut seen = [0, 0];
    // All points around the commit, and each third of the others.
    let tried = (1..=points).filter(|point| point % 3 == 0 || point + 40 > points);
    for point in tried {
        powered.reset();
        powered.pass(Act::KillBefore(point));
        powered.cut_power();
        let found = powered.in_use();
        seen[usize::from(found == powered.new)] += 1;
        if !whole(&powered, &found) {
            failures.push(format!("at {point} of {points}: {found}"));
        }
        let again = powered.pass(Act::Watch);
        if again.code != Some(0) || powered.in_use() != powered.new {
            failures.push(format!("at {point} of {points} the next pass: {}", again.said()));
        }
        powered.umount();
    }
    println!(
        "power lost at {} points: {seen:?} old and new, {} failures",
        seen[0] + seen[1],
        failures.len()
    );
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
    assert!(seen[0] > 0, "no point was before the switch");
}

#[test]
fn power_lost_while_files_are_replaced_one_by_one_leaves_each_the_old_or_the_new_one() {
    let powered = Powered::new("    layout: in-place\n");
    powered.reset();
    let watched = powered.pass(Act::Watch);
    powered.cut_power();
    assert_eq!(powered.in_use(), powered.new, "after success was reported");
    powered.umount();
    // From a little before the first file is replaced.
    let site = powered.site();
    let touches = |call: &Call| call.paths.iter().any(|path| path.starts_with(&site));
    let first = watched.calls.iter().position(touches).unwrap().saturating_sub(5);
    let mut failures = Vec::new();
    for point in first..=watched.calls.len() {
        powered.reset();
        powered.pass(Act::KillBefore(point));
        powered.cut_power();
        let found = powered.in_use();
        let known = |line: &str| powered.old.contains(line) || powered.new.contains(line);
        failures.extend(
            found.lines().filter(|line| !known(line)).map(|line| format!("at {point}: {line}")),
        );
        let again = powered.pass(Act::Watch);
        if again.code != Some(0) || powered.in_use() != powered.new {
            failures.push(format!("at {point} the next pass: {}", again.said()));
        }
        powered.umount();
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn the_cut_drops_what_was_not_synced() {
    let powered = Powered::new("");
    powered.reset();
    let written: &Path = &powered.path("disk/unsynced");
    fs::write(written, vec![1; 100_000]).unwrap();
    powered.cut_power();
    let found = fs::read(written).unwrap_or_default();
    assert_ne!(found, vec![1; 100_000], "else this test proves nothing");
    powered.umount();
}
