//! A store of chunks that is written to: files appear in it whole or not at all.

use std::collections::hash_map::RandomState;
use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps, UTIME_NOW};
use rustix::io::Errno;

use super::PublishError;
use crate::format::casync::chunk::{CHUNK_BYTES_MAX, ChunkId, Form};
use crate::publish::place::{make_dirs, patiently};

/// Name of the file in a store that whoever writes to it holds a lock on: shared by publishers, alone by a collection.
const LOCK: &str = ".reconcile.lock";

/// Mode of chunks, as casync gives them: nobody ever changes one.
const CHUNK_MODE: Mode = Mode::from_bits_retain(0o444);

/// Mode of the directories that they are in.
const MODE_OF_DIRS: Mode = Mode::from_bits_retain(0o755);

/// How a store is used, which decides beside whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Using {
    /// Adding chunks, beside others who do.
    Shared,
    /// Removing chunks, alone.
    Alone,
    /// Counting what would be removed, where nothing changes meanwhile.
    Looking,
}

/// A store, locked as long as it is open.
#[derive(Debug)]
pub(super) struct Store {
    directory: OwnedFd,
    path: Utf8PathBuf,
    temporaries: AtomicU64,
    lock: Option<File>,
}

impl Drop for Store {
    fn drop(&mut self) {
        // Closing is not enough while a program that another thread is just starting still has the file.
        let _ = self.lock.as_ref().map(File::unlock);
    }
}

impl Store {
    /// Opens a store, which is made for publishers when it is missing.
    pub(super) fn open(
        path: &Utf8Path,
        using: Using,
        patience: Duration,
    ) -> Result<Self, PublishError> {
        let failed =
            |error: Errno| PublishError::Write { path: path.to_owned(), source: error.into() };
        if using == Using::Shared {
            let made = make_dirs(path.as_std_path());
            made.map_err(|source| PublishError::Write { path: path.to_owned(), source })?;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory =
            rustix::fs::open(path.as_std_path(), flags, Mode::empty()).map_err(failed)?;
        let how = match using {
            // Nothing is made, and nothing may be writable.
            Using::Looking => OFlags::RDONLY,
            Using::Shared | Using::Alone => OFlags::RDWR | OFlags::CREATE,
        };
        let flags = how | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let lock = match rustix::fs::openat(&directory, LOCK, flags, Mode::from(0o644)) {
            Ok(lock) => Some(File::from(lock)),
            // Where nobody published, nobody does.
            Err(Errno::NOENT) if using == Using::Looking => None,
            Err(error) => return Err(failed(error)),
        };
        let attempt = || match (&lock, using) {
            (None, _) => Ok(()),
            (Some(lock), Using::Shared) => lock.try_lock_shared(),
            (Some(lock), Using::Alone | Using::Looking) => lock.try_lock(),
        };
        let had = patiently(patience, attempt);
        if !had.map_err(|source| PublishError::Write { path: path.to_owned(), source })? {
            return Err(PublishError::Busy { path: path.to_owned() });
        }
        // Not the number of the process, which is the same in every container and again after a kill.
        let temporaries = AtomicU64::new(RandomState::new().build_hasher().finish());
        Ok(Self { directory, path: path.to_owned(), temporaries, lock })
    }

    /// The directory of the store that a file is in, which is no link, and the file's name there.
    fn place<'n>(&self, name: &'n str) -> Result<(OwnedFd, &'n str), Errno> {
        let (directory, file) = name.split_once('/').unwrap_or((".", name));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok((rustix::fs::openat(&self.directory, directory, flags, Mode::empty())?, file))
    }

    /// Bytes of a file below the store; none when there is no such file. Empty files are what a loss of power leaves
    /// of files that were never synced: nothing of a store is empty.
    pub(super) fn size(&self, name: &str) -> Option<u64> {
        let (directory, name) = self.place(name).ok()?;
        let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        u64::try_from(stat.st_size).ok().filter(|&size| size > 0)
    }

