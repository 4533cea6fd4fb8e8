//! Signed lists end to end, by data that gpg made: `tests/golden/sysupdate/signed`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Host;
use crate::support::server::{Reply, Server};

pub(super) fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// A source with the signed list, its signature under one of its names, and the image that is listed.
pub(super) fn offer(host: &Host, signature: &str) {
    for (from, to) in [
        ("images/squashfs-plain.raw.zst", "demo_1.0.0.raw.zst"),
        ("sysupdate/signed/SHA256SUMS", "SHA256SUMS"),
        (&format!("sysupdate/signed/{signature}"), signature),
    ] {
        fs::copy(golden(from), host.source().join(to)).unwrap();
    }
}

fn wish(host: &mut Host, verify: &str) {
    let source = host.source().display().to_string();
    let text = format!(
        "extensions:\n  demo:\n    verify: {verify}\n    source: {{ sysupdate: {{ path: {source}, match: demo_@v.raw.zst }} }}\n"
    );
    host.world.wish("desired", &text);
}

/// systemd's own keyring, below the root.
pub(super) fn trust(host: &Host, keyring: &str) {
    fs::create_dir_all(host.world.path("etc/systemd")).unwrap();
    fs::copy(golden(keyring), host.world.path("etc/systemd/import-pubring.pgp")).unwrap();
}

#[test]
fn signed_image_is_installed_by_the_keyring_of_the_wish() {
    for signature in ["SHA256SUMS.gpg", "SHA256SUMS.asc"] {
        let mut host = Host::new();
        offer(&host, signature);
        let keyring = golden("sysupdate/signed/import-pubring.pgp");
        wish(&mut host, &format!("{{ gpg: {{ keyring: {} }} }}", keyring.display()));
        let plan = host.world.run(&["--dry-run"]).exits(0).stdout;
        assert!(plan.contains("signed by"), "{plan}");
        host.converges();
        assert_eq!(host.version("demo").as_deref(), Some("1.0.0"), "{signature}");
    }
}

#[test]
fn signed_image_is_installed_by_the_keyrings_of_systemd() {
    const OWN: &str = "etc/systemd/import-pubring.pgp";
    const OWN_ONCE: &str = "etc/systemd/import-pubring.gpg";
    const SHIPPED: &str = "usr/lib/systemd/import-pubring.pgp";
    let (right, wrong) = ("sysupdate/signed/import-pubring.pgp", "openpgp/good.pgp");
    for (keyrings, installs) in [
        (&[][..], false),
        (&[(OWN, wrong)], false),
        (&[(OWN, right)], true),
        (&[(SHIPPED, right)], true),
        (&[(OWN_ONCE, right)], true),
        // Those of both directories count, and of one directory the first that is there.
        (&[(OWN, wrong), (SHIPPED, right)], true),
        (&[(OWN, right), (SHIPPED, wrong)], true),
        (&[(OWN, wrong), (OWN_ONCE, right)], false),
        (&[(OWN, right), (OWN_ONCE, wrong)], true),
    ] {
        let mut host = Host::new();
        offer(&host, "SHA256SUMS.gpg");
        wish(&mut host, "{ min: signature }");
        for (place, keyring) in keyrings {
            let place = host.world.path(place);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::copy(golden(keyring), place).unwrap();
        }
        if installs {
            host.converges();
            assert_eq!(host.version("demo").as_deref(), Some("1.0.0"), "{keyrings:?}");
        } else {
            let ran = host.pass();
            assert_eq!((ran.code, host.version("demo")), (77, None), "{keyrings:?}: {ran:#?}");
        }
    }
}

