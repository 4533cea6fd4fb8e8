//! What is told after an operator decided or edited something, before and after the next pass.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::git::{World as GitWorld, says, wish as git_wish};
use crate::operator::{rolled_back, wish, world};
use crate::support::offer::{Offer, TWO_RELEASES};
use crate::support::tree;
use crate::support::world::World;

/// How long something may take that is expected to happen, on a machine that is busy.
const PATIENCE: Duration = Duration::from_mins(1);

/// A host on which 1.1.0 did not work and was switched back, after a pass that left it out.
fn quarantined() -> (World, Offer) {
    let (mut world, offer) = rolled_back();
    world.tick();
    world.run(&[]).exits(3);
    world.tick();
    (world, offer)
}

/// State and reason of the only resource.
fn told(world: &World) -> (String, String) {
    let status = world.run(&["status", "-o", "json"]).json();
    let resource = &status["resources"][0];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&resource["state"]), text(&resource["conditions"][0]["reason"]))
}

fn waits() -> (String, String) {
    ("InProgress".to_owned(), "WaitingForPass".to_owned())
}

#[test]
fn quarantine_that_was_lifted_is_not_told_any_more() {
    let (mut world, _offer) = quarantined();
    assert_eq!(told(&world), ("Stalled".to_owned(), "Quarantined".to_owned()));
    world.run(&["resume", "app/tool"]).exits(0);
    assert_eq!(told(&world), waits());
    let explained = world.run(&["explain", "app/tool"]).exits(0).stdout;
    assert!(explained.contains("1.1.0 acceptable"), "{explained}");
    assert!(!explained.contains("lifts that"), "{explained}");
    world.tick();
    world.run(&[]).exits(6);
    assert_ne!(told(&world), waits());
}

#[test]
fn edited_wish_takes_back_what_was_said_of_the_one_before() {
    let (mut world, offer) = quarantined();
    let pinned = wish(&offer, "    version: 1.0.0\n");
    world.wish("desired", &pinned);
    let explained = world.run(&["explain", "app/tool"]).exits(0).stdout;
    assert!(!explained.contains("Stalled") && !explained.contains("lifts that"), "{explained}");
    assert_eq!(told(&world), waits());
    world.run(&[]).exits(0);
    assert_eq!(told(&world), ("Current".to_owned(), "Converged".to_owned()));
}

#[test]
fn rollback_that_was_ended_waits_for_the_pass_that_follows_the_wish() {
    let (mut world, mut offer) = world("");
    offer.publish("1.1.0");
    world.run(&[]).exits(0);
    world.tick();
    world.wish("desired", &wish(&offer, "    version: 1.1.0\n"));
    world.run(&["rollback", "app/tool", "--to", "1.0.0", "--reason", "crashes"]).exits(0);
    assert_eq!(told(&world), ("Suspended".to_owned(), "RolledBack".to_owned()));
    world.run(&["resume", "app/tool"]).exits(0);
    assert_eq!(told(&world), waits());
    let status = world.run(&["status"]).exits(0).stdout;
    assert!(status.contains("1.0.0 is in use, 1.1.0 is wished"), "{status}");
    world.tick();
    world.run(&[]).exits(0);
    assert_eq!(told(&world), ("Current".to_owned(), "Converged".to_owned()));
}

#[test]
fn end_of_a_rollback_lifts_no_quarantine() {
    let (mut world, _offer) = quarantined();
    world.run(&["suspend", "app/tool", "--reason", "two\nlines"]).exits(0);
    let status = world.run(&["status"]).exits(0).stdout;
    assert!(status.contains("Suspended (Requested): two lines"), "{status}");
    let ended = world.run(&["resume", "app/tool"]).exits(0).stdout;
    assert!(ended.contains("ended suspension (two lines); the next pass"), "{ended}");
    assert!(ended.contains("1.1.0 stays quarantined"), "{ended}");
    world.tick();
    world.run(&[]).exits(3);
    let ended = world.run(&["resume", "app/tool"]).exits(0).stdout;
    assert!(ended.contains("quarantine of 1.1.0"), "{ended}");
}

#[test]
fn layout_that_was_edited_waits_for_the_pass_that_moves_the_app() {
    let (mut world, offer) = world("");
    world.wish("desired", &wish(&offer, "    layout: { file: /usr/local/bin/tool }\n"));
    assert_eq!(told(&world), waits());
    let status = world.run(&["status"]).exits(0).stdout;
    assert!(status.contains("app/tool                 1.0.0"), "{status}");
    assert_eq!(world.run(&["diff"]).exits(0).stdout, "No differences.\n");
    world.run(&[]).exits(0);
    let history = world.run(&["history", "-o", "json"]).exits(0).json();
    let last = history["entries"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&last["action"], &last["attribution"]),
        (&"move".into(), &"desired-changed".into())
    );
    assert!(last["drift"].as_array().is_none_or(Vec::is_empty), "{last:#}");
}

