//! What publishers sign: bytes that they made, and never what somebody put where they publish.
#![cfg(feature = "interop")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use reconcile::trust::openpgp::{Keyring, verify_detached};

use crate::support::duo::RECONCILE;
use crate::support::gpg::GpgHome;
use crate::support::trace::{Act, Ended, Program, trace};
use crate::support::tree::{self, remove};
use crate::support::world::scratch;

const KEY: &str = "publisher@example.net";

/// A publisher with a key.
struct Site {
    place: tempfile::TempDir,
    home: GpgHome,
}

impl Site {
    fn new() -> Self {
        let home = GpgHome::with_keys(&[KEY, "another@example.net"]);
        Self { place: scratch(), home }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn gpg(&self, arguments: &[&str]) -> bool {
        self.home.gpg(self.place.path(), arguments).status.success()
    }

    /// Whether a signature there holds for a file there.
    fn holds(&self, signature: &str, file: &str) -> bool {
        self.gpg(&["--verify", signature, file])
    }

    fn publish(&self, arguments: &[&str]) -> Output {
        let now = (jiff::Timestamp::now() + jiff::SignedDuration::from_mins(1)).to_string();
        let mut command = Command::new(env!("CARGO_BIN_EXE_reconcile"));
        command.env("GNUPGHOME", self.home.path()).current_dir(self.place.path());
        command.args(["--clock", &now, "publish"]).args(arguments).output().unwrap()
    }

    #[track_caller]
    fn publishes(&self, arguments: &[&str]) -> String {
        let ran = self.publish(arguments);
        assert!(ran.status.success(), "{ran:?}");
        String::from_utf8([ran.stdout, ran.stderr].concat()).unwrap()
    }

    #[track_caller]
    fn refuses(&self, arguments: &[&str], why: &str) {
        let ran = self.publish(arguments);
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(ran.status.code() == Some(1) && said.contains(why), "{ran:?}");
    }

    /// Publishes a version of an extension.
    fn extension<'a>(&self, version: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        let packed = include_bytes!("../golden/images/squashfs-plain.raw.zst");
        let mut image = zstd::decode_all(packed.as_slice()).unwrap();
        image.extend_from_slice(version.as_bytes());
        tree::write(&self.path("image.raw"), &image);
        let what = ["extension", "repository", "image.raw", "--name", "demo", "--version"];
        [&what[..], &[version], more].concat()
    }
}

const LIST: &str = "repository/ext/demo/SHA256SUMS";
const SIGNATURE: &str = "repository/ext/demo/SHA256SUMS.gpg";

#[test]
fn line_that_somebody_wrote_into_a_list_of_images_is_not_signed() {
    let site = Site::new();
    site.publishes(&site.extension("1", &["--sign", KEY]));
    site.publishes(&site.extension("2", &["--sign", KEY]));
    assert!(site.holds(SIGNATURE, LIST));
    let list = fs::read_to_string(site.path(LIST)).unwrap();
    let signature = fs::read(site.path(SIGNATURE)).unwrap();
    let planted = format!("{list}{}  demo_9.raw\n", "ab".repeat(32));
    fs::write(site.path(LIST), &planted).unwrap();
    let third = site.extension("3", &["--sign", KEY]);
    site.refuses(&third, "is not what its signature by publisher@example.net is of");
    // Nor where another key that gpg knows signed it, or nobody.
    assert!(site.gpg(&["-u", "another@example.net", "-o", SIGNATURE, "--detach-sign", LIST]));
    site.refuses(&third, "is not what its signature by publisher@example.net is of");
    remove(&site.path(SIGNATURE));
    site.refuses(&third, "gpg --output");
    assert_eq!(fs::read_to_string(site.path(LIST)).unwrap(), planted);
    assert!(!site.path(SIGNATURE).exists());
    fs::write(site.path(LIST), &list).unwrap();
    fs::write(site.path(SIGNATURE), signature).unwrap();
    site.publishes(&third);
    assert!(site.holds(SIGNATURE, LIST));
    assert!(!fs::read_to_string(site.path(LIST)).unwrap().contains("demo_9"));
}

