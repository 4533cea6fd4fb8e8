//! Where pieces of the new file are in the old one.

use libsais::SuffixArrayConstruction;

/// Bytes of a match that a search looks at: whatever is equal this far need not be told apart.
const SEARCH_BYTES: usize = 64 << 10;

/// Bytes in a row that the current run explains and that are passed over at once: nothing worth changing to begins
/// in them that does not begin behind them as well.
const NEAR_BYTES: usize = 24;

/// Bytes that the current run gets wrong and a match must get right, to be worth changing to: saying so costs about
/// as much. The number is bsdiff's.
const WRONG_BYTES: usize = 9;

/// Bytes of the pieces in the filter: at most [`WRONG_BYTES`], so that every match worth changing to has some.
const GRAM_BYTES: usize = 8;

/// From one piece that is looked up in the filter to the next, in bytes.
const GRAM_STEP: usize = 4;

/// Pieces that are looked up for one place.
const GRAMS_MAX: usize = 32;

/// Bits of the filter for each byte of the old file: one in nine pieces that are not there seems to be.
const FILTER_BITS: usize = 8;

/// A sorted list of all suffixes of the old file.
pub(super) struct Index<'a> {
    old: &'a [u8],
    /// Where they start.
    suffixes: Vec<i32>,
    /// Where in the list those begin that start with two given bytes.
    starts: Vec<u32>,
    filter: Filter,
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
    /// Sorts the suffixes; the error is what the sorter says. Memory: 4 bytes for each byte of `old`, and 1 to 2 for
    /// the filter.
    pub(super) fn new(old: &'a [u8]) -> Result<Self, String> {
        let suffixes = if old.is_empty() {
            Vec::new()
        } else {
            let sorting = SuffixArrayConstruction::for_text(old).in_owned_buffer32();
            let sorted = sorting.single_threaded().run().map_err(|error| format!("{error:?}"))?;
            sorted.into_vec()
        };
        Ok(Self { old, suffixes, starts: starts(old), filter: Filter::new(old) })
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

    /// From `from` on, the first place of `new` where a match is worth changing to from the run whose bytes are
    /// `offset` further in the old file; at the end of `new` an empty match.
    pub(super) fn next(&self, new: &[u8], from: usize, offset: isize) -> (usize, Match) {
        let mut at = from;
        let mut window = Window { old: self.old, new, offset, end: from, wrong: 0 };
        while window.reach(at) {
            let wanted = new.get(at..).unwrap_or_default();
            let near = at.checked_add_signed(offset).and_then(|place| self.old.get(place..));
            let near = near.map_or(0, |old| shared_from(0, old, wanted));
            let next = if near >= NEAR_BYTES {
                at + near
            } else if let Some(missing) = self.missing(new, at, window.end) {
                missing + 1
            } else {
                let found = self.longest(wanted);
                if at + found.length >= window.end {
                    return (at, found);
                }
                at + 1
            };
            window.leave(at, next);
            at = next;
        }
        (new.len(), Match::default())
    }

    /// The last place between `from` and `end` that is known to begin a piece that is nowhere in the old file: no
    /// match that reaches `end` begins there or before.
    fn missing(&self, new: &[u8], from: usize, end: usize) -> Option<usize> {
        let last = end.checked_sub(GRAM_BYTES)?;
        let mut places = (from..=last).rev().step_by(GRAM_STEP).take(GRAMS_MAX);
        places.find(|&at| {
            let gram = new.get(at..).and_then(<[u8]>::first_chunk);
            gram.is_some_and(|gram| !self.filter.may_have(*gram))
        })
    }
}

/// The bytes of the new file from a place on up to the last of [`WRONG_BYTES`] that the current run gets wrong.
struct Window<'a> {
    old: &'a [u8],
    new: &'a [u8],
    offset: isize,
    end: usize,
    /// How many of its bytes are wrong.
    wrong: usize,
}

impl Window<'_> {
    fn is_wrong(&self, at: usize) -> bool {
        let old = at.checked_add_signed(self.offset).and_then(|at| self.old.get(at));
        old.is_none() || old != self.new.get(at)
    }

    /// Widens the window that begins at `at`; false when the rest of the new file has too few wrong bytes.
    fn reach(&mut self, at: usize) -> bool {
        self.end = self.end.max(at);
        while self.wrong < WRONG_BYTES && self.end < self.new.len() {
            self.wrong += usize::from(self.is_wrong(self.end));
            self.end += 1;
        }
        self.wrong == WRONG_BYTES
    }

    /// Takes what is before `next` out of the window that begins at `at`.
    fn leave(&mut self, at: usize, next: usize) {
        let gone = (at..next.min(self.end)).filter(|&at| self.is_wrong(at)).count();
        self.wrong -= gone;
    }
}

/// Which pieces of [`GRAM_BYTES`] are in the old file; some that are not seem to be.
struct Filter {
    bits: Vec<u64>,
    /// How far a hash is shifted to be the number of a bit.
    shift: u32,
}

impl Filter {
    fn new(old: &[u8]) -> Self {
        let bits = old.len().saturating_mul(FILTER_BITS).next_power_of_two().max(1 << 16);
        let shift = u64::BITS - bits.trailing_zeros();
        let mut filter = Self { bits: vec![0; bits / 64], shift };
        for gram in old.windows(GRAM_BYTES).filter_map(<[u8]>::first_chunk) {
            let (word, bit) = filter.place(*gram);
            if let Some(word) = filter.bits.get_mut(word) {
                *word |= bit;
            }
        }
        filter
    }

    fn may_have(&self, gram: [u8; GRAM_BYTES]) -> bool {
        let (word, bit) = self.place(gram);
        self.bits.get(word).is_some_and(|word| word & bit != 0)
    }

    /// Index of a word and a bit in it: Fibonacci hashing, by 2^64 over the golden ratio.
    fn place(&self, gram: [u8; GRAM_BYTES]) -> (usize, u64) {
        let hash = u64::from_le_bytes(gram).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> self.shift;
        (usize::try_from(hash / 64).unwrap_or(usize::MAX), 1 << (hash % 64))
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
