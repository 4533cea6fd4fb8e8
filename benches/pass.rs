//! The whole program beside its peers: whole processes, in pairs, in one run.
//!
//! `cargo bench --bench pass [-- LINE… | --quick | --pairs N]`; all lines when none is named. The lines:
//!
//! ```text
//! noop-1000           nothing to do for 1,000 apps, nothing asked | a loop of readlink, lstat and reads
//! noop-1000-304       the same, 1,000 sources asked               | 64 bare keep-alive connections
//! noop-1000-304-20ms  the same, every answer 20 ms late           | the same
//! noop-1              one app, its source asked                   | distronomicon update
//! startup             a dry run over ten apps, nothing asked
//! install-gz          440 MB .tar.gz, 1.3 GB unpacked, in memory  | distronomicon; curl, openssl and tar
//! install-gz-disk=DIR the same below DIR, durable at the end      | the same
//! install-zst         the same tree as .tar.zst                   | curl, openssl and tar of the .tar.gz
//! install-rss         memory of installs of three sizes
//! counts              system calls of that install (needs strace) | distronomicon
//! switch              100,000 opens of a program while it is switched
//! ```
//!
//! The peer distronomicon comes with `cargo install distronomicon --version 0.2.0 --root target/peers`;
//! what is not installed is skipped, and the line says so. On a busy machine start it with a raised
//! scheduler weight: `setsid -w sh -c 'echo -15 > /proc/self/autogroup; exec cargo bench --bench pass'`.
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
#[path = "support/tree.rs"]
mod tree;
#[path = "support/world.rs"]
mod world;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use measure::{Bar, Pairs, Sample, absolute, duration, median, run, skipped};
use world::{Artifact, ETAG, Forge, Host};

/// Apps of the large host.
const APPS: usize = 1_000;

/// Connections of the bare client.
const CONNECTIONS: usize = 64;

/// Opens during switches.
const OPENS: usize = 100_000;

/// Resident memory an install may take, in KiB.
const PEAK_KIB_MAX: f64 = 32.0 * 1024.0;

/// What is measured and how often.
struct Plan {
    lines: Vec<String>,
    quick: bool,
    pairs: Option<usize>,
}

impl Plan {
    fn has(&self, line: &str) -> bool {
        self.lines.is_empty() || self.lines.iter().any(|l| l == line)
    }

    fn short(&self) -> usize {
        self.pairs.unwrap_or(9)
    }

    fn long(&self) -> usize {
        self.pairs.unwrap_or(3)
    }

    fn bytes(&self) -> u64 {
        if self.quick { tree::BYTES / tree::QUICK } else { tree::BYTES }
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.first().map(String::as_str) {
        Some(measure::BETWEEN) => return measure::between(&args[1..]),
        Some("--bare-look") => return bare_look(Path::new(&args[1]), args[2].parse().unwrap()),
        Some("--bare-client") => return bare_client(&args[1], args[2].parse().unwrap()),
        _ => {}
    }
    let option = args.iter().position(|arg| arg == "--pairs");
    let pairs = option.map(|at| args[at + 1].parse().unwrap());
    let lines = args.iter().enumerate().filter(|(at, arg)| {
        !arg.starts_with("--") && option.is_none_or(|option| *at != option + 1)
    });
    let lines = lines.map(|(_, arg)| arg.clone()).collect();
    let plan = Plan { lines, quick: args.iter().any(|arg| arg == "--quick"), pairs };
    nothing_to_do(&plan);
    few_apps(&plan);
    installs(&plan);
    if plan.has("switch") {
        switch();
    }
}

/// A directory in memory, so that no disk is measured.
fn memory() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() { memory } else { std::env::temp_dir() }
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("app{i:04}")).collect()
}

