//! The bytes of a packed file that somebody is about to publish: what hosts will find in it.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use crate::unpack::container::{self, Container, HEAD_BYTES};
use crate::unpack::error::UnpackError;
use crate::unpack::head;
use crate::unpack::inflate::Coding;

/// Bytes decompressed and written at a time.
const PIECE_BYTES: usize = 128 << 10;

/// Decompresses a file into another one. It must be compressed as its name promises, and hold an archive where its name
/// promises that.
pub fn inflated(
    mut packed: File,
    name: &str,
    (into, place): (&mut dyn Write, &Path),
) -> Result<(), UnpackError> {
    let unreadable = |source| UnpackError::Blob { path: name.into(), source };
    let start = head(&mut packed).map_err(unreadable)?;
    let coding = match container::recognise(name, &start)? {
        Container::Stream(coding) => coding,
        Container::Zip => Coding::Plain,
    };
    let damaged = |source| UnpackError::Stream { coding: coding.name(), source };
    let mut reader = coding.reader(packed).map_err(damaged)?;
    let mut buffer = Vec::with_capacity(PIECE_BYTES);
    let mut is_first = true;
    loop {
        let mut piece = Read::by_ref(&mut reader).take(PIECE_BYTES as u64);
        buffer.clear();
        piece.read_to_end(&mut buffer).map_err(damaged)?;
        if is_first && container::promises_tar(name) {
            container::recognise_inner(name, buffer.get(..HEAD_BYTES).unwrap_or(&buffer))?;
        }
        if buffer.is_empty() {
            return Ok(());
        }
        is_first = false;
        into.write_all(&buffer).map_err(|source| {
            let path = place.display().to_string();
            UnpackError::Stage { action: "write", path, source }
        })?;
    }
}
