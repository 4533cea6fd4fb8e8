//! The groups of systemd's own TEST-72-SYSUPDATE.sh that can be played here.
//!
//! | group | | here |
//! |---|---|---|
//! | 1 | several transfers, a link, names that end alike | `versions_follow_each_other_and_old_ones_go` |
//! | 2 | a version that is incomplete at the source | `incomplete_version_of_the_source_is_passed_over` |
//! | 3 | a version that is incomplete here | `version_that_lost_a_file_is_incomplete_until_an_update` |
//! | 4 | a feature comes and goes | `feature_brings_a_transfer_and_takes_it_along` |
//! | 5, 9 | JSON of features and components, what waits for a start of the host | `features_and_components_are_described`, `component_that_waits_for_the_next_start_is_pending` |
//! | 6, 10 | compressed files, archives, two bytes | `tests/it/extension/directory.rs` |
//! | 7 | a list with a date | `list_that_is_out_of_date_is_refused`; not what switches that off, see `tests/golden/sysupdate` |
//! | 8 | wrong bytes | `wrong_bytes_cost_nothing_and_the_next_update_heals` |
//! | 11 | definitions below a root | every test: all of them run below one |
//! | 12 | a list that is no list | `damaged_list_is_an_error_and_no_change` |
//! | 15 | signatures | `signed.rs`, `tests/it/openpgp.rs`; not a subkey that only the signature has, see `tests/golden/sysupdate` |
//! | 16 | directories at the source and here, names that lead out | `files_below_directories_of_the_source_are_found`, `versions_in_directories_of_their_own_come_and_go_with_them` |
//! | 17 | features and components switched on and off, suggested | `features_and_components_are_switched_…` |
//! | 18 | every component | `pass_carries_out_every_component_that_is_on` |
//! | 13 | the list of what was installed, cleaning up | `what_was_installed_is_on_the_list_…`, `update_cleans_up_…` in `followed.rs` |
//! | 14 | listeners over varlink | `whoever_listens_is_told_once_…` in `followed.rs` |

use std::fs;
use std::time::{Duration, SystemTime};

use serde_json::json;

use super::Host;
use crate::support::world::Ran;

/// A host that follows two transfers of one component.
fn host() -> Host {
    let mut host = Host::new();
    host.world.options = vec!["--effects".to_owned(), "skip".to_owned()];
    host.world.wish("desired", "sysupdate: { as: sysupdate }\n");
    define(&host, ("sysupdate.d", "01-linux"), "linux-@v.erofs", "");
    define(&host, ("sysupdate.d", "02-index"), "linux-@v.erofs.caibx", "");
    host
}

fn define(host: &Host, (directory, id): (&str, &str), pattern: &str, more: &str) {
    let place = host.world.path("usr/lib").join(directory);
    fs::create_dir_all(&place).unwrap();
    let source = host.source().display().to_string();
    let text = format!(
        "[Transfer]\nVerify=no\n{more}\n[Source]\nType=url-file\nPath=file://{source}\nMatchPattern={pattern}\n\
         [Target]\nType=regular-file\nPath=/var/lib/{id}\nInstancesMax=2\nCurrentSymlink=current\n"
    );
    fs::write(place.join(format!("{id}.transfer")), text).unwrap();
}

/// Offers files whose bytes are their names.
fn offer(host: &Host, names: &[&str]) {
    for name in names {
        fs::write(host.source().join(name), name).unwrap();
    }
    host.list();
}

fn ask(host: &Host, arguments: &[&str]) -> Ran {
    let mut all = vec!["sysupdate", "--json"];
    all.extend(arguments);
    host.world.run(&all)
}

fn update(host: &mut Host) -> Ran {
    host.world.tick();
    ask(host, &["update"])
}

fn files(host: &Host, id: &str) -> Vec<String> {
    let entries = fs::read_dir(host.world.path("var/lib").join(id)).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
    names.sort();
    names
}

