//! Bringing a tree into another file by file, where it cannot be exchanged as a whole.
//!
//! Each file is replaced by one rename, new ones come first and what is not wished any more goes last. In between the
//! tree is a mixture. Whatever is done already need not be done again, so that an interrupted run is gone on with.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use camino::Utf8Path;
use rustix::fs::{AtFlags, CWD, Gid, Mode, Timespec, Timestamps, Uid};

use crate::host::carry::clear;
use crate::host::nodes::node_stat;
use crate::host::{Change, about};
use crate::model::difference::differs;
use crate::model::glob::any_covers;
use crate::model::snapshot::{NodeKind, NodeStat, Nodes, NodesBuilder};

impl Change {
    /// Moves every file of the tree `from`, as far as it is still there, to its place in the tree `to`, removes what
    /// is not among `nodes` and matches no pattern, and gives directories what they are listed with. Returns the list
    /// as the tree is then, or nothing when somebody changed what was moved before.
    pub fn merge(
        &self,
        from: &Utf8Path,
        to: &Utf8Path,
        nodes: &Nodes,
        preserve: &[String],
    ) -> io::Result<Option<Nodes>> {
        let (from, to) = (self.real(from), self.real(to));
        let merge = Merge { from: from.as_std_path(), to: to.as_std_path(), nodes, preserve };
        let merged = || {
            merge.bring(0)?;
            merge.remove(0)?;
            let whole = merge.finish(0)?;
            Ok(if whole == Whole::Yes { merge.list()? } else { None })
        };
        merged().map_err(|e: io::Error| about(&to, &e))
    }
}

/// Whether all that is listed is there as it is listed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whole {
    Yes,
    No,
}

struct Merge<'a> {
    from: &'a Path,
    to: &'a Path,
    nodes: &'a Nodes,
    preserve: &'a [String],
}

impl Merge<'_> {
    fn at(root: &Path, path: &[u8]) -> PathBuf {
        if path.is_empty() { root.to_owned() } else { root.join(OsStr::from_bytes(path)) }
    }

    fn kind(&self, number: usize) -> NodeKind {
        self.nodes.stat(number).map_or(NodeKind::File, |stat| stat.kind)
    }

    /// Makes directories and moves files, below one directory.
    fn bring(&self, directory: usize) -> io::Result<()> {
        for number in self.nodes.children(directory) {
            let path = self.nodes.path(number);
            if any_covers(self.preserve, &path) && Self::at(self.to, &path).exists() {
                continue;
            }
            let (from, to) = (Self::at(self.from, &path), Self::at(self.to, &path));
            let there = to.symlink_metadata().ok();
            if self.kind(number) == NodeKind::Directory {
                if !there.is_some_and(|there| there.is_dir()) {
                    clear(&to)?;
                    fs::create_dir(&to)?;
                }
                self.bring(number)?;
                continue;
            }
            let Some(coming) = optional(from.symlink_metadata())? else { continue };
            let same = there.as_ref().is_some_and(|there| there.ino() == coming.ino());
            if same {
                continue;
            }
            if there.is_some_and(|there| there.is_dir()) {
                clear(&to)?;
            }
            rustix::fs::rename(&from, &to)?;
        }
        Ok(())
    }

    /// Removes what is not listed.
    fn remove(&self, directory: usize) -> io::Result<()> {
        let path = self.nodes.path(directory);
        for entry in fs::read_dir(Self::at(self.to, &path))? {
            let entry = entry?;
            let name = entry.file_name();
            let inner = if path.is_empty() {
                name.as_bytes().to_vec()
            } else {
                [path.as_slice(), name.as_bytes()].join(&b'/')
            };
            if any_covers(self.preserve, &inner) {
                continue;
            }
            match self.nodes.child(directory, name.as_bytes()) {
                Some(number) if self.kind(number) == NodeKind::Directory => self.remove(number)?,
                Some(_) => {}
                None => self.prune(&entry.path(), &inner)?,
            }
        }
        Ok(())
    }

    /// Removes something, but for what is preserved in it.
    fn prune(&self, place: &Path, path: &[u8]) -> io::Result<()> {
        if self.preserve.is_empty() || !place.symlink_metadata()?.is_dir() {
            return clear(place);
        }
        for entry in fs::read_dir(place)? {
            let entry = entry?;
            let inner = [path, entry.file_name().as_bytes()].join(&b'/');
            if !any_covers(self.preserve, &inner) {
                self.prune(&entry.path(), &inner)?;
            }
        }
        match fs::remove_dir(place) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
            removed => removed,
        }
    }

    /// Gives directories their mode, owner and time, entries before directories, and looks whether files are as listed.
    fn finish(&self, directory: usize) -> io::Result<Whole> {
        let mut whole = Whole::Yes;
        for number in self.nodes.children(directory) {
            let path = self.nodes.path(number);
            let Some(listed) = self.nodes.stat(number) else { continue };
            if listed.kind == NodeKind::Directory {
                if self.finish(number)? == Whole::No {
                    whole = Whole::No;
                }
            } else if !any_covers(self.preserve, &path) {
                let found = found(&Self::at(self.to, &path))?;
                let same = found.is_some_and(|f| f.inode == listed.inode && !differs(listed, &f));
                if !same {
                    whole = Whole::No;
                }
            }
        }
        if let Some(listed) = self.nodes.stat(directory) {
            dress(&Self::at(self.to, &self.nodes.path(directory)), listed)?;
        }
        Ok(whole)
    }

    /// The list with what `stat` says now.
    fn list(&self) -> io::Result<Option<Nodes>> {
        let mut list = NodesBuilder::default();
        Ok(self.add(0, 0, &mut list)?.and_then(|()| list.finish()))
    }

    fn add(&self, number: usize, parent: u32, list: &mut NodesBuilder) -> io::Result<Option<()>> {
        let path = self.nodes.path(number);
        let Some(listed) = self.nodes.stat(number) else { return Ok(None) };
        let Some(now) = found(&Self::at(self.to, &path))? else { return Ok(None) };
        // What is preserved is not what the archive has, whatever it looks like.
        let ours = listed.kind == NodeKind::Directory || !any_covers(self.preserve, &path);
        let now = NodeStat { offset: listed.offset, attributes: listed.attributes, ..now };
        let now = if ours { now } else { *listed };
        let (name, target) = (self.nodes.name(number), self.nodes.target(number));
        let Some(added) = list.add(parent, name, target, now) else { return Ok(None) };
        for child in self.nodes.children(number) {
            if self.add(child, added, list)?.is_none() {
                return Ok(None);
            }
        }
        Ok(Some(()))
    }
}

fn optional<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}

fn found(path: &Path) -> io::Result<Option<NodeStat>> {
    let stat = rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW);
    Ok(optional(stat.map_err(io::Error::from))?.map(|stat| node_stat(&stat)))
}

fn dress(path: &Path, listed: &NodeStat) -> io::Result<()> {
    let now = found(path)?;
    if now.is_some_and(|now| (now.uid, now.gid) != (listed.uid, listed.gid)) {
        let (uid, gid) = (Uid::from_raw(listed.uid), Gid::from_raw(listed.gid));
        rustix::fs::chownat(CWD, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    rustix::fs::chmod(path, Mode::from_raw_mode(listed.mode))?;
    let time = Timespec { tv_sec: listed.mtime.0, tv_nsec: i64::from(listed.mtime.1) };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}
