//! Definitions that are not carried out as they are written: nothing is done in part, and it is told.

use std::fs;
use std::os::unix::fs::symlink;

use sha2::{Digest as _, Sha256};

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
