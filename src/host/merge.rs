//! Bringing a tree into another file by file, where it cannot be exchanged as a whole.
//!
//! Each file is replaced by one rename, new ones come first and what is not wished any more goes last. In between the
//! tree is a mixture. Whatever is done already need not be done again, so that an interrupted run is gone on with.
//! Nothing is reached through a link or across a mount.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use camino::Utf8Path;
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use crate::host::nodes::node_stat;
use crate::host::{Change, about, beneath};
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
        let open = |path: &Utf8Path| {
            rustix::fs::openat(CWD, path.as_std_path(), beneath::DIRECTORY, Mode::empty())
                .map_err(|e| about(path, &e.into()))
        };
        let (source, target) = (open(&from)?, open(&to)?);
        let merge = Merge { nodes, preserve };
        let merged = || {
            merge.bring(0, Some(&source), &target)?;
            merge.remove(0, &target)?;
            if merge.finish(0, &target)? == Whole::No {
                return Ok(None);
            }
            let mut list = NodesBuilder::default();
            let added = merge.list(0, &target, (0, &mut list))?;
            Ok(added.and_then(|()| list.finish()))
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
    nodes: &'a Nodes,
    preserve: &'a [String],
}

impl Merge<'_> {
    /// The entries of a directory, each with its name and its path.
    fn entries(&self, directory: usize) -> impl Iterator<Item = (usize, CString, Vec<u8>)> {
        self.nodes.children(directory).filter_map(|number| {
            // No archive has names with a zero byte.
            let name = CString::new(self.nodes.name(number)).ok()?;
            Some((number, name, self.nodes.path(number)))
        })
    }

    fn kind(&self, number: usize) -> NodeKind {
        self.nodes.stat(number).map_or(NodeKind::File, |stat| stat.kind)
    }

    fn is_preserved(&self, path: &[u8]) -> bool {
        any_covers(self.preserve, path)
    }

    /// Makes directories and moves files, below one directory.
    fn bring(&self, directory: usize, from: Option<&OwnedFd>, to: &OwnedFd) -> io::Result<()> {
        for (number, name, path) in self.entries(directory) {
            let there = stat(to, &name)?;
            if there.is_some() && self.is_preserved(&path) {
                continue;
            }
            if self.kind(number) == NodeKind::Directory {
                let made = there.is_none();
                let below = from.map(|from| opened(from, &name)).transpose()?.flatten();
                let next = match opened(to, &name)? {
                    Some(next) => next,
                    None => {
                        beneath::remove(to.as_fd(), &name)?;
                        rustix::fs::mkdirat(to, &name, Mode::RWXU)?;
                        open(to, &name)?
                    }
                };
                self.bring(number, below.as_ref(), &next)?;
                if let Some(listed) =
                    self.nodes.stat(number).filter(|_| made && self.is_preserved(&path))
                {
                    dress(&next, listed)?;
                }
                continue;
            }
            let Some(from) = from else { continue };
            let Some(coming) = stat(from, &name)? else { continue };
            if there.is_some_and(|there| there.inode == coming.inode) {
                // Its second name goes before it is listed: that changes the time by which it is known to be untouched.
                rustix::fs::unlinkat(from, &name, AtFlags::empty())?;
                continue;
            }
            if there.is_some_and(|there| there.kind == NodeKind::Directory) {
                self.prune(to, &name, &path)?;
            }
            rustix::fs::renameat(from, &name, to, &name)?;
        }
        Ok(())
    }

    /// Removes what is not listed.
    fn remove(&self, directory: usize, to: &OwnedFd) -> io::Result<()> {
        let path = self.nodes.path(directory);
        for (name, _) in beneath::entries(to)? {
            let inner = below(&path, &name);
            if self.is_preserved(&inner) {
                continue;
            }
            match self.nodes.child(directory, name.to_bytes()) {
                Some(number) if self.kind(number) == NodeKind::Directory => {
                    self.remove(number, &open(to, &name)?)?;
                }
                Some(_) => {}
                None => self.prune(to, &name, &inner)?,
            }
        }
        Ok(())
    }

    /// Removes something, but for what is preserved in it.
    fn prune(&self, parent: &OwnedFd, name: &CStr, path: &[u8]) -> io::Result<()> {
        let directory = beneath::kind_of(parent.as_fd(), name)? == Some(FileType::Directory);
        if self.preserve.is_empty() || !directory {
            return beneath::remove(parent.as_fd(), name);
        }
        let opened = open(parent, name)?;
        for (entry, _) in beneath::entries(&opened)? {
            let inner = below(path, &entry);
            if !self.is_preserved(&inner) {
                self.prune(&opened, &entry, &inner)?;
            }
        }
        match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Gives directories their mode, owner and time, entries before directories, and looks whether files are as listed.
    fn finish(&self, directory: usize, to: &OwnedFd) -> io::Result<Whole> {
        let mut whole = Whole::Yes;
        for (number, name, path) in self.entries(directory) {
            let Some(listed) = self.nodes.stat(number) else { continue };
            if self.is_preserved(&path) {
                continue;
            }
            if listed.kind == NodeKind::Directory {
                if self.finish(number, &open(to, &name)?)? == Whole::No {
                    whole = Whole::No;
                }
            } else {
                let found = stat(to, &name)?;
                if !found.is_some_and(|f| f.inode == listed.inode && !differs(listed, &f)) {
                    whole = Whole::No;
                }
            }
        }
        if let Some(listed) = self.nodes.stat(directory) {
            dress(to, listed)?;
        }
        Ok(whole)
    }

    /// Lists a directory and what is below it with what `stat` says now.
    fn list(
        &self,
        directory: usize,
        to: &OwnedFd,
        (parent, list): (u32, &mut NodesBuilder),
    ) -> io::Result<Option<()>> {
        let now = node_stat(&rustix::fs::fstat(to)?);
        let Some(added) = self.add(directory, parent, now, list) else { return Ok(None) };
        for (number, name, path) in self.entries(directory) {
            let listed = if self.is_preserved(&path) {
                // What is preserved is not what the archive has, whatever it looks like.
                self.list_as_made(number, (added, list))
            } else if self.kind(number) == NodeKind::Directory {
                self.list(number, &open(to, &name)?, (added, list))?
            } else {
                stat(to, &name)?.and_then(|now| self.add(number, added, now, list).map(|_| ()))
            };
            if listed.is_none() {
                return Ok(None);
            }
        }
        Ok(Some(()))
    }

    /// Lists a node and what is below it as it was made.
    fn list_as_made(&self, number: usize, (parent, list): (u32, &mut NodesBuilder)) -> Option<()> {
        let added = self.add(number, parent, *self.nodes.stat(number)?, list)?;
        self.nodes.children(number).try_for_each(|child| self.list_as_made(child, (added, list)))
    }

    fn add(
        &self,
        number: usize,
        parent: u32,
        now: NodeStat,
        list: &mut NodesBuilder,
    ) -> Option<u32> {
        let listed = self.nodes.stat(number)?;
        let now = NodeStat { offset: listed.offset, attributes: listed.attributes, ..now };
        list.add(parent, self.nodes.name(number), self.nodes.target(number), now)
    }
}

