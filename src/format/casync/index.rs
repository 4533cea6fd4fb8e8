//! Index files, `.caidx` of trees and `.caibx` of blobs: the list of chunks of one stream.
//!
//! | byte | bytes | field |
//! |---|---|---|
//! | 0 | 16 | 48, `0x96824d9c7b129ff9`: size and type of the header |
//! | 16 | 8 | feature flags |
//! | 24, 32, 40 | 8 each | shortest, average and longest chunk |
//! | 48 | 16 | 2^64-1, `0xe75b9e112f17417d`: the table begins, its size unknown yet |
//! | 64 + 40 n | 8, 32 | where chunk n ends in the stream, and its name |
//! | end - 40 | 16 | zeros: no chunk ends at 0 |
//! | end - 24 | 8 | 48: from the table back to the header |
//! | end - 16 | 8 | size of the table with its own 16 bytes and these 40 |
//! | end - 8 | 8 | `0x4b4f050e5549ecd1` |
//!
//! casync itself does not look at the end of an index of a tree; here an index is whole or refused. Source:
//! `caformat.h` and `caindex.c` in systemd/casync.

use std::io::{self, BufReader, Read, Write};

use super::chunk::{CHUNK_BYTES_MAX, ChunkId, Wanted};
use super::flags::{Flags, FlagsError};

/// Chunks of one index: 256 GiB at the default average, 160 MiB in memory.
pub const CHUNKS_MAX: usize = 4 << 20;

/// Longest index that is read as a whole: one of [`CHUNKS_MAX`] chunks has less.
pub const INDEX_BYTES_MAX: u64 = 256 << 20;

const HEADER_TYPE: u64 = 0x9682_4d9c_7b12_9ff9;
const TABLE_TYPE: u64 = 0xe75b_9e11_2f17_417d;
const TAIL_MARKER: u64 = 0x4b4f_050e_5549_ecd1;
const HEADER_BYTES: u64 = 48;
const TABLE_HEADER_BYTES: u64 = 16;
const ITEM_BYTES: u64 = 40;

/// One chunk of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkRef {
    /// Where it ends in the stream, in bytes from the start.
    pub end: u64,
    /// Its name.
    pub id: ChunkId,
}

/// Everything an index says before its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the stream holds, and the digest of its chunks.
    pub flags: Flags,
    /// Shortest chunk in bytes, but for the last.
    pub min: u64,
    /// Average chunk in bytes.
    pub avg: u64,
    /// Longest chunk in bytes.
    pub max: u64,
}

/// An index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// Flags and sizes.
    pub header: Header,
    /// The chunks in order of the stream, each ending after the one before.
    pub chunks: Vec<ChunkRef>,
}

/// Why bytes are no index. `at` is the offset of the field in the file.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The bytes cannot be read.
    #[error("cannot read the index at byte {at}")]
    Read {
        /// Bytes read before.
        at: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file ends too early.
    #[error("the index is cut short at byte {at}, in its {part}: fetch it again")]
    Truncated {
        /// Where it ends.
        at: u64,
        /// What should be there.
        part: &'static str,
    },
    /// Something else than an index.
    #[error("it is no chunk index: byte {at} begins with {found:#x}, not {expected:#x}")]
    NotAnIndex {
        /// Where.
        at: u64,
        /// What stands there.
        found: u64,
        /// What should stand there.
        expected: u64,
    },
    /// Flags that are not understood.
    #[error("cannot use the index's flags at byte {at}")]
    Flags {
        /// Where.
        at: u64,
        /// Why.
        #[source]
        source: FlagsError,
    },
    /// Chunk sizes that casync cannot have used.
    #[error(
        "the index's chunk sizes at byte {at} are {min}:{avg}:{max}: \
         not 1 <= min <= avg <= max <= 134217728"
    )]
    ChunkSizes {
        /// Where.
        at: u64,
        /// Shortest.
        min: u64,
        /// Average.
        avg: u64,
        /// Longest.
        max: u64,
    },
    /// A chunk that ends no later than the one before.
    #[error("chunk {chunk} of the index, at byte {at}, ends at {end}, not after {previous}")]
    NotIncreasing {
        /// Where.
        at: u64,
        /// Number of the chunk from 0.
        chunk: u64,
        /// Its end.
        end: u64,
        /// End of the chunk before.
        previous: u64,
    },
    /// A chunk longer than the longest.
    #[error("chunk {chunk} of the index, at byte {at}, has {length} bytes, more than {max}")]
    ChunkTooLong {
        /// Where.
        at: u64,
        /// Number of the chunk from 0.
        chunk: u64,
        /// Its length.
        length: u64,
        /// The longest.
        max: u64,
    },
    /// More than [`CHUNKS_MAX`].
    #[error("the index has more than {CHUNKS_MAX} chunks: use a larger average chunk size")]
    TooManyChunks,
    /// The end of the table is not what it must be.
    #[error("the index's end is broken: its {field} at byte {at} is {found:#x}, not {expected:#x}")]
    Tail {
        /// Where.
        at: u64,
        /// Which number.
        field: &'static str,
        /// What stands there.
        found: u64,
        /// What should stand there.
        expected: u64,
    },
    /// More bytes after the end.
    #[error("the index ends at byte {at}, but more follows: fetch it again")]
    TrailingBytes {
        /// Where it ends.
        at: u64,
    },
    /// The bytes cannot be written.
    #[error("cannot write the index")]
    Write(#[source] io::Error),
}