#[test]
fn versions_follow_each_other_and_old_ones_go() {
    let mut host = host();
    for version in ["v1", "v2", "v3"] {
        offer(&host, &[&format!("linux-{version}.erofs"), &format!("linux-{version}.erofs.caibx")]);
        update(&mut host).exits(0);
        ask(&host, &["check-new"]).exits(1);
    }
    assert_eq!(files(&host, "01-linux"), ["current", "linux-v2.erofs", "linux-v3.erofs"]);
    let index = ["current", "linux-v2.erofs.caibx", "linux-v3.erofs.caibx"];
    assert_eq!(files(&host, "02-index"), index, "names that end alike are told apart");
    let current = host.world.path("var/lib/01-linux/current");
    assert_eq!(fs::read_link(current).unwrap().to_str(), Some("linux-v3.erofs"));
    let list = ask(&host, &["list"]).exits(0).json();
    assert_eq!(list, json!({ "current": "v3", "all": ["v3", "v2", "v1"], "appstreamUrls": [] }));
}

#[test]
fn incomplete_version_of_the_source_is_passed_over() {
    let mut host = host();
    offer(&host, &["linux-v4.erofs", "linux-v3.erofs", "linux-v3.erofs.caibx"]);
    assert_eq!(ask(&host, &["check-new"]).exits(0).json(), json!({ "available": "v3" }));
    offer(&host, &["linux-v5.erofs", "linux-v5.erofs.caibx"]);
    update(&mut host).exits(0);
    assert_eq!(files(&host, "01-linux"), ["current", "linux-v5.erofs"]);
}

#[test]
fn version_that_lost_a_file_is_incomplete_until_an_update() {
    let mut host = host();
    offer(&host, &["linux-v5.erofs", "linux-v5.erofs.caibx"]);
    update(&mut host).exits(0);
    let lost = host.world.path("var/lib/02-index/linux-v5.erofs.caibx");
    fs::remove_file(&lost).unwrap();
    let detail = ask(&host, &["list", "v5"]).exits(0).json();
    assert_eq!((&detail["incomplete"], &detail["installed"]), (&json!(true), &json!(true)));
    let here = host.world.path("var/lib/01-linux/linux-v5.erofs").display().to_string();
    let contents = detail["contents"].as_array().unwrap();
    assert_eq!(
        (contents.len(), &contents[0]["path"], &contents[0]["mode"]),
        (2, &json!(here), &json!(0o644))
    );
    let source = contents[1]["path"].as_str().unwrap();
    assert!(source.ends_with("linux-v5.erofs.caibx") && source.starts_with("file:"), "{source}");
    assert_eq!(ask(&host, &["check-new"]).exits(0).json(), json!({ "available": "v5" }));
    update(&mut host).exits(0);
    assert!(lost.exists());
    assert_eq!(ask(&host, &["list", "v5"]).json()["incomplete"], json!(false));
}

#[test]
fn feature_brings_a_transfer_and_takes_it_along() {
    let mut host = host();
    define(&host, ("sysupdate.d", "05-optional"), "optional-@v.efi", "Features=optional");
    let feature = host.world.path("usr/lib/sysupdate.d/optional.feature");
    fs::write(feature, "[Feature]\nDescription=Optional\nEnabled=false\n").unwrap();
    offer(&host, &["linux-v5.erofs", "linux-v5.erofs.caibx", "optional-v5.efi"]);
    update(&mut host).exits(0);
    assert!(files(&host, "05-optional").is_empty());
    let enabled = host.world.path("etc/sysupdate.d/optional.feature.d/enable.conf");
    fs::create_dir_all(enabled.parent().unwrap()).unwrap();
    fs::write(&enabled, "[Feature]\nEnabled=true\n").unwrap();
    assert_eq!(ask(&host, &["list", "v5"]).json()["incomplete"], json!(true));
    update(&mut host).exits(0);
    assert_eq!(files(&host, "05-optional"), ["current", "optional-v5.efi"]);
    fs::remove_file(&enabled).unwrap();
    let vacuumed = ask(&host, &["vacuum"]).exits(0).json();
    assert_eq!(vacuumed, json!({ "removed": 0, "disabledTransfers": 1 }));
    assert!(files(&host, "05-optional").is_empty());
    assert_eq!(files(&host, "01-linux"), ["current", "linux-v5.erofs"]);
    host.is_settled();
}

