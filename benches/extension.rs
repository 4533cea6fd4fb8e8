//! Extensions beside systemd-sysupdate: a pass with nothing to do, many images, long lists, P33.
//!
//! `cargo bench --bench extension [-- LINE… | --quick | --pairs N]`; all lines when none is named. The lines:
//!
//! ```text
//! noop-50         nothing to do for 50 transfers          | systemd-sysupdate update
//! images-20       20 images of 1 MiB                      | systemd-sysupdate update
//! list-20000      check-new, a list of 20,000 versions    | systemd-sysupdate check-new, once
//! image-xz        P33: an image of 47 MB, .raw.xz         | systemd-pull; xz -dc
//! image-zst       the same image as .raw.zst              | systemd-pull of the .raw.xz
//! ```
//!
//! The peer runs in the system below `$RECONCILE_SYSTEM_ROOT` (see `tests/golden/sysupdate/README.md`), in a mount
//! namespace of its own, as root; starting that takes some 10 ms. Without one the peer is skipped, and the line says so.
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

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use measure::{Bar, Pairs, Sample, absolute, duration, median, program, run, skipped};
use sha2::{Digest as _, Sha256};

/// Runs a command below a system root: its directory is the first argument.
const BELOW: &str = r#"
R=$1; shift
mount -t proc proc "$R/proc" && mount --bind /dev "$R/dev" && mount -t tmpfs t "$R/run" && exec chroot "$R" "$@"
"#;

/// Bytes of the image of P33.
const IMAGE_BYTES: usize = 160 << 20;

/// A place that both sides can see: theirs is `/bench` below their root.
struct Site {
    place: tempfile::TempDir,
    system: Option<PathBuf>,
}

