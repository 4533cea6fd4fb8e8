//! An installed generation as a place to take bytes from.
//!
//! Its index says which chunks it is made of, its list of nodes where in the archive each file's content is, and
//! its skeleton is all the rest of the archive: together any part of the archive can be had without
//! having been kept. A file is trusted as long as `stat` says that nobody touched it since it was made.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags};

use crate::assemble::{INDEX, NODES, SKELETON};
use crate::format::casync::chunk::{ChunkId, verify};
use crate::format::casync::index::Index;
use crate::host::nodes::node_stat;
use crate::model::snapshot::{NodeKind, NodeStat, Nodes};

/// Most bytes of an archive that are not file content: 4 million nodes with 256 bytes each.
const SKELETON_BYTES_MAX: u64 = 1 << 30;

/// Where a generation is, and which of its paths somebody touched.
#[derive(Clone, Debug)]
pub struct SeedPlace {
    /// The directory with its list of nodes.
    pub generation: PathBuf,
    /// Its tree.
    pub tree: PathBuf,
    /// Paths that are not as they were made.
    pub touched: HashSet<Vec<u8>>,
    /// Numbers of the nodes of which `stat` says anything else than is listed; `None` where nobody looked.
    pub suspects: Option<HashSet<usize>>,
    /// How far files are trusted that are as they were made.
    pub trust: Trust,
}

/// How far a file is trusted that `stat` finds as it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Its content is taken as it is.
    Stat,
    /// Content was found to be damaged: all of it is verified.
    Nothing,
}

/// One generation.
#[derive(Debug)]
pub(super) struct Old {
    /// The directory with its list of nodes.
    pub(super) place: PathBuf,
    pub(super) nodes: Arc<Nodes>,
    pub(super) touched: HashSet<Vec<u8>>,
    trust: Trust,
    index: Index,
    by_id: HashMap<ChunkId, u32>,
    skeleton: Vec<u8>,
    files: Vec<FilePart>,
    root: OwnedFd,
    opened: Option<(usize, File)>,
}

/// The content of a file in the archive.
#[derive(Clone, Copy, Debug)]
struct FilePart {
    offset: u64,
    size: u64,
    node: usize,
    /// Bytes of other files before it.
    before: u64,
}

/// What is at a place of the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spot {
    /// Content of a file.
    File {
        /// The file.
        node: usize,
        /// Where in the file.
        at: u64,
        /// Bytes until its end.
        left: u64,
    },
    /// Something else.
    Skeleton {
        /// Where in the skeleton.
        at: u64,
        /// Bytes until the next file.
        left: u64,
    },
}

impl Old {
    /// Opens a generation; `None` when it cannot be used, which only means that more is fetched.
    pub(super) fn open(place: SeedPlace) -> Option<Self> {
        let read = |name: &str| std::fs::read(place.generation.join(name)).ok();
        let nodes = Arc::new(Nodes::decode(&read(NODES)?).ok()?);
        let index = Index::read(read(INDEX)?.as_slice()).ok()?;
        let skeleton = read_skeleton(&place.generation.join(SKELETON)).ok()?;
        let mut files: Vec<FilePart> = (0..nodes.count())
            .filter_map(|node| {
                let stat = nodes.stat(node).filter(|s| s.kind == NodeKind::File && s.size > 0)?;
                Some(FilePart { offset: stat.offset, size: stat.size, node, before: 0 })
            })
            .collect();
        files.sort_unstable_by_key(|file| file.offset);
        let mut sum = 0;
        for file in &mut files {
            file.before = sum;
            sum += file.size;
        }
        if sum + skeleton.len() as u64 != index.length() {
            return None;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, &place.tree, flags, Mode::empty()).ok()?;
        let numbers = (0_u32..).zip(&index.chunks);
        let by_id = numbers.map(|(number, chunk)| (chunk.id, number)).collect();
        let (touched, trust) = (place.touched, place.trust);
        let place = place.generation;
        Some(Self {
            place,
            nodes,
            touched,
            trust,
            index,
            by_id,
            skeleton,
            files,
            root,
            opened: None,
        })
    }

    /// The number of a chunk; that right after `previous` where there are several.
    pub(super) fn find(&self, id: &ChunkId, previous: Option<u32>) -> Option<u32> {
        let next = previous.and_then(|number| number.checked_add(1));
        let follows = next.filter(|&next| {
            let index = usize::try_from(next).unwrap_or(usize::MAX);
            self.index.chunks.get(index).is_some_and(|chunk| &chunk.id == id)
        });
        follows.or_else(|| self.by_id.get(id).copied())
    }

    /// Where a chunk begins in the archive.
    pub(super) fn start(&self, number: u32) -> u64 {
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        self.index.start(number).unwrap_or_default()
    }

    /// What is at a place of the archive.
    pub(super) fn spot(&self, offset: u64) -> Spot {
        let after = self.files.partition_point(|file| file.offset + file.size <= offset);
        match self.files.get(after) {
            Some(file) if file.offset <= offset => {
                let at = offset - file.offset;
                Spot::File { node: file.node, at, left: file.size - at }
            }
            next => {
                let last = after.checked_sub(1).and_then(|last| self.files.get(last));
                let before = last.map_or(0, |file| file.before + file.size);
                let end = next.map_or(self.index.length(), |file| file.offset);
                Spot::Skeleton { at: offset - before, left: end.saturating_sub(offset) }
            }
        }
    }

