//! Good artifacts in every form, and what becomes of them on disk.

use std::os::unix::fs::PermissionsExt;

use reconcile::model::manifest::EntryKind;
use reconcile::model::step::Strip;
use reconcile::unpack::UnpackError;

use crate::archives::{
    MTIME, SCRIPT, Tar, USUAL, World, assert_disk_agrees, bz2, gz, listing, usual, xz, zip_of, zst,
};

/// Unpacks and shows what there is; the disk must agree with the entries.
fn unpacked(name: &str, bytes: &[u8]) -> Vec<String> {
    let world = World::new();
    let unpacked = world.unpack(name, bytes).unwrap();
    assert_disk_agrees(&world, &unpacked.entries);
    listing(&unpacked.entries)
}

#[test]
fn every_container_unpacks_to_the_same() {
    let tar = usual().end();
    let zip = zip_of(&[
        ("tool-1.0/", Some(0o40755), b""),
        ("tool-1.0/README", Some(0o100_644), b"read me\n"),
        ("tool-1.0/tool", Some(0o100_755), SCRIPT),
    ]);
    let forms = [
        ("t.tar", tar.clone()),
        ("t.tar.gz", gz(&tar)),
        ("t.tgz", gz(&tar)),
        ("t.tar.xz", xz(&tar)),
        ("t.tar.zst", zst(&tar)),
        ("t.tar.bz2", bz2(&tar)),
        ("t.zip", zip),
        ("without-an-ending", gz(&tar)),
    ];
    for (name, bytes) in forms {
        assert_eq!(unpacked(name, &bytes), USUAL, "{name}");
    }
}

#[test]
fn single_programs_get_the_resource_name() {
    let forms = [
        ("tool-linux-amd64", SCRIPT.to_vec()),
        ("tool.gz", gz(SCRIPT)),
        ("tool.xz", xz(SCRIPT)),
        ("tool.zst", zst(SCRIPT)),
        ("tool.bz2", bz2(SCRIPT)),
    ];
    for (name, bytes) in forms {
        assert_eq!(unpacked(name, &bytes), ["x tool"], "{name}");
    }
}

#[test]
fn several_streams_in_a_row_are_one() {
    let tar = usual().end();
    let (one, two) = tar.split_at(700);
    for (name, pack) in [
        ("t.tar.gz", gz as fn(&[u8]) -> Vec<u8>),
        ("t.tar.xz", xz),
        ("t.tar.zst", zst),
        ("t.tar.bz2", bz2),
    ] {
        assert_eq!(unpacked(name, &[pack(one), pack(two)].concat()), USUAL, "{name}");
    }
}

#[test]
fn links_that_stay_inside_are_made() {
    let tar = usual()
        .link("tool-1.0/t", "tool")
        .link("tool-1.0/lib/again", "../t")
        .link("tool-1.0/lib/up", "..")
        .hard("tool-1.0/same", "tool-1.0/tool");
    let expected = [
        "f README",
        "d lib",
        "l lib/again -> ../t",
        "l lib/up -> ..",
        "x same",
        "l t -> tool",
        "x tool",
    ];
    assert_eq!(unpacked("t.tar", &tar.end()), expected);
}

#[test]
fn git_archives_and_dotted_names_unpack() {
    let tar = Tar::default()
        .global(&[("comment", "2f6a1d8c0e9b4a5f6c7d8e9f0a1b2c3d4e5f6071")])
        .dir("./")
        .dir("./a-1/")
        .file("./a-1/./bin//x", 0o755, SCRIPT);
    assert_eq!(unpacked("t.tar", &tar.end()), ["d bin", "x bin/x"]);
}

#[test]
fn long_names_of_both_kinds_unpack() {
    let long = format!("{}/{}", "d".repeat(90), "f".repeat(90));
    let pax = Tar::default()
        .pax(&[("path", &long), ("mtime", "1700000000.75"), ("SCHILY.xattr.user.x", "y")])
        .file("short", 0o644, b"1")
        .file("tool", 0o755, SCRIPT);
    let gnu = Tar::default()
        .raw(b"././@LongLink", b'L', format!("{long}\0").as_bytes(), |_| ())
        .file("short", 0o644, b"1")
        .file("tool", 0o755, SCRIPT);
    for tar in [pax, gnu] {
        let expected = [format!("d {}", "d".repeat(90)), format!("f {long}"), "x tool".to_owned()];
        assert_eq!(unpacked("t.tar", &tar.end()), expected);
    }
}

#[test]
fn pax_size_counts_and_not_the_header() {
    let tar = Tar::default()
        .pax(&[("size", "5")])
        .raw(b"a", b'0', b"", |header| header.set_size(1024))
        .data(b"12345")
        .file("tool", 0o755, SCRIPT);
    assert_eq!(unpacked("t.tar", &tar.end()), ["f a", "x tool"]);
}

#[test]
fn sparse_files_get_their_holes_back() {
    let gnu = Tar::default()
        .raw(b"s", b'S', b"headtail", |header| {
            let gnu = header.as_gnu_mut().unwrap();
            gnu.set_real_size(100_000);
            gnu.sparse[0].set_offset(0);
            gnu.sparse[0].set_length(4);
            gnu.sparse[1].set_offset(70_000);
            gnu.sparse[1].set_length(4);
            gnu.sparse[2].set_offset(100_000);
            gnu.sparse[2].set_length(0);
        })
        .file("tool", 0o755, SCRIPT);
    let mut map = b"2\n0\n4\n70000\n4\n".to_vec();
    map.resize(512, 0);
    map.extend(b"headtail");
    let pax = Tar::default()
        .pax(&[
            ("GNU.sparse.major", "1"),
            ("GNU.sparse.minor", "0"),
            ("GNU.sparse.name", "s"),
            ("GNU.sparse.realsize", "100000"),
        ])
        .file("GNUSparseFile.0/s", 0o644, &map)
        .file("tool", 0o755, SCRIPT);
    for tar in [gnu, pax] {
        let world = World::new();
        let unpacked = world.unpack("t.tar", &tar.end()).unwrap();
        assert_disk_agrees(&world, &unpacked.entries);
        let content = std::fs::read(world.staging().join("s")).unwrap();
        assert_eq!(content.len(), 100_000);
        assert_eq!((&content[..4], &content[70_000..70_004]), (&b"head"[..], &b"tail"[..]));
        assert_eq!(content.iter().filter(|&&byte| byte != 0).count(), 8);
    }
}

