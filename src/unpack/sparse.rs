//! Sparse files in tar: where the pieces of their content belong.
//!
//! GNU tar writes two forms today: type `S` (its own format) and version 1.0 records (PAX). Source:
//! GNU tar's manual, "Storing Sparse Files".

use tar::{GnuExtSparseHeader, GnuSparseHeader, Header};

use crate::unpack::error::{Refused, UnpackError};
use crate::unpack::pax::SparseMarks;
use crate::unpack::pipe::Chunks;
use crate::unpack::tar::BLOCK;
use crate::unpack::tree::refused;

/// Pieces of one sparse file: held in memory, 16 bytes each.
const PIECES_MAX: usize = 1 << 16;

/// Digits of a number in a 1.0 map.
const DIGITS_MAX: usize = 20;

/// Where the pieces of a file's content belong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SparseMap {
    /// Size of the file with its holes.
    pub(super) size: u64,
    /// Offset and length of each piece, ascending.
    pub(super) data: Vec<(u64, u64)>,
}

impl SparseMap {
    /// Adds a piece; empty ones, which mark the end of the file, are dropped.
    fn push(&mut self, offset: u64, bytes: u64) -> Option<()> {
        let floor = self.data.last().map_or(0, |&(at, bytes)| at + bytes);
        let end = offset.checked_add(bytes)?;
        if offset < floor || end > self.size || self.data.len() >= PIECES_MAX {
            return None;
        }
        if bytes > 0 {
            self.data.push((offset, bytes));
        }
        Some(())
    }

    /// The map, if its pieces are exactly the `stored` bytes that follow.
    fn checked(self, stored: u64) -> Option<Self> {
        let held: u64 = self.data.iter().map(|&(_, bytes)| bytes).sum();
        (held == stored).then_some(self)
    }
}

/// The map in a header of type `S` and the blocks that continue it, which are read here.
pub(super) fn gnu_map(
    header: &Header,
    stored: u64,
    path: &str,
    chunks: &mut Chunks,
) -> Result<SparseMap, UnpackError> {
    let malformed = || refused(path, Refused::Sparse);
    let gnu = header.as_gnu().ok_or_else(malformed)?;
    let size = gnu.real_size().map_err(|_| malformed())?;
    let mut map = SparseMap { size, data: Vec::new() };
    push_all(&mut map, &gnu.sparse).ok_or_else(malformed)?;
    let mut more = gnu.is_extended();
    while more {
        let mut block = GnuExtSparseHeader::new();
        if chunks.read(block.as_mut_bytes())? < BLOCK {
            return Err(UnpackError::CutShort { entry: path.to_owned() });
        }
        // Without this an endless chain of empty continuations would never reach a bound.
        if block.sparse().first().is_none_or(GnuSparseHeader::is_empty) {
            return Err(malformed());
        }
        push_all(&mut map, block.sparse()).ok_or_else(malformed)?;
        more = block.is_extended();
    }
    map.checked(stored).ok_or_else(malformed)
}

fn push_all(map: &mut SparseMap, pieces: &[GnuSparseHeader]) -> Option<()> {
    for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
        map.push(piece.offset().ok()?, piece.length().ok()?)?;
    }
    Some(())
}

/// The map at the start of the content of a 1.0 sparse file, which is read here: decimal numbers, one a
/// line (how many pieces, then offset and length of each), filled up to whole blocks.
pub(super) fn pax_map(
    marks: &SparseMarks,
    stored: u64,
    path: &str,
    chunks: &mut Chunks,
) -> Result<SparseMap, UnpackError> {
    let malformed = || refused(path, Refused::Sparse);
    let size = marks.real_size.filter(|_| marks.version == (1, 0)).ok_or_else(malformed)?;
    let mut lines = Lines { chunks, block: [0; BLOCK], at: BLOCK, read: 0, max: stored };
    let count = lines.number()?.ok_or_else(malformed)?;
    if count > PIECES_MAX as u64 {
        return Err(UnpackError::Limit { what: "pieces in a sparse file", max: PIECES_MAX as u64 });
    }
    let mut map = SparseMap { size, data: Vec::new() };
    for _ in 0..count {
        let offset = lines.number()?.ok_or_else(malformed)?;
        let bytes = lines.number()?.ok_or_else(malformed)?;
        map.push(offset, bytes).ok_or_else(malformed)?;
    }
    let left = stored - lines.read;
    map.checked(left).ok_or_else(malformed)
}

/// Numbers, one a line, from whole blocks.
struct Lines<'a> {
    chunks: &'a mut Chunks,
    block: [u8; BLOCK],
    at: usize,
    /// Bytes read, never more than `max`.
    read: u64,
    max: u64,
}

impl Lines<'_> {
    /// The next number; `None` when there is none.
    fn number(&mut self) -> Result<Option<u64>, UnpackError> {
        let mut value: u64 = 0;
        for digits in 0..=DIGITS_MAX {
            let Some(byte) = self.byte()? else { return Ok(None) };
            match byte {
                b'0'..=b'9' => {
                    let next =
                        value.checked_mul(10).and_then(|v| v.checked_add((byte - b'0').into()));
                    let Some(next) = next else { return Ok(None) };
                    value = next;
                }
                b'\n' if digits > 0 => return Ok(Some(value)),
                _ => return Ok(None),
            }
        }
        Ok(None)
    }

    fn byte(&mut self) -> Result<Option<u8>, UnpackError> {
        if self.at == BLOCK {
            let after = self.read + BLOCK as u64;
            if after > self.max || self.chunks.read(&mut self.block)? < BLOCK {
                return Ok(None);
            }
            self.read = after;
            self.at = 0;
        }
        let byte = self.block.get(self.at).copied();
        self.at += 1;
        Ok(byte)
    }
}
