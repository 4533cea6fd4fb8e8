//! Chunking on several cores, with the same result as on one.
//!
//! What follows a boundary does not depend on what came before it. Each part of the data is chunked as
//! if it began a stream; then the parts are walked in order, and from the first boundary on that the walk has
//! in common with a part, that part's boundaries are the right ones.

use std::ops::Range;

use super::{ChunkSizes, Chunker};
use crate::format::casync::chunk::{ChunkId, DigestKind};

/// Shortest part worth a thread, in longest chunks: some are lost until the boundaries agree.
const PART_CHUNKS_MIN: usize = 16;

/// Threads at most: more than any machine this is for has cores.
const THREADS_MAX: usize = 64;

/// The ends of all chunks of `data`, found on up to `threads` threads.
pub fn boundaries(sizes: ChunkSizes, data: &[u8], threads: usize) -> Vec<usize> {
    let chunker = Chunker::new(sizes);
    let parts = parts(sizes, data.len(), threads);
    let guesses: Vec<Vec<usize>> = std::thread::scope(|scope| {
        let running: Vec<_> =
            parts.iter().map(|part| scope.spawn(|| guess(&chunker, data, part))).collect();
        running.into_iter().map(|thread| thread.join().unwrap_or_default()).collect()
    });
    let mut ends = Vec::with_capacity(guesses.iter().map(Vec::len).sum());
    let mut at = 0;
    for (part, guess) in parts.iter().zip(&guesses) {
        while at < part.end {
            // Behind the part's own start every guessed end begins the next guessed chunk.
            let agreed = if at == part.start { Some(0) } else { position_after(guess, at) };
            if let Some(rest) = agreed.and_then(|from| guess.get(from..))
                && let Some(&last) = rest.last()
            {
                ends.extend_from_slice(rest);
                at = last;
                continue;
            }
            at = next_end(&chunker, data, at);
            ends.push(at);
        }
    }
    ends
}

/// The names of the chunks that end at `ends`, on up to `threads` threads.
pub fn identify(digest: DigestKind, data: &[u8], ends: &[usize], threads: usize) -> Vec<ChunkId> {
    let each = ends.len().div_ceil(threads.clamp(1, THREADS_MAX)).max(1);
    let starts = |number: usize| match (number * each).checked_sub(1) {
        Some(before) => ends.get(before).copied().unwrap_or_default(),
        None => 0,
    };
    let name = |start: usize, ends: &[usize]| {
        let mut start = start;
        let chunks = ends.iter().map(|&end| {
            let chunk = data.get(start..end).unwrap_or_default();
            start = end;
            digest.of(chunk)
        });
        chunks.collect::<Vec<_>>()
    };
    std::thread::scope(|scope| {
        let shares = ends.chunks(each).enumerate();
        let running: Vec<_> = shares
            .map(|(number, share)| scope.spawn(move || name(starts(number), share)))
            .collect();
        running.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
    })
}

fn parts(sizes: ChunkSizes, length: usize, threads: usize) -> Vec<Range<usize>> {
    let worth = length / sizes.max.saturating_mul(PART_CHUNKS_MIN);
    let count = threads.min(worth).clamp(1, THREADS_MAX);
    let each = length.div_ceil(count);
    (0..count).map(|n| n * each..length.min((n + 1) * each)).collect()
}

/// The ends of all chunks that begin in `part`, if one begins at its start.
fn guess(chunker: &Chunker, data: &[u8], part: &Range<usize>) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut at = part.start;
    while at < part.end {
        at = next_end(chunker, data, at);
        ends.push(at);
    }
    ends
}

fn next_end(chunker: &Chunker, data: &[u8], start: usize) -> usize {
    let rest = data.get(start..).unwrap_or_default();
    start + chunker.cut(rest).unwrap_or(rest.len())
}

fn position_after(ends: &[usize], at: usize) -> Option<usize> {
    ends.binary_search(&at).ok().map(|found| found + 1)
}
