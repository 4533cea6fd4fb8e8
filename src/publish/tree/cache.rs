//! What a tree looked like when it was published: an unchanged tree costs a `stat` a node.
//!
//! One digest sums up what `stat` says of every node: name, type, mode, owner, size, both times, inode and
//! device. Any difference makes the whole tree be read again, which the digest of its stream in the `.cks`
//! file needs anyway.
//!
//! The one beside the index is locked while that is published, so it is written in place: torn, it is as good as none.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use camino::{Utf8Path, Utf8PathBuf};
use data_encoding::HEXLOWER;
use jiff::{SignedDuration, Timestamp};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::deltas::Known;
use super::files::beside;
use super::store::Store;
use super::walk::entries;
use super::{Packing, Publication, PublishError, Published};
use crate::format::casync::catar::DEPTH_MAX;
use crate::format::casync::chunk::ChunkId;
use crate::format::casync::cks;
use crate::format::casync::flags::Flags;
use crate::format::casync::index::{CHUNKS_MAX, IndexReader};
use crate::format::casync::packs::{LIST_SUFFIX, PackList};
use crate::host::{open_in_place, open_regular};
use crate::publish::place::patiently;

/// Ending of the name of an index for what is remembered.
const SUFFIX: &str = ".cache";

/// What is remembered is some hundred bytes.
const CACHE_BYTES_MAX: u64 = 64 << 10;

/// Bytes of a list of names that are looked at.
const NAMES_BYTES_MAX: u64 = 16 << 20;

/// Bytes of a `.cks` file that are read.
const CKS_BYTES_MAX: u64 = 1024;

/// A node that changed within this time may change again with the same time on it: the coarsest clock of file
/// systems that keep hours is FAT's, with two seconds.
const STILL: SignedDuration = SignedDuration::from_secs(2);

/// Of this form. Another one is as good as none.
const VERSION: u32 = 1;

/// What a tree looks like.
#[derive(Debug)]
pub(super) struct Seen {
    fingerprint: String,
    /// When the state of any node changed last.
    newest: (i64, i64),
}

/// The memory of one index.
#[derive(Debug)]
pub(super) struct Cache<'w> {
    wish: &'w Publication,
    path: Utf8PathBuf,
    file: File,
    /// The one beside the index, whatever is remembered elsewhere: there is one publisher of an index at a time.
    lock: File,
    settings: String,
}

