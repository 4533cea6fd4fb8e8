//! Files with their content: taken whole from a generation, or put together piece by piece.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, Mode, OFlags, Timestamps};
use rustix::io::Errno;

use crate::assemble::attributes::{self, Wanted};
use crate::assemble::changes::Bytes;
use crate::assemble::error::AssembleError;
use crate::assemble::standing::Draft;
use crate::assemble::stream::{Piece, Stream};
use crate::assemble::write::{Later, Made, Writer};
use crate::format::casync::catar::{Decoder, Metadata};
use crate::format::casync::flags::Flags;
use crate::host::nodes::node_stat;
use crate::model::snapshot::NodeStat;
use crate::model::step::Reuse;

/// Bytes of a file copied at once where the kernel does not do it by itself.
const COPY_BYTES: usize = 128 << 10;

/// Zeros of at least this many bytes become a hole: a block of common file systems.
const BLOCK_BYTES: usize = 4 << 10;

/// What the end of a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tail {
    Written,
    /// Zeros that were not written: the length must be set.
    Hole,
}

/// A file to make.
pub(super) struct FileWish<'a> {
    pub(super) name: &'a [u8],
    pub(super) size: u64,
    pub(super) metadata: &'a Metadata,
    pub(super) wanted: &'a Wanted,
}

