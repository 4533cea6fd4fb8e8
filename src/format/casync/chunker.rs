//! The chunker: cuts a stream where its content says, exactly as casync does.
//!
//! A chunk ends behind the first byte, at least `min` bytes after its start, at which the rolling hash of
//! the last 48 bytes is `d - 1` modulo the discriminator `d`; at the latest after `max` bytes. The hash starts
//! anew with every chunk, so the first `min - 48` bytes are never looked at, and what follows a
//! boundary does not depend on what came before it. With `min = avg = max` all chunks have that
//! length. Source: `cachunker.c` in systemd/casync.

use super::buzhash::{self, Discriminator, WINDOW};
use super::chunk::CHUNK_BYTES_MAX;

mod parallel;

pub use parallel::{boundaries, identify};

/// Lengths of chunks, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkSizes {
    min: usize,
    avg: usize,
    max: usize,
}

/// Why lengths of chunks cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkSizesError {
    /// Not `1 <= min <= avg <= max <= 128 MiB`.
    #[error(
        "chunk sizes {min}:{avg}:{max} are out of order: use 1 <= min <= avg <= max <= 134217728"
    )]
    OutOfOrder {
        /// Shortest.
        min: u64,
        /// Average.
        avg: u64,
        /// Longest.
        max: u64,
    },
    /// No room for the hash's window.
    #[error("chunks of at most {max} bytes cannot be cut by content: use 48 bytes or more")]
    BelowWindow {
        /// Longest.
        max: u64,
    },
    /// casync's formula has no answer.
    #[error("an average chunk size of {avg} is too large: use less than 9324557 bytes")]
    AverageTooLarge {
        /// Average.
        avg: u64,
    },
}

impl Default for ChunkSizes {
    /// 16, 64 and 256 KiB.
    fn default() -> Self {
        Self { min: 16 << 10, avg: 64 << 10, max: 256 << 10 }
    }
}

impl ChunkSizes {
    /// Checks lengths in bytes.
    pub fn new(min: u64, avg: u64, max: u64) -> Result<Self, ChunkSizesError> {
        let wrong = ChunkSizesError::OutOfOrder { min, avg, max };
        if !(1 <= min && min <= avg && avg <= max && max <= CHUNK_BYTES_MAX) {
            return Err(wrong);
        }
        let size = |bytes: u64| usize::try_from(bytes).map_err(|_| wrong);
        let sizes = Self { min: size(min)?, avg: size(avg)?, max: size(max)? };
        if sizes.is_fixed() {
            return Ok(sizes);
        }
        if sizes.max < WINDOW {
            return Err(ChunkSizesError::BelowWindow { max });
        }
        sizes.discriminator().map(|_| sizes).ok_or(ChunkSizesError::AverageTooLarge { avg })
    }

    /// The lengths casync derives from an average alone: a quarter and four times as much.
    pub fn of_average(avg: u64) -> Result<Self, ChunkSizesError> {
        Self::new((avg / 4).max(1), avg, avg.saturating_mul(4).min(CHUNK_BYTES_MAX).max(avg))
    }

    /// Shortest chunk in bytes; only the last of a stream may be shorter.
    pub fn min(self) -> usize {
        self.min
    }

    /// Average length in bytes.
    pub fn avg(self) -> usize {
        self.avg
    }

    /// Longest chunk in bytes.
    pub fn max(self) -> usize {
        self.max
    }

    fn is_fixed(self) -> bool {
        self.min == self.max
    }

    /// The divisor that makes chunks of about the average length, by casync's formula.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "sizes are below 2^53; the formula truncates just so, and the range is checked before"
    )]
    fn discriminator(self) -> Option<u32> {
        let avg = self.avg as f64;
        let slope = -1.428_888_52e-7 * avg + 1.332_375_15;
        let divisor = (slope > 0.0).then(|| (avg / slope) as usize)?;
        u32::try_from(divisor.clamp(self.min, self.max)).ok()
    }
}

