//! Images that are cut short, damaged or no images at all are refused, and nothing panics.

use proptest::prelude::*;
use reconcile::format::image::{Format, ImageError, contents};

use super::{Bytes, IMAGES, names, open_bytes};

#[test]
fn what_is_no_image_is_refused() {
    for bytes in [vec![0; 100_000], vec![1; 511], vec![b'x'; 4096], b"#!/bin/sh\n".to_vec()] {
        let error = open_bytes(&Bytes(&bytes)).map(|_| ()).unwrap_err();
        assert!(matches!(error, ImageError::Unknown), "{error}");
    }
    let error = open_bytes(&Bytes(&[])).map(|_| ()).unwrap_err();
    assert!(matches!(error, ImageError::Empty), "{error}");
}

#[test]
fn images_cut_short_are_refused() {
    for (name, bytes) in IMAGES.iter().filter(|(name, _)| *name != "squashfs-lzo") {
        // mksquashfs pads to 4 KiB; the padding may be missing.
        let used = u64::from_le_bytes(bytes[40..48].try_into().unwrap());
        let is_padded = name.starts_with("squashfs");
        let needed = if is_padded { usize::try_from(used).unwrap() } else { bytes.len() };
        for length in (0..bytes.len()).step_by(509) {
            let whole_sectors = length - length % 512;
            let opened = open_bytes(&Bytes(&bytes[..length])).map(|_| ());
            assert_eq!(opened.is_ok(), whole_sectors >= needed, "{name} cut to {length}");
        }
        let error = open_bytes(&Bytes(&bytes[..bytes.len() / 2])).map(|_| ()).unwrap_err();
        assert!(matches!(error, ImageError::Truncated { .. }), "{name}: {error}");
    }
}

#[test]
fn longer_images_are_whole() {
    for (name, bytes) in IMAGES.iter().filter(|(name, _)| *name != "squashfs-lzo") {
        let longer = [bytes.as_slice(), &[0; 700]].concat();
        assert!(open_bytes(&Bytes(&longer)).is_ok(), "{name}");
    }
}

#[test]
fn foreign_volumes_are_named_and_left_to_the_caller() {
    let mut btrfs = vec![0; 0x20000];
    btrfs[0x10040..0x10048].copy_from_slice(b"_BHRfS_M");
    btrfs[0x10070..0x10078].copy_from_slice(&0x20000_u64.to_le_bytes());
    let mut verity = b"verity\0\0".to_vec();
    verity.resize(4096, 0);
    let mut luks = b"LUKS\xba\xbe".to_vec();
    luks.resize(4096, 0);
    for (bytes, expected) in
        [(&btrfs, Format::Btrfs), (&verity, Format::Verity), (&luks, Format::Luks)]
    {
        match open_bytes(&Bytes(bytes)).map(|_| ()).unwrap_err() {
            ImageError::Unreadable { format, .. } => assert_eq!(format, expected),
            other => panic!("{other}"),
        }
    }
    btrfs.truncate(0x1f000);
    let error = open_bytes(&Bytes(&btrfs)).map(|_| ()).unwrap_err();
    assert!(matches!(error, ImageError::Truncated { .. }), "{error}");
}

/// A disk with one partition of this type (as stored) around an image.
fn disk(kind: [u8; 16], image: &[u8]) -> Vec<u8> {
    let first = 40_u64;
    let sectors = image.len().div_ceil(512) as u64;
    let last = first + sectors - 1;
    let backup = last + 1;
    let mut header = vec![0_u8; 92];
    header[..8].copy_from_slice(b"EFI PART");
    header[8..12].copy_from_slice(&0x10000_u32.to_le_bytes());
    header[12..16].copy_from_slice(&92_u32.to_le_bytes());
    header[24..32].copy_from_slice(&1_u64.to_le_bytes());
    header[32..40].copy_from_slice(&backup.to_le_bytes());
    header[72..80].copy_from_slice(&2_u64.to_le_bytes());
    header[80..84].copy_from_slice(&4_u32.to_le_bytes());
    header[84..88].copy_from_slice(&128_u32.to_le_bytes());
    let mut crc = flate2::Crc::new();
    crc.update(&header);
    header[16..20].copy_from_slice(&crc.sum().to_le_bytes());
    let mut entry = vec![0_u8; 128];
    entry[..16].copy_from_slice(&kind);
    entry[32..40].copy_from_slice(&first.to_le_bytes());
    entry[40..48].copy_from_slice(&last.to_le_bytes());
    let mut bytes = vec![0_u8; usize::try_from((backup + 1) * 512).unwrap()];
    bytes[512..604].copy_from_slice(&header);
    bytes[1024..1152].copy_from_slice(&entry);
    bytes[40 * 512..40 * 512 + image.len()].copy_from_slice(image);
    bytes
}