    /// The file whose content begins at a place of the archive and has this size.
    pub(super) fn file_at(&self, offset: u64, size: u64) -> Option<usize> {
        let found = self.files.binary_search_by_key(&offset, |file| file.offset).ok()?;
        self.files.get(found).filter(|file| file.size == size).map(|file| file.node)
    }

    /// Bytes from a place of the archive, at most up to where the next or this file ends; `None` when the file
    /// that has them cannot be trusted.
    pub(super) fn read_at(&mut self, offset: u64, into: &mut [u8]) -> Option<usize> {
        match self.spot(offset) {
            Spot::Skeleton { at, left } => {
                let count = usize::try_from(left).unwrap_or(usize::MAX).min(into.len());
                let at = usize::try_from(at).ok()?;
                let from = self.skeleton.get(at..at.checked_add(count)?)?;
                into.get_mut(..count)?.copy_from_slice(from);
                Some(count)
            }
            Spot::File { node, at, left } => {
                let count = usize::try_from(left).unwrap_or(usize::MAX).min(into.len());
                let into = into.get_mut(..count)?;
                self.file(node)?.read_exact_at(into, at).ok()?;
                Some(count)
            }
        }
    }

    /// A whole chunk as the files are now, whoever touched them: it must be verified.
    pub(super) fn chunk(&self, number: u32, length: u64) -> Option<Vec<u8>> {
        self.bytes(self.start(number), length)
    }

    /// A part of the archive as the files are now: what is made of it must be verified.
    pub(super) fn bytes(&self, start: u64, length: u64) -> Option<Vec<u8>> {
        if start.checked_add(length)? > self.index.length() {
            return None;
        }
        let mut bytes = vec![0; usize::try_from(length).ok()?];
        let mut at = 0;
        while let Some(room) = bytes.get_mut(at..).filter(|room| !room.is_empty()) {
            let (spot, most) = (self.spot(start + at as u64), room.len());
            at += match spot {
                Spot::Skeleton { at, left } => {
                    let count = usize::try_from(left).unwrap_or(usize::MAX).min(most);
                    let at = usize::try_from(at).ok()?;
                    let from = self.skeleton.get(at..at.checked_add(count)?)?;
                    room.get_mut(..count)?.copy_from_slice(from);
                    count
                }
                Spot::File { node, at, left } => {
                    let count = usize::try_from(left).unwrap_or(usize::MAX).min(most);
                    let (file, _) = self.open_file(node)?;
                    file.read_exact_at(room.get_mut(..count)?, at).ok()?;
                    count
                }
            };
        }
        Some(bytes)
    }

    /// How many chunks it is made of.
    pub(super) fn chunks(&self) -> usize {
        self.index.chunks.len()
    }

    /// What a chunk is called.
    pub(super) fn id(&self, number: usize) -> Option<ChunkId> {
        self.index.chunks.get(number).map(|chunk| chunk.id)
    }

    /// Whether a chunk can be put together from the files and is what the index says.
    pub(super) fn is_whole(&self, number: usize) -> bool {
        let chunk = || {
            let wanted = self.index.wanted(number)?;
            let bytes = self.chunk(u32::try_from(number).ok()?, wanted.length)?;
            verify(&wanted, &bytes).ok()
        };
        chunk().is_some()
    }

    /// The files that have content in a chunk.
    pub(super) fn files_of(&self, number: usize) -> Vec<usize> {
        let start = self.index.start(number).unwrap_or_default();
        let end = self.index.chunks.get(number).map_or(start, |chunk| chunk.end);
        let first = self.files.partition_point(|file| file.offset + file.size <= start);
        let files = self.files.get(first..).unwrap_or_default().iter();
        files.take_while(|file| file.offset < end).map(|file| file.node).collect()
    }

    /// A file of the tree, if nobody touched it.
    pub(super) fn file(&mut self, node: usize) -> Option<&File> {
        if self.opened.as_ref().is_none_or(|(opened, _)| *opened != node) {
            if self.trust == Trust::Nothing || self.touched.contains(&self.nodes.path(node)) {
                return None;
            }
            let (file, found) = self.open_file(node)?;
            self.nodes.stat(node).filter(|listed| untouched(listed, &found))?;
            self.opened = Some((node, file));
        }
        self.opened.as_ref().map(|(_, file)| file)
    }

    /// The same, to be kept.
    pub(super) fn take_file(&mut self, node: usize) -> Option<File> {
        self.file(node)?;
        self.opened.take().map(|(_, file)| file)
    }

    fn open_file(&self, node: usize) -> Option<(File, NodeStat)> {
        let path = self.nodes.path(node);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = rustix::fs::openat(&self.root, path.as_slice(), flags, Mode::empty()).ok()?;
        let found = node_stat(&rustix::fs::fstat(&file).ok()?);
        (found.kind == NodeKind::File).then(|| (File::from(file), found))
    }

    /// The root of its tree.
    pub(super) fn root(&self) -> &OwnedFd {
        &self.root
    }
}

/// The same file with the same content, as far as the system would notice.
fn untouched(listed: &NodeStat, found: &NodeStat) -> bool {
    listed.kind == found.kind
        && listed.size == found.size
        && listed.mtime == found.mtime
        && listed.ctime == found.ctime
        && listed.inode == found.inode
}

fn read_skeleton(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let decoder = zstd::stream::Decoder::new(File::open(path)?)?;
    decoder.take(SKELETON_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}
