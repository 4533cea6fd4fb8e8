//! The agent replaces itself: last, and only by a program that starts and understands what is here.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::tree;

const PROGRAM: &str = env!("CARGO_BIN_EXE_reconcile");

/// A host whose agent is a file of its own.
struct Host {
    temp: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        // On the file system of the program, so that it need not be copied.
        let temp = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let host = Self { temp };
        let agent = host.agent();
        fs::create_dir_all(agent.parent().unwrap()).unwrap();
        if fs::hard_link(PROGRAM, &agent).is_err() {
            fs::copy(PROGRAM, &agent).unwrap();
        }
        let app = |name: &str, file: &str| {
            format!(
                "  {name}:\n    retain: 1\n    layout: {{ file: {file} }}\n    source: {{ selfupdate: {{ \
                 api: ../public, cmd: {name}, platform: linux-amd64 }} }}\n"
            )
        };
        let agent = app("agent", "/usr/local/bin/reconcile");
        let wish = format!("apps:\n{agent}{}", app("zeta", "/usr/local/bin/zeta"));
        tree::write(&host.path("desired/wish.yaml"), wish.as_bytes());
        host.publish("zeta", "1.0", "echo zeta");
        host
    }

    fn path(&self, path: &str) -> PathBuf {
        self.temp.path().join(path)
    }

    fn agent(&self) -> PathBuf {
        self.path("root/usr/local/bin/reconcile")
    }

    fn publish(&self, name: &str, version: &str, script: &str) {
        self.publish_program(name, version, &format!("#!/bin/sh\n{script}\n"));
    }

    /// The same of a whole text, whatever was published as that version.
    fn publish_program(&self, name: &str, version: &str, text: &str) {
        let program = self.path(&format!("built/{name}"));
        tree::write(&program, text.as_bytes());
        let public = self.path(&format!("public/{name}"));
        let published = Command::new(PROGRAM)
            .args(["publish", "selfupdate", program.to_str().unwrap(), version, "--force"])
            .args(["--platform", "linux-amd64", "--out", public.to_str().unwrap()])
            .output()
            .unwrap();
        assert!(published.status.success(), "{published:?}");
    }

    fn pass(&self, more: &[&str]) -> (Option<i32>, String, String) {
        let output = Command::new(self.agent())
            .args(["--root", self.path("root").to_str().unwrap()])
            .args(["--desired", self.path("desired").to_str().unwrap(), "--effects", "run"])
            .args(more)
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }
}

