//! Removing from a store what no index names any more.
//!
//! A chunk that was named until a moment ago may still be on its way to a client that read the index before.
//! So a chunk is only condemned when it is first found unused, which the store remembers, and removed by a
//! later collection when it is still unused after a grace period. Nothing younger than that is removed either: it
//! may belong to an index that is still being made by a publisher who knows no locks. Publishers who do are
//! kept out.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::PublishError;
use super::files::{beside, replace};
use super::store::{Store, Using};
use crate::format::casync::chunk::ChunkId;
use crate::format::casync::index::IndexReader;
use crate::format::casync::packs::{DIRECTORY, LIST_SUFFIX, Pack, PackList};

/// Time for which unused chunks are kept unless told otherwise: longer than any download takes.
pub const GRACE_DEFAULT: SignedDuration = SignedDuration::from_hours(24);

/// Age of half-written files that nobody is writing any more.
const TEMPORARY_AGE: SignedDuration = SignedDuration::from_hours(1);

/// Name of the file in a store that remembers since when files are unused.
const CONDEMNED: &str = ".reconcile.unused";

/// Bytes of it that are read: a line of about 100 bytes for each of 4 million chunks.
const CONDEMNED_BYTES_MAX: u64 = 400 << 20;

/// What to do about unused files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Only count them.
    Look,
    /// Condemn them, and remove those condemned long enough ago.
    Remove,
}

/// A collection.
#[derive(Clone, Copy, Debug)]
pub struct Collection<'c> {
    /// The store.
    pub store: &'c Utf8Path,
    /// Every index that names chunks of it.
    pub indexes: &'c [Utf8PathBuf],
    /// How long unused chunks are kept.
    pub grace: SignedDuration,
    /// What to do.
    pub deed: Deed,
    /// How long publishers are waited for.
    pub patience: Duration,
}

/// What was found, and removed if that was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Collected {
    /// Chunks and packs that an index names.
    pub used: u64,
    /// Chunks and packs that are unused, but not for long enough.
    pub waiting: u64,
    /// Chunks, packs and half-written files that were removed, or would be.
    pub removed: u64,
    /// Their bytes.
    pub removed_bytes: u64,
    /// Indexes beside those that were named: what only they name counts as unused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unnamed: Vec<Utf8PathBuf>,
}

/// Removes what no index names. Nothing is removed when one of them cannot be read.
pub fn collect(collection: &Collection<'_>, now: Timestamp) -> Result<Collected, PublishError> {
    let using = if collection.deed == Deed::Remove { Using::Alone } else { Using::Looking };
    let store = Store::open(collection.store, using, collection.patience)?;
    let used = Used::of(collection.indexes)?;
    let before = read_condemned(collection.store);
    let (mut collected, mut condemned, mut doomed) =
        (Collected::default(), BTreeMap::new(), Vec::new());
    for stored in stored(collection.store)? {
        let age = now.duration_since(stored.modified);
        let unused_for = match used.says(&stored.name) {
            Verdict::Used => {
                collected.used += 1;
                continue;
            }
            Verdict::Foreign => continue,
            Verdict::Temporary if age < TEMPORARY_AGE => continue,
            Verdict::Temporary => SignedDuration::MAX,
            Verdict::Unused => {
                let since = before.get(&stored.name).copied().unwrap_or(now).min(now);
                condemned.insert(stored.name.clone(), since);
                now.duration_since(since).min(age)
            }
        };
        if unused_for < collection.grace {
            collected.waiting += 1;
            continue;
        }
        condemned.remove(&stored.name);
        collected.removed += 1;
        collected.removed_bytes += stored.size;
        doomed.push(stored.name);
    }
    collected.unnamed = unnamed(collection.indexes);
    if collection.deed == Deed::Remove {
        // First it is known what is condemned, then what is due goes: killed in between, the next one goes on.
        write_condemned(collection.store, &condemned)?;
        for name in &doomed {
            store.remove(name)?;
        }
    }
    Ok(collected)
}

/// Indexes that lie beside others.
fn unnamed(indexes: &[Utf8PathBuf]) -> Vec<Utf8PathBuf> {
    let real = |path: &Utf8Path| path.canonicalize_utf8().ok();
    let named: HashSet<_> = indexes.iter().filter_map(|path| real(path)).collect();
    let directories: BTreeSet<_> = named.iter().filter_map(|path| path.parent()).collect();
    let entries = directories.into_iter().flat_map(Utf8Path::read_dir_utf8).flatten();
    let paths = entries.flatten().map(|entry| entry.path().to_owned());
    let others = paths.filter(|path| {
        matches!(path.extension(), Some("caidx" | "caibx"))
            && real(path).is_some_and(|path| path.is_file() && !named.contains(&path))
    });
    others.collect()
}