impl Index {
    /// Reads an index to its end and checks all of it. Memory is bounded by [`CHUNKS_MAX`].
    pub fn read(source: impl Read) -> Result<Self, IndexError> {
        let mut reader = IndexReader::new(source)?;
        let mut chunks = Vec::new();
        while let Some(chunk) = reader.next_chunk()? {
            if chunks.len() == CHUNKS_MAX {
                return Err(IndexError::TooManyChunks);
            }
            chunks.push(chunk);
        }
        chunks.shrink_to_fit();
        Ok(Self { header: reader.header, chunks })
    }

    /// Writes the index as casync does; refuses what [`Index::read`] would refuse.
    pub fn write(&self, target: impl Write) -> Result<(), IndexError> {
        if self.chunks.len() > CHUNKS_MAX {
            return Err(IndexError::TooManyChunks);
        }
        let mut target = io::BufWriter::with_capacity(1 << 16, target);
        let Header { flags, min, avg, max } = self.header;
        self.header.check()?;
        let head = [HEADER_BYTES, HEADER_TYPE, flags.bits(), min, avg, max, u64::MAX, TABLE_TYPE];
        put(&mut target, &head)?;
        let (mut previous, mut at) = (0, HEADER_BYTES + TABLE_HEADER_BYTES);
        for (number, chunk) in (0..).zip(&self.chunks) {
            check_chunk(&self.header, Place { at, chunk: number, previous }, chunk.end)?;
            put(&mut target, &[chunk.end])?;
            target.write_all(chunk.id.as_bytes()).map_err(IndexError::Write)?;
            previous = chunk.end;
            at += ITEM_BYTES;
        }
        put(&mut target, &[0, 0, HEADER_BYTES, at + ITEM_BYTES - HEADER_BYTES, TAIL_MARKER])?;
        target.flush().map_err(IndexError::Write)
    }

    /// Length of the stream in bytes.
    pub fn length(&self) -> u64 {
        self.chunks.last().map_or(0, |chunk| chunk.end)
    }

    /// Chunk number `number` with the digest and length that opening it needs.
    pub fn wanted(&self, number: usize) -> Option<Wanted> {
        let chunk = self.chunks.get(number)?;
        let start = self.start(number)?;
        let digest = self.header.flags.digest();
        Some(Wanted { id: chunk.id, digest, length: chunk.end - start })
    }

    /// Where chunk number `number` begins in the stream.
    pub fn start(&self, number: usize) -> Option<u64> {
        match number.checked_sub(1) {
            None => (!self.chunks.is_empty()).then_some(0),
            Some(before) if number < self.chunks.len() => self.chunks.get(before).map(|c| c.end),
            Some(_) => None,
        }
    }
}

impl Header {
    fn check(&self) -> Result<(), IndexError> {
        let Self { min, avg, max, .. } = *self;
        if 1 <= min && min <= avg && avg <= max && max <= CHUNK_BYTES_MAX {
            Ok(())
        } else {
            Err(IndexError::ChunkSizes { at: 24, min, avg, max })
        }
    }
}

/// Reads an index chunk by chunk, in constant memory.
#[derive(Debug)]
pub struct IndexReader<R> {
    source: BufReader<R>,
    header: Header,
    at: u64,
    chunks: u64,
    previous: u64,
    ended: bool,
}

