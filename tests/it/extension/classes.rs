//! One component with images for `/usr` and for `/etc`: each is what its own place says.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::{Host, image};

/// As the stub for system extensions, for those of the configuration.
const CONFEXT: &str = r#"#!/bin/sh
for a; do case $a in --root=*) R=${a#--root=};; esac; done
echo "confext $@" >> "$R/../refreshes"
new=
for f in "$R"/var/lib/confexts/*; do
    [ -e "$f" ] || continue
    case $f in *.v) [ -n "$(ls "$f")" ] || continue;; esac
    if grep -rqa BREAKS "$f"; then echo "Failed to read metadata for image $f" >&2; exit 1; fi
    new="$new$(basename "${f%.v}" .raw)
"
done
mkdir -p "$R/etc/.systemd-confext"
printf %s "$new" > "$R/etc/.systemd-confext/confexts"
"#;

/// A host that merges extensions of both classes.
pub(super) fn of_both() -> Host {
    let host = Host::new();
    let stub = host.world.temp().join("stub/systemd-confext");
    fs::write(&stub, CONFEXT).unwrap();
    fs::set_permissions(stub, PermissionsExt::from_mode(0o755)).unwrap();
    host
}

/// A component with a system extension and an extension of the configuration, both called demo.
pub(super) fn host() -> Host {
    let mut host = of_both();
    let definitions = host.world.path("usr/lib/sysupdate.demo.d");
    fs::create_dir_all(&definitions).unwrap();
    let source = host.source().display().to_string();
    for (name, pattern, place) in
        [("10-usr", "demo_@v.raw", "extensions"), ("20-etc", "demo_@v.confext.raw", "confexts")]
    {
        let text = format!(
            "[Transfer]\nVerify=no\n[Source]\nType=url-file\nPath=file://{source}\nMatchPattern={pattern}\n[Target]\n\
             Type=regular-file\nPath=/var/lib/{place}.d\nCurrentSymlink=/var/lib/{place}/demo.raw\nInstancesMax=2\n"
        );
        fs::write(definitions.join(format!("{name}.transfer")), text).unwrap();
    }
    host.world.wish("desired", "sysupdate: { as: sysupdate, activate: now }\n");
    host
}

pub(super) fn offer(host: &Host, version: &str, etc: &str) {
    fs::write(host.source().join(format!("demo_{version}.confext.raw")), image(etc)).unwrap();
    host.publish(&format!("demo_{version}.raw"), version);
}

pub(super) fn links(host: &Host) -> [Option<String>; 2] {
    ["extensions", "confexts"].map(|place| {
        let link = host.world.path(&format!("var/lib/{place}/demo.raw"));
        Some(fs::read_link(link).ok()?.file_name()?.to_str()?.to_owned())
    })
}

pub(super) fn merged_into_etc(host: &Host) -> String {
    fs::read_to_string(host.world.path("etc/.systemd-confext/confexts")).unwrap_or_default()
}

pub(super) fn refreshed(host: &Host) -> Vec<&'static str> {
    let log = host.world.temp().join("refreshes");
    let text = fs::read_to_string(&log).unwrap_or_default();
    let _ = fs::remove_file(log);
    let lines = text.lines();
    lines.map(|line| if line.starts_with("confext") { "confext" } else { "sysext" }).collect()
}

#[test]
fn each_transfer_of_a_component_is_merged_as_what_its_place_says() {
    let mut host = host();
    offer(&host, "1", "one");
    host.converges();
    assert_eq!((host.merged().as_str(), merged_into_etc(&host).as_str()), ("demo\n", "demo\n"));
    assert_eq!(refreshed(&host), ["sysext", "confext"]);
    fs::remove_dir_all(host.world.path("etc/.systemd-confext")).unwrap();
    host.converges();
    assert_eq!(merged_into_etc(&host), "demo\n", "unmerged by somebody: it is merged again");
    refreshed(&host);
    host.world.wish("desired", "apps: {}\n");
    host.converges();
    assert_eq!(refreshed(&host), ["sysext", "confext"], "each is merged without it");
    assert_eq!((host.merged().as_str(), merged_into_etc(&host).as_str()), ("", ""));
}

#[test]
fn release_of_which_one_image_cannot_be_merged_goes_back_whole() {
    let mut host = host();
    offer(&host, "1", "one");
    host.converges();
    refreshed(&host);
    offer(&host, "2", "BREAKS");
    let ran = host.pass();
    assert_eq!(ran.code, 6, "{ran:#?}");
    let before = [Some("demo_1.raw".to_owned()), Some("demo_1.confext.raw".to_owned())];
    assert_eq!(links(&host), before, "{ran:#?}");
    let last: Vec<_> = refreshed(&host).into_iter().rev().take(2).collect();
    assert_eq!(last, ["confext", "sysext"], "both are merged as they were");
    assert_eq!((host.merged().as_str(), merged_into_etc(&host).as_str()), ("demo\n", "demo\n"));
    host.is_settled();
    offer(&host, "3", "mended");
    host.converges();
    assert_eq!(links(&host)[1].as_deref(), Some("demo_3.confext.raw"));
}

#[test]
fn link_below_etc_is_not_changed_in_the_pass_that_merges_a_confext() {
    let mut host = host();
    let definition = host.world.path("usr/lib/sysupdate.demo.d/10-usr.transfer");
    let text = fs::read_to_string(&definition).unwrap();
    let other = host.world.path("usr/lib/sysupdate.other.d");
    fs::create_dir_all(&other).unwrap();
    let in_etc =
        |name: &str| text.replace("/var/lib/extensions/demo", &format!("/etc/extensions/{name}"));
    fs::write(other.join("other.transfer"), in_etc("other").replace("demo_@v", "other_@v"))
        .unwrap();
    offer(&host, "1", "one");
    host.publish("other_1.raw", "other");
    let said = host.pass().exits(1).stdout;
    let why = "extension/demo merges a confext in the same pass, which makes /etc read-only";
    assert!(
        said.contains(&format!("/etc/extensions/other.raw could not be changed back: {why}")),
        "{said}"
    );
    assert!(said.contains("`reconcile --only extension/other` changes it before that"), "{said}");
    assert_eq!(merged_into_etc(&host), "demo\n");
    assert!(!host.world.path("etc/extensions").exists());
    // It is merged by now, which the next pass knows by a file system that is read-only: here there is none.
    host.converges();
    assert_eq!(host.merged(), "other\ndemo\n");
    fs::write(definition, in_etc("demo")).unwrap();
    offer(&host, "2", "two");
    let said = host.pass().exits(1).stdout;
    assert!(
        said.contains(&format!("/etc/extensions/demo.raw could not be changed back: {why}")),
        "{said}"
    );
    assert_eq!(links(&host)[0].as_deref(), Some("demo_1.raw"));
}
