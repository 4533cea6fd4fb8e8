//! What programs need, read from real and from broken ones.

use std::io;
use std::sync::LazyLock;

use proptest::prelude::*;
use reconcile::format::elf::{Class, ElfError, ReadAt, inspect};

/// This very program.
static OWN: LazyLock<Vec<u8>> = LazyLock::new(|| std::fs::read("/proc/self/exe").unwrap());

/// Bytes with some of them replaced, and cut short.
struct Broken<'a> {
    bytes: &'a [u8],
    patches: &'a [(usize, u8)],
}

impl ReadAt for Broken<'_> {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let count = self.bytes.read_at(into, offset)?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        for &(at, value) in self.patches {
            if let Some(byte) = at.checked_sub(start).and_then(|at| into[..count].get_mut(at)) {
                *byte = value;
            }
        }
        Ok(count)
    }
}

/// The dynamic section and the version table of this program, where breaking hurts.
fn tender_places() -> Vec<usize> {
    let text = |name: &[u8]| OWN.windows(name.len()).position(|window| window == name);
    let phoff = u64::from_le_bytes(OWN[32..40].try_into().unwrap());
    let count = u64::from(u16::from_le_bytes(OWN[56..58].try_into().unwrap()));
    let mut places = vec![0];
    for index in 0..count {
        let at = usize::try_from(phoff + index * 56).unwrap();
        let offset = u64::from_le_bytes(OWN[at + 8..at + 16].try_into().unwrap());
        places.push(usize::try_from(offset).unwrap());
    }
    places.extend(text(b"GLIBC_2."));
    places
}

static TENDER: LazyLock<Vec<usize>> = LazyLock::new(tender_places);

#[test]
fn own_program_is_read_from_bytes_as_from_disk() {
    let elf = inspect(OWN.as_slice()).unwrap();
    let file = std::fs::File::open("/proc/self/exe").unwrap();
    assert_eq!(inspect(&file).unwrap(), elf);
    assert_eq!(elf.class, Class::Bits64);
    assert_eq!(elf.machine, if cfg!(target_arch = "aarch64") { 183 } else { 62 });
    if cfg!(all(target_env = "gnu", not(target_feature = "crt-static"))) {
        assert!(elf.interpreter.is_some_and(|path| path.contains("ld-linux")));
        assert!(elf.glibc.is_some_and(|needs| needs >= (2, 17)));
    }
}

#[test]
fn other_machines_and_classes_are_recognised() {
    let mut arm = vec![0; 64];
    arm[..6].copy_from_slice(b"\x7fELF\x01\x01");
    arm[18] = 40;
    let elf = inspect(arm.as_slice()).unwrap();
    assert_eq!((elf.class, elf.machine), (Class::Bits32, 40));
    arm[5] = 2;
    arm[18..20].copy_from_slice(&[0, 22]);
    assert_eq!(inspect(arm.as_slice()).unwrap().machine, 22);
}

#[test]
fn what_is_no_elf_file_is_refused() {
    for bytes in [&b""[..], b"\x7fELF", b"#!/bin/sh\nexec something\n", &[0x7f; 100]] {
        assert!(matches!(inspect(bytes), Err(ElfError::NotElf)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn broken_programs_never_panic(
        patches in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..600, any::<u8>()), 1..12),
        cut in any::<prop::sample::Index>(),
        cuts in prop::bool::weighted(0.2),
    ) {
        let place = |index: &prop::sample::Index, offset| TENDER[index.index(TENDER.len())] + offset;
        let patches: Vec<_> =
            patches.iter().map(|(index, offset, value)| (place(index, offset), *value)).collect();
        let end = if cuts { cut.index(OWN.len()) } else { OWN.len() };
        // Only that it comes back matters.
        let _ = inspect(&Broken { bytes: &OWN[..end], patches: &patches });
    }

    #[test]
    fn noise_behind_a_header_never_panics(noise in prop::collection::vec(any::<u8>(), 0..2_000)) {
        let bytes = [b"\x7fELF\x02\x01\x01", noise.as_slice()].concat();
        let _ = inspect(bytes.as_slice());
    }
}