#[test]
fn unsigned_list_is_signed_from_then_on_where_its_publisher_signed_it_first() {
    let site = Site::new();
    site.publishes(&site.extension("1", &[]));
    let second = site.extension("2", &["--sign", KEY]);
    site.refuses(&second, "nobody signed it");
    site.refuses(&second, "gpg --output");
    assert!(site.gpg(&["-u", KEY, "-o", SIGNATURE, "--detach-sign", LIST]));
    site.publishes(&second);
    assert!(site.holds(SIGNATURE, LIST));
}

#[test]
fn list_of_patches_that_somebody_put_into_a_version_is_not_signed() {
    let site = Site::new();
    tree::write(&site.path("1.0/tool"), b"#!/bin/sh\necho 1\n");
    let publish = ["release", "1.0", "--to", "repository", "--sign", KEY];
    site.publishes(&publish);
    let (sums, signature) = ("repository/1.0/SHA256SUMS", "repository/1.0/SHA256SUMS.asc");
    let made = fs::read_to_string(site.path(sums)).unwrap();
    assert!(site.holds(signature, sums));
    assert!(site.publishes(&publish).contains("nothing was written"));
    let planted = format!("{made}{}  deltas.json\n", "ab".repeat(32));
    for signed in [true, false] {
        fs::write(site.path(sums), &planted).unwrap();
        fs::write(site.path("repository/1.0/deltas.json"), "[]").unwrap();
        if !signed {
            remove(&site.path(signature));
        }
        site.publishes(&publish);
        assert_eq!(fs::read_to_string(site.path(sums)).unwrap(), made);
        assert!(site.holds(signature, sums));
        assert!(!site.path("repository/1.0/deltas.json").exists());
    }
}

#[test]
fn index_that_somebody_put_in_place_of_a_published_one_is_not_signed() {
    let site = Site::new();
    tree::write(&site.path("tree/conf"), b"ours");
    let (index, signature) = ("public/site.caidx", "public/site.caidx.asc");
    let publish = ["tree", "tree", "--index", index, "--sign", KEY];
    site.publishes(&publish);
    assert!(site.publishes(&publish).contains("already"));
    let made = fs::read(site.path(index)).unwrap();
    // What remembers the tree lies beside the index: whoever can write there has both as they like.
    let memory = fs::read_to_string(site.path("public/site.caidx.cache")).unwrap();
    tree::write(&site.path("evil/conf"), b"evil");
    let other = ["tree", "evil", "--index", "evil.caidx", "--store", "public/default.castr"];
    site.publishes(&other);
    let mut memory: serde_json::Value = serde_json::from_str(&memory).unwrap();
    let evil = fs::read_to_string(site.path("evil.caidx.cache")).unwrap();
    let evil: serde_json::Value = serde_json::from_str(&evil).unwrap();
    for field in ["index", "digest", "bytes"] {
        memory[field] = evil[field].clone();
    }
    for key in [KEY, "another@example.net"] {
        for end in ["", ".cks", ".mtree"] {
            let from = site.path(&format!("evil.caidx{end}"));
            fs::copy(from, site.path(&format!("{index}{end}"))).unwrap();
        }
        fs::write(site.path("public/site.caidx.cache"), memory.to_string()).unwrap();
        site.publishes(&["tree", "tree", "--index", index, "--sign", key]);
        assert_eq!(fs::read(site.path(index)).unwrap(), made, "{key}");
        assert!(site.holds(signature, index));
    }
}

