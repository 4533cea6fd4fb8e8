//! Good artifacts in every form, and what becomes of them on disk.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use reconcile::format::elf;
use reconcile::model::HostFacts;
use reconcile::model::facts::{Arch, Libc};
use reconcile::model::manifest::{Binary, EntryKind};
use reconcile::model::step::{Binaries, Strip};
use reconcile::unpack::{BinariesError, CannotRun, Program, UnpackError, can_run};

use crate::archives::{
    MTIME, SCRIPT, Tar, USUAL, World, bz2, gz, listing, usual, walk, xz, zip_of, zst,
};

/// Unpacks and shows what there is; the disk must agree with the entries.
fn unpacked(name: &str, bytes: &[u8]) -> Vec<String> {
    let world = World::new();
    let unpacked = world.unpack(name, bytes).unwrap();
    assert_disk_agrees(&world, &unpacked.entries);
    listing(&unpacked.entries)
}

fn assert_disk_agrees(world: &World, entries: &[reconcile::model::Entry]) {
    let into = world.staging();
    assert_eq!(std::fs::metadata(&into).unwrap().mode() & 0o7777, 0o755);
    let mut on_disk: Vec<PathBuf> =
        walk(&into).iter().map(|path| path.strip_prefix(&into).unwrap().to_owned()).collect();
    on_disk.sort();
    let mut listed: Vec<PathBuf> = entries.iter().map(|entry| PathBuf::from(&entry.path)).collect();
    listed.sort();
    assert_eq!(on_disk, listed);
    for entry in entries {
        let path = into.join(&entry.path);
        let about = std::fs::symlink_metadata(&path).unwrap();
        match &entry.kind {
            EntryKind::Dir { mode } => {
                assert!(about.is_dir());
                assert_eq!(about.mode() & 0o7777, *mode);
            }
            EntryKind::Link { target } => {
                assert_eq!(std::fs::read_link(&path).unwrap(), PathBuf::from(target));
                assert!(path.exists(), "{} leads nowhere", entry.path);
            }
            EntryKind::File { mode, size, mtime, sha256 } => {
                let content = std::fs::read(&path).unwrap();
                let hash = <sha2::Sha256 as sha2::Digest>::digest(&content);
                assert_eq!(*sha256, data_encoding::HEXLOWER.encode(&hash));
                assert_eq!(
                    (about.mode() & 0o7777, about.len(), about.mtime()),
                    (*mode, *size, *mtime)
                );
            }
        }
    }
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

fn link(name: &str, path: &str) -> Binary {
    Binary { name: name.to_owned(), path: path.to_owned() }
}

fn chosen(binaries: Binaries, tar: Tar) -> Result<Vec<Binary>, BinariesError> {
    let mut world = World::new();
    world.rules.binaries = binaries;
    match world.unpack("t.tar", &tar.end()) {
        Ok(unpacked) => Ok(unpacked.binaries),
        Err(UnpackError::Binaries(error)) => {
            assert!(!world.staging().exists());
            Err(error)
        }
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn auto_links_programs_and_nothing_else() {
    let tar = Tar::default()
        .file("bin/tool", 0o755, SCRIPT)
        .file("bin/.hidden", 0o755, SCRIPT)
        .file("bin/data", 0o755, b"data")
        .file("bin/not-executable", 0o644, SCRIPT)
        .file("lib/libtool.so.1", 0o755, b"\x7fELF")
        .file("a/b/c/deep-enough", 0o755, SCRIPT)
        .file("a/b/c/d/too-deep", 0o755, SCRIPT);
    let expected = vec![link("deep-enough", "a/b/c/deep-enough"), link("tool", "bin/tool")];
    assert_eq!(chosen(Binaries::Auto, tar), Ok(expected));
}

#[test]
fn two_programs_of_one_name_are_refused_by_auto_only() {
    let tar = Tar::default().file("a/tool", 0o755, SCRIPT).file("b/tool", 0o755, SCRIPT);
    let error = BinariesError::SameName {
        name: "tool".to_owned(),
        first: "a/tool".to_owned(),
        second: "b/tool".to_owned(),
    };
    assert_eq!(chosen(Binaries::Auto, tar.clone()), Err(error));
    assert_eq!(chosen(Binaries::AnyExecutable, tar), Ok(vec![link("tool", "b/tool")]));
}

#[test]
fn release_without_a_program_is_refused_by_auto() {
    let tar = Tar::default().file("README", 0o644, b"").file("x.txt", 0o755, b"");
    let error = chosen(Binaries::Auto, tar).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no program to link is in the release; it holds `README`, `x.txt`: \
         name the programs under `binaries`"
    );
}

#[test]
fn listed_programs_are_found_by_path_name_decoration_or_alone() {
    let listed = |wanted: &str| Binaries::Listed(vec![link("rg", wanted)]);
    let exact = || Tar::default().file("a/rg", 0o644, SCRIPT).file("b/rg", 0o755, SCRIPT);
    assert_eq!(chosen(listed("a/rg"), exact()), Ok(vec![link("rg", "a/rg")]));
    let error = chosen(listed("rg"), exact()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`rg` could be any of `a/rg`, `b/rg`: write its path under `binaries`"
    );
    let once = Tar::default().file("x/rg", 0o755, SCRIPT).file("doc/rg/README", 0o644, b"");
    assert_eq!(chosen(listed("rg"), once), Ok(vec![link("rg", "x/rg")]));
    let program_wins = Tar::default().file("x/rg", 0o755, SCRIPT).file("complete/rg", 0o644, b"");
    assert_eq!(chosen(listed("rg"), program_wins), Ok(vec![link("rg", "x/rg")]));
    let name = "rg-15.1.0-x86_64-unknown-linux-musl";
    let decorated = Tar::default().file(name, 0o755, SCRIPT).file("rg-helper", 0o755, SCRIPT);
    assert_eq!(chosen(listed("rg"), decorated), Ok(vec![link("rg", name)]));
    let alone = Tar::default().file("other", 0o755, b"\x7fELF").file("rg.1", 0o644, b"");
    assert_eq!(chosen(listed("rg"), alone), Ok(vec![link("rg", "other")]));
    let none = Tar::default().file("a", 0o755, SCRIPT).file("b", 0o755, SCRIPT);
    let error = chosen(listed("rg"), none).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no program `rg` is in the release; it holds `a`, `b`: name the programs under `binaries`"
    );
}

#[test]
fn listed_program_becomes_executable() {
    let mut world = World::new();
    world.rules.binaries = Binaries::Listed(vec![link("tool", "tool")]);
    let tar = Tar::default().file("tool", 0o644, SCRIPT).file("README", 0o644, b"").end();
    let unpacked = world.unpack("t.tar", &tar).unwrap();
    assert_disk_agrees(&world, &unpacked.entries);
    assert_eq!(listing(&unpacked.entries), ["f README", "x tool"]);
}

fn host() -> HostFacts {
    HostFacts {
        hostname: "host".to_owned(),
        arch: if cfg!(target_arch = "aarch64") { Arch::Aarch64 } else { Arch::X86_64 },
        libc: Libc::Gnu,
        glibc: None,
        loaders: Vec::new(),
        live: false,
    }
}

#[test]
fn programs_of_a_release_are_looked_into() {
    let mut world = World::new();
    world.rules.binaries = Binaries::Auto;
    let own = std::fs::read("/proc/self/exe").unwrap();
    let unpacked = world.unpack("tool-linux", &own).unwrap();
    assert_eq!(unpacked.binaries, [link("tool", "tool")]);
    let programs = &unpacked.programs;
    assert_eq!(programs[0].elf, elf::inspect(own.as_slice()).unwrap());
    assert_eq!(can_run(programs, &host()), Ok(()));
}

#[test]
fn programs_that_cannot_run_are_told_apart() {
    let elf = |machine, glibc, loader: Option<&str>| {
        let class = elf::Class::Bits64;
        let interpreter = loader.map(str::to_owned);
        vec![Program {
            path: "rg".to_owned(),
            elf: elf::Elf { class, machine, interpreter, glibc },
        }]
    };
    let mut facts = host();
    facts.arch = Arch::X86_64;
    facts.glibc = Some((2, 36));
    facts.loaders = vec!["/lib64/ld-linux-x86-64.so.2".to_owned()];
    let gnu = Some("/lib64/ld-linux-x86-64.so.2");
    let musl = Some("/lib/ld-musl-x86_64.so.1");
    assert_eq!(can_run(&elf(62, Some((2, 36)), gnu), &facts), Ok(()));
    assert_eq!(can_run(&elf(62, None, None), &facts), Ok(()));
    let error = can_run(&elf(62, Some((2, 39)), gnu), &facts).unwrap_err();
    assert!(error.to_string().starts_with("rg needs GLIBC_2.39, this host has 2.36"));
    let error = can_run(&elf(62, None, musl), &facts).unwrap_err();
    assert!(matches!(error, CannotRun::Loader { .. }));
    let error = can_run(&elf(183, None, gnu), &facts).unwrap_err();
    assert!(error.to_string().starts_with("rg is built for aarch64, this host is x86_64"));
    facts.loaders.clear();
    facts.glibc = None;
    assert_eq!(can_run(&elf(62, Some((9, 99)), musl), &facts), Ok(()));
}
