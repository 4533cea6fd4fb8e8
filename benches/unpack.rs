//! Unpacking against its own inflater and against GNU tar, in pairs, with memory.
//!
//! `cargo bench --bench unpack [-- --quick] [-- --disk DIR] [-- --pairs N]`. The data are made from a seed
//! once, below `target/bench-data`. Without `--disk` files go to `/dev/shm` and nothing is synced; with it
//! they go to DIR and every side ends with `syncfs`. Every measured run is a process of its own.
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

#[path = "support/tree.rs"]
mod tree;

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use reconcile::model::step::{Binaries, Strip, UnpackLimits, UnpackRules};
use reconcile::model::{Algorithm, Blob, Digest, Evidence, Level, Subject};
use sha2::{Digest as _, Sha256};
use tree::{BYTES, FILES, QUICK};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if let Some(["child", role, rest @ ..]) = texts(&args).get(..).filter(|a| a.len() > 2) {
        return child(role, Path::new(rest[0]), rest.get(1).map(Path::new));
    }
    let option = |name: &str| {
        args.iter().position(|arg| arg == name).and_then(|at| args.get(at + 1)).cloned()
    };
    let quick = args.iter().any(|arg| arg == "--quick");
    let pairs = option("--pairs").map_or(5, |text| text.parse().unwrap());
    let disk = option("--disk").map(PathBuf::from);
    let place = disk.clone().unwrap_or_else(|| PathBuf::from("/dev/shm"));
    let data = tree::data(if quick { BYTES / QUICK } else { BYTES });
    // Input and output on one kind of memory, so that the file system is the same for all sides.
    println!("{} pairs, files go to {}", pairs, place.display());
    let sync = if disk.is_some() { "sync" } else { "no-sync" };
    for (name, other) in
        [("gz", "inflate"), ("gz", "tar"), ("gz", "single"), ("zst", "inflate"), ("zst", "single")]
    {
        let packed = data.join(format!("tree.tar.{name}"));
        compare(&packed, other, &place, sync, pairs);
    }
}

