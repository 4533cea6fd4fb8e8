//! The archive of an index as one stream, of which only what is needed is read.
//!
//! Objects of the archive are read in order and copied to the skeleton on the way; content of files is taken in
//! pieces, each of which may as well be a part of a file that is there already.

use std::collections::{HashMap, HashSet};
use std::io::{self, BufWriter, Read, Write};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::assemble::chunks::Ask;
use crate::assemble::error::AssembleError;
use crate::assemble::here::{Ahead, Slot};
use crate::assemble::old::{Old, Spot};
use crate::format::casync::chunk::{ChunkId, Wanted, verify};
use crate::format::casync::index::Index;

/// Memory for chunks that are needed again, in bytes; beyond this they are read from their store again.
const SPARE_BYTES_MAX: usize = 8 << 20;

/// Bytes of the archive that are compressed at once: its objects are as small as 16.
const SKELETON_BUFFER_BYTES: usize = 64 << 10;

/// Where a chunk comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// A generation, and its number there.
    Old { old: usize, number: u32 },
    /// A store.
    Store,
}

/// A piece of a file's content.
#[derive(Debug)]
pub(super) enum Piece {
    /// Bytes of the chunk that is loaded, by their place in it.
    Loaded(std::ops::Range<usize>),
    /// A part of a file that is there.
    File {
        /// The generation.
        old: usize,
        /// The file.
        node: usize,
        /// Where in the file.
        at: u64,
        /// How many bytes.
        length: u64,
    },
}

/// A file of a generation that is a part of the stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whole {
    /// The generation.
    pub(super) old: usize,
    /// The file.
    pub(super) node: usize,
    /// Where it ends in the stream.
    end: u64,
    /// In which chunk.
    chunk: usize,
}

/// The stream.
pub(super) struct Stream {
    index: Arc<Index>,
    origins: Vec<Origin>,
    pub(super) olds: Vec<Old>,
    supply: Supply,
    skeleton: BufWriter<zstd::stream::Encoder<'static, Vec<u8>>>,
    at: u64,
    chunk: usize,
    loaded: Option<(usize, Arc<Vec<u8>>)>,
    /// The error behind an I/O error that [`Read`] could only hint at.
    pub(super) failed: Option<AssembleError>,
}

/// Where chunks come from without being asked for, in the order in which they are first needed.
pub(super) enum Feed {
    /// Stores on this machine.
    Here(Ahead),
    /// Stores on the web.
    Web(mpsc::Receiver<(ChunkId, Slot)>),
}

impl Feed {
    fn next(&mut self) -> Option<(ChunkId, Slot)> {
        match self {
            Self::Here(ahead) => ahead.next(),
            Self::Web(feed) => feed.blocking_recv(),
        }
    }
}

/// Chunks from stores, in the order in which they are first needed.
pub(super) struct Supply {
    /// Whoever fetches chunks out of order. Gone when the pass was asked to stop.
    ask: mpsc::Sender<Ask>,
    feed: Feed,
    /// Those that are still to come.
    coming: HashSet<ChunkId>,
    /// How often those that came are needed again.
    again: HashMap<ChunkId, u32>,
    spare: HashMap<ChunkId, Arc<Vec<u8>>>,
    spare_bytes: usize,
}

/// What must be fetched of an index.
pub(super) struct Needs {
    origins: Vec<Origin>,
    /// Each chunk once, in the order of the stream.
    pub(super) missing: Vec<Wanted>,
    again: HashMap<ChunkId, u32>,
}

impl Needs {
    /// Compares an index with the generations that are there.
    pub(super) fn of(index: &Index, olds: &[Old]) -> Self {
        let mut origins = Vec::with_capacity(index.chunks.len());
        let (mut missing, mut again) = (Vec::new(), HashMap::new());
        for (number, chunk) in index.chunks.iter().enumerate() {
            let found = olds.iter().enumerate().find_map(|(old, generation)| {
                let previous = match origins.last() {
                    Some(Origin::Old { old: last, number }) if *last == old => Some(*number),
                    _ => None,
                };
                Some(Origin::Old { old, number: generation.find(&chunk.id, previous)? })
            });
            origins.push(found.unwrap_or(Origin::Store));
            if found.is_some() {
                continue;
            }
            if let Some(count) = again.get_mut(&chunk.id) {
                *count += 1;
            } else {
                again.insert(chunk.id, 0);
                missing.extend(index.wanted(number));
            }
        }
        again.retain(|_, count| *count > 0);
        Self { origins, missing, again }
    }
}

