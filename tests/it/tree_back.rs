//! Trees whose files are replaced one by one, and the way back: by an earlier index or second names.

use std::fs;
use std::path::PathBuf;

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use crate::support::casync::{Publisher, noise};
use crate::support::tree::{self, render, snapshot};
use crate::support::world::World;

const BACK: [&str; 4] = ["rollback", "tree/site", "--reason", "broken"];

/// A host with a tree that is updated in place, from `one` to `two`, in which one file of 20 KB became another.
struct Site {
    world: World,
    publisher: Publisher,
    first: String,
    second: String,
}

impl Site {
    fn new(more: &str) -> Self {
        let world = World::new();
        let publisher = Publisher::new(&world.temp().join("publisher"));
        let mut site = Self { world, publisher, first: String::new(), second: String::new() };
        site.wish(more);
        tree::write(&site.publisher.source.join("data/same"), &noise(1, 40_000));
        tree::write(&site.publisher.source.join("data/other"), &noise(2, 20_000));
        site.publish("one");
        site.pass(0);
        site.first = site.tree();
        tree::write(&site.publisher.source.join("data/other"), &noise(3, 20_000));
        site.publish("two");
        site.pass(0);
        site.second = site.tree();
        site
    }

    fn wish(&mut self, more: &str) {
        let wish = self.publisher.wish(&format!("    layout: in-place\n{more}"));
        self.world.wish("desired", &wish);
    }

    fn publish(&self, state: &str) {
        tree::write(&self.publisher.source.join("conf/state"), format!("{state}\n").as_bytes());
        self.publisher.publish();
    }

    #[track_caller]
    fn pass(&mut self, code: i32) -> String {
        self.run(&[], code)
    }

    #[track_caller]
    fn run(&mut self, words: &[&str], code: i32) -> String {
        self.world.tick();
        let ran = self.world.run(words).exits(code);
        ran.stdout + &ran.stderr
    }

    #[track_caller]
    fn is_settled(&mut self) {
        let said = self.run(&["--dry-run"], 0);
        assert!(said.contains("No changes"), "{said}");
    }

    fn path(&self) -> PathBuf {
        self.world.path("srv/site")
    }

    fn tree(&self) -> String {
        render(&snapshot(&self.path()))
    }

    fn earlier(&self) -> usize {
        let earlier = self.world.path("srv/.site.reconcile/earlier");
        fs::read_dir(earlier).map(|found| found.flatten().count()).unwrap_or_default()
    }
}

#[test]
fn tree_updated_in_place_goes_back_by_its_earlier_index_and_on_again() {
    let mut site = Site::new("");
    site.is_settled();
    assert_eq!(site.earlier(), 1);
    let inode = |site: &Site| std::os::unix::fs::MetadataExt::ino(&site.path().metadata().unwrap());
    let before = inode(&site);
    // The source has no index of it any more, and a store may not have what is the same.
    let plan = site.run(&["rollback", "tree/site", "--reason", "broken", "--dry-run"], 0);
    assert!(plan.contains("from the tree in use") && plan.contains("from the store"), "{plan}");
    assert!(plan.contains("broken"), "{plan}");
    let said = site.run(&BACK, 0);
    assert_eq!(site.tree(), site.first, "{said}");
    assert_eq!(inode(&site), before, "whoever has the directory open keeps it");
    site.is_settled();
    let status = site.run(&["status"], 0);
    assert!(status.contains("RolledBack"), "{status}");
    let history = site.run(&["history"], 0);
    assert!(history.contains("broken"), "{history}");
    // Drift is mended on the release that was gone back to.
    fs::write(site.path().join("conf/state"), "edited\n").unwrap();
    site.pass(0);
    assert_eq!(site.tree(), site.first);
    site.run(&["resume", "tree/site"], 0);
    site.pass(0);
    assert_eq!(site.tree(), site.second);
    site.is_settled();
}

#[test]
fn file_that_stays_the_same_is_the_same_file_after_any_number_of_updates() {
    use std::os::unix::fs::MetadataExt;
    let mut site = Site::new("");
    let same = |site: &Site| site.path().join("data/same").metadata().unwrap().ino();
    let before = same(&site);
    for state in ["three", "four", "five"] {
        site.publish(state);
        site.pass(0);
        assert_eq!(same(&site), before, "{state}");
        site.is_settled();
    }
}

#[test]
fn chunk_that_is_nowhere_is_told_and_nothing_is_changed() {
    let mut site = Site::new("");
    tree::remove(&site.publisher.store);
    tree::remove(&site.world.path("var/cache/reconcile/chunks"));
    let said = site.run(&BACK, 1);
    assert!(said.contains("chunk"), "{said}");
    assert_eq!(site.tree(), site.second);
    site.run(&["resume", "tree/site"], 0);
    site.is_settled();
}

