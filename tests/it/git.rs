//! Desired state in a Git repository: what is accepted, and what stays in effect meanwhile.

use serde_json::Value;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use gix::objs::Kind;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::repository::{Entry, Key, Origin, raw_entry};

/// A host that follows a repository.
pub struct World {
    pub origin: Origin,
    pub root: tempfile::TempDir,
    pub key: Key,
}

pub fn wish(version: &str) -> String {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/repository");
    format!(
        "apps:\n  weather:\n    version: {version}\n    source: {{ file: {{ path: {}, pattern: \
         \"weather-{{version}}.gz\" }} }}\n",
        source.display()
    )
}

impl World {
    /// A repository whose `main` wishes 0.3.0, signed.
    pub fn new() -> (Self, String) {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("etc")).unwrap();
        fs::write(root.path().join("etc/hostname"), "web-03\n").unwrap();
        let mut world = Self { origin: Origin::new(), root, key: Key::new() };
        world.allow(&world.key.allowed("ops@example.net", ""));
        let first = world.push(&wish("0.3.0"), &[]);
        (world, first)
    }

    fn allow(&self, text: &str) {
        fs::write(self.signers(), text).unwrap();
    }

    fn signers(&self) -> PathBuf {
        self.origin.beside().join("allowed_signers")
    }

    /// Commits a document, signed, and moves `main` there.
    pub fn push(&mut self, document: &str, parents: &[&str]) -> String {
        let commit = self.origin.commit(&[("web.yaml", document)], parents, Some(&self.key));
        self.origin.point("refs/heads/main", &commit);
        commit
    }

    pub fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reconcile"));
        command.arg("--root").arg(self.root.path()).args(["--git", &self.origin.url()]);
        command.arg("--git-allowed-signers").arg(self.signers());
        if !more.contains(&"--ref") {
            command.args(["--ref", "main"]);
        }
        command.args(more);
        command
    }

    pub fn run(&self, more: &[&str]) -> Said {
        Said(self.command(more).output().unwrap())
    }

    pub fn installed(&self) -> Option<String> {
        let link = fs::read_link(self.root.path().join("opt/weather/bin/weather")).ok()?;
        let slot = link.components().nth(2)?.as_os_str().to_str()?.to_owned();
        Some(slot)
    }

    pub fn state(&self) -> PathBuf {
        self.root.path().join("var/lib/reconcile")
    }
}

pub struct Said(pub Output);

impl Said {
    fn text(&self) -> String {
        let Output { stdout, stderr, .. } = &self.0;
        format!("{}{}", String::from_utf8_lossy(stdout), String::from_utf8_lossy(stderr))
    }

    #[track_caller]
    pub fn exits(self, code: i32) -> String {
        let text = self.text();
        assert_eq!(self.0.status.code(), Some(code), "{text}");
        text
    }
}

#[track_caller]
pub fn says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is not in:\n{text}");
    }
}

/// Every path below a directory.
fn everything(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() {
                pending.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

#[test]
fn signed_commit_becomes_the_host() {
    let (mut world, first) = World::new();
    let text = world.run(&["--dry-run"]).exits(0);
    says(&text, &["install 0.3.0", &first[..10], "signed by ops@example.net", "(web.yaml:2)"]);
    world.run(&[]).exits(0);
    assert_eq!(world.installed().as_deref(), Some("0.3.0"));
    let second = world.push(&wish("0.9.2"), &[&first]);
    says(&world.run(&["--dry-run"]).exits(0), &["upgrade 0.3.0 -> 0.9.2", &second[..10]]);
    world.run(&[]).exits(0);
    assert_eq!(world.installed().as_deref(), Some("0.9.2"));
    says(&world.run(&[]).exits(0), &["No changes", &second[..10]]);
    let status = world.run(&["status", "-o", "json"]).exits(0);
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["revision"]["commit"], second.as_str());
    let history = world.run(&["history", "-o", "json"]).exits(0);
    says(&history, &[&format!("main@sha1:{second}"), &format!("main@sha1:{first}")]);
}

#[test]
fn repository_of_the_agent_s_configuration_needs_no_option() {
    let (world, first) = World::new();
    let agent = world.root.path().join("etc/reconcile/agent.yaml");
    fs::create_dir_all(agent.parent().unwrap()).unwrap();
    let (url, signers) = (world.origin.url(), world.signers().display().to_string());
    let text = format!("git:\n  url: {url}\n  ref: main\n  allowed_signers: {signers}\n");
    fs::write(agent, text).unwrap();
    let run = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reconcile"));
        Said(command.arg("--root").arg(world.root.path()).args(more).output().unwrap())
    };
    says(&run(&[]).exits(0), &["install 0.3.0", &first[..10]]);
    let status = run(&["status", "-o", "json"]).exits(0);
    assert!(status.contains(&first), "{status}");
}

