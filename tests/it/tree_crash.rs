//! Kills and failing disks while a tree is updated.
//!
//! The old or the new one is whole, always, and the next pass converges.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::errno::Errno;

use crate::support::casync::Publisher;
use crate::support::trace::{Act, Call, Ended, Program, trace};
use crate::support::tree::{self, render, snapshot};
use crate::support::world::scratch;

/// A host, what it was like before, and a publisher with a newer tree.
struct Site {
    temp: tempfile::TempDir,
    publisher: Publisher,
    old: Option<String>,
    new: String,
    /// Something that somebody else put into the old tree.
    notes: Option<&'static str>,
}

impl Site {
    /// A host with nothing on it, or with the tree before the newest.
    fn new(installed: Installed) -> Self {
        Self::laid_out(installed, "exchange")
    }

    fn laid_out(installed: Installed, layout: &str) -> Self {
        let temp = scratch();
        let publisher = Publisher::new(&temp.path().join("publisher"));
        tree::make(
            &publisher.source,
            "conf.d/main \"one\\n\"\nbin/run 0755 \"#!/bin/sh\\n\"\nlatest -> conf.d/main\ngone/x \"x\"\n",
        );
        let many: Vec<u8> = (0..3000_u32).flat_map(u32::to_le_bytes).collect();
        tree::write(&publisher.source.join("data/many"), &many);
        publisher.publish();
        let log = temp.path().join("log");
        let wish = publisher.wish(&format!(
            "    retain: 2\n    layout: {layout}\n    preserve: [\"*.log\"]\n    triggers:\n      - {{ paths: [conf.d], run: [[sh, -c, \"cat \
             $SITE/conf.d/main >> {}\"]] }}\n",
            log.display()
        ));
        tree::write(&temp.path().join("desired/wish.yaml"), wish.as_bytes());
        fs::create_dir(temp.path().join("root")).unwrap();
        let mut site = Self { temp, publisher, old: None, new: String::new(), notes: None };
        if installed == Installed::Yes {
            let ended = site.run(Act::Watch);
            assert_eq!(ended.code, Some(0), "{}", ended.said());
            tree::write(&site.path("root/srv/site/own.log"), b"mine");
            site.old = site.in_use();
            tree::write(&site.publisher.source.join("conf.d/main"), b"two\n");
            tree::remove(&site.publisher.source.join("gone"));
            site.publisher.publish();
            tree::remove(&site.path("log"));
        }
        copy(&site.path("root"), &site.path("before"));
        let ended = site.run(Act::Watch);
        assert_eq!(ended.code, Some(0), "{}", ended.said());
        site.new = site.in_use().unwrap();
        site
    }

    fn path(&self, path: &str) -> PathBuf {
        self.temp.path().join(path)
    }

    fn reset(&self) {
        tree::remove(&self.path("root"));
        tree::remove(&self.path("log"));
        copy(&self.path("before"), &self.path("root"));
        let Some(notes) = self.notes else { return };
        let tree = self.path("root/srv/site");
        tree::write(&tree.join("notes"), notes.as_bytes());
        // What was copied is known to be ours as long as nobody wrote to it: this one is meant to be.
        let generations = self.path("root/srv/.site.reconcile/generations");
        let head = generations
            .join(&self.names("root/srv/.site.reconcile/generations")[0])
            .join("head.json");
        let mut value: serde_json::Value =
            serde_json::from_slice(&fs::read(&head).unwrap()).unwrap();
        value["inode"] = tree.metadata().unwrap().ino().into();
        fs::write(&head, value.to_string()).unwrap();
    }

    /// Whether what somebody else put into the old tree is anywhere.
    fn has_notes(&self) -> bool {
        fn walk(directory: &Path, content: &str) -> bool {
            fs::read_dir(directory).unwrap().any(|entry| {
                let path = entry.unwrap().path();
                let kind = path.symlink_metadata().unwrap().file_type();
                kind.is_dir() && walk(&path, content)
                    || kind.is_file() && fs::read(&path).unwrap() == content.as_bytes()
            })
        }
        self.notes.is_none_or(|notes| walk(&self.path("root/srv"), notes))
    }

