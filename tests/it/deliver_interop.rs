//! What real tools make of published repositories, and ours of what they make.
#![cfg(feature = "interop")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::server::{Reply, Server};
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

#[test]
fn release_that_gpg_signs_is_installed_by_its_patch_and_no_other_key_will_do() {
    let dir = tempfile::tempdir().unwrap();
    programs(dir.path());
    std::fs::create_dir(dir.path().join("gpg")).unwrap();
    let private = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(dir.path().join("gpg"), private).unwrap();
    tree::write(
        &dir.path().join("desired/wish.yaml"),
        b"apps:\n  tool:\n    source: { file: ../repo }\n    verify: { gpg: { keyring: ../keys.pgp } }\n",
    );
    shell(
        dir.path(),
        "for who in publisher somebody; do
             gpg --batch --quiet --passphrase '' --quick-generate-key $who@example.net ed25519 sign never
         done
         pass() { $RECONCILE --root root --desired desired > said; }
         gpg --batch --export publisher@example.net > keys.pgp
         $RECONCILE publish release 1.0 --to repo --sign publisher@example.net
         pass && cmp root/opt/tool/bin/tool 1.0/tool
         $RECONCILE publish release 1.1 --to repo --sign somebody@example.net
         ! pass && cmp root/opt/tool/bin/tool 1.0/tool
         gpg --batch --yes --local-user publisher@example.net --output repo/1.1/SHA256SUMS.sig --detach-sign repo/1.1/SHA256SUMS
         pass && cmp root/opt/tool/bin/tool 1.1/tool
         grep -q 'patch /opt/tool/releases/1.0/tool' said
         grep -q 'verified by signature' said
         gpgconf --kill gpg-agent",
    );
}

/// Builds a Go program against the original libraries, which `RECONCILE_GOPATH` holds.
#[track_caller]
fn built_with_go(directory: &Path, package: &str, program: &str) -> PathBuf {
    let libraries = std::env::var("RECONCILE_GOPATH").expect(
        "RECONCILE_GOPATH must name a GOPATH with the original libraries: tests/interop/go/README.md",
    );
    let built = directory.join(program);
    let output = Command::new("go")
        .args(["build", "-o"])
        .args([built.as_os_str(), package.as_ref()])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .envs([("GOPATH", libraries.as_str()), ("GO111MODULE", "off")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    built
}

/// A web server for everything below a directory.
fn serving(root: PathBuf) -> Server {
    let server = Server::start();
    server.handle(move |request| {
        std::fs::read(root.join(request.bare_path().trim_start_matches('/'))).ok().map(Reply::file)
    });
    server
}

#[test]
#[ignore = "needs Go and the originals' sources: tests/interop/go/README.md"]
fn original_go_updater_takes_what_is_published() {
    let dir = tempfile::tempdir().unwrap();
    let client = built_with_go(dir.path(), "./tests/interop/go/choria", "client");
    programs(dir.path());
    shell(
        dir.path(),
        "for v in 1.0 1.1; do $RECONCILE publish choria $v/tool --version $v --arch amd64 --repo repo; done
         cp 1.0/tool target && chmod 750 target",
    );
    let server = serving(dir.path().join("repo"));
    let client = client.display();
    shell(
        dir.path(),
        &format!("{client} {} 1.1 $PWD/target && cmp target 1.1/tool", server.url("")),
    );
}

#[test]
#[ignore = "needs Go and the originals' sources: tests/interop/go/README.md"]
fn original_go_selfupdate_updates_itself_by_what_is_published() {
    let dir = tempfile::tempdir().unwrap();
    let client = built_with_go(dir.path(), "./tests/interop/go/selfupdate", "client");
    let client = client.display();
    shell(
        dir.path(),
        &format!(
            "mkdir 1.0 1.1; cp {client} 1.0/tool; (cat {client}; echo newer) > 1.1/tool
             for v in 1.0 1.1; do $RECONCILE publish selfupdate $v/tool $v --platform linux-amd64 --out public/tool; done
             cp 1.0/tool tool"
        ),
    );
    let server = serving(dir.path().join("public"));
    shell(dir.path(), &format!("./tool {}/ 1.0 && cmp tool 1.1/tool", server.url("")));
    let asked = server.paths();
    assert!(asked.iter().any(|path| path == "/tool/1.0/1.1/linux-amd64"), "{asked:?}");
    assert!(!asked.iter().any(|path| path.ends_with(".gz")), "{asked:?}");
}

#[test]
#[ignore = "needs Go and the originals' sources: tests/interop/go/README.md"]
fn what_the_original_go_selfupdate_publishes_is_installed_by_its_patch() {
    let dir = tempfile::tempdir().unwrap();
    let package = "github.com/rackerlabs/go-selfupdate/cmd/go-selfupdate";
    let publisher = built_with_go(dir.path(), package, "publisher");
    programs(dir.path());
    let publisher = publisher.display();
    tree::write(
        &dir.path().join("desired/wish.yaml"),
        b"apps:\n  tool:\n    source: { selfupdate: { api: ../public, cmd: tool, platform: linux-amd64 } }\n",
    );
    shell(
        dir.path(),
        &format!(
            "for v in 1.0 1.1; do
                 {publisher} -o public/tool -platform linux-amd64 $v/tool $v
                 $RECONCILE --root root --desired desired > said
                 cmp root/opt/tool/bin/tool $v/tool
             done
             grep -q 'patch /opt/tool/releases/1.0/tool' said"
        ),
    );
}