/// A host whose agent's configuration names the repository of another, with a few lines more.
fn configured(world: &World, more: &str) -> impl Fn(&[&str]) -> Said {
    let agent = world.root.path().join("etc/reconcile/agent.yaml");
    fs::create_dir_all(agent.parent().unwrap()).unwrap();
    fs::write(agent, format!("git:\n  url: {}\n{more}", world.origin.url())).unwrap();
    let root = world.root.path().to_owned();
    move |arguments| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reconcile"));
        Said(command.arg("--root").arg(&root).args(arguments).output().unwrap())
    }
}

#[test]
fn what_the_command_line_demands_of_the_configured_repository_holds() {
    let (world, first) = World::new();
    let others = world.origin.beside().join("others");
    fs::write(&others, Key::new().allowed("else@example.net", "")).unwrap();
    let signers = world.signers().display().to_string();
    // The key of the configuration signed it; the command line wants another.
    let demand = format!("  ref: main\n  allowed_signers: {signers}\n");
    let run = configured(&world, &demand);
    run(&["--git-allowed-signers", others.to_str().unwrap()]).exits(77);
    assert_eq!(world.installed(), None);
    // The configuration demands nothing.
    let run = configured(&world, "");
    run(&["--ref", "main", "--git-allowed-signers", others.to_str().unwrap()]).exits(77);
    let text = run(&["--ref", "main", "--git-allowed-signers", &signers]).exits(0);
    says(&text, &[&first[..10], "signed by ops@example.net"]);
}

#[test]
fn demand_on_no_repository_is_refused() {
    let (world, _) = World::new();
    let run = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reconcile"));
        Said(command.arg("--root").arg(world.root.path()).args(more).output().unwrap())
    };
    says(&run(&["--git-keyring", "keys"]).exits(64), &["--git-keyring", "give --git"]);
    let text = run(&["--desired", "examples", "--git-allowed-signers", "keys"]).exits(64);
    says(&text, &["--git-allowed-signers"]);
    run(&["schema"]).exits(0);
}

#[test]
fn state_in_use_is_left_alone_when_it_is_whole_and_put_right_when_it_is_not() {
    let (world, first) = World::new();
    world.run(&[]).exits(0);
    let used = world.state().join("repository").join(&first);
    let same = |one: &fs::Metadata| one.ino() == fs::metadata(&used).unwrap().ino();
    let before = fs::metadata(&used).unwrap();
    fs::remove_file(world.state().join("repository.json")).unwrap();
    world.run(&[]).exits(0);
    assert!(same(&before), "it was whole");
    for damage in [&|| fs::write(used.join("more.yaml"), "").unwrap(), &|| {
        fs::write(used.join("web.yaml"), "apps: {}\n").unwrap();
    }] as [&dyn Fn(); 2]
    {
        damage();
        fs::remove_file(world.state().join("repository.json")).unwrap();
        world.run(&[]).exits(0);
        assert_eq!(fs::read_to_string(used.join("web.yaml")).unwrap(), wish("0.3.0"));
        assert_eq!(fs::read_dir(&used).unwrap().count(), 1);
        assert_eq!(
            everything(&world.state().join("repository")).len(),
            3,
            "{used:?}, a file, a link"
        );
    }
    assert_eq!(world.installed().as_deref(), Some("0.3.0"));
}

#[test]
fn told_to_stop_while_the_repository_does_not_answer_it_ends() {
    for (words, code) in [(&["run"][..], 0), (&["plan"], 3), (&["--dry-run"], 3)] {
        told_to_stop_it_ends(words, code);
    }
}

