//! Several extensions in one directory, images that are merged, and images that are packed.

use std::fs;

use super::{Host, image};
use crate::archives::{bz2, xz};
use crate::support::duo::RECONCILE;
use crate::support::trace::{Act, Program, trace};

/// Two extensions whose names begin alike, in one directory and from one source.
fn share(host: &mut Host, as_what: &str) {
    let definitions = host.world.path("usr/lib");
    let source = host.source().display().to_string();
    for (name, place) in [("foo", "sysupdate.foo.d"), ("foo_bar", "sysupdate.foo_bar.d")] {
        fs::create_dir_all(definitions.join(place)).unwrap();
        let text = format!(
            "[Transfer]\nVerify=no\n[Source]\nType=url-file\nPath=file://{source}\nMatchPattern={name}_@v.raw\n\
             [Target]\nType=regular-file\nPath=/var/lib/extensions.d\nMatchPattern={name}_@v.raw\n\
             CurrentSymlink=/var/lib/extensions/{name}.raw\nInstancesMax=2\n"
        );
        fs::write(definitions.join(place).join(format!("{name}.transfer")), text).unwrap();
    }
    host.world.wish("desired", &format!("sysupdate: {{ as: {as_what}, activate: now }}\n"));
}

#[test]
fn extensions_whose_names_begin_alike_share_a_directory() {
    for as_what in ["sysupdate", "updex"] {
        let mut host = Host::new();
        share(&mut host, as_what);
        host.publish("foo_bar_9.raw", "nine");
        for version in ["1", "2", "3", "4"] {
            host.publish(&format!("foo_{version}.raw"), version);
            host.converges();
        }
        for version in ["10", "11", "12"] {
            host.publish(&format!("foo_bar_{version}.raw"), version);
            host.converges();
        }
        let linked = |name: &str| {
            let link = host.world.path(&format!("var/lib/extensions/{name}.raw"));
            fs::read_link(link).unwrap().file_name().unwrap().to_str().unwrap().to_owned()
        };
        assert_eq!(linked("foo"), "foo_4.raw", "X1, {as_what}");
        assert_eq!(linked("foo_bar"), "foo_bar_12.raw", "X1, {as_what}");
        let mut there: Vec<String> = fs::read_dir(host.world.path("var/lib/extensions.d"))
            .unwrap()
            .flatten()
            .map(|entry| entry.file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".raw"))
            .collect();
        there.sort();
        assert_eq!(
            there,
            ["foo_3.raw", "foo_4.raw", "foo_bar_11.raw", "foo_bar_12.raw"],
            "{as_what}"
        );
    }
}

#[test]
fn image_that_is_merged_is_kept_however_many_come_after_it() {
    let mut host = Host::new();
    host.wish(&[("demo", "    retain: 1\n    activate: boot\n")]);
    host.publish("demo_1.raw", "one");
    host.converges();
    // The next boot merged it: the kernel has it open, and the image before is kept only while nothing is merged.
    let device = host.world.path("sys/block/loop0/loop");
    fs::create_dir_all(&device).unwrap();
    fs::write(device.join("backing_file"), "/var/lib/extensions.d/demo/demo_1.raw\n").unwrap();
    for version in ["2", "3", "4"] {
        host.publish(&format!("demo_{version}.raw"), version);
        host.converges();
    }
    assert_eq!(host.home("demo"), ["demo_1.raw", "demo_3.raw", "demo_4.raw"]);
    fs::write(device.join("backing_file"), "/var/lib/extensions.d/demo/demo_4.raw\n").unwrap();
    host.converges();
    assert_eq!(host.home("demo"), ["demo_3.raw", "demo_4.raw"]);
}

#[test]
fn packed_images_are_installed_unpacked() {
    for (end, packed) in [("xz", xz(&image("packed"))), ("bz2", bz2(&image("packed")))] {
        let mut host = Host::new();
        fs::write(host.source().join(format!("demo_1.raw.{end}")), packed).unwrap();
        host.list();
        let source = host.source().display().to_string();
        let text = format!(
            "extensions:\n  demo:\n    source: {{ sysupdate: {{ path: {source}, match: demo_@v.raw.{end} }} }}\n"
        );
        host.world.wish("desired", &text);
        host.converges();
        let installed = fs::read(host.world.path("var/lib/extensions/demo.raw")).unwrap();
        assert!(installed == image("packed"), "{end}");
        assert_eq!(host.home("demo"), ["demo_1.raw"]);
    }
}

#[test]
fn publisher_that_is_killed_leaves_a_list_of_what_is_there_and_can_go_on() {
    let made = tempfile::tempdir().unwrap();
    let image_of = |version: &str| {
        let path = made.path().join(format!("{version}.raw"));
        fs::write(&path, image(version)).unwrap();
        path
    };
    let images = [image_of("1"), image_of("2")];
    let program = |repository: &std::path::Path, version: usize| Program {
        path: RECONCILE.into(),
        arguments: ["publish", "extension", repository.to_str().unwrap()]
            .into_iter()
            .chain([images[version - 1].to_str().unwrap(), "--name", "demo", "--version"])
            .map(str::to_owned)
            .chain([version.to_string()])
            .collect(),
        ..Program::default()
    };
    let listed = |repository: &std::path::Path| -> Vec<String> {
        let directory = repository.join("ext/demo");
        let list = fs::read_to_string(directory.join("SHA256SUMS")).unwrap();
        let names = list.lines().map(|line| {
            let (digest, name) = line.split_once("  ").unwrap();
            let bytes = fs::read(directory.join(name)).unwrap();
            assert_eq!(
                digest,
                data_encoding::HEXLOWER.encode(&<sha2::Sha256 as sha2::Digest>::digest(bytes)),
                "{name}"
            );
            name.to_owned()
        });
        names.collect()
    };
    let (one, both) = (vec!["demo_1.raw"], vec!["demo_1.raw", "demo_2.raw"]);
    let fresh = || {
        let repository = tempfile::tempdir().unwrap();
        assert_eq!(trace(&program(repository.path(), 1), Act::Watch).code, Some(0));
        repository
    };
    let points = trace(&program(fresh().path(), 2), Act::Watch).calls.len();
    assert!(points > 5, "{points}");
    for point in 1..=points {
        let repository = fresh();
        let killed = trace(&program(repository.path(), 2), Act::KillBefore(point));
        let between = listed(repository.path());
        assert!(between == one || between == both, "{point}: {between:?}");
        let again = trace(&program(repository.path(), 2), Act::Watch);
        assert!(killed.code.is_some() || again.code == Some(0), "{point}: {}", again.said());
        assert_eq!(listed(repository.path()), both, "{point}");
        let rest = fs::read_dir(repository.path().join("ext/demo")).unwrap().count();
        assert_eq!(rest, 3, "{point}: nothing half-done stays");
        let index = fs::read_to_string(repository.path().join("ext/index")).unwrap();
        assert_eq!(index, "demo\n", "{point}");
    }
}
