//! What real tools make of published repositories, and ours of what they make.
#![cfg(feature = "interop")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::tree;

/// Runs a line of shell; it must succeed.
#[track_caller]
fn shell(directory: &Path, line: &str) -> Output {
    let mut command = Command::new("sh");
    command.args(["-ec", line]).current_dir(directory).env("GNUPGHOME", directory.join("gpg"));
    let output = command.env("RECONCILE", env!("CARGO_BIN_EXE_reconcile")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {said}");
    output
}

/// Two versions of a program that resemble each other.
fn programs(directory: &Path) {
    let own = std::fs::read("/proc/self/exe").unwrap();
    let old = &own[..own.len().min(2 << 20)];
    let mut new = [&old[4096..], b"something new"].concat();
    new[..4].copy_from_slice(b"\x7fELF");
    tree::write(&directory.join("1.0/tool"), old);
    tree::write(&directory.join("1.1/tool"), &new);
}

#[test]
fn bspatch_applies_what_is_published_for_go_selfupdate() {
    let dir = tempfile::tempdir().unwrap();
    programs(dir.path());
    shell(
        dir.path(),
        "for v in 1.0 1.1; do $RECONCILE publish selfupdate $v/tool $v --platform linux-amd64; done
         bspatch 1.0/tool made public/1.0/1.1/linux-amd64
         cmp made 1.1/tool
         gzip -dc public/1.1/linux-amd64.gz | cmp - 1.1/tool
         test \"$(sha256sum 1.1/tool | cut -c1-64 | xxd -r -p | base64)\" = \
            \"$(sed -n 's/.*Sha256\": \"\\(.*\\)\"/\\1/p' public/linux-amd64.json)\"",
    );
}

#[test]
fn bzip2_unpacks_what_is_published_for_go_updater() {
    let dir = tempfile::tempdir().unwrap();
    programs(dir.path());
    shell(
        dir.path(),
        "$RECONCILE publish choria 1.0/tool --version 1.0 --arch amd64 --repo repo
         bzip2 -dc repo/1.0/linux/amd64/tool-linux-amd64-1.0.bz2 | cmp - 1.0/tool
         grep -q \"$(sha256sum 1.0/tool | cut -c1-64)\" repo/1.0/linux/amd64/release.json",
    );
}

#[test]
fn published_release_is_checked_by_sha256sum_gpg_and_zstd() {
    let dir = tempfile::tempdir().unwrap();
    programs(dir.path());
    std::fs::create_dir(dir.path().join("gpg")).unwrap();
    let private = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(dir.path().join("gpg"), private).unwrap();
    shell(
        dir.path(),
        "gpg --batch --quiet --passphrase '' --quick-generate-key publisher@example.net ed25519 sign never
         for v in 1.0 1.1; do $RECONCILE publish release $v --to repo --sign publisher@example.net; done
         (cd repo && sha256sum --quiet -c SHA256SUMS)
         (cd repo/1.1 && sha256sum --quiet -c SHA256SUMS && gpg --batch --verify SHA256SUMS.asc SHA256SUMS)
         zstd -q -d --patch-from=1.0/tool repo/1.1/deltas/1.0/tool.zst -o made
         cmp made 1.1/tool",
    );
}
