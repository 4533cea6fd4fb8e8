//! Reading within a bound: what is longer is refused, because half of a file is another file.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

/// How much is read at first, in bytes.
const FIRST_READ: usize = 8 << 10;

/// Opens a regular file; a pipe in its place is not waited for.
pub fn open_regular(file: impl AsRef<Path>, options: &mut OpenOptions) -> io::Result<File> {
    opened(file.as_ref(), options, OFlags::NONBLOCK)
}

/// The same where no link is followed in the file's own place.
///
/// # Errors
/// As [`open_regular`], and where a link is there.
pub fn open_in_place(file: impl AsRef<Path>, options: &mut OpenOptions) -> io::Result<File> {
    opened(file.as_ref(), options, OFlags::NONBLOCK | OFlags::NOFOLLOW)
}

fn opened(file: &Path, options: &mut OpenOptions, flags: OFlags) -> io::Result<File> {
    let file = options.custom_flags(flags.bits().cast_signed()).open(file)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"))
}

/// A new, empty file in the place of whatever was there, which is gone: nothing is written through a link, and no pipe
/// is waited for. For places that others can write to.
///
/// # Errors
/// Whatever the system says: a directory stays where it is, and what came there in between, too.
pub fn create_anew(file: impl AsRef<Path>) -> io::Result<File> {
    create_anew_at(CWD, file)
}

/// The same below an open directory.
///
/// # Errors
/// As [`create_anew`].
pub fn create_anew_at(directory: impl AsFd, file: impl AsRef<Path>) -> io::Result<File> {
    match rustix::fs::unlinkat(&directory, file.as_ref(), AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o644);
    Ok(rustix::fs::openat(directory, file.as_ref(), flags, mode)?.into())
}

/// All of a regular file that has at most `limit` bytes.
///
/// # Errors
/// As [`open_regular`] and [`read_bounded`].
pub fn read_regular(file: impl AsRef<Path>, limit: u64) -> io::Result<Vec<u8>> {
    let file = open_regular(file, OpenOptions::new().read(true))?;
    read_bounded(file, limit)
}

/// All of a source that has at most `limit` bytes.
///
/// # Errors
/// What the source says, or [`io::ErrorKind::FileTooLarge`] when it has more.
pub fn read_bounded(source: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    // Almost all documents fit, and are read by one call.
    let mut bytes =
        Vec::with_capacity(usize::try_from(limit).map_or(FIRST_READ, |l| l.min(FIRST_READ)));
    source.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        let why = format!("it has more than {limit} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    Ok(bytes)
}
