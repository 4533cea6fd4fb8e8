//! Trees and extensions that do not work after an update: switched back, remembered, not tried again.

use std::fs;

use crate::support::casync::Publisher;
use crate::support::tree;
use crate::support::world::World;

const TIMES: &str = "      interval: 100ms\n      stable: 100ms\n      deadline: 400ms\n";

/// A host with a tree whose file `state` must not say `bad`, and hooks that note what it says.
struct Site {
    world: World,
    publisher: Publisher,
}

impl Site {
    fn new(more: &str) -> Self {
        let mut world = World::new();
        let publisher = Publisher::new(&world.temp().join("publisher"));
        let (state, log) = (world.path("srv/site/conf/state"), world.temp().join("log"));
        let (state, log) = (state.display(), log.display());
        let wish = publisher.wish(&format!(
            "    health:\n      exec: [/bin/sh, -c, \"! grep -q bad {state}\"]\n{TIMES}    triggers:\n      \
             - {{ paths: [conf], run: [[sh, -c, \"cat {state} >> {log}\"]] }}\n      \
             - {{ paths: [other], run: [[sh, -c, \"echo other >> {log}\"]] }}\n{more}"
        ));
        world.wish("desired", &wish);
        world.options = vec!["--effects".to_owned(), "run".to_owned()];
        let site = Self { world, publisher };
        site.publish("one");
        site
    }

    fn publish(&self, state: &str) {
        tree::write(&self.publisher.source.join("conf/state"), format!("{state}\n").as_bytes());
        tree::write(&self.publisher.source.join("other/file"), b"x");
        self.publisher.publish();
    }

    /// Makes a pass that must exit with `code`.
    #[track_caller]
    fn pass(&mut self, code: i32) -> String {
        self.world.tick();
        let ran = self.world.run(&[]).exits(code);
        ran.stdout + &ran.stderr
    }

    fn state(&self) -> String {
        let state = fs::read_to_string(self.world.path("srv/site/conf/state"));
        state.unwrap_or_default().trim().to_owned()
    }

    /// The version in use.
    fn in_use(&self) -> String {
        let status = self.world.run(&["status", "-o", "json"]).json();
        status["resources"][0]["version"].as_str().unwrap().to_owned()
    }

    /// Makes a pass that is killed by its trigger, which runs between the exchange and the look.
    fn is_killed_before_it_looks(&mut self) {
        let desired = self.world.desired.join("wish.yaml");
        let wish = fs::read_to_string(&desired).unwrap();
        fs::write(&desired, wish.replace("cat ", "kill -9 $PPID; cat ")).unwrap();
        self.world.tick();
        let killed = std::process::Command::new(env!("CARGO_BIN_EXE_reconcile"))
            .arg("--root")
            .arg(self.world.root())
            .arg("--desired")
            .arg(&self.world.desired)
            .args(["--clock", &self.world.now.to_string(), "--effects", "run"])
            .output()
            .unwrap();
        assert_eq!(killed.status.code(), None, "{killed:?}");
        fs::write(&desired, wish).unwrap();
    }

