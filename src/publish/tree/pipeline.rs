//! From a tree to chunks in a store, on every core.
//!
//! One thread walks the tree, encodes the stream into blocks and cuts them; of each block one thread sums up the
//! stream, one lists the tree, and all others name, compress and store the chunks. There is a fixed number of
//! blocks, each of which goes back to the first thread when the last other one is done with it: that is the
//! bound of memory, and what keeps the first thread from running ahead.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::mem;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use camino::Utf8Path;

use super::PublishError;
use super::files::Replacement;
use super::store::Store;
use super::walk::Walk;
use crate::format::casync::chunk::{ChunkId, DigestKind, Form, Opener, Wanted};
use crate::format::casync::chunker::{ChunkSizes, Chunker};
use crate::format::casync::flags::Flags;
use crate::format::casync::index::{CHUNKS_MAX, ChunkRef, IndexError};
use crate::format::casync::mtree;

/// Bytes of stream in one block: some thirty chunks.
const BLOCK_BYTES: usize = 2 << 20;

/// Blocks beside those the workers have in hand: being filled, summed up and listed.
const BLOCKS_BESIDE: usize = 6;

/// Workers at most: with their blocks and compressors some 60 MiB.
const WORKERS_MAX: usize = 12;

/// Chunks a worker takes at once.
const CHUNKS_PER_JOB: usize = 8;

/// How a tree is turned into chunks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings<'s> {
    pub(super) store: &'s Store,
    pub(super) flags: Flags,
    pub(super) sizes: ChunkSizes,
    pub(super) level: i32,
}

/// What became of a tree.
#[derive(Debug)]
pub(super) struct Streamed {
    pub(super) chunks: Vec<ChunkRef>,
    pub(super) digest: ChunkId,
    pub(super) bytes: u64,
    pub(super) new_chunks: u64,
    pub(super) stored_bytes: u64,
}

/// What the lister reads beside the bytes of a block.
#[derive(Debug)]
pub(super) enum Mark {
    /// A node: its line without digest and end.
    Line(String),
    /// Bytes of the file begun last.
    Bytes(Range<usize>),
    /// The end of the file begun last.
    End,
}

/// A piece of the stream that begins where a chunk begins.
#[derive(Debug)]
struct Block {
    data: Vec<u8>,
    /// Where the bytes begin that the block before did not have.
    fresh: usize,
    /// Ends of the chunks in the data.
    ends: Vec<usize>,
    marks: Vec<Mark>,
    home: Sender<Vec<u8>>,
}

impl Drop for Block {
    fn drop(&mut self) {
        // Nobody waits for blocks at the end.
        let _ = self.home.send(mem::take(&mut self.data));
    }
}

/// Some chunks of a block.
#[derive(Debug)]
struct Job {
    block: Arc<Block>,
    chunks: Range<usize>,
    /// Number of the first of them in the stream.
    first: usize,
}

/// What all threads share.
#[derive(Debug)]
struct Shared<'s> {
    settings: Settings<'s>,
    chunks: Mutex<Vec<ChunkRef>>,
    failure: Mutex<Option<PublishError>>,
    failed: AtomicBool,
    new_chunks: AtomicU64,
    stored_bytes: AtomicU64,
}

impl Shared<'_> {
    /// Keeps the first failure; everybody else then only finishes.
    fn fail(&self, error: PublishError) {
        lock(&self.failure).get_or_insert(error);
        self.failed.store(true, Ordering::Relaxed);
    }

    fn is_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }
}

