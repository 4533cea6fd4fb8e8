//! Hostile archives: each is refused with a named error, leaves nothing, and touches nothing beside.

use reconcile::unpack::{Refused, UnpackError};

use crate::archives::{SCRIPT, Tar, World, bz2, gz, usual, xz, zip_end, zip_entry, zip_of, zst};

/// What an archive must be refused with.
#[derive(Clone, Copy, Debug)]
enum Expect {
    Entry(Refused),
    Damaged,
    Zip,
    CutShort,
    Limit(&'static str),
    Stream,
    Disagrees,
    Unknown,
}

impl Expect {
    fn fits(self, error: &UnpackError) -> bool {
        match (self, error) {
            (Self::Entry(wanted), UnpackError::Entry { why, .. }) => wanted == *why,
            (Self::Limit(wanted), UnpackError::Limit { what, .. }) => wanted == *what,
            (Self::Damaged, UnpackError::Damaged { .. })
            | (Self::Zip, UnpackError::Zip(_) | UnpackError::Damaged { .. })
            | (Self::CutShort, UnpackError::CutShort { .. })
            | (Self::Stream, UnpackError::Stream { .. })
            | (Self::Disagrees, UnpackError::Disagrees { .. })
            | (Self::Unknown, UnpackError::Unknown { .. }) => true,
            _ => false,
        }
    }
}

/// Unpacks in a fresh world and looks that the rest of it is as before.
fn assert_refused(what: &str, name: &str, bytes: &[u8], expect: Expect) {
    assert_refused_in(&World::new(), what, name, bytes, expect);
}

fn assert_refused_in(world: &World, what: &str, name: &str, bytes: &[u8], expect: Expect) {
    let before = world.outside();
    let error = match world.unpack(name, bytes) {
        Ok(unpacked) => panic!("{what}: unpacked to {:?}", unpacked.entries),
        Err(error) => error,
    };
    assert!(expect.fits(&error), "{what}: expected {expect:?}, got {error:?}");
    assert!(!error.to_string().chars().any(char::is_control), "{what}: {error:?}");
    assert_eq!(world.outside(), before, "{what}");
    assert!(!world.staging().exists(), "{what}: staging stays");
}

fn assert_tars_refused(cases: Vec<(&str, Tar, Refused)>) {
    for (what, tar, why) in cases {
        let tar = tar.file("tool", 0o755, SCRIPT).end();
        assert_refused(what, "t.tar.gz", &gz(&tar), Expect::Entry(why));
    }
}

fn tar() -> Tar {
    Tar::default()
}

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
fn extended_headers_that_mislead_are_refused() {
    let x = |bytes: &[u8]| tar().raw(b"x", b'x', bytes, |_| ()).file("f", 0o644, b"");
    let malformed = Refused::ExtendedHeader;
    let long = |name: &str| tar().raw(b"L", b'L', name.as_bytes(), |_| ());
    assert_tars_refused(vec![
        ("length too small", x(b"5 path=evil\n"), malformed),
        ("length too large", x(b"99 path=evil\n"), malformed),
        ("length beyond numbers", x(b"99999999999999999999999 path=evil\n"), malformed),
        ("no length", x(b"path=evil\n"), malformed),
        ("no line end", x(b"12 path=evil "), malformed),
        ("no key", x(b"5 xx\n"), malformed),
        ("negative size", tar().pax(&[("size", "-1")]).file("f", 0o644, b""), malformed),
        ("signed size", tar().pax(&[("size", "+1")]).file("f", 0o644, b"1"), malformed),
        ("path twice", tar().pax(&[("path", "a"), ("path", "b")]).file("f", 0o644, b""), malformed),
        (
            "two headers",
            tar().pax(&[("path", "a")]).pax(&[("path", "b")]).file("f", 0o644, b""),
            malformed,
        ),
        ("global path", tar().global(&[("path", "../evil")]).file("f", 0o644, b""), malformed),
        ("global size", tar().global(&[("size", "0")]).file("f", 0o644, b""), malformed),
        (
            "pax, then long name",
            tar().pax(&[("path", "a")]).raw(b"L", b'L', b"b\0", |_| ()).file("f", 0o644, b""),
            Refused::NamedTwice,
        ),
        (
            "long name, then pax",
            long("b\0").pax(&[("path", "a")]).file("f", 0o644, b""),
            Refused::NamedTwice,
        ),
        ("long name that leaves", long("../evil\0").file("f", 0o644, b""), Refused::Escapes),
    ]);
    let dangling = tar().file("tool", 0o755, SCRIPT).pax(&[("path", "a")]).end();
    assert_refused("no entry", "t.tar", &dangling, Expect::Damaged);
    let huge = tar().raw(b"x", b'x', b"", |header| header.set_size(3 << 30)).end();
    assert_refused("3 GiB header", "t.tar", &huge, Expect::Limit("bytes in an extended header"));
}

#[test]
fn pax_size_hides_no_entry() {
    // A reader that believes the header instead sees `../evil` as an entry.
    let hidden = Tar::default().file("../evil", 0o644, b"").0;
    let size = hidden.len().to_string();
    let tar = tar()
        .pax(&[("size", size.as_str())])
        .raw(b"f", b'0', b"", |_| ())
        .data(&hidden)
        .file("tool", 0o755, SCRIPT);
    let world = World::new();
    let unpacked = world.unpack("t.tar", &tar.end()).unwrap();
    assert_eq!(crate::archives::listing(&unpacked.entries), ["f f", "x tool"]);
}

#[test]
fn sparse_maps_that_lie_are_refused() {
    let gnu = |real: u64, pieces: &[(u64, u64)], data: &[u8]| {
        tar().raw(b"s", b'S', data, |header| {
            let gnu = header.as_gnu_mut().unwrap();
            gnu.set_real_size(real);
            for (slot, &(offset, length)) in gnu.sparse.iter_mut().zip(pieces) {
                slot.set_offset(offset);
                slot.set_length(length);
            }
        })
    };
    let pax = |map: &[u8]| {
        let mut data = map.to_vec();
        data.resize(512, 0);
        data.extend(b"data");
        let keys =
            [("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.realsize", "900")];
        tar().pax(&keys).file("s", 0o644, &data)
    };
    let extended =
        tar().raw(b"s", b'S', b"", |header| header.as_gnu_mut().unwrap().set_is_extended(true));
    let mut continuation = tar::GnuExtSparseHeader::new();
    continuation.as_mut_bytes()[504] = 1;
    let old =
        tar().pax(&[("GNU.sparse.map", "0,4"), ("GNU.sparse.size", "9")]).file("s", 0o644, b"data");
    let why = Refused::Sparse;
    assert_tars_refused(vec![
        ("beyond the end", gnu(10, &[(8, 4)], b"data"), why),
        ("overlapping", gnu(100, &[(0, 2), (1, 2)], b"data"), why),
        ("descending", gnu(100, &[(50, 2), (10, 2)], b"data"), why),
        ("wraps around", gnu(100, &[(u64::MAX - 1, 4)], b"data"), why),
        ("stores more than it maps", gnu(100, &[(0, 2)], b"data"), why),
        ("stores less than it maps", gnu(100, &[(0, 8)], b"data"), why),
        ("endless continuation", extended.data(continuation.as_bytes()), why),
        ("no number", pax(b"1\nx\n4\n"), why),
        ("number too large", pax(b"1\n99999999999999999999999\n4\n"), why),
        ("map longer than the file", pax("100\n0\n0\n".repeat(1).as_bytes()), why),
        ("old form", old, why),
    ]);
    let bomb = gnu(1 << 40, &[(0, 4)], b"data").end();
    assert_refused("a terabyte of holes", "t.tar", &bomb, Expect::Limit("bytes in one file"));
    let pieces = pax(b"4000000000\n").end();
    assert_refused("many pieces", "t.tar", &pieces, Expect::Limit("pieces in a sparse file"));
}

#[test]
fn tar_archives_that_are_damaged_are_refused() {
    let whole = usual().end();
    let mut flipped = whole.clone();
    flipped[600] ^= 1;
    assert_refused("flipped bit in a header", "t.tar", &flipped, Expect::Damaged);
    let mut zeroed_size = usual().0;
    zeroed_size.extend([b'x'; 512]);
    assert_refused("garbage for a header", "t.tar", &zeroed_size, Expect::Damaged);
    assert_refused("no end marker", "t.tar", &usual().0, Expect::CutShort);
    assert_refused("cut in a header", "t.tar", &whole[..1000], Expect::CutShort);
    let big = tar().file("tool", 0o755, &vec![b'#'; 5000]).end();
    assert_refused("cut in a file", "t.tar", &big[..3000], Expect::CutShort);
    let liar = tar().raw(b"f", b'0', b"", |header| header.set_size(1 << 30)).end();
    assert_refused("size beyond the archive", "t.tar", &liar, Expect::CutShort);
    let huge = tar().raw(b"f", b'0', b"", |header| header.set_size(7 << 30)).end();
    assert_refused("7 GiB", "t.tar", &huge, Expect::Limit("bytes in one file"));
    let most = tar().raw(b"f", b'0', b"", |header| header.set_size(u64::MAX)).end();
    assert_refused("all bits set", "t.tar", &most, Expect::Limit("bytes in one file"));
}

#[test]
fn archives_beyond_their_limits_are_refused() {
    let mut world = World::new();
    world.rules.limits.entries = 5;
    let many = (0..6).fold(tar(), |tar, i| tar.file(&format!("f{i}"), 0o644, b"")).end();
    assert_refused_in(&world, "entries", "t.tar", &many, Expect::Limit("entries"));
    let deep = tar().file("a/b/c/d/e/f", 0o644, b"").end();
    assert_refused_in(&world, "unlisted directories", "t.tar", &deep, Expect::Limit("entries"));
    let headers = (0..6).fold(tar(), |tar, _| tar.global(&[("comment", "x")])).end();
    assert_refused_in(&world, "headers", "t.tar", &headers, Expect::Limit("entries"));
    let entries: Vec<_> = ["a", "b", "c", "d", "e", "f"].map(|name| (name, None, &b""[..])).into();
    assert_refused_in(&world, "zip", "t.zip", &zip_of(&entries), Expect::Limit("entries"));
    let mut world = World::new();
    world.rules.limits.bytes = 1000;
    let two = tar().file("a", 0o644, &[1; 600]).file("b", 0o644, &[1; 600]).end();
    assert_refused_in(&world, "bytes", "t.tar", &two, Expect::Limit("bytes"));
    let long = [SCRIPT, &[b'x'; 2000]].concat();
    assert_refused_in(&world, "single", "t.gz", &gz(&long), Expect::Limit("bytes in one file"));
    let zip = zip_of(&[("a", None, &[1; 600]), ("b", None, &[1; 600])]);
    assert_refused_in(&world, "zip bytes", "t.zip", &zip, Expect::Limit("bytes"));
}

#[test]
fn bombs_are_refused_by_their_ratio() {
    let what = Expect::Limit("unpacked bytes for each packed byte");
    let mut zeros = SCRIPT.to_vec();
    zeros.resize(80 << 20, 0);
    assert_refused("single", "t.gz", &gz(&zeros), what);
    let bomb = tar().file("zeros", 0o644, &zeros).end();
    assert_refused("tar.zst", "t.tar.zst", &zst(&bomb), what);
    assert_refused("zip", "t.zip", &zip_of(&[("zeros", None, &zeros)]), what);
    let mut after_the_end = usual().end();
    after_the_end.resize(80 << 20, 0);
    assert_refused("after the end marker", "t.tar.gz", &gz(&after_the_end), what);
}

#[test]
fn streams_that_are_damaged_or_followed_by_bytes_are_refused() {
    let tar = usual().end();
    for (name, packed) in [
        ("t.tar.gz", gz(&tar)),
        ("t.tar.xz", xz(&tar)),
        ("t.tar.zst", zst(&tar)),
        ("t.tar.bz2", bz2(&tar)),
    ] {
        let garbage = [packed.as_slice(), b"garbage after the end"].concat();
        assert_refused(&format!("{name} with garbage"), name, &garbage, Expect::Stream);
        let cut = &packed[..packed.len() - 9];
        assert_refused(&format!("{name} cut short"), name, cut, Expect::Stream);
    }
    let mut wrong_sum = gz(&tar);
    let at = wrong_sum.len() - 8;
    wrong_sum[at] ^= 1;
    assert_refused("checksum", "t.tar.gz", &wrong_sum, Expect::Stream);
}

#[test]
fn streams_that_need_too_much_memory_are_refused() {
    // A frame with a window of 256 MiB and one raw block (RFC 8878, 3.1.1).
    let tar = usual().end();
    let block = u32::try_from(tar.len()).unwrap() << 3 | 1;
    let mut zstd = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, (28 - 10) << 3];
    zstd.extend(&block.to_le_bytes()[..3]);
    zstd.extend(&tar);
    assert_refused("zstd window", "t.tar.zst", &zstd, Expect::Stream);
    zstd[5] = (27 - 10) << 3;
    assert!(World::new().unpack("t.tar.zst", &zstd).is_ok(), "128 MiB are allowed");
    // A block header that demands a dictionary of 1.5 GiB (.xz format 1.2, 3.1 and 5.3.1).
    let mut packed = xz(&tar);
    let end = 12 + usize::from(packed[12]) * 4;
    assert_eq!(packed[14..16], [0x21, 0x01]);
    packed[16] = 37;
    let mut crc = flate2::Crc::new();
    crc.update(&packed[12..end]);
    packed[end..end + 4].copy_from_slice(&crc.sum().to_le_bytes());
    assert_refused("xz dictionary", "t.tar.xz", &packed, Expect::Stream);
}

