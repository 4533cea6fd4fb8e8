//! The door to a repository on disk: files appear whole, under their name, or not at all.
#![expect(
    clippy::disallowed_methods,
    reason = "a repository is no part of the managed host: its files are written here and nowhere else"
)]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};

use crate::publish::{Existing, PublishError};

/// End of the names of what is written beside its place before it is renamed there.
const BESIDE: &str = ".reconcile-new";

/// Reads a file of at most `bytes_max`.
pub(super) fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, PublishError> {
    let failed = |source| PublishError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(failed(io::ErrorKind::InvalidInput.into()));
    }
    if metadata.len() > bytes_max {
        return Err(failed(io::ErrorKind::FileTooLarge.into()));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default());
    file.take(bytes_max).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// Names in a directory, sorted; those that are not text and hidden ones are left out. None where there is no
/// directory.
pub(super) fn names(directory: &Path) -> Result<Vec<String>, PublishError> {
    let failed = |source| PublishError::Read { path: directory.to_owned(), source };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(failed(source)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name().into_string();
        names.extend(name.ok().filter(|name| !name.starts_with('.')));
    }
    names.sort();
    Ok(names)
}

/// A directory that nobody else publishes in at the same time.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough while a program that another thread is just starting still has the file.
        let _ = self.0.unlock();
    }
}

/// Waits until nobody else publishes in a directory, which is made when it is missing.
pub(super) fn lock(directory: &Path) -> Result<Lock, PublishError> {
    let attempt = || {
        fs::create_dir_all(directory)?;
        let opened = File::open(directory)?;
        opened.lock()?;
        Ok(Lock(opened))
    };
    attempt().map_err(|source| PublishError::Write { path: directory.to_owned(), source })
}

/// Writes a file as a whole and durably, with its directories; says its path again. Whoever writes one holds the lock
/// of the repository: what is beside it was left by somebody who was killed.
pub(super) fn write(
    path: PathBuf,
    bytes: &[u8],
    existing: Existing,
) -> Result<PathBuf, PublishError> {
    let failed = |source| PublishError::Write { path: path.clone(), source };
    let directory = path.parent().unwrap_or(&path);
    fs::create_dir_all(directory).map_err(failed)?;
    let beside = beside(&path);
    remove(&beside)?;
    let written = (|| {
        let mut file = OpenOptions::new().create_new(true).write(true).open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        rename(&beside, &path, existing)?;
        File::open(directory)?.sync_all()
    })();
    match written {
        Ok(()) => Ok(path),
        Err(error) => {
            // The error to tell is the first one.
            let _ = fs::remove_file(&beside);
            match error.kind() {
                io::ErrorKind::AlreadyExists => Err(PublishError::Exists { path }),
                _ => Err(PublishError::Write { path, source: error }),
            }
        }
    }
}

/// A new, empty directory beside `place`, in which it is made. Whoever makes one holds the lock of the repository.
pub(super) fn stage(place: &Path) -> Result<PathBuf, PublishError> {
    let staged = beside(place);
    remove(&staged)?;
    let failed = |source| PublishError::Write { path: staged.clone(), source };
    fs::create_dir(&staged).map_err(failed)?;
    Ok(staged)
}

/// Moves a complete file or directory to its place at once; what was there goes.
pub(super) fn promote(staged: &Path, place: &Path, existing: Existing) -> Result<(), PublishError> {
    let failed = |source| PublishError::Write { path: place.to_owned(), source };
    let replaces = existing == Existing::Replaced && place.exists();
    let flags = if replaces { RenameFlags::EXCHANGE } else { RenameFlags::NOREPLACE };
    rustix::fs::renameat_with(CWD, staged, CWD, place, flags).map_err(
        |errno| match io::Error::from(errno) {
            error if error.kind() == io::ErrorKind::AlreadyExists => {
                PublishError::Exists { path: place.to_owned() }
            }
            error => failed(error),
        },
    )?;
    let synced = place.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all());
    synced.map_err(failed)?;
    if replaces { remove(staged) } else { Ok(()) }
}

/// Removes a file or a directory with all it holds; nothing there is fine.
pub(super) fn remove(path: &Path) -> Result<(), PublishError> {
    let removed = match path.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(source)
            if !matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            Err(PublishError::Write { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

fn rename(from: &Path, to: &Path, existing: Existing) -> io::Result<()> {
    let flags = match existing {
        Existing::Kept => RenameFlags::NOREPLACE,
        Existing::Replaced => RenameFlags::empty(),
    };
    Ok(rustix::fs::renameat_with(CWD, from, CWD, to, flags)?)
}

/// Where a file or directory is made before it is renamed to its place.
pub(super) fn beside(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(BESIDE);
    path.with_file_name(name)
}