#[test]
fn repository_that_is_signed_is_not_published_to_without_the_key() {
    let site = Site::new();
    for version in ["1.0", "2.0"] {
        tree::write(&site.path(version).join("tool"), version.as_bytes());
    }
    site.publishes(&["release", "1.0", "--to", "repository", "--sign", KEY]);
    for arguments in [&["1.0"][..], &["2.0"], &["1.0", "--force"]] {
        let publish = [&["release"], arguments, &["--to", "repository"]].concat();
        site.refuses(&publish, "name the key with --sign");
    }
    assert!(site.holds("repository/1.0/SHA256SUMS.asc", "repository/1.0/SHA256SUMS"));
    assert!(!site.path("repository/2.0").exists());
    // A signature that is of something else is made anew, one by the key is left.
    let signature = site.path("repository/1.0/SHA256SUMS.asc");
    let made = fs::read(&signature).unwrap();
    let publish = ["release", "1.0", "--to", "repository", "--sign", KEY];
    assert!(site.publishes(&publish).contains("nothing was written"));
    assert_eq!(fs::read(&signature).unwrap(), made);
    fs::write(&signature, "-----BEGIN PGP SIGNATURE-----\n").unwrap();
    site.publishes(&publish);
    assert!(site.holds("repository/1.0/SHA256SUMS.asc", "repository/1.0/SHA256SUMS"));
}

/// Everything the publisher of an extension changes on the disk, one after the other.
fn traced(site: &Site, arguments: &[&str], act: Act) -> Ended {
    let line = format!("cd {} && exec {RECONCILE} publish \"$@\"", site.place.path().display());
    let fixed = ["-c".to_owned(), line, "sh".to_owned()];
    let program = Program {
        path: "/bin/sh".into(),
        arguments: fixed.into_iter().chain(arguments.iter().map(|a| (*a).to_owned())).collect(),
        environment: vec![
            ("PATH".to_owned(), "/usr/bin:/bin".to_owned()),
            ("GNUPGHOME".to_owned(), site.home.path().display().to_string()),
        ],
    };
    trace(&program, act)
}

#[test]
fn signed_list_has_a_signature_that_holds_wherever_its_publisher_is_killed() {
    let site = Site::new();
    let first = site.extension("1", &["--sign", KEY]);
    site.publishes(&first);
    let before = site.path("before");
    tree::copy(&site.path("repository"), &before);
    let keys = site.path("keys");
    assert!(site.gpg(&["--output", keys.to_str().unwrap(), "--export", KEY]));
    let keys = Keyring::read(&fs::read(keys).unwrap()).unwrap();
    let second = site.extension("2", &["--sign", KEY]);
    let whole = traced(&site, &second, Act::Watch);
    assert_eq!(whole.code, Some(0), "{}", whole.said());
    let lines = fs::read_to_string(site.path(LIST)).unwrap();
    let mut bad = Vec::new();
    for point in 1..=whole.calls.len() {
        remove(&site.path("repository"));
        tree::copy(&before, &site.path("repository"));
        let ended = traced(&site, &second, Act::KillBefore(point));
        let Some(call) = ended.calls.get(point - 1).filter(|_| ended.code.is_none()) else {
            continue;
        };
        let holds = || {
            let [list, signature] =
                [LIST, SIGNATURE].map(|name| fs::read(site.path(name)).unwrap());
            verify_detached(&list, &signature, &keys, jiff::Timestamp::now())
        };
        if let Err(why) = holds() {
            bad.push(format!("killed before {point}, {call:?}: {why}"));
        }
        let again = site.publish(&second);
        let index = fs::read_to_string(site.path("repository/ext/index")).unwrap();
        let done = again.status.success() && index == "demo\n" && site.holds(SIGNATURE, LIST);
        if !done || fs::read_to_string(site.path(LIST)).unwrap() != lines {
            bad.push(format!("killed before {point}, {call:?}: again {again:?}"));
        }
    }
    println!("{} points", whole.calls.len());
    assert!(bad.is_empty(), "\n{}", bad.join("\n"));
    let made = fs::read(site.path(SIGNATURE)).unwrap();
    assert!(site.publishes(&second).contains("demo_2.raw"));
    assert_eq!(fs::read(site.path(SIGNATURE)).unwrap(), made, "the same image again is nothing");
}
