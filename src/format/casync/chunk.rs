//! Chunks: their names, their places in a store, and their compression.
//!
//! A chunk is named by the digest of its uncompressed bytes. A store holds it as
//! `<first 4 hex digits>/<64 hex digits>.cacnk`, compressed, or under the same name without the suffix as it
//! is. The compression is told by its magic: zstd (`28 b5 2f fd`), xz (`fd 37 7a 58 5a 00`), gzip
//! (`1f 8b`); one store may mix them. casync's zstd frames state no content size, so the length comes
//! from the index and nothing longer is ever produced. Source: `castore.c` and `cacompression.c` in
//! systemd/casync.

use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;

use aws_lc_rs::digest::{self, Algorithm};
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};

/// Longest chunk anybody may make, in bytes: casync's own limit.
pub const CHUNK_BYTES_MAX: u64 = 128 << 20;

/// Level at which new chunks are compressed: zstd's and casync's default.
const ZSTD_LEVEL: i32 = 3;

/// Memory that an xz chunk may ask for in bytes: the dictionary of level 9 and its overhead.
const XZ_MEMORY_MAX: u64 = 72 << 20;

/// Ending of a compressed chunk's file name.
pub const COMPRESSED_SUFFIX: &str = ".cacnk";

/// The digest that names chunks, chosen by the flags of the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DigestKind {
    /// SHA-256.
    Sha256,
    /// SHA-512/256, casync's default.
    Sha512_256,
}

/// Name of a chunk, or sum of a whole stream: 32 bytes of digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkId([u8; 32]);

/// A digest being computed; bytes are written to it.
#[derive(Clone)]
pub struct Hasher(digest::Context);

/// A chunk as an index asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub id: ChunkId,
    /// The digest the name is made with.
    pub digest: DigestKind,
    /// Its length in bytes.
    pub length: u64,
}

/// How a chunk lies in a store, which its file name tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// With [`COMPRESSED_SUFFIX`].
    Compressed,
    /// Without a suffix.
    Plain,
}

/// Why stored bytes are not the chunk that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ChunkError {
    /// The compressed form is broken.
    #[error("cannot decompress chunk {id} ({compression}): fetch it again or repair the store")]
    Decompress {
        /// The chunk.
        id: ChunkId,
        /// What the bytes begin like.
        compression: &'static str,
        /// What the decompressor said.
        #[source]
        source: io::Error,
    },
    /// More or fewer bytes than the index says.
    #[error("chunk {id} has {found} bytes, its index says {expected}")]
    Length {
        /// The chunk.
        id: ChunkId,
        /// By the index.
        expected: u64,
        /// In the store; for chunks that are too long at least this many.
        found: u64,
    },
    /// Other content.
    #[error("chunk {id} has content with the digest {found}: fetch it again or repair the store")]
    Digest {
        /// The chunk.
        id: ChunkId,
        /// What was found.
        found: ChunkId,
    },
}

/// Text that is no 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a chunk's name is 64 hexadecimal digits")]
pub struct ChunkIdError;

impl DigestKind {
    /// The digest of some bytes.
    pub fn of(self, bytes: &[u8]) -> ChunkId {
        ChunkId::of(digest::digest(self.algorithm(), bytes))
    }

    /// A digest of bytes that come piece by piece.
    pub fn hasher(self) -> Hasher {
        Hasher(digest::Context::new(self.algorithm()))
    }

    fn algorithm(self) -> &'static Algorithm {
        match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha512_256 => &digest::SHA512_256,
        }
    }
}

impl Hasher {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes added.
    pub fn finish(self) -> ChunkId {
        ChunkId::of(self.0.finish())
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hasher").field(self.0.algorithm()).finish()
    }
}

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl ChunkId {
    /// A name from its bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    fn of(digest: digest::Digest) -> Self {
        // Both digests have 32 bytes.
        Self(digest.as_ref().try_into().unwrap_or_default())
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Path below a store: `abcd/abcd….cacnk`, or without the suffix for plain chunks.
    pub fn path(&self, form: Form) -> String {
        let hex = self.to_string();
        let suffix = if form == Form::Compressed { COMPRESSED_SUFFIX } else { "" };
        format!("{}/{hex}{suffix}", hex.get(..4).unwrap_or_default())
    }

    /// The name and form that a path below a store belongs to; none for files that are no chunks.
    pub fn from_path(path: &str) -> Option<(Self, Form)> {
        let (directory, name) = path.split_once('/')?;
        let (name, form) = match name.strip_suffix(COMPRESSED_SUFFIX) {
            Some(name) => (name, Form::Compressed),
            None => (name, Form::Plain),
        };
        let id: Self = name.parse().ok()?;
        (name.get(..4) == Some(directory)).then_some((id, form))
    }
}

