//! Patches that Debian's bspatch and zstd apply, and theirs applied here.
#![cfg(feature = "interop")]

use std::path::Path;
use std::process::Command;

use reconcile::format::{bsdiff, zstd_delta};

/// Two versions of a program: this very one, and one with pieces moved, changed and added.
fn pair() -> (Vec<u8>, Vec<u8>) {
    let own = std::fs::read("/proc/self/exe").unwrap();
    let old = own[..own.len().min(3 << 20)].to_vec();
    let mut new = [&old[1 << 20..], b"something new", &old[..900_000]].concat();
    for at in (0..new.len()).step_by(4099) {
        new[at] = new[at].wrapping_add(16);
    }
    (old, new)
}

/// Runs a tool of a Debian package.
#[track_caller]
fn tool(dir: &Path, package: &str, line: &str) {
    let mut words = line.split(' ');
    let status = Command::new(words.next().unwrap()).args(words).current_dir(dir).status();
    let status =
        status.unwrap_or_else(|error| panic!("{line}: {error}; apt-get install {package}"));
    assert!(status.success(), "{line}: {status}");
}

#[test]
fn bsdiff_and_bspatch_understand_us_and_we_them() {
    let (dir, (old, new)) = (tempfile::tempdir().unwrap(), pair());
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("old"), &old).unwrap();
    std::fs::write(at("new"), &new).unwrap();

    let ours = bsdiff::make(&old, &new).unwrap();
    std::fs::write(at("ours"), &ours).unwrap();
    tool(dir.path(), "bsdiff", "bspatch old made ours");
    assert!(std::fs::read(at("made")).unwrap() == new);

    tool(dir.path(), "bsdiff", "bsdiff old new theirs");
    let theirs = std::fs::read(at("theirs")).unwrap();
    let mut made = Vec::new();
    bsdiff::apply(&old[..], &theirs, &mut made, new.len() as u64).unwrap();
    assert!(made == new);
    assert!(
        ours.len() * 100 <= theirs.len() * 105,
        "{} bytes, bsdiff {}",
        ours.len(),
        theirs.len()
    );
}

#[test]
fn zstd_understands_us_and_we_it() {
    let (dir, (old, new)) = (tempfile::tempdir().unwrap(), pair());
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("old"), &old).unwrap();
    std::fs::write(at("new"), &new).unwrap();

    std::fs::write(at("ours"), zstd_delta::make(&old, &new, 19).unwrap()).unwrap();
    tool(dir.path(), "zstd", "zstd -q -d --patch-from=old ours -o made");
    assert!(std::fs::read(at("made")).unwrap() == new);

    for options in ["-3", "-19 --long", "-19 --long=31", "--ultra -22 --no-check"] {
        tool(dir.path(), "zstd", &format!("zstd -q -f {options} --patch-from=old new -o theirs"));
        let theirs = std::fs::read(at("theirs")).unwrap();
        let mut made = Vec::new();
        zstd_delta::apply(&old, &theirs, &mut made, new.len() as u64).unwrap();
        assert!(made == new, "{options}");
    }
}
