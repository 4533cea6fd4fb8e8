//! The staging directory: every write goes through its descriptor and cannot leave it.
//!
//! Directories are opened with `openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS)`
//! and things are then made in them by a single name, exclusively and without following a link. Where
//! the kernel (before 5.6) or an old seccomp profile has no `openat2`, each component is opened by
//! itself with `O_NOFOLLOW`, which allows exactly the same.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, CWD, Mode, OFlags, ResolveFlags, Timespec, Timestamps};
use rustix::io::Errno;

use crate::unpack::error::UnpackError;
use crate::unpack::path;

/// What every opened directory is opened with.
const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What keeps a look-up inside the staging directory.
const CONFINED: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// Mode while unpacking: nobody else sees an unfinished release.
const PRIVATE: Mode = Mode::RWXU;

/// Mode of directories.
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o755);

/// How directories below the root are opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Walk {
    /// By the kernel in one confined look-up.
    Kernel,
    /// One component after the other.
    Stepwise,
}

/// Whether things get the mode they are made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Modes {
    /// Exactly.
    Kept,
    /// The umask, an access control list or a set-group-id bit changes it.
    Changed,
}

/// A staging directory that is removed with all it holds unless it is [kept](Stage::keep).
#[derive(Debug)]
pub(super) struct Stage {
    place: PathBuf,
    root: OwnedFd,
    walk: Walk,
    modes: Modes,
    /// The directory used last: archives list a directory's files together.
    current: Option<(String, OwnedFd)>,
    kept: Kept,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    No,
    Yes,
}

impl Stage {
    /// Makes the directory, which must not be there yet, for its owner only.
    pub(super) fn create(place: &Path) -> Result<Self, UnpackError> {
        let failed = |errno| stage_error("make", &place.to_string_lossy(), errno);
        fs::mkdir(place, DIRECTORY_MODE).map_err(|errno| match errno {
            Errno::EXIST => UnpackError::Occupied(place.to_owned()),
            _ => failed(errno),
        })?;
        let root = fs::openat(CWD, place, DIRECTORY, Mode::empty()).map_err(failed)?;
        // What became of this mode becomes of the modes of everything inside.
        let made = Mode::from_raw_mode(fs::fstat(&root).map_err(failed)?.st_mode);
        let modes = if made == DIRECTORY_MODE { Modes::Kept } else { Modes::Changed };
        fs::fchmod(&root, PRIVATE).map_err(failed)?;
        let (place, walk) = (place.to_owned(), Walk::Kernel);
        Ok(Self { place, root, walk, modes, current: None, kept: Kept::No })
    }

    /// Uses the way for kernels without `openat2`.
    #[cfg(test)]
    pub(super) fn walk_stepwise(&mut self) {
        self.walk = Walk::Stepwise;
    }