impl fmt::Display for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ChunkId {
    type Err = ChunkIdError;

    fn from_str(text: &str) -> Result<Self, ChunkIdError> {
        let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(|_| ChunkIdError)?;
        bytes.try_into().map(Self).map_err(|_| ChunkIdError)
    }
}

/// The chunk that `stored` holds: decompressed to exactly the length wanted and verified.
///
/// Bytes under a compressed name that begin with no known magic are taken as they are; the digest
/// decides.
pub fn open(wanted: &Wanted, stored: &[u8], form: Form) -> Result<Vec<u8>, ChunkError> {
    Opener::default().open(wanted, stored, form)
}

/// Opens chunks one after the other: making a zstd decompressor anew takes as long as opening a short chunk.
#[derive(Default)]
pub struct Opener(Option<zstd::bulk::Decompressor<'static>>);

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Opener").field(&self.0.is_some()).finish()
    }
}

impl Opener {
    /// As [`open`].
    pub fn open(
        &mut self,
        wanted: &Wanted,
        stored: &[u8],
        form: Form,
    ) -> Result<Vec<u8>, ChunkError> {
        let bytes = self.unpack(wanted, stored, form)?;
        verify(wanted, &bytes)?;
        Ok(bytes)
    }

    /// Whether `stored` holds the chunk that these bytes are: to compare them costs less than to digest them again.
    pub fn holds(&mut self, wanted: &Wanted, stored: &[u8], form: Form, bytes: &[u8]) -> bool {
        self.unpack(wanted, stored, form).is_ok_and(|found| found == bytes)
    }

    fn unpack(
        &mut self,
        wanted: &Wanted,
        stored: &[u8],
        form: Form,
    ) -> Result<Vec<u8>, ChunkError> {
        match (form, stored) {
            (Form::Plain, _) => bounded(wanted, "plain", stored),
            (_, [0x28, 0xb5, 0x2f, 0xfd, ..]) => {
                self.unpack_zstd(wanted, stored).map_err(|error| broken(wanted, "zstd", error))
            }
            (_, [0xfd, b'7', b'z', b'X', b'Z', 0, ..]) => {
                let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY_MAX, 0)
                    .map_err(|error| broken(wanted, "xz", error.into()))?;
                bounded(wanted, "xz", liblzma::read::XzDecoder::new_stream(stored, stream))
            }
            (_, [0x1f, 0x8b, ..]) => {
                bounded(wanted, "gzip", flate2::read::MultiGzDecoder::new(stored))
            }
            (Form::Compressed, _) => bounded(wanted, "no known compression", stored),
        }
    }

    /// Decompresses in one call into exactly the room wanted, so that the window a frame asks for costs
    /// no memory.
    fn unpack_zstd(&mut self, wanted: &Wanted, stored: &[u8]) -> io::Result<Vec<u8>> {
        let length = wanted.length.min(CHUNK_BYTES_MAX);
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
        let decompressor = match &mut self.0 {
            Some(decompressor) => decompressor,
            none => none.insert(zstd::bulk::Decompressor::new()?),
        };
        decompressor.decompress_to_buffer(stored, &mut bytes)?;
        Ok(bytes)
    }
}

/// Checks length and digest of uncompressed bytes.
pub fn verify(wanted: &Wanted, bytes: &[u8]) -> Result<(), ChunkError> {
    let (id, found) = (wanted.id, bytes.len() as u64);
    if found != wanted.length {
        return Err(ChunkError::Length { id, expected: wanted.length, found });
    }
    match wanted.digest.of(bytes) {
        found if found == id => Ok(()),
        found => Err(ChunkError::Digest { id, found }),
    }
}

/// The compressed form of a chunk, as new chunks are stored: a zstd frame with content size.
pub fn compress(bytes: &[u8]) -> io::Result<Vec<u8>> {
    zstd::bulk::compress(bytes, ZSTD_LEVEL)
}

fn bounded(
    wanted: &Wanted,
    compression: &'static str,
    source: impl Read,
) -> Result<Vec<u8>, ChunkError> {
    let length = wanted.length.min(CHUNK_BYTES_MAX);
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    let read = source.take(length + 1).read_to_end(&mut bytes);
    read.map_err(|error| broken(wanted, compression, error))?;
    Ok(bytes)
}

fn broken(wanted: &Wanted, compression: &'static str, source: io::Error) -> ChunkError {
    ChunkError::Decompress { id: wanted.id, compression, source }
}

#[cfg(test)]
mod tests;
