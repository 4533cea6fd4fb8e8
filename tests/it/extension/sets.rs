//! A set of which one image cannot be merged: it goes back whole, and then nothing is tried in vain.

use std::fs;

use super::Host;
use crate::support::tree;

/// Two extensions that are one release, and a third that a feature adds to it.
fn host() -> Host {
    let mut host = Host::new();
    let definitions = host.world.path("usr/lib/sysupdate.d");
    for (name, more) in [("alpha", ""), ("beta", ""), ("gamma", "Features=devel\n")] {
        let text = format!(
            "[Transfer]\nVerify=no\n{more}[Source]\nType=url-file\nPath=file://{}\nMatchPattern={name}_@v.raw\n[Target]\n\
             Type=regular-file\nPath=/var/lib/images\nCurrentSymlink=/var/lib/extensions/{name}.raw\n",
            host.source().display()
        );
        tree::write(&definitions.join(format!("{name}.transfer")), text.as_bytes());
    }
    tree::write(&definitions.join("devel.feature"), b"[Feature]\nDescription=x\n");
    host.world.wish("desired", "sysupdate: { as: sysupdate, activate: now }\n");
    offer(&host, "1.1", &["alpha", "beta", "gamma"]);
    host.converges();
    offer(&host, "1.2", &["alpha", "beta"]);
    host.publish("gamma_1.2.raw", "BREAKS");
    host
}

fn offer(host: &Host, version: &str, names: &[&str]) {
    for name in names {
        host.publish(&format!("{name}_{version}.raw"), version);
    }
}

fn switch(host: &Host, enabled: &str) {
    let text = format!("[Feature]\nEnabled={enabled}\n");
    tree::write(&host.world.path("etc/sysupdate.d/devel.feature.d/x.conf"), text.as_bytes());
}

fn versions(host: &Host) -> [Option<String>; 3] {
    ["alpha", "beta", "gamma"].map(|name| host.version(name))
}

fn on(versions: [Option<&str>; 3]) -> [Option<String>; 3] {
    versions.map(|version| version.map(str::to_owned))
}

/// Passes that find the quarantine, and touch nothing.
#[track_caller]
fn stays(host: &mut Host, current: &str, links: &[Option<String>; 3]) {
    let refreshes = host.refreshes();
    for _ in 0..2 {
        let ran = host.pass().exits(3);
        assert!(ran.stdout.contains("1.2 was switched back"), "{ran:#?}");
        assert!(ran.stdout.contains(&format!("staying on {current}")), "{ran:#?}");
    }
    host.is_settled();
    assert_eq!((&versions(host), host.refreshes()), (links, refreshes));
    let status = host.world.run(&["status"]).stdout;
    assert!(!status.contains("Drift"), "{status}");
}

#[test]
fn set_with_an_image_that_cannot_be_merged_settles_on_the_one_before() {
    let mut host = host();
    let before = on([Some("1.1"), Some("1.1"), None]);
    switch(&host, "true");
    host.pass().exits(6);
    assert_eq!(versions(&host), before);
    // Of the release before, what joined the set works, too.
    let whole = on([Some("1.1"); 3]);
    host.pass().exits(3);
    assert_eq!(versions(&host), whole);
    stays(&mut host, "1.1", &whole);
    switch(&host, "false");
    host.converges();
    assert_eq!(versions(&host), on([Some("1.2"), Some("1.2"), None]), "these two never failed");
}

#[test]
fn image_that_joins_a_set_and_cannot_be_merged_costs_the_others_nothing() {
    let mut host = host();
    host.converges();
    let before = on([Some("1.2"), Some("1.2"), None]);
    assert_eq!(versions(&host), before);
    switch(&host, "true");
    host.pass().exits(6);
    stays(&mut host, "1.2", &before);
    switch(&host, "false");
    host.converges();
    assert_eq!(versions(&host), before);
    assert!(!host.world.path("var/lib/images/gamma_1.2.raw").exists());
    switch(&host, "true");
    stays(&mut host, "1.2", &before);
    host.publish("gamma_1.2.raw", "mended");
    host.converges();
    assert_eq!(versions(&host), on([Some("1.2"); 3]));
    assert_eq!(host.merged(), "alpha\nbeta\ngamma\n");
    let trust = fs::read_to_string(host.world.path("var/lib/reconcile/trust.json")).unwrap();
    let trust: serde_json::Value = serde_json::from_str(&trust).unwrap();
    assert_eq!(trust["quarantined"].as_array().unwrap().len(), 1, "{trust:#}");
}