impl Writer<'_> {
    /// Makes a file.
    pub(super) fn file(
        &mut self,
        wish: &FileWish<'_>,
        flags: Flags,
        decoder: &mut Decoder<Stream>,
    ) -> Result<Made, AssembleError> {
        if let Some(made) = self.file_stands(wish, flags, decoder) {
            return Ok(made);
        }
        let whole = if wish.size > 0 { decoder.source().whole_file(wish.size) } else { None };
        let same_place = self.changes.old_node();
        let unchanged = whole.is_some_and(|(old, node)| old == 0 && Some(node) == same_place);
        let placed = if unchanged { Bytes::Same } else { Bytes::Other };
        if let Some(found) = whole {
            decoder.pass_payload(wish.size);
            if let Some(made) = self.link_whole(wish, flags, decoder, found) {
                return Ok(Made { bytes: placed, ..made });
            }
        }
        let times = attributes::times(flags, wish.metadata);
        let from = whole.and_then(|(old, node)| {
            decoder.source().olds.get_mut(old).and_then(|old| old.take_file(node))
        });
        if let Some(from) = from {
            let file = self.create(wish.name)?;
            if can_wait(wish) {
                let stat = self.dress(wish, &file, None)?;
                let later = Some(Later { from, to: file, times });
                return Ok(Made {
                    stat: NodeStat { size: wish.size, ..stat },
                    bytes: placed,
                    later,
                });
            }
            let shares = &self.copies.shares;
            let copied = copy_whole(&from, &file, wish.size, shares, &mut self.buffer);
            copied.map_err(|e| self.failed_io("write", wish.name, e))?;
            let stat = self.dress(wish, &file, times)?;
            return Ok(Made { stat, bytes: placed, later: None });
        }
        if whole.is_some() {
            return Err(AssembleError::Died("a seed went away".to_owned()));
        }
        let mut draft = match self.standing_file(wish, flags) {
            Some(stands) => stands,
            None => Draft::Written(self.create(wish.name)?),
        };
        let (bytes, tail) = self.fill(wish, decoder, &mut draft)?;
        let file = match draft {
            Draft::Stands(_, stat) => return Ok(Made { stat, bytes, later: None }),
            Draft::Written(file) => file,
        };
        if tail == Tail::Hole {
            file.set_len(wish.size).map_err(|e| self.failed_io("write", wish.name, e))?;
        }
        let stat = self.dress(wish, &file, times)?;
        Ok(Made { stat, bytes, later: None })
    }

    fn create(&mut self, name: &[u8]) -> Result<File, AssembleError> {
        let file = self.with_parent(name, "make", |parent| {
            let flags =
                OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR)
        })?;
        Ok(File::from(file))
    }

    /// The file that is written, which begins with what it has in common with the one that stands in its place.
    fn written<'d>(
        &mut self,
        wish: &FileWish<'_>,
        draft: &'d mut Draft,
        at: u64,
    ) -> Result<&'d mut File, AssembleError> {
        if let Draft::Stands(from, seen) = draft {
            let file = self.create(wish.name)?;
            let copied = copy_range(from, 0, &file, at, &mut self.buffer);
            let now = copied.and_then(|_| Ok(node_stat(&rustix::fs::fstat(&*from)?)));
            let now = now.map_err(|e| self.failed_io("write", wish.name, e))?;
            if at > 0 && (now.size, now.mtime, now.ctime) != (seen.size, seen.mtime, seen.ctime) {
                let busy = io::ErrorKind::ResourceBusy.into();
                return Err(self.failed_io("copy what somebody writes to,", wish.name, busy));
            }
            *draft = Draft::Written(file);
        }
        match draft {
            Draft::Written(file) => Ok(file),
            Draft::Stands(..) => Err(AssembleError::Died("a file was not made".to_owned())),
        }
    }

    /// Gives a file its mode, its owner, its attributes and its times.
    fn dress(
        &mut self,
        wish: &FileWish<'_>,
        file: &File,
        times: Option<Timestamps>,
    ) -> Result<NodeStat, AssembleError> {
        let done = attributes::apply(
            file.as_fd(),
            wish.wanted,
            wish.metadata,
            self.powers,
            &mut self.degraded,
        )
        .and_then(|()| times.map_or(Ok(()), |times| rustix::fs::futimens(file, &times)))
        .and_then(|()| rustix::fs::fstat(file));
        let stat = done.map_err(|e| self.failed("set mode and time of", wish.name, e))?;
        Ok(node_stat(&stat))
    }

    /// Gives a file of a generation a second name, where that is wished and nothing about it changes.
    fn link_whole(
        &mut self,
        wish: &FileWish<'_>,
        flags: Flags,
        decoder: &mut Decoder<Stream>,
        (old, node): (usize, usize),
    ) -> Option<Made> {
        if self.bounds.reuse != Reuse::Hardlink {
            return None;
        }
        let old = decoder.source().olds.get(old)?;
        let stat = old.nodes.stat(node)?;
        if !self.is_about(stat, wish.wanted, attributes::times(flags, wish.metadata)) {
            return None;
        }
        let path = old.nodes.path(node);
        let root = old.root();
        let linked = self.with_parent(wish.name, "give a second name to", |parent| {
            rustix::fs::linkat(root, path.as_slice(), parent, wish.name, AtFlags::empty())?;
            rustix::fs::statat(parent, wish.name, AtFlags::SYMLINK_NOFOLLOW)
        });
        linked.ok().map(|stat| Made { stat: node_stat(&stat), bytes: Bytes::Same, later: None })
    }

    /// Writes a file piece by piece, from the first on that is another than what stands in its place; whether its content
    /// is another than what is at its path now.
    fn fill(
        &mut self,
        wish: &FileWish<'_>,
        decoder: &mut Decoder<Stream>,
        draft: &mut Draft,
    ) -> Result<(Bytes, Tail), AssembleError> {
        let same_place = self
            .changes
            .old_node()
            .filter(|_| self.changes.old_stat().is_some_and(|old| old.size == wish.size));
        let (mut at, mut changed, mut tail) = (0, same_place.is_none(), Tail::Written);
        while at < wish.size {
            let stream = decoder.source();
            let piece = stream.piece(wish.size - at)?;
            let length = match piece {
                Piece::File { old, node, at: from, length } => {
                    changed |= old != 0 || Some(node) != same_place || from != at;
                    if changed || matches!(draft, Draft::Written(_)) {
                        let file = self.written(wish, draft, at)?;
                        let source = stream.olds.get_mut(old).and_then(|old| old.file(node));
                        let source = source
                            .ok_or_else(|| AssembleError::Died("a seed went away".to_owned()))?;
                        let copied = copy_range(source, from, file, length, &mut self.buffer);
                        tail = copied.map_err(|e| self.failed_io("write", wish.name, e))?;
                    }
                    length
                }
                Piece::Loaded(range) => {
                    if let Draft::Stands(standing, _) = draft {
                        let bytes = stream.loaded(range.clone());
                        changed |= !has_bytes(standing, at, bytes, &mut self.buffer);
                    } else if !changed && let Some(node) = same_place {
                        changed = !is_same(stream, node, at, range.clone(), &mut self.buffer);
                    }
                    let bytes = stream.loaded(range);
                    if changed || matches!(draft, Draft::Written(_)) {
                        let file = self.written(wish, draft, at)?;
                        let written = write_sparse(file, bytes);
                        tail = written.map_err(|e| self.failed_io("write", wish.name, e))?;
                    }
                    bytes.len() as u64
                }
            };
            if length == 0 {
                let why = "the archive ended within a file".to_owned();
                return Err(AssembleError::Died(why));
            }
            decoder.pass_payload(length);
            at += length;
        }
        Ok((if changed { Bytes::Other } else { Bytes::Same }, tail))
    }
}

