//! Publishing trees against casync and desync, in pairs, with processor time and memory.
//!
//! `cargo bench --bench publish_tree [-- --quick] [-- --pairs N] [-- --place DIR]`. Trees are made from a seed below
//! `/dev/shm` unless told otherwise: `mixed` as a large release, `large` with few files, `small` with many. desync is
//! taken from the path, or with `--desync COMMAND` (blanks separate arguments). A peer that is missing is left out.
//! Every run is a process of its own; who goes first alternates; the ratio is the median of the pairs'.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark fails by panicking, starts programs and prints"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use camino::Utf8Path;
use jiff::{SignedDuration, Timestamp};
use nix::sys::resource::{UsageWho, getrusage};
use reconcile::publish::tree::{DigestKind, Packing, Publication, publish};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.first().map(String::as_str) {
        Some("ours") => return ours(&args[1..]),
        Some("between") => return between(&args[1..]),
        _ => {}
    }
    let option = |name: &str| {
        args.iter().position(|arg| arg == name).and_then(|at| args.get(at + 1)).cloned()
    };
    let quick = args.iter().any(|arg| arg == "--quick");
    let pairs = option("--pairs").map_or(5, |text| text.parse().unwrap());
    let place = PathBuf::from(option("--place").unwrap_or_else(|| "/dev/shm".to_owned()));
    let place = place.join(format!("reconcile-bench-{}", std::process::id()));
    let desync = option("--desync").unwrap_or_else(|| "desync".to_owned());
    let desync: Vec<String> = desync.split_whitespace().map(str::to_owned).collect();
    let scale = if quick { 10 } else { 1 };
    for (name, files, bytes) in
        [("mixed", 4_000, 400_000_000), ("large", 50, 300_000_000), ("small", 100_000, 40_000_000)]
    {
        let bench = Bench { place: place.join(name), pairs, desync: desync.clone() };
        fs::create_dir_all(bench.place.join("tmp")).unwrap();
        make_tree(&bench.place.join("tree"), files / scale, bytes / scale);
        println!(
            "{name}: {} files, {} MB, {pairs} pairs",
            files / scale,
            bytes / scale / 1_000_000
        );
        bench.lines();
        fs::remove_dir_all(&bench.place).unwrap();
    }
    fs::remove_dir_all(&place).unwrap();
}

struct Bench {
    place: PathBuf,
    pairs: usize,
    desync: Vec<String>,
}

#[derive(Clone, Copy, Default)]
struct Sample {
    wall: f64,
    cpu: f64,
    peak_kib: f64,
}

/// What is there before a run.
#[derive(Clone, Copy, PartialEq)]
enum Before {
    Nothing,
    /// The store.
    Store,
    /// All that the run before left.
    All,
}

impl Bench {
    fn lines(&self) {
        let at = |name: &str| self.place.join(name).to_str().unwrap().to_owned();
        let own = std::env::current_exe().unwrap().to_str().unwrap().to_owned();
        let ours = |digest: &str| {
            vec![
                own.clone(),
                "ours".into(),
                digest.into(),
                at("tree"),
                at("o.caidx"),
                at("o.castr"),
            ]
        };
        let store = format!("--store={}", at("c.castr"));
        let casync = vec!["casync".into(), "make".into(), store, at("c.caidx"), at("tree")];
        let mut desync = self.desync.clone();
        let options = ["tar", "-i", "-n", "2", "-s", &at("c.castr"), &at("c.caidx"), &at("tree")];
        desync.extend(options.map(str::to_owned));
        // desync wants its store to be there.
        fs::create_dir_all(at("c.castr")).unwrap();
        let (slow, fast) = (ours("sha512-256"), ours("sha256"));
        for (what, peer, sides, before) in [
            ("first, sha512-256", "casync", [&slow, &casync], Before::Nothing),
            ("first, sha256", "casync", [&fast, &casync], Before::Nothing),
            ("again", "casync", [&fast, &casync], Before::All),
            ("again, no cache", "casync", [&fast, &casync], Before::Store),
            ("again, sha512-256", "casync", [&slow, &casync], Before::Store),
            ("first, sha512-256", "desync", [&slow, &desync], Before::Nothing),
            ("first, sha256", "desync", [&fast, &desync], Before::Nothing),
        ] {
            self.line(what, peer, sides.map(Vec::as_slice), before);
        }
    }

