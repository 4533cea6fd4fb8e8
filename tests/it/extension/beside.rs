//! Extensions whose images lie in one directory: none loses its image to another one.

use std::fs;

use super::{Host, image};

/// A definition of the host that puts images where an extension of that name in the wish has them.
fn define(host: &Host, component: &str, name: &str) {
    let directory = host.world.path("usr/lib").join(component);
    let source = host.source().display().to_string();
    let text = format!(
        "[Transfer]\nVerify=no\n[Source]\nType=url-file\nPath=file://{source}\nMatchPattern={name}_@v.raw\n\
         [Target]\nType=regular-file\nPath=/var/lib/extensions.d/{name}\nMatchPattern={name}_@v.raw\n\
         CurrentSymlink=/var/lib/extensions/{name}.raw\nInstancesMax=2\n"
    );
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join(format!("{name}.transfer")), text).unwrap();
}

fn wish(host: &mut Host, as_what: &str, extension: Option<&str>) {
    let source = host.source().display().to_string();
    let extension = extension.map_or(String::new(), |more| {
        format!(
            "extensions:\n  demo:\n    source: {{ sysupdate: {{ path: {source}, match: demo_@v.raw }} }}\n{more}"
        )
    });
    host.world.wish("desired", &format!("sysupdate: {{ as: {as_what} }}\n{extension}"));
}

fn is_linked(host: &Host, link: &str) -> bool {
    fs::metadata(host.world.path(link)).is_ok()
}

#[test]
fn cleanup_leaves_what_the_desired_state_itself_wishes() {
    let mut host = Host::new();
    host.publish("demo_1.raw", "one");
    host.publish("other_1.raw", "one");
    define(&host, "sysupdate.d", "demo");
    define(&host, "sysupdate.d", "other");
    wish(&mut host, "sysupdate", None);
    host.converges();
    fs::remove_file(host.world.path("usr/lib/sysupdate.d/demo.transfer")).unwrap();
    wish(&mut host, "sysupdate", Some(""));
    host.pass();
    assert_eq!(host.version("demo").as_deref(), Some("1"));
    host.world.run(&["sysupdate", "cleanup"]).exits(0);
    assert_eq!(host.version("demo").as_deref(), Some("1"), "its image is there");
    host.is_settled();
}

#[test]
fn extensions_that_have_the_same_images_are_refused_and_neither_loses_any() {
    let mut host = Host::new();
    host.publish("demo_1.raw", "one");
    host.publish("demo_2.raw", "two");
    wish(&mut host, "sysupdate", Some("    version: '1'\n    retain: 1\n"));
    host.converges();
    define(&host, "sysupdate.d", "demo");
    for _ in 0..3 {
        let ran = host.pass().exits(1);
        assert!(ran.stdout.contains("each would take away the other's"), "{ran:#?}");
        assert_eq!(host.version("demo").as_deref(), Some("1"));
        assert_eq!(host.home("demo"), ["demo_1.raw"]);
    }
}

#[test]
fn image_stays_when_another_resource_is_to_use_it() {
    let mut host = Host::new();
    host.publish("demo_1.raw", "one");
    define(&host, "sysupdate.d", "demo");
    wish(&mut host, "updex", None);
    host.converges();
    wish(&mut host, "sysupdate", None);
    host.pass().exits(0);
    assert!(is_linked(&host, "var/lib/extensions/demo.raw"), "{:?}", host.home("demo"));
    host.is_settled();
}

#[test]
fn retention_takes_no_image_that_another_extension_made() {
    let mut host = Host::new();
    for name in ["demo", "demo_extra"] {
        host.publish(&format!("{name}_1.raw"), "one");
    }
    define(&host, "sysupdate.demo.d", "demo");
    define(&host, "sysupdate.extra.d", "demo_extra");
    for component in ["demo", "extra"] {
        let name = if component == "demo" { "demo" } else { "demo_extra" };
        let path = format!("usr/lib/sysupdate.{component}.d/{name}.transfer");
        let path = host.world.path(&path);
        let text = fs::read_to_string(&path).unwrap();
        let place = format!("Path=/var/lib/extensions.d/{name}\n");
        fs::write(&path, text.replace(&place, "Path=/var/lib/extensions.d\n")).unwrap();
    }
    wish(&mut host, "sysupdate", None);
    host.pass().exits(0);
    for version in 2..5 {
        host.publish(&format!("demo_{version}.raw"), "more");
        host.pass().exits(0);
    }
    assert!(is_linked(&host, "var/lib/extensions/demo.raw"));
    assert!(is_linked(&host, "var/lib/extensions/demo_extra.raw"));
    host.is_settled();
}

#[test]
fn image_without_a_link_stays_when_another_resource_is_to_use_it() {
    let mut host = Host::new();
    host.publish("demo_1.raw", "one");
    define(&host, "sysupdate.d", "demo");
    let path = host.world.path("usr/lib/sysupdate.d/demo.transfer");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("CurrentSymlink=/var/lib/extensions/demo.raw\n", "")).unwrap();
    wish(&mut host, "updex", None);
    host.converges();
    assert!(is_linked(&host, "var/lib/extensions.d/demo/demo_1.raw"));
    wish(&mut host, "sysupdate", None);
    host.pass().exits(0);
    assert!(is_linked(&host, "var/lib/extensions.d/demo/demo_1.raw"));
    host.is_settled();
}

