//! Accepted commits as directories, and the link to the one in use.
//!
//! ```text
//! <state>/repository/<commit>/     the wanted directory of that commit
//! <state>/repository/current  ->   the one in use; switched by one rename
//! <state>/repository/.new/         half-written; nobody reads it
//! ```

use std::io;
use std::os::unix::fs::symlink;

use camino::{Utf8Path, Utf8PathBuf};

use crate::host::{Change, ItemKind, Look};
use crate::repository::RepositoryError;

/// Digits of a commit.
const COMMIT_DIGITS: usize = 40;

const CURRENT: &str = "current";
const NEW: &str = ".new";
const NEW_LINK: &str = ".current";

/// A file or link of the wanted directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    /// Relative to the wanted directory, of plain components.
    pub(super) path: Utf8PathBuf,
    /// What is there.
    pub(super) content: Content,
}

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// A directory.
    Directory,
    /// These bytes.
    Bytes(Vec<u8>),
    /// A link that stays inside.
    Link(String),
}

/// The directory of checkouts of one host.
#[derive(Clone, Debug)]
pub(super) struct Checkouts {
    host: Look,
    home: Utf8PathBuf,
}

impl Checkouts {
    /// Those of a host.
    pub(super) fn of(host: &Look) -> Self {
        Self { host: host.clone(), home: host.places().state.join("repository") }
    }

    /// Whether there is one of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        let stat = self.host.stat(self.home.join(name));
        stat.is_ok_and(|stat| stat.is_some_and(|stat| stat.kind == ItemKind::Dir))
    }

    /// Where one really is.
    pub(super) fn real(&self, name: &str) -> Utf8PathBuf {
        self.host.real(self.home.join(name))
    }

    /// Where the one in use is, whichever it is.
    pub(super) fn base(&self) -> Utf8PathBuf {
        self.host.real(self.home.join(CURRENT))
    }

    fn link(&self) -> io::Result<Option<String>> {
        self.host.read_link(self.home.join(CURRENT))
    }

    /// The commit of the one in use.
    pub(super) fn current(&self) -> io::Result<Option<String>> {
        let target = self.link()?;
        let commit = target.as_deref().and_then(|target| target.get(..COMMIT_DIGITS));
        let plain = commit.filter(|c| c.bytes().all(|b| b.is_ascii_hexdigit()));
        Ok(plain.map(ToOwned::to_owned))
    }

    /// Writes a new one, durably, in one piece.
    pub(super) fn write(
        &self,
        host: &Change,
        name: &str,
        files: &[File],
    ) -> Result<(), RepositoryError> {
        let new = self.home.join(NEW);
        let attempt = || -> io::Result<()> {
            host.make_dirs(&self.home)?;
            host.remove(&new)?;
            host.make_new_dir(&new)?;
            for file in files {
                let at = new.join(&file.path);
                match &file.content {
                    Content::Directory => host.make_new_dir(&at)?,
                    Content::Bytes(bytes) => host.write_unsynced(&at, bytes)?,
                    Content::Link(target) => host.symlink(target, &at)?,
                }
            }
            host.sync_file_system(&new)?;
            host.remove(self.home.join(name))?;
            host.rename_new(&new, &self.home.join(name))
        };
        attempt().map_err(RepositoryError::Host)
    }

    /// Makes one the one in use, and removes all but it and the one before.
    pub(super) fn switch(&self, host: &Change, name: &str) -> Result<(), RepositoryError> {
        let attempt = || -> io::Result<()> {
            let before = self.link()?;
            if before.as_deref() == Some(name) {
                return Ok(());
            }
            let link = self.home.join(NEW_LINK);
            host.remove(&link)?;
            host.symlink(name, &link)?;
            host.rename_over(&link, &self.home.join(CURRENT))?;
            for item in self.host.list(&self.home)?.unwrap_or_default() {
                let kept = item.name == name || Some(&item.name) == before.as_ref();
                if item.kind == ItemKind::Dir && !kept {
                    host.remove(self.home.join(&item.name))?;
                }
            }
            Ok(())
        };
        attempt().map_err(RepositoryError::Host)
    }
}

/// Writes files into a directory that is not the host's and is removed again.
#[expect(clippy::disallowed_methods, reason = "a temporary directory, not the managed host")]
pub(super) fn write_temporary(directory: &Utf8Path, files: &[File]) -> Result<(), RepositoryError> {
    let attempt = || -> io::Result<()> {
        std::fs::create_dir(directory)?;
        for file in files {
            let at = directory.join(&file.path);
            match &file.content {
                Content::Directory => std::fs::create_dir(at)?,
                Content::Bytes(bytes) => std::fs::write(at, bytes)?,
                Content::Link(target) => symlink(target, at)?,
            }
        }
        Ok(())
    };
    attempt().map_err(RepositoryError::Host)
}