    fn line(&self, what: &str, peer: &str, [ours, theirs]: [&[String]; 2], before: Before) {
        let runs = |program: &String| {
            let tried = Command::new(program).stdout(Stdio::null()).stderr(Stdio::null()).status();
            tried.is_ok()
        };
        if !runs(&theirs[0]) {
            return println!("  {what:<20} {peer} is not here");
        }
        let mut samples = [Vec::new(), Vec::new()];
        let mut ratios = Vec::new();
        if before != Before::Nothing {
            self.clean(Before::Nothing);
            let _ = (self.run(ours), self.run(theirs));
        }
        for pair in 0..self.pairs {
            let mut both = [Sample::default(); 2];
            self.clean(before);
            for turn in 0..2 {
                let side = (turn + pair) % 2;
                let Some(sample) = self.run(if side == 0 { ours } else { theirs }) else {
                    return println!("  {what:<20} {peer} fails here");
                };
                both[side] = sample;
                samples[side].push(sample);
            }
            ratios.push(both[0].wall / both[1].wall);
        }
        let of = |side: usize, value: fn(&Sample) -> f64| median(samples[side].iter().map(value));
        let peak = samples[0].iter().map(|sample| sample.peak_kib).fold(0.0, f64::max) / 1024.0;
        println!(
            "  {what:<20} ours / {peer} {:.3}   wall {:.3} / {:.3} s   cpu {:.2} / {:.2} s   peak {peak:.0} MiB",
            median(ratios.into_iter()),
            of(0, |s| s.wall),
            of(1, |s| s.wall),
            of(0, |s| s.cpu),
            of(1, |s| s.cpu),
        );
    }

    /// Removes what runs made but for what is to be there.
    fn clean(&self, keep: Before) {
        for entry in fs::read_dir(&self.place).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            let kept = match keep {
                Before::All => true,
                Before::Store => name.contains(".castr"),
                Before::Nothing => false,
            };
            if kept || matches!(name.as_str(), "tree" | "tmp") {
                continue;
            }
            if entry.path().is_dir() {
                fs::remove_dir_all(entry.path()).unwrap();
            } else {
                fs::remove_file(entry.path()).unwrap();
            }
        }
        fs::create_dir_all(self.place.join("c.castr")).unwrap();
    }

    /// One run in a process of its own; none when it fails.
    fn run(&self, command: &[String]) -> Option<Sample> {
        let output = Command::new(std::env::current_exe().unwrap())
            .arg("between")
            .args(command)
            .env("TMPDIR", self.place.join("tmp"))
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let mut numbers = text.split_whitespace().map(|word| word.parse().unwrap());
        let mut next = || numbers.next().unwrap();
        output.status.success().then(|| Sample { wall: next(), cpu: next(), peak_kib: next() })
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Runs a command and prints what it took. It stands between because peak memory is inherited over `exec`.
fn between(args: &[String]) {
    let start = Instant::now();
    let status = Command::new(&args[0])
        .args(&args[1..])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    let wall = start.elapsed().as_secs_f64();
    assert!(status.success(), "{args:?}: {status}");
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    let micros = |time: nix::sys::time::TimeVal| time.tv_sec() * 1_000_000 + time.tv_usec();
    #[expect(clippy::cast_precision_loss, reason = "runs take seconds")]
    let cpu = (micros(usage.user_time()) + micros(usage.system_time())) as f64 / 1e6;
    println!("{wall} {cpu} {}", usage.max_rss());
}

/// Publishes as `reconcile publish tree` does.
fn ours(args: &[String]) {
    let [digest, tree, index, store] = args else { panic!("digest, tree, index and store") };
    let wish = Publication {
        digest: Some(match digest.as_str() {
            "sha256" => DigestKind::Sha256,
            _ => DigestKind::Sha512_256,
        }),
        packing: Packing::Chunks,
        ..Publication::new(Utf8Path::new(tree), Utf8Path::new(index), Utf8Path::new(store))
    };
    // The tree was made minutes ago, in the small scale seconds.
    publish(&wish, Timestamp::now() + SignedDuration::from_secs(5)).unwrap();
}

/// Files whose sizes fall like one over their rank, with text that compresses to about a third.
fn make_tree(root: &Path, files: u64, bytes: u64) {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let words: Vec<Vec<u8>> = (0..3_000)
        .map(|_| {
            let letters = 3 + random.below(10);
            (0..letters).map(|_| b'a' + u8::try_from(random.below(26)).unwrap()).collect()
        })
        .collect();
    // The sum of 1 / rank, in thousandths.
    let total: u64 = (1..=files).map(|rank| 1_000_000 / rank).sum::<u64>() / 1_000;
    for file in 0..files {
        // A stride that is coprime to the counts spreads large files over the tree.
        let rank = (file * 1_009) % files + 1;
        let size = bytes * 1_000 / total / rank;
        let dir = root.join(format!("dir{:03}/part{}", file / 200, file / 20 % 10));
        fs::create_dir_all(&dir).unwrap();
        let mut content = Vec::with_capacity(usize::try_from(size).unwrap() + 16);
        while (content.len() as u64) < size {
            let number = random.below(words.len() as u64);
            content.extend(&words[usize::try_from(number).unwrap()]);
            content.push(b' ');
        }
        content.truncate(usize::try_from(size).unwrap());
        fs::write(dir.join(format!("file{file}.txt")), content).unwrap();
    }
}

/// Xorshift64: the same numbers everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}
