//! Images over http: several at once, and what is believed of them.

use std::fs;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use super::signed::{golden, offer};
use super::{Host, image};
use crate::support::server::{Reply, Server};

/// Longest that a request waits for a second one: only where none comes is it waited for so long.
const COMPANY_WITHIN: Duration = Duration::from_secs(10);

/// How many requests are being answered, and how many were at the most.
#[derive(Default)]
struct Open {
    now: usize,
    most: usize,
}

/// Three transfers of the host from a server, which lists their images and has none of them yet.
fn define(host: &Host, server: &Server) {
    let mut sums = String::new();
    let definitions = host.world.path("usr/lib/sysupdate.d");
    fs::create_dir_all(&definitions).unwrap();
    for name in ["alpha", "beta", "gamma"] {
        let digest = HEXLOWER.encode(&Sha256::digest(image(name)));
        sums.push_str(&format!("{digest}  {name}_1.raw\n"));
        let text = format!(
            "[Transfer]\nVerify=no\n[Source]\nType=url-file\nPath={}\nMatchPattern={name}_@v.raw\n[Target]\n\
             Type=regular-file\nPath=/var/lib/images\nCurrentSymlink=/var/lib/extensions/{name}.raw\n",
            server.url("/images")
        );
        fs::write(definitions.join(format!("{name}.transfer")), text).unwrap();
    }
    server.serve("/images/SHA256SUMS", Reply::file(sums));
}

#[test]
fn transfers_of_one_component_are_fetched_at_once() {
    let mut host = Host::new();
    let server = Server::start();
    let open = Arc::new((Mutex::new(Open::default()), Condvar::new()));
    define(&host, &server);
    let together = Arc::clone(&open);
    server.handle(move |request| {
        let name = request.path.strip_prefix("/images/")?.strip_suffix("_1.raw")?;
        let (lock, more) = &*together;
        let mut open = lock.lock().unwrap();
        open.now += 1;
        open.most = open.most.max(open.now);
        more.notify_all();
        let (mut open, _) =
            more.wait_timeout_while(open, COMPANY_WITHIN, |open| open.most < 2).unwrap();
        open.now -= 1;
        Some(Reply::file(image(name)))
    });
    host.world.wish("desired", "sysupdate: { as: sysupdate, activate: now }\n");
    host.converges();
    let most = open.0.lock().unwrap().most;
    assert!((2..=4).contains(&most), "{most} requests were open at once");
    assert_eq!(host.merged(), "alpha\nbeta\ngamma\n");
}

#[test]
fn transfer_that_fails_keeps_the_whole_release_out_and_is_the_one_that_is_named() {
    let mut host = Host::new();
    let server = Server::start();
    define(&host, &server);
    for name in ["alpha", "gamma"] {
        server.serve(&format!("/images/{name}_1.raw"), Reply::file(image(name)));
    }
    host.world.wish("desired", "sysupdate: { as: sysupdate, activate: now }\n");
    let ran = host.pass();
    assert_eq!(ran.code, 1, "{ran:#?}");
    assert!(ran.stdout.contains("beta_1.raw"), "{ran:#?}");
    assert!(!host.world.path("var/lib/extensions").exists() && host.refreshes() == 0);
    server.serve("/images/beta_1.raw", Reply::file(image("beta")));
    host.converges();
    assert_eq!(host.merged(), "alpha\nbeta\ngamma\n");
}

/// Serves the source over http, each file with an `ETag`.
fn serve(host: &Host) -> Server {
    let server = Server::start();
    let root = host.source();
    server.handle(move |request| {
        let name = request.bare_path().trim_start_matches('/');
        Some(Reply::file(fs::read(root.join(name)).ok()?))
    });
    server
}

fn wish(host: &mut Host, server: &Server, verify: &str) {
    let text = format!(
        "extensions:\n  demo:\n    source: {{ sysupdate: {{ url: \"{}\", match: demo_@v.raw.zst }} }}\n{verify}",
        server.url("")
    );
    host.world.wish("desired", &text);
}

/// The answers to what was asked for since the last time, of files whose names end so.
fn answered(server: &Server, end: &str) -> Vec<u16> {
    let asked = server.take_requests();
    asked.iter().filter(|r| r.path.ends_with(end)).map(|request| request.status).collect()
}

