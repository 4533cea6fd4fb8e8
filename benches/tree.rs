//! Trees from a casync store against casync, desync, rsync and a bare stat walk, in pairs, with memory.
//!
//! `cargo bench --bench tree [-- --quick] [-- --pairs N] [-- --http] [-- --only NAME]`. The trees are made from a seed
//! in `/dev/shm`, published by casync itself. `--http` adds a server that takes 20 ms for every request. desync is taken
//! from the path or `target/peers/bin` (Debian: `desync`, which needs nothing but libc), and left out where it is
//! missing. Bars are those of the goal table: P16, P22, P23, P24, P25, P26, P34.
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

#[path = "support/measure.rs"]
mod measure;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use measure::{BETWEEN, Pairs, Sample, absolute, between, program, run, skipped};

/// What a request takes with `--http`.
const LATENCY: Duration = Duration::from_millis(20);

/// Requests that servers answered.
static REQUESTS: AtomicU64 = AtomicU64::new(0);

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if args.first().is_some_and(|arg| arg == BETWEEN) {
        return between(&args[1..]);
    }
    let option = |name: &str| {
        args.iter().position(|arg| arg == name).and_then(|at| args.get(at + 1)).cloned()
    };
    let quick = args.iter().any(|arg| arg == "--quick");
    let pairs = option("--pairs").map_or(5, |text| text.parse().unwrap());
    let temp = tempfile::tempdir_in("/dev/shm").unwrap();
    let scale = if quick { 10 } else { 1 };
    let (desync, only) = (desync(), option("--only"));
    for (name, files, bytes) in [
        ("K", 9_000 / scale, 400_000_000 / scale),
        ("F", 56, 150_000_000 / scale),
        ("S100k", 100_000 / scale, 20_000_000 / scale),
    ] {
        if only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        let lab = Lab::new(temp.path().join(name), name, files, bytes);
        lab.local(pairs, desync.as_deref());
        if args.iter().any(|arg| arg == "--http") && name == "F" {
            lab.http(desync.as_deref());
        }
        fs::remove_dir_all(&lab.dir).unwrap();
    }
}

/// The program desync, if it is anywhere.
fn desync() -> Option<String> {
    let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).chain([peers]);
    let found = places.find_map(|place| Some(place.join("desync")).filter(|path| path.is_file()));
    found.map(|path| path.display().to_string())
}

/// What a host has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum First {
    Nothing,
    Installed,
}

/// Two versions of a tree, published by casync, and a host.
struct Lab {
    dir: PathBuf,
    name: &'static str,
}

impl Lab {
    fn new(dir: PathBuf, name: &'static str, files: usize, bytes: usize) -> Self {
        let lab = Self { dir, name };
        fs::create_dir_all(lab.dir.join("desired")).unwrap();
        make_tree(&lab.dir.join("v1"), files, bytes);
        lab.sh("cp -a v1 v2");
        // One file in sixty is another, one in a thousand is gone or new.
        for number in (0..files).step_by(60) {
            let path = lab.dir.join("v2").join(file_name(number));
            let mut file = fs::File::options().append(true).open(path).unwrap();
            file.write_all(b"changed").unwrap();
        }
        for number in (1..files).step_by(1000) {
            fs::remove_file(lab.dir.join("v2").join(file_name(number))).unwrap();
            fs::write(lab.dir.join(format!("v2/new{number}")), b"new").unwrap();
        }
        for version in ["v1", "v2"] {
            lab.sh(&format!(
                "casync make --store=store.castr {version}.caidx {version} > /dev/null"
            ));
        }
        let (index, store) = (lab.text("site.caidx"), lab.text("store.castr"));
        lab.wish(&format!("{{ index: {index}, store: {store} }}"));
        println!("{name}: {files} files, {} MB", bytes / 1_000_000);
        lab
    }

    fn text(&self, path: &str) -> String {
        self.dir.join(path).display().to_string()
    }

    fn sh(&self, line: &str) {
        let status = Command::new("sh").args(["-ec", line]).current_dir(&self.dir).status();
        assert!(status.unwrap().success(), "{line}");
    }

    fn wish(&self, casync: &str) {
        self.wish_laid_out(casync, "exchange");
    }

    fn wish_laid_out(&self, casync: &str, layout: &str) {
        let wish = format!(
            "trees:\n  site:\n    path: /site\n    layout: {layout}\n    verify: {{ min: none }}\n    source: {{ \
             casync: {casync} }}\n"
        );
        fs::write(self.dir.join("desired/wish.yaml"), wish).unwrap();
    }