    fn program(&self, dry: &[&str]) -> Program {
        let text = |path: &str| self.path(path).display().to_string();
        let mut arguments = vec!["--root".to_owned(), text("root"), "--desired".to_owned()];
        arguments.extend([text("desired"), "--effects".to_owned(), "run".to_owned()]);
        arguments.extend(dry.iter().map(|word| (*word).to_owned()));
        let environment = vec![
            ("PATH".to_owned(), "/usr/bin:/bin".to_owned()),
            ("SITE".to_owned(), text("root/srv/site")),
        ];
        Program { path: env!("CARGO_BIN_EXE_reconcile").into(), arguments, environment }
    }

    fn run(&self, act: Act) -> Ended {
        trace(&self.program(&[]), act)
    }

    /// The tree in use.
    fn in_use(&self) -> Option<String> {
        let site = self.path("root/srv/site");
        site.exists().then(|| render(&snapshot(&site)))
    }

    fn names(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(path)).into_iter().flatten();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// What is wrong right after a pass was cut off.
    fn check_between(&self) -> Option<String> {
        let found = self.in_use();
        let whole = found == self.old || found.as_ref() == Some(&self.new);
        (!whole).then(|| format!("neither the old nor the new tree: {found:?}"))
    }

    /// What is wrong after one more pass.
    fn check_converges(&self) -> Vec<String> {
        let mut bad = Vec::new();
        let again = self.run(Act::Watch);
        if again.code != Some(0) {
            bad.push(format!("the next pass failed: {}", again.said()));
        }
        if self.in_use().as_ref() != Some(&self.new) {
            bad.push(format!("the next pass led to {:?}", self.in_use()));
        }
        let dry = trace(&self.program(&["--dry-run"]), Act::Watch);
        if !dry.said().contains("No changes") {
            bad.push(format!("a further pass would do something: {}", dry.said()));
        }
        let noted = fs::read_to_string(self.path("log")).unwrap_or_default();
        let newest = if self.old.is_some() { "two\n" } else { "one\n" };
        if !noted.ends_with(newest) {
            bad.push(format!("the trigger did not run for the new tree: {noted:?}"));
        }
        let staging = self.names("root/srv/.site.reconcile/staging");
        let generations = self.names("root/srv/.site.reconcile/generations");
        if !staging.is_empty() || generations.len() > 2 {
            bad.push(format!("left behind: {staging:?} {generations:?}"));
        }
        bad
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Installed {
    Yes,
    No,
}

fn copy(from: &Path, to: &Path) {
    tree::remove(to);
    let copied = Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(copied.success());
}

#[track_caller]
fn everywhere(name: &str, site: &Site, act: impl Fn(usize) -> Act) {
    cut_off(name, site, act, Site::check_between);
}

#[track_caller]
fn cut_off(
    name: &str,
    site: &Site,
    act: impl Fn(usize) -> Act,
    check: impl Fn(&Site) -> Option<String>,
) {
    site.reset();
    let points = site.run(Act::Watch).calls.len();
    let mut failures = Vec::new();
    for point in 1..=points {
        site.reset();
        let ended = site.run(act(point));
        // Threads take turns differently from run to run, so the last points may not be reached.
        let Some(call) = ended.calls.get(point - 1) else { continue };
        let mut bad: Vec<String> = check(site).into_iter().collect();
        bad.extend((!site.has_notes()).then(|| "the notes are gone".to_owned()));
        bad.extend(site.check_converges());
        bad.extend((!site.has_notes()).then(|| "the next pass removed the notes".to_owned()));
        failures.extend(
            bad.into_iter().map(|what| {
                format!("at {point} of {points}, {} {:?}: {what}", call.name, call.paths)
            }),
        );
    }
    println!("{name}: {points} points, {} failures", failures.len());
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn killed_first_install_of_a_tree_ends_installed() {
    everywhere("first tree", &Site::new(Installed::No), Act::KillBefore);
}

#[test]
fn killed_update_of_a_tree_leaves_the_old_or_the_new_one() {
    everywhere("tree update", &Site::new(Installed::Yes), Act::KillBefore);
}

#[test]
fn full_disk_leaves_the_old_or_the_new_tree() {
    everywhere("full disk", &Site::new(Installed::Yes), Act::FullFrom);
}

#[test]
fn failing_disk_leaves_the_old_or_the_new_tree() {
    everywhere("failing disk", &Site::new(Installed::Yes), |point| Act::Fail(point, Errno::EIO));
}

#[test]
fn failing_disk_in_place_leaves_what_is_preserved() {
    let site = Site::laid_out(Installed::Yes, "in-place");
    let check = |site: &Site| {
        let own = fs::read_to_string(site.path("root/srv/site/own.log")).unwrap();
        (own != "mine").then(|| format!("{own:?}"))
    };
    cut_off("failing disk in place", &site, |point| Act::Fail(point, Errno::EIO), check);
}

#[test]
fn killed_update_in_place_is_finished_by_the_next_pass() {
    let site = Site::laid_out(Installed::Yes, "in-place");
    // A mixture, but every file is the old or the new one, whole.
    let check = |site: &Site| {
        let found = fs::read_to_string(site.path("root/srv/site/conf.d/main")).unwrap();
        let own = fs::read_to_string(site.path("root/srv/site/own.log")).unwrap();
        let whole = ["one\n", "two\n"].contains(&found.as_str()) && own == "mine";
        (!whole).then(|| format!("{found:?} {own:?}"))
    };
    cut_off("update in place", &site, Act::KillBefore, check);
}

#[test]
fn killed_way_back_of_an_update_in_place_ends_on_the_tree_before() {
    let site = Site::laid_out(Installed::Yes, "in-place");
    let wish = site.path("desired/wish.yaml");
    let text = fs::read_to_string(&wish).unwrap();
    let health = "    health:\n      exec: [/bin/sh, -c, \"! grep -q two $SITE/conf.d/main\"]\n      interval: 100ms\n      \
                  stable: 100ms\n      deadline: 200ms\n";
    fs::write(&wish, format!("{text}{health}")).unwrap();
    site.reset();
    let whole = site.run(Act::Watch);
    assert_eq!(whole.code, Some(6), "{}", whole.said());
    let points = whole.calls.len();
    // Until then nothing but staging is touched, which every update does.
    let live = site.path("root/srv/site");
    let touches = |call: &Call| call.paths.iter().any(|path| path.starts_with(&live));
    let first = whole.calls.iter().position(touches).unwrap();
    let mut failures = Vec::new();
    for point in first..=points {
        site.reset();
        let ended = site.run(Act::KillBefore(point));
        let Some(call) = ended.calls.get(point - 1) else { continue };
        let mut bad = Vec::new();
        let main = fs::read_to_string(site.path("root/srv/site/conf.d/main")).unwrap();
        if !["one\n", "two\n"].contains(&main.as_str()) {
            bad.push(format!("{main:?} is neither old nor new"));
        }
        // Going back, tidying, and then nothing.
        let passes = [site.run(Act::Watch), site.run(Act::Watch), site.run(Act::Watch)];
        if site.in_use() != site.old {
            bad.push(format!("the next passes led to {:?}: {}", site.in_use(), passes[0].said()));
        }
        let dry = trace(&site.program(&["--dry-run", "--detailed-exitcode"]), Act::Watch);
        if dry.code == Some(2) {
            bad.push(format!("a further pass would do something: {}", dry.said()));
        }
        let about =
            |what| format!("at {point} of {points}, {} {:?}: {what}", call.name, call.paths);
        failures.extend(bad.into_iter().map(about));
    }
    println!("way back in place: {points} points, {} failures", failures.len());
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn files_of_others_outlive_updates_that_fail_or_are_killed_at_any_moment() {
    let anything = |_: &Site| None;
    let mut site = Site::laid_out(Installed::Yes, "in-place");
    site.notes = Some("precious");
    cut_off("notes in place", &site, |point| Act::Fail(point, Errno::EIO), anything);
    let mut site = Site::laid_out(Installed::Yes, "exchange");
    site.notes = Some("precious");
    cut_off("notes", &site, Act::KillBefore, anything);
}

#[test]
fn full_disk_in_place_leaves_every_file_the_old_or_the_new_one() {
    let mut site = Site::laid_out(Installed::Yes, "in-place");
    site.notes = Some("precious");
    let check = |site: &Site| {
        let found = fs::read_to_string(site.path("root/srv/site/conf.d/main")).unwrap();
        (!["one\n", "two\n"].contains(&found.as_str())).then(|| format!("{found:?}"))
    };
    cut_off("full disk in place", &site, Act::FullFrom, check);
}
