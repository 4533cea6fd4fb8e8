//! Lists of packs, whole and broken.

use proptest::collection::vec;
use proptest::prelude::{any, proptest};

use super::*;

fn list() -> PackList {
    let pack = |byte, length| Pack { digest: [byte; 32], length };
    let place = |byte, pack, offset, length| {
        let id = ChunkId::new([byte; 32]);
        Place { id, pack, offset, length }
    };
    let places = vec![place(7, 1, 0, 30), place(2, 0, 10, 90), place(3, 0, 0, 10)];
    PackList::new(vec![pack(0xaa, 100), pack(0xbb, 30)], places).unwrap()
}

fn written(list: &PackList) -> Vec<u8> {
    let mut bytes = Vec::new();
    list.write(&mut bytes).unwrap();
    bytes
}

/// The bytes with a sum at their end that fits again.
fn summed(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.len() - 32);
    let sum = Sha256::digest(&bytes);
    bytes.extend(sum);
    bytes
}

#[test]
fn what_is_written_is_read() {
    let bytes = written(&list());
    assert_eq!(bytes.len(), 16 + 2 * 36 + 3 * 44 + 32);
    assert_eq!(PackList::read(bytes.as_slice()).unwrap(), list());
    let empty = PackList::default();
    assert_eq!(PackList::read(written(&empty).as_slice()).unwrap(), empty);
}

#[test]
fn chunks_are_found_by_name() {
    let list = list();
    let place = list.find(&ChunkId::new([7; 32])).unwrap();
    assert_eq!((place.pack, place.offset, place.length), (1, 0, 30));
    assert_eq!(list.find(&ChunkId::new([8; 32])), None);
    let path = list.packs()[1].path();
    assert_eq!(path, format!("packs/{}.capack", "bb".repeat(32)));
    assert_eq!(Pack::digest_of_name(path.strip_prefix("packs/").unwrap()), Some([0xbb; 32]));
    assert_eq!(Pack::digest_of_name("bb.capack"), None);
}

#[test]
fn every_cut_and_every_changed_byte_is_noticed() {
    let bytes = written(&list());
    for length in 0..bytes.len() {
        let error = PackList::read(&bytes[..length]).unwrap_err();
        assert!(matches!(error, PackListError::Read(_)), "{length}: {error}");
        let mut changed = bytes.clone();
        changed[length] ^= 1;
        assert!(PackList::read(changed.as_slice()).is_err(), "{length}");
    }
    let error = PackList::read([&bytes[..], b"x"].concat().as_slice()).unwrap_err();
    assert!(matches!(error, PackListError::TrailingBytes), "{error}");
}

#[test]
fn places_outside_their_pack_and_unsorted_names_are_refused() {
    let read = |at: usize, value: u32| {
        let mut bytes = written(&list());
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        PackList::read(summed(bytes).as_slice())
    };
    let places = 16 + 2 * 36;
    for (at, value) in [(32, 2), (36, 11), (36, u32::MAX), (40, 91), (40, u32::MAX)] {
        let error = read(places + at, value).unwrap_err();
        assert!(matches!(error, PackListError::Outside { .. }), "{at} {value}: {error}");
    }
    assert!(read(places + 40, 89).is_ok());
    let error = read(places, 0x0909_0909).unwrap_err();
    assert!(matches!(error, PackListError::Unsorted { .. }), "{error}");
    let error = read(16 + 32, PACK_BYTES_MAX + 1).unwrap_err();
    assert!(matches!(error, PackListError::PackTooLong { pack: 0, .. }), "{error}");
    let error = read(8, u32::MAX).unwrap_err();
    assert!(matches!(error, PackListError::TooLong { packs: 0xffff_ffff, .. }), "{error}");
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in vec(any::<u8>(), 0..400)) {
        let _ = PackList::read(bytes.as_slice());
        let _ = PackList::read([&MAGIC[..], &bytes].concat().as_slice());
    }

    #[test]
    fn a_changed_list_with_a_right_sum_is_read_or_refused(at in 8_usize..220, byte: u8) {
        let mut bytes = written(&list());
        bytes[at] = byte;
        let bytes = summed(bytes);
        if let Ok(list) = PackList::read(bytes.as_slice()) {
            assert_eq!(written(&list), bytes);
        }
    }
}