#[test]
fn highly_compressible_members_below_the_floor_unpack() {
    let zeros = vec![0; 3 << 20];
    let tar = Tar::default().file("zeros", 0o644, &zeros).file("tool", 0o755, SCRIPT).end();
    assert_eq!(unpacked("t.tar.gz", &gz(&tar)), ["x tool", "f zeros"]);
    let zip = zip_of(&[("tool", Some(0o100_755), SCRIPT), ("zeros", Some(0o100_644), &zeros)]);
    assert_eq!(unpacked("t.zip", &zip), ["x tool", "f zeros"]);
}

#[test]
fn archives_larger_than_all_buffers_arrive_whole() {
    let content: Vec<u8> =
        (0..3_000_001_u32).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let tar = Tar::default().file("big", 0o644, &content).file("tool", 0o755, SCRIPT).end();
    assert_eq!(unpacked("t.tar.zst", &zst(&tar)), ["f big", "x tool"]);
}

#[test]
fn special_bits_are_dropped_and_noted() {
    let world = World::new();
    let tar = Tar::default().file("tool", 0o6777, SCRIPT).end();
    let unpacked = world.unpack("t.tar", &tar).unwrap();
    assert_disk_agrees(&world, &unpacked.entries);
    let mode = std::fs::metadata(world.staging().join("tool")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o755);
    assert_eq!(unpacked.notes, ["`tool` had mode 6777: only its lower bits are kept"]);
}

#[test]
fn times_outside_the_possible_are_clamped() {
    let world = World::new();
    let tar = Tar::default()
        .raw(b"old", b'0', b"", |header| header.set_mtime(0))
        .raw(b"future", b'0', b"", |header| header.set_mtime(99_999_999_999))
        .raw(b"fine", b'0', b"", |_| ());
    let unpacked = world.unpack("t.tar", &tar.end()).unwrap();
    let mtime = |wanted: &str| {
        unpacked.entries.iter().find_map(|entry| match entry.kind {
            EntryKind::File { mtime, .. } if entry.path == wanted => Some(mtime),
            _ => None,
        })
    };
    assert_eq!(mtime("old"), Some(315_532_800));
    assert_eq!(mtime("fine"), i64::try_from(MTIME).ok());
    assert!(mtime("future").is_some_and(|time| time < 99_999_999_999));
}

#[test]
fn only_a_single_top_directory_is_stripped() {
    let beside = usual().file("NOTICE", 0o644, b"");
    assert_eq!(
        unpacked("t.tar", &beside.end()),
        ["f NOTICE", "d tool-1.0", "f tool-1.0/README", "x tool-1.0/tool"]
    );
    let bin = Tar::default().file("bin/tool", 0o755, SCRIPT);
    assert_eq!(unpacked("t.tar", &bin.end()), ["d bin", "x bin/tool"]);
    let same_name = Tar::default().file("tool/tool", 0o755, SCRIPT);
    assert_eq!(unpacked("t.tar", &same_name.end()), ["x tool"]);
    let twice = Tar::default().file("a/a/tool", 0o755, SCRIPT);
    assert_eq!(unpacked("t.tar", &twice.end()), ["d a", "x a/tool"]);
    let mut world = World::new();
    world.rules.strip = Strip::None;
    let unpacked = world.unpack("t.tar", &usual().end()).unwrap();
    assert_eq!(listing(&unpacked.entries)[0], "d tool-1.0");
}

#[test]
fn zip_without_modes_makes_programs_executable() {
    let zip = zip_of(&[("tool", None, SCRIPT), ("text", None, b"x")]);
    assert_eq!(unpacked("t.zip", &zip), ["f text", "x tool"]);
}

#[test]
fn zip_links_are_made() {
    let zip = zip_of(&[("tool", Some(0o100_755), SCRIPT), ("t", Some(0o120_777), b"tool")]);
    assert_eq!(unpacked("t.zip", &zip), ["l t -> tool", "x tool"]);
}

#[test]
fn names_that_differ_in_case_are_noted() {
    let world = World::new();
    let tar = Tar::default().file("F", 0o644, b"").file("f", 0o755, SCRIPT).end();
    let unpacked = world.unpack("t.tar", &tar).unwrap();
    assert_eq!(unpacked.notes, ["`F` and `f` differ only in case"]);
}

#[test]
fn bytes_after_the_end_of_a_tar_archive_are_noted() {
    let world = World::new();
    let mut tar = usual().end();
    tar.extend(b"stray");
    let unpacked = world.unpack("t.tar", &tar).unwrap();
    assert_eq!(unpacked.notes, ["bytes after the end of the tar archive are ignored"]);
}

#[test]
fn a_staging_directory_that_is_there_is_left_alone() {
    let world = World::new();
    std::fs::create_dir(world.staging()).unwrap();
    std::fs::write(world.staging().join("mine"), "x").unwrap();
    let error = world.unpack("t.tar", &usual().end()).unwrap_err();
    assert!(matches!(error, UnpackError::Occupied(_)));
    assert!(world.staging().join("mine").exists());
}
