//! Archives that try to write elsewhere: each is refused by name, leaves and touches nothing.

use proptest::prelude::*;
use reconcile::model::step::Strip;
use reconcile::unpack::Refused;

use crate::archives::{
    Expect, SCRIPT, Tar, World, assert_refused, assert_tars_refused, patched, tar, usual, walk,
    zip_of,
};

fn file(name: &str) -> Tar {
    tar().file(name, 0o644, b"evil")
}

fn pax_file(path: &str) -> Tar {
    tar().pax(&[("path", path)]).file("x", 0o644, b"evil")
}

fn of_type(kind: u8) -> Tar {
    tar().raw(b"x", kind, b"", |_| ())
}

#[test]
fn paths_that_leave_or_mislead_are_refused() {
    let long_path = ["d".repeat(100).as_str(); 41].join("/");
    assert_tars_refused(vec![
        ("parent", file("../evil"), Refused::Escapes),
        ("parent of canary", file("../canary/file"), Refused::Escapes),
        ("parent within", file("a/../b"), Refused::Escapes),
        ("parent at end", tar().dir("a/.."), Refused::Escapes),
        ("parent in pax", pax_file("a/../../evil"), Refused::Escapes),
        ("absolute", file("/etc/evil"), Refused::Absolute),
        ("absolute twice", file("//evil"), Refused::Absolute),
        ("absolute in pax", pax_file("/evil"), Refused::Absolute),
        ("empty", file(""), Refused::EmptyPath),
        ("dot", file("."), Refused::EmptyPath),
        ("empty in pax", pax_file(""), Refused::EmptyPath),
        ("newline", file("a\nb"), Refused::ControlCharacter),
        ("escape", file("a\x1b[2Jb"), Refused::ControlCharacter),
        ("delete", file("a\x7f"), Refused::ControlCharacter),
        ("nul in pax", pax_file("good\0evil"), Refused::ControlCharacter),
        ("latin-1", tar().raw(b"\xe9t\xe9", b'0', b"", |_| ()), Refused::NotUtf8),
        ("component", pax_file(&"c".repeat(256)), Refused::TooLong),
        ("path", pax_file(&long_path), Refused::TooLong),
        ("depth", pax_file(&["d"; 41].join("/")), Refused::TooDeep),
    ]);
}

#[test]
fn symbolic_links_that_leave_are_refused() {
    let through = |tar: Tar| tar.file("l/evil", 0o644, b"evil");
    assert_tars_refused(vec![
        ("absolute", tar().link("l", "/etc/passwd"), Refused::LinkAbsolute),
        ("absolute, used", through(tar().link("l", "/tmp")), Refused::LinkAbsolute),
        ("parent", tar().link("l", "../canary/file"), Refused::LinkLeaves),
        ("parent, used", through(tar().link("l", "..")), Refused::NotInDirectory),
        ("inside, used", through(tar().dir("d").link("l", "d")), Refused::NotInDirectory),
        ("to the root's parent", tar().link("a/b/l", "../../.."), Refused::LinkLeaves),
        (
            "chain whose text stays inside",
            tar().link("d/e/up", "../..").link("d/e/l", "up/../canary"),
            Refused::LinkLeaves,
        ),
        (
            "chain of three",
            tar().link("a/up", "..").link("a/b/up", "../up/a/up").link("l", "a/b/up/../x"),
            Refused::LinkLeaves,
        ),
        ("parent after strip", tar().link("l", "x/../../tool"), Refused::LinkDangles),
        ("nothing", tar().link("l", "nowhere"), Refused::LinkDangles),
        ("below a file", tar().file("f", 0o644, b"").link("l", "f/x"), Refused::LinkDangles),
        ("itself", tar().link("l", "l"), Refused::LinkLoops),
        ("each other", tar().link("l", "m").link("m", "l"), Refused::LinkLoops),
        ("endless", tar().link("l", "l/l/l/l"), Refused::LinkLoops),
        ("empty", tar().raw(b"l", b'2', b"", |_| ()), Refused::LinkTarget),
        (
            "control character",
            tar().pax(&[("linkpath", "a\x1bb")]).link("l", "x"),
            Refused::LinkTarget,
        ),
        (
            "with content",
            tar().raw(b"l", b'2', b"content", |header| {
                header.set_link_name_literal("tool").unwrap();
            }),
            Refused::UnexpectedContent,
        ),
    ]);
}

#[test]
fn link_that_stays_inside_only_before_stripping_is_refused() {
    let tar = usual().link("tool-1.0/bin/l", "../../tool-1.0/tool").end();
    assert_refused("strip", "t.tar", &tar, Expect::Entry(Refused::LinkLeaves));
}

#[test]
fn hard_links_to_anything_but_an_earlier_file_are_refused() {
    let why = Refused::HardLinkTarget;
    assert_tars_refused(vec![
        ("outside", tar().hard("h", "../canary/file"), why),
        ("absolute", tar().hard("h", "/etc/passwd"), why),
        ("a link", tar().link("l", "tool").hard("h", "l"), why),
        ("through a link", tar().link("l", "..").hard("h", "l/canary/file"), why),
        ("a directory", tar().dir("d").hard("h", "d"), why),
        ("later", tar().hard("h", "tool"), why),
        ("itself", tar().hard("h", "h"), why),
        ("nothing", tar().raw(b"h", b'1', b"", |_| ()), why),
        ("over a file", file("a").file("b", 0o644, b"").hard("b", "a"), Refused::Duplicate),
    ]);
}

