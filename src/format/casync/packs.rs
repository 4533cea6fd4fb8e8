//! Packs: many stored chunks in one file, and the list of where each chunk lies.
//!
//! A plain web server answers a client that misses thousands of chunks in thousands of requests. A pack is some MiB
//! of chunks, each as a store holds it compressed, one directly after the other in the order of the stream, with
//! nothing before, between or after. It lies in the store as `packs/<64 hex digits of its SHA-256>.capack`
//! and is read with ranges. The list lies beside the index, as `NAME.caidx.packs`:
//!
//! | byte | bytes | field |
//! |---|---|---|
//! | 0 | 8 | `capacks1` |
//! | 8 | 4 | number of packs, p |
//! | 12 | 4 | number of chunks, n |
//! | 16 + 36 i | 32, 4 | pack i: its SHA-256, its length in bytes |
//! | 16 + 36 p + 44 j | 32, 4, 4, 4 | chunk j: its name, number of its pack, where it begins, its length |
//! | end - 32 | 32 | SHA-256 of all bytes before |
//!
//! Numbers are little endian; chunks are sorted by name, no name comes twice. The list is a hint: chunks are
//! verified by the index like any others, whichever way they came, and whoever does not know packs never
//! notices. Source: this format is our own.

use std::io::{self, Read, Write};

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use super::chunk::{CHUNK_BYTES_MAX, ChunkId};
use super::index::CHUNKS_MAX;

mod reads;

pub use reads::{BATCH_BYTES, Batch, PackRead, Spot, batches};

/// Ending that is added to the name of an index for its list of packs.
pub const LIST_SUFFIX: &str = ".packs";

/// Directory of packs below a store.
pub const DIRECTORY: &str = "packs";

/// Ending of a pack's file name.
pub const PACK_SUFFIX: &str = ".capack";

/// Packs of one list: as many as the longest index fills with 1 MiB each.
pub const PACKS_MAX: usize = 256 << 10;

/// Bytes of one pack: what offsets can tell, and some thousand times what publishers make.
pub const PACK_BYTES_MAX: u32 = 1 << 31;

const MAGIC: [u8; 8] = *b"capacks1";

/// One pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pack {
    /// SHA-256 of all its bytes, which is its name.
    pub digest: [u8; 32],
    /// Its length in bytes.
    pub length: u32,
}

/// Where the stored form of a chunk lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Name of the chunk.
    pub id: ChunkId,
    /// Number of its pack in the list.
    pub pack: u32,
    /// Where it begins in the pack.
    pub offset: u32,
    /// Bytes in its stored form.
    pub length: u32,
}

/// A list of packs that has been checked: every place is inside its pack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackList {
    packs: Vec<Pack>,
    places: Vec<Place>,
}

/// Why bytes are no list of packs.
#[derive(Debug, thiserror::Error)]
pub enum PackListError {
    /// The bytes cannot be read, or end too early.
    #[error("cannot read the list of packs to its end")]
    Read(#[source] io::Error),
    /// Something else than a list of packs, or a newer one.
    #[error("it is no list of packs: it does not begin with `capacks1`")]
    NotAList,
    /// More packs or chunks than anybody makes.
    #[error(
        "the list tells of {packs} packs and {chunks} chunks, \
         at most {PACKS_MAX} and {CHUNKS_MAX} are read"
    )]
    TooLong {
        /// Packs announced.
        packs: u64,
        /// Chunks announced.
        chunks: u64,
    },
    /// Damaged.
    #[error("the list of packs does not have the SHA-256 it ends with: fetch it again")]
    Checksum,
    /// More bytes after the end.
    #[error("more follows after the end of the list of packs: fetch it again")]
    TrailingBytes,
    /// A pack too long.
    #[error("pack {pack} has {length} bytes, at most {PACK_BYTES_MAX} are read")]
    PackTooLong {
        /// Its number.
        pack: usize,
        /// Its length.
        length: u32,
    },
    /// Chunks that do not come sorted by name.
    #[error("chunk {id} of the list of packs does not sort after the one before")]
    Unsorted {
        /// The chunk.
        id: ChunkId,
    },
    /// A place outside its pack.
    #[error("chunk {id} lies outside pack {pack}")]
    Outside {
        /// The chunk.
        id: ChunkId,
        /// The number of its pack.
        pack: u32,
    },
    /// The bytes cannot be written.
    #[error("cannot write the list of packs")]
    Write(#[source] io::Error),
}

impl Pack {
    /// Path below a store.
    pub fn path(&self) -> String {
        format!("{DIRECTORY}/{}{PACK_SUFFIX}", HEXLOWER.encode(&self.digest))
    }

    /// The digest in a file name below [`DIRECTORY`]; none for files that are no packs.
    pub fn digest_of_name(name: &str) -> Option<[u8; 32]> {
        let hex = name.strip_suffix(PACK_SUFFIX)?;
        HEXLOWER.decode(hex.as_bytes()).ok()?.try_into().ok()
    }
}