#[test]
fn unsigned_list_over_http_is_refused_unless_the_wish_says_otherwise() {
    let mut host = Host::new();
    offer(&host, "SHA256SUMS.gpg");
    fs::remove_file(host.source().join("SHA256SUMS.gpg")).unwrap();
    let server = serve(&host);
    wish(&mut host, &server, "");
    let ran = host.pass();
    assert_eq!(ran.code, 77, "{ran:#?}");
    assert_eq!(answered(&server, ".zst"), [0_u16; 0], "not even asked for");
    assert_eq!((host.link("demo"), host.refreshes()), (None, 0));
    wish(&mut host, &server, "    verify: { min: checksum }\n");
    host.converges();
    assert_eq!(host.version("demo").as_deref(), Some("1.0.0"));
}

#[test]
fn list_that_is_unchanged_is_refused_once_its_key_is_not_trusted_any_more() {
    let mut host = Host::new();
    offer(&host, "SHA256SUMS.gpg");
    let server = serve(&host);
    let keyring = host.world.temp().join("keyring.pgp");
    fs::copy(golden("sysupdate/signed/import-pubring.pgp"), &keyring).unwrap();
    let verify = format!("    verify: {{ gpg: {{ keyring: {} }} }}\n", keyring.display());
    wish(&mut host, &server, &verify);
    host.converges();
    answered(&server, "");
    host.is_settled();
    assert_eq!(answered(&server, "/SHA256SUMS"), [304], "the list is known");
    fs::copy(golden("openpgp/good.pgp"), &keyring).unwrap();
    let ran = host.pass();
    assert_eq!(ran.code, 77, "{ran:#?}");
    assert_eq!(answered(&server, "/SHA256SUMS"), [304, 200], "what is known is judged anew");
    assert_eq!(host.version("demo").as_deref(), Some("1.0.0"), "what is installed stays");
    fs::copy(golden("sysupdate/signed/import-pubring.pgp"), &keyring).unwrap();
    host.is_settled();
}

#[test]
fn list_that_was_good_enough_unsigned_is_not_once_a_signature_is_demanded() {
    let mut host = Host::new();
    offer(&host, "SHA256SUMS.gpg");
    let signature = host.source().join("SHA256SUMS.gpg");
    let away = host.world.temp().join("signature");
    fs::rename(&signature, &away).unwrap();
    let server = serve(&host);
    wish(&mut host, &server, "    verify: { min: checksum }\n");
    host.converges();
    let keyring = golden("sysupdate/signed/import-pubring.pgp");
    let verify = format!("    verify: {{ gpg: {{ keyring: {} }} }}\n", keyring.display());
    wish(&mut host, &server, &verify);
    answered(&server, "");
    let ran = host.pass();
    assert_eq!(ran.code, 77, "{ran:#?}");
    assert_eq!(host.version("demo").as_deref(), Some("1.0.0"), "what is installed stays");
    fs::rename(&away, &signature).unwrap();
    host.converges();
    assert_eq!(host.version("demo").as_deref(), Some("1.0.0"));
}

#[test]
fn repositories_are_listed_over_http() {
    let host = Host::new();
    let made = host.world.temp().join("made.raw");
    fs::write(&made, image("one")).unwrap();
    let (to, from) = (host.source(), made.to_str().unwrap());
    for (name, version) in [("demo", "1.9"), ("demo", "1.10"), ("foo_bar", "2")] {
        let publish = ["publish", "extension", to.to_str().unwrap(), from, "--name", name];
        host.world.run(&[&publish[..], &["--version", version]].concat()).exits(0);
    }
    let server = serve(&host);
    let found = host.world.run(&["discover", &server.url(""), "-o", "json"]).exits(0).json();
    let versions = |index: usize| found["extensions"][index]["versions"].to_string();
    assert_eq!(
        (versions(0).as_str(), versions(1).as_str()),
        (r#"["1.10","1.9"]"#, r#"["2"]"#),
        "{found:#}"
    );
    server.serve("/ext/index", Reply::status(500));
    host.world.run(&["discover", &server.url("")]).exits(69);
}
