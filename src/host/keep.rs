//! What somebody else has in a tree, kept under a second name before the tree goes.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use camino::Utf8Path;
use rustix::fs::{CWD, FileType, Mode};
use rustix::io::Errno;

use crate::host::carry::bring;
use crate::host::{Change, about, beneath};
use crate::model::glob::any_covers;
use crate::model::snapshot::{NodeKind, Nodes};

impl Change {
    /// Gives everything in the tree `from` that is not listed and matches no pattern a second name at the same path
    /// in `to`, which is made when there is anything; without a list that is everything. Returns how many paths that
    /// were, a directory with all it holds counted once.
    pub fn keep_foreign(
        &self,
        from: &Utf8Path,
        to: &Utf8Path,
        nodes: Option<&Nodes>,
        preserve: &[String],
    ) -> io::Result<u64> {
        let real = self.real(from);
        let open = |path: &Utf8Path| {
            rustix::fs::openat(CWD, path.as_std_path(), beneath::DIRECTORY, Mode::empty())
                .map_err(|e| about(path, &e.into()))
        };
        let make = || {
            self.make_dirs(to)?;
            open(&self.real(to))
        };
        let mut keeper =
            Keeper { nodes, preserve, make: &make, to: None, above: Vec::new(), kept: 0 };
        let root = nodes.map(|_| 0);
        keeper.directory(&open(&real)?, root, &[]).map_err(|e| about(&real, &e))?;
        if keeper.kept > 0 {
            // The other names of these files go later, and must not be the last ones then.
            self.sync_file_system(to)?;
        }
        Ok(keeper.kept)
    }
}

struct Keeper<'a> {
    nodes: Option<&'a Nodes>,
    preserve: &'a [String],
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
            if any_covers(self.preserve, &inner) {
                continue;
            }
            let is_directory = kind == FileType::Directory;
            let listed = self.listed(number, &name);
            let listed_directory = listed
                .filter(|(_, kind)| is_directory && *kind == NodeKind::Directory)
                .map(|(number, _)| number);
            // Somebody's directory where a file of ours was is theirs with all it holds.
            if listed.is_some() && !is_directory {
                continue;
            }
            if listed_directory.is_some() || is_directory && !self.preserve.is_empty() {
                let below = open(from, &name)?;
                self.above.push((name, below.try_clone()?));
                self.directory(&below, listed_directory, &inner)?;
                self.above.pop();
            } else {
                let to = self.counterpart()?;
                bring(from.as_fd(), &name, to.as_fd())?;
                self.kept += 1;
            }
        }
        Ok(())
    }

    fn listed(&self, directory: Option<usize>, name: &CStr) -> Option<(usize, NodeKind)> {
        let nodes = self.nodes?;
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
