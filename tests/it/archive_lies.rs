//! Archives that lie, are damaged or too large: each is refused by name and leaves nothing.

use proptest::prelude::*;
use reconcile::unpack::Refused;

use crate::archives::{
    Expect, SCRIPT, Tar, World, assert_refused, assert_refused_in, assert_tars_refused, bz2, gz,
    patched, tar, usual, xz, zip_end, zip_entry, zip_of, zst,
};

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
        ("map longer than the file", pax(b"100\n0\n0\n"), why),
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn spoilt_archives_never_panic(
        spoils in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        form in 0..6_usize,
    ) {
        let tar = usual().pax(&[("path", "tool-1.0/x")]).file("x", 0o644, b"x").end();
        let mut bytes = match form {
            0 => gz(&tar),
            1 => xz(&tar),
            2 => zst(&tar),
            3 => bz2(&tar),
            4 => zip_of(&[("a/", Some(0o040_755), b""), ("a/tool", None, SCRIPT), ("a/b", None, b"")]),
            _ => tar,
        };
        for (index, value) in spoils {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        let world = World::new();
        let before = world.outside();
        let unpacked = world.unpack("artifact", &bytes);
        prop_assert_eq!(world.outside(), before);
        prop_assert_eq!(unpacked.is_ok(), world.staging().exists());
    }
}
