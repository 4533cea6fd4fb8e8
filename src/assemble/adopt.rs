//! A directory that somebody else made, compared with an index.
//!
//! It is encoded as its publisher would have done and cut where the index says; the digests of the pieces decide. No
//! chunk is needed for that.

use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use data_encoding::HEXLOWER;
use rustix::fs::OFlags;
use sha2::{Digest as _, Sha256};

use crate::format::casync::catar::{Content, DEPTH_MAX, Encoder, Metadata as About};
use crate::format::casync::chunk::Hasher;
use crate::format::casync::flags::Flags;
use crate::format::casync::index::Index;
use crate::model::snapshot::NODES_MAX;

/// Bytes read at once.
const PIECE_BYTES: usize = 128 << 10;

/// Whether a directory holds what an index describes, and nothing else. What cannot be read, or changes while it is
/// read, is something else.
pub fn is_made_of(index: &Index, tree: &Path) -> bool {
    let flags = index.header.flags;
    if !told_by_stat().contains(flags) {
        return false;
    }
    let pieces = Pieces { index, number: 0, left: 0, hasher: None };
    let mut encoder = Encoder::new(pieces, flags);
    let Ok(about) = tree.symlink_metadata() else { return false };
    if !about.is_dir() || encode(&mut encoder, (tree, &[]), &about, flags).is_err() {
        return false;
    }
    encoder.finish().is_ok_and(|(pieces, length)| pieces.are_all(length))
}

/// Properties that a `stat` tells. Where an archive has more, the directory is replaced.
fn told_by_stat() -> Flags {
    let times = Flags::SEC_TIME.with(Flags::USEC_TIME).with(Flags::NSEC_TIME);
    let kinds = Flags::PERMISSIONS.with(Flags::SYMLINKS).with(Flags::FIFOS);
    Flags::UPDATER.with(times).with(kinds)
}

/// One digest of what `stat` says of every node: while it is the same, nobody changed anything.
pub fn fingerprint(tree: &Path) -> Option<String> {
    let (mut sum, mut count) = (Sha256::new(), 0);
    sum_up(tree, (&mut sum, &mut count), 0).ok()?;
    Some(HEXLOWER.encode(&sum.finalize()))
}

fn sum_up(
    directory: &Path,
    (sum, count): (&mut Sha256, &mut usize),
    depth: usize,
) -> io::Result<()> {
    for (name, about) in entries(directory)? {
        *count += 1;
        if *count > NODES_MAX || depth > DEPTH_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        sum.update(name.as_bytes());
        sum.update([0]);
        for number in [about.ino(), about.dev(), about.size(), u64::from(about.mode())] {
            sum.update(number.to_le_bytes());
        }
        for time in [about.mtime(), about.mtime_nsec(), about.ctime(), about.ctime_nsec()] {
            sum.update(time.to_le_bytes());
        }
        if about.is_dir() {
            sum_up(&directory.join(&name), (sum, count), depth + 1)?;
        }
    }
    sum.update(b"/");
    Ok(())
}

/// Entries of a directory in the order of archives.
fn entries(directory: &Path) -> io::Result<Vec<(OsString, Metadata)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        found.push((entry.file_name(), entry.path().symlink_metadata()?));
    }
    found.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    Ok(found)
}

fn encode(
    encoder: &mut Encoder<Pieces<'_>>,
    (path, name): (&Path, &[u8]),
    about: &Metadata,
    flags: Flags,
) -> io::Result<()> {
    let kind = about.file_type();
    let content = if kind.is_dir() {
        Content::Directory
    } else if kind.is_symlink() {
        Content::Symlink { target: fs::read_link(path)?.as_os_str().as_bytes().to_vec() }
    } else if kind.is_fifo() {
        Content::Fifo
    } else if kind.is_file() {
        Content::File { size: about.size(), offset: 0 }
    } else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    if !flags.contains(content.needs()) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let seconds = u64::try_from(about.mtime()).unwrap_or_default();
    let nanoseconds = u64::try_from(about.mtime_nsec()).unwrap_or_default();
    let metadata = About {
        permissions: about.mode() & 0o7777,
        mtime: seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds),
        ..About::default()
    };
    encoder.node(name, &metadata, &content).map_err(io::Error::other)?;
    match content {
        Content::File { .. } => payload(encoder, path, about.size())?,
        Content::Directory => {
            for (name, about) in entries(path)? {
                encode(encoder, (&path.join(&name), name.as_bytes()), &about, flags)?;
            }
            encoder.leave().map_err(io::Error::other)?;
        }
        _ => {}
    }
    Ok(())
}

fn payload(encoder: &mut Encoder<Pieces<'_>>, path: &Path, size: u64) -> io::Result<()> {
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOFOLLOW).bits()).unwrap_or_default();
    let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let mut file: io::Take<File> = file.take(size);
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let count = file.read(&mut piece)?;
        if count == 0 {
            return Ok(());
        }
        encoder.payload(piece.get(..count).unwrap_or_default()).map_err(io::Error::other)?;
    }
}

/// A stream that is compared with the chunks of an index. The first that is another ends it.
struct Pieces<'i> {
    index: &'i Index,
    /// Chunks that were begun.
    number: usize,
    /// Bytes that the last of them still gets.
    left: u64,
    hasher: Option<Hasher>,
}

impl Pieces<'_> {
    /// Whether a stream of this length was all of the index.
    fn are_all(&self, length: u64) -> bool {
        self.left == 0 && self.number == self.index.chunks.len() && length == self.index.length()
    }
}

impl Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let another = || io::Error::from(io::ErrorKind::InvalidData);
        let wanted = if self.left == 0 {
            let wanted = self.index.wanted(self.number).ok_or_else(another)?;
            self.number += 1;
            self.left = wanted.length;
            self.hasher = Some(wanted.digest.hasher());
            wanted
        } else {
            self.index.wanted(self.number.saturating_sub(1)).ok_or_else(another)?
        };
        let most = usize::try_from(self.left).unwrap_or(bytes.len()).min(bytes.len());
        let taken = bytes.get(..most).unwrap_or_default();
        if let Some(hasher) = &mut self.hasher {
            hasher.update(taken);
        }
        self.left -= taken.len() as u64;
        if self.left == 0 && self.hasher.take().is_some_and(|hasher| hasher.finish() != wanted.id) {
            return Err(another());
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