/// A host on which `count` apps of one small program are installed and their sources remembered.
fn installed(forge: &Forge, count: usize) -> (Host, [PathBuf; 2]) {
    let host = Host::new(&memory());
    let apps = names(count);
    let program = Artifact::program("1.0.0");
    for app in &apps {
        forge.publish(app, "1.0.0", &program);
    }
    let latest = host.desire(forge, &apps, "latest", "app.tar.gz");
    let exact = host.desire(forge, &apps, "1.0.0", "app.tar.gz");
    host.reconcile(&latest, &[]);
    for app in &apps {
        assert!(host.app(app).join("bin/tool").exists(), "{app} is not installed");
    }
    // Adopts the other desired state, so that not even the ledger changes any more.
    host.reconcile(&exact, &[]);
    host.reconcile(&latest, &[]);
    forge.requests();
    (host, [exact, latest])
}

fn this_program(words: &[&str], host: &Host) -> Sample {
    let program = std::env::current_exe().unwrap();
    let command: Vec<&str> =
        [program.to_str().unwrap()].into_iter().chain(words.iter().copied()).collect();
    run(&command, &[], &host.log())
}

fn nothing_to_do(plan: &Plan) {
    let lines = ["noop-1000", "noop-1000-304", "noop-1000-304-20ms"];
    if !lines.iter().any(|line| plan.has(line)) {
        return;
    }
    let forge = Forge::start();
    let (host, [exact, latest]) = installed(&forge, APPS);
    let count = APPS.to_string();
    let looked = |sample| {
        assert!(host.printed().contains("No changes"), "{}", host.printed());
        sample
    };
    if plan.has("noop-1000") {
        let root = host.path().to_str().unwrap();
        let ours = || looked(host.reconcile(&exact, &[]));
        let pairs =
            Pairs::of(plan.short(), ours, || this_program(&["--bare-look", root, &count], &host));
        assert_eq!(forge.requests(), 0, "nothing was to be asked");
        pairs.report("noop-1000", "bare loop", 3.0);
        let cpu = median(&pairs.ours().iter().map(|s| s.cpu).collect::<Vec<_>>());
        absolute(
            "noop-1000",
            &format!("processor time {}", duration(cpu)),
            Bar { value: cpu, at_most: 0.030, text: "30 ms" },
        );
    }
    for (line, delay) in [("noop-1000-304", 0), ("noop-1000-304-20ms", 20)] {
        if !plan.has(line) {
            continue;
        }
        forge.delay(delay);
        let authority = forge.authority();
        let ours = || {
            let sample = looked(host.reconcile(&latest, &[]));
            assert_eq!(forge.requests(), APPS, "one request for each source");
            sample
        };
        let peer = || {
            let sample = this_program(&["--bare-client", &authority, &count], &host);
            assert_eq!(forge.requests(), APPS);
            sample
        };
        let pairs = Pairs::of(plan.short().min(if delay > 0 { 5 } else { 99 }), ours, peer);
        pairs.report(line, "bare keep-alive client", 2.0);
        if delay > 0 {
            let wall = median(&pairs.ours().iter().map(|s| s.wall).collect::<Vec<_>>());
            absolute(
                line,
                &format!("time {}", duration(wall)),
                Bar { value: wall, at_most: 0.6, text: "600 ms" },
            );
        }
    }
}

fn few_apps(plan: &Plan) {
    let forge = Forge::start();
    if plan.has("noop-1") {
        let (host, [_, latest]) = installed(&forge, 1);
        let peer_host = Host::new(&memory());
        match peer_host.distronomicon(&forge, "app0000") {
            None => skipped("noop-1", "target/peers/bin/distronomicon is not installed"),
            Some(command) => {
                let command: Vec<&str> = command.iter().map(String::as_str).collect();
                let update = || run(&command, &[], &peer_host.log());
                update();
                let ours = || host.reconcile(&latest, &[]);
                Pairs::of(plan.short() * 2, ours, update).report("noop-1", "distronomicon", 1.0);
            }
        }
    }
    if plan.has("startup") {
        let (host, [exact, _]) = installed(&forge, 10);
        let walls: Vec<f64> =
            (0..plan.short() * 2).map(|_| host.reconcile(&exact, &["--dry-run"]).wall).collect();
        let wall = median(&walls);
        absolute(
            "startup",
            &format!("time {}", duration(wall)),
            Bar { value: wall, at_most: 0.020, text: "20 ms" },
        );
    }
}

