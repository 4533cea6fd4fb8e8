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
use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use crate::host::{Change, ItemKind, Look};
use crate::repository::RepositoryError;
use crate::repository::memory::Memory;

/// Most files, directories and links of a desired state.
pub(super) const ENTRIES_MAX: usize = 20_000;

/// Most bytes of all files and directories of a desired state together.
pub(super) const BYTES_MAX: u64 = 64 << 20;

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

    /// Whether there is one, and as it was written.
    pub(super) fn has(&self, memory: &Memory) -> bool {
        self.exists(&memory.place()) && self.edited(memory).is_none()
    }

    /// What to say of one that is not as it was written.
    pub(super) fn edited(&self, memory: &Memory) -> Option<String> {
        let expected = memory.files.as_ref()?;
        let place = memory.place();
        if !self.exists(&place) {
            return None;
        }
        (!self.holds(&place, expected)).then(|| {
            format!("the files of commit {} on this host were changed by somebody", memory.commit)
        })
    }

    /// Whether what is in one of this name has such a fingerprint.
    fn holds(&self, name: &str, expected: &str) -> bool {
        let (mut found, mut left) = (Vec::new(), BYTES_MAX);
        let home = self.home.join(name);
        let read = self.collect(&home, Utf8Path::new(""), &mut found, &mut left);
        read.is_ok() && fingerprint(&found) == expected
    }

    /// What is in a directory, as far as an accepted state goes.
    fn collect(
        &self,
        at: &Utf8Path,
        below: &Utf8Path,
        found: &mut Vec<File>,
        left: &mut u64,
    ) -> io::Result<()> {
        for item in self.host.list(at)?.unwrap_or_default() {
            if found.len() > ENTRIES_MAX {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            let (inner, path) = (at.join(&item.name), below.join(&item.name));
            let content = match item.kind {
                ItemKind::Dir => Content::Directory,
                ItemKind::File => {
                    let bytes = self.host.read(&inner, *left)?.unwrap_or_default();
                    *left = left.saturating_sub(bytes.len() as u64);
                    Content::Bytes(bytes)
                }
                ItemKind::Link => {
                    Content::Link(self.host.link_in_utf8(&inner)?.unwrap_or_default())
                }
                ItemKind::Other => return Err(io::ErrorKind::InvalidData.into()),
            };
            let directory = content == Content::Directory;
            found.push(File { path: path.clone(), content });
            if directory {
                self.collect(&inner, &path, found, left)?;
            }
        }
        Ok(())
    }

    /// Whether there is one of this name.
    pub(super) fn exists(&self, name: &str) -> bool {
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

    /// Writes a new one, durably, in one piece. One of this name that is whole may be the one in use and is left
    /// alone; one that is not gives way in one act.
    pub(super) fn write(
        &self,
        host: &Change,
        name: &str,
        files: &[File],
    ) -> Result<(), RepositoryError> {
        let new = self.home.join(NEW);
        let attempt = || -> io::Result<()> {
            if self.exists(name) && self.holds(name, &fingerprint(files)) {
                return Ok(());
            }
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
            let at = self.home.join(name);
            if host.stat(&at)?.is_none() {
                return host.rename_new(&new, &at);
            }
            host.exchange(&new, &at)?;
            host.remove(&new)
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

/// A digest over files, whatever their order.
pub(super) fn fingerprint(files: &[File]) -> String {
    let mut files: Vec<&File> = files.iter().collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let mut hasher = Sha256::new();
    for file in files {
        let (kind, content) = match &file.content {
            Content::Directory => (b'd', [].as_slice()),
            Content::Bytes(bytes) => (b'f', bytes.as_slice()),
            Content::Link(target) => (b'l', target.as_bytes()),
        };
        hasher.update([kind]);
        for part in [file.path.as_str().as_bytes(), content] {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
    }
    HEXLOWER.encode(&hasher.finalize())
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