    /// A new, empty file, of this mode if modes are kept.
    pub(super) fn make_file(&mut self, path: &str, mode: u32) -> Result<File, UnpackError> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (parent, name) = path::split(path);
        let opened = self
            .directory(parent)
            .and_then(|dir| fs::openat(dir, name, flags, Mode::from_raw_mode(mode)));
        Ok(File::from(opened.map_err(|errno| stage_error("make", path, errno))?))
    }

    /// Gives a file that was made with the mode `initial` the mode it should have.
    pub(super) fn set_mode(
        &self,
        file: &File,
        path: &str,
        initial: u32,
        mode: u32,
    ) -> Result<(), UnpackError> {
        if initial == mode && self.modes == Modes::Kept {
            return Ok(());
        }
        fs::fchmod(file, Mode::from_raw_mode(mode))
            .map_err(|errno| stage_error("set the mode of", path, errno))
    }

    /// Gives a finished file its time.
    pub(super) fn set_time(file: &File, path: &str, mtime: i64) -> Result<(), UnpackError> {
        let time = Timespec { tv_sec: mtime, tv_nsec: 0 };
        let times = Timestamps { last_access: time, last_modification: time };
        fs::futimens(file, &times).map_err(|errno| stage_error("set the time of", path, errno))
    }

    /// A new directory, whose parent must be there.
    pub(super) fn make_dir(&mut self, path: &str) -> Result<(), UnpackError> {
        let (parent, name) = path::split(path);
        let modes = self.modes;
        let made = self.directory(parent).and_then(|dir| {
            fs::mkdirat(dir, name, DIRECTORY_MODE)?;
            let made = fs::openat(dir, name, DIRECTORY, Mode::empty())?;
            if modes == Modes::Changed {
                fs::fchmod(&made, DIRECTORY_MODE)?;
            }
            Ok(made)
        });
        let made = made.map_err(|errno| stage_error("make the directory", path, errno))?;
        self.current = Some((path.to_owned(), made));
        Ok(())
    }

    /// A new symbolic link.
    pub(super) fn make_link(&mut self, path: &str, target: &str) -> Result<(), UnpackError> {
        let (parent, name) = path::split(path);
        self.directory(parent)
            .and_then(|dir| fs::symlinkat(target, dir, name))
            .map_err(|errno| stage_error("make the link", path, errno))
    }

    /// A second name for a file made before.
    pub(super) fn make_hard_link(&mut self, path: &str, target: &str) -> Result<(), UnpackError> {
        let failed = |errno| stage_error("make the hard link", path, errno);
        let (from, old) = path::split(target);
        let (to, new) = path::split(path);
        let from = self.open(from, DIRECTORY).map_err(failed)?;
        let to = self.directory(to).map_err(failed)?;
        fs::linkat(from, old, to, new, AtFlags::empty()).map_err(failed)
    }

    /// Opens a file made before, for reading.
    pub(super) fn read_file(&mut self, path: &str) -> Result<File, UnpackError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = self.open(path, flags).map_err(|errno| stage_error("read", path, errno))?;
        Ok(File::from(opened))
    }

    /// Makes a file executable.
    pub(super) fn make_executable(&mut self, path: &str) -> Result<(), UnpackError> {
        let file = self.read_file(path)?;
        fs::fchmod(&file, DIRECTORY_MODE)
            .map_err(|errno| stage_error("make executable", path, errno))
    }

    /// Moves everything in the top directory `top` up and drops it. `spare` is a name that is nowhere
    /// at the top nor in `top`; `children` is what is in `top`.
    pub(super) fn lift<'a>(
        &mut self,
        top: &str,
        spare: &str,
        children: impl Iterator<Item = &'a str>,
    ) -> Result<(), UnpackError> {
        let failed = |errno| stage_error("move up", top, errno);
        self.current = None;
        fs::renameat(&self.root, top, &self.root, spare).map_err(failed)?;
        let from = self.open(spare, DIRECTORY).map_err(failed)?;
        for child in children {
            fs::renameat(&from, child, &self.root, child)
                .map_err(|errno| stage_error("move up", child, errno))?;
        }
        fs::unlinkat(&self.root, spare, AtFlags::REMOVEDIR).map_err(failed)
    }

    /// Opens the directory to everybody and keeps it.
    pub(super) fn keep(mut self) -> Result<(), UnpackError> {
        fs::fchmod(&self.root, DIRECTORY_MODE)
            .map_err(|errno| stage_error("set the mode of", ".", errno))?;
        self.kept = Kept::Yes;
        Ok(())
    }

    /// The directory `path`; the root when empty.
    fn directory(&mut self, path: &str) -> Result<&OwnedFd, Errno> {
        if path.is_empty() {
            return Ok(&self.root);
        }
        let opened = match self.current.take() {
            Some((at, opened)) if at == path => opened,
            _ => self.open(path, DIRECTORY)?,
        };
        Ok(&self.current.insert((path.to_owned(), opened)).1)
    }

    /// Opens what is at `path` below the root without following any link.
    fn open(&mut self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { "." } else { path };
        if self.walk == Walk::Kernel {
            match fs::openat2(&self.root, path, flags, Mode::empty(), CONFINED) {
                // EPERM is how seccomp profiles older than the call refuse it.
                Err(Errno::NOSYS | Errno::PERM) => self.walk = Walk::Stepwise,
                opened => return opened,
            }
        }
        let (parents, name) = path::split(path);
        if path.starts_with('/') || path.split('/').any(|component| component == "..") {
            return Err(Errno::XDEV);
        }
        let mut held: Option<OwnedFd> = None;
        for component in parents.split('/').filter(|c| !c.is_empty()) {
            let at = held.as_ref().unwrap_or(&self.root);
            held = Some(fs::openat(at, component, DIRECTORY, Mode::empty())?);
        }
        fs::openat(held.as_ref().unwrap_or(&self.root), name, flags, Mode::empty())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if self.kept == Kept::No {
            #[expect(
                clippy::disallowed_methods,
                reason = "unpack makes this directory and is the only one to know that it failed"
            )]
            let removed = std::fs::remove_dir_all(&self.place);
            if let Err(error) = removed {
                tracing::warn!(place = %self.place.display(), %error, "staging directory stays");
            }
        }
    }
}

