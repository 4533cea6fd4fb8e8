//! What somebody else has in a tree, kept under a second name before the tree goes.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use camino::Utf8Path;
use rustix::fs::{AtFlags, CWD, FileType, Mode};
use rustix::io::Errno;

use crate::host::carry::bring;
use crate::host::{Change, about, beneath};
use crate::model::glob::any_covers;
use crate::model::snapshot::{NodeKind, NodeStat, Nodes};

/// What of a tree is not somebody else's.
#[derive(Clone, Copy, Debug)]
pub struct Ours<'a> {
    /// What is listed; without a list nothing is ours.
    pub nodes: Option<&'a Nodes>,
    /// What a merge that was cut off may have moved there already.
    pub coming: Option<&'a Nodes>,
    /// Patterns of paths that stay in the tree, whoever has them.
    pub preserve: &'a [String],
}

impl Change {
    /// Gives everything in the tree `from` that is not `ours` a second name at the same path in `to`, which is made
    /// when there is anything. Returns how many paths that were, a directory with all it holds counted once.
    pub fn keep_foreign(&self, from: &Utf8Path, to: &Utf8Path, ours: Ours<'_>) -> io::Result<u64> {
        let real = self.real(from);
        let open = |path: &Utf8Path| {
            rustix::fs::openat(CWD, path.as_std_path(), beneath::DIRECTORY, Mode::empty())
                .map_err(|e| about(path, &e.into()))
        };
        let make = || {
            self.make_dirs(to)?;
            open(&self.real(to))
        };
        let mut keeper = Keeper { ours, make: &make, to: None, above: Vec::new(), kept: 0 };
        let root = ours.nodes.map(|_| 0);
        keeper.directory(&open(&real)?, root, &[]).map_err(|e| about(&real, &e))?;
        if keeper.kept > 0 {
            // The other names of these files go later, and must not be the last ones then.
            self.sync_file_system(to)?;
        }
        Ok(keeper.kept)
    }
}

struct Keeper<'a> {
    ours: Ours<'a>,
    make: &'a dyn Fn() -> io::Result<OwnedFd>,
    /// Where things are kept, once there is anything.
    to: Option<OwnedFd>,
    /// The directories from the root of the tree to the one that is looked at.
    above: Vec<(CString, OwnedFd)>,
    kept: u64,
}

impl Keeper<'_> {
    /// `number` is the directory's in the list, if it is listed.
    fn directory(&mut self, from: &OwnedFd, number: Option<usize>, path: &[u8]) -> io::Result<()> {
        for (name, kind) in beneath::entries(from)? {
            let inner = match path {
                [] => name.to_bytes().to_vec(),
                _ => [path, name.to_bytes()].join(&b'/'),
            };
            if any_covers(self.ours.preserve, &inner) {
                continue;
            }
            let is_directory = kind == FileType::Directory;
            let listed = self.listed(number, &name);
            if !is_directory && (listed.is_some() || self.is_coming(from, &name, &inner)?) {
                continue;
            }
            // Somebody's directory where a file of ours was is theirs with all it holds.
            let listed = listed.filter(|(_, kind)| *kind == NodeKind::Directory);
            let shared = listed.is_some() || self.is_coming_directory(&inner);
            if is_directory && (shared || !self.ours.preserve.is_empty()) {
                let below = open(from, &name)?;
                self.above.push((name, below.try_clone()?));
                self.directory(&below, listed.map(|(number, _)| number), &inner)?;
                self.above.pop();
            } else {
                let to = self.counterpart()?;
                bring(from.as_fd(), &name, to.as_fd())?;
                self.kept += 1;
            }
        }
        Ok(())
    }

    fn coming(&self, path: &[u8]) -> Option<NodeStat> {
        let nodes = self.ours.coming?;
        nodes.stat(nodes.find(path)?).copied()
    }

    fn is_coming_directory(&self, path: &[u8]) -> bool {
        self.coming(path).is_some_and(|stat| stat.kind == NodeKind::Directory)
    }

    /// Whether a file is the very one that was made for this path.
    fn is_coming(&self, directory: &OwnedFd, name: &CStr, path: &[u8]) -> io::Result<bool> {
        let Some(made) = self.coming(path) else { return Ok(false) };
        let found = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(found.st_ino == made.inode)
    }

    fn listed(&self, directory: Option<usize>, name: &CStr) -> Option<(usize, NodeKind)> {
        let nodes = self.ours.nodes?;
        let number = nodes.child(directory?, name.to_bytes())?;
        Some((number, nodes.stat(number)?.kind))
    }

    /// The directory of what is kept at the path of the one that is looked at.
    fn counterpart(&mut self) -> io::Result<OwnedFd> {
        let to = match self.to.take() {
            Some(to) => to,
            None => (self.make)()?,
        };
        let mut at = to.try_clone()?;
        self.to = Some(to);
        for (name, from) in &self.above {
            at = match beneath::open(&at, name) {
                Err(Errno::NOENT) => beneath::make_like(from, &at, name)?,
                opened => opened?,
            };
        }
        Ok(at)
    }
}

fn open(parent: &OwnedFd, name: &CStr) -> io::Result<OwnedFd> {
    beneath::open(parent, name).map_err(|errno| match errno {
        Errno::XDEV => beneath::mounted(name),
        errno => errno.into(),
    })
}