fn texts(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

/// One line: ours against `other`, alternating.
fn compare(packed: &Path, other: &str, place: &Path, sync: &str, pairs: usize) {
    let mut ratios = Vec::new();
    let mut sides: [Vec<Sample>; 2] = [Vec::new(), Vec::new()];
    for pair in 0..pairs {
        let mut both = [None, None];
        // Who goes first alternates too.
        for turn in 0..2 {
            let side = (turn + pair) % 2;
            let role = if side == 0 { "ours" } else { other };
            both[side] = Some(run(role, packed, place, sync));
        }
        let [Some(ours), Some(theirs)] = both else { unreachable!() };
        ratios.push(ours.wall / theirs.wall);
        sides[0].push(ours);
        sides[1].push(theirs);
    }
    let walls = |side: &[Sample]| median(side.iter().map(|sample| sample.wall).collect());
    let cpus = |side: &[Sample]| median(side.iter().map(|sample| sample.cpu).collect());
    let peak = |side: &[Sample]| side.iter().map(|s| s.peak_kib).max().unwrap_or(0);
    let base = sides[0].iter().map(|s| s.base_kib).max().unwrap_or(0);
    println!(
        "{:<14} ours / {other:<8} {:.2}   ({:.2} s / {:.2} s)   cpu {:.2} s / {:.2} s   peak {} KiB (base {base}) / {} KiB",
        packed.file_name().unwrap().to_string_lossy(),
        median(ratios),
        walls(&sides[0]),
        walls(&sides[1]),
        cpus(&sides[0]),
        cpus(&sides[1]),
        peak(&sides[0]),
        peak(&sides[1]),
    );
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

struct Sample {
    wall: f64,
    /// Processor seconds of all threads; GNU tar's are not seen.
    cpu: f64,
    base_kib: u64,
    peak_kib: u64,
}

/// Runs one role in a process of its own and removes what it made.
fn run(role: &str, packed: &Path, place: &Path, sync: &str) -> Sample {
    let into = place.join(format!("reconcile-bench-{}", std::process::id()));
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["child", role]).arg(packed).arg(&into).env("RECONCILE_BENCH_SYNC", sync);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{role}: {}", String::from_utf8_lossy(&output.stderr));
    let _ = fs::remove_dir_all(&into);
    let text = String::from_utf8(output.stdout).unwrap();
    let numbers: Vec<f64> = text.split_whitespace().map(|word| word.parse().unwrap()).collect();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole KiB")]
    let kib = |value: f64| value as u64;
    Sample {
        wall: numbers[0],
        cpu: numbers[1],
        base_kib: kib(numbers[2]),
        peak_kib: kib(numbers[3]),
    }
}

/// One measured run: prints wall and processor seconds, peak memory before and after in KiB.
fn child(role: &str, packed: &Path, into: Option<&Path>) {
    let into = into.unwrap();
    // Hashing brings the artifact into the page cache.
    let digest = digest(packed);
    let base = peak_kib();
    let cpu = cpu_seconds();
    let start = Instant::now();
    match role {
        "ours" => ours(packed, into, digest),
        "inflate" => {
            copy_to_nothing(&mut *reader(packed));
        }
        "single" => single_pass(packed, into),
        "tar" => {
            fs::create_dir(into).unwrap();
            let status =
                Command::new("tar").arg("-xf").arg(packed).arg("-C").arg(into).status().unwrap();
            assert!(status.success());
        }
        _ => panic!("no such role: {role}"),
    }
    if std::env::var("RECONCILE_BENCH_SYNC").is_ok_and(|sync| sync == "sync") && into.exists() {
        rustix::fs::syncfs(File::open(into).unwrap()).unwrap();
    }
    let (wall, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    println!("{wall} {cpu} {base} {}", peak_kib());
}

fn ours(packed: &Path, into: &Path, digest: Digest) {
    let size = fs::metadata(packed).unwrap().len();
    let blob = Blob { path: packed.to_owned(), size, digests: vec![digest.clone()] };
    let evidence = Evidence {
        signer: None,
        level: Level::Digest,
        digests: vec![digest],
        of: Subject::Artifact,
        stated_by: String::new(),
    };
    let blob = reconcile::trust::verify(blob, &evidence).unwrap();
    let rules = UnpackRules {
        strip: Strip::Auto,
        binaries: Binaries::AnyExecutable,
        bare_name: "tool".to_owned(),
        limits: UnpackLimits::default(),
    };
    let name = packed.file_name().unwrap().to_string_lossy();
    let unpacked = reconcile::unpack::unpack(&blob, &name, into, &rules).unwrap();
    assert!(unpacked.entries.len() >= FILES);
}

/// The obvious program: one thread that hashes the artifact, inflates it and writes every file.
fn single_pass(packed: &Path, into: &Path) {
    let file = BufReader::with_capacity(
        128 << 10,
        Hashing { inner: File::open(packed).unwrap(), hash: Sha256::new() },
    );
    let mut archive = tar::Archive::new(decoder(packed, file));
    for entry in archive.entries().unwrap() {
        entry
            .unwrap()
            .unpack_in({
                fs::create_dir_all(into).unwrap();
                into
            })
            .unwrap();
    }
}

struct Hashing {
    inner: File,
    hash: Sha256,
}

impl Read for Hashing {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into)?;
        self.hash.update(&into[..count]);
        Ok(count)
    }
}

fn reader(packed: &Path) -> Box<dyn Read> {
    decoder(packed, BufReader::with_capacity(128 << 10, File::open(packed).unwrap()))
}

fn decoder<R: Read + 'static>(packed: &Path, source: BufReader<R>) -> Box<dyn Read> {
    if packed.extension().is_some_and(|ext| ext == "zst") {
        Box::new(zstd::Decoder::with_buffer(source).unwrap())
    } else {
        Box::new(flate2::bufread::MultiGzDecoder::new(source))
    }
}

fn copy_to_nothing(source: &mut dyn Read) {
    let mut buffer = vec![0; 256 << 10];
    while source.read(&mut buffer).unwrap() > 0 {}
}

fn digest(path: &Path) -> Digest {
    let mut file = File::open(path).unwrap();
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        let count = file.read(&mut buffer).unwrap();
        if count == 0 {
            return Digest::new(Algorithm::Sha256, &hash.finalize()).unwrap();
        }
        hash.update(&buffer[..count]);
    }
}

/// Processor time of this process so far.
fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    #[expect(clippy::cast_precision_loss, reason = "runs take seconds")]
    let seconds = time.tv_sec as f64 + time.tv_nsec as f64 / 1e9;
    seconds
}

/// Highest resident memory of this process so far.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