#[test]
fn as_many_earlier_indexes_are_kept_as_generations_are_wished() {
    let mut site = Site::new("    retain: 3\n");
    for state in ["three", "four", "five"] {
        site.publish(state);
        site.pass(0);
    }
    assert_eq!(site.earlier(), 2);
    site.is_settled();
    site.wish("    retain: 1\n");
    site.pass(0);
    assert_eq!(site.earlier(), 0);
    site.is_settled();
    let said = site.run(&BACK, 1);
    assert!(said.contains("tree/site has no other release to go back to"), "{said}");
    site.world.wish("desired", "trees: {}\n");
    site.run(&["--confirm-removals"], 0);
    assert!(!site.world.path("srv/.site.reconcile").exists());
}

/// A site whose file `state` must not say `bad`, with effects.
fn looked_at() -> Site {
    let mut site = Site::new("");
    let state = site.path().join("conf/state").display().to_string();
    site.wish(&format!(
        "    health:\n      exec: [/bin/sh, -c, \"! grep -q bad {state}\"]\n      interval: 100ms\n      stable: 100ms\n      \
         deadline: 400ms\n"
    ));
    site.world.options = vec!["--effects".to_owned(), "run".to_owned()];
    site
}

#[test]
fn update_in_place_that_does_not_work_is_taken_back_without_the_store() {
    let mut site = looked_at();
    tree::write(&site.publisher.source.join("data/other"), &noise(4, 20_000));
    site.publish("bad");
    let second = site.second.clone();
    let said = site.pass(6);
    assert!(said.contains("is in use again"), "{said}");
    assert_eq!(site.tree(), second);
    site.pass(3);
    site.pass(3);
    assert_eq!(site.tree(), second);
    let status = site.world.run(&["status"]).stdout;
    assert!(status.contains("switched back"), "{status}");
    site.publish("good");
    site.pass(0);
    assert!(site.tree().contains("good"));
    site.is_settled();
    let generations = site.world.path("srv/.site.reconcile/generations");
    assert_eq!(fs::read_dir(generations).unwrap().count(), 1, "second names do not stay");
}

#[test]
fn release_that_was_gone_back_to_in_place_is_not_quarantined_with_the_one_that_failed() {
    let mut site = looked_at();
    let index =
        |site: &Site| HEXLOWER.encode(&Sha256::digest(fs::read(&site.publisher.index).unwrap()));
    let (second, good) = (site.second.clone(), index(&site));
    for state in ["bad", "bad again"] {
        tree::write(&site.publisher.source.join("data/other"), &noise(4, 20_000));
        site.publish(state);
        site.pass(6);
        assert_eq!(site.tree(), second, "{state}");
        let trust = fs::read_to_string(site.world.path("var/lib/reconcile/trust.json")).unwrap();
        assert!(trust.contains(&index(&site)) && !trust.contains(&good), "{state}: {trust}");
        site.pass(3);
        assert_eq!(site.tree(), second, "{state}");
    }
    site.publish("good");
    site.pass(0);
    assert!(site.tree().contains("good"));
    site.is_settled();
}

#[test]
fn way_back_in_place_takes_what_another_generation_still_has_and_the_plan_says_so() {
    let mut site = Site::new("    retain: 3\n");
    let down = site.world.temp().join("down");
    fs::write(&down, "").unwrap();
    site.wish(&format!(
        "    retain: 3\n    health: {{ exec: [/bin/sh, -c, \"! test -e {}\"], interval: 100ms, stable: 100ms, deadline: \
         400ms }}\n",
        down.display()
    ));
    site.world.options = vec!["--effects".to_owned(), "run".to_owned()];
    // What it was before keeps its files until this one has shown that it works, and has most of what was before that.
    tree::write(&site.publisher.source.join("data/same"), &noise(5, 40_000));
    site.publish("three");
    let said = site.pass(0);
    assert!(said.contains("has yet to show that it works"), "{said}");
    let history = site.world.run(&["history", "-o", "json"]).json();
    let first = history["entries"][0]["to"].as_str().unwrap().to_owned();
    let back = ["rollback", "tree/site", "--to", &first, "--reason", "broken"];
    let plan = site.run(&[&back[..], &["--dry-run"]].concat(), 0);
    assert!(plan.contains("KiB from a generation that is kept"), "{plan}");
    let said = site.run(&back, 0);
    assert_eq!(site.tree(), site.first, "{said}");
}