impl Supply {
    pub(super) fn new(ask: mpsc::Sender<Ask>, feed: Feed, needs: &Needs) -> Self {
        let coming = needs.missing.iter().map(|wanted| wanted.id).collect();
        let (again, spare) = (needs.again.clone(), HashMap::new());
        Self { ask, feed, coming, again, spare, spare_bytes: 0 }
    }

    fn get(&mut self, wanted: Wanted) -> Result<Arc<Vec<u8>>, AssembleError> {
        let id = wanted.id;
        while self.coming.contains(&id) {
            if self.ask.is_closed() {
                return Err(AssembleError::Interrupted);
            }
            let Some((came, slot)) = self.feed.next() else { break };
            self.coming.remove(&came);
            // What did not come is asked for, when it is needed.
            let Ok(Some(bytes)) = slot.recv() else { continue };
            let bytes = Arc::new(bytes);
            if came == id {
                return Ok(self.keep(id, bytes));
            }
            self.keep(came, bytes);
        }
        if let Some(bytes) = self.spare.get(&id).map(Arc::clone) {
            self.needed_once_less(id, &bytes);
            return Ok(bytes);
        }
        let (answer, got) = oneshot::channel();
        let asked = self.ask.blocking_send((wanted, answer));
        let got = asked.ok().and_then(|()| got.blocking_recv().ok());
        got.unwrap_or(Err(AssembleError::Interrupted)).map(Arc::new)
    }

    /// Gives the memory of a chunk back that is not needed again.
    fn needed_once_less(&mut self, id: ChunkId, bytes: &[u8]) {
        let Some(again) = self.again.get_mut(&id) else { return };
        *again = again.saturating_sub(1);
        if *again == 0 {
            self.again.remove(&id);
            self.spare.remove(&id);
            self.spare_bytes -= bytes.len();
        }
    }

    fn keep(&mut self, id: ChunkId, bytes: Arc<Vec<u8>>) -> Arc<Vec<u8>> {
        if self.again.contains_key(&id) && self.spare_bytes + bytes.len() <= SPARE_BYTES_MAX {
            self.spare_bytes += bytes.len();
            self.spare.insert(id, Arc::clone(&bytes));
        }
        bytes
    }
}

impl Stream {
    pub(super) fn new(
        index: Arc<Index>,
        olds: Vec<Old>,
        needs: Needs,
        supply: Supply,
    ) -> io::Result<Self> {
        // Fast: it is read again only to install the next generation.
        let encoder = zstd::stream::Encoder::new(Vec::new(), 1)?;
        let skeleton = BufWriter::with_capacity(SKELETON_BUFFER_BYTES, encoder);
        Ok(Self {
            index,
            origins: needs.origins,
            olds,
            supply,
            skeleton,
            at: 0,
            chunk: 0,
            loaded: None,
            failed: None,
        })
    }

    /// Everything of the archive that is not content of files, compressed.
    pub(super) fn into_skeleton(self) -> io::Result<Vec<u8>> {
        let encoder = self.skeleton.into_inner().map_err(io::IntoInnerError::into_error);
        encoder.and_then(zstd::stream::Encoder::finish)
    }

    /// The file of a generation that is the next `size` bytes, all of it untouched chunks; they are then passed.
    pub(super) fn whole_file(&mut self, size: u64) -> Option<(usize, usize)> {
        let whole = self.find_whole(size)?;
        self.olds.get_mut(whole.old)?.file(whole.node)?;
        self.pass(&whole);
        Some((whole.old, whole.node))
    }

    /// Goes on after a file.
    pub(super) fn pass(&mut self, whole: &Whole) {
        (self.at, self.chunk) = (whole.end, whole.chunk);
    }

    /// The file of a generation that was made of the next `size` bytes, whatever became of it since.
    pub(super) fn find_whole(&mut self, size: u64) -> Option<Whole> {
        self.settle();
        let Some(Origin::Old { old, number }) = self.origins.get(self.chunk).copied() else {
            return None;
        };
        let start = self.index.start(self.chunk)?;
        let generation = self.olds.get(old)?;
        let node = generation.file_at(generation.start(number) + (self.at - start), size)?;
        let end = self.at.checked_add(size)?;
        let (mut chunk, mut expected) = (self.chunk, number);
        while self.index.chunks.get(chunk)?.end < end {
            chunk += 1;
            expected = expected.checked_add(1)?;
            if self.origins.get(chunk) != Some(&Origin::Old { old, number: expected }) {
                return None;
            }
        }
        Some(Whole { old, node, end, chunk })
    }

