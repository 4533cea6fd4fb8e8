//! Which ranges of which packs are read to get chunks with few requests; pure.

use std::ops::Range;

use super::{Pack, PackList, Place};
use crate::format::casync::chunk::Wanted;

/// Stored bytes of the chunks that are read together: as many as a full pack has.
pub const BATCH_BYTES: u64 = 4 << 20;

/// Bytes that nobody wants are read along as long as a request for what comes behind them takes longer: 64 KiB at
/// 25 Mbit/s are 20 ms.
const GAP_BYTES_MAX: u64 = 64 << 10;

/// One request: a range of one pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackRead {
    /// The pack.
    pub pack: Pack,
    /// Its bytes that are read.
    pub bytes: Range<u64>,
}

/// Where the stored form of a chunk is in what was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot {
    /// Number of the read in its batch.
    pub read: usize,
    /// Where in what was read.
    pub bytes: Range<usize>,
}

/// Chunks that are read together, in the order of the stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The requests.
    pub reads: Vec<PackRead>,
    /// The chunks; without a spot those that are not in a pack.
    pub chunks: Vec<(Wanted, Option<Spot>)>,
}

/// Groups chunks into batches of at most [`BATCH_BYTES`] and as much again that nobody wants. Chunks that `is_here`
/// says are on this machine are never read from packs.
pub fn batches(
    list: &PackList,
    missing: &[Wanted],
    is_here: impl Fn(&Wanted) -> bool,
) -> Vec<Batch> {
    let mut batches = Vec::new();
    let (mut open, mut bytes) = (Vec::new(), 0);
    for wanted in missing {
        let place = list.find(&wanted.id).filter(|place| u64::from(place.length) <= BATCH_BYTES);
        let place = place.filter(|_| !is_here(wanted));
        let length = place.map_or(0, |place| u64::from(place.length));
        if bytes + length > BATCH_BYTES {
            batches.push(batch(list, &std::mem::take(&mut open)));
            bytes = 0;
        }
        bytes += length;
        open.push((*wanted, place.copied()));
    }
    if !open.is_empty() {
        batches.push(batch(list, &open));
    }
    batches
}

/// Joins what lies close together.
fn batch(list: &PackList, chunks: &[(Wanted, Option<Place>)]) -> Batch {
    let mut order: Vec<(usize, Place)> =
        chunks.iter().enumerate().filter_map(|(n, (_, place))| Some((n, (*place)?))).collect();
    order.sort_unstable_by_key(|(_, place)| (place.pack, place.offset));
    let unread = chunks.iter().map(|(wanted, _)| (*wanted, None)).collect();
    let mut made = Batch { reads: Vec::new(), chunks: unread };
    let (mut before, mut bridged) = (None, 0);
    for (number, place) in order {
        let (from, until) = range(place);
        let gap = match made.reads.last() {
            Some(read) if before == Some(place.pack) => from.checked_sub(read.bytes.end),
            _ => None,
        };
        let gap = gap.filter(|gap| *gap <= GAP_BYTES_MAX && bridged + gap <= BATCH_BYTES);
        if let (Some(gap), Some(read)) = (gap, made.reads.last_mut()) {
            bridged += gap;
            read.bytes.end = until;
        } else {
            let pack = usize::try_from(place.pack).ok().and_then(|n| list.packs().get(n));
            let Some(&pack) = pack else { continue };
            made.reads.push(PackRead { pack, bytes: from..until });
        }
        before = Some(place.pack);
        let read = made.reads.len() - 1;
        let start = made.reads.last().map_or(from, |read| read.bytes.start);
        let inside = |at: u64| usize::try_from(at - start).unwrap_or(usize::MAX);
        let spot = Spot { read, bytes: inside(from)..inside(until) };
        if let Some((_, place)) = made.chunks.get_mut(number) {
            *place = Some(spot);
        }
    }
    made
}

fn range(place: Place) -> (u64, u64) {
    let from = u64::from(place.offset);
    (from, from + u64::from(place.length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::casync::chunk::{ChunkId, DigestKind};

    fn wanted(byte: u8) -> Wanted {
        Wanted { id: ChunkId::new([byte; 32]), digest: DigestKind::Sha256, length: 9 }
    }

    /// Chunks 0 to 99, ten to a pack, each of `length` bytes.
    fn list(length: u32) -> PackList {
        let pack = |byte| Pack { digest: [byte; 32], length: length * 10 };
        let place = |byte: u8| {
            let (pack, offset) = (u32::from(byte / 10), u32::from(byte % 10) * length);
            Place { id: ChunkId::new([byte; 32]), pack, offset, length }
        };
        PackList::new((0..10).map(pack).collect(), (0..100).map(place).collect()).unwrap()
    }

    #[test]
    fn whole_packs_are_read_by_one_request_each() {
        let missing: Vec<Wanted> = (0..100).map(wanted).collect();
        let batches = batches(&list(400_000), &missing, |_| false);
        let reads: usize = batches.iter().map(|batch| batch.reads.len()).sum();
        assert_eq!((batches.len(), reads), (10, 10));
        let order: Vec<Wanted> =
            batches.iter().flat_map(|batch| &batch.chunks).map(|(wanted, _)| *wanted).collect();
        assert_eq!(order, missing, "the order of the stream");
    }

    #[test]
    fn chunks_out_of_order_are_read_together_and_found_again() {
        let missing = [wanted(13), wanted(0), wanted(11), wanted(200), wanted(1)];
        let batches = batches(&list(20_000), &missing, |_| false);
        let [batch] = batches.as_slice() else { panic!("{batches:?}") };
        let ranges: Vec<_> = batch.reads.iter().map(|read| read.bytes.clone()).collect();
        assert_eq!(ranges, [0..40_000, 20_000..80_000], "a gap of one chunk is read along");
        let spot = |read, bytes| Some(Spot { read, bytes });
        assert_eq!(batch.chunks[0].1, spot(1, 40_000..60_000));
        assert_eq!(batch.chunks[1].1, spot(0, 0..20_000));
        assert_eq!(batch.chunks[2].1, spot(1, 0..20_000));
        assert_eq!(batch.chunks[3].1, None, "in no pack");
    }

    #[test]
    fn far_chunks_and_those_that_are_here_are_not_read_along() {
        let missing = [wanted(0), wanted(4), wanted(9)];
        let far = batches(&list(100_000), &missing, |_| false);
        assert_eq!(far[0].reads.len(), 3);
        let here = batches(&list(100_000), &missing, |wanted| wanted.id == missing[1].id);
        assert_eq!((here[0].reads.len(), &here[0].chunks[1].1), (2, &None));
    }
}