    /// Whether a chunk is there. It is as young as a new one from then on: a collection may have condemned it and
    /// gives it its full time of grace again. What cannot be made young counts as missing and is written anew.
    pub(super) fn has(&self, id: &ChunkId) -> bool {
        let name = id.path(Form::Compressed);
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let times = Timestamps { last_access: now, last_modification: now };
        self.size(&name).is_some()
            && self.place(&name).is_ok_and(|(directory, name)| {
                rustix::fs::utimensat(directory, name, &times, AtFlags::SYMLINK_NOFOLLOW).is_ok()
            })
    }

    /// The stored form of a chunk.
    pub(super) fn read(&self, id: &ChunkId) -> Result<Vec<u8>, PublishError> {
        self.read_named(&id.path(Form::Compressed))
    }

    /// A file below a directory of the store.
    pub(super) fn read_named(&self, name: &str) -> Result<Vec<u8>, PublishError> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let attempt = || -> io::Result<Vec<u8>> {
            let (directory, name) = self.place(name)?;
            let file = rustix::fs::openat(directory, name, flags, Mode::empty())?;
            let mut bytes = Vec::new();
            File::from(file).take(CHUNK_BYTES_MAX + 1).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let path = || self.path.join(name).into_string();
        attempt().map_err(|source| PublishError::Read { path: path(), source })
    }

    /// Adds a file of this name below a directory of the store.
    pub(super) fn add(&self, name: &str, bytes: &[u8]) -> Result<(), PublishError> {
        // Two who add the same file at the same time write the same bytes.
        let number = self.temporaries.fetch_add(1, Ordering::Relaxed);
        let stem = name.split_once('.').map_or(name, |(stem, _)| stem);
        let temporary = format!("{stem}.{number:016x}.tmp");
        let attempt = || -> io::Result<()> {
            let mut file = self.create(&temporary)?;
            file.write_all(bytes)?;
            // Whatever the mask of whoever publishes: it is for everybody.
            rustix::fs::fchmod(&file, CHUNK_MODE)?;
            let ((directory, temporary), (_, name)) = (self.place(&temporary)?, self.place(name)?);
            Ok(rustix::fs::renameat(&directory, temporary, &directory, name)?)
        };
        attempt().map_err(|source| {
            let _ = self.unlink(&temporary);
            PublishError::Write { path: self.path.join(name), source }
        })
    }

    /// Removes a file below a directory of the store, and the directory with the last one.
    pub(super) fn remove(&self, name: &str) -> Result<(), PublishError> {
        match self.unlink(name) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => {
                let path = self.path.join(name);
                return Err(PublishError::Write { path, source: error.into() });
            }
        }
        if let Some((directory, _)) = name.split_once('/') {
            // Fails as long as something is in it.
            let _ = rustix::fs::unlinkat(&self.directory, directory, AtFlags::REMOVEDIR);
        }
        Ok(())
    }

    fn unlink(&self, name: &str) -> Result<(), Errno> {
        let (directory, name) = self.place(name)?;
        rustix::fs::unlinkat(directory, name, AtFlags::empty())
    }

    /// Makes everything that was added durable.
    pub(super) fn sync(&self) -> Result<(), PublishError> {
        rustix::fs::syncfs(&self.directory)
            .map_err(|error| PublishError::Write { path: self.path.clone(), source: error.into() })
    }

    fn create(&self, name: &str) -> Result<File, Errno> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let open = || {
            let (directory, name) = self.place(name)?;
            rustix::fs::openat(directory, name, flags, CHUNK_MODE)
        };
        match open() {
            Err(Errno::NOENT) => {
                let directory = name.split_once('/').map_or(".", |(directory, _)| directory);
                match rustix::fs::mkdirat(&self.directory, directory, MODE_OF_DIRS) {
                    Ok(()) => rustix::fs::chmodat(
                        &self.directory,
                        directory,
                        MODE_OF_DIRS,
                        AtFlags::empty(),
                    )?,
                    Err(Errno::EXIST) => {}
                    Err(error) => return Err(error),
                }
                open().map(File::from)
            }
            opened => opened.map(File::from),
        }
    }
}