#[test]
fn list_that_a_server_takes_for_unchanged_is_asked_for_again_when_its_signature_is_another() {
    let mut host = Host::new();
    offer(&host, "SHA256SUMS.gpg");
    let keyring = golden("sysupdate/signed/import-pubring.pgp");
    let server = Server::start();
    let (root, stale) = (host.source(), Arc::new(AtomicBool::new(true)));
    let older = Arc::clone(&stale);
    server.handle(move |request| {
        let name = request.bare_path().trim_start_matches('/');
        let mut bytes = fs::read(root.join(name)).ok()?;
        if name == "SHA256SUMS" && older.load(Ordering::Relaxed) {
            bytes.extend(b"\n");
        }
        // Both lists were written within one second, so that their dates are the same.
        let date = "Sat, 21 Nov 2026 10:00:00 GMT";
        Some(Reply::file(bytes).etag(None).header("Last-Modified", date))
    });
    let url = server.url("");
    let text = format!(
        "extensions:\n  demo:\n    verify: {{ gpg: {{ keyring: {} }} }}\n    source: {{ sysupdate: {{ url: \"{url}\", \
         match: demo_@v.raw.zst }} }}\n",
        keyring.display()
    );
    host.world.wish("desired", &text);
    let ran = host.pass();
    assert_eq!(ran.code, 77, "{ran:#?}");
    stale.store(false, Ordering::Relaxed);
    host.converges();
    assert_eq!(host.version("demo").as_deref(), Some("1.0.0"));
    let asked = server.requests();
    let list = |r: &&crate::support::server::Request| r.path.ends_with("SHA256SUMS");
    let told: Vec<u16> = asked.iter().filter(list).map(|request| request.status).collect();
    assert_eq!(told.get(..3), Some(&[200, 304, 200][..]), "{told:?}");
}

#[test]
fn changed_list_and_changed_image_are_refused_whatever_was_trusted_before() {
    let mut host = Host::new();
    offer(&host, "SHA256SUMS.gpg");
    wish(&mut host, "{ min: signature }");
    trust(&host, "sysupdate/signed/import-pubring.pgp");
    let list = host.source().join("SHA256SUMS");
    let signed = fs::read(&list).unwrap();
    let changed = String::from_utf8(signed.clone()).unwrap().replace("1.0.0", "1.0.1");
    fs::write(&list, changed).unwrap();
    host.world.run(&["--dry-run"]).exits(77);
    fs::write(&list, &signed).unwrap();
    fs::write(host.source().join("demo_1.0.0.raw.zst"), super::image("another")).unwrap();
    let ran = host.pass();
    assert_eq!(ran.code, 77, "{ran:#?}");
    assert_eq!(host.link("demo"), None);
    offer(&host, "SHA256SUMS.gpg");
    host.converges();
    // The key is not trusted any more: what is remembered of the source is no evidence.
    trust(&host, "openpgp/good.pgp");
    host.world.run(&["--dry-run"]).exits(77);
    assert_eq!(host.version("demo").as_deref(), Some("1.0.0"), "what is installed stays");
}

#[test]
fn keyring_of_the_environment_takes_the_place_of_systemds_own() {
    let mut host = Host::new();
    offer(&host, "SHA256SUMS.gpg");
    wish(&mut host, "{ min: signature }");
    trust(&host, "sysupdate/signed/import-pubring.pgp");
    let variable =
        |path: &Path| ("SYSTEMD_OPENPGP_KEYRING".to_owned(), path.to_str().unwrap().to_owned());
    host.world.environment.push(variable(&golden("openpgp/good.pgp")));
    host.world.run(&["--dry-run"]).exits(77);
    host.world.environment.pop();
    trust(&host, "openpgp/good.pgp");
    host.world.run(&["--dry-run"]).exits(77);
    host.world.environment.push(variable(Path::new("keys/import-pubring.pgp")));
    let ran = host.world.run(&["--dry-run"]);
    assert!(ran.code != 0 && ran.stdout.contains("keys/import-pubring.pgp"), "{ran:#?}");
    host.world.environment.pop();
    host.world.environment.push(variable(&golden("sysupdate/signed/import-pubring.pgp")));
    host.converges();
    assert_eq!(host.version("demo").as_deref(), Some("1.0.0"));
}