#[test]
fn features_and_components_are_described() {
    let host = host();
    define(&host, ("sysupdate.d", "05-optional"), "optional-@v.efi", "Features=optional");
    define(&host, ("sysupdate.web.d", "01-web"), "web-@v.raw", "");
    let feature = host.world.path("usr/lib/sysupdate.d/optional.feature");
    let text = "[Feature]\nDescription=Optional\nDocumentation=https://example.net/doc\n\
                AppStream=https://example.net/appstream.xml\nEnabled=no\n";
    fs::write(feature, text).unwrap();
    assert_eq!(ask(&host, &["features"]).json(), json!({ "features": ["optional"] }));
    let detail = ask(&host, &["features", "optional"]).json();
    let expected = json!({
        "id": "optional", "description": "Optional", "documentation": ["https://example.net/doc"],
        "appStream": "https://example.net/appstream.xml", "enabled": false, "suggested": false,
        "transfers": ["05-optional"],
    });
    assert_eq!(detail, expected);
    let components = ask(&host, &["components"]).json();
    assert_eq!(components, json!({ "default": true, "components": ["web"] }));
    ask(&host, &["features", "none"]).exits(1);
}

#[test]
fn component_that_waits_for_the_next_start_is_pending() {
    let mut host = Host::new();
    host.world.wish("desired", "sysupdate: { as: sysupdate, activate: boot }\n");
    define(&host, ("sysupdate.web.d", "01-web"), "web_@v.raw", "");
    let definition = host.world.path("usr/lib/sysupdate.web.d/01-web.transfer");
    let text = fs::read_to_string(&definition).unwrap();
    let link = "CurrentSymlink=/var/lib/extensions/web.raw";
    fs::write(definition, text.replace("CurrentSymlink=current", link)).unwrap();
    let pending = |host: &Host| {
        let answers =
            [&["-C", "web", "pending"][..], &["-C", "web", "--exit-codes", "updex", "pending"]];
        answers.map(|arguments| ask(host, arguments).code)
    };
    let merge = |host: &Host| {
        let merged = host.world.path("usr/.systemd-sysext");
        fs::create_dir_all(&merged).unwrap();
        fs::write(merged.join("extensions"), "web\n").unwrap();
    };
    assert_eq!(pending(&host), [1, 2], "nothing is there");
    for version in ["1", "2"] {
        host.publish(&format!("web_{version}.raw"), version);
        host.converges();
        assert_eq!((pending(&host), host.refreshes()), ([0, 0], 0), "{version}");
        merge(&host);
        assert_eq!(pending(&host), [1, 2], "{version}");
        // Times are told by the second.
        let marker = host.world.path("usr/.systemd-sysext/extensions");
        let marker = fs::File::options().write(true).open(marker).unwrap();
        marker.set_modified(SystemTime::now() - Duration::from_mins(1)).unwrap();
    }
}

#[test]
fn list_that_is_out_of_date_is_refused() {
    let mut host = host();
    offer(&host, &["linux-v1.erofs", "linux-v1.erofs.caibx", "BEST-BEFORE-2026-01-01"]);
    ask(&host, &["check-new"]).exits(1);
    update(&mut host).exits(1);
    assert!(files(&host, "01-linux").is_empty());
    fs::rename(
        host.source().join("BEST-BEFORE-2026-01-01"),
        host.source().join("BEST-BEFORE-2033-01-01"),
    )
    .unwrap();
    host.list();
    update(&mut host).exits(0);
    assert_eq!(files(&host, "01-linux"), ["current", "linux-v1.erofs"]);
}

#[test]
fn wrong_bytes_cost_nothing_and_the_next_update_heals() {
    let mut host = host();
    for version in ["v1", "v2"] {
        offer(&host, &[&format!("linux-{version}.erofs"), &format!("linux-{version}.erofs.caibx")]);
        update(&mut host).exits(0);
    }
    offer(&host, &["linux-v3.erofs", "linux-v3.erofs.caibx"]);
    let damaged = host.source().join("linux-v3.erofs");
    fs::write(&damaged, "damaged").unwrap();
    update(&mut host).exits(1);
    let kept = ["current", "linux-v1.erofs", "linux-v2.erofs"];
    assert_eq!(files(&host, "01-linux"), kept, "the version to go back to is there still");
    fs::write(&damaged, "linux-v3.erofs").unwrap();
    update(&mut host).exits(0);
    assert_eq!(files(&host, "01-linux"), ["current", "linux-v2.erofs", "linux-v3.erofs"]);
}

