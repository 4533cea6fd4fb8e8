//! Deltas of published trees: there until the index is another, and only where they are worth it.

use std::fs;
use std::path::PathBuf;

use crate::support::casync::noise;
use crate::support::duo::RECONCILE;
use crate::support::trace::{Act, Ended, Program, trace};
use crate::support::tree::{self, copy, picture, remove};
use crate::support::world::{Ran, World};

const INDEX: &str = "public/site.caidx";

/// A publisher of a tree with one file.
struct Site {
    world: World,
}

impl Site {
    fn new() -> Self {
        let mut world = World::new();
        world.now = jiff::Timestamp::now() + jiff::SignedDuration::from_mins(1);
        let site = Self { world };
        site.write(1);
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.world.temp().join(name)
    }

    /// Another release of the file: a byte in each thousand is another one.
    fn write(&self, release: u8) {
        let mut bytes = noise(1, 600_000);
        bytes.iter_mut().step_by(1000).for_each(|byte| *byte = release);
        tree::write(&self.path("tree/file"), &bytes);
    }

    fn publish(&self, more: &[&str]) -> Ran {
        self.world.run(&[&["publish", "tree", "tree", "--index", INDEX], more].concat())
    }

    fn publishes(&self, more: &[&str]) -> Ran {
        self.publish(more).exits(0)
    }

    /// Keeps the index of a release.
    fn keep(&self, name: &str) {
        fs::copy(self.path(INDEX), self.path(name)).unwrap();
    }

    fn deltas(&self) -> Vec<PathBuf> {
        let files = picture(&self.path("public")).into_keys();
        files.filter(|path| path.extension().is_some_and(|end| end == "cadelta")).collect()
    }
}

#[test]
fn delta_stays_until_the_index_is_another() {
    let site = Site::new();
    site.publishes(&["--delta-from", INDEX]);
    site.keep("old.caidx");
    site.write(2);
    site.publishes(&["--delta-from", INDEX]);
    let made = site.deltas();
    assert_eq!(made.len(), 1);
    let content = fs::read(&made[0]).unwrap();
    for again in [&["--delta-from", INDEX][..], &["--delta-from", "old.caidx"], &[]] {
        site.publishes(again);
        assert_eq!(site.deltas(), made, "{again:?}");
        // The same where nothing is remembered of the tree.
        remove(&site.path("public/site.caidx.cache"));
        site.publishes(again);
        assert_eq!(site.deltas(), made, "{again:?}");
    }
    // One that is asked for later is made, once.
    remove(&made[0]);
    assert!(site.publishes(&[]).stdout.contains("already"));
    site.publishes(&["--delta-from", "old.caidx"]);
    assert!(fs::read(&made[0]).unwrap() == content);
    assert!(site.publishes(&["--delta-from", "old.caidx"]).stdout.contains("already"));
    site.write(3);
    site.publishes(&[]);
    assert!(site.deltas().is_empty());
}

#[test]
fn index_that_is_not_there_is_told_unless_it_is_the_one_to_publish() {
    let site = Site::new();
    let said = site.publish(&["--delta-from", "nowhere.caidx"]).exits(1).stderr;
    assert!(said.contains("cannot read nowhere.caidx"), "{said}");
    assert!(!site.path(INDEX).exists());
    let other = format!("./{INDEX}");
    site.publishes(&["--delta-from", &other]);
}

#[test]
fn delta_that_cannot_be_made_hinders_no_publication() {
    let site = Site::new();
    site.publishes(&[]);
    site.keep("old.caidx");
    for chunk in picture(&site.path("public/default.castr")).into_keys() {
        if chunk.extension().is_some_and(|end| end == "cacnk") {
            remove(&chunk);
        }
    }
    site.write(2);
    let said = site.publishes(&["--delta-from", "old.caidx"]);
    assert!(said.stderr.contains("no delta from old.caidx"), "{said:?}");
    assert_ne!(fs::read(site.path(INDEX)).unwrap(), fs::read(site.path("old.caidx")).unwrap());
    assert_eq!(site.deltas().len(), 0);
}

#[test]
fn delta_that_would_be_no_shorter_than_the_chunks_is_not_made() {
    let site = Site::new();
    site.publishes(&[]);
    site.keep("old.caidx");
    tree::write(&site.path("tree/file"), &noise(7, 600_000));
    site.publishes(&["--delta-from", "old.caidx"]);
    assert_eq!(site.deltas().len(), 0);
    let said = site.publishes(&["--delta-from", "old.caidx"]).stdout;
    assert!(said.contains("already"), "{said}");
    // Beside what changed a little it is left out.
    tree::write(&site.path("tree/between"), &noise(9, 600_000));
    site.publishes(&[]);
    site.keep("old.caidx");
    tree::write(&site.path("tree/a"), &noise(8, 5_000_000));
    let mut bytes = noise(7, 600_000);
    bytes.iter_mut().step_by(1000).for_each(|byte| *byte = 1);
    tree::write(&site.path("tree/file"), &bytes);
    site.publishes(&["--delta-from", "old.caidx"]);
    let made = site.deltas();
    assert_eq!(made.len(), 1);
    assert!(made[0].metadata().unwrap().len() < 1_000_000);
}

#[test]
fn publisher_that_is_killed_makes_the_delta_when_it_is_asked_again() {
    let site = Site::new();
    site.publishes(&[]);
    site.keep("old.caidx");
    copy(&site.path("public"), &site.path("before"));
    site.write(2);
    let now = site.world.now.to_string();
    let line =
        format!("cd {} && exec {RECONCILE} --clock {now} \"$@\"", site.world.temp().display());
    let arguments = ["publish", "tree", "tree", "--index", INDEX, "--delta-from", INDEX];
    let fixed = ["-c", &line, "sh"];
    let program = Program {
        path: "/bin/sh".into(),
        arguments: fixed.iter().chain(&arguments).map(|argument| (*argument).to_owned()).collect(),
        environment: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
    };
    let run = |act: Act| -> Ended {
        remove(&site.path("public"));
        copy(&site.path("before"), &site.path("public"));
        trace(&program, act)
    };
    let whole = run(Act::Watch);
    assert_eq!((whole.code, site.deltas().len()), (Some(0), 1), "{}", whole.said());
    let content = |site: &Site| site.deltas().iter().map(|at| fs::read(at).unwrap()).collect();
    let wanted: Vec<Vec<u8>> = content(&site);
    // Chunks are written by several threads: what matters comes after them.
    let renames = whole.calls.iter().enumerate();
    let last =
        renames.filter(|(_, call)| call.paths.iter().any(|path| path.ends_with("site.caidx")));
    let index = last.map(|(at, _)| at).next_back().unwrap();
    for point in index.saturating_sub(12)..=whole.calls.len() {
        run(Act::KillBefore(point.max(1)));
        site.publishes(&["--delta-from", INDEX]);
        let made: Vec<Vec<u8>> = content(&site);
        assert!(made == wanted, "killed before {point}: {:?}", whole.calls.get(point));
    }
}
