//! Where pieces of the new file are in the old one.

use libsais::SuffixArrayConstruction;

/// Bytes of a match that a search looks at: whatever is equal this far need not be told apart.
const SEARCH_BYTES: usize = 64 << 10;

/// A match at the place where the last one goes on is taken without a search from this length on: a longer one
/// elsewhere would hardly save what saying so costs.
const NEAR_BYTES: usize = 24;

/// How many more bytes a match must explain than the last alignment does, to be worth changing to. bsdiff's own.
const GAIN_MIN: usize = 8;

/// A sorted list of all suffixes of the old file.
pub(super) struct Index<'a> {
    old: &'a [u8],
    /// Where they start.
    suffixes: Vec<i32>,
    /// Where in the list those begin that start with two given bytes.
    starts: Vec<u32>,
}

/// Equal bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Match {
    /// How many.
    pub(super) length: usize,
    /// Where in the old file.
    pub(super) place: usize,
}

impl<'a> Index<'a> {
    /// Sorts the suffixes; the error is what the sorter says. Memory: 4 bytes for each byte of `old`.
    pub(super) fn new(old: &'a [u8]) -> Result<Self, String> {
        let suffixes = if old.is_empty() {
            Vec::new()
        } else {
            let sorting = SuffixArrayConstruction::for_text(old).in_owned_buffer32();
            let sorted = sorting.single_threaded().run().map_err(|error| format!("{error:?}"))?;
            sorted.into_vec()
        };
        Ok(Self { old, suffixes, starts: starts(old) })
    }

    /// A longest match of a beginning of `wanted`, up to [`SEARCH_BYTES`]; of length 0 when not even two bytes are
    /// found.
    fn longest(&self, wanted: &[u8]) -> Match {
        let wanted = wanted.get(..SEARCH_BYTES).unwrap_or(wanted);
        let mut best = Match::default();
        let [first, second, ..] = wanted else { return best };
        let bucket = usize::from(*first) << 8 | usize::from(*second);
        let Some(&[low, high]) = self.starts.get(bucket..bucket + 2) else { return best };
        let (mut low, mut high) = (low as usize, high as usize);
        // Bytes that the suffixes just below and just above the interval share with `wanted`, as far as known.
        let (mut low_shared, mut high_shared) = (0, 0);
        while low < high {
            let middle = usize::midpoint(low, high);
            let place = self.suffixes.get(middle).map_or(0, |place| place.unsigned_abs() as usize);
            let suffix = self.old.get(place..).unwrap_or_default();
            let shared = shared_from(low_shared.min(high_shared), suffix, wanted);
            if shared > best.length {
                best = Match { length: shared, place };
            }
            match (suffix.get(shared), wanted.get(shared)) {
                (_, None) => return best,
                (Some(here), Some(there)) if here > there => {
                    high = middle;
                    high_shared = shared;
                }
                _ => {
                    low = middle + 1;
                    low_shared = shared;
                }
            }
        }
        best
    }

    /// Passes over what goes on as before, from the end of the last match (of `last` with `new` at `from`), to the
    /// next place worth changing to; where in the new file, and the match, which is empty at its end.
    pub(super) fn next(&self, new: &[u8], from: usize, offset: isize) -> (usize, Match) {
        let goes_on = |at: usize| {
            let old = at.checked_add_signed(offset).and_then(|at| self.old.get(at));
            old.is_some() && old == new.get(at)
        };
        let (mut at, mut counted, mut explained) = (from, from, 0_usize);
        loop {
            let wanted = new.get(at..).unwrap_or_default();
            if wanted.is_empty() {
                return (at, Match::default());
            }
            let near = at.checked_add_signed(offset).and_then(|place| self.old.get(place..));
            let near = near.map_or(0, |old| shared_from(0, old, wanted));
            if near >= NEAR_BYTES {
                at += near;
                (counted, explained) = (at, 0);
                continue;
            }
            let found = self.longest(wanted);
            while counted < at + found.length {
                explained += usize::from(goes_on(counted));
                counted += 1;
            }
            if found.length > explained + GAIN_MIN {
                return (at, found);
            }
            if found.length == explained && found.length > 0 {
                at += found.length;
                explained = 0;
                continue;
            }
            if counted > at {
                explained = explained.saturating_sub(usize::from(goes_on(at)));
            }
            at += 1;
            counted = counted.max(at);
        }
    }
}

/// For each two bytes, how many suffixes come before the first that starts with them.
fn starts(old: &[u8]) -> Vec<u32> {
    let mut starts = vec![0_u32; (1 << 16) + 1];
    let mut count = |first: u8, second: u8| {
        let bucket = usize::from(first) << 8 | usize::from(second);
        if let Some(count) = starts.get_mut(bucket + 1) {
            *count += 1;
        }
    };
    for (first, second) in old.iter().zip(old.iter().skip(1)) {
        count(*first, *second);
    }
    // The last suffix has one byte and comes before all that begin with it: it is the end of the bucket before.
    let last = old.last().map(|last| usize::from(*last) << 8);
    if let Some(before) = last.and_then(|bucket| starts.get_mut(bucket)) {
        *before += 1;
    }
    let mut sum = 0;
    for start in &mut starts {
        sum += *start;
        *start = sum;
    }
    starts
}

/// How many first bytes are equal, when the first `known` are known to be.
fn shared_from(known: usize, one: &[u8], other: &[u8]) -> usize {
    let one = one.get(known..).unwrap_or_default();
    let other = other.get(known..).unwrap_or_default();
    let words = one.as_chunks::<8>().0.iter().zip(other.as_chunks::<8>().0);
    let mut shared = known;
    for (one, other) in words {
        let difference = u64::from_le_bytes(*one) ^ u64::from_le_bytes(*other);
        if difference != 0 {
            return shared + (difference.trailing_zeros() / 8) as usize;
        }
        shared += 8;
    }
    let rest = shared - known;
    let rest = one.iter().skip(rest).zip(other.iter().skip(rest));
    shared + rest.take_while(|(one, other)| one == other).count()
}
