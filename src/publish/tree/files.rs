//! Files beside an index, each replaced as a whole.

use std::fs::File;
use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::Mode;
use rustix::io::Errno;

use super::{Publication, PublishError};
use crate::host::create_anew;
use crate::publish::place::make_dirs;

/// Mode of what is published.
const MODE: Mode = Mode::from_bits_retain(0o644);

/// The path of an index with something more at its end.
pub(super) fn beside(index: &Utf8Path, suffix: &str) -> Utf8PathBuf {
    Utf8PathBuf::from(format!("{index}{suffix}"))
}

/// Makes the directory of the index, and refuses an index or a store inside the tree.
pub(super) fn prepare(wish: &Publication) -> Result<(), PublishError> {
    let tree = wish
        .tree
        .canonicalize_utf8()
        .map_err(|source| PublishError::Read { path: wish.tree.to_string(), source })?;
    for path in [&wish.index, &wish.store] {
        let failed = |source| PublishError::Write { path: path.clone(), source };
        let parent = path.parent().filter(|parent| !parent.as_str().is_empty());
        let parent = parent.unwrap_or(Utf8Path::new("."));
        let there = parent.ancestors().find(|path| path.exists()).unwrap_or(Utf8Path::new("."));
        if there.canonicalize_utf8().map_err(failed)?.starts_with(&tree) {
            return Err(PublishError::Inside { path: path.clone(), tree });
        }
        make_dirs(parent.as_std_path()).map_err(failed)?;
    }
    Ok(())
}

/// A file that is being written beside its place; dropped without being placed it is gone. Whoever writes one
/// holds a lock that keeps others from writing the same.
#[derive(Debug)]
pub(super) struct Replacement {
    file: File,
    temporary: Utf8PathBuf,
    path: Utf8PathBuf,
}

impl Replacement {
    /// Begins the successor of whatever is at `path`.
    pub(super) fn new(path: &Utf8Path) -> Result<Self, PublishError> {
        let temporary = beside(path, ".tmp");
        let file = create_anew(temporary.as_std_path())
            .and_then(|file| {
                // Whatever the mask of whoever publishes: it is for everybody.
                rustix::fs::fchmod(&file, MODE)?;
                Ok(file)
            })
            .map_err(|source| PublishError::Write { path: path.to_owned(), source })?;
        Ok(Self { file, temporary, path: path.to_owned() })
    }

    /// Where it is written to.
    pub(super) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Where that is until it is placed.
    pub(super) fn temporary(&self) -> &Utf8Path {
        &self.temporary
    }

    /// Puts it in its place, durably.
    pub(super) fn place(self) -> Result<(), PublishError> {
        let attempt = || -> io::Result<()> {
            self.file.sync_all()?;
            rustix::fs::rename(self.temporary.as_std_path(), self.path.as_std_path())?;
            let directory = self.path.parent().filter(|path| !path.as_str().is_empty());
            File::open(directory.unwrap_or(Utf8Path::new(".")))?.sync_all()
        };
        attempt().map_err(|source| self.failed(source))
    }

    /// The error of writing it.
    pub(super) fn failed(&self, source: io::Error) -> PublishError {
        PublishError::Write { path: self.path.clone(), source }
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        // Once it is placed there is nothing of this name.
        let _ = rustix::fs::unlink(self.temporary.as_std_path());
    }
}

/// Replaces a file by what `write` writes.
pub(super) fn replace(
    path: &Utf8Path,
    write: impl FnOnce(&mut File) -> Result<(), PublishError>,
) -> Result<(), PublishError> {
    let mut replacement = Replacement::new(path)?;
    write(replacement.file())?;
    replacement.place()
}

/// Removes a file; nothing there is fine.
pub(super) fn remove(path: &Utf8Path) -> Result<(), PublishError> {
    match rustix::fs::unlink(path.as_std_path()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(PublishError::Write { path: path.to_owned(), source: error.into() }),
    }
}