#[test]
fn damaged_list_is_an_error_and_no_change() {
    let mut host = host();
    offer(&host, &["linux-v1.erofs", "linux-v1.erofs.caibx"]);
    update(&mut host).exits(0);
    let short = format!("{}\t\t  linux-v2.erofs\n", "0".repeat(62));
    fs::write(host.source().join("SHA256SUMS"), short).unwrap();
    let ran = update(&mut host).exits(1);
    assert!(ran.stderr.contains("reading SHA256SUMS"), "{ran:#?}");
    assert_eq!(files(&host, "01-linux"), ["current", "linux-v1.erofs"]);
}

#[test]
fn files_below_directories_of_the_source_are_found() {
    let mut host = Host::new();
    host.world.options = vec!["--effects".to_owned(), "skip".to_owned()];
    host.world.wish("desired", "sysupdate: { as: sysupdate }\n");
    define(&host, ("sysupdate.d", "01-any"), "**/any-@v.raw", "");
    define(&host, ("sysupdate.d", "02-one"), "@v/one.raw", "");
    let digest = |bytes: &str| {
        use sha2::Digest;
        data_encoding::HEXLOWER.encode(&sha2::Sha256::digest(bytes))
    };
    for (path, bytes) in [("deep/er/any-1.raw", "any"), ("1/one.raw", "one")] {
        let path = host.source().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let sums = format!("{}  deep/er/any-1.raw\n{}  1/one.raw\n", digest("any"), digest("one"));
    fs::write(host.source().join("SHA256SUMS"), &sums).unwrap();
    update(&mut host).exits(0);
    assert_eq!(files(&host, "01-any"), ["any-1.raw", "current"]);
    assert_eq!(files(&host, "02-one"), ["1", "current"]);
    let current = host.world.path("var/lib/02-one/current");
    assert_eq!(fs::read_link(&current).unwrap().to_str(), Some("1/one.raw"));
    assert_eq!(fs::read_to_string(&current).unwrap(), "one");
    for out in ["../any-2.raw", "%2e%2e/any-2.raw", "/any-2.raw"] {
        let line = format!("{sums}{}  {out}\n", digest("any"));
        fs::write(host.source().join("SHA256SUMS"), line).unwrap();
        ask(&host, &["check-new"]).exits(1);
    }
}

#[test]
fn versions_in_directories_of_their_own_come_and_go_with_them() {
    let mut host = Host::new();
    host.world.options = ["--effects", "skip", "--confirm-removals"].map(str::to_owned).to_vec();
    host.world.wish("desired", "sysupdate: { as: sysupdate }\n");
    define(&host, ("sysupdate.d", "01-sub"), "sub-@v.raw", "");
    let definition = host.world.path("usr/lib/sysupdate.d/01-sub.transfer");
    let text = fs::read_to_string(&definition).unwrap();
    let text = text.replace(
        "Path=/var/lib/01-sub",
        "Path=/var/lib/01-sub\nMatchPattern=sub-@v.raw @v/deep/sub.raw",
    );
    fs::write(&definition, &text).unwrap();
    offer(&host, &["sub-1.raw"]);
    update(&mut host).exits(0);
    assert_eq!(
        files(&host, "01-sub"),
        ["current", "sub-1.raw"],
        "the first pattern names new files"
    );
    let text = text.replace("sub-@v.raw @v/deep/sub.raw", "@v/deep/sub.raw sub-@v.raw");
    fs::write(&definition, &text).unwrap();
    for version in ["2", "3"] {
        offer(&host, &[&format!("sub-{version}.raw")]);
        host.converges();
    }
    assert_eq!(files(&host, "01-sub"), ["2", "3", "current"], "from flat to directories");
    let link = fs::read_link(host.world.path("var/lib/01-sub/current")).unwrap();
    assert_eq!(link.to_str(), Some("3/deep/sub.raw"));
    offer(&host, &["sub-4.raw"]);
    host.converges();
    assert_eq!(files(&host, "01-sub"), ["3", "4", "current"], "an empty directory goes");
    fs::write(
        &definition,
        text.replace("@v/deep/sub.raw sub-@v.raw", "sub-@v.raw @v/deep/sub.raw"),
    )
    .unwrap();
    for (version, expected) in
        [("5", ["4", "current", "sub-5.raw"]), ("6", ["current", "sub-5.raw", "sub-6.raw"])]
    {
        offer(&host, &[&format!("sub-{version}.raw")]);
        host.converges();
        assert_eq!(files(&host, "01-sub"), expected, "from directories to flat");
    }
    fs::write(&definition, &text).unwrap();
    offer(&host, &["sub-7.raw"]);
    host.converges();
    fs::remove_file(host.world.path("var/lib/01-sub/7/deep/sub.raw")).unwrap();
    host.converges();
    assert!(host.world.path("var/lib/01-sub/7/deep/sub.raw").exists());
    host.world.wish("desired", "apps: {}\n");
    host.converges();
    assert!(files(&host, "01-sub").is_empty(), "{:?}", files(&host, "01-sub"));
}

#[test]
fn pass_carries_out_every_component_that_is_on() {
    let mut host = host();
    define(&host, ("sysupdate.web.d", "01-web"), "web-@v.raw", "");
    define(&host, ("sysupdate.off.d", "01-off"), "off-@v.raw", "");
    let component = host.world.path("usr/lib/sysupdate.off.component");
    fs::write(component, "[Component]\nEnabled=no\n").unwrap();
    offer(&host, &["linux-v1.erofs", "linux-v1.erofs.caibx", "web-1.raw", "off-1.raw"]);
    host.converges();
    assert_eq!(files(&host, "01-web"), ["current", "web-1.raw"]);
    assert_eq!(files(&host, "01-linux"), ["current", "linux-v1.erofs"]);
    assert!(files(&host, "01-off").is_empty());
}

#[test]
fn features_and_components_are_switched_by_the_files_that_systemd_writes() {
    let mut host = host();
    define(&host, ("sysupdate.d", "05-optional"), "optional-@v.efi", "Features=optional");
    define(&host, ("sysupdate.web.d", "01-web"), "web-@v.raw", "");
    let usr = host.world.path("usr/lib");
    let write = |name: &str, text: &str| fs::write(usr.join(name), text).unwrap();
    write("sysupdate.d/optional.feature", "[Feature]\nSuggestOnMachineTag=edge\n");
    write("sysupdate.d/other.feature", "[Feature]\nSuggestOnOSRelease=nonsense\n");
    write("sysupdate.web.component", "[Component]\nEnabled=no\nSuggest=yes\n");
    let detail = |name: &str| ask(&host, &["features", name]).exits(0).json();
    assert_eq!(detail("optional")["suggested"], json!(false));
    assert_eq!(detail("other").get("suggested"), None, "a condition that is malformed");
    fs::create_dir_all(host.world.path("etc")).unwrap();
    fs::write(host.world.path("etc/machine-info"), "TAGS=site:edge\n").unwrap();
    assert_eq!(detail("optional")["suggested"], json!(true));
    ask(&host, &["enable-feature", "--feature-suggested"]).exits(0);
    let place = host.world.path("etc/sysupdate.d");
    let file = place.join("optional.feature.d/50-systemd-sysupdate-enabled.conf");
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(
        text,
        "# Generated via 'systemd-sysupdate enable-feature'\n\n[Feature]\nEnabled=yes\n"
    );
    assert!(!place.join("other.feature.d").exists());
    assert_eq!(detail("optional")["enabled"], json!(true));
    ask(&host, &["disable-feature", "optional"]).exits(0);
    assert_eq!(detail("optional")["enabled"], json!(false));
    ask(&host, &["enable-feature", "--feature-all"]).exits(0);
    assert!(place.join("other.feature.d").exists());
    ask(&host, &["enable-feature", "none"]).exits(1);
    ask(&host, &["enable-component", "-S"]).exits(0);
    let web = host.world.path("etc/sysupdate.web.component.d/50-systemd-sysupdate-enabled.conf");
    let text = "# Generated via 'systemd-sysupdate enable-component'\n\n[Component]\nEnabled=yes\n";
    assert_eq!(fs::read_to_string(&web).unwrap(), text);
    let components = ask(&host, &["components"]).json();
    assert_eq!(components["components"], json!(["web"]));
    ask(&host, &["disable-component", "web"]).exits(0);
    ask(&host, &["enable-component", "none"]).exits(1);
    offer(&host, &["linux-v1.erofs", "linux-v1.erofs.caibx", "web-1.raw", "optional-v1.efi"]);
    host.converges();
    assert!(files(&host, "01-web").is_empty());
    assert_eq!(files(&host, "05-optional"), ["current", "optional-v1.efi"]);
}