#[test]
fn saved_move_is_applied_as_it_was_shown() {
    let (mut world, offer) = world("    layout: { file: /usr/local/bin/tool }\n");
    world.wish("desired", &wish(&offer, "    layout: { file: /usr/local/sbin/tool }\n"));
    let plan = world.temp().join("plan.json").display().to_string();
    world.run(&["plan", "--out", &plan]).exits(0);
    world.run(&["apply", &plan]).exits(0);
    assert!(world.path("/usr/local/sbin/tool").exists());
    assert!(!world.path("/usr/local/bin/tool").exists());
}

#[test]
fn wish_that_is_not_valid_is_one_answer_with_one_code() {
    let mut world = World::new();
    let offer = Offer::start(TWO_RELEASES, world.temp());
    let broken = "apps: { tool: { sauce: 1 } }\n";
    world.wish("desired", broken);
    let stalled = |world: &World| {
        let json = world.run(&["status", "-o", "json"]).exits(65).json();
        assert_eq!(json["state"], "Stalled", "{json:#}");
        assert_eq!(json["conditions"][0]["reason"], "DesiredInvalid", "{json:#}");
        let line = world.run(&["status", "-o", "oneline"]).exits(65).stdout;
        assert!(line.contains(" Stalled: ") && line.contains("is not valid"), "{line}");
        let text = world.run(&["status"]).exits(65).stdout;
        assert!(text.contains(": Stalled"), "{text}");
    };
    stalled(&world);
    world.wish("desired", &wish(&offer, ""));
    let root = world.root();
    let _agent = Agent::start(world.start(&["run", "--interval", "1d"]), &root);
    until("the first pass", || world.path("/opt/tool/bin/tool").exists());
    world.wish("desired", broken);
    stalled(&world);
}

#[track_caller]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A running agent; it ends with its test.
struct Agent<'r> {
    process: Child,
    root: &'r Path,
}

impl<'r> Agent<'r> {
    fn start(process: Child, root: &'r Path) -> Self {
        Self { process, root }
    }

    /// What the API says of the only resource.
    fn state(&self) -> Option<String> {
        let mut stream = UnixStream::connect(self.root.join("run/reconcile/api.sock")).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let request = "GET /status HTTP/1.1\r\nHost: reconcile\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (_, body) = answer.split_once("\r\n\r\n")?;
        let body: Value = serde_json::from_str(body).ok()?;
        Some(body["resources"][0]["state"].as_str()?.to_owned())
    }

    #[track_caller]
    fn says(&self, state: &str) {
        until(state, || self.state().as_deref() == Some(state));
    }
}

impl Drop for Agent<'_> {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn running_agent_sees_every_decision_at_once() {
    let (world, mut offer) = world("");
    let root = world.root();
    let agent = Agent::start(world.start(&["run", "--interval", "1d"]), &root);
    agent.says("Current");
    world.run(&["suspend", "app/tool", "--reason", "audit"]).exits(0);
    agent.says("Suspended");
    offer.publish("1.1.0");
    let ended = world.run(&["resume", "app/tool"]).exits(0).stdout;
    assert!(ended.contains("the running agent follows the desired state now"), "{ended}");
    agent.says("Current");
    let link = world.path("/opt/tool/bin/tool");
    until("the update", || {
        fs::read_link(&link).is_ok_and(|text| text.starts_with("../releases/1.1.0"))
    });
}

#[test]
fn request_that_waits_is_told_what_is_blocked_and_why() {
    let (mut world, offer) = world("");
    world.wish("desired", &wish(&offer, "    version: 3.0.0\n"));
    let root = world.root();
    let agent = Agent::start(world.start(&["run", "--interval", "1d"]), &root);
    until("the first pass", || agent.state().is_some());
    let told = world.run(&["request", "--wait"]).exits(1).stdout;
    assert!(told.contains("app/tool no-version: choosing a release: none of 1"), "{told}");
}

/// The program, told nothing but the root.
fn bare(root: &Path, arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reconcile"));
    let Output { status, stdout, stderr } =
        command.arg("--root").arg(root).args(arguments).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    (status.code().unwrap(), text)
}

