//! Images that the usual tools made are read as they were meant.

use reconcile::format::extension_release::{
    Class, Form, Host, Image, STRICT_ATTRIBUTE, Scope, Verdict, judge,
};
use reconcile::format::image::{Format, ImageError, Kind, contents};
use reconcile::format::os_release::OsRelease;

use super::{Bytes, IMAGES, names, open_bytes};

const RELEASES: &str = "usr/lib/extension-release.d";

fn readable() -> impl Iterator<Item = (&'static str, Bytes<'static>)> {
    IMAGES.iter().filter(|(name, _)| *name != "squashfs-lzo").map(|(n, b)| (n.as_str(), Bytes(b)))
}

fn is_compressed(name: &str) -> bool {
    name == "erofs-lz4hc"
}

#[test]
fn formats_are_recognised() {
    for (name, bytes) in readable() {
        let format = match name.split('-').next().unwrap() {
            "squashfs" => Format::Squashfs,
            "erofs" => Format::Erofs,
            _ => Format::Ext4,
        };
        let opened = open_bytes(&bytes).unwrap();
        assert_eq!((opened.format, opened.partitioned, opened.verity), (format, false, false));
    }
}

#[test]
fn directories_are_listed() {
    for (name, bytes) in readable() {
        let files = open_bytes(&bytes).unwrap().files;
        let mut top = names(&*files, "");
        top.retain(|entry| entry != "lost+found");
        assert_eq!(top, ["etc", "opt", "usr"], "{name}");
        assert_eq!(names(&*files, "opt/hello/many").len(), 400, "{name}");
        assert_eq!(names(&*files, "etc/hello"), [""; 0], "{name}");
        assert_eq!(names(&*files, "etc/none"), [""; 0], "{name}");
        assert_eq!(names(&*files, "usr/bin/hello"), [""; 0], "{name}");
        let releases: Vec<_> = files.list(RELEASES).unwrap();
        let alias = releases.iter().find(|entry| entry.name == "extension-release.alias").unwrap();
        assert_eq!(alias.kind, Kind::Link, "{name}");
    }
}

#[test]
fn files_are_read_to_the_byte() {
    let lines = (0..300).map(|line| format!("line {line} of some text that packs well\n"));
    let text = lines.collect::<Vec<_>>().concat();
    let holes = [b"begin".as_slice(), &vec![0; 20_000], b"end"].concat();
    let noise = Bytes(&IMAGES["squashfs-plain"]);
    let noise = open_bytes(&noise).unwrap().files.read("opt/hello/noise", 1 << 20).unwrap();
    assert_eq!(noise.as_ref().map(Vec::len), Some(4500));
    for (name, bytes) in readable() {
        let files = open_bytes(&bytes).unwrap().files;
        let hello = files.read("usr/bin/hello", 100).unwrap();
        assert_eq!(hello.as_deref(), Some(b"#!/bin/sh\necho hello\n".as_slice()), "{name}");
        assert_eq!(files.read("opt/hello/noise", 1 << 20).unwrap(), noise, "{name}");
        if is_compressed(name) {
            let error = files.read("opt/hello/text", 1 << 20).unwrap_err();
            assert!(matches!(error, ImageError::Unreadable { .. }), "{name}: {error}");
            continue;
        }
        for max in [0, 1, 4095, 4096, 4097, 1 << 20] {
            let read = files.read("opt/hello/text", max).unwrap().unwrap();
            assert_eq!(read, &text.as_bytes()[..max.min(text.len())], "{name} {max}");
        }
        let read = files.read("opt/hello/holes", 1 << 20).unwrap().unwrap();
        assert_eq!(read, holes, "{name}");
    }
}

#[test]
fn links_are_followed_inside_the_image() {
    for (name, bytes) in readable() {
        let files = open_bytes(&bytes).unwrap().files;
        let alias = files.read(&format!("{RELEASES}/extension-release.alias"), 8).unwrap();
        assert_eq!(alias.as_deref(), Some(b"ID=_any\n".as_slice()), "{name}");
        for (path, kind) in [
            ("usr/share/links/absolute/hello", Some(Kind::File)),
            ("usr/share/links/relative", Some(Kind::File)),
            ("usr/share/links/loop", None),
            ("usr/share/links/long", None),
            ("usr/share/pipe", Some(Kind::Other)),
            ("usr/../../usr/bin", Some(Kind::Directory)),
            ("usr/bin/hello/x", None),
        ] {
            assert_eq!(files.kind(path).unwrap(), kind, "{name} {path}");
        }
        assert_eq!(files.read("usr/share/pipe", 1).unwrap(), None, "{name}");
        assert_eq!(files.read("usr/bin", 1).unwrap(), None, "{name}");
    }
}

#[test]
fn attributes_are_read() {
    for (name, bytes) in readable() {
        let files = open_bytes(&bytes).unwrap().files;
        let other = format!("{RELEASES}/extension-release.other");
        let value = files.attribute(&other, STRICT_ATTRIBUTE).unwrap();
        assert_eq!(value.as_deref(), Some(b"false".as_slice()), "{name}");
        assert_eq!(files.attribute(&other, "user.none").unwrap(), None, "{name}");
        assert_eq!(files.attribute("usr/bin/hello", STRICT_ATTRIBUTE).unwrap(), None, "{name}");
    }
}

#[test]
fn what_an_image_asks_for_is_told() {
    let release = OsRelease::parse(b"ID=debian\nVERSION_ID=12\n").unwrap();
    let host =
        Host { systemd: 252, release: &release, architecture: "arm64", scope: Scope::System };
    for (name, bytes) in readable() {
        let files = open_bytes(&bytes).unwrap().files;
        let image = Image { class: Class::Sysext, name: "hello", form: Form::Raw };
        let Verdict::Compatible(declared) = judge(image, host, &contents(&*files).unwrap()) else {
            panic!("{name}");
        };
        assert!(declared.reload_manager, "{name}");
        assert_eq!(declared.restart_units, ["a.service", "b.service"], "{name}");
    }
}

#[test]
fn unknown_compression_is_left_to_the_caller() {
    let bytes = Bytes(&IMAGES["squashfs-lzo"]);
    let error = open_bytes(&bytes).unwrap_err();
    assert!(matches!(error, ImageError::Unreadable { format: Format::Squashfs, .. }), "{error}");
}
