//! Deltas between versions of a tree, made of what both have in the store.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufReader, Read};

use camino::{Utf8Path, Utf8PathBuf};
use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use super::PublishError;
use super::files::{beside, replace};
use super::store::Store;
use crate::format::casync::chunk::{self, ChunkId, Form};
use crate::format::casync::deltas::{self, PATCH_BYTES, Patch, SUFFIX};
use crate::format::casync::index::Index;
use crate::format::zstd_delta;

/// Bytes of the old archive around the place where a run should be that a patch may refer to.
const MARGIN_BYTES: u64 = 4 << 20;

/// Bytes at the end of a patch's result that are looked for in the old archive, to know where the next range should be.
const TAIL_BYTES: usize = 64;

/// Longest index read, in bytes.
const INDEX_BYTES_MAX: u64 = 256 << 20;

/// Level at which patches are compressed: they are made once and fetched often.
const LEVEL: i32 = 12;

/// An index that deltas lead away from, read before it may be replaced.
#[derive(Debug)]
pub(super) struct From {
    digest: String,
    index: Index,
}

impl From {
    /// Reads an index; none is fine where nothing was published before.
    pub(super) fn read(path: &Utf8Path) -> Result<Option<Self>, PublishError> {
        let failed = |source| PublishError::Read { path: path.to_string(), source };
        let file = match File::open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(failed)?,
        };
        let mut bytes = Vec::new();
        file.take(INDEX_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
        let index = Index::read(BufReader::new(bytes.as_slice())).map_err(PublishError::Index)?;
        Ok(Some(Self { digest: HEXLOWER.encode(&Sha256::digest(&bytes)), index }))
    }
}

/// Writes the deltas that lead to an index that was published, and removes those that lead to others: how many there
/// are.
pub(super) fn publish(store: &Store, path: &Utf8Path, from: &[From]) -> Result<u64, PublishError> {
    let mut kept = HashSet::new();
    if let Some(new) = From::read(path)? {
        for old in from.iter().filter(|old| old.digest != new.digest) {
            let place = beside(path, &deltas::suffix(&old.digest, &new.digest));
            let bytes = deltas::write(&patches(store, &old.index, &new.index)?);
            replace(&place, |file| {
                let written = std::io::Write::write_all(file, &bytes);
                written.map_err(|source| PublishError::Write { path: place.clone(), source })
            })?;
            kept.insert(place);
        }
    }
    remove_others(path, &kept)?;
    Ok(kept.len() as u64)
}

fn remove_others(path: &Utf8Path, kept: &HashSet<Utf8PathBuf>) -> Result<(), PublishError> {
    let directory = path.parent().filter(|parent| !parent.as_str().is_empty());
    let directory = directory.unwrap_or(Utf8Path::new("."));
    let begin = format!("{}.", path.file_name().unwrap_or_default());
    let entries = directory.read_dir_utf8().into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let place = path.with_file_name(name);
        if name.starts_with(&begin) && name.ends_with(SUFFIX) && !kept.contains(&place) {
            super::files::remove(&place)?;
        }
    }
    Ok(())
}

/// The patches from one archive to another.
fn patches(store: &Store, old: &Index, new: &Index) -> Result<Vec<Patch>, PublishError> {
    let places: HashMap<ChunkId, usize> =
        old.chunks.iter().enumerate().map(|(number, chunk)| (chunk.id, number)).collect();
    let (mut made, mut patches) = (HashSet::new(), Vec::new());
    let (mut number, mut at_old) = (0, 0);
    while let Some(chunk) = new.chunks.get(number) {
        if let Some(&place) = places.get(&chunk.id) {
            at_old = old.chunks.get(place).map_or(at_old, |chunk| chunk.end);
            number += 1;
            continue;
        }
        if made.contains(&chunk.id) {
            number += 1;
            continue;
        }
        let start = new.start(number).unwrap_or_default();
        let first = number;
        while let Some(chunk) = new.chunks.get(number) {
            let fits = number == first || chunk.end - start <= PATCH_BYTES;
            if !fits || places.contains_key(&chunk.id) || !made.insert(chunk.id) {
                break;
            }
            number += 1;
        }
        let result = read(store, new, start, new.start(number).unwrap_or(new.length()))?;
        let range = around(at_old, result.len() as u64, old.length());
        let base = read(store, old, range.start, range.end)?;
        let bytes = zstd_delta::make(&base, &result, LEVEL)
            .map_err(|error| PublishError::Delta { source: Box::new(error) })?;
        at_old = follow(&base, &result, range.start).unwrap_or(at_old + result.len() as u64);
        let short = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        patches.push(Patch {
            first: short(first),
            chunks: short(number - first),
            old_from: range.start,
            old_length: short(base.len()),
            bytes,
        });
    }
    Ok(patches)
}

/// The part of the old archive that a patch may refer to.
fn around(at: u64, length: u64, all: u64) -> std::ops::Range<u64> {
    let length = length.min(deltas::RANGE_BYTES_MAX - 2 * MARGIN_BYTES);
    let from = at.saturating_sub(MARGIN_BYTES).min(all);
    from..at.saturating_add(length).saturating_add(MARGIN_BYTES).min(all)
}

/// Where the old archive goes on behind what a patch made.
fn follow(base: &[u8], result: &[u8], start: u64) -> Option<u64> {
    let tail = result.get(result.len().checked_sub(TAIL_BYTES)?..)?;
    let found = base.windows(TAIL_BYTES).rposition(|window| window == tail)?;
    Some(start + (found + TAIL_BYTES) as u64)
}

/// A part of an archive, put together from the store.
fn read(store: &Store, index: &Index, from: u64, until: u64) -> Result<Vec<u8>, PublishError> {
    let first = index.chunks.partition_point(|chunk| chunk.end <= from);
    let mut bytes = Vec::new();
    let begin = index.start(first).unwrap_or(from);
    for number in first..index.chunks.len() {
        if begin + bytes.len() as u64 >= until {
            break;
        }
        let Some(wanted) = index.wanted(number) else { break };
        let stored = store.read(&wanted.id)?;
        let opened = chunk::open(&wanted, &stored, Form::Compressed);
        bytes.extend(opened.map_err(|source| PublishError::Chunk { source })?);
    }
    let cut = |at: u64| usize::try_from(at - begin).unwrap_or(usize::MAX).min(bytes.len());
    let range = cut(from)..cut(until);
    Ok(bytes.get(range).unwrap_or_default().to_vec())
}