#[test]
fn extension_by_another_name_is_another_one_also_in_the_same_home() {
    let mut host = Host::new();
    host.publish("demo_1.raw", "one");
    let source = host.source().display().to_string();
    let wished = |name: &str| {
        format!(
            "extensions:\n  {name}:\n    home: /var/lib/images\n    verify: {{ min: checksum }}\n    source: {{ sysupdate: {{ path: \
             {source}, match: demo_@v.raw }} }}\n"
        )
    };
    host.world.wish("desired", &wished("demo"));
    host.converges();
    assert!(is_linked(&host, "var/lib/extensions/demo.raw"));
    host.world.wish("desired", &wished("other"));
    host.pass();
    host.pass();
    assert!(is_linked(&host, "var/lib/extensions/other.raw"));
    assert!(fs::symlink_metadata(host.world.path("var/lib/extensions/demo.raw")).is_err());
    host.is_settled();
}

/// Definitions without a link, each a component of its own, whose images lie in one directory.
fn define_linkless(host: &mut Host, names: &[&str], more: &str) {
    let source = host.source().display().to_string();
    for name in names {
        let directory = host.world.path("usr/lib").join(format!("sysupdate.{name}.d"));
        let text = format!(
            "[Transfer]\nVerify=no\n[Source]\nType=url-file\nPath=file://{source}\nMatchPattern={name}@v.raw\n\
             [Target]\nType=regular-file\nPath=/var/lib/images\nMatchPattern={name}@v.raw\nInstancesMax=2\n{more}"
        );
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(format!("{name}.transfer")), text).unwrap();
    }
    host.world.wish("desired", "sysupdate: { as: sysupdate }\n");
}

fn images(host: &Host) -> Vec<String> {
    let entries = fs::read_dir(host.world.path("var/lib/images")).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
    names.sort();
    names
}

/// Names of which one fits the pattern of the other, with versions of which the other's look newer.
const ALIKE: [(&str, &str, [&str; 4]); 3] = [
    ("app_", "app_x_", ["1", "2", "3", "4"]),
    ("app_", "app_x_", ["v1", "v2", "v3", "v4"]),
    ("foo-", "foo-bar-", ["a1", "a2", "a3", "a4"]),
];

#[test]
fn linkless_images_whose_names_begin_alike_are_each_of_one_component() {
    for (short, long, versions) in ALIKE {
        let mut host = Host::new();
        define_linkless(&mut host, &[short, long], "");
        for version in versions {
            for name in [short, long] {
                host.publish(&format!("{name}{version}.raw"), version);
            }
            host.converges();
        }
        let [.., before, newest] = versions;
        let mut kept =
            [short, long].map(|name| [before, newest].map(|v| format!("{name}{v}.raw"))).concat();
        kept.sort();
        assert_eq!(images(&host), kept);
        for name in [short, long] {
            let list = host.world.run(&["sysupdate", "-C", name, "--json=short", "list"]).json();
            assert_eq!(list["current"], newest, "{list:#}");
        }
    }
}

#[test]
fn linkless_images_of_another_program_are_neither_counted_nor_removed() {
    for (short, long, versions) in ALIKE {
        let mut host = Host::new();
        define_linkless(&mut host, &[short, long], "");
        let there = host.world.path("var/lib/images");
        fs::create_dir_all(&there).unwrap();
        // What systemd-sysupdate installed says nothing of itself.
        for version in versions {
            fs::write(there.join(format!("{long}{version}.raw")), image(version)).unwrap();
            host.publish(&format!("{long}{version}.raw"), version);
        }
        for version in versions {
            host.publish(&format!("{short}{version}.raw"), version);
            host.world.tick();
            host.world.run(&["sysupdate", "-C", short, "update"]).exits(0);
        }
        host.world.run(&["sysupdate", "-C", short, "vacuum"]).exits(0);
        let [.., before, last] = versions;
        let mut kept: Vec<String> = versions.iter().map(|v| format!("{long}{v}.raw")).collect();
        kept.extend([before, last].map(|version| format!("{short}{version}.raw")));
        kept.sort();
        assert_eq!(images(&host), kept);
    }
}

#[test]
fn cleanup_takes_what_nobody_owns_and_nothing_of_a_name_that_begins_alike() {
    let mut host = Host::new();
    define_linkless(&mut host, &["app_", "app_x_"], "");
    for name in ["app_1.raw", "app_x_1.raw"] {
        host.publish(name, "one");
    }
    host.converges();
    let define = host.world.path("usr/lib/sysupdate.app_.d");
    fs::remove_dir_all(&define).unwrap();
    host.world.run(&["sysupdate", "-C", "app_", "cleanup"]).exits(0);
    assert_eq!(images(&host), ["app_x_1.raw"]);
    host.is_settled();
}

#[test]
fn half_done_image_of_another_component_is_left_to_it() {
    let mut host = Host::new();
    define_linkless(&mut host, &["app_", "app_x_"], "");
    host.publish("app_1.raw", "one");
    let there = host.world.path("var/lib/images");
    fs::create_dir_all(&there).unwrap();
    fs::write(there.join(".#reconcile.app_x_1.raw"), "half").unwrap();
    host.world.run(&["sysupdate", "-C", "app_", "update"]).exits(0);
    assert!(there.join(".#reconcile.app_x_1.raw").exists());
    host.publish("app_x_1.raw", "one");
    host.converges();
    assert!(!there.join(".#reconcile.app_x_1.raw").exists());
    assert_eq!(images(&host), ["app_1.raw", "app_x_1.raw"]);
}
