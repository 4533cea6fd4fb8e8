//! Definitions and wishes that are not carried out as they are written: it is told, nothing done.

use std::fs;
use std::os::unix::fs::symlink;

use sha2::{Digest as _, Sha256};

use super::directory;
use super::{Host, image};

/// Writes a transfer of images of this name, with more lines for its target.
fn define(host: &Host, (directory, id): (&str, &str), (name, place, more): (&str, &str, &str)) {
    let source = host.source().display().to_string();
    let text = format!(
        "[Transfer]\nVerify=no\n[Source]\nType=url-file\nPath=file://{source}\nMatchPattern={name}_@v.raw\n[Target]\n\
         Type=regular-file\nPath={place}\nMatchPattern={name}_@v.raw\n{more}\n"
    );
    let directory = host.world.path("usr/lib").join(directory);
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join(format!("{id}.transfer")), text).unwrap();
}

fn host(as_what: &str) -> Host {
    let mut host = Host::new();
    host.world.wish("desired", &format!("sysupdate: {{ as: {as_what}, activate: now }}\n"));
    host
}

const LINK: &str = "CurrentSymlink=/var/lib/extensions/demo.raw";

#[test]
fn set_with_a_partition_is_not_installed_in_part() {
    let mut host = host("sysupdate");
    define(&host, ("sysupdate.part.d", "demo"), ("demo", "/var/lib/images", LINK));
    host.publish("demo_1.raw", "one");
    host.publish("os_1.raw", "one");
    host.converges();
    let partition = host.world.path("usr/lib/sysupdate.part.d/10-root.transfer");
    let source = host.source().display().to_string();
    let text = format!(
        "[Transfer]\nVerify=no\n[Source]\nType=url-file\nPath=file://{source}\nMatchPattern=os_@v.raw\n[Target]\n\
         Type=partition\nPath=auto\nMatchPattern=os_@v\n"
    );
    fs::write(&partition, text).unwrap();
    host.publish("demo_2.raw", "two");
    let ran = host.pass();
    assert_eq!(ran.code, 1, "{ran:#?}");
    assert!(ran.stdout.contains("10-root.transfer"), "{ran:#?}");
    let ran = host.world.run(&["sysupdate", "-C", "part", "update"]);
    assert_ne!(ran.code, 0, "{ran:#?}");
    assert!(format!("{ran:?}").contains("10-root.transfer"), "{ran:#?}");
    assert_eq!(host.version("demo").as_deref(), Some("1"));
    fs::remove_file(partition).unwrap();
    host.converges();
    assert_eq!(host.version("demo").as_deref(), Some("2"));
}

#[test]
fn transfers_of_one_component_with_one_link_or_one_image_are_refused() {
    let link = "CurrentSymlink=/var/lib/extensions/other.raw";
    for (what, name, more) in [("link", "other", LINK), ("images", "demo", link)] {
        let mut host = host("sysupdate");
        define(&host, ("sysupdate.d", "a"), ("demo", "/var/lib/images", LINK));
        define(&host, ("sysupdate.d", "b"), (name, "/var/lib/images", more));
        host.publish("demo_1.raw", "one");
        host.publish("other_1.raw", "one");
        let ran = host.pass();
        assert_eq!(ran.code, 1, "{what}: {ran:#?}");
        assert!(ran.stdout.contains("b.transfer and "), "{what}: {ran:#?}");
        assert!(!host.world.path("var/lib/images").exists(), "{what}");
        fs::remove_file(host.world.path("usr/lib/sysupdate.d/b.transfer")).unwrap();
        host.converges();
        assert_eq!(host.version("demo").as_deref(), Some("1"), "{what}");
    }
}

#[test]
fn component_by_the_name_that_stands_for_the_host_never_becomes_it() {
    let mut host = host("sysupdate");
    define(&host, ("sysupdate.d", "demo"), ("demo", "/var/lib/images", LINK));
    let other = "CurrentSymlink=/var/lib/extensions/other.raw";
    define(&host, ("sysupdate.host.d", "other"), ("other", "/var/lib/others", other));
    host.publish("demo_1.raw", "one");
    host.publish("other_1.raw", "one");
    let plan = host.world.run(&["--dry-run"]).stdout;
    assert!(plan.contains("component host"), "{plan}");
    host.pass();
    assert_eq!(host.version("demo").as_deref(), Some("1"));
    fs::remove_dir_all(host.world.path("usr/lib/sysupdate.d")).unwrap();
    let ran = host.pass();
    assert!(ran.stdout.contains("component host"), "{ran:#?}");
    assert_eq!(host.version("other"), None, "{ran:#?}");
    assert_eq!(host.version("demo").as_deref(), Some("1"), "what may be wished still stays");
    let directory = host.world.path("usr/lib");
    fs::rename(directory.join("sysupdate.host.d"), directory.join("sysupdate.web.d")).unwrap();
    host.converges();
    assert_eq!((host.version("demo"), host.version("other").as_deref()), (None, Some("1")));
}

