//! The door to a repository on disk: files appear whole, under their name, or not at all.
#![expect(
    clippy::disallowed_methods,
    reason = "a repository is no part of the managed host: its files are written here and nowhere else"
)]

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::ErrorKind::{NotADirectory, NotFound};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::fs::{CWD, RenameFlags};

use crate::host::{open_regular, read_bounded};
use crate::publish::{Existing, PublishError};

/// End of the names of what is written beside its place before it is renamed there.
const BESIDE: &str = ".reconcile-new";

/// Mode of what is published.
const MODE: u32 = 0o644;

/// Mode of the directories that it is in.
const MODE_OF_DIRS: u32 = 0o755;

/// How long somebody who waits for a lock sleeps between two looks.
const LOCK_POLL: Duration = Duration::from_millis(50);

/// Opens a regular file; of a pipe nobody waits for a writer.
pub(super) fn open(path: &Path) -> Result<File, PublishError> {
    let opened = open_regular(path, OpenOptions::new().read(true));
    opened.map_err(|source| PublishError::Read { path: path.to_owned(), source })
}

/// Reads a file of at most `bytes_max`.
pub(super) fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, PublishError> {
    let read = read_bounded(open(path)?, bytes_max);
    read.map_err(|source| PublishError::Read { path: path.to_owned(), source })
}

/// What is in a directory.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Names, sorted.
    pub(super) names: Vec<String>,
    /// Names that are hidden or not text, escaped for printing.
    pub(super) odd: Vec<String>,
}

/// Names in a directory. None where there is no directory.
pub(super) fn list(directory: &Path) -> Result<Listing, PublishError> {
    let failed = |source| PublishError::Read { path: directory.to_owned(), source };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == NotFound => return Ok(Listing::default()),
        Err(source) => return Err(failed(source)),
    };
    let mut listing = Listing::default();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        match name.to_str().filter(|name| !name.starts_with('.')) {
            Some(name) => listing.names.push(name.to_owned()),
            None => listing.odd.push(name.as_bytes().escape_ascii().to_string()),
        }
    }
    listing.names.sort();
    listing.odd.sort();
    Ok(listing)
}

/// The names of [`list`] alone.
pub(super) fn names(directory: &Path) -> Result<Vec<String>, PublishError> {
    Ok(list(directory)?.names)
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
pub(super) fn lock(directory: &Path, patience: Duration) -> Result<Lock, PublishError> {
    let failed = |source| PublishError::Write { path: directory.to_owned(), source };
    make_dirs(directory).map_err(failed)?;
    let opened = File::open(directory).map_err(failed)?;
    if patiently(patience, || opened.try_lock()).map_err(failed)? {
        return Ok(Lock(opened));
    }
    Err(PublishError::Busy { path: directory.to_owned() })
}

/// The same for several, of which some may be the same.
pub(super) fn lock_all(
    directories: &[&Path],
    patience: Duration,
) -> Result<Vec<Lock>, PublishError> {
    let mut real = Vec::new();
    for directory in directories {
        let failed = |source| PublishError::Write { path: (*directory).to_owned(), source };
        make_dirs(directory).map_err(failed)?;
        real.push(directory.canonicalize().map_err(failed)?);
    }
    // In one order, so that nobody waits for somebody who waits.
    real.sort();
    real.dedup();
    real.iter().map(|directory| lock(directory, patience)).collect()
}

/// Tries to have a lock until it is had, or for so long: whether it is.
pub(super) fn patiently(
    patience: Duration,
    mut attempt: impl FnMut() -> Result<(), TryLockError>,
) -> io::Result<bool> {
    let mut waited = Duration::ZERO;
    loop {
        match attempt() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) if waited < patience => {}
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        std::thread::sleep(LOCK_POLL);
        waited += LOCK_POLL;
    }
}

