//! Write access to one host: each method is one durable change.

use std::ffi::CString;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::ops::Deref;
use std::os::fd::AsFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::{CWD, IFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::host::{Look, about, beneath, open_regular};

/// How often a held lock is tried again.
const LOCK_POLL: Duration = Duration::from_millis(100);

/// Permission bits of what everybody may read, and of what the owner alone may.
const PUBLIC: u32 = 0o644;

const PRIVATE: u32 = 0o600;

/// End of the names of files that are written beside their place before they are renamed to it.
const BESIDE: &str = ".new";

/// The files of the state directory that are written so, besides `desired-*.json`.
const STATE_FILES: [&str; 8] = [
    "debts.json",
    "inventory.json",
    "last-pass.json",
    "overrides.json",
    "renamed.json",
    "reported.json",
    "repository.json",
    "trust.json",
];

/// How the directory is opened in which something is removed.
const PARENT: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// How a directory is opened whose flags are read and set.
const SEALED: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Write access: exists only while the host's lock is held.
#[derive(Debug)]
pub struct Change {
    look: Look,
    /// `flock` lives as long as the open file: it dies with the process and is never stale.
    _lock: File,
}

/// Why the lock was not had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another pass is running.
    #[error("another pass holds the lock {path}; try again later, or wait with --lock-timeout")]
    Held {
        /// The lock file.
        path: Utf8PathBuf,
    },
    /// The state directory cannot be written.
    #[error("cannot write the state directory {path}; run as root, or choose --root")]
    Unwritable {
        /// The state directory.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Deref for Change {
    type Target = Look;

    fn deref(&self) -> &Look {
        &self.look
    }
}

impl Change {
    /// Takes the host's lock, waiting for it at most `patience`. A state directory that is made for it becomes
    /// durable with the first [`Self::write_all`].
    pub async fn lock(look: Look, patience: Duration) -> Result<Self, LockError> {
        let state = look.real_followed(&look.places().state);
        let unwritable = |source| LockError::Unwritable { path: state.clone(), source };
        make_missing(&state, &|_| Ok(())).map_err(unwritable)?;
        let path = lock_file(&look);
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        let file = open_regular(&path, &mut options).map_err(|error| {
            let other = path.metadata().is_ok_and(|metadata| !metadata.is_file());
            let why = || format!("{path} is not a regular file; remove it");
            unwritable(if other { io::Error::new(error.kind(), why()) } else { error })
        })?;
        let tries = patience.as_millis() / LOCK_POLL.as_millis();
        for attempt in 0..=tries {
            match file.try_lock() {
                Ok(()) => {
                    sweep(&state).map_err(unwritable)?;
                    return Ok(Self::holding(look, file));
                }
                Err(std::fs::TryLockError::WouldBlock) if attempt < tries => {
                    tokio::time::sleep(LOCK_POLL).await;
                }
                Err(std::fs::TryLockError::WouldBlock) => {}
                Err(std::fs::TryLockError::Error(source)) => return Err(unwritable(source)),
            }
        }
        Err(LockError::Held { path })
    }

    /// Takes the host's lock where it is free now and was taken before. Nothing is made: whoever gets none takes it
    /// the usual way, which says why it is not to be had.
    pub fn seize(look: Look) -> Option<Self> {
        let file = open_regular(lock_file(&look), OpenOptions::new().write(true)).ok()?;
        file.try_lock().ok()?;
        sweep(&look.real_followed(&look.places().state)).ok()?;
        Some(Self::holding(look, file))
    }

    /// Write access where the lock is held. The state directory, which is read most, stays open.
    fn holding(look: Look, held: File) -> Self {
        let opened = look.from_inside(&look.places().state).ok().flatten();
        Self { look: opened.unwrap_or(look), _lock: held }
    }

    /// Read access to the same host.
    pub fn look(&self) -> &Look {
        &self.look
    }

    /// Makes a directory and its parents, durably.
    pub fn make_dirs(&self, path: impl AsRef<Utf8Path>) -> io::Result<()> {
        make_dirs(&self.real_followed(path))
    }

    /// Makes a directory and its parents; durable with a later [`Self::sync_file_system`], if at all.
    pub fn make_dirs_unsynced(&self, path: impl AsRef<Utf8Path>) -> io::Result<()> {
        let real = self.real_followed(path);
        make_missing(&real, &|_| Ok(()))
    }

    /// Replaces a file as a whole: written beside, synced, renamed, and the directory synced.
    pub fn write(&self, path: impl AsRef<Utf8Path>, bytes: &[u8]) -> io::Result<()> {
        let real = self.real(path);
        replace_files(&[(real.clone(), bytes)], PUBLIC, |new| {
            new.iter().try_for_each(File::sync_all)
        })?;
        sync_dir(parent(&real))
    }

    /// The same of what nobody but the owner may read.
    pub fn write_private(&self, path: impl AsRef<Utf8Path>, bytes: &[u8]) -> io::Result<()> {
        let real = self.real(path);
        replace_files(&[(real.clone(), bytes)], PRIVATE, |new| {
            new.iter().try_for_each(File::sync_all)
        })?;
        sync_dir(parent(&real))
    }

    /// Replaces several files of one directory, each as a whole and in this order. One sync of the file system
    /// stands for one of each file, and for all that was made there before without waiting for the disk.
    pub fn write_all(&self, files: &[(Utf8PathBuf, Vec<u8>)]) -> io::Result<()> {
        let files: Vec<_> = files.iter().map(|(path, b)| (self.real(path), b.as_slice())).collect();
        let Some((first, _)) = files.first() else { return Ok(()) };
        replace_files(&files, PUBLIC, |new| Ok(new.first().map_or(Ok(()), rustix::fs::syncfs)?))?;
        sync_dir(parent(first))
    }

    /// Replaces a file as a whole without waiting for the disk: for what every pass makes anew.
    pub fn write_without_sync(&self, path: impl AsRef<Utf8Path>, bytes: &[u8]) -> io::Result<()> {
        replace_files(&[(self.real(path), bytes)], PUBLIC, |_| Ok(()))
    }

    /// Appends lines to a file; durable with the next sync of its file system. A torn last line from a crash is
    /// ended first.
    pub fn append_unsynced(&self, path: impl AsRef<Utf8Path>, lines: &[String]) -> io::Result<()> {
        use std::io::{Read, Seek, SeekFrom};
        let real = self.real_followed(path);
        let attempt = || -> io::Result<()> {
            let mut file =
                OpenOptions::new().create(true).append(true).read(true).mode(0o644).open(&real)?;
            let mut text = String::new();
            if file.seek(SeekFrom::End(0))? > 0 {
                let mut last = [0];
                file.seek(SeekFrom::End(-1))?;
                file.read_exact(&mut last)?;
                if last != *b"\n" {
                    text.push('\n');
                }
            }
            text.extend(lines.iter().flat_map(|line| [line.as_str(), "\n"]));
            file.write_all(text.as_bytes())
        };
        attempt().map_err(|e| about(&real, &e))
    }

    /// Renames where nothing may be in the way, durably.
    pub fn rename_new(&self, from: &Utf8Path, to: &Utf8Path) -> io::Result<()> {
        self.rename_with(from, to, RenameFlags::NOREPLACE)
    }

    /// Exchanges two paths in one atomic act, durably.
    pub fn exchange(&self, one: &Utf8Path, other: &Utf8Path) -> io::Result<()> {
        self.rename_with(one, other, RenameFlags::EXCHANGE)
    }

    /// Renames over whatever non-directory is there, durably.
    pub fn rename_over(&self, from: &Utf8Path, to: &Utf8Path) -> io::Result<()> {
        self.rename_with(from, to, RenameFlags::empty())
    }

    fn rename_with(&self, from: &Utf8Path, to: &Utf8Path, flags: RenameFlags) -> io::Result<()> {
        let (from, to) = (self.real(from), self.real(to));
        rustix::fs::renameat_with(CWD, from.as_std_path(), CWD, to.as_std_path(), flags)
            .map_err(|e| about(&from, &about(&to, &e.into())))?;
        // Where a name came from is a directory of half-done work: what a power failure brings back there is
        // swept by the next pass, so only the new name is waited for.
        sync_dir(parent(&to))
    }

    /// Makes a symbolic link where nothing is. Durable with the next sync of its directory.
    pub fn symlink(&self, target: &str, at: &Utf8Path) -> io::Result<()> {
        let real = self.real(at);
        rustix::fs::symlink(target, real.as_std_path()).map_err(|e| about(&real, &e.into()))
    }

    /// Makes a directory immutable: nobody can add to it, take away from it or move it.
    pub fn seal(&self, path: &Utf8Path) -> io::Result<()> {
        let real = self.real(path);
        let attempt = || -> Result<(), Errno> {
            let directory = rustix::fs::open(real.as_std_path(), SEALED, Mode::empty())?;
            let flags = rustix::fs::ioctl_getflags(&directory)?;
            rustix::fs::ioctl_setflags(&directory, flags | IFlags::IMMUTABLE)
        };
        attempt().map_err(|e| about(&real, &e.into()))
    }

    /// Takes that back and says whether it was done; fine where it was not, and where there is no directory.
    pub fn unseal(&self, path: &Utf8Path) -> io::Result<bool> {
        let real = self.real(path);
        let Ok(directory) = rustix::fs::open(real.as_std_path(), SEALED, Mode::empty()) else {
            return Ok(false);
        };
        // Where flags cannot be read there are none.
        let flags = rustix::fs::ioctl_getflags(&directory).unwrap_or(IFlags::empty());
        if !flags.contains(IFlags::IMMUTABLE) {
            return Ok(false);
        }
        let cleared = rustix::fs::ioctl_setflags(&directory, flags - IFlags::IMMUTABLE);
        cleared.map(|()| true).map_err(|e| about(&real, &e.into()))
    }

    /// Gives a regular file a second name. Durable with the next sync of its directory.
    pub fn hard_link(&self, from: &Utf8Path, to: &Utf8Path) -> io::Result<()> {
        let (from, to) = (self.real(from), self.real(to));
        std::fs::hard_link(&from, &to).map_err(|e| about(&to, &e))
    }

    /// Makes one new directory where nothing is. Durable with the next sync of its parent.
    pub fn make_new_dir(&self, path: &Utf8Path) -> io::Result<()> {
        let real = self.real(path);
        std::fs::create_dir(&real).map_err(|e| about(&real, &e))?;
        std::fs::set_permissions(&real, Permissions::from_mode(0o755)).map_err(|e| about(&real, &e))
    }

    /// Gives a directory the mode and, where that is allowed, the owner of another one that exists.
    pub fn copy_ownership(&self, from: &Utf8Path, to: &Utf8Path) -> io::Result<()> {
        use std::os::unix::fs::{MetadataExt, chown};
        let (from, to) = (self.real(from), self.real(to));
        let Ok(metadata) = from.symlink_metadata() else { return Ok(()) };
        // Only root may give a directory away; for anybody else it is theirs already.
        let _ = chown(&to, Some(metadata.uid()), Some(metadata.gid()));
        std::fs::set_permissions(&to, Permissions::from_mode(metadata.mode() & 0o7777))
            .map_err(|e| about(&to, &e))
    }

    /// Writes a file whose durability comes with a later [`Self::sync_file_system`].
    pub fn write_unsynced(&self, path: &Utf8Path, bytes: &[u8]) -> io::Result<()> {
        let real = self.real(path);
        let made = OpenOptions::new().create_new(true).write(true).mode(0o644).open(&real);
        made.and_then(|mut file| file.write_all(bytes)).map_err(|e| about(&real, &e))
    }

    /// Makes everything on the file system of a directory durable with one call, however many files there are.
    pub fn sync_file_system(&self, path: &Utf8Path) -> io::Result<()> {
        sync_file_system(&self.real_followed(path))
    }

    /// Makes the entries of a directory durable.
    pub fn sync_dir(&self, path: &Utf8Path) -> io::Result<()> {
        sync_dir(&self.real_followed(path))
    }

    /// Removes a file, link or whole directory; nothing there is fine. What is mounted there or inside stays,
    /// and is an error.
    pub fn remove(&self, path: impl AsRef<Utf8Path>) -> io::Result<()> {
        let real = self.real(path);
        let attempt = || {
            let name = CString::new(real.file_name().unwrap_or_default())?;
            match rustix::fs::openat(CWD, parent(&real).as_std_path(), PARENT, Mode::empty()) {
                Ok(parent) => beneath::remove(parent.as_fd(), &name),
                Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
                Err(errno) => Err(errno.into()),
            }
        };
        attempt().map_err(|e: io::Error| about(&real, &e))
    }

    /// Removes a directory that has nothing in it; anything in it is left alone.
    pub fn remove_empty(&self, path: &Utf8Path) -> io::Result<()> {
        let real = self.real(path);
        match std::fs::remove_dir(&real) {
            Err(error)
                if !matches!(
                    error.kind(),
                    io::ErrorKind::NotFound
                        | io::ErrorKind::DirectoryNotEmpty
                        | io::ErrorKind::NotADirectory
                        | io::ErrorKind::ResourceBusy
                ) =>
            {
                Err(about(&real, &error))
            }
            _ => Ok(()),
        }
    }
}

fn lock_file(look: &Look) -> Utf8PathBuf {
    look.real_followed(look.places().state.join("lock"))
}

fn parent(path: &Utf8Path) -> &Utf8Path {
    path.parent().unwrap_or(path)
}

/// Writes files beside their places, does with all of them what `before_renames` says, and renames them there.
fn replace_files(
    files: &[(Utf8PathBuf, &[u8])],
    mode: u32,
    before_renames: fn(&[File]) -> io::Result<()>,
) -> io::Result<()> {
    let beside = |real: &Utf8Path| Utf8PathBuf::from(format!("{real}{BESIDE}"));
    let attempt = || -> io::Result<()> {
        let written: io::Result<Vec<File>> =
            files.iter().map(|(real, bytes)| write_new(&beside(real), bytes, mode)).collect();
        let directory = files.first().map_or(Utf8Path::new("/"), |(first, _)| parent(first));
        before_renames(&written?).map_err(|e| about(directory, &e))?;
        files.iter().try_for_each(|(real, _)| {
            rustix::fs::rename(beside(real).as_std_path(), real.as_std_path())
                .map_err(|e| about(real, &e.into()))
        })
    };
    attempt().inspect_err(|_| {
        for (real, _) in files {
            let _ = rustix::fs::unlink(beside(real).as_std_path());
        }
    })
}

fn write_new(path: &Utf8Path, bytes: &[u8], mode: u32) -> io::Result<File> {
    // What a pass left there that was killed is not written into: it could be a link by now.
    let _ = rustix::fs::unlink(path.as_std_path());
    let opened = OpenOptions::new().create_new(true).write(true).mode(mode).open(path);
    let written = opened.and_then(|mut file| file.write_all(bytes).map(|()| file));
    written.map_err(|e| about(path, &e))
}

/// Removes what a pass that was killed while writing left beside the files of the state directory.
fn sweep(state: &Utf8Path) -> io::Result<()> {
    for entry in state.read_dir()?.flatten() {
        let name = entry.file_name();
        let of = name.to_str().and_then(|name| name.strip_suffix(BESIDE));
        let is_copy = |of: &str| of.starts_with("desired-") && of.ends_with(".json");
        if of.is_some_and(|of| STATE_FILES.contains(&of) || is_copy(of)) {
            // A directory of that name is nobody's half-written file.
            let _ = rustix::fs::unlink(entry.path());
        }
    }
    Ok(())
}

/// Makes everything durable on the file system of a directory of this machine.
pub fn sync_file_system(real: &Utf8Path) -> io::Result<()> {
    let directory = File::open(real).map_err(|e| about(real, &e))?;
    rustix::fs::syncfs(&directory).map_err(|e| about(real, &e.into()))
}

fn sync_dir(path: &Utf8Path) -> io::Result<()> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(|e| about(path, &e))
}

/// Makes a directory and its parents; each new one is synced into its parent.
fn make_dirs(path: &Utf8Path) -> io::Result<()> {
    make_missing(path, &|new| sync_dir(parent(new)))
}

/// Makes a directory and its parents with mode 0755 whatever the umask: programs below must be reachable.
fn make_missing(path: &Utf8Path, made: &dyn Fn(&Utf8Path) -> io::Result<()>) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make_missing(parent, made)?;
    }
    match std::fs::create_dir(path) {
        Ok(()) => {
            std::fs::set_permissions(path, Permissions::from_mode(0o755))
                .map_err(|e| about(path, &e))?;
            made(path)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(about(path, &error)),
    }
}