fn stage_error(action: &'static str, path: &str, errno: Errno) -> UnpackError {
    UnpackError::Stage { action, path: path.to_owned(), source: io::Error::from(errno) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use rustix::fs::Mode;

    use super::{Modes, Stage, Walk};

    /// A directory with `inside` and a link `out` that leads to its neighbour `outside`.
    fn world(walk: Walk) -> (tempfile::TempDir, Stage) {
        let dir = tempfile::tempdir().unwrap();
        let mut stage = Stage::create(&dir.path().join("stage")).unwrap();
        if walk == Walk::Stepwise {
            stage.walk_stepwise();
        }
        stage.make_dir("inside").unwrap();
        stage.make_link("out", "../outside").unwrap();
        rustix::fs::mkdir(dir.path().join("outside"), super::PRIVATE).unwrap();
        (dir, stage)
    }

    #[test]
    fn nothing_is_made_through_a_link_or_outside() {
        for walk in [Walk::Kernel, Walk::Stepwise] {
            let (dir, mut stage) = world(walk);
            stage.make_file("inside/file", 0o644).unwrap();
            stage.make_hard_link("inside/again", "inside/file").unwrap();
            for path in ["out/x", "inside/../../x", "/tmp/x", "out", "inside/file", "inside"] {
                assert!(stage.make_file(path, 0o644).is_err(), "{path}");
                assert!(stage.make_dir(path).is_err(), "{path}");
                assert!(stage.make_hard_link(path, "inside/file").is_err(), "{path}");
                assert!(stage.make_link(path, "x").is_err(), "{path}");
            }
            assert!(stage.read_file("out").is_err());
            assert_eq!(std::fs::read_dir(dir.path().join("outside")).unwrap().count(), 0);
            assert_eq!(stage.walk, walk);
        }
    }

    #[test]
    fn stage_that_is_not_kept_leaves_nothing() {
        let (dir, stage) = world(Walk::Kernel);
        drop(stage);
        assert!(!dir.path().join("stage").exists());
    }

    #[test]
    fn modes_are_those_wished_whatever_the_parent_says() {
        for (parent, modes) in [(0o755, Modes::Kept), (0o2755, Modes::Changed)] {
            let dir = tempfile::tempdir().unwrap();
            rustix::fs::chmod(dir.path(), Mode::from_raw_mode(parent)).unwrap();
            let mut stage = Stage::create(&dir.path().join("stage")).unwrap();
            assert_eq!(stage.modes, modes, "is the umask 022?");
            stage.make_dir("inside").unwrap();
            for (path, initial, mode) in [("a", 0o644, 0o644), ("b", 0o644, 0o755)] {
                let file = stage.make_file(path, initial).unwrap();
                stage.set_mode(&file, path, initial, mode).unwrap();
                let found = file.metadata().unwrap().permissions().mode();
                assert_eq!(found & 0o7777, mode);
            }
            let inside = dir.path().join("stage/inside").metadata().unwrap();
            assert_eq!(inside.permissions().mode() & 0o7777, 0o755);
        }
    }
}