/// Makes a directory and its parents. Whatever the mask of whoever publishes: they are for everybody.
pub(super) fn make_dirs(path: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = path
        .ancestors()
        .take_while(|path| !path.as_os_str().is_empty() && path.symlink_metadata().is_err())
        .collect();
    for directory in missing.into_iter().rev() {
        match fs::create_dir(directory) {
            Ok(()) => fs::set_permissions(directory, fs::Permissions::from_mode(MODE_OF_DIRS))?,
            // Another publisher was there first.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What this process is making beside its place.
static MAKING: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn making() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    MAKING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Claims a name beside a place, and removes what others made in this directory: whoever comes here holds the lock of the
/// repository, so that they were killed. What of that does not go is in nobody's way.
fn claim(beside: &Path) -> io::Result<()> {
    making().insert(beside.to_owned());
    for entry in fs::read_dir(beside.parent().unwrap_or(beside)).into_iter().flatten().flatten() {
        let (name, path) = (entry.file_name(), entry.path());
        let name = name.as_bytes();
        let half_done = name.starts_with(b".") && name.ends_with(BESIDE.as_bytes());
        if half_done && !making().contains(&path) {
            let _ = cleared(&path);
        }
    }
    cleared(beside)
}

/// A file that is made beside its place; dropped without being placed it is gone. Whoever makes one holds the lock of
/// the repository: what is beside its place was left by somebody who was killed.
#[derive(Debug)]
pub(super) struct New {
    file: File,
    beside: PathBuf,
    path: PathBuf,
}

impl New {
    /// Begins a file, with its directories.
    pub(super) fn begin(path: PathBuf) -> Result<Self, PublishError> {
        let beside = beside(&path);
        let begun = (|| -> io::Result<File> {
            make_dirs(path.parent().unwrap_or(&path))?;
            claim(&beside)?;
            let file = OpenOptions::new().create_new(true).write(true).open(&beside)?;
            // Whatever the mask of whoever publishes: it is for everybody.
            file.set_permissions(fs::Permissions::from_mode(MODE))?;
            Ok(file)
        })();
        match begun {
            Ok(file) => Ok(Self { file, beside, path }),
            Err(source) => Err(PublishError::Write { path, source }),
        }
    }

    /// Where it is until it is placed.
    pub(super) fn beside(&self) -> &Path {
        &self.beside
    }

    /// Writes all of it.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), PublishError> {
        let written = self.file.write_all(bytes);
        written.map_err(|source| PublishError::Write { path: self.path.clone(), source })
    }

    /// Puts it in its place at once and durably; says its path again.
    pub(super) fn place(self, existing: Existing) -> Result<PathBuf, PublishError> {
        let flags = match existing {
            Existing::Kept => RenameFlags::NOREPLACE,
            Existing::Replaced => RenameFlags::empty(),
        };
        let path = self.path.clone();
        let placed = (|| {
            self.file.sync_all()?;
            rustix::fs::renameat_with(CWD, &self.beside, CWD, &path, flags)?;
            File::open(path.parent().unwrap_or(&path))?.sync_all()
        })();
        match placed {
            Ok(()) => Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(PublishError::Exists { path })
            }
            Err(source) => Err(PublishError::Write { path, source }),
        }
    }
}

impl Drop for New {
    fn drop(&mut self) {
        // Once it is placed there is nothing of this name.
        let _ = fs::remove_file(&self.beside);
        making().remove(&self.beside);
    }
}

/// Writes a file as a whole and durably, with its directories; says its path again.
pub(super) fn write(
    path: PathBuf,
    bytes: &[u8],
    existing: Existing,
) -> Result<PathBuf, PublishError> {
    let mut new = New::begin(path)?;
    new.write(bytes)?;
    new.place(existing)
}

/// A new, empty directory beside `place`, in which it is made. Whoever makes one holds the lock of the repository.
pub(super) fn stage(place: &Path) -> Result<PathBuf, PublishError> {
    let staged = beside(place);
    let failed = |source| PublishError::Write { path: staged.clone(), source };
    make_dirs(place.parent().unwrap_or(place)).map_err(failed)?;
    claim(&staged).map_err(failed)?;
    make_dirs(&staged).map_err(failed)?;
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
    cleared(path).map_err(|source| PublishError::Write { path: path.to_owned(), source })
}

fn cleared(path: &Path) -> io::Result<()> {
    let removed = match path.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if !matches!(error.kind(), NotFound | NotADirectory) => Err(error),
        _ => Ok(()),
    }
}

/// Where a file or directory is made before it is renamed to its place.
pub(super) fn beside(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(BESIDE);
    path.with_file_name(name)
}