/// `root-x86-64` and `usr-arm64`, the first three groups little-endian.
const ROOT: [u8; 16] = *b"\xe3\xbc\x68\x4f\xcd\xe8\xb1\x4d\x96\xe7\xfb\xca\xf9\x84\xb7\x09";
const USR: [u8; 16] = *b"\x50\x10\xe0\xb0\x5f\xee\x90\x43\x94\x9a\x91\x01\xb1\x71\x04\xe9";

#[test]
fn partitions_are_found_by_their_type() {
    let bytes = disk(ROOT, &IMAGES["squashfs-zstd"]);
    let bytes = Bytes(&bytes);
    let opened = open_bytes(&bytes).unwrap();
    assert!(opened.partitioned && opened.format == Format::Squashfs);
    assert_eq!(names(&*opened.files, ""), ["etc", "opt", "usr"]);

    let usr = disk(USR, &IMAGES["erofs-plain"]);
    let usr = Bytes(&usr);
    let files = open_bytes(&usr).unwrap().files;
    assert_eq!(names(&*files, ""), ["usr"]);
    assert_eq!(names(&*files, "usr"), ["etc", "opt", "usr"]);
    assert_eq!(files.read("usr/usr/bin/hello", 2).unwrap().as_deref(), Some(b"#!".as_slice()));
    assert_eq!(files.read("usr2/usr/bin/hello", 2).unwrap(), None);
}

#[test]
fn disks_without_the_partition_or_cut_short_are_refused() {
    let none = disk([7; 16], &IMAGES["squashfs-zstd"]);
    assert!(matches!(open_bytes(&Bytes(&none)).unwrap_err(), ImageError::Damaged { .. }));
    let whole = disk(ROOT, &IMAGES["squashfs-zstd"]);
    let error = open_bytes(&Bytes(&whole[..whole.len() - 512])).map(|_| ()).unwrap_err();
    assert!(matches!(error, ImageError::Truncated { format: Format::Gpt, .. }), "{error}");
    let mut flipped = whole;
    flipped[512 + 40] ^= 1;
    assert!(matches!(open_bytes(&Bytes(&flipped)).unwrap_err(), ImageError::Damaged { .. }));
}

/// Everything that is ever asked of an image; errors are welcome.
fn look_everywhere(bytes: &[u8]) {
    let bytes = Bytes(bytes);
    let Ok(opened) = open_bytes(&bytes) else { return };
    let files = opened.files;
    let _ = contents(&*files);
    for directory in ["", "opt/hello/many", "usr/lib/extension-release.d"] {
        let _ = files.list(directory);
    }
    for path in ["opt/hello/text", "opt/hello/noise", "opt/hello/holes", "usr/share/links/long"] {
        let _ = files.read(path, 1 << 16);
        let _ = files.attribute(path, "user.extension-release.strict");
    }
}

/// Where the structures are: superblocks, tables, and anywhere.
fn tender(length: usize) -> impl Strategy<Value = usize> {
    prop_oneof![0..96_usize, 1024..1280_usize, 2048..2200_usize, 0..length, length / 2..length]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn mutated_images_never_panic(
        index in 0..13_usize,
        patches in proptest::collection::vec((any::<prop::sample::Index>(), tender(1 << 16), any::<u8>()), 1..12),
        cut in proptest::option::of(0.5..1.0_f64),
    ) {
        let (_, image) = IMAGES.iter().nth(index % IMAGES.len()).unwrap();
        let mut bytes = image.clone();
        for (anywhere, place, value) in patches {
            let length = bytes.len();
            bytes[place.min(length - 1)] = value;
            bytes[anywhere.index(length)] ^= value;
        }
        if let Some(cut) = cut {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a length")]
            bytes.truncate((bytes.len() as f64 * cut) as usize);
        }
        look_everywhere(&bytes);
    }
}