    fn pass(&self) -> Sample {
        let (root, desired) = (self.text("root"), self.text("desired"));
        let command = [&*program(), "--root", &root, "--desired", &desired];
        run(&command, &[], &self.dir.join("log"))
    }

    fn other(&self, command: &[&str]) -> Sample {
        run(command, &[], &self.dir.join("log"))
    }

    /// A host with nothing, or with the first version installed by us.
    fn host(&self, first: First) {
        self.sh("rm -rf root; mkdir root; cp v1.caidx site.caidx");
        if first == First::Installed {
            self.pass();
        }
    }

    fn local(&self, pairs: usize, desync: Option<&str>) {
        let line = |what: &str| format!("{} {what}", self.name);
        let store = format!("--store={}", self.text("store.castr"));
        let (v1, v2) = (self.text("v1.caidx"), self.text("v2.caidx"));
        let (out, site) = (self.text("out"), self.text("root/site"));
        let fresh = || {
            self.host(First::Nothing);
            self.pass()
        };
        let casync = ["casync", "extract", &store, &v1, &out];
        let fresh_casync = || {
            self.sh("rm -rf out; mkdir out");
            self.other(&casync)
        };
        let measured = Pairs::of(pairs, fresh, fresh_casync);
        measured.report(&line("fresh"), "casync", 0.7);
        let peak = measured.ours().iter().map(|s| s.peak_kib).fold(0.0, f64::max) / 1024.0;
        let bar = measure::Bar { value: peak, at_most: 96.0, text: "96 MiB" };
        absolute(&line("fresh memory"), &format!("{peak:.0} MiB"), bar);
        match desync {
            None => skipped(&line("fresh"), "desync is not installed"),
            Some(desync) => {
                let plain = self.text("store.castr");
                let command = [desync, "untar", "-i", "-s", &plain, &v1, &out];
                let fresh_desync = || {
                    self.sh("rm -rf out; mkdir out");
                    self.other(&command)
                };
                Pairs::of(pairs, fresh, fresh_desync).report(&line("fresh"), "desync", 0.4);
            }
        }
        self.host(First::Installed);
        let find = ["find", &site, "-printf", "%p %s %T@\n"];
        Pairs::of(pairs, || self.pass(), || self.other(&find)).report(&line("no-op"), "find", 2.0);
        let (source, target) = (format!("{}/", self.text("v1")), format!("{}/", self.text("copy")));
        self.sh("cp -a v1 copy");
        let rsync = ["rsync", "-a", "--delete", &source, &target];
        Pairs::of(pairs, || self.pass(), || self.other(&rsync)).report(
            &line("no-op"),
            "rsync",
            0.6,
        );
        let again = || self.other(&casync);
        Pairs::of(1, || self.pass(), again).report(&line("no-op"), "casync", 0.03);
        let update = || {
            self.host(First::Installed);
            self.sh("cp v2.caidx site.caidx");
            self.pass()
        };
        let update_casync = || {
            self.sh("rm -rf out; cp -a v1 out");
            self.other(&["casync", "extract", &store, &v2, &out])
        };
        Pairs::of(pairs, update, update_casync).report(&line("update"), "casync", 0.4);
        let newer = format!("{}/", self.text("v2"));
        let update_rsync = || {
            self.sh("rm -rf copy; cp -a v1 copy");
            self.other(&["rsync", "-a", "--delete", &newer, &target])
        };
        Pairs::of(pairs, update, update_rsync).report(&line("update"), "rsync", 1.3);
        self.sh("diff -r --no-dereference v2 root/site");
        let (index, store) = (self.text("site.caidx"), self.text("store.castr"));
        self.wish_laid_out(&format!("{{ index: {index}, store: {store} }}"), "in-place");
        Pairs::of(pairs, update, update_rsync).report(&line("update in-place"), "rsync", 1.3);
        self.sh("diff -r --no-dereference v2 root/site");
    }

    fn http(&self, desync: Option<&str>) {
        for (latency, bar) in [(Duration::ZERO, 0.6), (LATENCY, 0.03)] {
            let server = serve(&self.dir, latency);
            let (index, store) = (format!("{server}/v1.caidx"), format!("{server}/store.castr"));
            self.wish(&format!("{{ index: \"{index}\", store: \"{store}\" }}"));
            let line = format!("{} {} ms", self.name, latency.as_millis());
            let fresh = || {
                self.host(First::Nothing);
                self.pass()
            };
            let (out, option) = (self.text("out"), format!("--store={store}"));
            let count = if latency.is_zero() { 3 } else { 1 };
            let casync = || {
                self.sh("rm -rf out; mkdir out");
                self.other(&["casync", "extract", &option, &index, &out])
            };
            Pairs::of(count, fresh, casync).report(&line, "casync", bar);
            if let Some(desync) = desync.filter(|_| !latency.is_zero()) {
                let peer = || {
                    self.sh("rm -rf out; mkdir out");
                    self.other(&[desync, "untar", "-i", "-s", &store, &index, &out])
                };
                Pairs::of(3, fresh, peer).report(&line, "desync", 0.25);
            }
        }
        self.packs();
    }

