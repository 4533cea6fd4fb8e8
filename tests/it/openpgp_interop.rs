//! OpenPGP signatures that gpg makes and judges while the test runs.
#![cfg(feature = "interop")]

use std::path::Path;
use std::process::{Command, Output};

use reconcile::trust::openpgp::{Keyring, KeyringError};

use crate::openpgp::{CASES, assert_cases};

fn gpg(home: &Path, arguments: &[&str]) -> Output {
    Command::new("gpg")
        .env("GNUPGHOME", home)
        .args(["--batch", "--no-tty", "--trust-model", "always", "--faked-system-time"])
        .arg("20250101T120000")
        .args(arguments)
        .output()
        .unwrap()
}

/// Files as in tests/golden/openpgp, made now, and a home for gpg.
struct World {
    files: tempfile::TempDir,
    home: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let files = tempfile::tempdir().unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/openpgp/make.sh");
        let made = Command::new("sh").arg(script).current_dir(files.path()).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let home = tempfile::Builder::new()
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700))
            .tempdir()
            .unwrap();
        Self { files, home }
    }
}

#[test]
fn signatures_made_now_come_out_as_the_table_says() {
    assert_cases(World::new().files.path());
}

#[test]
fn gpg_says_what_the_table_says() {
    let world = World::new();
    let path = |name: &str| world.files.path().join(name).display().to_string();
    for case in &CASES {
        let (keyring, signature) = (path(case.keyring), path(case.signature));
        let ring = ["--no-default-keyring", "--keyring", &keyring, "--status-fd", "1"];
        let verify = ["--verify", &signature, &path("SHA256SUMS")];
        let output = gpg(world.home.path(), &[&ring[..], &verify].concat());
        let text = String::from_utf8_lossy(&output.stdout);
        let says = format!("[GNUPG:] {} ", case.gpg);
        assert!(text.contains(&says), "{case:?}: {text}");
    }
}

#[test]
fn a_file_with_a_secret_key_is_no_keyring() {
    let world = World::new();
    let home = world.home.path();
    let made = gpg(home, &["--passphrase", "", "--quick-generate-key", "s@example.net"]);
    assert!(made.status.success(), "{made:?}");
    let secret =
        gpg(home, &["--passphrase", "", "--pinentry-mode", "loopback", "--export-secret-keys"]);
    let result = Keyring::read(&secret.stdout);
    assert!(matches!(result, Err(KeyringError::Secret)), "{result:?}");
    let public = gpg(home, &["--export"]);
    Keyring::read(&public.stdout).unwrap();
    let keybox = std::fs::read(home.join("pubring.kbx")).unwrap();
    let result = Keyring::read(&keybox);
    assert!(matches!(result, Err(KeyringError::Keybox)), "{result:?}");
    Command::new("gpgconf").env("GNUPGHOME", home).args(["--kill", "gpg-agent"]).status().unwrap();
}