fn installs(plan: &Plan) {
    let gz = || tree::data(plan.bytes()).join("tree.tar.gz");
    if plan.has("install-gz") {
        let line = Line { name: "install-gz", place: &memory(), pairs: plan.long() };
        install(&line, &gz(), 1.0 / 1.2);
    }
    let disk = plan.lines.iter().find_map(|line| line.strip_prefix("install-gz-disk="));
    if let Some(directory) = disk {
        let place = Path::new(directory);
        let line = Line { name: "install-gz-disk", place, pairs: plan.long() };
        install(&line, &gz(), 1.0 / 1.7);
    }
    if plan.has("install-zst") {
        let forge = Forge::start();
        let tree = tree::data(plan.bytes());
        let packed = [tree.join("tree.tar.gz"), tree.join("tree.tar.zst")];
        let [peer, ours] = packed.map(|path| Artifact::read(&path));
        forge.publish("gz", "1.0.0", &peer);
        forge.publish("big", "1.0.0", &ours);
        let url = peer.url(&forge, "gz", "1.0.0");
        let ours = || fresh_install(&forge, "app.tar.zst", &memory()).0;
        let line = Line { name: "install-zst", place: &memory(), pairs: plan.long() };
        pipeline(&line, &url, ours, 0.33);
    }
    if plan.has("install-rss") {
        memory_of_installs(plan);
    }
    if plan.has("counts") {
        counts(&gz());
    }
}

/// A line about an install: where files go and how many pairs are run.
struct Line<'a> {
    name: &'a str,
    place: &'a Path,
    pairs: usize,
}

/// Installs the app `big` on a new host, which is given back.
fn fresh_install(forge: &Forge, asset: &str, place: &Path) -> (Sample, Host) {
    let host = Host::new(place);
    let desired = host.desire(forge, &["big".to_owned()], "latest", asset);
    settle(place);
    let sample = host.reconcile(&desired, &[]);
    assert!(host.app("big").join("bin").exists());
    let manifest = host.app("big").join("releases/v1.0.0/.reconcile.json");
    assert!(fs::read_to_string(manifest).unwrap().matches("sha256").count() >= tree::FILES);
    (sample, host)
}

/// What earlier runs left to be written is not charged to the next one.
fn settle(place: &Path) {
    rustix::fs::syncfs(fs::File::open(place).unwrap()).unwrap();
}

fn install(line: &Line<'_>, packed: &Path, bar: f64) {
    let forge = Forge::start();
    let artifact = Artifact::read(packed);
    forge.publish("big", "1.0.0", &artifact);
    let url = artifact.url(&forge, "big", "1.0.0");
    drop(artifact);
    let Line { name, place, pairs } = *line;
    let ours = || fresh_install(&forge, "app.tar.gz", place).0;
    let temporary = place.to_str().unwrap();
    let peer = || {
        let host = Host::new(place);
        let command = host.distronomicon(&forge, "big")?;
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        settle(place);
        let sample = run(&command, &[("TMPDIR", temporary)], &host.log());
        assert!(host.app("big").join("bin").exists());
        Some(sample)
    };
    if Host::new(place).distronomicon(&forge, "big").is_some() {
        Pairs::of(pairs, ours, || peer().unwrap()).report(name, "distronomicon", bar);
    } else {
        skipped(name, "target/peers/bin/distronomicon is not installed");
    }
    pipeline(line, &url, ours, 0.5);
}