/// A file in a store.
#[derive(Debug)]
struct Stored {
    /// Path below the store.
    name: String,
    modified: Timestamp,
    size: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Used,
    Unused,
    /// Half-written, by us or casync.
    Temporary,
    /// Nothing that a publisher made.
    Foreign,
}

/// What all indexes name.
#[derive(Debug, Default)]
struct Used {
    chunks: HashSet<ChunkId>,
    packs: HashSet<[u8; 32]>,
}

impl Used {
    fn of(indexes: &[Utf8PathBuf]) -> Result<Self, PublishError> {
        let mut used = Self::default();
        for path in indexes {
            let unread = |source| PublishError::ReadIndex { path: path.clone(), source };
            let missing = |source| PublishError::Read { path: path.to_string(), source };
            let file = File::open(path).map_err(missing)?;
            let mut index = IndexReader::new(file).map_err(unread)?;
            while let Some(chunk) = index.next_chunk().map_err(unread)? {
                used.chunks.insert(chunk.id);
            }
            let path = beside(path, LIST_SUFFIX);
            let list = match File::open(&path) {
                Ok(file) => PackList::read(BufReader::new(file))
                    .map_err(|source| PublishError::PackList { path, source })?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => return Err(PublishError::Read { path: path.to_string(), source }),
            };
            used.packs.extend(list.packs().iter().map(|pack| pack.digest));
        }
        Ok(used)
    }

    fn says(&self, name: &str) -> Verdict {
        let used = if let Some((id, _)) = ChunkId::from_path(name) {
            self.chunks.contains(&id)
        } else if let Some(("packs", name)) = name.split_once('/')
            && let Some(digest) = Pack::digest_of_name(name)
        {
            self.packs.contains(&digest)
        } else if is_temporary(name) {
            return Verdict::Temporary;
        } else {
            return Verdict::Foreign;
        };
        if used { Verdict::Used } else { Verdict::Unused }
    }
}

/// `abcd/<64 hex>.<16 hex>.tmp`, as casync and we name what is being written.
fn is_temporary(name: &str) -> bool {
    let Some((directory, name)) = name.split_once('/') else { return false };
    let mut parts = name.split('.');
    let hex = |part: Option<&str>, length| {
        part.is_some_and(|p| p.len() == length && p.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    let named = hex(parts.next(), 64) && hex(parts.next(), 16);
    named && parts.next() == Some("tmp") && parts.next().is_none() && is_directory(directory)
}

/// Whether a directory of a store is one of those that chunks or packs are in.
fn is_directory(name: &str) -> bool {
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    name == DIRECTORY || name.len() == 4 && name.bytes().all(hex)
}

/// Every file in the directories of a store, in no order.
fn stored(store: &Utf8Path) -> Result<Vec<Stored>, PublishError> {
    let mut found = Vec::new();
    let mut look = || -> io::Result<()> {
        for directory in store.read_dir_utf8()? {
            let directory = directory?;
            if !is_directory(directory.file_name()) || !directory.file_type()?.is_dir() {
                continue;
            }
            for file in directory.path().read_dir_utf8()? {
                let file = file?;
                let metadata = file.metadata()?;
                if metadata.is_file() {
                    found.push(Stored {
                        name: format!("{}/{}", directory.file_name(), file.file_name()),
                        modified: Timestamp::from_second(metadata.mtime())
                            .unwrap_or(Timestamp::MAX),
                        size: metadata.len(),
                    });
                }
            }
        }
        Ok(())
    };
    match look() {
        Ok(()) => Ok(found),
        Err(source) => Err(PublishError::Read { path: store.to_string(), source }),
    }
}

/// Since when files were unused. What cannot be read only makes them wait again.
fn read_condemned(store: &Utf8Path) -> BTreeMap<String, Timestamp> {
    let Ok(file) = File::open(store.join(CONDEMNED)) else { return BTreeMap::new() };
    let lines = BufReader::new(file.take(CONDEMNED_BYTES_MAX)).lines().map_while(Result::ok);
    let line = |line: String| {
        let (seconds, name) = line.split_once(' ')?;
        let since = Timestamp::from_second(seconds.parse().ok()?).ok()?;
        Some((name.to_owned(), since))
    };
    lines.filter_map(line).collect()
}

fn write_condemned(
    store: &Utf8Path,
    condemned: &BTreeMap<String, Timestamp>,
) -> Result<(), PublishError> {
    let path = store.join(CONDEMNED);
    replace(&path, |file| {
        let mut file = io::BufWriter::new(file);
        let mut written = Ok(());
        for (name, since) in condemned {
            // Rounded up: nobody waits too short.
            written = written.and_then(|()| writeln!(file, "{} {name}", since.as_second() + 1));
        }
        let written = written.and_then(|()| file.flush());
        written.map_err(|source| PublishError::Write { path: path.clone(), source })
    })
}
