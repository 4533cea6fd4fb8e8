//! The content of one file on its way to disk: hashed, counted and written in one pass.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use crate::unpack::error::UnpackError;
use crate::unpack::nodes::Magic;
use crate::unpack::pipe::Chunks;

/// Bytes at the start of a file that tell whether it is a program.
const MAGIC_BYTES: usize = 4;

/// Zeros hashed at a time for the holes of a sparse file.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// A file that is being written.
pub(super) struct Writing<'a> {
    file: &'a mut File,
    path: &'a str,
    hash: Sha256,
    start: Vec<u8>,
    size: u64,
}

/// What was written.
pub(super) struct Content {
    pub(super) size: u64,
    /// Hexadecimal.
    pub(super) sha256: String,
    pub(super) magic: Magic,
}

impl<'a> Writing<'a> {
    /// Begins with an empty file; `path` is for errors.
    pub(super) fn new(file: &'a mut File, path: &'a str) -> Self {
        Self { file, path, hash: Sha256::new(), start: Vec::with_capacity(MAGIC_BYTES), size: 0 }
    }

    /// Writes the next `bytes` bytes of the stream.
    pub(super) fn data(&mut self, bytes: u64, chunks: &mut Chunks) -> Result<(), UnpackError> {
        if chunks.each(bytes, |piece| self.piece(piece))? < bytes {
            return Err(UnpackError::CutShort { entry: self.path.to_owned() });
        }
        Ok(())
    }

    /// Writes the rest of the stream, which must not be longer than `limit`.
    pub(super) fn all(&mut self, limit: u64, chunks: &mut Chunks) -> Result<(), UnpackError> {
        chunks.each(u64::MAX, |piece| {
            if self.size + piece.len() as u64 > limit {
                return Err(UnpackError::Limit { what: "bytes in one file", max: limit });
            }
            self.piece(piece)
        })?;
        Ok(())
    }

    /// Leaves a hole up to `offset`; it reads as zeros.
    pub(super) fn hole(&mut self, offset: u64) -> Result<(), UnpackError> {
        if self.size >= offset {
            return Ok(());
        }
        while self.size < offset {
            let left = usize::try_from(offset - self.size).unwrap_or(usize::MAX);
            let zeros = ZEROS.get(..left.min(ZEROS.len())).unwrap_or_default();
            self.look(zeros);
        }
        self.file
            .set_len(offset)
            .and_then(|()| self.file.seek(SeekFrom::Start(offset)))
            .map_err(|source| failed(self.path, source))?;
        Ok(())
    }

    /// What was written.
    pub(super) fn finish(self) -> Content {
        let sha256 = HEXLOWER.encode(&self.hash.finalize());
        Content { size: self.size, sha256, magic: Magic::of(&self.start) }
    }

    fn piece(&mut self, piece: &[u8]) -> Result<(), UnpackError> {
        self.look(piece);
        self.file.write_all(piece).map_err(|source| failed(self.path, source))
    }

    fn look(&mut self, piece: &[u8]) {
        self.size += piece.len() as u64;
        self.start.extend(piece.iter().take(MAGIC_BYTES - self.start.len()));
        self.hash.update(piece);
    }
}

fn failed(path: &str, source: io::Error) -> UnpackError {
    UnpackError::Stage { action: "write", path: path.to_owned(), source }
}