/// Against what an administrator would write in a shell.
fn pipeline(line: &Line<'_>, url: &str, ours: impl FnMut() -> Sample, bar: f64) {
    let tools = [("curl", "--version"), ("openssl", "version"), ("bash", "--version")];
    let there = |(tool, arg): (&str, &str)| {
        Command::new(tool).arg(arg).stdout(Stdio::null()).status().is_ok_and(|s| s.success())
    };
    if !tools.into_iter().all(there) {
        return skipped(line.name, "its peer needs curl, openssl and bash");
    }
    let script = "curl -s \"$0\" | tee >(openssl dgst -sha256 >digest) | tar xz && sync -f .";
    let peer = || {
        let host = Host::new(line.place);
        settle(line.place);
        let script = format!("cd '{}' && {script}", host.path().display());
        run(&["bash", "-c", &script, url], &[], &host.log())
    };
    Pairs::of(line.pairs, ours, peer).report(line.name, "curl | openssl, tar xz", bar);
}

fn memory_of_installs(plan: &Plan) {
    let mut peaks = Vec::new();
    let sizes = [tree::BYTES / 100, tree::BYTES / 10, tree::BYTES];
    for bytes in sizes.into_iter().filter(|bytes| *bytes <= plan.bytes()) {
        let forge = Forge::start();
        let artifact = Artifact::read(&tree::data(bytes).join("tree.tar.gz"));
        forge.publish("big", "1.0.0", &artifact);
        drop(artifact);
        let samples = (0..3).map(|_| fresh_install(&forge, "app.tar.gz", &memory()).0.peak_kib);
        let peak = samples.fold(0.0, f64::max);
        let figure = format!("{} MB unpacked: peak {peak} KiB", bytes / 1_000_000);
        absolute(
            "install-rss",
            &figure,
            Bar { value: peak, at_most: PEAK_KIB_MAX, text: "32 MiB" },
        );
        peaks.push(peak);
    }
    let spread =
        peaks.iter().copied().fold(0.0, f64::max) - peaks.iter().copied().fold(f64::MAX, f64::min);
    absolute(
        "install-rss",
        &format!("largest less smallest: {spread} KiB"),
        Bar { value: spread, at_most: 2048.0, text: "2 MiB" },
    );
}

fn counts(packed: &Path) {
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        return skipped("counts", "strace missing");
    }
    let forge = Forge::start();
    let artifact = Artifact::read(packed);
    forge.publish("big", "1.0.0", &artifact);
    let host = Host::new(&memory());
    // What a host has before anything of reconcile is there.
    for directory in ["var/lib", "var/cache", "opt"] {
        fs::create_dir_all(host.path().join(directory)).unwrap();
    }
    let desired = host.desire(&forge, &["big".to_owned()], "latest", "app.tar.gz");
    let (calls, first) = traced(&host, &host.command(&desired, &[]));
    forge.publish("big", "2.0.0", &artifact);
    let (_, upgrade) = traced(&host, &host.command(&desired, &[]));
    assert!(host.app("big").join("releases/v2.0.0").exists());
    for (what, syncs, at_most) in [("upgrade", upgrade, 8.0), ("first install", first, 8.0)] {
        let figure = format!("{what}: {syncs} fsync-class calls for {} files", tree::FILES);
        absolute("counts", &figure, Bar { value: syncs, at_most, text: &at_most.to_string() });
    }
    let peer = Host::new(&memory());
    let Some(command) = peer.distronomicon(&forge, "big") else {
        return skipped("counts", "target/peers/bin/distronomicon is not installed");
    };
    let (theirs, their_syncs) = traced(&peer, &command);
    let ratio = calls / theirs;
    let figure = format!(
        "{calls} system calls; distronomicon {theirs} ({their_syncs} syncs); ratio {ratio:.2}"
    );
    absolute("counts", &figure, Bar { value: ratio, at_most: 0.3, text: "0.30" });
}

