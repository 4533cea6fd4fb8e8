//! Images over http: several at once, and what is believed of them.

use std::fs;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

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

#[test]
fn transfers_of_one_component_are_fetched_at_once() {
    let mut host = Host::new();
    let server = Server::start();
    let open = Arc::new((Mutex::new(Open::default()), Condvar::new()));
    let names = ["alpha", "beta", "gamma"];
    let mut sums = String::new();
    let definitions = host.world.path("usr/lib/sysupdate.d");
    fs::create_dir_all(&definitions).unwrap();
    for name in names {
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
    let definitions = host.world.path("usr/lib/sysupdate.d");
    fs::create_dir_all(&definitions).unwrap();
    let mut sums = String::new();
    for name in ["alpha", "beta", "gamma"] {
        let digest = HEXLOWER.encode(&Sha256::digest(image(name)));
        sums.push_str(&format!("{digest}  {name}_1.raw\n"));
        let text = format!(
            "[Transfer]\nVerify=no\n[Source]\nType=url-file\nPath={}\nMatchPattern={name}_@v.raw\n[Target]\n\
             Type=regular-file\nPath=/var/lib/images\nCurrentSymlink=/var/lib/extensions/{name}.raw\n",
            server.url("/images")
        );
        fs::write(definitions.join(format!("{name}.transfer")), text).unwrap();
        if name != "beta" {
            server.serve(&format!("/images/{name}_1.raw"), Reply::file(image(name)));
        }
    }
    server.serve("/images/SHA256SUMS", Reply::file(sums));
    host.world.wish("desired", "sysupdate: { as: sysupdate, activate: now }\n");
    let ran = host.pass();
    assert_eq!(ran.code, 1, "{ran:#?}");
    assert!(ran.stdout.contains("beta_1.raw"), "{ran:#?}");
    assert!(!host.world.path("var/lib/extensions").exists() && host.refreshes() == 0);
    server.serve("/images/beta_1.raw", Reply::file(image("beta")));
    host.converges();
    assert_eq!(host.merged(), "alpha\nbeta\ngamma\n");
}