/// A lock that is had even when another thread panicked with it: the panic ends the program anyway.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Settings<'_> {
    /// Publishes the chunks of a tree and writes its listing.
    pub(super) fn run(
        self,
        tree: &Utf8Path,
        mut listing: Replacement,
    ) -> Result<(Streamed, Replacement), PublishError> {
        let shared = Shared {
            settings: self,
            chunks: Mutex::default(),
            failure: Mutex::default(),
            failed: AtomicBool::new(false),
            new_chunks: AtomicU64::new(0),
            stored_bytes: AtomicU64::new(0),
        };
        let workers = thread::available_parallelism().map_or(1, usize::from).min(WORKERS_MAX);
        let (home, free) = channel();
        for _ in 0..workers + BLOCKS_BESIDE {
            let _ = home.send(Vec::new());
        }
        let (jobs, job_queue) = channel();
        let (sums, sum_queue) = channel();
        let (lists, list_queue) = channel();
        let job_queue = Mutex::new(job_queue);
        let kind = self.flags.digest();
        let list = listing.file();
        let (walked, digest, listed) = thread::scope(|scope| {
            let (shared, job_queue) = (&shared, &job_queue);
            for _ in 0..workers {
                scope.spawn(move || work(shared, job_queue));
            }
            let summing_thread = scope.spawn(move || sum_up(kind, &sum_queue));
            let listing_thread = scope.spawn(move || write_listing(kind, list, &list_queue));
            let chunker = Chunker::new(self.sizes);
            let send = Outlets { jobs, sums, lists, home, free };
            let blocks = Blocks { shared, send, chunker, open: Open::default(), bytes: 0 };
            let walked = Walk::new(blocks, self.flags).run(tree);
            let digest =
                summing_thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            let listed =
                listing_thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (walked, digest, listed)
        });
        // What a worker failed at stops the walk, whose own error then only says that it was stopped.
        if let Some(error) = shared.failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        let bytes = walked?;
        listed.map_err(|source| listing.failed(source))?;
        let chunks = shared.chunks.into_inner().unwrap_or_else(PoisonError::into_inner);
        let new_chunks = shared.new_chunks.into_inner();
        let stored_bytes = shared.stored_bytes.into_inner();
        Ok((Streamed { chunks, digest, bytes, new_chunks, stored_bytes }, listing))
    }
}

/// Names, compresses and stores chunks until there are no more.
fn work(shared: &Shared<'_>, queue: &Mutex<Receiver<Job>>) {
    let Settings { store, flags, level, .. } = shared.settings;
    let mut compressor = match zstd::bulk::Compressor::new(level) {
        Ok(compressor) => Some(compressor),
        Err(source) => {
            shared.fail(PublishError::Compress { level, source });
            None
        }
    };
    let mut opener = Opener::default();
    loop {
        let job = lock(queue).recv();
        let Ok(Job { block, chunks, first }) = job else { return };
        let Some(compressor) = compressor.as_mut().filter(|_| !shared.is_failed()) else {
            continue;
        };
        let mut ids = Vec::with_capacity(chunks.len());
        for number in chunks {
            let before = number.checked_sub(1).and_then(|n| block.ends.get(n));
            let range = before.copied().unwrap_or(0)..block.ends.get(number).copied().unwrap_or(0);
            let bytes = block.data.get(range).unwrap_or_default();
            let digest = flags.digest();
            let id = digest.of(bytes);
            ids.push(id);
            // The bytes are at hand, so this is when a chunk is found that was damaged.
            let wanted = Wanted { id, digest, length: bytes.len() as u64 };
            let whole = |stored: Vec<u8>| opener.holds(&wanted, &stored, Form::Compressed, bytes);
            if store.has(&id) && store.read(&id).is_ok_and(whole) {
                continue;
            }
            let stored = compressor
                .compress(bytes)
                .map_err(|source| PublishError::Compress { level, source })
                .and_then(|packed| {
                    store.add(&id.path(Form::Compressed), &packed).map(|()| packed.len())
                });
            match stored {
                Ok(length) => {
                    shared.new_chunks.fetch_add(1, Ordering::Relaxed);
                    shared.stored_bytes.fetch_add(length as u64, Ordering::Relaxed);
                }
                Err(error) => {
                    shared.fail(error);
                    break;
                }
            }
        }
        let mut chunks = lock(&shared.chunks);
        for (chunk, id) in chunks.iter_mut().skip(first).zip(ids) {
            chunk.id = id;
        }
    }
}

/// The digest of the whole stream.
fn sum_up(kind: DigestKind, queue: &Receiver<Arc<Block>>) -> ChunkId {
    let mut hasher = kind.hasher();
    for block in queue {
        hasher.update(block.data.get(block.fresh..).unwrap_or_default());
    }
    hasher.finish()
}

/// Writes the lines of all nodes, those of files with the digests of their contents.
fn write_listing(
    kind: DigestKind,
    file: &mut File,
    queue: &Receiver<Arc<Block>>,
) -> io::Result<()> {
    let mut file = BufWriter::with_capacity(1 << 16, file);
    let (mut hasher, mut result) = (kind.hasher(), Ok(()));
    for block in queue {
        for mark in &block.marks {
            // After an error blocks are only sent home.
            if result.is_err() {
                break;
            }
            result = match mark {
                Mark::Line(line) => file.write_all(line.as_bytes()),
                Mark::Bytes(range) => {
                    hasher.update(block.data.get(range.clone()).unwrap_or_default());
                    Ok(())
                }
                Mark::End => {
                    let digest = mem::replace(&mut hasher, kind.hasher()).finish();
                    writeln!(file, " {}={digest}", mtree::digest_field(kind))
                }
            };
        }
    }
    result.and_then(|()| file.flush())
}