/// System calls of a command, in all and those that wait for the disk.
fn traced(host: &Host, command: &[String]) -> (f64, f64) {
    let summary = host.path().join("strace");
    let mut traced = vec!["strace", "-f", "-c", "-o", summary.to_str().unwrap()];
    traced.extend(command.iter().map(String::as_str));
    run(&traced, &[], &host.log());
    let text = fs::read_to_string(&summary).unwrap();
    let row = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        Some(((*words.last()?).to_owned(), words.get(3)?.parse::<f64>().ok()?))
    };
    let rows: Vec<(String, f64)> = text.lines().filter_map(row).collect();
    let syncing = ["fsync", "fdatasync", "syncfs", "sync", "sync_file_range", "msync"];
    let calls = rows.iter().filter(|(name, _)| name != "total").map(|(_, count)| count).sum();
    let syncs = rows.iter().filter(|(name, _)| syncing.contains(&name.as_str()));
    (calls, syncs.map(|(_, count)| count).sum())
}

/// A reader opens the program all the time while it is switched to and fro.
fn switch() {
    let forge = Forge::start();
    let host = Host::new(&memory());
    let apps = names(1);
    let mut desired = Vec::new();
    for version in ["1.0.0", "2.0.0"] {
        forge.publish(&apps[0], version, &Artifact::program(version));
        desired.push(host.desire(&forge, &apps, version, "app.tar.gz"));
        host.reconcile(&desired[desired.len() - 1], &[]);
    }
    let program = host.app(&apps[0]).join("bin/tool");
    let (mut opens, mut gone, mut other, mut switches) = (0, 0, 0, 0);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) || opens < OPENS {
                opens += 1;
                match fs::File::open(&program) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::NotFound => gone += 1,
                    Err(_) => other += 1,
                }
            }
        });
        while switches < 20 {
            host.reconcile(&desired[switches % 2], &[]);
            switches += 1;
            let version = ["1.0.0", "2.0.0"][(switches - 1) % 2];
            assert!(fs::read_to_string(&program).unwrap().contains(version));
        }
        over.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    });
    let figure =
        format!("{switches} switches, {opens} opens, {gone} not found, {other} other errors");
    absolute(
        "switch",
        &figure,
        Bar { value: f64::from(gone + other), at_most: 0.0, text: "0 not found" },
    );
}

/// The least that looking at the apps needs: a link, a program, a manifest each.
fn bare_look(root: &Path, count: usize) {
    let mut bytes = Vec::new();
    fs::File::open(root.join("desired-1.0.0.yaml")).unwrap().read_to_end(&mut bytes).unwrap();
    for app in names(count) {
        let home = root.join("opt").join(app);
        let program = fs::read_link(home.join("bin/tool")).unwrap();
        assert!(fs::symlink_metadata(home.join("bin").join(program)).unwrap().is_file());
        let manifest = home.join("releases/v1.0.0/.reconcile.json");
        bytes.clear();
        fs::File::open(manifest).unwrap().read_to_end(&mut bytes).unwrap();
        assert!(bytes.ends_with(b"}"));
    }
}

/// The least that asking needs: connections that stay open, and no library.
fn bare_client(authority: &str, count: usize) {
    let apps = names(count);
    std::thread::scope(|scope| {
        for first in 0..CONNECTIONS {
            let apps = &apps;
            scope.spawn(move || {
                let mut stream = TcpStream::connect(authority).unwrap();
                stream.set_nodelay(true).unwrap();
                for app in apps.iter().skip(first).step_by(CONNECTIONS) {
                    not_modified(&mut stream, app);
                }
            });
        }
    });
}

/// One conditional request.
fn not_modified(stream: &mut TcpStream, app: &str) {
    let path = format!("/repos/bench/{app}/releases/latest");
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nIf-None-Match: {ETAG}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = [0; 4096];
    let mut filled = 0;
    while !answer[..filled].ends_with(b"\r\n\r\n") {
        let count = stream.read(&mut answer[filled..]).unwrap();
        assert!(count > 0, "the connection was closed");
        filled += count;
    }
    assert!(answer.starts_with(b"HTTP/1.1 304"));
}
