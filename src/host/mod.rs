//! The only door to the operating system: `Look` reads, `Change` also writes.
//!
//! A [`Look`] can be had by anybody. A [`Change`] exists only while the host's lock is held, and there is
//! no other way to write: whoever gets `&Look` cannot change anything, so a dry run cannot either.
//!
//! Paths are host paths (`/opt/ripgrep`), relocated below the root. The root itself is trusted.

pub mod accept;
mod beneath;
mod bounded;
pub mod carry;
mod inside;
pub mod keep;
pub mod limits;
mod merge;
pub mod memory;
pub mod change;
pub mod clock;
pub mod facts;
mod mounts;
pub mod replace;
pub mod nodes;
pub mod renew;
pub mod runner;
pub mod runtime;
pub mod thread;
pub mod spot;

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use crate::host::runner::Hooks;
use crate::host::spot::Last;
use crate::model::cached::Cache;
use crate::model::{Algorithm, Digest};

pub use bounded::{
    create_anew, create_anew_at, open_in_place, open_regular, read_bounded, read_regular,
};
pub use change::{Change, LockError, sync_file_system};

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
    hooks: Hooks,
    base: Option<Arc<Base>>,
}

/// An open directory.
#[derive(Debug)]
struct Base {
    /// Its host path.
    home: Utf8PathBuf,
    fd: OwnedFd,
}

/// Where the agent keeps its own things, as host paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// Ledger and history.
    pub state: Utf8PathBuf,
    /// What can be fetched again.
    pub cache: Utf8PathBuf,
    /// What lasts as long as the agent runs.
    pub runtime: Utf8PathBuf,
    /// The keyring that takes the place of systemd's own ones, a path of this machine.
    pub keyring: Option<Utf8PathBuf>,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            state: "/var/lib/reconcile".into(),
            cache: "/var/cache/reconcile".into(),
            runtime: "/run/reconcile".into(),
            keyring: None,
        }
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
    /// Nanoseconds to add to that.
    pub mtime_ns: u64,
    /// Its inode.
    pub inode: u64,
    /// The user who owns it.
    pub owner: u32,
    /// Names it has. A directory has two and one for each directory in it, where the file system counts them.
    pub links: u64,
}

impl Stat {
    fn of(stat: &rustix::fs::Stat) -> Self {
        Self {
            kind: ItemKind::of(FileType::from_raw_mode(stat.st_mode)),
            mode: stat.st_mode & 0o7777,
            size: stat.st_size.cast_unsigned(),
            mtime: stat.st_mtime,
            mtime_ns: stat.st_mtime_nsec,
            inode: stat.st_ino,
            owner: stat.st_uid,
            links: stat.st_nlink,
        }
    }

    /// Whether it was changed after `other` was.
    pub fn is_newer_than(&self, other: &Self) -> bool {
        (self.mtime, self.mtime_ns) > (other.mtime, other.mtime_ns)
    }
}

impl Look {
    /// The host below `root`, which must be absolute.
    pub fn new(root: Utf8PathBuf, places: Places) -> Self {
        Self { root, places, hooks: Hooks::Child, base: None }
    }

    /// The same host, where the programs of operators are run in another way.
    #[must_use]
    pub fn with_hooks(self, hooks: Hooks) -> Self {
        Self { hooks, ..self }
    }

    /// How the programs of operators are run.
    pub fn hooks(&self) -> Hooks {
        self.hooks
    }

    /// What programs are told about where the host is: `RECONCILE_ROOT` is what comes before an absolute path there,
    /// nothing on the running system.
    pub fn root_variable(&self) -> (&'static str, String) {
        ("RECONCILE_ROOT", self.root.as_str().trim_end_matches('/').to_owned())
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

    /// Where a host path is on this machine. A link on the way to it leads nowhere out of the root.
    pub fn real(&self, path: impl AsRef<Utf8Path>) -> Utf8PathBuf {
        self.confined(path.as_ref(), Last::Stays)
    }

    /// The same of what is used at a path: a link in its place leads nowhere out of the root either.
    pub fn real_followed(&self, path: impl AsRef<Utf8Path>) -> Utf8PathBuf {
        self.confined(path.as_ref(), Last::Followed)
    }

    fn confined(&self, path: &Utf8Path, last: Last) -> Utf8PathBuf {
        let inside = if self.is_live() { None } else { inside::resolve(&self.root, path, last) };
        inside.unwrap_or_else(|| self.written(path))
    }

    /// The same as the path is written.
    fn written(&self, path: &Utf8Path) -> Utf8PathBuf {
        if path.as_str().contains("..") {
            // Nothing leaves the root, whoever wrote the path.
            let inside = path.components().filter(|c| matches!(c, Utf8Component::Normal(_)));
            return self.root.join(inside.collect::<Utf8PathBuf>());
        }
        let mut real = String::with_capacity(self.root.as_str().len() + 1 + path.as_str().len());
        real.push_str(self.root.as_str());
        if !real.ends_with('/') {
            real.push('/');
        }
        real.push_str(path.as_str().trim_start_matches('/'));
        real.into()
    }

    /// Where artifacts and remembered documents are on this machine.
    pub fn cache(&self) -> Cache {
        Cache::found(|name| self.real_followed(self.places.cache.join(name)).into())
    }

    /// The same host, seen from the directory `home`: paths below it are looked up from there, so that what
    /// is read is of one directory whatever happens to its name, and no long path is walked for each file.
    /// `None` when there is nothing.
    pub fn from_inside(&self, home: &Utf8Path) -> io::Result<Option<Self>> {
        let opened = self.open_dir(home, OFlags::PATH)?;
        let base = opened.map(|fd| Base { home: home.to_owned(), fd });
        Ok(base.map(|base| Self { base: Some(Arc::new(base)), ..self.clone() }))
    }

    /// Where to look a path up: from an open directory, or from anywhere. What is there is not followed.
    fn place<'p>(&self, path: &'p Utf8Path) -> (BorrowedFd<'_>, Cow<'p, Path>) {
        match self.inside(path) {
            // Below another root, a link between both could lead out of it.
            Some((base, rest)) if self.is_live() || !rest.contains('/') => {
                (base, Cow::Borrowed(Path::new(rest)))
            }
            _ => (CWD, Cow::Owned(self.real(path).into())),
        }
    }