#[test]
fn agent_replaces_itself_last_after_its_successor_was_tried() {
    let host = Host::new();
    let note = host.path("tried");
    host.publish("agent", "9.0", &format!("echo \"$*\" >> {}; echo reconcile 9.0", note.display()));
    let (_, plan, _) = host.pass(&["--dry-run", "-o", "json"]);
    let plan: Value = serde_json::from_str(&plan).unwrap();
    let order: Vec<&str> = plan["spec"]["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| change["resource"].as_str().unwrap())
        .collect();
    assert_eq!(order, ["app/zeta", "app/agent"]);
    assert!(!note.exists(), "a dry run tries nothing");
    let (code, said, mentioned) = host.pass(&[]);
    assert_eq!(code, Some(0), "{said} {mentioned}");
    assert!(mentioned.contains("reconcile itself was replaced"), "{mentioned}");
    let tried = fs::read_to_string(&note).unwrap();
    let tried: Vec<&str> = tried.lines().collect();
    assert_eq!(tried[0], "--version");
    assert!(tried[1].ends_with("status"), "{tried:?}");
    assert!(fs::read_to_string(host.agent()).unwrap().starts_with("#!/bin/sh"));
    assert_ne!(host.agent().metadata().unwrap().permissions().mode() & 0o111, 0);
}

#[test]
fn successor_that_does_not_understand_the_ledger_never_takes_the_place() {
    let host = Host::new();
    host.publish(
        "agent",
        "9.0",
        "case $1 in --version) echo reconcile 9.0; exit 0;; esac; echo what >&2; exit 78",
    );
    let (code, said, _) = host.pass(&[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("does not take the place of the running one"), "{said}");
    let (code, said, _) = host.pass(&["--dry-run"]);
    assert_eq!(code, Some(1), "the old one still runs, and does not try it again: {said}");
    assert!(!said.contains("upgrade") && !said.contains("install 9.0"), "{said}");
    assert!(host.path("root/usr/local/bin/zeta").exists(), "others are not held up");
}

#[test]
fn successor_that_cannot_start_at_the_moment_is_tried_again() {
    let host = Host::new();
    let shell = host.path("shell");
    host.publish_program("agent", "9.0", &format!("#!{}\necho reconcile 9.0\n", shell.display()));
    let (code, said, _) = host.pass(&[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("cannot start"), "{said}");
    std::os::unix::fs::symlink("/bin/sh", &shell).unwrap();
    let (code, said, mentioned) = host.pass(&[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(mentioned.contains("reconcile itself was replaced"), "{mentioned}");
}

#[test]
fn successor_with_other_bytes_or_after_resume_is_tried_again() {
    let host = Host::new();
    let mended = host.path("mended");
    let bad = format!("test -e {} || exit 1; echo reconcile 9.0", mended.display());
    host.publish("agent", "9.0", &bad);
    let refused = |host: &Host| {
        let (code, said, _) = host.pass(&[]);
        assert_eq!(code, Some(1), "{said}");
        let (_, plan, _) = host.pass(&["--dry-run"]);
        assert!(plan.contains("cannot-run") && plan.contains("resume app/agent"), "{plan}");
    };
    refused(&host);
    host.publish("agent", "9.0", &format!("# other bytes\n{bad}"));
    let (_, plan, _) = host.pass(&["--dry-run"]);
    assert!(!plan.contains("cannot-run"), "{plan}");
    refused(&host);
    fs::write(&mended, "").unwrap();
    let (_, plan, _) = host.pass(&["--dry-run"]);
    assert!(plan.contains("cannot-run"), "the bytes are the same: {plan}");
    let (code, said, _) = host.pass(&["resume", "agent"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("not to run here"), "{said}");
    let (code, said, mentioned) = host.pass(&[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(mentioned.contains("reconcile itself was replaced"), "{mentioned}");
}

#[test]
fn program_that_ends_well_and_is_another_does_not_take_the_place() {
    let host = Host::new();
    host.publish("agent", "9.0", "echo something else");
    let (code, said, _) = host.pass(&[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("does not take the place of the running one"), "{said}");
    let (code, said, _) = host.pass(&["--version"]);
    assert!(code == Some(0) && said.starts_with("reconcile "), "{said}");
}

/// Ends what a test started, however the test ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn loop_goes_on_as_the_program_that_replaced_it_and_every_request_is_answered() {
    let host = Host::new();
    let started = host.path("started");
    // The successor takes notes and is the program under test.
    let successor = format!(
        "case $* in *--interval*) echo \"$$ $*\" >> {} ;; esac; exec {PROGRAM} \"$@\"",
        started.display()
    );
    let socket = UnixDatagram::bind(host.path("notify")).unwrap();
    socket.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    let arguments = [
        "--root".to_owned(),
        host.path("root").display().to_string(),
        "--desired".to_owned(),
        host.path("desired").display().to_string(),
        "--effects".to_owned(),
        "run".to_owned(),
        "run".to_owned(),
        "--interval".to_owned(),
        "1d".to_owned(),
    ];
    let agent = Command::new(host.agent())
        .args(&arguments)
        .env("NOTIFY_SOCKET", host.path("notify"))
        .spawn()
        .unwrap();
    let running = Running(agent);
    let mut said = Vec::new();
    let mut hear = |text: &str| {
        let mut buffer = [0; 4096];
        loop {
            let length = socket.recv(&mut buffer).unwrap_or_else(|error| {
                panic!("{error}: never said {text:?}, but {said:#?}");
            });
            said.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
            if said.last().unwrap().contains(text) {
                return;
            }
        }
    };
    hear("; next pass ");
    assert!(!started.exists());
    host.publish("agent", "9.0", &successor);
    // Both are asked for at once: one is answered by this program, the other by this one or the next.
    let (first, second) = std::thread::scope(|scope| {
        let first = scope.spawn(|| host.pass(&["request", "--wait"]));
        let second = scope.spawn(|| host.pass(&["request", "--wait"]));
        (first.join().unwrap(), second.join().unwrap())
    });
    hear("RELOADING=1");
    hear("READY=1");
    hear("; next pass ");
    assert_eq!((first.0, second.0), (Some(0), Some(0)), "{first:?} {second:?}");
    let (code, said, mentioned) = host.pass(&["request", "--wait"]);
    assert_eq!(code, Some(0), "{said} {mentioned}");
    let text = fs::read_to_string(&started).unwrap();
    let expected = format!("{} {}", running.0.id(), arguments.join(" "));
    assert_eq!(
        text.lines().collect::<Vec<_>>(),
        [expected],
        "the same process, the same arguments"
    );
    // Still one agent, and a second one is still refused.
    assert_eq!(host.pass(&["run"]).0, Some(75));
    let began = Instant::now();
    let pid = nix::unistd::Pid::from_raw(running.0.id().try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    hear("STOPPING=1");
    assert!(began.elapsed() < Duration::from_mins(1));
}
