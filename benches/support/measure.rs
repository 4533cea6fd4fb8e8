//! Runs of whole processes, in pairs, with the time, processor time and memory each took.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};

/// First argument of the process that stands between the benchmark and what is measured. Memory at its
/// highest is inherited over `exec`, and the benchmark itself holds artifacts of hundreds of megabytes.
pub const BETWEEN: &str = "--between";

/// The program under test: the one that `$RECONCILE_PROGRAM` names, such as what is shipped
/// (`cargo build --profile dist`), else the one that was built with the benchmark.
pub fn program() -> String {
    let named = std::env::var("RECONCILE_PROGRAM");
    named.unwrap_or_else(|_| env!("CARGO_BIN_EXE_reconcile").to_owned())
}

/// What one run took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    /// Seconds.
    pub wall: f64,
    /// Processor seconds of all threads and processes.
    pub cpu: f64,
    /// Resident memory at its highest, in KiB.
    pub peak_kib: f64,
}

/// Runs a command to its end; it must succeed. What it prints goes to `log`.
pub fn run(command: &[&str], environment: &[(&str, &str)], log: &Path) -> Sample {
    let output = Command::new(std::env::current_exe().unwrap())
        .arg(BETWEEN)
        .arg(log)
        .args(command)
        .envs(environment.iter().copied())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let printed = fs::read_to_string(log).unwrap_or_default();
    assert!(output.status.success(), "{command:?} failed:\n{printed}");
    let text = String::from_utf8(output.stdout).unwrap();
    let mut numbers = text.split_whitespace().map(|word| word.parse().unwrap());
    let mut next = || numbers.next().unwrap();
    Sample { wall: next(), cpu: next(), peak_kib: next() }
}

/// The process between: runs the command and prints what it took.
pub fn between(args: &[String]) {
    let log = File::create(&args[0]).unwrap();
    let mut command = Command::new(&args[1]);
    command.args(&args[2..]).stdin(Stdio::null());
    // With these, other places than the distribution's own are read for trusted issuers.
    command.env_remove("SSL_CERT_FILE").env_remove("SSL_CERT_DIR");
    command.stdout(log.try_clone().unwrap()).stderr(log);
    let start = Instant::now();
    let status = command.status().unwrap();
    let wall = start.elapsed().as_secs_f64();
    assert!(status.success(), "{status}");
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    let micros = |time: nix::sys::time::TimeVal| time.tv_sec() * 1_000_000 + time.tv_usec();
    #[expect(clippy::cast_precision_loss, reason = "runs take seconds")]
    let cpu = (micros(usage.user_time()) + micros(usage.system_time())) as f64 / 1e6;
    println!("{wall} {cpu} {}", usage.max_rss());
}

/// Both sides of a line, run in turn; who goes first alternates too.
pub struct Pairs {
    ours: Vec<Sample>,
    peer: Vec<Sample>,
}

impl Pairs {
    /// Measures `count` pairs.
    pub fn of(
        count: usize,
        mut ours: impl FnMut() -> Sample,
        mut peer: impl FnMut() -> Sample,
    ) -> Self {
        let mut pairs = Self { ours: Vec::new(), peer: Vec::new() };
        for pair in 0..count {
            for turn in 0..2 {
                if (turn + pair) % 2 == 0 {
                    pairs.ours.push(ours());
                } else {
                    pairs.peer.push(peer());
                }
            }
        }
        pairs
    }

    /// Prints the line. The bar is on the median of the pairs' ratios of time.
    pub fn report(&self, line: &str, peer: &str, bar: f64) {
        let ratios: Vec<f64> =
            self.ours.iter().zip(&self.peer).map(|(o, p)| o.wall / p.wall).collect();
        let (low, high) =
            ratios.iter().fold((f64::MAX, 0.0_f64), |(l, h), r| (l.min(*r), h.max(*r)));
        let (wall, cpu) = (|s: &Sample| s.wall, |s: &Sample| s.cpu);
        let ratio = median(&ratios);
        let side = |samples: &[Sample]| {
            let of = |get: fn(&Sample) -> f64| {
                duration(median(&samples.iter().map(get).collect::<Vec<_>>()))
            };
            format!("{} (cpu {})", of(wall), of(cpu))
        };
        println!(
            "{line:<18} {:<26} {peer:<22} {:<26} ratio {ratio:.2} ({low:.2}-{high:.2})  bar {bar:.2} {}",
            side(&self.ours),
            side(&self.peer),
            verdict(ratio, bar),
        );
    }

    /// Our runs.
    pub fn ours(&self) -> &[Sample] {
        &self.ours
    }
}

/// A value, the highest it may be, and that in words.
#[derive(Clone, Copy, Debug)]
pub struct Bar<'a> {
    pub value: f64,
    pub at_most: f64,
    pub text: &'a str,
}

/// Prints a line that has an absolute bar.
pub fn absolute(line: &str, figure: &str, bar: Bar<'_>) {
    let Bar { value, at_most, text } = bar;
    println!("{line:<18} {figure:<76} bar {text} {}", verdict(value, at_most));
}

/// Prints a line whose peer is not there.
pub fn skipped(line: &str, why: &str) {
    println!("{line:<18} skipped: {why}");
}

pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// A time for people.
pub fn duration(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.1} ms", seconds * 1e3) } else { format!("{seconds:.2} s") }
}

fn verdict(value: f64, at_most: f64) -> &'static str {
    if value <= at_most { "pass" } else { "MISS" }
}
