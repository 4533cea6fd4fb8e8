//! The files of a commit: a walk through its trees, every object of which is digested again.

use std::collections::HashSet;

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use gix::ObjectId;
use gix::bstr::ByteSlice;
use gix::objs::tree::EntryKind;

use crate::repository::RepositoryError;
use crate::repository::checkout::{BYTES_MAX, Content, ENTRIES_MAX, File};
use crate::repository::store::{OBJECT_BYTES_MAX, Store};

/// How deep directories may be nested.
const DEPTH_MAX: usize = 32;

/// A walk through the trees of a commit.
pub(super) struct Walk<'a> {
    store: &'a Store<'a>,
    commit: &'a str,
    files: Vec<File>,
    entries: usize,
    bytes: u64,
}

impl<'a> Walk<'a> {
    /// The walk through a commit.
    pub(super) fn of(store: &'a Store<'a>, commit: &'a str) -> Self {
        Self { store, commit, files: Vec::new(), entries: 0, bytes: 0 }
    }

    /// The files of a directory, parents before what is in them.
    pub(super) fn files(
        mut self,
        mut tree: ObjectId,
        path: &Utf8Path,
    ) -> Result<Vec<File>, RepositoryError> {
        for name in path.components() {
            let entries = self.entries(tree)?;
            let wanted = |entry: &&(String, EntryKind, ObjectId)| {
                entry.0 == name.as_str() && entry.1 == EntryKind::Tree
            };
            let Some((_, _, id)) = entries.iter().find(wanted) else {
                let (commit, path) = (self.commit.to_owned(), path.to_string());
                return Err(RepositoryError::NoPath { commit, path });
            };
            tree = *id;
        }
        self.descend(tree, Utf8Path::new(""), 0)?;
        Ok(self.files)
    }

    fn too_much(&self, what: String) -> RepositoryError {
        RepositoryError::TooMuch { commit: self.commit.to_owned(), what }
    }

    fn refuse(&self, path: &Utf8Path, why: &'static str) -> RepositoryError {
        RepositoryError::Unsafe { commit: self.commit.to_owned(), path: path.to_string(), why }
    }

    /// The entries of a tree, with names that are plain and different.
    fn entries(
        &mut self,
        tree: ObjectId,
    ) -> Result<Vec<(String, EntryKind, ObjectId)>, RepositoryError> {
        let bytes = self.read(tree, gix::objs::Kind::Tree, OBJECT_BYTES_MAX)?;
        let parsed = gix::objs::TreeRef::from_bytes(&bytes, gix::hash::Kind::Sha1)
            .map_err(|error| self.store.damaged(error.into()))?;
        let mut entries = Vec::with_capacity(parsed.entries.len());
        let mut names = HashSet::with_capacity(parsed.entries.len());
        for entry in &parsed.entries {
            let shown = || entry.filename.to_str_lossy().escape_debug().to_string();
            let plain = entry.filename.to_str().ok().filter(|name| is_plain(name));
            let Some(name) = plain else {
                let why = "is no plain file name; rename it";
                return Err(self.refuse(Utf8Path::new(&shown()), why));
            };
            if !names.insert(name) {
                let why = "is there twice in one directory; write the commit with git itself";
                return Err(self.refuse(Utf8Path::new(&shown()), why));
            }
            entries.push((name.to_owned(), entry.mode.kind(), entry.oid.to_owned()));
        }
        Ok(entries)
    }

    /// The bytes of an object, which count as the whole's.
    fn read(
        &mut self,
        id: ObjectId,
        kind: gix::objs::Kind,
        limit: u64,
    ) -> Result<Vec<u8>, RepositoryError> {
        let left = BYTES_MAX - self.bytes;
        let bytes = self.store.read(id, kind, left.min(limit))?.ok_or_else(|| {
            self.too_much(if left < limit || kind == gix::objs::Kind::Blob {
                format!("its files are larger than {BYTES_MAX} bytes together")
            } else {
                "it has a huge directory".to_owned()
            })
        })?;
        self.bytes += bytes.len() as u64;
        Ok(bytes)
    }

    fn descend(
        &mut self,
        tree: ObjectId,
        below: &Utf8Path,
        depth: usize,
    ) -> Result<(), RepositoryError> {
        if depth > DEPTH_MAX {
            return Err(self.too_much(format!("directories are nested deeper than {DEPTH_MAX}")));
        }
        for (name, kind, id) in self.entries(tree)? {
            let path = below.join(name);
            self.entries += 1;
            if self.entries > ENTRIES_MAX {
                return Err(self.too_much(format!("it has more than {ENTRIES_MAX} files")));
            }
            let content = match kind {
                EntryKind::Tree => Content::Directory,
                EntryKind::Blob | EntryKind::BlobExecutable => Content::Bytes(self.blob(id)?),
                EntryKind::Link => {
                    let target = String::from_utf8(self.blob(id)?).ok();
                    let target = target.filter(|target| stays_inside(below, target));
                    let why = "is a link that leads out of the directory; replace it by a file";
                    Content::Link(target.ok_or_else(|| self.refuse(&path, why))?)
                }
                // Another repository's commit: nothing of it is here.
                EntryKind::Commit => continue,
            };
            self.files.push(File { path: path.clone(), content });
            if kind == EntryKind::Tree {
                self.descend(id, &path, depth + 1)?;
            }
        }
        Ok(())
    }

    fn blob(&mut self, id: ObjectId) -> Result<Vec<u8>, RepositoryError> {
        self.read(id, gix::objs::Kind::Blob, BYTES_MAX)
    }
}

/// A name that is one component and nothing special, also for git itself.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && !matches!(name, "." | "..")
        && !name.eq_ignore_ascii_case(".git")
        && !name.contains(['/', '\0'])
        && name.len() <= 255
}

/// Whether a link in the directory `below` leads to something inside the wanted directory. It may go up only at its
/// beginning, where directories are real: after a name that is a link itself, `..` would be somewhere else.
fn stays_inside(below: &Utf8Path, target: &str) -> bool {
    let mut at: Utf8PathBuf = below.to_owned();
    let mut down = false;
    for component in Utf8Path::new(target).components() {
        match component {
            Utf8Component::Normal(_) => down = true,
            Utf8Component::CurDir => {}
            Utf8Component::ParentDir if !down && at.pop() => {}
            _ => return false,
        }
    }
    !target.is_empty() && !target.contains('\0')
}
