//! A directory on this machine as an archive, packed while it is sent.
//!
//! The same directory makes the same bytes: entries are sorted, and whose they are is left out.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustix::fs::OFlags;
use tokio::sync::mpsc;

use crate::fetch::partial::PIECE_BYTES;

/// Pieces packed but not yet taken.
const PIECES_WAITING_MAX: usize = 4;

/// Most entries of any type: as many as are unpacked.
const ENTRIES_MAX: usize = 200_000;

/// Permission bits that an archive keeps.
const MODE: u32 = 0o7777;

/// Bytes of an archive, in order; the last may be why it ends early.
pub(super) type Pieces = mpsc::Receiver<io::Result<Bytes>>;

/// Packs a directory on another thread.
pub(super) fn pack(directory: PathBuf) -> Pieces {
    let (sender, pieces) = mpsc::channel(PIECES_WAITING_MAX);
    tokio::task::spawn_blocking(move || {
        let mut writer = Sender { to: sender, filled: Vec::with_capacity(PIECE_BYTES) };
        if let Err(error) = write(&directory, &mut writer).and_then(|()| writer.flush()) {
            // Who does not listen any more has an error of its own.
            let _ = writer.to.blocking_send(Err(error));
        }
    });
    pieces
}

/// Sends what is written in pieces.
struct Sender {
    to: mpsc::Sender<io::Result<Bytes>>,
    filled: Vec<u8>,
}

impl Write for Sender {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.filled.len() + bytes.len() > PIECE_BYTES {
            self.flush()?;
        }
        self.filled.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.filled.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.filled, Vec::with_capacity(PIECE_BYTES));
        self.to.blocking_send(Ok(piece.into())).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

fn write(directory: &Path, to: &mut Sender) -> io::Result<()> {
    let mut archive = tar::Builder::new(to);
    let mut pending = vec![PathBuf::new()];
    let mut count = 0;
    while let Some(path) = pending.pop() {
        count += 1;
        if count > ENTRIES_MAX {
            let why = format!("it has more than the {ENTRIES_MAX} entries that are packed");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
        }
        let place = directory.join(&path);
        let metadata = place.symlink_metadata().map_err(|e| about(&place, &e))?;
        if metadata.is_dir() {
            let mut inside: Vec<PathBuf> = fs::read_dir(&place)
                .and_then(Iterator::collect::<io::Result<Vec<_>>>)
                .map_err(|e| about(&place, &e))?
                .iter()
                .map(|entry| path.join(entry.file_name()))
                .collect();
            // The last one is taken first.
            inside.sort_by(|a, b| b.cmp(a));
            pending.append(&mut inside);
        }
        if !path.as_os_str().is_empty() {
            add(&mut archive, (&path, &place), &metadata).map_err(|e| about(&place, &e))?;
        }
    }
    archive.finish()
}

fn add(
    archive: &mut tar::Builder<&mut Sender>,
    (path, place): (&Path, &Path),
    metadata: &Metadata,
) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(metadata.mode() & MODE);
    header.set_mtime(u64::try_from(metadata.mtime()).unwrap_or_default());
    header.set_size(0);
    if metadata.is_dir() {
        header.set_entry_type(tar::EntryType::Directory);
        archive.append_data(&mut header, path, io::empty())
    } else if metadata.is_symlink() {
        header.set_entry_type(tar::EntryType::Symlink);
        archive.append_link(&mut header, path, fs::read_link(place)?)
    } else if metadata.is_file() {
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(metadata.len());
        let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or_default();
        let file = File::options().read(true).custom_flags(flags).open(place)?;
        let mut bytes = file.take(metadata.len());
        archive.append_data(&mut header, path, &mut bytes)?;
        match bytes.limit() {
            0 => Ok(()),
            _ => Err(io::Error::other("it became shorter while it was read")),
        }
    } else {
        let why = "it is neither a file, a directory nor a link; remove it from the source";
        Err(io::Error::new(io::ErrorKind::InvalidInput, why))
    }
}

/// Puts the path into the error's text.
fn about(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
