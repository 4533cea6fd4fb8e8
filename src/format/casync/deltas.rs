//! Deltas: what of one index is new against another, as patches of the archive.
//!
//! Chunks save nothing where every chunk has a byte that changed: a rebuilt program, or one time in each of a thousand
//! small files. A delta has a patch for each run of chunks that the old index lacks. What a patch is applied to is a
//! range of the old archive, whatever files that is; what it makes is cut into chunks, each of which is verified by
//! its name. So a delta needs no trust, and whoever does not know it never notices. It lies beside the new index
//! as `NAME.caidx.OLD-NEW.cadelta`, where both are the first 16 hex digits of the SHA-256 of an index:
//!
//! | byte | bytes | field |
//! |---|---|---|
//! | 0 | 8 | `cadelta1` |
//! | 8 | 4 | number of patches, n |
//! | 12 + 32 i | 4, 4 | patch i: number of its first chunk in the new index, how many chunks |
//! | | 8, 4 | where its range begins in the old archive, bytes of the range |
//! | | 8, 4 | where it begins behind the table, its length |
//! | 12 + 32 n | 32 | SHA-256 of all bytes before |
//! | 44 + 32 n | … | the patches, as of `zstd --patch-from` |
//!
//! Numbers are little endian. Source: this format is our own.

use sha2::{Digest as _, Sha256};

use super::index::CHUNKS_MAX;

/// Ending of a delta's name.
pub const SUFFIX: &str = ".cadelta";

/// Longest delta read, in bytes: beyond it chunks are the better way.
pub const DELTA_BYTES_MAX: u64 = 16 << 20;

/// Bytes of all patches that fit into one with their entries.
pub const PATCHES_BYTES_MAX: u64 = DELTA_BYTES_MAX - (HEADER_BYTES + SUM_BYTES) as u64;

/// Bytes of the new archive that one patch makes, but for a single longer chunk.
pub const PATCH_BYTES: u64 = 4 << 20;

/// Bytes of the old archive that one patch may be applied to.
pub const RANGE_BYTES_MAX: u64 = 32 << 20;

/// Digits of each digest in a delta's name.
const NAME_DIGITS: usize = 16;

const MAGIC: [u8; 8] = *b"cadelta1";
const ENTRY_BYTES: usize = 32;
const HEADER_BYTES: usize = 12;
const SUM_BYTES: usize = 32;

/// One patch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// Number of its first chunk in the new index.
    pub first: u32,
    /// How many chunks it makes.
    pub chunks: u32,
    /// Where its range begins in the old archive.
    pub old_from: u64,
    /// Bytes of the range.
    pub old_length: u32,
    /// The patch.
    pub bytes: Vec<u8>,
}

/// Why bytes are no delta.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeltaError {
    /// Something else, or a newer format.
    #[error("it is no delta: it does not begin with `cadelta1`")]
    NotADelta,
    /// It ends too early, has more after its end, or its table was changed.
    #[error("the delta is damaged: fetch it again, or do without")]
    Damaged,
    /// A patch of more than anybody makes.
    #[error("patch {number} of the delta is larger than any is made")]
    TooLarge {
        /// From 0.
        number: usize,
    },
}

/// The end of a delta's name for an index with these digests, in hexadecimal digits.
pub fn suffix(old: &str, new: &str) -> String {
    let short = |hex: &str| hex.get(..NAME_DIGITS).unwrap_or(hex).to_owned();
    format!(".{}-{}{SUFFIX}", short(old), short(new))
}

/// Bytes that a patch takes in a delta.
pub fn bytes_of(patch: &Patch) -> u64 {
    (ENTRY_BYTES + patch.bytes.len()) as u64
}

/// Writes a delta.
pub fn write(patches: &[Patch]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(u32::try_from(patches.len()).unwrap_or(u32::MAX).to_le_bytes());
    let mut at = 0_u64;
    for patch in patches {
        let length = u32::try_from(patch.bytes.len()).unwrap_or(u32::MAX);
        bytes.extend(patch.first.to_le_bytes());
        bytes.extend(patch.chunks.to_le_bytes());
        bytes.extend(patch.old_from.to_le_bytes());
        bytes.extend(patch.old_length.to_le_bytes());
        bytes.extend(at.to_le_bytes());
        bytes.extend(length.to_le_bytes());
        at += u64::from(length);
    }
    let sum = Sha256::digest(&bytes);
    bytes.extend(sum);
    bytes.extend(patches.iter().flat_map(|patch| &patch.bytes));
    bytes
}