/// Finds the ends of chunks.
#[derive(Clone, Debug)]
pub struct Chunker {
    sizes: ChunkSizes,
    discriminator: Discriminator,
    /// Bytes of the current chunk so far.
    length: usize,
    hash: u32,
    /// The last bytes of the current chunk, once it is long enough for them to count.
    window: [u8; WINDOW],
}

impl Chunker {
    /// A chunker at the start of a stream.
    pub fn new(sizes: ChunkSizes) -> Self {
        // Fixed-size chunks have none and need none.
        let discriminator = Discriminator::new(sizes.discriminator().unwrap_or(1));
        Self { sizes, discriminator, length: 0, hash: 0, window: [0; WINDOW] }
    }

    /// Length of the first chunk of `data`, which begins where a chunk begins; none when `data` ends
    /// before the chunk must.
    pub fn cut(&self, data: &[u8]) -> Option<usize> {
        let first = self.first_test();
        let max = self.sizes.max;
        let whole = data.get(..max).unwrap_or(data);
        if self.sizes.is_fixed() || whole.len() < first || first == max {
            return (data.len() >= max).then_some(max);
        }
        let (Some(window), Some(enter), Some(leave)) =
            (whole.get(first - WINDOW..first), whole.get(first..), whole.get(first - WINDOW..))
        else {
            return None;
        };
        let hash = buzhash::start(window);
        if self.discriminator.cuts(hash) {
            return Some(first);
        }
        match buzhash::roll(self.discriminator, hash, leave, enter) {
            Ok(length) => Some(first + length),
            Err(_) => (whole.len() == max).then_some(max),
        }
    }

    /// Takes the next bytes of a stream up to the end of the current chunk: how many of them belong
    /// to it, or none when all do and the chunk goes on.
    pub fn push(&mut self, data: &[u8]) -> Option<usize> {
        let left = self.sizes.max - self.length;
        let whole = data.get(..left).unwrap_or(data);
        let cut = if self.sizes.is_fixed() { None } else { self.scan(whole) };
        let cut = cut.or_else(|| (whole.len() == left).then_some(left));
        match cut {
            Some(_) => (self.length, self.hash) = (0, 0),
            None => self.length += whole.len(),
        }
        cut
    }

    /// Bytes of a chunk before the first test.
    fn first_test(&self) -> usize {
        self.sizes.min.max(WINDOW)
    }

    fn scan(&mut self, data: &[u8]) -> Option<usize> {
        let first = self.first_test();
        let mut used = 0;
        if self.length < first {
            used = self.fill(data, first)?;
            if self.discriminator.cuts(self.hash) {
                return Some(used);
            }
        }
        // The bytes that leave are the window first and then the data itself.
        let rest = data.get(used..).unwrap_or_default();
        let near = rest.get(..WINDOW).unwrap_or(rest);
        match buzhash::roll(self.discriminator, self.hash, &self.window, near) {
            Ok(length) => return Some(used + length),
            Err(hash) => self.hash = hash,
        }
        let far = rest.get(near.len()..).unwrap_or_default();
        match buzhash::roll(self.discriminator, self.hash, rest, far) {
            Ok(length) => return Some(used + near.len() + length),
            Err(hash) => self.hash = hash,
        }
        self.remember(rest);
        None
    }

    /// Collects the first window, which ends at `first`: how many bytes that took, or none when the
    /// data ended before.
    fn fill(&mut self, data: &[u8], first: usize) -> Option<usize> {
        let missing = first - self.length;
        let taken = data.get(..missing);
        self.remember(taken.unwrap_or(data));
        taken?;
        self.hash = buzhash::start(&self.window);
        Some(missing)
    }

    /// Moves bytes into the window.
    fn remember(&mut self, data: &[u8]) {
        let last = data.len().min(WINDOW);
        self.window.rotate_left(last);
        let from = data.get(data.len() - last..);
        if let (Some(to), Some(from)) = (self.window.get_mut(WINDOW - last..), from) {
            to.copy_from_slice(from);
        }
    }
}

#[cfg(test)]
mod tests;