#[test]
fn questions_without_a_wish_are_about_what_is_in_effect_for_the_agent() {
    let (mut world, first) = GitWorld::new();
    let root = world.root.path().to_owned();
    let mut command = world.command(&["run", "--interval", "1d"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let agent = Agent::start(command.spawn().unwrap(), &root);
    agent.says("Current");
    let (code, line) = bare(&root, &["status", "-o", "oneline"]);
    assert!(code == 0 && line.contains("Current: 1 of 1 resource as desired"), "{line}");
    let (_, ill) = bare(&root, &["doctor"]);
    assert!(ill.contains("ok   desired state: 1 app"), "{ill}");
    // The hint of a refused history is typed as it stands.
    let forced = world.push(&git_wish("0.9.2"), &[]);
    let (code, told) = bare(&root, &["request", "--wait"]);
    says(&told, &[&first, &forced]);
    assert_eq!(code, 77, "{told}");
    let hint = format!("`reconcile --root {} accept-history {forced} --reason", root.display());
    assert!(told.contains(&hint), "{told}");
    let (code, told) = bare(&root, &["accept-history", &forced, "--reason", "a drill"]);
    assert_eq!(code, 0, "{told}");
    let (code, told) = bare(&root, &["request", "--wait"]);
    assert_eq!(code, 0, "{told}");
    assert_eq!(world.installed().as_deref(), Some("0.9.2"));
    drop(agent);
    let (code, line) = bare(&root, &["status", "-o", "oneline"]);
    assert!(code == 0 && line.contains("Current: 1 of 1 resource as desired"), "{line}");
}

#[test]
fn files_of_other_programs_are_no_versions_of_this_one() {
    let mut world = World::new();
    world.desired = Path::new(env!("CARGO_MANIFEST_DIR")).join("desired-state");
    let listed = world.run(&["list", "app/hello"]).exits(0).stdout;
    assert!(listed.contains("* 1.1.0") && !listed.contains("0.9.2"), "{listed}");
}

#[test]
fn tree_has_one_name_wherever_it_is_told() {
    let (mut world, publisher) = crate::tree::site();
    world.run(&[]).exits(0);
    let of = |world: &World, what: &str| {
        let status = world.run(&["status", "-o", "json"]).exits(0).json();
        status["resources"][0][what].clone()
    };
    let before = of(&world, "version");
    tree::make(&publisher.source, "more \"more\"\n");
    publisher.publish();
    world.tick();
    world.run(&[]).exits(0);
    assert_eq!(of(&world, "kept"), serde_json::json!([before]));
    let before = before.as_str().unwrap();
    let told = world.run(&["rollback", "tree/site", "--to", before, "--reason", "x"]).exits(0);
    assert!(told.stdout.contains(&format!("rolled back to {before}")), "{told:#?}");
}

#[test]
fn slips_in_a_wish_are_told_where_they_are() {
    let (mut world, offer) = world("");
    world.wish("desired", &wish(&offer, "    version: lastest\n"));
    let told = world.run(&["--dry-run"]).exits(1).stdout;
    assert!(told.contains("did you mean `version: latest`?"), "{told}");
    world.wish("desired", &wish(&offer, "    health: { exec: [\"true\"], deadline: 5s }\n"));
    let told = world.run(&["--dry-run"]).exits(65).stderr;
    assert!(told.contains("`health.deadline` of app `tool`"), "{told}");
    assert!(told.contains("`deadline` is 5s and must be at least 11s"), "{told}");
    world.wish("desired", &wish(&offer, "    health: { exec: \"true\" }\n    suspend: true\n"));
    let told = world.run(&["--dry-run"]).exits(65).stderr;
    assert!(told.contains("`health.exec` of app `tool`"), "{told}");
    assert!(told.contains("expected a map with `reason`, `until`, found text"), "{told}");
}

#[test]
fn plan_for_an_unknown_host_says_that_it_is() {
    let (world, _offer) = world("");
    let plan = ["--host", "web-03", "--desired", world.desired.to_str().unwrap(), "--dry-run"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_reconcile"));
    let said = command.args(plan).output().unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("Note: nothing is known of what web-03 has"), "{said}");
}

#[test]
fn every_key_of_a_configuration_is_judged_by_itself() {
    let (world, _offer) = world("");
    let config = "interval: 5\nretry:\n  first: soon\nfight: { times: 1 }\nwatch: false\n";
    tree::write(&world.path("/etc/reconcile/agent.yaml"), config.as_bytes());
    let told = world.run(&["--dry-run"]).exits(78).stderr;
    for place in [":1:11", "3:10", "4:17"] {
        assert!(told.contains(place), "{place}: {told}");
    }
    assert!(!told.contains("watch"), "{told}");
}
