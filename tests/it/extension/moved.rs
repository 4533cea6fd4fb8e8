//! Extensions whose `layout` is edited: what was in use by the one before is in nobody's way.

use std::fs;

use super::Host;
use super::classes::{self, merged_into_etc};
use super::followed::names;

/// What systemd would merge: the target of the link, and what it would pick.
fn in_sight(host: &Host) -> (Option<String>, Vec<String>) {
    (host.version("demo"), names(&host.world.path("var/lib/extensions/demo.raw.v")))
}

fn wish(host: &mut Host, layout: &str, more: &str) {
    host.wish(&[("demo", &format!("    layout: {layout}\n{more}"))]);
}

#[test]
fn extension_moves_between_a_link_and_what_systemd_picks() {
    let mut host = Host::new();
    host.publish("demo_1.0.0.raw", "one");
    wish(&mut host, "link", "");
    host.converges();
    let linked = (Some("1.0.0".to_owned()), Vec::new());
    assert_eq!(in_sight(&host), linked);
    for _ in 0..2 {
        wish(&mut host, "versioned", "");
        host.converges();
        assert_eq!(in_sight(&host), (None, vec!["demo_1.0.0.raw".to_owned()]));
        assert_eq!(host.merged(), "demo\n");
        host.pass().exits(0);
        wish(&mut host, "link", "");
        host.converges();
        assert_eq!(in_sight(&host), linked);
        assert_eq!(host.merged(), "demo\n");
        // Nothing of the versions that are hidden now is in anybody's way.
        host.pass().exits(0);
    }
}

#[test]
fn extension_that_does_not_work_by_its_new_layout_is_in_use_by_the_one_before() {
    for [from, to] in [["link", "versioned"], ["versioned", "link"]] {
        let mut host = Host::new();
        host.publish("demo_1.0.0.raw", "one");
        wish(&mut host, from, "");
        host.converges();
        let before = in_sight(&host);
        let link = host.world.path("var/lib/extensions/demo.raw");
        let place = host.world.path("var/lib/extensions/demo.raw.v");
        let check =
            format!("! {{ readlink {}; ls {}; }} | grep -q 2.0.0", link.display(), place.display());
        let health = format!(
            "    health:\n      exec: [/bin/sh, -c, \"{check}\"]\n      interval: 100ms\n      stable: 100ms\n      \
             deadline: 400ms\n"
        );
        host.publish("demo_2.0.0.raw", "two");
        wish(&mut host, to, &health);
        let said = host.pass().exits(6).stdout;
        assert!(said.contains("1.0.0 is in use again"), "{from}: {said}");
        assert_eq!(in_sight(&host), before, "{from}: {said}");
        assert_eq!(host.merged(), "demo\n");
        host.publish("demo_3.0.0.raw", "mended");
        host.converges();
        assert_ne!(in_sight(&host), before);
        assert_eq!(host.merged(), "demo\n");
    }
}

#[test]
fn image_of_somebody_else_among_ours_is_still_refused() {
    let mut host = Host::new();
    host.publish("demo_1.0.0.raw", "one");
    wish(&mut host, "versioned", "");
    host.converges();
    let place = host.world.path("var/lib/extensions/demo.raw.v");
    fs::copy(place.join("demo_1.0.0.raw"), place.join("demo_9.raw")).unwrap();
    wish(&mut host, "link", "");
    let said = host.pass().exits(1).stdout;
    assert!(said.contains("demo.raw.v is an extension of the same name"), "{said}");
    assert_eq!(in_sight(&host).1.len(), 2);
}

#[test]
fn extension_moves_to_another_home() {
    let mut host = Host::new();
    host.publish("demo_1.0.0.raw", "one");
    for home in ["/srv/first", "/srv/second", "/srv/first"] {
        wish(&mut host, "link", &format!("    home: {home}\n"));
        host.converges();
        assert_eq!(host.link("demo"), Some(format!("../../..{home}/demo_1.0.0.raw")));
        assert_eq!(host.version("demo").as_deref(), Some("1.0.0"));
    }
}

#[test]
fn extension_that_does_not_work_in_its_new_home_is_in_use_in_the_one_before() {
    let mut host = Host::new();
    host.publish("demo_1.0.0.raw", "one");
    wish(&mut host, "link", "    home: /srv/first\n");
    host.converges();
    host.publish("demo_2.0.0.raw", "BREAKS");
    wish(&mut host, "link", "    home: /srv/second\n");
    let said = host.pass().exits(6).stdout;
    assert_eq!(host.link("demo").as_deref(), Some("../../../srv/first/demo_1.0.0.raw"), "{said}");
    assert_eq!(host.merged(), "demo\n");
    host.publish("demo_3.0.0.raw", "mended");
    host.converges();
    assert_eq!(host.link("demo").as_deref(), Some("../../../srv/second/demo_3.0.0.raw"));
}

