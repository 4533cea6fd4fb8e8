//! Images that somebody removed: what their version holds is known all the same.

use std::fs;
use std::path::PathBuf;

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use super::{Host, image};
use crate::support::tree;

const HOME: &str = "var/lib/extensions.d/demo";
const IMAGE: &str = "var/lib/extensions.d/demo/demo_1.0.0.raw";
const MANIFEST: &str = "var/lib/extensions.d/demo/.demo_1.0.0.raw.reconcile.json";

/// A host with 1.0.0 in use, of which other bytes are offered by now.
fn replaced(more: &str) -> Host {
    let mut host = Host::new();
    host.publish("demo_1.0.0.raw", "one");
    host.wish(&[("demo", more)]);
    host.converges();
    host.publish("demo_1.0.0.raw", "other");
    host
}

fn lose(host: &Host, lost: &[&str]) {
    for path in lost {
        tree::remove(&host.world.path(path));
    }
}

fn installed(host: &Host) -> Option<Vec<u8>> {
    fs::read(host.world.path(IMAGE)).ok()
}

#[test]
fn image_that_was_lost_is_not_replaced_by_other_bytes_of_its_version() {
    for lost in [
        &[][..],
        &[IMAGE],
        &[MANIFEST],
        &[IMAGE, MANIFEST],
        &[HOME],
        &[HOME, "var/lib/extensions/demo.raw"],
        &[HOME, "var/cache/reconcile"],
    ] {
        let mut host = replaced("");
        lose(&host, lost);
        let said = host.pass().exits(77).stdout;
        assert!(said.contains("a published version must not change"), "{lost:?}: {said}");
        // What was accepted is put back where the cache has it.
        let is_cached = !lost.contains(&"var/cache/reconcile");
        assert_eq!(installed(&host), is_cached.then(|| image("one")), "{lost:?}: {said}");
        host.pass().exits(77);
        assert_eq!(installed(&host), is_cached.then(|| image("one")), "{lost:?}: {said}");
        let digest = HEXLOWER.encode(&Sha256::digest(image("other")));
        let pinned = format!("    verify: {{ digest: \"sha256:{digest}\" }}\n");
        host.wish(&[("demo", &pinned)]);
        host.converges();
        assert_eq!(installed(&host), Some(image("other")), "{lost:?}");
        host.wish(&[("demo", "")]);
        host.is_settled();
    }
}

#[test]
fn image_that_was_lost_is_made_of_what_the_cache_has_while_the_source_is_away() {
    let mut host = Host::new();
    host.publish("demo_1.0.0.raw", "one");
    host.wish(&[("demo", "")]);
    host.converges();
    let (here, away) = (host.source(), host.world.temp().join("away"));
    fs::rename(&here, &away).unwrap();
    lose(&host, &[HOME]);
    host.pass();
    assert_eq!(installed(&host), Some(image("one")));
    fs::rename(&away, &here).unwrap();
    host.is_settled();
}

#[test]
fn image_that_is_not_the_one_demanded_is_not_installed() {
    let mut host = Host::new();
    host.publish("demo_1.0.0.raw", "one");
    let digest = HEXLOWER.encode(&Sha256::digest(image("other")));
    host.wish(&[("demo", &format!("    verify: {{ digest: \"sha256:{digest}\" }}\n"))]);
    let said = host.pass().exits(77).stdout;
    assert!(said.contains("the desired state demands sha256:"), "{said}");
    assert_eq!(installed(&host), None);
    host.wish(&[("demo", "    verify: { digest: \"sha512:00\" }\n")]);
    host.pass().exits(65);
}

#[test]
fn other_bytes_are_taken_of_a_version_that_did_not_work() {
    let mut host = Host::new();
    host.publish("demo_1.0.0.raw", "one");
    let in_use = host.world.path("var/lib/extensions/demo.raw");
    let check = format!("! grep -qa BROKEN {}", in_use.display());
    let health = format!(
        "    health:\n      exec: [/bin/sh, -c, \"{check}\"]\n      interval: 100ms\n      stable: 100ms\n      deadline: \
         400ms\n"
    );
    host.wish(&[("demo", &health)]);
    host.converges();
    host.publish("demo_2.0.0.raw", "BROKEN");
    host.pass().exits(6);
    host.pass().exits(3);
    host.publish("demo_2.0.0.raw", "mended");
    host.converges();
    assert_eq!(host.version("demo").as_deref(), Some("2.0.0"));
}

/// Two extensions that are one release.
fn followed() -> Host {
    let mut host = Host::new();
    let directory = host.world.path("usr/lib/sysupdate.d");
    for name in ["demo", "more"] {
        let text = format!(
            "[Transfer]\nVerify=no\n[Source]\nType=url-file\nPath=file://{}\nMatchPattern={name}_@v.raw\n[Target]\n\
             Type=regular-file\nPath=/var/lib/images\nMatchPattern={name}_@v.raw\nCurrentSymlink=/var/lib/extensions/{name}.raw\n",
            host.source().display()
        );
        tree::write(&directory.join(format!("{name}.transfer")), text.as_bytes());
        host.publish(&format!("{name}_1.raw"), "one");
    }
    host.world.wish("desired", "sysupdate: { as: sysupdate }\n");
    host.converges();
    host
}

#[test]
fn lost_file_of_a_release_is_made_of_other_bytes_only_where_an_operator_names_its_version() {
    let image_of = |host: &Host, name: &str| -> PathBuf {
        host.world.path(&format!("var/lib/images/{name}_1.raw"))
    };
    for name in ["demo", "more"] {
        let mut host = followed();
        host.publish(&format!("{name}_1.raw"), "other");
        fs::remove_file(image_of(&host, name)).unwrap();
        lose(&host, &["var/cache/reconcile"]);
        for _ in 0..2 {
            let said = host.pass().exits(77).stdout;
            assert!(said.contains("run `reconcile sysupdate update 1`"), "{name}: {said}");
        }
        assert!(!image_of(&host, name).exists());
        host.world.run(&["sysupdate", "update", "1"]).exits(0);
        assert_eq!(fs::read(image_of(&host, name)).unwrap(), image("other"), "{name}");
        host.is_settled();
    }
}