    /// Published by us with packs: how many requests, and how long against one file with the same bytes.
    fn packs(&self) {
        let program = program();
        self.sh(&format!(
            "{program} publish tree v1 --index packed.caidx --store packed.castr --packs > /dev/null\n\
             cat packed.castr/packs/*.capack > one.bin"
        ));
        let server = serve(&self.dir, LATENCY);
        let (index, store) = (format!("{server}/packed.caidx"), format!("{server}/packed.castr"));
        self.wish(&format!("{{ index: \"{index}\", store: \"{store}\" }}"));
        let line = format!("{} packs {} ms", self.name, LATENCY.as_millis());
        let (one, out) = (format!("{server}/one.bin"), self.text("one.out"));
        let fresh = || {
            self.host(First::Nothing);
            self.pass()
        };
        let curl = || self.other(&["curl", "-s", "-o", &out, &one]);
        Pairs::of(3, fresh, curl).report(&line, "one file by curl", 4.0);
        self.host(First::Nothing);
        let before = REQUESTS.load(Ordering::Relaxed);
        self.pass();
        let requests = REQUESTS.load(Ordering::Relaxed) - before;
        let chunks = fs::metadata(self.dir.join("packed.caidx")).unwrap().len() / 40;
        #[expect(clippy::cast_precision_loss, reason = "there are some thousand")]
        let share = requests as f64 / chunks as f64;
        let bar = measure::Bar { value: share, at_most: 0.02, text: "2 % of the chunks" };
        absolute(&format!("{line} requests"), &format!("{requests} for {chunks} chunks"), bar);
    }
}

fn file_name(number: usize) -> String {
    format!("d{:03}/s{}/f{number}", number / 200, number / 20 % 10)
}

/// Many small files and few that hold most of the bytes; text that compresses to about a third.
fn make_tree(root: &Path, files: usize, bytes: usize) {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    #[expect(clippy::cast_precision_loss, reason = "there are few files")]
    let weight = |rank: usize| 1.0 / (rank + 10) as f64;
    let total: f64 = (0..files).map(weight).sum();
    for number in 0..files {
        let rank = number * 1_009 % files;
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "sizes need not be exact"
        )]
        let size = (bytes as f64 / total * weight(rank)) as usize;
        let mut content = Vec::with_capacity(size + 16);
        while content.len() < size {
            let word = random.next();
            let length = 3 + usize::try_from(word % 9).unwrap();
            content.extend_from_slice(&format!("{:010x} ", word >> 24).as_bytes()[..length]);
        }
        content.truncate(size);
        let path = root.join(file_name(number));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, &content).unwrap();
    }
}

/// Xorshift64: the same numbers everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// A server of the files below a directory that takes its time for every request.
fn serve(root: &Path, latency: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let root = Arc::new(root.to_owned());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let root = Arc::clone(&root);
            std::thread::spawn(move || converse(&stream, &root, latency));
        }
    });
    format!("http://{address}")
}

fn converse(mut stream: &TcpStream, root: &Path, latency: Duration) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
        let path = line.split(' ').nth(1)?.trim_start_matches('/').to_owned();
        let mut range = None;
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
            if let Some(asked) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
                range = asked.trim().split_once('-').map(|(from, last)| {
                    (from.parse::<usize>().unwrap(), last.parse::<usize>().unwrap())
                });
            }
        }
        REQUESTS.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(latency);
        let (status, more, body) = match (fs::read(root.join(path)), range) {
            (Ok(body), Some((from, last))) => {
                let range = format!("Content-Range: bytes {from}-{last}/{}\r\n", body.len());
                ("206 Partial Content", range, body[from..=last].to_vec())
            }
            (Ok(body), None) => ("200 OK", String::new(), body),
            (Err(_), _) => ("404 Not Found", String::new(), Vec::new()),
        };
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\n{more}Content-Length: {length}\r\n\r\n");
        let mut answer = head.into_bytes();
        answer.extend(body);
        stream.write_all(&answer).ok()?;
    }
}
