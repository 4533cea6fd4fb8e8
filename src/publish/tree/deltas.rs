//! Deltas between versions of a tree, made of what both have in the store.

use std::collections::{HashMap, HashSet};
use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use super::files::{beside, replace};
use super::store::Store;
use super::{Publication, PublishError};
use crate::format::casync::chunk::{self, ChunkId, Form};
use crate::format::casync::deltas::{self, PATCH_BYTES, PATCHES_BYTES_MAX, Patch, SUFFIX};
use crate::format::casync::index::{INDEX_BYTES_MAX, Index, IndexError};
use crate::format::zstd_delta;
use crate::host::read_regular;
use crate::model::outcome::chain;
use crate::publish::patches::each;

/// Bytes of the old archive around the place where a run should be that a patch may refer to.
const MARGIN_BYTES: u64 = 4 << 20;

/// Bytes at the end of a patch's result that are looked for in the old archive, to know where the next range should be.
const TAIL_BYTES: usize = 64;

/// Level at which patches are compressed: they are made once and fetched often.
const LEVEL: i32 = 12;

/// Of so many hundredths of the stored chunks that a patch stands for, or less, it is worth having.
const WORTH_PERCENT: u64 = 75;

/// A patch that is shorter is always worth having: to ask for a chunk costs as much.
const REQUEST_BYTES: u64 = 4 << 10;

/// Level at which it is tried whether a patch is: one that is not, far from it, takes no time.
const TRIAL_LEVEL: i32 = 1;

/// The same for what a trial makes.
const TRIAL_PERCENT: u64 = 90;

/// Patches made at once: each has some ten MiB of both archives, and several times that to compress them.
const AT_ONCE: usize = 4;

/// An index, and what it is called in the names of deltas.
#[derive(Debug)]
pub(super) struct Known {
    path: Utf8PathBuf,
    pub(super) digest: String,
    index: Index,
}

impl Known {
    /// An index with these bytes, which is or will be at this path.
    pub(super) fn of(path: &Utf8Path, bytes: &[u8]) -> Result<Self, IndexError> {
        let index = Index::read(bytes)?;
        let digest = HEXLOWER.encode(&Sha256::digest(bytes));
        Ok(Self { path: path.to_owned(), digest, index })
    }

    /// The indexes that deltas are wanted from. The one that is published may be among them where it is not there yet, or
    /// is none.
    pub(super) fn wanted(wish: &Publication) -> Result<Vec<Self>, PublishError> {
        let absolute = |path: &Utf8Path| std::path::absolute(path).ok();
        let mut all = Vec::new();
        for path in &wish.deltas_from {
            let read = read_regular(path, INDEX_BYTES_MAX)
                .and_then(|bytes| Self::of(path, &bytes).map_err(io::Error::other));
            match read {
                Ok(known) => all.push(known),
                Err(_) if absolute(path) == absolute(&wish.index) => {}
                Err(source) => return Err(PublishError::Read { path: path.to_string(), source }),
            }
        }
        Ok(all)
    }

    /// Whether there is a delta from this to another index, or none is wanted.
    pub(super) fn leads_to(&self, index: &Utf8Path, digest: &str) -> bool {
        self.digest == digest || beside(index, &deltas::suffix(&self.digest, digest)).is_file()
    }
}

/// What became of the deltas that were wanted.
#[derive(Debug, Default)]
pub(super) struct Made {
    /// How many there are.
    pub(super) count: u64,
    /// Digests of the indexes from which none is worth having.
    pub(super) worthless: Vec<String>,
    /// Why others are not there.
    pub(super) notes: Vec<String>,
}

/// Writes the deltas that lead to an index, which need not be there yet. Whoever comes before they are there fetches
/// chunks: so one that cannot be made is told, and hinders nothing.
pub(super) fn make(store: &Store, new: &Known, from: &[Known]) -> Made {
    let mut made = Made::default();
    for old in from.iter().filter(|old| old.digest != new.digest) {
        if old.leads_to(&new.path, &new.digest) {
            made.count += 1;
            continue;
        }
        match write(store, new, old) {
            Ok(true) => made.count += 1,
            Ok(false) => made.worthless.push(old.digest.clone()),
            Err(error) => made.notes.push(format!("no delta from {}: {}", old.path, chain(&error))),
        }
    }
    made
}

/// Writes one, if there is anything worth having in it.
fn write(store: &Store, new: &Known, old: &Known) -> Result<bool, PublishError> {
    let patches = patches(store, &old.index, &new.index)?;
    if patches.is_empty() {
        return Ok(false);
    }
    let place = beside(&new.path, &deltas::suffix(&old.digest, &new.digest));
    replace(&place, |file| {
        let written = io::Write::write_all(file, &deltas::write(&patches));
        written.map_err(|source| PublishError::Write { path: place.clone(), source })
    })?;
    Ok(true)
}