    /// What hooks noted since the last call.
    fn noted(&self) -> String {
        let log = self.world.temp().join("log");
        let noted = fs::read_to_string(&log).unwrap_or_default();
        tree::remove(&log);
        noted.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

#[test]
fn tree_that_does_not_work_goes_back_with_its_triggers_and_is_quarantined() {
    let mut site = Site::new("");
    site.pass(0);
    assert_eq!(site.noted(), "one other");
    site.publish("bad");
    let said = site.pass(6);
    assert!(said.contains("is in use again"), "{said}");
    assert_eq!(site.state(), "one");
    assert_eq!(site.noted(), "bad one", "only the trigger of what changed, there and back");
    let status = site.world.run(&["status"]).stdout;
    assert!(status.contains("switched back") || status.contains("grep"), "{status}");
    // It is not tried again, not even when the same index is published anew.
    site.pass(3);
    site.publisher.publish();
    site.pass(3);
    assert_eq!((site.state(), site.noted()), ("one".to_owned(), String::new()));
    // Other bytes are another matter.
    site.publish("two");
    site.pass(0);
    assert_eq!(site.state(), "two");
    // And an operator may insist.
    site.publish("bad");
    site.pass(6);
    // Retention, and then nothing.
    site.pass(3);
    site.pass(3);
    site.world.run(&["resume", "tree/site"]).exits(0);
    site.pass(6);
    assert_eq!(site.state(), "two");
}

#[test]
fn directory_that_was_there_before_us_comes_back_when_the_first_tree_does_not_work() {
    let mut site = Site::new("    existing: adopted\n");
    tree::write(&site.world.path("srv/site/conf/state"), b"mine\n");
    tree::write(&site.world.path("srv/site/own"), b"x");
    site.publish("bad");
    let said = site.pass(6);
    assert_eq!(site.state(), "mine", "{said}");
    assert!(site.world.path("srv/site/own").exists());
    // What is left of its place among the generations is tidied away.
    site.pass(3);
    site.pass(3);
    assert_eq!(site.state(), "mine");
    site.publish("one");
    site.pass(0);
    assert_eq!(site.state(), "one");
}

#[test]
fn directory_that_was_there_before_us_is_kept_when_the_layout_is_edited_before_the_look() {
    let mut site = Site::new("    existing: adopted\n");
    tree::write(&site.world.path("srv/site/own"), b"x");
    site.is_killed_before_it_looks();
    assert_eq!(site.state(), "one");
    let own = site.world.path("srv/.site.reconcile/generations/adopted/tree/own");
    assert!(own.exists());
    let desired = site.world.desired.join("wish.yaml");
    let wish = fs::read_to_string(&desired).unwrap();
    fs::write(&desired, format!("{}    layout: in-place\n", wish.trim_end_matches(' '))).unwrap();
    let said = site.pass(0);
    assert!(own.exists(), "{said}");
    assert_eq!(site.state(), "one");
}

#[test]
fn tree_behind_a_link_goes_back_by_the_link() {
    let mut site = Site::new("    layout: link\n");
    site.pass(0);
    site.publish("bad");
    site.pass(6);
    assert_eq!(site.state(), "one");
    site.pass(3);
}

#[test]
fn tree_that_failed_before_the_update_is_not_blamed() {
    let mut site = Site::new("");
    site.pass(0);
    // What is checked is broken already, by somebody else.
    tree::write(&site.world.path("srv/site/conf/state"), b"bad\n");
    site.publish("bad too");
    let said = site.pass(0);
    assert!(said.contains("before the switch"), "{said}");
    assert_eq!(site.state(), "bad too");
}

#[test]
fn tree_whose_pass_was_killed_before_it_looked_is_looked_at_by_the_next() {
    let mut site = Site::new("");
    site.pass(0);
    let one = site.in_use();
    site.publish("bad");
    site.is_killed_before_it_looks();
    assert_eq!(site.state(), "bad");
    let said = site.pass(6);
    assert_eq!(site.state(), "one", "{said}");
    let one = one.trim_start_matches("index-");
    assert!(said.contains(&format!(", else back to {one}\n")), "{said}");
    assert!(said.contains(&format!("{one} is in use again")), "{said}");
    site.pass(3);
    site.publish("two");
    site.pass(0);
    assert_eq!(site.state(), "two");
}

#[test]
fn tree_goes_back_past_those_that_never_showed_that_they_work() {
    for layout in ["exchange", "link", "in-place"] {
        let mut site = Site::new(&format!("    layout: {layout}\n"));
        site.pass(0);
        // Whatever is in use fails as long as this is there.
        let down = site.world.temp().join("down");
        let desired = site.world.desired.join("wish.yaml");
        let wish = fs::read_to_string(&desired).unwrap();
        let looks = format!("\"! test -e {} && ! grep", down.display());
        fs::write(&desired, wish.replace("\"! grep", &looks)).unwrap();
        tree::write(&down, b"");
        for state in ["two", "three"] {
            site.publish(state);
            let said = site.pass(0);
            assert!(said.contains("has yet to show that it works, and"), "{layout}: {said}");
            assert_eq!(site.state(), state);
        }
        tree::remove(&down);
        site.publish("bad");
        let said = site.pass(6);
        assert_eq!(site.state(), "one", "{layout}: {said}");
        // Nobody knows of the last of them that it does not work.
        site.publish("three");
        site.pass(0);
        assert_eq!(site.state(), "three", "{layout}");
        site.world.nothing_to_do();
    }
}
