//! Single programs by patch and packed: P27, P28 and P32, beside bsdiff, bspatch and bzip2.
//!
//! `cargo bench --bench deliver [-- --quick] [-- --pairs N]`. A program of 47 MB and its next version are made from a
//! seed. Files are in `/dev/shm`; every measured run is a process of its own. A peer that is not installed is skipped.
#![allow(
    clippy::cast_possible_truncation,
    missing_docs,
    unreachable_pub,
    dead_code,
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
use std::path::{Path, PathBuf};
use std::process::Command;

use measure::{Bar, Pairs, Sample, absolute, duration, median, program, run, skipped};
use reconcile::format::bsdiff;
use reconcile::model::step::{Binaries, Strip, UnpackLimits, UnpackRules};
use reconcile::model::{Algorithm, Digest, PatchFormat};
use reconcile::unpack::{Here, patch};
use sha2::{Digest as _, Sha256};

/// Size of the program in bytes: that of node 18.
const BYTES: usize = 47_000_000;

/// Part of it with `--quick`.
const QUICK: usize = 8;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.first().map(String::as_str) {
        Some(measure::BETWEEN) => return measure::between(&args[1..]),
        Some("child-patch") => return child_patch(Path::new(&args[1])),
        Some("child-make") => return child_make(Path::new(&args[1])),
        _ => {}
    }
    let quick = args.iter().any(|arg| arg == "--quick");
    let at = args.iter().position(|arg| arg == "--pairs");
    let pairs = at.and_then(|at| args.get(at + 1)).map_or(5, |text| text.parse().unwrap());
    let place = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let place = place.path();
    let (old, new) = programs(if quick { BYTES / QUICK } else { BYTES });
    fs::write(place.join("old"), &old).unwrap();
    fs::write(place.join("new"), &new).unwrap();
    sizes(place);
    apply(place, pairs);
    update(place, pairs);
}