impl<R: Read> IndexReader<R> {
    /// Reads the header.
    pub fn new(source: R) -> Result<Self, IndexError> {
        let mut source = BufReader::with_capacity(1 << 16, source);
        let mut head = [0; 64];
        fill(&mut source, &mut head, 0, "header")?;
        let [size, kind, flags, min, avg, max, table_size, table_kind] = words(&head);
        for (at, found, expected) in [
            (8, kind, HEADER_TYPE),
            (0, size, HEADER_BYTES),
            (48, table_size, u64::MAX),
            (56, table_kind, TABLE_TYPE),
        ] {
            if found != expected {
                return Err(IndexError::NotAnIndex { at, found, expected });
            }
        }
        let flags =
            Flags::from_file(flags).map_err(|source| IndexError::Flags { at: 16, source })?;
        let header = Header { flags, min, avg, max };
        header.check()?;
        let at = HEADER_BYTES + TABLE_HEADER_BYTES;
        Ok(Self { source, header, at, chunks: 0, previous: 0, ended: false })
    }

    /// Flags and sizes.
    pub fn header(&self) -> Header {
        self.header
    }

    /// The next chunk; none at the end, which is then known to be right.
    pub fn next_chunk(&mut self) -> Result<Option<ChunkRef>, IndexError> {
        if self.ended {
            return Ok(None);
        }
        let mut item = [0; 40];
        fill(&mut self.source, &mut item, self.at, "table")?;
        let (end, id) = item.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
        let end = u64::from_le_bytes(*end);
        if end == 0 && (self.chunks > 0 || words::<40, 5>(&item)[4] == TAIL_MARKER) {
            self.finish(words(&item))?;
            self.ended = true;
            return Ok(None);
        }
        let place = Place { at: self.at, chunk: self.chunks, previous: self.previous };
        check_chunk(&self.header, place, end)?;
        self.previous = end;
        self.at += ITEM_BYTES;
        self.chunks += 1;
        Ok(Some(ChunkRef { end, id: ChunkId::new(id.try_into().unwrap_or_default()) }))
    }

    fn finish(&mut self, tail: [u64; 5]) -> Result<(), IndexError> {
        let size = self.at + ITEM_BYTES - HEADER_BYTES;
        let expected = [
            ("first zero", 0),
            ("second zero", 0),
            ("way back to the header", HEADER_BYTES),
            ("table size", size),
            ("marker", TAIL_MARKER),
        ];
        for (number, (found, (field, expected))) in (0..).zip(tail.into_iter().zip(expected)) {
            if found != expected {
                return Err(IndexError::Tail { at: self.at + 8 * number, field, found, expected });
            }
        }
        let end = self.at + ITEM_BYTES;
        match self.source.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(IndexError::TrailingBytes { at: end }),
            Err(source) => Err(IndexError::Read { at: end, source }),
        }
    }
}

/// Where a chunk stands, for its errors.
#[derive(Clone, Copy)]
struct Place {
    at: u64,
    chunk: u64,
    previous: u64,
}

fn check_chunk(header: &Header, place: Place, end: u64) -> Result<(), IndexError> {
    let Place { at, chunk, previous } = place;
    if end <= previous {
        return Err(IndexError::NotIncreasing { at, chunk, end, previous });
    }
    let (length, max) = (end - previous, header.max);
    if length > max {
        return Err(IndexError::ChunkTooLong { at, chunk, length, max });
    }
    Ok(())
}

fn fill(
    source: &mut impl Read,
    into: &mut [u8],
    at: u64,
    part: &'static str,
) -> Result<(), IndexError> {
    let mut filled = 0;
    while let Some(room) = into.get_mut(filled..).filter(|room| !room.is_empty()) {
        match source.read(room) {
            Ok(0) => return Err(IndexError::Truncated { at: at + filled as u64, part }),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(IndexError::Read { at: at + filled as u64, source }),
        }
    }
    Ok(())
}

fn words<const BYTES: usize, const WORDS: usize>(bytes: &[u8; BYTES]) -> [u64; WORDS] {
    let (numbers, _) = bytes.as_chunks::<8>();
    std::array::from_fn(|at| numbers.get(at).copied().map_or(0, u64::from_le_bytes))
}

fn put(target: &mut impl Write, numbers: &[u64]) -> Result<(), IndexError> {
    for number in numbers {
        target.write_all(&number.to_le_bytes()).map_err(IndexError::Write)?;
    }
    Ok(())
}
