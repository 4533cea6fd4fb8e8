//! The only door to the operating system: `Look` reads, `Change` also writes.
//!
//! A [`Look`] can be had by anybody. A [`Change`] exists only while the host's lock is held, and there is
//! no other way to write: whoever gets `&Look` cannot change anything, so a dry run cannot either.
//!
//! Paths are host paths (`/opt/ripgrep`), relocated below the root. The root itself is trusted.

mod carry;
pub mod change;
pub mod clock;
pub mod facts;
pub mod nodes;
pub mod runner;

use std::fs::File;
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir};
use sha2::{Digest as _, Sha256};

use crate::model::{Algorithm, Digest};

pub use change::{Change, LockError};

/// Most entries looked at in one directory: far above any release, far below what would hurt.
pub const DIRECTORY_ENTRIES_MAX: usize = 1_000_000;

/// Bytes of directory entries read at once: those of common release directories.
const DIRECTORY_BUFFER_BYTES: usize = 4096;

/// Bytes beyond the end of a file for which there is room, so that its end is seen without another buffer.
const READ_SLACK: usize = 64;

/// Read access to one host.
#[derive(Clone, Debug)]
pub struct Look {
    root: Utf8PathBuf,
    places: Places,
}

/// Where the agent keeps its own things, as host paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// Ledger and history.
    pub state: Utf8PathBuf,
    /// What can be fetched again.
    pub cache: Utf8PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self { state: "/var/lib/reconcile".into(), cache: "/var/cache/reconcile".into() }
    }
}

/// One directory entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its name; bytes that are not UTF-8 are replaced, which no name of ours has.
    pub name: String,
    /// Its type.
    pub kind: ItemKind,
}

/// Types of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Link,
    /// Anything else.
    Other,
}

impl ItemKind {
    fn of(kind: FileType) -> Self {
        match kind {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Dir,
            FileType::Symlink => Self::Link,
            _ => Self::Other,
        }
    }

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "regular file",
            Self::Dir => "directory",
            Self::Link => "symbolic link",
            Self::Other => "special file",
        }
    }
}

/// What `lstat` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Type.
    pub kind: ItemKind,
    /// Permission bits, set-id and sticky bits included.
    pub mode: u32,
    /// Size in bytes.
    pub size: u64,
    /// Modification time in seconds since 1970.
    pub mtime: i64,
}

impl Look {
    /// The host below `root`, which must be absolute.
    pub fn new(root: Utf8PathBuf, places: Places) -> Self {
        Self { root, places }
    }

    /// The root.
    pub fn root(&self) -> &Utf8Path {
        &self.root
    }

    /// Where the agent keeps its own things.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// True when the managed root is the running system's own.
    pub fn is_live(&self) -> bool {
        self.root == "/"
    }

