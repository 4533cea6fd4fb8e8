//! What people are told of definitions that are followed: in plans, in refusals, where something holds.

use std::fs;
use std::path::Path;

use super::Host;
use super::signed::{golden, offer as offer_signed, trust};

/// A followed definition of files in a directory.
pub(super) fn define(host: &Host, (id, verify): (&str, &str), (source, end): (&Path, &str)) {
    let text = format!(
        "[Transfer]\n{verify}\n[Source]\nType=url-file\nPath=file://{}\nMatchPattern={id}_@v{end}\n[Target]\n\
         Type=regular-file\nPath=/var/lib/files\nMatchPattern={id}_@v\n",
        source.display()
    );
    let place = host.world.path("usr/lib/sysupdate.d");
    fs::create_dir_all(&place).unwrap();
    fs::write(place.join(format!("{id}.transfer")), text).unwrap();
}

pub(super) fn host() -> Host {
    let mut host = Host::new();
    host.world.wish("desired", "sysupdate: { as: sysupdate }\n");
    host
}

/// Files in a directory of their own, with an unsigned list.
fn offer_unsigned(host: &Host, name: &str) -> std::path::PathBuf {
    let place = host.world.temp().join("unsigned");
    fs::create_dir_all(&place).unwrap();
    fs::write(place.join(name), name).unwrap();
    let digest = {
        use sha2::Digest;
        data_encoding::HEXLOWER.encode(&sha2::Sha256::digest(name))
    };
    fs::write(place.join("SHA256SUMS"), format!("{digest}  {name}\n")).unwrap();
    place
}

#[test]
fn each_file_of_a_release_is_announced_with_what_vouches_for_it() {
    let host = host();
    host.publish("alpha_1.raw", "alpha");
    host.publish("beta_1.tar.xz", "beta");
    define(&host, ("alpha", "Verify=no"), (&host.source(), ".raw"));
    define(&host, ("beta", "Verify=no"), (&host.source(), ".tar.xz"));
    for format in ["text", "markdown"] {
        let plan = host.world.run(&["--dry-run", "-o", format]).stdout;
        for name in ["alpha_1.raw", "beta_1.tar.xz"] {
            let line = format!("fetch {name} (size unknown), verified by checksum (SHA256SUMS)");
            assert!(plan.contains(&line), "{line}: {plan}");
        }
    }
}

#[test]
fn each_transfer_of_a_component_demands_what_its_own_definition_says() {
    let mut host = host();
    offer_signed(&host, "SHA256SUMS.gpg");
    trust(&host, "sysupdate/signed/import-pubring.pgp");
    define(&host, ("demo", ""), (&host.source(), ".raw.zst"));
    let unsigned = offer_unsigned(&host, "extra_1.0.0");
    define(&host, ("extra", "Verify=no"), (&unsigned, ""));
    host.world.run(&["sysupdate", "check-new"]).exits(0);
    host.converges();
    let files = host.world.path("var/lib/files");
    assert_eq!(super::followed::names(&files), ["demo_1.0.0", "extra_1.0.0"]);
    // What the one goes without says nothing of the other, also where both read one list.
    define(&host, ("extra", "Verify=no"), (&host.source(), ".raw.zst"));
    fs::remove_file(host.source().join("SHA256SUMS.gpg")).unwrap();
    host.world.tick();
    host.world.run(&["--dry-run"]).exits(77);
}

#[test]
fn refusal_of_a_followed_transfer_says_what_is_missing_where_and_what_to_write() {
    let host = host();
    let unsigned = offer_unsigned(&host, "extra_1.0.0");
    define(&host, ("extra", ""), (&unsigned, ""));
    let says = |parts: &[&str]| {
        let plan = host.world.run(&["--dry-run"]).exits(77).stdout;
        assert!(parts.iter().all(|part| plan.contains(part)), "{parts:?}: {plan}");
        assert!(!plan.contains("verify:"), "which a definition cannot say: {plan}");
    };
    let keyring = "/etc/systemd/import-pubring.pgp";
    let advice = "`Verify=no` in the section [Transfer] of extra.transfer";
    says(&["there is no keyring", keyring, advice]);
    trust(&host, "openpgp/good.pgp");
    let place = unsigned.display().to_string();
    says(&[&place, "SHA256SUMS.gpg", advice]);
    fs::copy(golden("sysupdate/signed/SHA256SUMS"), unsigned.join("SHA256SUMS")).unwrap();
    fs::copy(golden("sysupdate/signed/SHA256SUMS.gpg"), unsigned.join("SHA256SUMS.gpg")).unwrap();
    says(&[&place, "not in the keyring", keyring]);
}

#[test]
fn doctor_says_that_signatures_are_demanded_and_no_keyring_is_there() {
    let host = host();
    let unsigned = offer_unsigned(&host, "extra_1.0.0");
    define(&host, ("extra", ""), (&unsigned, ""));
    define(&host, ("more", ""), (&unsigned, ""));
    define(&host, ("less", "Verify=no"), (&unsigned, ""));
    let told = host.world.run(&["doctor"]).exits(1).stdout;
    let line = told.lines().find(|line| line.contains("import-pubring.pgp"));
    let line = line.unwrap_or_else(|| panic!("{told}"));
    assert!(line.starts_with("BAD") && line.contains("2 transfers"), "{told}");
    trust(&host, "sysupdate/signed/import-pubring.pgp");
    let told = host.world.run(&["doctor"]).stdout;
    assert!(!told.contains("import-pubring.pgp"), "{told}");
}