/// Reads a delta.
pub fn read(bytes: &[u8]) -> Result<Vec<Patch>, DeltaError> {
    let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(DeltaError::Damaged)?;
    let [m0, m1, m2, m3, m4, m5, m6, m7, c0, c1, c2, c3] = *header;
    if [m0, m1, m2, m3, m4, m5, m6, m7] != MAGIC {
        return Err(DeltaError::NotADelta);
    }
    let count = u32::from_le_bytes([c0, c1, c2, c3]);
    let count = usize::try_from(count).ok().filter(|&count| count <= CHUNKS_MAX);
    let table =
        count.and_then(|count| count.checked_mul(ENTRY_BYTES)).ok_or(DeltaError::Damaged)?;
    let (table, rest) = rest.split_at_checked(table).ok_or(DeltaError::Damaged)?;
    let (sum, patches) = rest.split_first_chunk::<SUM_BYTES>().ok_or(DeltaError::Damaged)?;
    let mut hasher = Sha256::new();
    hasher.update(header);
    hasher.update(table);
    if <[u8; SUM_BYTES]>::from(hasher.finalize()) != *sum {
        return Err(DeltaError::Damaged);
    }
    let (entries, _) = table.as_chunks::<ENTRY_BYTES>();
    let (mut read, mut expected) = (Vec::with_capacity(entries.len()), 0);
    for (number, entry) in entries.iter().enumerate() {
        let (patch, at, length) = fields(entry);
        if u64::from(patch.old_length) > RANGE_BYTES_MAX {
            return Err(DeltaError::TooLarge { number });
        }
        let end = at.checked_add(u64::from(length)).filter(|_| at == expected);
        let range = end.and_then(|end| Some(usize::try_from(at).ok()?..usize::try_from(end).ok()?));
        let bytes = range.and_then(|range| patches.get(range)).ok_or(DeltaError::Damaged)?;
        expected += u64::from(length);
        read.push(Patch { bytes: bytes.to_vec(), ..patch });
    }
    if expected == patches.len() as u64 { Ok(read) } else { Err(DeltaError::Damaged) }
}

/// The fields of an entry: the patch without its bytes, where they begin, and how many they are.
fn fields(entry: &[u8; ENTRY_BYTES]) -> (Patch, u64, u32) {
    let short = |at: usize| {
        let bytes = entry.get(at..at + 4).and_then(|bytes| bytes.first_chunk::<4>());
        u32::from_le_bytes(bytes.copied().unwrap_or_default())
    };
    let long = |at: usize| u64::from(short(at)) | u64::from(short(at + 4)) << 32;
    let patch = Patch {
        first: short(0),
        chunks: short(4),
        old_from: long(8),
        old_length: short(16),
        bytes: Vec::new(),
    };
    (patch, long(20), short(28))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patches() -> Vec<Patch> {
        let patch = |first, bytes: &[u8]| Patch {
            first,
            chunks: 3,
            old_from: 1 << 40,
            old_length: 99,
            bytes: bytes.to_vec(),
        };
        vec![patch(0, b"one"), patch(7, b""), patch(9, b"three")]
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = write(&patches());
        assert_eq!(bytes.len(), 12 + 3 * 32 + 32 + 8);
        assert_eq!(read(&bytes).unwrap(), patches());
        assert_eq!(read(&write(&[])).unwrap(), []);
        assert_eq!(suffix(&"a".repeat(64), "b"), ".aaaaaaaaaaaaaaaa-b.cadelta");
    }

    #[test]
    fn every_cut_and_every_change_of_the_table_is_noticed() {
        let bytes = write(&patches());
        for length in 0..bytes.len() {
            read(&bytes[..length]).unwrap_err();
            let mut changed = bytes.clone();
            changed[length] ^= 1;
            // Patches themselves are verified by what they make.
            assert_eq!(read(&changed).is_err(), length < bytes.len() - 8, "{length}");
        }
        read(&[bytes, vec![0]].concat()).unwrap_err();
    }
}