/// Copies a whole file: shared blocks where the file system can.
pub(super) fn copy_whole(
    from: &File,
    to: &File,
    size: u64,
    shares: &AtomicBool,
    buffer: &mut Vec<u8>,
) -> io::Result<()> {
    if shares.load(Ordering::Relaxed) {
        match rustix::fs::ioctl_ficlone(to, from) {
            Ok(()) => return Ok(()),
            Err(_) => shares.store(false, Ordering::Relaxed),
        }
    }
    match copy_range(from, 0, to, size, buffer)? {
        Tail::Written => Ok(()),
        Tail::Hole => to.set_len(size),
    }
}

/// Whether a file of the tree in use has these bytes at a place.
fn is_same(
    stream: &mut Stream,
    node: usize,
    at: u64,
    range: std::ops::Range<usize>,
    buffer: &mut Vec<u8>,
) -> bool {
    buffer.resize(range.len(), 0);
    let file = stream.olds.first_mut().and_then(|old| old.file(node));
    let read = file.is_some_and(|file| file.read_exact_at(buffer, at).is_ok());
    read && buffer.as_slice() == stream.loaded(range)
}

/// Whether a file has these bytes at a place.
fn has_bytes(file: &File, at: u64, bytes: &[u8], buffer: &mut Vec<u8>) -> bool {
    buffer.resize(bytes.len(), 0);
    file.read_exact_at(buffer, at).is_ok() && buffer.as_slice() == bytes
}

/// Writes bytes at the end of a file, but for blocks of zeros, which are left out.
fn write_sparse(mut to: &File, bytes: &[u8]) -> io::Result<Tail> {
    let is_zero = |block: &[u8]| block.len() == BLOCK_BYTES && block.iter().all(|&byte| byte == 0);
    let mut tail = Tail::Written;
    let mut rest = bytes;
    while !rest.is_empty() {
        let zeros = rest.chunks(BLOCK_BYTES).take_while(|block| is_zero(block)).count();
        let (hole, after) = rest.split_at(zeros * BLOCK_BYTES);
        let data = after.chunks(BLOCK_BYTES).take_while(|block| !is_zero(block)).map(<[u8]>::len);
        let (data, after) = after.split_at(data.sum());
        if !hole.is_empty() {
            to.seek(SeekFrom::Current(i64::try_from(hole.len()).unwrap_or(i64::MAX)))?;
            tail = Tail::Hole;
        }
        if !data.is_empty() {
            to.write_all(data)?;
            tail = Tail::Written;
        }
        rest = after;
    }
    Ok(tail)
}

/// Copies a part of a file to the end of another, inside the kernel where it can. Holes stay holes.
fn copy_range(
    from: &File,
    at: u64,
    mut to: &File,
    length: u64,
    buffer: &mut Vec<u8>,
) -> io::Result<Tail> {
    if length >= BLOCK_BYTES as u64 && has_holes(from)? {
        return copy_sparse(from, at, to, length, buffer);
    }
    let (mut at, mut left) = (at, length);
    // Setting up a copy inside the kernel takes longer than two calls for a few pages.
    while left > 0 && length > COPY_BYTES as u64 {
        let count = usize::try_from(left).unwrap_or(usize::MAX);
        match rustix::fs::copy_file_range(from, Some(&mut at), to, None, count) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(copied) => left -= copied as u64,
            Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::NOSYS | Errno::INVAL | Errno::OPNOTSUPP | Errno::PERM) => {
                break;
            }
            Err(error) => return Err(error.into()),
        }
    }
    while left > 0 {
        let count = usize::try_from(left).unwrap_or(COPY_BYTES).min(COPY_BYTES);
        buffer.resize(count, 0);
        from.read_exact_at(buffer, at)?;
        to.write_all(buffer)?;
        at += count as u64;
        left -= count as u64;
    }
    Ok(Tail::Written)
}

/// Whether fewer blocks are taken than the bytes of a file need.
fn has_holes(file: &File) -> io::Result<bool> {
    let metadata = file.metadata()?;
    Ok(metadata.blocks().saturating_mul(512) < metadata.len())
}

fn copy_sparse(
    from: &File,
    mut at: u64,
    to: &File,
    length: u64,
    buffer: &mut Vec<u8>,
) -> io::Result<Tail> {
    let (mut left, mut tail) = (length, Tail::Written);
    while left > 0 {
        let count = usize::try_from(left).unwrap_or(COPY_BYTES).min(COPY_BYTES);
        buffer.resize(count, 0);
        from.read_exact_at(buffer, at)?;
        tail = write_sparse(to, buffer)?;
        at += count as u64;
        left -= count as u64;
    }
    Ok(tail)
}

/// Whether a file may get its content after its mode and owner: writing clears capabilities and the bits that
/// lend the owner's rights.
fn can_wait(wish: &FileWish<'_>) -> bool {
    wish.wanted.mode & 0o6000 == 0 && wish.wanted.attributes == 0
}