#[test]
fn confext_of_a_definition_is_not_linked_as_updex_would() {
    let mut host = host("updex");
    define(&host, ("sysupdate.d", "demo"), ("demo", "/var/lib/extensions.d", ""));
    define(&host, ("sysupdate.d", "policy"), ("policy", "/var/lib/confexts.d", ""));
    host.publish("demo_1.raw", "one");
    host.publish("policy_1.raw", "one");
    let ran = host.pass();
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert!(ran.stdout.contains("policy.transfer is left alone"), "{ran:#?}");
    assert_eq!(host.merged(), "demo\n");
    assert!(!host.world.path("var/lib/confexts.d").exists());
    host.is_settled();
}

#[test]
fn what_systemd_sysupdate_installed_without_a_link_is_adopted() {
    let mut host = host("sysupdate");
    let more = format!("{LINK}\nInstancesMax=2");
    define(&host, ("sysupdate.d", "demo"), ("demo", "/var/lib/images", &more));
    let images = host.world.path("var/lib/images");
    fs::create_dir_all(&images).unwrap();
    for version in ["1", "2"] {
        host.publish(&format!("demo_{version}.raw"), version);
        fs::write(images.join(format!("demo_{version}.raw")), image(version)).unwrap();
    }
    let refused = host.pass();
    assert_eq!(refused.code, 1, "what nobody is known to have installed stays: {refused:#?}");
    let list = host.world.path("var/lib/systemd/sysupdate/installdb");
    fs::create_dir_all(&list).unwrap();
    let entry = "/var/lib/images/./demo_@v.raw";
    let name = data_encoding::HEXLOWER.encode(&Sha256::digest(entry));
    symlink(entry, list.join(name)).unwrap();
    host.converges();
    assert_eq!(host.version("demo").as_deref(), Some("2"));
    assert!(images.join("demo_1.raw").exists(), "it can be gone back to");
    host.publish("demo_3.raw", "three");
    host.converges();
    assert_eq!(host.version("demo").as_deref(), Some("3"));
    assert!(!images.join("demo_1.raw").exists(), "what was adopted gives way, too");
}

/// What a definition says, the advice carried out, and what is merged then.
#[test]
fn images_beside_their_link_where_systemd_looks_are_refused_until_they_are_moved() {
    let beside = "CurrentSymlink=demo.raw";
    for (as_what, place, more) in [
        ("updex", "extensions", beside),
        ("updex", "extensions", ""),
        ("updex", "extensions/demo.raw.v", ""),
        ("sysupdate", "extensions", beside),
        ("sysupdate", "extensions", "CurrentSymlink=/etc/extensions/demo.raw"),
        ("sysupdate", "extensions/demo.raw.v", "CurrentSymlink=/var/lib/extensions/demo.raw"),
    ] {
        let what = format!("{as_what} {place} {more}");
        let mut host = host(as_what);
        let directory = format!("/var/lib/{place}");
        define(&host, ("sysupdate.d", "demo"), ("demo", &directory, more));
        // As updex 1 and systemd-sysupdate leave it.
        let images = host.world.path(&directory[1..]);
        fs::create_dir_all(&images).unwrap();
        host.publish("demo_1.raw", "one");
        fs::write(images.join("demo_1.raw"), image("one")).unwrap();
        let link = match more.split_once('=') {
            Some((_, link)) => camino::Utf8Path::new(&directory).join(link),
            None => "/var/lib/extensions/demo.raw".into(),
        };
        let at = host.world.path(&link.as_str()[1..]);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        symlink(images.join("demo_1.raw"), &at).unwrap();
        host.publish("demo_2.raw", "two");
        let ran = host.pass();
        assert_eq!((ran.code, host.refreshes()), (1, 0), "{what}: {ran:#?}");
        assert!(!images.join("demo_2.raw").exists(), "{what}");
        host.withdraw("demo_2.raw");
        // What it says to do is all that is to be done.
        let said = |from: &str, to: char| {
            let rest = ran.stdout.split_once(from).unwrap_or_else(|| panic!("{what}: {ran:#?}")).1;
            rest.split_once(to).unwrap().0.to_owned()
        };
        let advice = format!("mkdir -p {}", said("`mkdir -p ", '`'));
        let root = host.world.path("");
        let at_root = format!(" {}", root.display());
        let advice = advice.replace(" /", &at_root).replace(&format!("-sfn{at_root}"), "-sfn /");
        let done = std::process::Command::new("sh").args(["-euc", &advice]).output().unwrap();
        assert!(done.status.success(), "{what}: {advice}: {done:#?}");
        let more = format!("CurrentSymlink={}", said("`CurrentSymlink=", '`'));
        define(&host, ("sysupdate.d", "demo"), ("demo", &said("`Path=", '`'), &more));
        let merged = host.world.path("usr/.systemd-sysext");
        fs::create_dir_all(&merged).unwrap();
        fs::write(merged.join("extensions"), "demo\n").unwrap();
        host.is_settled();
        host.publish("demo_2.raw", "two");
        host.converges();
        assert_eq!(fs::read(&at).unwrap(), image("two"), "{what}");
        assert!(!images.join("demo_2.raw").exists(), "{what}");
    }
}

