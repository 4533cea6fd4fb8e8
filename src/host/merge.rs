//! Bringing a tree into another file by file, where it cannot be exchanged as a whole.
//!
//! Each file is replaced by one rename, new ones come first and what is not wished any more goes last. In between the
//! tree is a mixture. Whatever is done already need not be done again, so that an interrupted run is gone on with.
//! Nothing is reached through a link or across a mount.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use camino::Utf8Path;
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use crate::host::nodes::node_stat;
use crate::host::replace::XATTR_BYTES_MAX;
use crate::host::{Change, Look, about, beneath};
use crate::model::difference::differs;
use crate::model::glob::any_covers;
use crate::model::snapshot::{NodeKind, NodeStat, Nodes, NodesBuilder};

/// What attributes of directories begin with that an archive brings; labels of the system's are left as they are.
const KINDS: [&[u8]; 3] = [b"user.", b"trusted.", b"system.posix_acl_"];

impl Look {
    /// Whether all that is listed of a tree which is to be moved into another is as it is listed, be it still in the one,
    /// already in the other, or there to stay. What matches a pattern is not looked at.
    pub fn can_merge(
        &self,
        (from, to): (&Utf8Path, &Utf8Path),
        nodes: &Nodes,
        preserve: &[String],
    ) -> io::Result<bool> {
        let open = |tree: &Utf8Path| self.open(tree, beneath::DIRECTORY);
        let (from, to) = (open(from)?, open(to)?);
        let is_there = |number: usize| -> io::Result<bool> {
            let Some(listed) = nodes.stat(number) else { return Ok(true) };
            let path = nodes.path(number);
            if listed.kind == NodeKind::Directory || any_covers(preserve, &path) {
                return Ok(true);
            }
            for tree in [&from, &to] {
                match rustix::fs::statat(tree, path.as_slice(), AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(found) => {
                        let found = node_stat(&found);
                        return Ok(found.inode == listed.inode && !differs(listed, &found));
                    }
                    Err(Errno::NOENT | Errno::NOTDIR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(false)
        };
        for number in 0..nodes.count() {
            if !is_there(number)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Change {
    /// Moves every file of the tree `from`, as far as it is still there, to its place in the tree `to`, removes what
    /// is not listed and matches no pattern, and gives directories what they are listed with. Returns the list as the
    /// tree is then, or nothing when somebody changed what was moved. What is not moved is not looked at.
    pub fn merge(
        &self,
        (from, to): (&Utf8Path, &Utf8Path),
        (old, nodes): (Option<&Nodes>, &Nodes),
        preserve: &[String],
    ) -> io::Result<Option<Nodes>> {
        let (from, to) = (self.real(from), self.real(to));
        let open = |path: &Utf8Path| {
            rustix::fs::openat(CWD, path.as_std_path(), beneath::DIRECTORY, Mode::empty())
                .map_err(|e| about(path, &e.into()))
        };
        let (source, target) = (open(&from)?, open(&to)?);
        let moved = vec![false; nodes.count()];
        let list = NodesBuilder::default();
        let mut merge = Merge { old, nodes, preserve, moved, list, whole: Whole::Yes };
        let merged = || {
            merge.bring(0, &source, &target)?;
            merge.settle(0, &target, 0)?;
            Ok((merge.whole == Whole::Yes).then(|| merge.list.finish()).flatten())
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
    /// Those that were listed of the tree in use.
    old: Option<&'a Nodes>,
    nodes: &'a Nodes,
    preserve: &'a [String],
    /// Which nodes were moved.
    moved: Vec<bool>,
    list: NodesBuilder,
    whole: Whole,
}

impl Merge<'_> {
    fn kind(&self, number: usize) -> NodeKind {
        self.nodes.stat(number).map_or(NodeKind::File, |stat| stat.kind)
    }

    fn is_preserved(&self, path: &[u8]) -> bool {
        any_covers(self.preserve, path)
    }

    /// Whether a node matches a pattern.
    fn stays(&self, number: usize) -> bool {
        !self.preserve.is_empty() && self.is_preserved(&self.nodes.path(number))
    }

    /// Moves files and directories that are not there yet, below one directory.
    fn bring(&mut self, directory: usize, from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
        if self.has_other_attributes(directory) {
            give_attributes(from, to)?;
        }
        for (name, kind) in beneath::entries(from)? {
            let Some(number) = self.nodes.child(directory, name.to_bytes()) else { continue };
            let there = stat(to, &name)?;
            if there.is_some() && self.stays(number) {
                continue;
            }
            let is_directory = |stat: NodeStat| stat.kind == NodeKind::Directory;
            if kind == FileType::Directory && there.is_some_and(is_directory) {
                self.bring(number, &open(from, &name)?, &open(to, &name)?)?;
                continue;
            }
            let Some(coming) = stat(from, &name)? else { continue };
            if let Some(moved) = self.moved.get_mut(number) {
                *moved = true;
            }
            if there.is_some_and(|there| there.inode == coming.inode) {
                // Its second name goes before it is listed: that changes the time by which it is known to be untouched.
                rustix::fs::unlinkat(from, &name, AtFlags::empty())?;
                continue;
            }
            // One of both is a directory, which no rename replaces.
            if there.is_some_and(|there| is_directory(there) || is_directory(coming)) {
                self.prune(to, &name, &self.nodes.path(number))?;
            }
            rustix::fs::renameat(from, &name, to, &name)?;
        }
        Ok(())
    }

    /// Whether the directory of the new tree has other attributes than the one that stands in its place was made with.
    fn has_other_attributes(&self, directory: usize) -> bool {
        let Some(old) = self.old else { return false };
        let old = old.find(&self.nodes.path(directory)).and_then(|number| old.stat(number));
        let attributes = |stat: &NodeStat| stat.attributes;
        old.map(attributes) != self.nodes.stat(directory).map(attributes)
    }

    /// Removes what is not listed, gives the directory its mode, owner and time, entries before directories, and lists all
    /// of it with what `stat` says now.
    fn settle(&mut self, directory: usize, to: &OwnedFd, parent: u32) -> io::Result<()> {
        self.remove(directory, to)?;
        let nodes = self.nodes;
        let Some(listed) = nodes.stat(directory) else { return Ok(()) };
        let Some(added) = self.add(directory, parent, *listed) else { return Ok(()) };
        for number in nodes.children(directory) {
            // No archive has names with a zero byte.
            let Ok(name) = CString::new(nodes.name(number)) else { continue };
            if self.stays(number) {
                // What is preserved is not what the archive has, whatever it looks like.
                self.list_as_made(number, added);
            } else if self.kind(number) == NodeKind::Directory {
                match opened(to, &name)? {
                    Some(inner) => self.settle(number, &inner, added)?,
                    None => self.list_as_made(number, added),
                }
            } else {
                self.file(number, (to, &name), added)?;
            }
        }
        let now = dress(to, listed)?;
        let (offset, attributes) = (listed.offset, listed.attributes);
        self.list.update(added, NodeStat { offset, attributes, ..now });
        Ok(())
    }

    /// Lists what is no directory. What was moved is known to be what was made as long as nobody wrote to it.
    fn file(
        &mut self,
        number: usize,
        (to, name): (&OwnedFd, &CStr),
        parent: u32,
    ) -> io::Result<()> {
        let Some(listed) = self.nodes.stat(number).copied() else { return Ok(()) };
        if !self.moved.get(number).copied().unwrap_or_default() {
            self.add(number, parent, listed);
            return Ok(());
        }
        match stat(to, name)?.filter(|f| f.inode == listed.inode && !differs(&listed, f)) {
            Some(now) => drop(self.add(number, parent, now)),
            None => self.whole = Whole::No,
        }
        Ok(())
    }

    /// Removes from a directory what is not listed.
    fn remove(&self, directory: usize, to: &OwnedFd) -> io::Result<()> {
        for (name, _) in beneath::entries(to)? {
            if self.nodes.child(directory, name.to_bytes()).is_some() {
                continue;
            }
            let inner = below(&self.nodes.path(directory), &name);
            if !self.is_preserved(&inner) {
                self.prune(to, &name, &inner)?;
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

    /// Lists a node and what is below it as it was made.
    fn list_as_made(&mut self, number: usize, parent: u32) {
        let Some(listed) = self.nodes.stat(number) else { return };
        let Some(added) = self.add(number, parent, *listed) else { return };
        for child in self.nodes.children(number) {
            self.list_as_made(child, added);
        }
    }

    /// Lists a node; `None`, and nothing is whole, where the list is full.
    fn add(&mut self, number: usize, parent: u32, now: NodeStat) -> Option<u32> {
        let nodes = self.nodes;
        let listed = nodes.stat(number)?;
        let now = NodeStat { offset: listed.offset, attributes: listed.attributes, ..now };
        let added = self.list.add(parent, nodes.name(number), nodes.target(number), now);
        if added.is_none() {
            self.whole = Whole::No;
        }
        added
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

/// Gives a directory the attributes and access lists of another, and takes all others from it.
fn give_attributes(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    let (wanted, found) = (attributes(from)?, attributes(to)?);
    for (name, _) in found.iter().filter(|(name, _)| wanted.iter().all(|(other, _)| other != name))
    {
        rustix::fs::fremovexattr(to, name.as_slice())?;
    }
    for (name, value) in wanted.iter().filter(|wanted| !found.contains(wanted)) {
        rustix::fs::fsetxattr(to, name.as_slice(), value, XattrFlags::empty())?;
    }
    Ok(())
}

fn attributes(directory: &OwnedFd) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut buffer = vec![0; XATTR_BYTES_MAX];
    let length = match rustix::fs::flistxattr(directory, buffer.as_mut_slice()) {
        Err(Errno::NOTSUP) => return Ok(Vec::new()),
        listed => listed?,
    };
    let names = buffer.get(..length).unwrap_or_default().to_vec();
    let names = names.split(|&byte| byte == 0).filter(|name| !name.is_empty());
    let ours = names.filter(|name| KINDS.iter().any(|kind| name.starts_with(kind)));
    let with_value = |name: &[u8]| {
        let length = rustix::fs::fgetxattr(directory, name, buffer.as_mut_slice())?;
        Ok((name.to_vec(), buffer.get(..length).unwrap_or_default().to_vec()))
    };
    ours.map(with_value).collect()
}

/// Gives a directory what it is listed with, as far as it has something else. Returns what `stat` says then.
fn dress(directory: &OwnedFd, listed: &NodeStat) -> io::Result<NodeStat> {
    let now = node_stat(&rustix::fs::fstat(directory)?);
    let owner = (now.uid, now.gid) != (listed.uid, listed.gid);
    if owner {
        let (uid, gid) = (Uid::from_raw(listed.uid), Gid::from_raw(listed.gid));
        rustix::fs::fchown(directory, Some(uid), Some(gid))?;
    }
    // Another owner takes bits away.
    let mode = owner || now.mode != listed.mode;
    if mode {
        rustix::fs::fchmod(directory, Mode::from_raw_mode(listed.mode))?;
    }
    let time = now.mtime != listed.mtime;
    if time {
        let time = Timespec { tv_sec: listed.mtime.0, tv_nsec: i64::from(listed.mtime.1) };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::futimens(directory, &times)?;
    }
    if !(mode || time) {
        return Ok(now);
    }
    Ok(node_stat(&rustix::fs::fstat(directory)?))
}