impl PackList {
    /// A list of these packs and places, which need not be sorted.
    pub fn new(packs: Vec<Pack>, mut places: Vec<Place>) -> Result<Self, PackListError> {
        places.sort_unstable_by_key(|place| place.id);
        let list = Self { packs, places };
        list.check()?;
        Ok(list)
    }

    /// Reads a list to its end and checks all of it. Memory is bounded by [`PACKS_MAX`] and
    /// [`CHUNKS_MAX`].
    pub fn read(source: impl Read) -> Result<Self, PackListError> {
        let mut source = Summing { inner: source, sum: Sha256::new() };
        if source.take::<8>()? != MAGIC {
            return Err(PackListError::NotAList);
        }
        let [packs, chunks] = [source.number()?, source.number()?];
        let room = |count: u32, max: usize| usize::try_from(count).ok().filter(|n| *n <= max);
        let (Some(packs), Some(chunks)) = (room(packs, PACKS_MAX), room(chunks, CHUNKS_MAX)) else {
            let (packs, chunks) = (packs.into(), chunks.into());
            return Err(PackListError::TooLong { packs, chunks });
        };
        // What was announced is believed only as far as it comes.
        let mut list = Self::default();
        for _ in 0..packs {
            let digest = source.take()?;
            list.packs.push(Pack { digest, length: source.number()? });
        }
        for _ in 0..chunks {
            let id = ChunkId::new(source.take()?);
            let [pack, offset, length] = [source.number()?, source.number()?, source.number()?];
            list.places.push(Place { id, pack, offset, length });
        }
        let sum: [u8; 32] = source.sum.clone().finalize().into();
        if source.take::<32>()? != sum {
            return Err(PackListError::Checksum);
        }
        match source.inner.read(&mut [0]) {
            Ok(0) => {}
            Ok(_) => return Err(PackListError::TrailingBytes),
            Err(error) => return Err(PackListError::Read(error)),
        }
        list.check()?;
        Ok(list)
    }

    /// Writes the list.
    pub fn write(&self, mut target: impl Write) -> Result<(), PackListError> {
        let mut bytes = MAGIC.to_vec();
        for count in [self.packs.len(), self.places.len()] {
            bytes.extend(u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
        }
        for pack in &self.packs {
            bytes.extend(pack.digest);
            bytes.extend(pack.length.to_le_bytes());
        }
        for place in &self.places {
            bytes.extend(place.id.as_bytes());
            for number in [place.pack, place.offset, place.length] {
                bytes.extend(number.to_le_bytes());
            }
        }
        let sum = Sha256::digest(&bytes);
        bytes.extend(sum);
        target.write_all(&bytes).and_then(|()| target.flush()).map_err(PackListError::Write)
    }

    /// The packs, in the order of their numbers.
    pub fn packs(&self) -> &[Pack] {
        &self.packs
    }

    /// The places of all chunks, sorted by name.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// Where a chunk lies; none for one that is in no pack.
    pub fn find(&self, id: &ChunkId) -> Option<&Place> {
        let at = self.places.binary_search_by_key(id, |place| place.id).ok()?;
        self.places.get(at)
    }

    fn check(&self) -> Result<(), PackListError> {
        if self.packs.len() > PACKS_MAX || self.places.len() > CHUNKS_MAX {
            let (packs, chunks) = (self.packs.len() as u64, self.places.len() as u64);
            return Err(PackListError::TooLong { packs, chunks });
        }
        for (number, pack) in self.packs.iter().enumerate() {
            if pack.length > PACK_BYTES_MAX {
                return Err(PackListError::PackTooLong { pack: number, length: pack.length });
            }
        }
        let mut before = None;
        for &Place { id, pack, offset, length } in &self.places {
            if before.is_some_and(|before| before >= id) {
                return Err(PackListError::Unsorted { id });
            }
            before = Some(id);
            let room = usize::try_from(pack).ok().and_then(|pack| self.packs.get(pack));
            let end = offset.checked_add(length);
            let inside = room.zip(end).is_some_and(|(pack, end)| end <= pack.length);
            if !inside || u64::from(length) > CHUNK_BYTES_MAX {
                return Err(PackListError::Outside { id, pack });
            }
        }
        Ok(())
    }
}

/// A source whose bytes are summed up while they are read.
struct Summing<R> {
    inner: R,
    sum: Sha256,
}

impl<R: Read> Summing<R> {
    fn take<const BYTES: usize>(&mut self) -> Result<[u8; BYTES], PackListError> {
        let mut bytes = [0; BYTES];
        self.inner.read_exact(&mut bytes).map_err(PackListError::Read)?;
        self.sum.update(bytes);
        Ok(bytes)
    }

    fn number(&mut self) -> Result<u32, PackListError> {
        self.take().map(u32::from_le_bytes)
    }
}

#[cfg(test)]
mod tests;