#[derive(Debug)]
struct Outlets {
    jobs: Sender<Job>,
    sums: Sender<Arc<Block>>,
    lists: Sender<Arc<Block>>,
    home: Sender<Vec<u8>>,
    free: Receiver<Vec<u8>>,
}

/// The block that is being filled.
#[derive(Debug, Default)]
struct Open {
    data: Vec<u8>,
    fresh: usize,
    marks: Vec<Mark>,
    /// Bytes of all lines among the marks.
    line_bytes: usize,
    in_file: bool,
}

/// Takes the stream and hands it out in blocks.
#[derive(Debug)]
pub(super) struct Blocks<'r, 's> {
    shared: &'r Shared<'s>,
    send: Outlets,
    chunker: Chunker,
    open: Open,
    /// Bytes of the stream before the open block.
    bytes: u64,
}

impl Blocks<'_, '_> {
    /// Lists a node. The bytes written from now on are those of a file's content if `content` says so.
    pub(super) fn mark(&mut self, mark: Mark) {
        match &mark {
            Mark::Line(line) => self.open.line_bytes += line.len(),
            Mark::Bytes(_) | Mark::End => self.open.in_file = false,
        }
        self.open.marks.push(mark);
    }

    /// What is written from now on is the content of the file listed last, up to its end.
    pub(super) fn begin_content(&mut self) {
        self.open.in_file = true;
    }

    /// Hands out the rest.
    pub(super) fn finish(mut self) -> Result<(), PublishError> {
        self.hand_out(End::OfStream)
    }

    fn hand_out(&mut self, end: End) -> Result<(), PublishError> {
        let mut data = mem::take(&mut self.open.data);
        let mut ends = Vec::with_capacity(data.len() / self.shared.settings.sizes.avg() + 1);
        let mut at = 0;
        while let Some(length) = self.chunker.cut(data.get(at..).unwrap_or_default()) {
            at += length;
            ends.push(at);
        }
        if end == End::OfStream && at < data.len() {
            at = data.len();
            ends.push(at);
        }
        // What is left begins a chunk of the next block.
        let mut next = self.send.free.recv().unwrap_or_default();
        next.clear();
        next.reserve(BLOCK_BYTES);
        next.extend_from_slice(data.get(at..).unwrap_or_default());
        let (old, carried) = (self.open.fresh, next.len());
        let first = self.announce(&ends)?;
        self.bytes += at as u64;
        data.shrink_to(BLOCK_BYTES);
        let marks = mem::take(&mut self.open.marks);
        let home = self.send.home.clone();
        let block = Arc::new(Block { data, fresh: old, ends, marks, home });
        self.open.data = next;
        self.open.fresh = carried;
        self.open.line_bytes = 0;
        // Whoever receives is there until these are dropped.
        let _ = self.send.sums.send(Arc::clone(&block));
        let _ = self.send.lists.send(Arc::clone(&block));
        let count = block.ends.len();
        for from in (0..count).step_by(CHUNKS_PER_JOB) {
            let chunks = from..count.min(from + CHUNKS_PER_JOB);
            let job = Job { block: Arc::clone(&block), chunks, first: first + from };
            let _ = self.send.jobs.send(job);
        }
        Ok(())
    }

    /// Makes room for the names of chunks: the number of the first.
    fn announce(&self, ends: &[usize]) -> Result<usize, PublishError> {
        let mut chunks = lock(&self.shared.chunks);
        let first = chunks.len();
        if first + ends.len() > CHUNKS_MAX {
            return Err(PublishError::Index(IndexError::TooManyChunks));
        }
        let id = ChunkId::new([0; 32]);
        chunks.extend(ends.iter().map(|&end| ChunkRef { end: self.bytes + end as u64, id }));
        Ok(first)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    OfBlock,
    OfStream,
}

impl Write for Blocks<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let full = self.open.data.len() >= BLOCK_BYTES || self.open.line_bytes >= BLOCK_BYTES;
        if full && let Err(error) = self.hand_out(End::OfBlock) {
            self.shared.fail(error);
        }
        if self.shared.is_failed() {
            return Err(io::Error::other("publishing was stopped"));
        }
        let room = BLOCK_BYTES.saturating_sub(self.open.data.len()).min(bytes.len());
        let before = self.open.data.len();
        self.open.data.extend_from_slice(bytes.get(..room).unwrap_or_default());
        if self.open.in_file {
            let range = before..before + room;
            match self.open.marks.last_mut() {
                Some(Mark::Bytes(last)) if last.end == before => last.end = range.end,
                _ => self.open.marks.push(Mark::Bytes(range)),
            }
        }
        Ok(room)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
