//! Directories of somebody else as places to take chunks from.
//!
//! Nothing is known about such a directory, so the content of each file is cut and named as the index does it. Cuts
//! depend on content alone and meet those of the archive after a chunk or two: whatever of a large file is the same is
//! found. Files shorter than the shortest chunk are passed over.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::format::casync::chunk::{ChunkId, Wanted, verify};
use crate::format::casync::chunker::{ChunkSizes, boundaries, identify};
use crate::format::casync::index::Header;

/// Files looked through at most; what is beyond is fetched.
const FILES_MAX: usize = 1_000_000;

/// Bytes of a file looked through at once, by each thread.
const PIECE_BYTES: usize = 8 << 20;

/// Most threads that look through files.
const THREADS_MAX: usize = 16;

/// Where wanted chunks are in files of somebody else. Each is verified when it is taken.
#[derive(Debug, Default)]
pub(super) struct Foreign {
    files: Vec<PathBuf>,
    places: HashMap<ChunkId, (usize, u64)>,
}

/// Whether a directory is a store of chunks.
pub fn is_store(directory: &Path) -> bool {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.take(FILES_MAX).any(|entry| {
        let name = entry.file_name();
        name.len() == 4 && name.as_encoded_bytes().iter().all(u8::is_ascii_hexdigit)
    })
}

impl Foreign {
    /// Looks through directories for wanted chunks of an index with this header.
    pub(super) fn find(directories: &[PathBuf], header: &Header, wanted: &[Wanted]) -> Self {
        let Ok(sizes) = ChunkSizes::new(header.min, header.avg, header.max) else {
            return Self::default();
        };
        if directories.is_empty() || wanted.is_empty() {
            return Self::default();
        }
        let wanted: HashSet<ChunkId> = wanted.iter().map(|wanted| wanted.id).collect();
        let files = files(directories, sizes.min() as u64);
        let (next, places) = (AtomicUsize::new(0), Mutex::new(HashMap::new()));
        let workers = thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
        thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        let Some(path) = files.get(number) else { return };
                        // A file that cannot be read is no place to take anything from.
                        let found = look_through(path, sizes, header, &wanted).unwrap_or_default();
                        let mut places = places.lock().unwrap_or_else(PoisonError::into_inner);
                        places.extend(found.into_iter().map(|(id, at)| (id, (number, at))));
                    }
                });
            }
        });
        let places = places.into_inner().unwrap_or_else(PoisonError::into_inner);
        Self { files, places }
    }

    /// Whether a chunk was found.
    pub(super) fn has(&self, id: &ChunkId) -> bool {
        self.places.contains_key(id)
    }

    /// A chunk that was found, if it is still there.
    pub(super) fn get(&self, wanted: &Wanted) -> Option<Vec<u8>> {
        let (number, at) = self.places.get(&wanted.id)?;
        let mut bytes = vec![0; usize::try_from(wanted.length).ok()?];
        open(self.files.get(*number)?).ok()?.read_exact_at(&mut bytes, *at).ok()?;
        verify(wanted, &bytes).is_ok().then_some(bytes)
    }
}

/// Regular files of some length below directories, whose links are not followed.
fn files(directories: &[PathBuf], shortest: u64) -> Vec<PathBuf> {
    let (mut found, mut pending) = (Vec::new(), directories.to_vec());
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            if found.len() + pending.len() >= FILES_MAX {
                return found;
            }
            if kind.is_dir() {
                pending.push(entry.path());
            } else if kind.is_file() && entry.metadata().is_ok_and(|m| m.len() >= shortest) {
                found.push(entry.path());
            }
        }
    }
    found
}

fn open(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    File::options().read(true).custom_flags(flags).open(path)
}

/// The wanted chunks of one file and where they begin.
fn look_through(
    path: &Path,
    sizes: ChunkSizes,
    header: &Header,
    wanted: &HashSet<ChunkId>,
) -> io::Result<Vec<(ChunkId, u64)>> {
    let file = open(path)?;
    let length = file.metadata()?.len();
    let room = u64::try_from(PIECE_BYTES.max(2 * sizes.max())).unwrap_or(u64::MAX);
    let (mut found, mut at, mut piece) = (Vec::new(), 0, Vec::new());
    while at < length {
        let count = room.min(length - at);
        piece.resize(usize::try_from(count).unwrap_or_default(), 0);
        file.read_exact_at(&mut piece, at)?;
        let mut ends = boundaries(sizes, &piece, 1);
        if at + count < length && ends.len() > 1 {
            // The last one was cut by the end of the piece.
            ends.pop();
        }
        let mut start = 0;
        for (id, &end) in identify(header.flags.digest(), &piece, &ends, 1).into_iter().zip(&ends) {
            if wanted.contains(&id) {
                found.push((id, at + start as u64));
            }
            start = end;
        }
        match start {
            0 => break,
            passed => at += passed as u64,
        }
    }
    Ok(found)
}