fn told_to_stop_it_ends(words: &[&str], code: i32) {
    let (world, _) = World::new();
    let asked = world.origin.beside().join("asked");
    let hangs = world.origin.beside().join("hangs");
    // It has a program of its own that holds the pipes.
    let script =
        format!("#!/bin/sh\necho $$ > '{0}.new'\nmv '{0}.new' '{0}'\nsleep 600\n", asked.display());
    fs::write(&hangs, script).unwrap();
    fs::set_permissions(&hangs, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_reconcile"));
    command
        .arg("--root")
        .arg(world.root.path())
        .args(["--git", "ssh://127.0.0.1/state"])
        .args(words);
    let log = world.origin.beside().join("log");
    command.stderr(fs::File::create(&log).unwrap());
    let mut agent = command.env("GIT_SSH_COMMAND", &hangs).spawn().unwrap();
    let (began, pid) = (Instant::now(), Pid::from_raw(agent.id().try_into().unwrap()));
    let mut patience = |what: &str| {
        std::thread::sleep(Duration::from_millis(10));
        // A repository has five minutes.
        if began.elapsed() > Duration::from_mins(2) {
            let _ = agent.kill();
            panic!("{what} took too long");
        }
        agent.try_wait().unwrap()
    };
    while !asked.exists() {
        assert_eq!(patience("asking"), None);
    }
    kill(pid, Signal::SIGTERM).unwrap();
    let status = loop {
        if let Some(status) = patience("ending") {
            break status;
        }
    };
    assert_eq!(status.code(), Some(code), "{words:?}: {status}");
    let log = fs::read_to_string(&log).unwrap();
    assert!(!log.contains("ERROR"), "to stop is no failure: {log}");
    let ssh = fs::read_to_string(&asked).unwrap();
    let runs = || fs::read(format!("/proc/{}/cmdline", ssh.trim())).is_ok_and(|c| !c.is_empty());
    while runs() {
        assert!(began.elapsed() < Duration::from_mins(2), "{ssh} was left running");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn ssh_is_asked_to_end_by_itself_unless_somebody_says_how_it_is_run() {
    let (world, _) = World::new();
    let bin = world.origin.beside().join("bin");
    let said = world.origin.beside().join("said");
    fs::create_dir_all(&bin).unwrap();
    for name in ["ssh", "mine"] {
        let script =
            format!("#!/bin/sh\necho \"${{0##*/}} $*\" > '{}'\nexit 255\n", said.display());
        fs::write(bin.join(name), script).unwrap();
        fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let run = |own: Option<&Path>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reconcile"));
        command.arg("--root").arg(world.root.path()).args(["--git", "ssh://127.0.0.1:7/state"]);
        command.env_clear().env("PATH", format!("{}:/usr/bin:/bin", bin.display()));
        command.envs(own.map(|own| ("GIT_SSH_COMMAND", own)));
        Said(command.output().unwrap()).exits(69);
        fs::read_to_string(&said).unwrap()
    };
    let text = run(None);
    says(&text, &["ssh -o BatchMode=yes ", "ServerAliveInterval=15", "-p7", "127.0.0.1"]);
    assert!(!run(Some(&bin.join("mine"))).contains("BatchMode"));
}

#[test]
fn looking_writes_nothing_and_unchanged_repository_neither() {
    let (mut world, first) = World::new();
    let before = everything(world.root.path());
    world.run(&["--dry-run"]).exits(0);
    assert_eq!(everything(world.root.path()), before);
    world.run(&[]).exits(0);
    let memory = world.state().join("repository.json");
    let modified = || fs::metadata(&memory).unwrap().modified().unwrap();
    let (before, written) = (everything(&world.state()), modified());
    world.run(&[]).exits(0);
    world.push(&wish("0.9.2"), &[&first]);
    world.run(&["plan"]).exits(0);
    assert_eq!((everything(&world.state()), modified()), (before, written));
}

#[test]
fn commit_without_an_allowed_signature_is_refused_and_the_accepted_one_stays() {
    let (mut world, first) = World::new();
    world.run(&[]).exits(0);
    let stranger = Key::new();
    for key in [None, Some(&stranger)] {
        let files = [("web.yaml", &*wish("0.9.2"))];
        let bad = world.origin.commit(&files, &[&first], key);
        world.origin.point("refs/heads/main", &bad);
        fs::remove_file(world.root.path().join("opt/weather/bin/weather")).unwrap();
        let text = world.run(&[]).exits(77);
        says(&text, &[&bad, "stays in effect", "drift-corrected"]);
        assert_eq!(world.installed().as_deref(), Some("0.3.0"));
    }
    says(&world.run(&["status"]).exits(0), &[&first[..10]]);
}

#[test]
fn commit_altered_after_signing_is_refused() {
    let (mut world, first) = World::new();
    world.run(&[]).exits(0);
    let second = world.push(&wish("0.9.2"), &[&first]);
    let id = gix::ObjectId::from_hex(second.as_bytes()).unwrap();
    let repository = gix::open(world.origin.path()).unwrap();
    let bytes = repository.find_object(id).unwrap().detach().data;
    let altered = String::from_utf8(bytes).unwrap().replace("A change", "B change");
    let altered = world.origin.object(Kind::Commit, altered.as_bytes());
    world.origin.point("refs/heads/main", &altered);
    says(&world.run(&[]).exits(77), &[&altered, "does not fit what was signed"]);
}

#[test]
fn first_commit_without_signature_leaves_the_host_alone() {
    let (mut world, _) = World::new();
    let bad = world.origin.commit(&[("web.yaml", &wish("0.9.2"))], &[], None);
    world.origin.point("refs/heads/main", &bad);
    says(&world.run(&[]).exits(77), &["is not signed"]);
    assert_eq!(world.installed(), None);
}

#[test]
fn key_that_is_struck_out_takes_what_it_signed_with_it() {
    let (mut world, first) = World::new();
    world.run(&[]).exits(0);
    let other = Key::new();
    world.allow(&other.allowed("new@example.net", ""));
    says(&world.run(&[]).exits(77), &["is not in the allowed signers"]);
    world.key = other;
    world.push(&wish("0.9.2"), &[&first]);
    world.run(&[]).exits(0);
    assert_eq!(world.installed().as_deref(), Some("0.9.2"));
}

#[test]
fn commands_of_the_reference_demand_what_a_pass_demands() {
    let (world, _) = World::new();
    world.run(&[]).exits(0);
    world.allow(&Key::new().allowed("new@example.net", ""));
    let definitions = world.root.path().join("etc/sysupdate.d");
    fs::create_dir_all(&definitions).unwrap();
    let transfer = "[Transfer]\nVerify=no\n[Source]\nType=regular-file\nPath=/srv/x\n\
                    MatchPattern=x_@v.raw\n[Target]\nType=regular-file\nPath=/var/lib/x\n\
                    MatchPattern=x_@v.raw\n";
    fs::write(definitions.join("50-x.transfer"), transfer).unwrap();
    fs::create_dir_all(world.root.path().join("srv/x")).unwrap();
    fs::write(world.root.path().join("srv/x/x_1.raw"), "image").unwrap();
    for command in ["update", "vacuum"] {
        let said = world.run(&["sysupdate", command]);
        assert_ne!(said.0.status.code(), Some(0), "{}", said.text());
        says(&said.text(), &["is not in the allowed signers"]);
    }
}

#[test]
fn key_counts_at_the_time_of_acceptance() {
    let (mut world, first) = World::new();
    world.allow(&world.key.allowed("ops@example.net", "valid-before=\"20260101\""));
    world.run(&["--clock", "2025-12-01T00:00:00Z"]).exits(0);
    // Accepted in time, it stays accepted; what comes later is not.
    world.run(&["--clock", "2026-02-01T00:00:00Z"]).exits(0);
    world.push(&wish("0.9.2"), &[&first]);
    says(&world.run(&["--clock", "2026-02-01T00:00:00Z"]).exits(77), &["was valid until"]);
}

#[test]
fn rewritten_history_is_refused_until_an_operator_accepts_it() {
    let (mut world, first) = World::new();
    world.run(&[]).exits(0);
    let forced = world.push(&wish("0.9.2"), &[]);
    let text = world.run(&[]).exits(77);
    says(&text, &[&first, &forced, &format!("accept-history {forced} --reason")]);
    assert_eq!(world.installed().as_deref(), Some("0.3.0"));
    says(&world.run(&["accept-history", &forced[..10], "--reason", "x"]).exits(64), &["40 digits"]);
    world.run(&["accept-history", &forced, "--reason", "a new beginning"]).exits(0);
    says(&world.run(&[]).exits(0), &["a new beginning"]);
    assert_eq!(world.installed().as_deref(), Some("0.9.2"));
    // The old state is rewritten history now.
    world.origin.point("refs/heads/main", &first);
    world.run(&[]).exits(77);
    assert_eq!(world.installed().as_deref(), Some("0.9.2"));
}

#[test]
fn old_signed_commit_is_not_gone_back_to() {
    let (mut world, first) = World::new();
    world.push(&wish("0.9.2"), &[&first]);
    world.run(&[]).exits(0);
    world.origin.point("refs/heads/main", &first);
    says(&world.run(&[]).exits(77), &["history of `main` was rewritten"]);
    // Neither when the memory is lost: the directory in use still says which commit it is.
    fs::remove_file(world.state().join("repository.json")).unwrap();
    let text = world.run(&[]).exits(77);
    says(&text, &["history of `main` was rewritten"]);
    assert_eq!(world.installed().as_deref(), Some("0.9.2"));
}

#[test]
fn loss_of_all_memory_is_reported() {
    let (world, _) = World::new();
    world.run(&[]).exits(0);
    fs::remove_file(world.state().join("repository.json")).unwrap();
    says(&world.run(&["--dry-run"]).exits(0), &["repository.json is lost"]);
    fs::remove_dir_all(world.state().join("repository")).unwrap();
    says(&world.run(&[]).exits(0), &["accepted before is lost"]);
    assert!(!world.run(&[]).exits(0).contains("lost"));
}

#[test]
fn repository_that_is_down_leaves_the_accepted_state_in_effect() {
    let (mut world, first) = World::new();
    world.origin.hide();
    world.run(&[]).exits(69);
    world.origin.show();
    world.run(&["--clock", "2026-06-01T00:00:00Z"]).exits(0);
    world.origin.hide();
    fs::remove_file(world.root.path().join("opt/weather/bin/weather")).unwrap();
    let text = world.run(&["--clock", "2026-06-01T05:00:00Z"]).exits(0);
    says(&text, &["cannot fetch", "accepted at 20", "stays in effect"]);
    assert_eq!(world.installed().as_deref(), Some("0.3.0"));
    says(&world.run(&["status"]).exits(0), &[&first[..10]]);
    world.origin.show();
    world.push(&wish("0.9.2"), &[&first]);
    world.run(&[]).exits(0);
    assert_eq!(world.installed().as_deref(), Some("0.9.2"));
}

#[test]
fn invalid_commit_leaves_the_last_valid_one_in_effect_and_is_told_everywhere() {
    let (mut world, first) = World::new();
    let invalid = "apps:\n  weather: { sauce: 1 }\n";
    let lost = world.push(invalid, &[]);
    world.run(&[]).exits(65);
    assert_eq!(world.installed(), None);
    world.origin.point("refs/heads/main", &first);
    world.run(&[]).exits(0);
    fs::remove_file(world.root.path().join("opt/weather/bin/weather")).unwrap();
    let second = world.push(invalid, &[&first]);
    let looked = everything(world.root.path());
    let says_why = ["is no valid desired state: web.yaml:2", &second[..10], "stays in effect"];
    says(&world.run(&["--dry-run"]).exits(65), &says_why);
    assert_eq!(everything(world.root.path()), looked, "looking writes nothing");
    says(&world.run(&[]).exits(65), &says_why);
    assert_eq!(world.installed().as_deref(), Some("0.3.0"), "drift is repaired all the same");
    let status = world.run(&["status"]).exits(0);
    says(&status, &["DesiredRefused (RevisionUnusable)", &first[..10], &second[..10]]);
    says(&world.run(&["validate"]).exits(65), &["sauce"]);
    says(&world.run(&["units", "--install"]).exits(65), &["no units are made", &second[..10]]);
    // What was not valid was not accepted: whoever takes it back rewrites nothing.
    let third = world.push(&wish("0.9.2"), &[&first]);
    world.run(&[]).exits(0);
    assert_eq!(world.installed().as_deref(), Some("0.9.2"));
    let status = world.run(&["status"]).exits(0);
    says(&status, &[&third[..10]]);
    assert!(!status.contains("DesiredRefused") && !status.contains(&lost[..10]), "{status}");
}

#[test]
fn loop_repairs_by_the_last_valid_commit_while_a_request_tells_what_is_wrong_with_the_new_one() {
    let (mut world, first) = World::new();
    let mut agent = world.command(&["run", "--interval", "1d"]).spawn().unwrap();
    let request = |world: &World| {
        let began = std::time::Instant::now();
        loop {
            let said = world.run(&["request", "--wait"]);
            if said.0.status.code() != Some(69) || began.elapsed().as_secs() > 60 {
                return said;
            }
        }
    };
    request(&world).exits(0);
    let second = world.push("apps: [\n", &[&first]);
    fs::remove_file(world.root.path().join("opt/weather/bin/weather")).unwrap();
    let text = request(&world).exits(65);
    says(&text, &["no valid desired state", &second[..10], "stays in effect", "1 repaired"]);
    assert_eq!(world.installed().as_deref(), Some("0.3.0"));
    let unsigned = world.origin.commit(&[("web.yaml", &wish("0.9.2"))], &[&second], None);
    world.origin.point("refs/heads/main", &unsigned);
    fs::remove_file(world.root.path().join("opt/weather/bin/weather")).unwrap();
    says(&request(&world).exits(77), &["is not signed", "1 repaired"]);
    assert_eq!(world.installed().as_deref(), Some("0.3.0"));
    world.push(&wish("0.9.2"), &[&second]);
    request(&world).exits(0);
    assert_eq!(world.installed().as_deref(), Some("0.9.2"));
    agent.kill().unwrap();
    agent.wait().unwrap();
}

#[test]
fn tag_is_followed_by_its_own_signature() {
    let (mut world, first) = World::new();
    let tag = world.origin.tag("v1", &first, Some(&world.key));
    world.origin.point("refs/tags/v1", &tag);
    says(&world.run(&["--ref", "v1"]).exits(0), &["v1@sha1"]);
    // A signed commit does not vouch for an unsigned tag, nor a tag for another name.
    let second = world.push(&wish("0.9.2"), &[&first]);
    world.origin.point("refs/tags/v1", &world.origin.tag("v1", &second, None));
    says(&world.run(&["--ref", "v1"]).exits(77), &["is not signed"]);
    world.origin.point("refs/tags/v1", &world.origin.tag("v2", &second, Some(&world.key)));
    says(&world.run(&["--ref", "v1"]).exits(77), &["another name"]);
    world.origin.point("refs/tags/v1", &world.origin.tag("v1", &second, Some(&world.key)));
    world.run(&["--ref", "v1"]).exits(0);
    assert_eq!(world.installed().as_deref(), Some("0.9.2"));
    // Moved back, it is a moved tag.
    world.origin.point("refs/tags/v1", &tag);
    world.run(&["--ref", "v1"]).exits(77);
    // A name that is both has to be said in full.
    world.origin.point("refs/heads/v1", &second);
    says(&world.run(&["--ref", "v1", "--dry-run"]).exits(65), &["both a branch and a tag"]);
}

#[test]
fn tag_signed_anew_is_judged_at_the_time_of_its_own_acceptance() {
    let (world, first) = World::new();
    let tag = |key: &Key| {
        world.origin.point("refs/tags/v1", &world.origin.tag("v1", &first, Some(key)));
    };
    tag(&world.key);
    world.run(&["--ref", "refs/tags/v1", "--clock", "2026-01-01T00:00:00Z"]).exits(0);
    let other = Key::new();
    world.allow(&other.allowed("new@example.net", "valid-after=\"20260601\""));
    tag(&other);
    world.run(&["--ref", "refs/tags/v1", "--clock", "2026-07-01T00:00:00Z"]).exits(0);
    world.run(&["--ref", "refs/tags/v1", "--clock", "2026-07-02T00:00:00Z"]).exits(0);
}

#[test]
fn tree_that_would_lead_elsewhere_is_refused() {
    let (mut world, _) = World::new();
    let document = wish("0.3.0");
    let blob = world.origin.object(Kind::Blob, document.as_bytes());
    let inner = world.origin.object(Kind::Tree, &raw_entry("100644", "evil.yaml", &blob));
    let mut trees = Vec::new();
    for name in ["..", ".", ".git", ".GIT", "a/b", ""] {
        let bytes = raw_entry("40000", name, &inner);
        trees.push((name, world.origin.object(Kind::Tree, &bytes)));
    }
    for target in ["../../etc/passwd", "/etc/passwd", "a/../../x", "a/b/c/../../x", ""] {
        let entries = [("web.yaml", Entry::File(&document)), ("link", Entry::Link(target))];
        trees.push((target, world.origin.tree(&entries)));
    }
    for (name, tree) in trees {
        let commit = world.origin.commit_tree(&tree, &[], Some(&world.key));
        world.origin.point("refs/heads/main", &commit);
        let code = world.run(&[]).0.status.code();
        assert!(matches!(code, Some(77 | 69)), "{name:?}: {code:?}");
        assert_eq!(world.installed(), None, "{name:?}");
    }
    assert!(!world.root.path().join("var/lib/reconcile/evil.yaml").exists());
    let entries = [("web.yaml", Entry::File(&document)), ("sub/link", Entry::Link("../web.yaml"))];
    let tree = world.origin.tree(&entries);
    let commit = world.origin.commit_tree(&tree, &[], Some(&world.key));
    world.origin.point("refs/heads/main", &commit);
    world.run(&[]).exits(0);
}

#[test]
fn repository_that_is_too_large_or_lacks_the_directory_is_refused() {
    let (mut world, first) = World::new();
    let deep = "d/".repeat(40) + "web.yaml";
    let commit = world.origin.commit(&[(&deep, "apps: {}\n")], &[&first], Some(&world.key));
    world.origin.point("refs/heads/main", &commit);
    says(&world.run(&[]).exits(65), &["nested deeper"]);
    let huge = "#".repeat(65 << 20);
    let commit = world.origin.commit(&[("web.yaml", &huge)], &[&first], Some(&world.key));
    world.origin.point("refs/heads/main", &commit);
    says(&world.run(&[]).exits(65), &["larger than"]);
    says(&world.run(&["--git-path", "nowhere"]).exits(65), &["no directory `nowhere`"]);
    says(&world.run(&["--ref", "nowhere"]).exits(65), &["no branch or tag `nowhere`"]);
}

#[test]
fn only_the_wanted_directory_is_used_and_relative_paths_in_it_hold() {
    let (mut world, _) = World::new();
    let document = "apps:\n  weather:\n    version: 1.0.0\n    source: { file: { path: dl, pattern: \
                    \"weather-{version}\" } }\n    verify: { min: none }\n";
    let files = [
        ("prod/web.yaml", document),
        ("prod/dl/weather-1.0.0", "#!/bin/sh\necho sunny\n"),
        ("broken.yaml", "not: [a wish"),
    ];
    let commit = world.origin.commit(&files, &[], Some(&world.key));
    world.origin.point("refs/heads/main", &commit);
    world.run(&["--git-path", "prod"]).exits(0);
    assert_eq!(world.installed().as_deref(), Some("1.0.0"));
    let more = [files[0], files[1], ("prod/more.yaml", "apps: {}\n")];
    let commit = world.origin.commit(&more, &[&commit], Some(&world.key));
    world.origin.point("refs/heads/main", &commit);
    // Another commit is no reason to install the same again.
    says(&world.run(&["--git-path", "prod"]).exits(0), &["No changes"]);
}

#[test]
fn what_leaves_the_repository_leaves_the_host() {
    let (mut world, first) = World::new();
    world.run(&[]).exits(0);
    let second = world.push("apps: {}\n", &[&first]);
    // The last resource of all is guarded.
    world.run(&[]).exits(1);
    world.run(&["--confirm-removals"]).exits(0);
    assert_eq!(world.installed(), None);
    says(&world.run(&["status"]).exits(0), &[&second[..10]]);
}

#[test]
fn killed_between_memory_and_switch_the_next_pass_repairs_it() {
    let (mut world, first) = World::new();
    world.run(&[]).exits(0);
    let second = world.push(&wish("0.9.2"), &[&first]);
    world.run(&[]).exits(0);
    let current = world.state().join("repository/current");
    fs::remove_file(&current).unwrap();
    world.run(&[]).exits(0);
    assert_eq!(fs::read_link(&current).unwrap(), Path::new(&second));
    fs::remove_dir_all(world.state().join("repository").join(&second)).unwrap();
    world.run(&[]).exits(0);
    assert!(world.state().join("repository").join(&second).join("web.yaml").exists());
}

#[test]
fn refused_commit_is_told_wherever_the_host_is_watched() {
    let (mut world, first) = World::new();
    world.run(&["--clock", "2026-06-01T00:00:00Z"]).exits(0);
    let unsigned = world.origin.commit(&[("web.yaml", &wish("0.4.0"))], &[&first], None);
    world.origin.point("refs/heads/main", &unsigned);
    let beside = |name: &str| world.origin.beside().join(name).display().to_string();
    let (metrics, config) = (beside("metrics"), beside("agent.yaml"));
    let events = world.root.path().join("events");
    fs::write(&config, "notify: { file: /events }\n").unwrap();
    let told = ["--effects", "run", "--config", &config, "--metrics-file", &metrics];
    world.run(&told).exits(77);
    let told = fs::read_to_string(events).unwrap();
    says(&told, &["\"reason\":\"DesiredRefused\"", "\"type\":\"Warning\""]);
    let numbers = fs::read_to_string(metrics).unwrap();
    says(&numbers, &["reconcile_host_condition{type=\"DesiredRefused\"} 1\n"]);
    // Passes go on, and that what is wished now is there is nothing that they could say.
    says(&numbers, &["reconcile_last_success_timestamp_seconds 1780272000\n"]);
}

#[test]
fn what_is_installed_is_shown_although_nobodys_signature_counts() {
    let (world, _) = World::new();
    world.run(&[]).exits(0);
    world.allow("");
    let text = world.run(&["status"]).exits(78);
    says(&text, &["no key is in the file", "app/weather", "0.3.0"]);
}

#[test]
fn commit_is_parsed_once_and_not_again_while_it_is_the_same() {
    let (mut world, first) = World::new();
    let parsed = |said: &str| said.matches("parsing the desired state").count();
    let once = world.run(&["-vv"]);
    assert_eq!(parsed(&once.text()), 1, "judged and carried out: {}", once.text());
    world.push(&wish("0.9.2"), &[&first]);
    let log = world.origin.beside().join("agent.log");
    let mut agent = world.command(&["-vv", "run", "--interval", "1s"]);
    let mut agent = agent.stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
    let said = || fs::read_to_string(&log).unwrap();
    let began = Instant::now();
    while said().matches("planned").count() < 3 && began.elapsed() < Duration::from_mins(1) {
        std::thread::sleep(Duration::from_millis(50));
    }
    agent.kill().unwrap();
    agent.wait().unwrap();
    assert!(said().matches("planned").count() >= 3, "{}", said());
    assert_eq!(parsed(&said()), 1, "{}", said());
    assert_eq!(world.installed().as_deref(), Some("0.9.2"));
}

#[test]
fn first_commit_that_is_not_valid_is_told_to_programs_by_the_place_it_was_read_from() {
    let (mut world, _) = World::new();
    let invalid = [("site/web.yaml", "apps:\n  weather: { sauce: 1 }\n")];
    let commit = world.origin.commit(&invalid, &[], Some(&world.key));
    world.origin.point("refs/heads/main", &commit);
    let place = format!("{}//site", world.origin.url());
    for asked in [&[][..], &["plan"], &["validate"], &["--dry-run"]] {
        let ran = world.run(&[asked, &["--git-path", "site", "-o", "json"]].concat());
        assert_eq!(ran.0.status.code(), Some(65), "{asked:?}: {}", ran.text());
        let told: Value = serde_json::from_slice(&ran.0.stdout)
            .unwrap_or_else(|error| panic!("{asked:?}: {error}: {}", ran.text()));
        assert_eq!(told["paths"], serde_json::json!([place]), "{asked:?}: {told:#}");
        assert_eq!(told["errors"][0]["line"], 2, "{asked:?}: {told:#}");
    }
}
