//! Making a patch.

use std::io::{self, Write};

use bzip2::Compression;
use bzip2::write::BzEncoder;

use super::matches::{Index, Match};
use super::{HEADER_BYTES, MAGIC, number_bytes};

/// Largest old file, in bytes: places in it are 32-bit numbers.
pub const OLD_BYTES_MAX: usize = i32::MAX as usize;

/// Bytes of the difference stream that are computed at a time.
const PIECE_BYTES: usize = 16 << 10;

/// Why no patch was made.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// The old file is larger than [`OLD_BYTES_MAX`].
    #[error(
        "making a patch: the old file has {bytes} bytes, at most {OLD_BYTES_MAX} can be; publish without a patch"
    )]
    TooLarge {
        /// Size of the old file.
        bytes: usize,
    },
    /// The old file's suffixes were not sorted.
    #[error(
        "making a patch: sorting the old file failed ({why}); free memory, or publish without a patch"
    )]
    Sort {
        /// What the sorter says.
        why: String,
    },
    /// A stream was not compressed.
    #[error("making a patch: compressing failed; publish without a patch")]
    Compress(#[source] io::Error),
}

/// A patch that makes `new` of `old`, for bspatch and every program that knows `BSDIFF40`.
///
/// Memory, besides the two files and the patch: 5 to 6 bytes for each byte of `old`, and 25 MiB. One thread is used;
/// patches from several old files can be made side by side.
pub fn make(old: &[u8], new: &[u8]) -> Result<Vec<u8>, MakeError> {
    if old.len() > OLD_BYTES_MAX {
        return Err(MakeError::TooLarge { bytes: old.len() });
    }
    let index = Index::new(old).map_err(|why| MakeError::Sort { why })?;
    let mut making = Making { old, new, streams: Streams::new() };
    making.run(&index).and_then(|()| making.streams.finish(new.len())).map_err(MakeError::Compress)
}

/// A run of the new file that resembles one of the old file: both start here.
#[derive(Clone, Copy)]
struct Run {
    new: usize,
    old: usize,
}

struct Making<'a> {
    old: &'a [u8],
    new: &'a [u8],
    streams: Streams,
}

impl Making<'_> {
    /// Cuts the new file into runs and writes what each needs.
    fn run(&mut self, index: &Index<'_>) -> io::Result<()> {
        let mut run = Run { new: 0, old: 0 };
        let (mut at, mut offset) = (0, 0_isize);
        while run.new < self.new.len() {
            let (found_at, found) = index.next(self.new, at, offset);
            let next = self.cut(run, found_at, found)?;
            at = found_at + found.length;
            offset = found.place.wrapping_sub(found_at).cast_signed();
            run = next;
        }
        Ok(())
    }

    /// Writes the run up to where the next begins, and returns that: the match that was found at `at`, extended
    /// backwards.
    fn cut(&mut self, run: Run, at: usize, found: Match) -> io::Result<Run> {
        let mut ahead = self.forward(run, at);
        let mut back = if found.length == 0 { 0 } else { self.backward(run, at, found) };
        let overlap = (run.new + ahead + back).saturating_sub(at);
        if overlap > 0 {
            let kept = self.split(run, ahead - overlap, (at - back, found.place - back), overlap);
            ahead = ahead - overlap + kept;
            back -= kept;
        }
        let next = if found.length == 0 {
            Run { new: at, old: run.old + ahead }
        } else {
            Run { new: at - back, old: found.place - back }
        };
        let old = self.old.get(run.old..run.old + ahead).unwrap_or_default();
        let (new, extra) = self.new.get(run.new..next.new).unwrap_or_default().split_at(ahead);
        let seek = next.old.cast_signed() - (run.old + ahead).cast_signed();
        self.streams.write(old, new, extra, seek)?;
        Ok(next)
    }

    /// How far the run goes on with more equal bytes than others.
    fn forward(&self, run: Run, end: usize) -> usize {
        let new = self.new.get(run.new..end).unwrap_or_default();
        let old = self.old.get(run.old..).unwrap_or_default();
        best_length(new.iter().zip(old))
    }

    /// How far before `at` the match resembles the new file, as long as it stays behind the run's start.
    fn backward(&self, run: Run, at: usize, found: Match) -> usize {
        let new = self.new.get(run.new..at).unwrap_or_default();
        let old = self.old.get(..found.place).unwrap_or_default();
        best_length(new.iter().rev().zip(old.iter().rev()))
    }

    /// How many of `overlap` bytes, which `ahead` bytes after the run's start are claimed by it and by the next,
    /// are best left to the run.
    fn split(&self, run: Run, ahead: usize, next: (usize, usize), overlap: usize) -> usize {
        let from = |bytes: &'_ [u8], at: usize| bytes.get(at..at + overlap).map(<[u8]>::to_vec);
        let new = from(self.new, next.0).unwrap_or_default();
        let one = from(self.old, run.old + ahead).unwrap_or_default();
        let other = from(self.old, next.1).unwrap_or_default();
        let (mut score, mut best, mut kept) = (0_i64, 0, 0);
        for (at, (new, (one, other))) in new.iter().zip(one.iter().zip(&other)).enumerate() {
            score += i64::from(new == one) - i64::from(new == other);
            if score > best {
                (best, kept) = (score, at + 1);
            }
        }
        kept
    }
}

/// The length at which equal pairs outnumber unequal ones most.
fn best_length<'a>(pairs: impl Iterator<Item = (&'a u8, &'a u8)>) -> usize {
    let (mut score, mut best, mut length) = (0_i64, 0, 0);
    for (at, (one, other)) in pairs.enumerate() {
        score += if one == other { 1 } else { -1 };
        if score > best {
            (best, length) = (score, at + 1);
        }
    }
    length
}

/// The three streams, packed as they grow.
struct Streams {
    control: BzEncoder<Vec<u8>>,
    difference: BzEncoder<Vec<u8>>,
    extra: BzEncoder<Vec<u8>>,
}

impl Streams {
    fn new() -> Self {
        let stream = || BzEncoder::new(Vec::new(), Compression::best());
        Self { control: stream(), difference: stream(), extra: stream() }
    }

    /// `new` as the difference to `old`, which is as long, then `extra`, then the seek.
    fn write(&mut self, old: &[u8], new: &[u8], extra: &[u8], seek: isize) -> io::Result<()> {
        let mut piece = Vec::with_capacity(PIECE_BYTES.min(new.len()));
        for (new, old) in new.chunks(PIECE_BYTES).zip(old.chunks(PIECE_BYTES)) {
            piece.clear();
            piece.extend(new.iter().zip(old).map(|(new, old)| new.wrapping_sub(*old)));
            self.difference.write_all(&piece)?;
        }
        self.extra.write_all(extra)?;
        for value in [new.len().cast_signed(), extra.len().cast_signed(), seek] {
            self.control.write_all(&number_bytes(value as i64))?;
        }
        Ok(())
    }

    /// The whole patch.
    fn finish(self, new_bytes: usize) -> io::Result<Vec<u8>> {
        let control = self.control.finish()?;
        let difference = self.difference.finish()?;
        let extra = self.extra.finish()?;
        let size = HEADER_BYTES + control.len() + difference.len() + extra.len();
        let mut patch = Vec::with_capacity(size);
        patch.extend(MAGIC);
        for value in [control.len(), difference.len(), new_bytes] {
            patch.extend(number_bytes(value.cast_signed() as i64));
        }
        for stream in [&control, &difference, &extra] {
            patch.extend(stream);
        }
        Ok(patch)
    }
}