/// A program and its next version: words of a vocabulary as code has them, with some functions changed, some longer,
/// and the addresses after those moved.
fn programs(bytes: usize) -> (Vec<u8>, Vec<u8>) {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let vocabulary: Vec<[u8; 4]> = (0..4096).map(|_| u32::to_le_bytes(next() as u32)).collect();
    let mut old = b"\x7fELF".to_vec();
    let mut new = old.clone();
    while old.len() < bytes {
        let function: Vec<u8> = (0..64 + next() % 512)
            .flat_map(|_| {
                // Rare words are common enough to keep it from being packed to nothing.
                let word = next();
                if word % 4 == 0 {
                    u32::to_le_bytes(word as u32 >> 8)
                } else {
                    vocabulary[(word >> 40) as usize % 4096]
                }
            })
            .collect();
        old.extend(&function);
        match next() % 200 {
            0 => new.extend(function.iter().flat_map(|byte| [*byte, byte.wrapping_mul(3)])),
            1 => {}
            _ => {
                let from = new.len();
                new.extend(&function);
                if next() % 4 == 0 {
                    let at = from + (next() as usize % function.len());
                    new[at] = new[at].wrapping_add(0x40);
                }
            }
        }
    }
    (old, new)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn has(program: &str) -> bool {
    Command::new("sh")
        .args(["-c", &format!("command -v {program}")])
        .output()
        .unwrap()
        .status
        .success()
}

/// P27: the size of a patch, and the time to make it.
fn sizes(place: &Path) {
    let (old, new, ours, theirs) = (
        place.join("old"),
        place.join("new"),
        place.join("ours.patch"),
        place.join("theirs.patch"),
    );
    let log = place.join("log");
    let own = std::env::current_exe().unwrap();
    let made = run(&[text(&own), "child-make", text(place)], &[], &log);
    if !has("bsdiff") {
        fs::copy(&ours, &theirs).unwrap();
        return skipped("P27 patch size", "no bsdiff");
    }
    let peer = run(&["bsdiff", text(&old), text(&new), text(&theirs)], &[], &log);
    let size = |path: &Path| fs::metadata(path).unwrap().len();
    #[expect(clippy::cast_precision_loss, reason = "sizes of files")]
    let ratio = size(&ours) as f64 / size(&theirs) as f64;
    let figure = format!("{} B, bsdiff {} B", size(&ours), size(&theirs));
    absolute("P27 patch size", &figure, Bar { value: ratio, at_most: 1.05, text: "1.05 x bsdiff" });
    let figure = format!("{}, bsdiff {}", duration(made.wall), duration(peer.wall));
    let value = made.wall / peer.wall;
    absolute("S10 patch made", &figure, Bar { value, at_most: 0.2, text: "0.20 x bsdiff" });
}

/// P28: applying the same patch.
fn apply(place: &Path, pairs: usize) {
    if !has("bspatch") {
        return skipped("P28 patch applied", "no bspatch");
    }
    let (old, made, patch) = (place.join("old"), place.join("made"), place.join("theirs.patch"));
    let own = std::env::current_exe().unwrap();
    let log = place.join("log");
    let ours = || {
        let _ = fs::remove_dir_all(place.join("staged"));
        run(&[text(&own), "child-patch", text(place)], &[], &log)
    };
    let mut peaks = Vec::new();
    let peer = || {
        let sample = run(&["bspatch", text(&old), text(&made), text(&patch)], &[], &log);
        peaks.push(sample.peak_kib);
        sample
    };
    let pairs = Pairs::of(pairs, ours, peer);
    pairs.report("P28 patch applied", "bspatch", 1.0);
    let ours = median(&pairs.ours().iter().map(|s| s.peak_kib).collect::<Vec<_>>());
    let theirs = median(&peaks);
    let figure = format!("{:.0} MiB, bspatch {:.0} MiB", ours / 1024.0, theirs / 1024.0);
    let value = ours / theirs;
    absolute("P28 memory", &figure, Bar { value, at_most: 0.5, text: "0.50 x bspatch" });
}

/// P32: a whole update of a program packed with bzip2, and a pass after it.
fn update(place: &Path, pairs: usize) {
    if !has("bzip2") {
        return skipped("P32 update", "no bzip2");
    }
    let reconcile = &*program();
    let log = place.join("log");
    let repository = place.join("repository");
    for version in ["1.0", "2.0"] {
        let program = place.join(if version == "1.0" { "old" } else { "new" });
        let named = place.join(format!("built-{version}"));
        fs::create_dir_all(&named).unwrap();
        fs::copy(&program, named.join("tool")).unwrap();
        let tool = named.join("tool");
        let wish = ["publish", "choria", text(&tool), "--version", version, "--arch", "amd64"];
        let wish = [&[reconcile][..], &wish, &["--repo", text(&repository)]].concat();
        run(&wish, &[], &log);
    }
    let wish = |version: &str| -> PathBuf {
        let path = place.join(format!("wish-{version}.yaml"));
        let source = format!("{{ choria: {{ url: {}, arch: amd64 }} }}", repository.display());
        let app = format!(
            "apps:\n  tool:\n    version: {version:?}\n    source: {source}\n    retain: 1\n"
        );
        fs::write(&path, app).unwrap();
        path
    };
    let root = place.join("root");
    fs::create_dir_all(&root).unwrap();
    let pass = |version: &str| -> Sample {
        let wish = wish(version);
        run(&[reconcile, "--root", text(&root), "--desired", text(&wish)], &[], &log)
    };
    let packed = repository.join("2.0/linux/amd64/tool-linux-amd64-2.0.bz2");
    let line = format!("bzip2 -dc {} > {}", packed.display(), place.join("made").display());
    let ours = || {
        pass("1.0");
        pass("2.0")
    };
    let pairs = Pairs::of(pairs, ours, || run(&["sh", "-c", &line], &[], &log));
    pairs.report("P32 update (bz2)", "bzip2 -dc", 1.1);
    let again = pass("2.0");
    let (value, figure) = (again.wall, duration(again.wall));
    absolute("P32 second pass", &figure, Bar { value, at_most: 0.02, text: "20 ms" });
}

fn sha256(bytes: &[u8]) -> Digest {
    Digest::new(Algorithm::Sha256, &Sha256::digest(bytes)).unwrap()
}

/// Applies `theirs.patch` as staging does: the base is checked, the result verified and unpacked.
fn child_patch(place: &Path) {
    let digest = |name: &str| {
        let mut hash = Sha256::new();
        hash.update(std::fs::read(place.join(name)).unwrap());
        Digest::new(Algorithm::Sha256, &hash.finalize()).unwrap()
    };
    // Both are known from the manifest and the source in a pass; here they are kept beside the files.
    let known = |name: &str| -> Digest {
        let kept = place.join(format!("{name}.sha256"));
        if let Ok(text) = fs::read_to_string(&kept) {
            return text.parse().unwrap();
        }
        let digest = digest(name);
        fs::write(kept, digest.to_string()).unwrap();
        digest
    };
    let (base_digest, makes) = (known("old"), known("new"));
    let (base, file) = (place.join("old"), place.join("theirs.patch"));
    let here = Here {
        base: &base,
        base_digest: &base_digest,
        patch: Some((&file, PatchFormat::Bsdiff)),
        makes: &makes,
        made_at: 1_700_000_000,
    };
    let rules = UnpackRules {
        strip: Strip::Auto,
        binaries: Binaries::AnyExecutable,
        bare_name: "tool".to_owned(),
        limits: UnpackLimits::default(),
    };
    patch(&here, &place.join("staged"), &rules).unwrap();
}

fn child_make(place: &Path) {
    let (old, new) = (fs::read(place.join("old")).unwrap(), fs::read(place.join("new")).unwrap());
    fs::write(place.join("ours.patch"), bsdiff::make(&old, &new).unwrap()).unwrap();
    assert_ne!(sha256(&old), sha256(&new));
}