#[test]
fn link_of_somebody_else_is_refused_in_a_new_home() {
    let mut host = Host::new();
    host.publish("demo_1.0.0.raw", "one");
    host.publish("other_1.0.0.raw", "other");
    host.wish(&[("demo", "    home: /srv/first\n"), ("other", "")]);
    host.converges();
    let link = host.world.path("var/lib/extensions/demo.raw");
    for theirs in ["../../../srv/mine/demo_1.0.0.raw", "../extensions.d/other/other_1.0.0.raw"] {
        fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(theirs, &link).unwrap();
        host.wish(&[("demo", "    home: /srv/second\n"), ("other", "")]);
        let said = host.pass().exits(1).stdout;
        assert!(said.contains("which reconcile did not put there"), "{said}");
        assert_eq!(host.link("demo").as_deref(), Some(theirs));
    }
}

#[test]
fn images_behind_a_link_are_not_kept_where_systemd_finds_each_of_them() {
    let mut host = Host::new();
    host.publish("demo_1.0.0.raw", "one");
    for (layout, home) in [
        ("link", "/var/lib/extensions"),
        ("directory", "/var/lib/extensions"),
        ("link", "/run/extensions/demo.raw.v"),
    ] {
        wish(&mut host, layout, &format!("    home: {home}\n"));
        let said = host.pass().exits(65).stderr;
        assert!(said.contains("systemd would merge every image there"), "{said}");
    }
    wish(&mut host, "versioned", "    home: /var/lib/extensions\n");
    host.converges();
}

#[test]
fn link_that_leads_nowhere_costs_no_image() {
    let mut host = Host::new();
    host.publish("demo_1.0.0.raw", "one");
    wish(&mut host, "link", "    retain: 1\n");
    host.converges();
    let link = host.world.path("var/lib/extensions/demo.raw");
    fs::remove_file(&link).unwrap();
    let nowhere = "../extensions.d/demo/demo_9.0.0.raw";
    std::os::unix::fs::symlink(nowhere, &link).unwrap();
    let said = host.pass().exits(0).stdout;
    assert_eq!(host.version("demo").as_deref(), Some("1.0.0"), "{said}");
    assert!(host.world.path("var/lib/extensions.d/demo/demo_1.0.0.raw").exists(), "{said}");
}

#[test]
fn image_to_which_a_link_leads_already_is_merged_once_it_is_there() {
    let mut host = Host::new();
    host.publish("demo_1.0.0.raw", "one");
    wish(&mut host, "link", "");
    let link = host.world.path("var/lib/extensions/demo.raw");
    fs::create_dir_all(link.parent().unwrap()).unwrap();
    let text = "../extensions.d/demo/demo_1.0.0.raw";
    std::os::unix::fs::symlink(text, &link).unwrap();
    let said = host.pass().exits(0).stdout;
    assert_eq!(host.version("demo").as_deref(), Some("1.0.0"), "{said}");
    assert_eq!(host.merged(), "demo\n");
}

#[test]
fn link_that_moved_goes_with_its_extension() {
    let mut host = Host::new();
    host.publish("demo_1.raw", "one");
    let definition = host.world.path("usr/lib/sysupdate.d/demo.transfer");
    let source = host.source().display().to_string();
    let define = |place: &str| {
        let text = format!(
            "[Transfer]\nVerify=no\n[Source]\nType=url-file\nPath=file://{source}\nMatchPattern=demo_@v.raw\n[Target]\n\
             Type=regular-file\nPath=/var/lib/images\nCurrentSymlink={place}/demo.raw\n"
        );
        crate::support::tree::write(&definition, text.as_bytes());
    };
    define("/etc/extensions");
    host.world.wish("desired", "sysupdate: { as: sysupdate, activate: now }\n");
    host.converges();
    define("/var/lib/extensions");
    host.converges();
    let [before, after] =
        ["etc", "var/lib"].map(|place| host.world.path(place).join("extensions/demo.raw"));
    assert!(!before.is_symlink() && after.exists());
    fs::remove_file(&definition).unwrap();
    host.converges();
    assert!(!after.is_symlink());
    assert_eq!(host.merged(), "");
}

#[test]
fn extension_whose_class_is_edited_is_merged_by_the_new_one_alone() {
    let merged = |host: &Host| (host.merged(), merged_into_etc(host));
    for layout in ["link", "versioned"] {
        let mut host = classes::of_both();
        host.publish("demo_1.0.0.raw", "one");
        wish(&mut host, layout, "");
        host.converges();
        let (sysext, confext) =
            (("demo\n".into(), String::new()), (String::new(), "demo\n".into()));
        assert_eq!(merged(&host), sysext);
        for _ in 0..2 {
            wish(&mut host, layout, "    class: confext\n");
            host.converges();
            assert_eq!(merged(&host), confext, "{layout}");
            assert_eq!(in_sight(&host), (None, Vec::new()), "{layout}");
            wish(&mut host, layout, "");
            host.converges();
            assert_eq!(merged(&host), sysext, "{layout}");
            assert!(!host.world.path("var/lib/confexts/demo.raw").exists(), "{layout}");
        }
        // What does not work by its new class is in use by the one before.
        host.publish("demo_2.0.0.raw", "BREAKS");
        wish(&mut host, layout, "    class: confext\n");
        let said = host.pass().exits(6).stdout;
        assert_eq!(merged(&host), sysext, "{layout}: {said}");
    }
}