/// Removes the deltas that lead to other indexes than the one with this digest.
pub(super) fn remove_others(path: &Utf8Path, digest: &str) -> Result<(), PublishError> {
    let directory = path.parent().filter(|parent| !parent.as_str().is_empty());
    let directory = directory.unwrap_or(Utf8Path::new("."));
    let begin = format!("{}.", path.file_name().unwrap_or_default());
    let suffix = deltas::suffix("", digest);
    let end = suffix.strip_prefix('.').unwrap_or(&suffix);
    let entries = directory.read_dir_utf8().into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        if name.starts_with(&begin) && name.ends_with(SUFFIX) && !name.ends_with(end) {
            super::files::remove(&path.with_file_name(name))?;
        }
    }
    Ok(())
}

/// The patches from one archive to another that are worth having, as many as clients read.
fn patches(store: &Store, old: &Index, new: &Index) -> Result<Vec<Patch>, PublishError> {
    let mut runs = Runs::new(old, new);
    let (mut patches, mut bytes) = (Vec::new(), 0);
    loop {
        let mut some = Vec::new();
        while some.len() < AT_ONCE
            && let Some(run) = runs.next(store)?
        {
            some.push(run);
        }
        if some.is_empty() {
            return Ok(patches);
        }
        for patch in each(&some, Run::patch)?.into_iter().flatten() {
            bytes += deltas::bytes_of(&patch);
            if bytes > PATCHES_BYTES_MAX {
                return Ok(patches);
            }
            patches.push(patch);
        }
    }
}

/// Chunks of the new archive side by side that the old one lacks.
#[derive(Debug)]
struct Run {
    first: usize,
    chunks: usize,
    /// What they are.
    result: Vec<u8>,
    /// The part of the old archive that is likest to them, and where that is.
    base: Vec<u8>,
    from: u64,
    /// Bytes that they have in the store.
    stored: u64,
}

impl Run {
    /// The patch, if it is worth having.
    fn patch(&self) -> Result<Option<Patch>, PublishError> {
        let make = |level| {
            zstd_delta::make(&self.base, &self.result, level)
                .map_err(|error| PublishError::Delta { source: Box::new(error) })
        };
        let within = |bytes: &[u8], percent: u64| {
            let length = bytes.len() as u64;
            length <= REQUEST_BYTES || length * 100 <= self.stored * percent
        };
        if !within(&make(TRIAL_LEVEL)?, TRIAL_PERCENT) {
            return Ok(None);
        }
        let bytes = make(LEVEL)?;
        let short = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Ok(within(&bytes, WORTH_PERCENT).then(|| Patch {
            first: short(self.first),
            chunks: short(self.chunks),
            old_from: self.from,
            old_length: short(self.base.len()),
            bytes,
        }))
    }
}

/// The runs of a new archive, one after the other.
#[derive(Debug)]
struct Runs<'a> {
    old: &'a Index,
    new: &'a Index,
    places: HashMap<ChunkId, usize>,
    made: HashSet<ChunkId>,
    /// The chunk that is next.
    number: usize,
    /// Where the old archive probably goes on.
    at_old: u64,
}

impl<'a> Runs<'a> {
    fn new(old: &'a Index, new: &'a Index) -> Self {
        let places = old.chunks.iter().enumerate().map(|(number, chunk)| (chunk.id, number));
        Self { old, new, places: places.collect(), made: HashSet::new(), number: 0, at_old: 0 }
    }

    fn next(&mut self, store: &Store) -> Result<Option<Run>, PublishError> {
        let (old, new) = (self.old, self.new);
        while let Some(chunk) = new.chunks.get(self.number) {
            if let Some(&place) = self.places.get(&chunk.id) {
                self.at_old = old.chunks.get(place).map_or(self.at_old, |chunk| chunk.end);
            } else if !self.made.contains(&chunk.id) {
                break;
            }
            self.number += 1;
        }
        let Some(start) = new.start(self.number).filter(|_| self.number < new.chunks.len()) else {
            return Ok(None);
        };
        let first = self.number;
        let mut stored = 0;
        while let Some(chunk) = new.chunks.get(self.number) {
            let fits = self.number == first || chunk.end - start <= PATCH_BYTES;
            if !fits || self.places.contains_key(&chunk.id) || !self.made.insert(chunk.id) {
                break;
            }
            stored += store.size(&chunk.id.path(Form::Compressed)).unwrap_or(0);
            self.number += 1;
        }
        let end = new.start(self.number).unwrap_or(new.length());
        let result = read(store, new, start, end)?;
        let range = around(self.at_old, result.len() as u64, old.length());
        let base = read(store, old, range.start, range.end)?;
        let follows = follow(&base, &result, range.start);
        self.at_old = follows.unwrap_or(self.at_old + result.len() as u64);
        let chunks = self.number - first;
        Ok(Some(Run { first, chunks, result, base, from: range.start, stored }))
    }
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
