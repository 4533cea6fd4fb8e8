//! The chunker beside a plain reading of its definition.

use proptest::prelude::*;

use super::*;
use crate::format::casync::chunk::DigestKind;

/// The definition, byte by byte and with a division.
fn plainly(sizes: ChunkSizes, data: &[u8]) -> Vec<usize> {
    let divisor = sizes.discriminator().unwrap_or(1);
    let first = sizes.min.max(WINDOW);
    let (mut ends, mut start) = (Vec::new(), 0);
    while start < data.len() {
        let mut end = data.len().min(start + sizes.max);
        if !sizes.is_fixed() {
            let tests = (start + first)..end;
            let cuts = |at: usize| buzhash::start(&data[at - WINDOW..at]) % divisor == divisor - 1;
            end = tests.into_iter().find(|&at| cuts(at)).unwrap_or(end);
        }
        ends.push(end);
        start = end;
    }
    ends
}

fn by_slices(sizes: ChunkSizes, data: &[u8]) -> Vec<usize> {
    let chunker = Chunker::new(sizes);
    let (mut ends, mut start) = (Vec::new(), 0);
    while start < data.len() {
        start += chunker.cut(&data[start..]).unwrap_or(data.len() - start);
        ends.push(start);
    }
    ends
}

fn by_pieces(sizes: ChunkSizes, data: &[u8], pieces: &[usize]) -> Vec<usize> {
    let mut chunker = Chunker::new(sizes);
    let (mut ends, mut at) = (Vec::new(), 0);
    for &piece in pieces.iter().cycle() {
        let stop = data.len().min(at + piece);
        while let Some(length) = chunker.push(&data[at..stop]) {
            at += length;
            ends.push(at);
        }
        at = stop;
        if at == data.len() {
            break;
        }
    }
    if ends.last().copied().unwrap_or_default() < data.len() {
        ends.push(data.len());
    }
    ends
}

/// Bytes that look random, from a seed.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32).to_le_bytes()[0]
    };
    (0..length).map(step).collect()
}

fn sizes() -> impl Strategy<Value = ChunkSizes> {
    let any = (1..3000_u64, 0..3000_u64, 0..9000_u64);
    any.prop_filter_map("chunk sizes", |(min, more, most)| {
        ChunkSizes::new(min, min + more, min + more + most).ok()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn all_ways_of_chunking_agree(
        sizes in sizes(),
        seed in any::<u64>(),
        length in 0..60_000_usize,
        pieces in prop::collection::vec(1..5000_usize, 1..6),
        threads in 1..9_usize,
        zeros in any::<bool>(),
    ) {
        let mut data = noise(length, seed);
        if zeros {
            data[length / 3..length / 2].fill(0);
        }
        let ends = plainly(sizes, &data);
        prop_assert_eq!(&by_slices(sizes, &data), &ends);
        prop_assert_eq!(&by_pieces(sizes, &data, &pieces), &ends);
        prop_assert_eq!(&boundaries(sizes, &data, threads), &ends);
        let digest = DigestKind::Sha256;
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let ids: Vec<_> = starts.zip(&ends).map(|(from, &to)| digest.of(&data[from..to])).collect();
        prop_assert_eq!(identify(digest, &data, &ends, threads), ids);
    }
}

#[test]
fn discriminators_are_those_of_casync() {
    for (avg, divisor) in [
        (4096, 3075),
        (16_384, 12_318),
        (65_536, 49_535),
        (262_144, 202_440),
        (1 << 20, 886_711),
        (2 << 20, 2_030_716),
        (4 << 20, 5_721_670),
    ] {
        let sizes = ChunkSizes::of_average(avg).unwrap();
        assert_eq!(sizes.discriminator(), Some(divisor), "{avg}");
    }
    assert_eq!(ChunkSizes::of_average(65_536).unwrap(), ChunkSizes::default());
}

#[test]
fn absurd_sizes_are_refused_by_name() {
    let refused = |min, avg, max| ChunkSizes::new(min, avg, max).unwrap_err();
    assert!(matches!(refused(0, 1, 2), ChunkSizesError::OutOfOrder { .. }));
    assert!(matches!(refused(4, 2, 8), ChunkSizesError::OutOfOrder { .. }));
    assert!(matches!(refused(1, 2, u64::MAX), ChunkSizesError::OutOfOrder { .. }));
    assert!(matches!(refused(1, 2, 47), ChunkSizesError::BelowWindow { max: 47 }));
    let average = 9_324_600;
    assert!(matches!(refused(1, average, 1 << 27), ChunkSizesError::AverageTooLarge { .. }));
    assert!(ChunkSizes::of_average(9_000_000).is_ok());
    assert!(ChunkSizes::new(1, 1, 1).is_ok());
    assert!(ChunkSizes::new(1 << 27, 1 << 27, 1 << 27).is_ok());
}

#[test]
fn parts_agree_though_boundaries_never_meet() {
    let sizes = ChunkSizes::new(64, 256, 1000).unwrap();
    let data = vec![0; 100_001];
    assert_eq!(boundaries(sizes, &data, 4), plainly(sizes, &data));
}
