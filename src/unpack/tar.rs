//! Reader of tar streams: ustar, GNU and PAX.
//!
//! The `tar` crate reads the fields of a header; the loop over headers is ours, because extended
//! headers must be bounded before they are in memory and because an entry that is skipped silently
//! must not exist. Sources: POSIX.1-2017 `pax`, GNU tar's manual "Standard".

use tar::Header;

use crate::unpack::error::{Refused, UnpackError};
use crate::unpack::limits::EXTENDED_BYTES_MAX;
use crate::unpack::path;
use crate::unpack::pax::{self, Extended};
use crate::unpack::pipe::Chunks;
use crate::unpack::sparse;
use crate::unpack::tree::{Executable, FileHead, Length, Tree, refused, refused_raw};

/// Bytes in a block: headers are one block, content is padded to whole blocks.
pub(super) const BLOCK: usize = 512;

/// Set-user-id, set-group-id and sticky.
const SPECIAL_BITS: u32 = 0o7000;

/// Whether a block can be a tar header: its checksum is right. Blocks of zeros end an archive and so
/// begin an empty one.
pub(super) fn is_header(block: &[u8]) -> bool {
    let Ok(block) = <&[u8; BLOCK]>::try_from(block) else { return false };
    is_end(block) || has_right_checksum(block)
}

/// Unpacks the stream into `tree` and reads it to its end.
pub(super) fn unpack(chunks: &mut Chunks, tree: &mut Tree) -> Result<(), UnpackError> {
    let mut extended = Extended::default();
    let mut block = [0; BLOCK];
    loop {
        if chunks.read(&mut block)? < BLOCK {
            return Err(UnpackError::CutShort { entry: "a header".to_owned() });
        }
        if is_end(&block) {
            break;
        }
        if !has_right_checksum(&block) {
            return Err(damaged("a header's checksum is wrong"));
        }
        tree.count_entry()?;
        let header = Header::from_byte_slice(&block);
        match header.entry_type().as_byte() {
            b'x' => extended.pax(&read_extended(chunks, header)?)?,
            b'g' => pax::check_globals(&read_extended(chunks, header)?)?,
            b'L' => extended.gnu_name(read_extended(chunks, header)?)?,
            b'K' => extended.gnu_link(read_extended(chunks, header)?)?,
            _ => entry(header, &std::mem::take(&mut extended), chunks, tree)?,
        }
    }
    if !extended.is_empty() {
        return Err(damaged("an extended header belongs to no entry"));
    }
    read_to_end(chunks, tree)
}

/// One file, directory or link.
fn entry(
    header: &Header,
    extended: &Extended,
    chunks: &mut Chunks,
    tree: &mut Tree,
) -> Result<(), UnpackError> {
    let raw = extended.name().map_or_else(|| header.path_bytes(), Into::into);
    let path = path::clean(&raw).map_err(|why| refused_raw(&raw, why))?;
    let size = match extended.size {
        Some(size) => size,
        None => header.entry_size().map_err(|_| damaged("a header's size is no number"))?,
    };
    let mode = header.mode().unwrap_or(0);
    if mode & SPECIAL_BITS != 0 {
        tree.note(format!("`{path}` had mode {:o}: only its lower bits are kept", mode & 0o7777));
    }
    let link = || match &extended.link {
        Some(link) => link.clone(),
        None => header.link_name_bytes().map(Into::into).unwrap_or_default(),
    };
    let kind = header.entry_type().as_byte();
    if size != 0 && matches!(kind, b'1' | b'2' | b'5') {
        return Err(refused(&path, Refused::UnexpectedContent));
    }
    match kind {
        // Archives older than ustar mark a directory by its name only.
        b'0' | 0 if raw.ends_with(b"/") && size == 0 => tree.add_dir(&path),
        b'0' | 0 | b'S' => {
            let length = match (kind, &extended.sparse) {
                (b'S', _) => Length::Sparse(sparse::gnu_map(header, size, &path, chunks)?),
                (_, Some(marks)) => Length::Sparse(sparse::pax_map(marks, size, &path, chunks)?),
                (_, None) => Length::Exactly(size),
            };
            let mtime = extended.mtime.unwrap_or_else(|| seconds(header));
            let executable = Executable::from_mode(mode);
            tree.add_file(&FileHead { path, length, executable, mtime }, chunks)?;
            skip_padding(size, chunks)
        }
        b'5' => tree.add_dir(&path),
        b'2' => {
            let target = path::link_target(&link()).map_err(|why| refused(&path, why))?;
            tree.add_link(&path, target)
        }
        b'1' => {
            let no_target = |_| refused(&path, Refused::HardLinkTarget);
            let target = path::clean(&link()).map_err(no_target)?;
            tree.add_hard_link(&path, &target)
        }
        b'3' | b'4' => Err(refused(&path, Refused::Device)),
        b'6' => Err(refused(&path, Refused::Fifo)),
        _ => Err(refused(&path, Refused::UnknownType)),
    }
}

/// Content of an extended header; its size is bounded before it is read.
fn read_extended(chunks: &mut Chunks, header: &Header) -> Result<Vec<u8>, UnpackError> {
    let size = header.entry_size().map_err(|_| damaged("a header's size is no number"))?;
    if size > EXTENDED_BYTES_MAX {
        let what = "bytes in an extended header";
        return Err(UnpackError::Limit { what, max: EXTENDED_BYTES_MAX });
    }
    let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
    if chunks.read(&mut bytes)? < bytes.len() {
        return Err(UnpackError::CutShort { entry: "an extended header".to_owned() });
    }
    skip_padding(size, chunks)?;
    Ok(bytes)
}

/// Skips what fills the last block of `size` bytes of content.
fn skip_padding(size: u64, chunks: &mut Chunks) -> Result<(), UnpackError> {
    let padding = size.wrapping_neg() % BLOCK as u64;
    if chunks.each(padding, |_| Ok(()))? < padding {
        return Err(UnpackError::CutShort { entry: "the padding of a file".to_owned() });
    }
    Ok(())
}

/// Reads what is after the end marker, so that the decompressor sees its own checksum.
fn read_to_end(chunks: &mut Chunks, tree: &mut Tree) -> Result<(), UnpackError> {
    let mut stray = 0_u64;
    chunks.each(u64::MAX, |piece| {
        if piece.iter().any(|&byte| byte != 0) {
            stray += piece.len() as u64;
        }
        Ok(())
    })?;
    if stray > 0 {
        tree.note("bytes after the end of the tar archive are ignored".to_owned());
    }
    Ok(())
}

/// Modification time in seconds since 1970; 0 when the header's is no number.
fn seconds(header: &Header) -> i64 {
    header.mtime().ok().and_then(|time| i64::try_from(time).ok()).unwrap_or(0)
}

fn is_end(block: &[u8; BLOCK]) -> bool {
    block.iter().all(|&byte| byte == 0)
}

/// The sum over all bytes, those of the checksum itself counted as spaces.
fn has_right_checksum(block: &[u8; BLOCK]) -> bool {
    let (before, rest) = block.split_at(148);
    let (_, after) = rest.split_at(8);
    let sum: u32 = before.iter().chain(after).map(|&byte| u32::from(byte)).sum();
    Header::from_byte_slice(block).cksum().is_ok_and(|stated| stated == sum + 8 * 32)
}

fn damaged(what: &str) -> UnpackError {
    UnpackError::Damaged { format: "tar", what: what.to_owned() }
}