    /// The next piece of a file's content, at least one and at most `most` bytes, which is then passed.
    pub(super) fn piece(&mut self, most: u64) -> Result<Piece, AssembleError> {
        self.settle();
        let (start, end) = self.bounds();
        let most = most.min(end - self.at);
        if let Some(Origin::Old { old, number }) = self.origins.get(self.chunk).copied()
            && let Some(generation) = self.olds.get_mut(old)
        {
            let spot = generation.spot(generation.start(number) + (self.at - start));
            if let Spot::File { node, at, left } = spot
                && generation.file(node).is_some()
            {
                let length = most.min(left);
                self.at += length;
                return Ok(Piece::File { old, node, at, length });
            }
        }
        self.load()?;
        let from = usize::try_from(self.at - start).unwrap_or(usize::MAX);
        let count = usize::try_from(most).unwrap_or(usize::MAX);
        self.at += most;
        Ok(Piece::Loaded(from..from.saturating_add(count)))
    }

    /// The bytes of a loaded piece.
    pub(super) fn loaded(&self, range: std::ops::Range<usize>) -> &[u8] {
        self.loaded.as_ref().and_then(|(_, bytes)| bytes.get(range)).unwrap_or_default()
    }

    /// Where the current chunk begins and ends.
    fn bounds(&self) -> (u64, u64) {
        let start = self.index.start(self.chunk).unwrap_or(self.at);
        (start, self.index.chunks.get(self.chunk).map_or(start, |chunk| chunk.end))
    }

    /// Goes on to the chunk in which the stream is now.
    fn settle(&mut self) {
        while self.index.chunks.get(self.chunk).is_some_and(|chunk| chunk.end <= self.at) {
            self.chunk += 1;
        }
    }

    /// Makes sure that the current chunk is in memory.
    fn load(&mut self) -> Result<(), AssembleError> {
        if self.loaded.as_ref().is_some_and(|(number, _)| *number == self.chunk) {
            return Ok(());
        }
        let Some(wanted) = self.index.wanted(self.chunk) else { return Ok(()) };
        let bytes = match self.origins.get(self.chunk) {
            Some(Origin::Old { .. }) => self.rebuild(wanted).map(Arc::new),
            _ => None,
        };
        let bytes = bytes.map_or_else(|| self.supply.get(wanted), Ok)?;
        self.loaded = Some((self.chunk, bytes));
        Ok(())
    }

    /// A chunk in which somebody touched a file, from any generation that still has its bytes.
    fn rebuild(&self, wanted: Wanted) -> Option<Vec<u8>> {
        self.olds.iter().find_map(|old| {
            let number = old.find(&wanted.id, None)?;
            let bytes = old.chunk(number, wanted.length)?;
            verify(&wanted, &bytes).is_ok().then_some(bytes)
        })
    }

    fn read_some(&mut self, into: &mut [u8]) -> Result<usize, AssembleError> {
        self.settle();
        let (start, end) = self.bounds();
        let room = usize::try_from(end - self.at).unwrap_or(usize::MAX).min(into.len());
        let Some(into) = into.get_mut(..room).filter(|into| !into.is_empty()) else {
            return Ok(0);
        };
        if let Some(Origin::Old { old, number }) = self.origins.get(self.chunk).copied()
            && let Some(generation) = self.olds.get_mut(old)
        {
            let offset = generation.start(number) + (self.at - start);
            if let Some(count) = generation.read_at(offset, into) {
                self.at += count as u64;
                return Ok(count);
            }
        }
        self.load()?;
        let from = usize::try_from(self.at - start).unwrap_or(usize::MAX);
        let bytes = self.loaded(from..from.saturating_add(into.len()));
        let count = bytes.len();
        if let Some(into) = into.get_mut(..count) {
            into.copy_from_slice(bytes);
        }
        self.at += count as u64;
        Ok(count)
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.read_some(into) {
            Ok(count) => {
                self.skeleton.write_all(into.get(..count).unwrap_or_default())?;
                Ok(count)
            }
            Err(error) => {
                let hint = io::Error::other(error.to_string());
                self.failed = Some(error);
                Err(hint)
            }
        }
    }
}