#[test]
fn things_that_are_no_files_are_refused() {
    assert_tars_refused(vec![
        ("character device", of_type(b'3'), Refused::Device),
        ("block device", of_type(b'4'), Refused::Device),
        ("named pipe", of_type(b'6'), Refused::Fifo),
        ("contiguous file", of_type(b'7'), Refused::UnknownType),
        ("dumped directory", of_type(b'D'), Refused::UnknownType),
        ("continued volume", of_type(b'M'), Refused::UnknownType),
        ("volume label", of_type(b'V'), Refused::UnknownType),
        ("unknown", of_type(b'Z'), Refused::UnknownType),
        ("directory with content", tar().raw(b"d", b'5', b"x", |_| ()), Refused::UnexpectedContent),
    ]);
}

#[test]
fn paths_that_are_taken_are_refused() {
    assert_tars_refused(vec![
        ("file", file("a").file("a", 0o644, b""), Refused::Duplicate),
        ("file by another spelling", file("a").file("./a", 0o644, b""), Refused::Duplicate),
        ("directory over file", file("a").dir("a"), Refused::Duplicate),
        ("file over directory", tar().dir("a").file("a", 0o644, b""), Refused::Duplicate),
        ("file over link", tar().link("a", "tool").file("a", 0o644, b""), Refused::Duplicate),
        ("link over file", file("a").link("a", "tool"), Refused::Duplicate),
        ("directory over link", tar().link("a", "..").dir("a"), Refused::Duplicate),
        ("link over directory", file("a/b").link("a", ".."), Refused::Duplicate),
        ("below a file", file("a").file("a/b", 0o644, b""), Refused::NotInDirectory),
    ]);
}

#[test]
fn manifest_name_is_reserved_before_and_after_stripping() {
    let why = Refused::Reserved;
    assert_tars_refused(vec![
        ("file", file(".reconcile.json"), why),
        ("directory", tar().dir(".reconcile.json"), why),
        ("link", tar().link(".reconcile.json", "tool"), why),
    ]);
    let stripped = usual().file("tool-1.0/.reconcile.json", 0o644, b"{}").end();
    assert_refused("stripped", "t.tar", &stripped, Expect::Entry(why));
    let top = tar().file(".reconcile.json/tool", 0o755, SCRIPT).end();
    let world = World::new();
    assert!(world.unpack("t.tar", &top).is_ok(), "stripping drops the name");
}

#[test]
fn hostile_zip_entries_are_refused() {
    let one = |name, mode| zip_of(&[(name, mode, b"evil"), ("tool", None, SCRIPT)]);
    let link =
        |target: &'static [u8]| zip_of(&[("l", Some(0o120_777), target), ("tool", None, SCRIPT)]);
    let cases = [
        ("parent", one("../evil", None), Refused::Escapes),
        ("absolute", one("/evil", None), Refused::Absolute),
        ("drive", one("C:evil", None), Refused::Absolute),
        ("backslash", one("..\\evil", None), Refused::Backslash),
        ("control", one("a\x1bb", None), Refused::ControlCharacter),
        ("device", one("a", Some(0o020_644)), Refused::Device),
        ("pipe", one("a", Some(0o010_644)), Refused::Fifo),
        ("socket", one("a", Some(0o140_644)), Refused::UnknownType),
        ("directory with content", one("a/", None), Refused::UnexpectedContent),
        ("reserved", one(".reconcile.json", None), Refused::Reserved),
        ("link out", link(b"../canary"), Refused::LinkLeaves),
        ("link absolute", link(b"/etc/passwd"), Refused::LinkAbsolute),
        ("link empty", link(b""), Refused::LinkTarget),
        ("link too long", link(&[b'a'; 5000]), Refused::LinkTarget),
        ("file over file", zip_of(&[("a", None, b""), ("./a", None, b"")]), Refused::Duplicate),
        ("below file", zip_of(&[("a", None, b""), ("a/b", None, b"")]), Refused::NotInDirectory),
        ("encrypted", patched(&one("a", None), 6, 8, &[1, 0]), Refused::Encrypted),
        ("method", patched(&one("a", None), 8, 10, &[97, 0]), Refused::Method),
    ];
    for (what, zip, why) in cases {
        assert_refused(what, "t.zip", &zip, Expect::Entry(why));
    }
}

/// A path or link text of a few components that lead to and fro.
fn wandering() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "..", "."]), 1..6)
        .prop_map(|components| components.join("/"))
}

fn wandering_entry() -> impl Strategy<Value = (u8, String, String)> {
    (prop::sample::select(b"01255222".to_vec()), wandering(), wandering())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_unpacked_stays_inside(
        entries in prop::collection::vec(wandering_entry(), 1..10),
        strips in any::<bool>(),
    ) {
        let mut world = World::new();
        world.rules.strip = if strips { Strip::Auto } else { Strip::None };
        let before = world.outside();
        let tar = entries.iter().fold(tar(), |tar, (kind, path, target)| {
            tar.raw(path.as_bytes(), *kind, b"", |header| {
                header.set_link_name_literal(target).unwrap();
            })
        });
        let unpacked = world.unpack("t.tar", &tar.end());
        prop_assert_eq!(world.outside(), before);
        prop_assert_eq!(unpacked.is_ok(), world.staging().exists());
        if unpacked.is_ok() {
            let root = world.staging().canonicalize().unwrap();
            for path in walk(&root) {
                let end = path.canonicalize();
                prop_assert!(end.is_ok_and(|end| end.starts_with(&root)), "{}", path.display());
            }
        }
    }
}