    /// Where a host path is on this machine.
    pub fn real(&self, path: impl AsRef<Utf8Path>) -> Utf8PathBuf {
        let path = path.as_ref();
        if path.as_str().contains("..") {
            // Nothing leaves the root, whoever wrote the path.
            let inside = path.components().filter(|c| matches!(c, Utf8Component::Normal(_)));
            return self.root.join(inside.collect::<Utf8PathBuf>());
        }
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The directory for content-addressed artifacts and remembered documents, on this machine.
    pub fn cache_dir(&self) -> Utf8PathBuf {
        self.real(&self.places.cache)
    }

    /// The content of a file of at most `limit` bytes; `None` when there is none.
    pub fn read(&self, path: impl AsRef<Utf8Path>, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let real = self.real(path);
        // A pipe in the place of a file must not make a pass wait for a writer.
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
        let opened = File::options().read(true).custom_flags(flags).open(&real);
        let Some(file) = present(opened).map_err(|e| about(&real, &e))? else {
            return Ok(None);
        };
        // With room for the whole file and a little more, reading takes two calls however large it is.
        let metadata = file.metadata().map_err(|e| about(&real, &e))?;
        if !metadata.is_file() {
            let why = format!("{real} is not a regular file");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let expected = metadata.len().min(limit);
        let mut bytes = Vec::with_capacity(usize::try_from(expected).unwrap_or(0) + READ_SLACK);
        file.take(limit + 1).read_to_end(&mut bytes).map_err(|e| about(&real, &e))?;
        if bytes.len() as u64 > limit {
            let why = format!("{real} is larger than the {limit} bytes that are read of it");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
        }
        Ok(Some(bytes))
    }

    /// What `lstat` says; `None` when there is nothing.
    pub fn stat(&self, path: impl AsRef<Utf8Path>) -> io::Result<Option<Stat>> {
        let real = self.real(path);
        let Some(metadata) = present(real.symlink_metadata()).map_err(|e| about(&real, &e))? else {
            return Ok(None);
        };
        Ok(Some(Stat {
            kind: ItemKind::of(FileType::from_raw_mode(metadata.mode())),
            mode: metadata.mode() & 0o7777,
            size: metadata.size(),
            mtime: metadata.mtime(),
        }))
    }

    /// The device number of the file system that a path is on.
    pub fn device(&self, path: impl AsRef<Utf8Path>) -> io::Result<u64> {
        let real = self.real(path);
        Ok(real.symlink_metadata().map_err(|e| about(&real, &e))?.dev())
    }

    /// The text of a symbolic link; `None` when there is nothing.
    pub fn read_link(&self, path: impl AsRef<Utf8Path>) -> io::Result<Option<String>> {
        let real = self.real(path);
        let target = present(std::fs::read_link(&real)).map_err(|e| about(&real, &e))?;
        Ok(target.map(|t| t.to_string_lossy().into_owned()))
    }

    /// The entries of a directory, sorted by name; `None` when there is nothing. A link or file in its place
    /// is an error of the kind `NotADirectory`: what is read or written through it would be elsewhere.
    pub fn list(&self, path: impl AsRef<Utf8Path>) -> io::Result<Option<Vec<Item>>> {
        let path = path.as_ref();
        let real = self.real(path);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::open(real.as_std_path(), flags, Mode::empty());
        let opened = present(opened.map_err(io::Error::from)).map_err(|e| about(&real, &e))?;
        let Some(directory) = opened else {
            return match self.stat(path)? {
                None => Ok(None),
                Some(stat) => Err(io::Error::new(
                    io::ErrorKind::NotADirectory,
                    format!(
                        "{real} is a {} where a directory should be; move it away",
                        stat.kind.name()
                    ),
                )),
            };
        };
        let mut buffer = [const { MaybeUninit::uninit() }; DIRECTORY_BUFFER_BYTES];
        let mut entries = RawDir::new(&directory, &mut buffer);
        let mut items = Vec::new();
        while let Some(entry) = entries.next().filter(|_| items.len() < DIRECTORY_ENTRIES_MAX) {
            let entry = entry.map_err(|e| about(&real, &e.into()))?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let kind = match entry.file_type() {
                // Some file systems tell types only when asked about each file.
                FileType::Unknown => {
                    let stat = rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW);
                    FileType::from_raw_mode(stat.map_err(|e| about(&real, &e.into()))?.st_mode)
                }
                known => known,
            };
            let name = name.to_string_lossy().into_owned();
            items.push(Item { name, kind: ItemKind::of(kind) });
        }
        items.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Some(items))
    }

    /// SHA-256 of a file's content.
    pub fn sha256(&self, path: impl AsRef<Utf8Path>) -> io::Result<Digest> {
        let real = self.real(path);
        let mut file = File::open(&real).map_err(|e| about(&real, &e))?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 256 << 10];
        loop {
            let count = file.read(&mut buffer).map_err(|e| about(&real, &e))?;
            let Some(bytes) = buffer.get(..count).filter(|b| !b.is_empty()) else { break };
            hasher.update(bytes);
        }
        let bytes: [u8; 32] = hasher.finalize().into();
        Digest::new(Algorithm::Sha256, &bytes)
            .ok_or_else(|| io::Error::other("SHA-256 has 32 bytes"))
    }
}

/// Turns "not found" into `None`.
fn present<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Puts the path into the error's text.
fn about(path: &Utf8Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{path}: {error}"))
}