fn below(path: &[u8], name: &CStr) -> Vec<u8> {
    if path.is_empty() { name.to_bytes().to_vec() } else { [path, name.to_bytes()].join(&b'/') }
}

fn stat(parent: &OwnedFd, name: &CStr) -> io::Result<Option<NodeStat>> {
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(node_stat(&stat))),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn open(parent: &OwnedFd, name: &CStr) -> io::Result<OwnedFd> {
    beneath::open(parent, name).map_err(|errno| match errno {
        Errno::XDEV => beneath::mounted(name),
        errno => errno.into(),
    })
}

/// A directory; none where there is nothing or something else.
fn opened(parent: &OwnedFd, name: &CStr) -> io::Result<Option<OwnedFd>> {
    match beneath::open(parent, name) {
        Ok(opened) => Ok(Some(opened)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(Errno::XDEV) => Err(beneath::mounted(name)),
        Err(errno) => Err(errno.into()),
    }
}

fn dress(directory: &OwnedFd, listed: &NodeStat) -> io::Result<()> {
    let now = node_stat(&rustix::fs::fstat(directory)?);
    if (now.uid, now.gid) != (listed.uid, listed.gid) {
        let (uid, gid) = (Uid::from_raw(listed.uid), Gid::from_raw(listed.gid));
        rustix::fs::fchown(directory, Some(uid), Some(gid))?;
    }
    rustix::fs::fchmod(directory, Mode::from_raw_mode(listed.mode))?;
    let time = Timespec { tv_sec: listed.mtime.0, tv_nsec: i64::from(listed.mtime.1) };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(rustix::fs::futimens(directory, &times)?)
}