#[test]
fn artifacts_that_are_not_what_they_are_called_are_refused() {
    let tar = usual().end();
    let zip = zip_of(&[("tool", None, SCRIPT)]);
    let page = b"<!DOCTYPE html><html>not found</html>";
    let cases: [(&str, Vec<u8>, Expect); 12] = [
        ("t.tar.gz", zip.clone(), Expect::Disagrees),
        ("t.zip", gz(&tar), Expect::Disagrees),
        ("t.tar.xz", gz(&tar), Expect::Disagrees),
        ("t.tar.gz", page.to_vec(), Expect::Disagrees),
        ("t.tar.gz", gz(SCRIPT), Expect::Disagrees),
        ("t.tar", SCRIPT.to_vec(), Expect::Disagrees),
        ("t.tar", gz(&tar), Expect::Disagrees),
        ("tool", page.to_vec(), Expect::Unknown),
        ("tool.gz", gz(page), Expect::Unknown),
        ("tool.gz", gz(&zip), Expect::Unknown),
        ("tool.7z", b"7z\xbc\xaf\x27\x1c rest".to_vec(), Expect::Unknown),
        ("tool", Vec::new(), Expect::Unknown),
    ];
    for (name, bytes, expect) in cases {
        assert_refused(name, name, &bytes, expect);
    }
    let error = World::new().unpack("t.tar.gz", &zip).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("`t.tar.gz` is named like a `.tar.gz` file but holds a zip archive")
    );
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