impl Site {
    fn new() -> Self {
        let system = std::env::var_os("RECONCILE_SYSTEM_ROOT").map(PathBuf::from);
        let place = match &system {
            Some(system) => tempfile::Builder::new().prefix("bench").tempdir_in(system),
            None => tempfile::tempdir(),
        };
        Self { place: place.unwrap(), system }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// The path of the place as the peer sees it.
    fn seen(&self) -> String {
        format!("/{}", self.place.path().file_name().unwrap().to_str().unwrap())
    }

    /// Offers files, whose list is written too.
    fn offer(&self, files: &[(String, Vec<u8>)]) {
        let source = self.path("source");
        fs::create_dir_all(&source).unwrap();
        let mut sums = String::new();
        for (name, bytes) in files {
            let digest = data_encoding::HEXLOWER.encode(&Sha256::digest(bytes));
            sums.push_str(&[&digest, "  ", name, "\n"].concat());
            fs::write(source.join(name), bytes).unwrap();
        }
        fs::write(source.join("SHA256SUMS"), sums).unwrap();
    }

    /// Transfers of these names on both sides.
    fn define(&self, names: &[String], ending: &str) {
        for (root, source) in [
            ("ours", self.path("source").display().to_string()),
            ("theirs", format!("{}/source", self.seen())),
        ] {
            let directory = self.path(root).join("usr/lib/sysupdate.d");
            fs::create_dir_all(&directory).unwrap();
            for name in names {
                let text = format!(
                    "[Transfer]\nVerify=no\n[Source]\nType=url-file\nPath=file://{source}\nMatchPattern={name}_@v{ending}\n\
                     [Target]\nType=regular-file\nPath=/var/lib/images\nMatchPattern={name}_@v.raw\n"
                );
                fs::write(directory.join(format!("{name}.transfer")), text).unwrap();
            }
        }
        fs::create_dir_all(self.path("desired")).unwrap();
        fs::write(self.path("desired/wish.yaml"), "sysupdate: { as: sysupdate }\n").unwrap();
    }

    /// Takes away what was installed on one side.
    fn forget(&self, root: &str) {
        for path in ["var/lib/images", "var/lib/reconcile", "var/cache/reconcile"] {
            let _ = fs::remove_dir_all(self.path(root).join(path));
        }
        fs::create_dir_all(self.path(root).join("var/lib/images")).unwrap();
    }

    fn ours(&self, arguments: &[&str]) -> Sample {
        let (root, desired) = (self.path("ours"), self.path("desired"));
        let program = program();
        let mut command = vec![&*program, "--root", root.to_str().unwrap()];
        command.extend(["--desired", desired.to_str().unwrap()]);
        command.extend(arguments);
        run(&command, &[], &self.path("log"))
    }

    fn theirs(&self, arguments: &[&str]) -> Sample {
        let system = self.system.as_ref().unwrap().to_str().unwrap();
        let root = format!("--root={}/theirs", self.seen());
        let mut command =
            vec!["unshare", "-m", "--propagation", "private", "sh", "-c", BELOW, "sh", system];
        command.extend(["/usr/lib/systemd/systemd-sysupdate", &root]);
        command.extend(arguments);
        run(&command, &[], &self.path("log"))
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if args.first().map(String::as_str) == Some(measure::BETWEEN) {
        return measure::between(&args[1..]);
    }
    let quick = args.iter().any(|arg| arg == "--quick");
    let at = args.iter().position(|arg| arg == "--pairs");
    let pairs = at.and_then(|at| args.get(at + 1)).map_or(5, |text| text.parse().unwrap());
    let lines: Vec<&String> =
        args.iter().filter(|arg| arg.contains('-') && !arg.starts_with("--")).collect();
    let has = |line: &str| lines.is_empty() || lines.iter().any(|l| *l == line);
    if has("noop-50") {
        noop(pairs);
    }
    if has("images-20") {
        images(pairs);
    }
    if has("list-20000") {
        list(if quick { 2_000 } else { 20_000 }, pairs);
    }
    if has("image-xz") || has("image-zst") {
        image(if quick { IMAGE_BYTES / 8 } else { IMAGE_BYTES }, pairs, has);
    }
}

fn named(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("image{n:02}")).collect()
}

fn noop(pairs: usize) {
    let (site, names) = (Site::new(), named(50));
    let files: Vec<_> =
        names.iter().map(|n| (format!("{n}_1.raw"), n.as_bytes().to_vec())).collect();
    site.offer(&files);
    site.define(&names, ".raw");
    site.forget("ours");
    site.ours(&[]);
    report(
        &site,
        ("noop-50", 0.1),
        pairs,
        || site.ours(&[]),
        || {
            site.forget("theirs");
            site.theirs(&["update"]);
        },
    );
}

fn images(pairs: usize) {
    let (site, names) = (Site::new(), named(20));
    let bytes = noise(1 << 20, 100);
    let files: Vec<_> = names.iter().map(|n| (format!("{n}_1.raw"), bytes.clone())).collect();
    site.offer(&files);
    site.define(&names, ".raw");
    let ours = || {
        site.forget("ours");
        site.ours(&[])
    };
    let bar = 1.0 / 3.0;
    if site.system.is_none() {
        ours();
        return skipped("images-20", "no RECONCILE_SYSTEM_ROOT");
    }
    let theirs = || {
        site.forget("theirs");
        site.theirs(&["update"])
    };
    Pairs::of(pairs, ours, theirs).report("images-20", "systemd-sysupdate", bar);
}

/// A line where the peer is prepared once.
fn report(
    site: &Site,
    (line, bar): (&str, f64),
    pairs: usize,
    ours: impl FnMut() -> Sample,
    prepare: impl Fn(),
) {
    if site.system.is_none() {
        return skipped(line, "no RECONCILE_SYSTEM_ROOT");
    }
    prepare();
    Pairs::of(pairs, ours, || site.theirs(&["update"])).report(line, "systemd-sysupdate", bar);
}

fn list(versions: usize, pairs: usize) {
    let site = Site::new();
    site.define(&["image".to_owned()], ".raw");
    site.forget("ours");
    fs::create_dir_all(site.path("source")).unwrap();
    let digest = "0".repeat(64);
    let sums: Vec<String> = (0..versions).map(|n| format!("{digest}  image_1.{n}.raw\n")).collect();
    let sums = sums.concat();
    fs::write(site.path("source/SHA256SUMS"), sums).unwrap();
    let walls: Vec<f64> = (0..pairs).map(|_| site.ours(&["sysupdate", "check-new"]).wall).collect();
    let value = median(&walls);
    let peer = match &site.system {
        Some(_) => duration(site.theirs(&["check-new"]).wall),
        None => "not there".to_owned(),
    };
    let figure = format!("{versions} versions in {}, systemd-sysupdate {peer}", duration(value));
    absolute("list-20000", &figure, Bar { value, at_most: 0.5, text: "0.5 s" });
}

fn image(bytes: usize, pairs: usize, has: impl Fn(&str) -> bool) {
    let site = Site::new();
    let source = site.path("source");
    fs::create_dir_all(&source).unwrap();
    fs::write(source.join("image_1.raw"), noise(bytes, 3)).unwrap();
    for command in [["xz", "-3"], ["zstd", "-q"]] {
        let packed = Command::new(command[0])
            .args(["-k", command[1]])
            .arg(source.join("image_1.raw"))
            .status();
        assert!(packed.unwrap().success(), "{command:?}");
    }
    fs::remove_file(source.join("image_1.raw")).unwrap();
    let read = |ending: &str| {
        let name = format!("image_1.raw.{ending}");
        let bytes = fs::read(source.join(&name)).unwrap();
        (name, bytes)
    };
    site.offer(&[read("xz"), read("zst")]);
    let packed = source.join("image_1.raw.xz");
    let log = site.path("log");
    let pull = || {
        let system = site.system.as_ref().unwrap().to_str().unwrap();
        let url = format!("file://{}/source/image_1.raw.xz", site.seen());
        let target = format!("{}/pulled", site.seen());
        let mut command =
            vec!["unshare", "-m", "--propagation", "private", "sh", "-c", BELOW, "sh", system];
        command.extend([
            "/usr/lib/systemd/systemd-pull",
            "raw",
            "--direct",
            "--verify=no",
            &url,
            &target,
        ]);
        run(&command, &[], &log)
    };
    for (ending, line, bar) in [("xz", "image-xz", 1.05), ("zst", "image-zst", 0.3)] {
        if !has(line) {
            continue;
        }
        site.define(&["image".to_owned()], &format!(".raw.{ending}"));
        let ours = || {
            site.forget("ours");
            site.ours(&[])
        };
        let measured = if site.system.is_some() {
            let pairs = Pairs::of(pairs, ours, pull);
            pairs.report(line, "systemd-pull (xz)", bar);
            pairs
        } else {
            let peer = || run(&["xz", "-dc", packed.to_str().unwrap()], &[], &log);
            let pairs = Pairs::of(pairs, ours, peer);
            pairs.report(line, "xz -dc", bar * 1.2);
            pairs
        };
        if ending == "zst" {
            let peaks: Vec<f64> = measured.ours().iter().map(|s| s.peak_kib / 1024.0).collect();
            let value = median(&peaks);
            let figure = format!("resident {value:.1} MiB at its highest");
            absolute(line, &figure, Bar { value, at_most: 16.0, text: "16 MiB" });
        }
    }
}

/// Bytes of which one in `rare` words is new, so that they can be packed somewhat.
fn noise(bytes: usize, rare: u64) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut out = Vec::with_capacity(bytes + 8);
    let mut word = state;
    while out.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        if state.is_multiple_of(rare) {
            word = state;
        }
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.truncate(bytes);
    out
}
