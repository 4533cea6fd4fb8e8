//! Configuration of other updaters is recognised, and the first pass after an import has nothing to do.

use std::path::Path;

use crate::support::tree;
use crate::support::world::World;

/// Imports files, and makes the result the wish.
#[track_caller]
fn imported(world: &mut World, arguments: &[&str]) -> (String, String) {
    let ran = world.run(&[&["import"], arguments].concat()).exits(0);
    world.wish("desired", &ran.stdout);
    world.run(&["validate"]).exits(0);
    (ran.stdout, ran.stderr)
}

fn given(world: &World, name: &str, text: &str) -> String {
    let path = world.temp().join("given").join(name);
    tree::write(&path, text.as_bytes());
    path.to_str().unwrap().to_owned()
}

/// A host with a program, and a repository that offers the same.
fn published(sort: &[&str]) -> World {
    let mut world = World::new();
    world.wish("desired", "apps: {}\n");
    tree::write(&world.temp().join("built/tool"), b"#!/bin/sh\necho tool\n");
    tree::write(&world.path("/usr/sbin/tool"), b"#!/bin/sh\necho tool\n");
    world.run(&[&["publish", sort[0], "built/tool"], &sort[1..]].concat()).exits(0);
    world
}

#[track_caller]
fn nothing_to_do(world: &World) {
    let plan = world.run(&["--dry-run"]).exits(0).stdout;
    assert!(plan.starts_with("No changes"), "{plan}");
}

#[test]
fn settings_of_go_updater_become_an_app_that_is_as_wished() {
    let mut world = published(&["choria", "--version", "1.0", "--arch", "amd64", "--repo", "repo"]);
    let repository = world.temp().join("repo").display().to_string();
    let settings = format!(
        r#"{{"source_repo": "{repository}", "Version": "1.0", "Arch": "amd64", "TargetFile": "/usr/sbin/tool", "PublicKey": "x"}}"#
    );
    let file = given(&world, "updater.json", &settings);
    let (document, said) = imported(&mut world, &[&file]);
    assert!(document.contains("layout: { file: \"/usr/sbin/tool\" }"), "{document}");
    assert!(said.contains("have the program itself stop updating"), "{said}");
    assert!(said.contains("never looked at `PublicKey`"), "{said}");
    nothing_to_do(&world);
}

#[test]
fn go_source_with_selfupdate_becomes_an_app_that_is_as_wished() {
    let sort = ["selfupdate", "1.0", "--out", "public/tool", "--platform", "linux-amd64"];
    let mut world = published(&sort);
    let public = world.temp().join("public").display().to_string();
    let source = format!(
        "package main\n// ApiURL: \"https://old.example.net/\"\nvar updater = &selfupdate.Updater{{\n\t\
         CurrentVersion: version,\n\tApiURL:  \"{public}/\",\n\tBinURL: `{public}/`,\n\tCmdName: \"tool\",\n\t\
         CheckTime: 24,\n}}\n"
    );
    let file = given(&world, "main.go", &source);
    let refused = world.run(&["import", &file]).exits(1);
    assert!(refused.stderr.contains("--target"), "{refused:#?}");
    let (document, said) = imported(&mut world, &[&file, "--target", "/usr/sbin/tool"]);
    assert!(!document.contains("old.example"), "{document}");
    assert!(said.contains("every 24 h"), "{said}");
    nothing_to_do(&world);
}

#[test]
fn everything_that_is_recognised_comes_into_one_document() {
    let mut world = World::new();
    world.wish("desired", "apps: {}\n");
    given(
        &world,
        "clock.env",
        "DISTRONOMICON_REPO=acme/clock\nDISTRONOMICON_PATTERN=clock-.*gz\n\
         DISTRONOMICON_CHECKSUM_PATTERN=SHA256SUMS\n",
    );
    let client = r#"[{"srcIndex": "https://a.example/s.caidx", "srcStore": "https://a.example/s.castr", "dstPath": "/srv/s"}]"#;
    given(&world, "casync/client.json", client);
    given(
        &world,
        "casync/server.json",
        r#"{"index": "a.caidx", "store": "a.castr", "source": "a"}"#,
    );
    let choria = r#"{"SourceRepo": "https://c.example", "Version": "0.7.0", "TargetFile": "/usr/sbin/choria"}"#;
    given(&world, "choria.json", choria);
    given(&world, "readme.txt", "nothing");
    tree::write(
        &world.path("/etc/sysupdate.d/demo.transfer"),
        b"[Source]\nType=url-file\nPath=https://e.example/\nMatchPattern=demo_@v.raw\n[Target]\n\
          Type=regular-file\nPath=/var/lib/extensions.d\nMatchPattern=demo_@v.raw\nCurrentSymlink=/etc/extensions/demo.raw\n",
    );
    let directory = world.temp().join("given").display().to_string();
    let definitions = world.path("/etc/sysupdate.d").display().to_string();
    let (document, said) = imported(&mut world, &[&directory, &definitions]);
    for part in ["acme/clock", "c.example", "a.example", "sysupdate: { as: sysupdate }"] {
        assert!(document.contains(part), "{part}: {document}");
    }
    assert_eq!(document.matches("apps:\n").count(), 1, "{document}");
    for part in [
        "systemctl disable --now distronomicon@clock.timer",
        "systemctl disable --now casync-updater.service",
        "systemctl disable --now systemd-sysupdate.timer",
        "reconcile publish tree --config",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn definitions_of_updex_are_followed_as_updex_does() {
    let mut world = World::new();
    world.wish("desired", "apps: {}\n");
    tree::write(
        &world.path("/etc/sysupdate.d/demo.transfer"),
        b"[Transfer]\nInstancesMax=2\n[Source]\nType=url-file\nPath=https://e.example/\nMatchPattern=demo_@v.raw\n\
          [Target]\nPath=/var/lib/extensions.d\nMatchPattern=demo_@v.raw\n",
    );
    let definitions = world.path("/etc/sysupdate.d").display().to_string();
    let (document, said) = imported(&mut world, &[&definitions]);
    assert!(document.contains("as: updex"), "{document}");
    assert!(said.contains("updex-update.timer"), "{said}");
}

#[test]
fn import_that_finds_nothing_is_an_error() {
    let mut world = World::new();
    world.wish("desired", "apps: {}\n");
    let text = given(&world, "readme.txt", "nothing");
    let directory = Path::new(&text).parent().unwrap().to_str().unwrap().to_owned();
    for arguments in [
        &["import", &text][..],
        &["import", &directory],
        &["import", "distronomicon", &directory],
        &["import", "casync-updater", &text],
        &["import", "sysupdate"],
        &["import", "updex"],
    ] {
        let ran = world.run(arguments).exits(1);
        assert_eq!(ran.stdout, "", "{arguments:?}");
    }
    assert!(world.run(&["import", &text]).stderr.contains("of no updater that is known"));
}
