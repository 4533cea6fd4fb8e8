//! The files of the cache: nobody else makes any, so a link or pipe among them is never used.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

use crate::fetch::FetchError;

/// Opens a regular file; anything else is an error, and is not waited for.
pub(super) fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = options.custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"))
}

/// Opens one to be read.
pub(super) fn open_read(path: &Path) -> io::Result<File> {
    open(path, OpenOptions::new().read(true))
}

/// Writes a new file, whatever was there.
pub(super) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    remove(path)?;
    OpenOptions::new().write(true).create_new(true).open(path)?.write_all(bytes)
}

/// Removes a file that may be absent.
#[expect(clippy::disallowed_methods, reason = "the cache belongs to fetch and can be wiped")]
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// Makes a directory and those above it.
#[expect(clippy::disallowed_methods, reason = "the cache belongs to fetch and can be wiped")]
pub(super) fn create_directory(path: &Path) -> Result<(), FetchError> {
    std::fs::create_dir_all(path).map_err(|source| cache_error("create", path, source))
}

/// Renames over whatever file is there.
#[expect(clippy::disallowed_methods, reason = "the cache belongs to fetch and can be wiped")]
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::rename(from, to)
}

pub(super) fn cache_error(action: &'static str, path: &Path, source: io::Error) -> FetchError {
    FetchError::Cache { action, path: path.to_owned(), source }
}