#[test]
fn set_without_a_common_version_says_what_each_transfer_has_and_keeps_what_is_in_use() {
    let mut host = host();
    let link = "CurrentSymlink=/etc/extensions/";
    for (id, more) in [("alpha", ""), ("beta", ""), ("gamma", "Features=devel")] {
        define(&host, (id, &format!("Verify=no\n{more}")), (&host.source(), ".raw"));
        let path = host.world.path(&format!("usr/lib/sysupdate.d/{id}.transfer"));
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, format!("{text}{link}{id}.raw\n")).unwrap();
    }
    fs::write(host.world.path("usr/lib/sysupdate.d/devel.feature"), "[Feature]\n").unwrap();
    for name in ["alpha_1.2.raw", "beta_1.2.raw", "gamma_3.raw"] {
        host.publish(name, name);
    }
    host.converges();
    let ran = host.world.run(&["features", "enable", "--now", "devel"]);
    let told =
        "none is offered by all transfers: alpha (up to 1.2), beta (up to 1.2), gamma (up to 3)";
    assert!(ran.stdout.contains(told), "{ran:#?}");
    let status = host.world.run(&["status", "-o", "json"]).json();
    assert_eq!(status["resources"][0]["version"], "1.2", "{status:#}");
    let listed = host.world.run(&["list", "host"]);
    assert!(listed.stderr.contains(told), "{listed:#?}");
    let link = fs::read_link(host.world.path("etc/extensions/alpha.raw")).unwrap();
    assert!(link.ends_with("files/alpha_1.2"), "it stays: {link:?}");
}

/// A host on which a release of definitions is in use, and a newer one is offered.
fn behind() -> Host {
    let mut host = host();
    define(&host, ("alpha", "Verify=no"), (&host.source(), ".raw"));
    for version in ["1", "2"] {
        host.publish(&format!("alpha_{version}.raw"), version);
        host.converges();
    }
    host
}

#[test]
fn update_that_an_operator_holds_back_fails_and_names_what_ends_that() {
    let host = behind();
    let update = |arguments: &[&str]| {
        let ran = host.world.run(&[&["sysupdate", "update"], arguments].concat());
        assert!(!ran.stderr.contains("No update needed"), "{ran:#?}");
        ran
    };
    let resume = "resume extension/host` ends that";
    host.world.run(&["rollback", "host", "--reason", "bad"]).exits(0);
    host.publish("alpha_3.raw", "3");
    for arguments in [&[][..], &["3"]] {
        let said = update(arguments).exits(1).stderr;
        assert!(said.contains("rolled back to 1 (bad)") && said.contains(resume), "{said}");
    }
    host.world.run(&["suspend", "host", "--reason", "x"]).exits(0);
    let said = update(&[]).exits(1).stderr;
    assert!(said.contains("extension/host: suspended by an operator: x; "), "{said}");
    assert!(said.contains(resume), "{said}");
    host.world.run(&["resume", "host"]).exits(0);
    let closed = "windows: { never: { start: '00:00', for: 1m, zone: UTC0, days: [sun] } }\n";
    let agent = host.world.path("etc/reconcile/agent.yaml");
    fs::create_dir_all(agent.parent().unwrap()).unwrap();
    fs::write(&agent, closed).unwrap();
    let said = update(&[]).exits(1).stderr;
    assert!(said.contains("`--windows ignore` does it now"), "{said}");
    update(&["--windows", "ignore"]).exits(0);
    let files = super::followed::names(&host.world.path("var/lib/files"));
    assert!(files.contains(&"alpha_3".to_owned()), "{files:?}");
}

#[test]
fn update_to_an_older_version_says_that_the_next_pass_goes_on() {
    let host = behind();
    host.publish("alpha_3.raw", "3");
    host.publish("alpha_4.raw", "4");
    let said = host.world.run(&["sysupdate", "update", "3"]).exits(0).stderr;
    assert!(said.contains("goes on to 4") && said.contains("suspend extension/host"), "{said}");
    let said = host.world.run(&["sysupdate", "update", "4"]).exits(0).stderr;
    assert!(!said.contains("next pass"), "{said}");
}

#[test]
fn feature_that_another_file_decides_is_told_with_that_file_and_how_to_switch_it() {
    let host = behind();
    fs::write(host.world.path("usr/lib/sysupdate.d/devel.feature"), "[Feature]\n").unwrap();
    host.world.run(&["sysupdate", "enable-feature", "devel"]).exits(0);
    let said = host.world.run(&["features", "disable", "devel"]).exits(1).stderr;
    let theirs = "/etc/sysupdate.d/devel.feature.d/50-systemd-sysupdate-enabled.conf";
    assert!(said.contains(theirs), "{said}");
    assert!(said.contains("`reconcile sysupdate disable-feature devel`"), "{said}");
    host.world.run(&["sysupdate", "disable-feature", "devel"]).exits(0);
    host.world.run(&["features", "disable", "devel"]).exits(0);
}