impl Drop for Cache<'_> {
    fn drop(&mut self) {
        // Closing is not enough while a program that another thread is just starting still has the file.
        let _ = self.lock.unlock();
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Memory {
    version: u32,
    settings: String,
    tree: String,
    /// SHA-256 of the index.
    index: String,
    digest: String,
    bytes: u64,
    /// Digests of older indexes from which no delta is worth having.
    #[serde(default)]
    worthless: Vec<String>,
}

impl Seen {
    /// Looks at every node of a tree.
    pub(super) fn of(tree: &Utf8Path) -> Result<Self, PublishError> {
        let failed =
            |error: Errno| PublishError::Read { path: tree.to_string(), source: error.into() };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(tree.as_std_path(), flags, Mode::empty()).map_err(failed)?;
        let stat = rustix::fs::fstat(&root).map_err(failed)?;
        let mut look = Look { sum: Sha256::new(), newest: (0, 0) };
        look.node(b"", &stat);
        look.directory(&root, 1).map_err(failed)?;
        Ok(Self { fingerprint: hex(look.sum), newest: look.newest })
    }
}

#[derive(Debug)]
struct Look {
    sum: Sha256,
    newest: (i64, i64),
}

impl Look {
    fn directory(&mut self, directory: &OwnedFd, depth: usize) -> Result<(), Errno> {
        // What is too deep to be published is told by the walk that publishes.
        if depth > DEPTH_MAX {
            return Ok(());
        }
        for (name, kind) in entries(directory)? {
            let stat = rustix::fs::statat(directory, &name, AtFlags::SYMLINK_NOFOLLOW)?;
            self.node(name.as_bytes(), &stat);
            if kind == FileType::Directory {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let below = rustix::fs::openat(directory, &name, flags, Mode::empty())?;
                self.directory(&below, depth + 1)?;
            }
        }
        self.sum.update(b"/");
        Ok(())
    }

    fn node(&mut self, name: &[u8], stat: &Stat) {
        let nanoseconds = |n| i64::try_from(n).unwrap_or_default();
        let changed = (stat.st_ctime, nanoseconds(stat.st_ctime_nsec));
        self.newest = self.newest.max(changed);
        self.sum.update(name);
        self.sum.update([0]);
        let mut state = Vec::with_capacity(80);
        for number in [stat.st_mode, stat.st_uid, stat.st_gid] {
            state.extend(number.to_le_bytes());
        }
        for number in
            [stat.st_size, stat.st_mtime, nanoseconds(stat.st_mtime_nsec), changed.0, changed.1]
        {
            state.extend(number.to_le_bytes());
        }
        for number in [stat.st_ino, stat.st_dev, stat.st_rdev] {
            state.extend(number.to_le_bytes());
        }
        self.sum.update(state);
    }
}

impl<'w> Cache<'w> {
    /// The memory of what a publication with these flags makes, for it alone.
    pub(super) fn lock(wish: &'w Publication, flags: Flags) -> Result<Self, PublishError> {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let usual = beside(&wish.index, SUFFIX);
        let failed =
            |path: &Utf8Path, source| PublishError::Write { path: path.to_owned(), source };
        // Whoever may write where it is published may have put a link there.
        let lock = open_in_place(&usual, &mut options).map_err(|e| failed(&usual, e))?;
        let had = patiently(wish.patience, || lock.try_lock());
        if !had.map_err(|source| PublishError::Write { path: usual.clone(), source })? {
            return Err(PublishError::Busy { path: usual });
        }
        let (path, file) = match &wish.cache {
            Some(named) => (named.clone(), open_regular(named, &mut options)),
            None => (usual.clone(), open_in_place(&usual, &mut options)),
        };
        let file = file.map_err(|e| failed(&path, e))?;
        let mut sum = Sha256::new();
        sum.update(flags.bits().to_le_bytes());
        if flags.contains(Flags::USER_NAMES) {
            for list in ["/etc/passwd", "/etc/group"] {
                sum.update(read(Utf8Path::new(list), NAMES_BYTES_MAX).unwrap_or_default());
                sum.update([0]);
            }
        }
        Ok(Self { wish, path, file, lock, settings: hex(sum) })
    }

    /// What was published, if the tree looks as it did then and everything that was made of it is there.
    pub(super) fn published(
        &self,
        seen: &Seen,
        store: &Store,
        older: &[Known],
    ) -> Option<Published> {
        let memory = self.memory()?;
        let same = memory.version == VERSION
            && memory.settings == self.settings
            && memory.tree == seen.fingerprint;
        if !same {
            return None;
        }
        let Memory { digest, bytes, index, worthless, .. } = memory;
        let there =
            |old: &Known| old.leads_to(&self.wish.index, &index) || worthless.contains(&old.digest);
        if !older.iter().all(there) {
            return None;
        }
        let sum = cks::read(&read(&beside(&self.wish.index, ".cks"), CKS_BYTES_MAX)?).ok()?;
        let listing = beside(&self.wish.index, ".mtree").is_file();
        if sum.to_string() != digest || !listing || !self.packs_are_there(store) {
            return None;
        }
        let chunks = self.chunks_there(store, &index)?;
        Some(Published { digest, unchanged: true, bytes, chunks, ..Published::default() })
    }

    /// Remembers what was published, unless a node changed so lately that it may do so again unnoticed.
    pub(super) fn remember(
        &self,
        seen: &Seen,
        published: &Published,
        (now, worthless): (Timestamp, Vec<String>),
    ) -> Result<(), PublishError> {
        let moment = |(seconds, nanoseconds): (i64, i64)| {
            let nanoseconds = i32::try_from(nanoseconds).unwrap_or_default();
            Timestamp::new(seconds, nanoseconds).unwrap_or(Timestamp::MAX)
        };
        if now.duration_since(moment(seen.newest)) < STILL {
            return Ok(());
        }
        let failed = |source| PublishError::Read { path: self.wish.index.to_string(), source };
        let mut index =
            Summing { inner: File::open(&self.wish.index).map_err(failed)?, sum: Sha256::new() };
        io::copy(&mut index, &mut io::sink()).map_err(failed)?;
        let memory = Memory {
            version: VERSION,
            settings: self.settings.clone(),
            tree: seen.fingerprint.clone(),
            index: hex(index.sum),
            digest: published.digest.clone(),
            bytes: published.bytes,
            worthless,
        };
        self.write(&memory)
    }

    fn memory(&self) -> Option<Memory> {
        let mut text = Vec::new();
        let mut file = &self.file;
        file.rewind().ok()?;
        file.take(CACHE_BYTES_MAX).read_to_end(&mut text).ok()?;
        serde_json::from_slice(&text).ok()
    }

    fn write(&self, memory: &Memory) -> Result<(), PublishError> {
        let text = serde_json::to_vec(memory).map_err(io::Error::from);
        let write = || -> io::Result<()> {
            self.file.set_len(0)?;
            self.file.write_all_at(&text?, 0)
        };
        write().map_err(|source| PublishError::Write { path: self.path.clone(), source })
    }

    /// Number of the chunks of the index, if it is the one remembered and all of them are there.
    fn chunks_there(&self, store: &Store, expected: &str) -> Option<u64> {
        let file = File::open(&self.wish.index).ok()?;
        let mut source = Summing { inner: file, sum: Sha256::new() };
        let mut reader = IndexReader::new(&mut source).ok()?;
        let (mut count, mut before) = (0, None::<ChunkId>);
        while let Some(chunk) = reader.next_chunk().ok()? {
            // Runs of equal chunks are common: holes, padding.
            if count >= CHUNKS_MAX as u64 || before != Some(chunk.id) && !store.has(&chunk.id) {
                return None;
            }
            before = Some(chunk.id);
            count += 1;
        }
        drop(reader);
        (hex(source.sum) == expected).then_some(count)
    }

    fn packs_are_there(&self, store: &Store) -> bool {
        if self.wish.packing == Packing::Chunks {
            return true;
        }
        let list = File::open(beside(&self.wish.index, LIST_SUFFIX)).ok();
        let list = list.and_then(|file| PackList::read(io::BufReader::new(file)).ok());
        list.is_some_and(|list| {
            let there = |pack: &crate::format::casync::packs::Pack| {
                store.size(&pack.path()) == Some(pack.length.into())
            };
            list.packs().iter().all(there)
        })
    }
}

/// A source whose bytes are summed up while they are read.
#[derive(Debug)]
struct Summing {
    inner: File,
    sum: Sha256,
}

impl Read for Summing {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into)?;
        self.sum.update(into.get(..count).unwrap_or_default());
        Ok(count)
    }
}

fn read(path: &Utf8Path, limit: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(limit).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn hex(sum: Sha256) -> String {
    HEXLOWER.encode(&sum.finalize())
}