/// Writes the same into the first local header and the first central one.
fn patched(zip: &[u8], local: usize, central: usize, value: &[u8]) -> Vec<u8> {
    let mut zip = zip.to_vec();
    let directory = zip.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
    zip[local..local + value.len()].copy_from_slice(value);
    let at = directory + central;
    zip[at..at + value.len()].copy_from_slice(value);
    zip
}

#[test]
fn zip_archives_that_contradict_themselves_are_refused() {
    let good = zip_of(&[("a", None, b"content"), ("tool", None, SCRIPT)]);
    let end = good.len() - 22;
    let with = |at: usize, value: &[u8]| {
        let mut zip = good.clone();
        zip[at..at + value.len()].copy_from_slice(value);
        zip
    };
    let (mut bytes, mut central) = (Vec::new(), Vec::new());
    zip_entry(&mut bytes, &mut central, b"a", None, SCRIPT);
    let again = central.clone();
    let overlapping = {
        let mut second = again.clone();
        let last = second.len() - 1;
        second[last] = b'b';
        zip_end(bytes.clone(), &[central.clone(), second].concat(), 2)
    };
    let twice = zip_end(bytes.clone(), &[central.clone(), again].concat(), 2);
    let (mut unlisted, mut rest) = (Vec::new(), Vec::new());
    zip_entry(&mut unlisted, &mut Vec::new(), b"hidden", None, SCRIPT);
    zip_entry(&mut unlisted, &mut rest, b"tool", None, SCRIPT);
    let cases = [
        ("two names for one content", overlapping),
        ("the same name twice", twice),
        ("a file that is not listed", zip_end(unlisted, &rest, 1)),
        ("another name in the local header", with(30, b"b")),
        ("more entries than listed", with(end + 8, &[3, 0, 3, 0])),
        ("directory outside the file", with(end + 16, &[0xff, 0xff, 0xff, 0x7f])),
        ("cut short", good[..end + 10].to_vec()),
    ];
    for (what, zip) in cases {
        assert_refused(what, "t.zip", &zip, Expect::Zip);
    }
    let stream = [
        ("checksum", patched(&good, 14, 16, &[0, 0, 0, 0])),
        ("says less than it holds", patched(&good, 22, 24, &[3, 0, 0, 0])),
        ("says more than it holds", patched(&good, 22, 24, &[99, 0, 0, 0])),
    ];
    for (what, zip) in stream {
        let error = World::new().unpack("t.zip", &zip).unwrap_err();
        let fits = Expect::Stream.fits(&error) || Expect::Zip.fits(&error);
        assert!(fits, "{what}: {error:?}");
        assert_refused(
            what,
            "t.zip",
            &zip,
            if Expect::Zip.fits(&error) { Expect::Zip } else { Expect::Stream },
        );
    }
}