/// Has the host another systemd.
fn systemd(host: &Host, version: u32) {
    let library = host.world.path("usr/lib/systemd");
    let _ = fs::remove_dir_all(&library);
    fs::create_dir_all(&library).unwrap();
    fs::write(library.join(format!("libsystemd-shared-{version}.so")), "").unwrap();
}

#[test]
fn directory_without_a_link_is_judged_by_the_name_that_systemd_finds_it_by() {
    let mut host = host("sysupdate");
    systemd(&host, 252);
    fs::create_dir_all(host.world.path("etc")).unwrap();
    fs::write(host.world.path("etc/os-release"), "ID=debian\nVERSION_ID=12\n").unwrap();
    directory::define(&host, "");
    let definition = host.world.path("usr/lib/sysupdate.d/demo.transfer");
    let text = fs::read_to_string(&definition).unwrap();
    fs::write(&definition, text.replace("/var/lib/extensions.d", "/var/lib/extensions")).unwrap();
    directory::publish(&host, "demo_1.tar.gz", "one");
    let said = host.world.run(&["--dry-run"]).stdout;
    for word in ["`CurrentSymlink=/var/lib/extensions/demo`", "`Path=/var/lib/extensions/demo.v`"] {
        assert!(said.contains(word), "{said}");
    }
    // Before systemd 254 an extension has to have its whole name inside, and this one is called demo there.
    let ran = host.pass();
    assert!(ran.code != 0 && ran.stdout.contains("cannot be merged here"), "{ran:#?}");
    assert_eq!((host.merged().as_str(), host.refreshes()), ("", 0));
    let again = host.pass();
    assert!(!again.stdout.contains("FAILED"), "it is not tried again: {again:#?}");
    systemd(&host, 262);
    host.converges();
    assert_eq!(host.merged(), "demo_1\n");
}

#[test]
fn what_the_systemd_of_the_host_does_not_know_is_refused_before_it_is_fetched() {
    for (old, more, why) in [
        (255, "    layout: versioned\n", "systemd 255 picks no image of"),
        (253, "    class: confext\n", "systemd 253 knows no configuration extensions"),
    ] {
        let mut host = Host::new();
        systemd(&host, old);
        host.publish("demo_1.0.0.raw", "one");
        host.wish(&[("demo", more)]);
        let ran = host.pass();
        assert_eq!(ran.code, 1, "{ran:#?}");
        assert!(ran.stdout.contains(why), "{ran:#?}");
        assert!(!host.world.path("var/cache/reconcile/blobs").exists(), "{ran:#?}");
        systemd(&host, old + 1);
        let plan = host.world.run(&["--dry-run", "-o", "json"]).json();
        assert_eq!(plan["spec"]["changes"][0]["action"], "install", "{plan:#}");
    }
}

#[test]
fn file_whose_name_has_another_digest_than_the_list_is_named() {
    let mut host = Host::new();
    host.publish(&format!("demo_1_{}.raw", "0".repeat(64)), "one");
    let source = host.source().display().to_string();
    let wish = format!(
        "extensions:\n  demo: {{ source: {{ sysupdate: {{ path: {source}, match: demo_@v_@h.raw }} }} }}\n"
    );
    host.world.wish("desired", &wish);
    let ran = host.pass();
    assert_eq!(ran.code, 1, "{ran:#?}");
    assert!(ran.stdout.contains("SHA256SUMS has another digest of it than its name"), "{ran:#?}");
    let digest = data_encoding::HEXLOWER.encode(&Sha256::digest(image("two")));
    host.publish(&format!("demo_2_{digest}.raw"), "two");
    host.converges();
    assert_eq!(host.version("demo").as_deref(), Some("2"));
}
