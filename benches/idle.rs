//! The agent while it waits: memory, threads, system calls, and what a poll with nothing to do costs.
//!
//! `cargo bench --bench idle [-- LINE… | --quick]`; all lines when none is named. The lines:
//!
//! ```text
//! idle-10    `reconcile run` over ten apps, 60 s between events (10 s with --quick)
//! idle-50    the same over fifty
//! poll-tree  processor time of a poll of one tree whose source is asked and has nothing new
//! ```
//!
//! Needs strace. `RECONCILE_PROGRAM` names another program than the one that was built with the benchmark. It should be
//! on a disk: what is on tmpfs counts as written memory.
#![allow(
    missing_docs,
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark prints, and ends when something is wrong"
)]

#[path = "support/measure.rs"]
mod measure;
#[path = "../tests/it/support/server.rs"]
mod server;
#[path = "support/world.rs"]
mod world;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use measure::{Bar, absolute, program};
use world::{Artifact, Forge, Host};

/// Resident memory, in KiB.
const RSS_KIB_MAX: f64 = 10.0 * 1024.0;

/// Memory that belongs to the process alone and was written, in KiB.
const DIRTY_KIB_MAX: f64 = 2.0 * 1024.0;

/// Processor time of a poll, in milliseconds: a twentieth of casync-updater's.
const POLL_MILLIS_MAX: f64 = 0.05 * 12.5;

/// How long threads of the blocking pool are kept, and a little more.
const SETTLED: Duration = Duration::from_secs(14);

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if args.first().map(String::as_str) == Some(measure::BETWEEN) {
        return measure::between(&args[1..]);
    }
    let quick = args.iter().any(|arg| arg == "--quick");
    let lines: Vec<&String> = args.iter().filter(|arg| !arg.starts_with("--")).collect();
    let has = |line: &str| lines.is_empty() || lines.iter().any(|l| *l == line);
    let watched = Duration::from_secs(if quick { 10 } else { 60 });
    for (line, apps) in [("idle-10", 10), ("idle-50", 50)] {
        if has(line) {
            idle(line, apps, watched);
        }
    }
    if has("poll-tree") {
        poll(if quick { 10 } else { 60 });
    }
}

/// A running agent.
struct Agent(Child);

impl Agent {
    fn start(host: &Host, desired: &Path, more: &[&str]) -> Self {
        let log = fs::File::create(host.path().join("agent.log")).unwrap();
        let mut command = Command::new(program());
        command.arg("run").arg("--root").arg(host.path()).arg("--desired").arg(desired).args(more);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        Self(command.spawn().unwrap())
    }

    /// A file of the kernel about the process.
    fn told(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.0.id())).unwrap()
    }

    /// A figure of such a file, in its own unit.
    fn figure(&self, file: &str, name: &str) -> f64 {
        let text = self.told(file);
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap().split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Processor time of all threads that live, in nanoseconds.
    fn processor(&self) -> f64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.0.id())).unwrap().flatten();
        let times = tasks.filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok());
        times.map(|text| text.split(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }

    /// System calls within this time.
    fn calls(&self, within: Duration) -> usize {
        let trace = tempfile::NamedTempFile::new().unwrap();
        let mut strace = Command::new("timeout");
        strace.args(["--signal=INT", &within.as_secs().to_string(), "strace", "-f", "-qq", "-o"]);
        strace.arg(trace.path()).args(["-p", &self.0.id().to_string()]);
        let status = strace.status().unwrap();
        assert!(matches!(status.code(), Some(124 | 0)), "{status}: apt-get install strace");
        let text = fs::read_to_string(trace.path()).unwrap();
        // Calls that were going on before and after are no calls of this time.
        let own = |line: &&str| !line.contains("resumed") && !line.contains("<detached");
        let lines = text.lines().filter(own).filter(|line| !line.contains("unfinished"));
        lines.filter(|line| !line.contains("--- SIG") && !line.contains("+++")).count()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_mins(1), "not in a minute: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn idle(line: &str, apps: usize, watched: Duration) {
    let forge = Forge::start();
    let host = Host::new(&std::env::temp_dir());
    let names: Vec<String> = (0..apps).map(|i| format!("app{i:04}")).collect();
    for name in &names {
        forge.publish(name, "1.0.0", &Artifact::program("1.0.0"));
    }
    let desired = host.desire(&forge, &names, "latest", "app.tar.gz");
    let agent = Agent::start(&host, &desired, &["--interval", "1h"]);
    until("installed", || names.iter().all(|name| host.app(name).join("bin/tool").exists()));
    std::thread::sleep(SETTLED);
    let kib = |name| agent.figure("smaps_rollup", name);
    let (rss, dirty) = (kib("Rss"), kib("Private_Dirty"));
    let figure = format!(
        "resident {rss} KiB, of it {} KiB anonymous; at its highest {} KiB",
        agent.figure("status", "RssAnon"),
        agent.figure("status", "VmHWM"),
    );
    absolute(line, &figure, Bar { value: rss, at_most: RSS_KIB_MAX, text: "10 MiB" });
    let figure = format!("private and written {dirty} KiB");
    absolute(line, &figure, Bar { value: dirty, at_most: DIRTY_KIB_MAX, text: "2 MiB" });
    let threads = agent.figure("status", "Threads");
    absolute(line, &format!("{threads} threads"), Bar { value: threads, at_most: 2.0, text: "2" });
    let calls = agent.calls(watched);
    let figure = format!("{calls} system calls in {watched:?} between events");
    #[expect(clippy::cast_precision_loss, reason = "calls of a minute")]
    let value = calls as f64;
    absolute(line, &figure, Bar { value, at_most: 0.0, text: "0" });
}

/// The tree of the examples, polled each second with its source asked each time.
fn poll(polls: u64) {
    // As on any host, what lasts as long as the agent runs is in memory; a link to there would be followed inside the
    // host's own root, so that all of it is.
    let host = Host::new(Path::new("/dev/shm"));
    let site = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/site");
    let site = site.display();
    let desired = host.path().join("site.yaml");
    let text = format!(
        "trees:\n  site:\n    path: /srv/site\n    source: {{ casync: {{ index: {site}/site.caidx, store: \
         {site}/site.castr }} }}\n"
    );
    fs::write(&desired, text).unwrap();
    let agent = Agent::start(&host, &desired, &["--interval", "1s", "--sources", "0s"]);
    until("installed", || host.path().join("srv/site").exists());
    std::thread::sleep(SETTLED);
    let before = agent.processor();
    std::thread::sleep(Duration::from_secs(polls));
    #[expect(clippy::cast_precision_loss, reason = "a minute")]
    let millis = (agent.processor() - before) / 1e6 / polls as f64;
    let figure = format!("{millis:.2} ms of processor time for a poll (casync-updater 12.5 ms)");
    absolute(
        "poll-tree",
        &figure,
        Bar { value: millis, at_most: POLL_MILLIS_MAX, text: "0.62 ms" },
    );
}