    /// The open directory that a path is in, and the rest of the path.
    fn inside<'p>(&self, path: &'p Utf8Path) -> Option<(BorrowedFd<'_>, &'p str)> {
        let base = self.base.as_ref()?;
        let rest = path.as_str().strip_prefix(base.home.as_str())?.strip_prefix('/')?;
        let plain = !rest.is_empty() && !rest.starts_with('/') && !rest.contains("..");
        plain.then(|| (base.fd.as_fd(), rest))
    }

    /// Opens what is at a path, with one call where no link is on the way.
    fn open(&self, path: &Utf8Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = OFlags::CLOEXEC | flags;
        if self.is_live() {
            let (at, place) = self.place(path);
            return rustix::fs::openat(at, &*place, flags, Mode::empty());
        }
        if !path.as_str().contains("..") {
            let opened = match self.inside(path) {
                Some((base, rest)) => inside::open_plain(base, Utf8Path::new(rest), flags),
                None => inside::open_plain(CWD, &self.written(path), flags),
            };
            if matches!(opened, Ok(_) | Err(Errno::NOENT)) {
                return opened;
            }
        }
        let last = if flags.contains(OFlags::NOFOLLOW) { Last::Stays } else { Last::Followed };
        rustix::fs::open(self.confined(path, last).as_std_path(), flags, Mode::empty())
    }

    /// Opens a directory; `None` when there is nothing. Anything else in its place, a link where `flags` say
    /// so, is an error of the kind `NotADirectory`.
    fn open_dir(&self, path: &Utf8Path, flags: OFlags) -> io::Result<Option<OwnedFd>> {
        let error = match self.open(path, OFlags::DIRECTORY | flags) {
            Ok(opened) => return Ok(Some(opened)),
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => error,
        };
        match self.stat(path)? {
            None => Ok(None),
            Some(stat) if stat.kind != ItemKind::Dir => Err(io::Error::new(
                io::ErrorKind::NotADirectory,
                format!(
                    "{} is a {} where a directory should be; move it away",
                    self.real(path),
                    stat.kind.name()
                ),
            )),
            Some(_) => Err(about(&self.real(path), &error.into())),
        }
    }

    /// The content of a file of at most `limit` bytes; `None` when there is none.
    pub fn read(&self, path: impl AsRef<Utf8Path>, limit: u64) -> io::Result<Option<Vec<u8>>> {
        Ok(self.read_stated(path.as_ref(), limit)?.map(|(bytes, _)| bytes))
    }

    /// The same, with what `fstat` says of the file that was read.
    pub fn read_stated(&self, path: &Utf8Path, limit: u64) -> io::Result<Option<(Vec<u8>, Stat)>> {
        let failed = |e: io::Error| about(&self.real(path), &e);
        // A pipe in the place of a file must not make a pass wait for a writer.
        let opened = self.open(path, OFlags::RDONLY | OFlags::NONBLOCK);
        let Some(file) = present(opened.map(File::from)).map_err(failed)? else { return Ok(None) };
        // With room for the whole file and a little more, one call reads it and has not filled the room.
        let stat = Stat::of(&rustix::fs::fstat(&file).map_err(|e| failed(e.into()))?);
        if stat.kind != ItemKind::File {
            return Err(irregular(&self.real(path)));
        }
        let expected = stat.size.min(limit);
        let room = usize::try_from(expected).unwrap_or(0) + READ_SLACK;
        let mut bytes = Vec::with_capacity(room);
        rustix::io::read(&file, rustix::buffer::spare_capacity(&mut bytes))
            .map_err(|e| failed(e.into()))?;
        if bytes.len() as u64 != stat.size {
            // It is read as it is found to grow or shrink.
            (&file)
                .take((limit + 1).saturating_sub(bytes.len() as u64))
                .read_to_end(&mut bytes)
                .map_err(failed)?;
        }
        if bytes.len() as u64 > limit {
            let real = self.real(path);
            let why = format!("{real} is larger than the {limit} bytes that are read of it");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
        }
        Ok(Some((bytes, stat)))
    }

    /// What `lstat` says; `None` when there is nothing.
    pub fn stat(&self, path: impl AsRef<Utf8Path>) -> io::Result<Option<Stat>> {
        let path = path.as_ref();
        let (at, place) = self.place(path);
        let found = present(rustix::fs::statat(at, &*place, AtFlags::SYMLINK_NOFOLLOW));
        let found = found.map_err(|e| about(&self.real(path), &e))?;
        Ok(found.as_ref().map(Stat::of))
    }

    /// The device number of the file system that a path is on.
    pub fn device(&self, path: impl AsRef<Utf8Path>) -> io::Result<u64> {
        let real = self.real(path);
        Ok(real.symlink_metadata().map_err(|e| about(&real, &e))?.dev())
    }

    /// The text of a symbolic link; `None` when there is nothing. One that is not UTF-8 is an error of the kind
    /// `InvalidData`.
    pub fn read_link(&self, path: impl AsRef<Utf8Path>) -> io::Result<Option<String>> {
        let path = path.as_ref();
        let (at, place) = self.place(path);
        let target = present(rustix::fs::readlinkat(at, &*place, Vec::new()));
        let target = target.map_err(|e| about(&self.real(path), &e))?;
        let not_utf8 = |_| {
            let why = format!("{}: where the link leads is not UTF-8", self.real(path));
            io::Error::new(io::ErrorKind::InvalidData, why)
        };
        target.map(|target| target.into_string().map_err(not_utf8)).transpose()
    }

    /// The same where a text that is not UTF-8, which nothing of ours has, is as good as none.
    pub fn link_in_utf8(&self, path: impl AsRef<Utf8Path>) -> io::Result<Option<String>> {
        match self.read_link(path) {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
            text => text,
        }
    }

    /// The entries of a directory, sorted by name; `None` when there is nothing. A link or file in its place
    /// is an error of the kind `NotADirectory`: what is read or written through it would be elsewhere.
    pub fn list(&self, path: impl AsRef<Utf8Path>) -> io::Result<Option<Vec<Item>>> {
        let path = path.as_ref();
        let Some(directory) = self.open_dir(path, OFlags::RDONLY | OFlags::NOFOLLOW)? else {
            return Ok(None);
        };
        let failed = |e: Errno| about(&self.real(path), &e.into());
        let mut buffer = [const { MaybeUninit::uninit() }; DIRECTORY_BUFFER_BYTES];
        let mut entries = RawDir::new(&directory, &mut buffer);
        let mut items = Vec::new();
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            if items.len() == DIRECTORY_ENTRIES_MAX {
                let real = self.real(path);
                let why =
                    format!("{real} has more than {DIRECTORY_ENTRIES_MAX} entries; remove some");
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
            }
            let kind = match entry.file_type() {
                // Some file systems tell types only when asked about each file.
                FileType::Unknown => {
                    let stat = rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW);
                    FileType::from_raw_mode(stat.map_err(failed)?.st_mode)
                }
                known => known,
            };
            let name = name.to_string_lossy().into_owned();
            items.push(Item { name, kind: ItemKind::of(kind) });
        }
        items.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Some(items))
    }

    /// A regular file, open for reading, with what `fstat` says of it; `None` when there is nothing. A link in its place is
    /// an error, and a pipe there is not waited for: what is read is the file that was looked at, whoever may write there.
    pub fn open_file(&self, path: impl AsRef<Utf8Path>) -> io::Result<Option<(File, Stat)>> {
        let path = path.as_ref();
        let failed = |e: io::Error| about(&self.real(path), &e);
        let opened = self.open(path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK);
        let Some(file) = present(opened.map(File::from)).map_err(failed)? else { return Ok(None) };
        let stat = Stat::of(&rustix::fs::fstat(&file).map_err(|e| failed(e.into()))?);
        if stat.kind == ItemKind::File {
            Ok(Some((file, stat)))
        } else {
            Err(irregular(&self.real(path)))
        }
    }

    /// SHA-256 of a regular file's content. A link in its place is an error: what it leads to is another file than
    /// the one that was looked at.
    pub fn sha256(&self, path: impl AsRef<Utf8Path>) -> io::Result<Digest> {
        let path = path.as_ref();
        let real = self.real(path);
        let gone = || about(&real, &Errno::NOENT.into());
        let (mut file, _) = self.open_file(path)?.ok_or_else(gone)?;
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
fn present<T>(result: Result<T, Errno>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn irregular(real: &Utf8Path) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("{real} is not a regular file"))
}

/// Puts the path into the error's text.
fn about(path: &Utf8Path, error: &io::Error) -> io::Error {
    if let Some(path) = inside::circle(path) {
        let error = io::Error::from(rustix::io::Errno::LOOP);
        return io::Error::new(error.kind(), format!("{path}: {error}"));
    }
    io::Error::new(error.kind(), format!("{path}: {error}"))
}
