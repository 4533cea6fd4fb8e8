//! Extensions whose images lie in one directory: none loses its image to another one.

use std::fs;

use super::Host;

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
    let text = text.replace("CurrentSymlink=/var/lib/extensions/demo.raw\n", "");
    fs::write(&path, text.replace("extensions.d/demo\n", "extensions\n")).unwrap();
    wish(&mut host, "updex", None);
    host.converges();
    assert!(is_linked(&host, "var/lib/extensions/demo_1.raw"));
    wish(&mut host, "sysupdate", None);
    host.pass().exits(0);
    assert!(is_linked(&host, "var/lib/extensions/demo_1.raw"));
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
    assert!(is_linked(&host, "etc/extensions/demo.raw"));
    host.world.wish("desired", &wished("other"));
    host.pass();
    host.pass();
    assert!(is_linked(&host, "etc/extensions/other.raw"));
    assert!(fs::symlink_metadata(host.world.path("etc/extensions/demo.raw")).is_err());
    host.is_settled();
}
