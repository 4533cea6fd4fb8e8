//! Comparing a whole tree with the list of its nodes: one `stat` a node, on every core, nothing read.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::panic::resume_unwind;
use std::thread;

use camino::Utf8Path;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir};
use rustix::io::Errno;

use crate::host::{Look, about};
use crate::model::difference::{Difference, differs};
use crate::model::glob::any_covers;
use crate::model::snapshot::{NodeKind, NodeStat, Nodes};

/// Most threads that look at one tree.
const THREADS_MAX: usize = 8;

/// Nodes that are worth a thread.
const NODES_PER_THREAD_MIN: usize = 2_000;

/// Differences told of one tree; more than this is "everything".
pub const DIFFERENCES_MAX: usize = 10_000;

/// Bytes of directory entries read at once.
const DIRECTORY_BUFFER_BYTES: usize = 16 << 10;

impl Look {
    /// The inode of a directory; `None` when there is no directory.
    pub fn inode_of_dir(&self, path: &Utf8Path) -> io::Result<Option<u64>> {
        use std::os::unix::fs::MetadataExt;
        let real = self.real(path);
        match real.symlink_metadata() {
            Ok(metadata) => Ok(metadata.is_dir().then(|| metadata.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(about(&real, &error)),
        }
    }

    /// Whether a directory has no entries.
    pub fn is_empty_dir(&self, path: &Utf8Path) -> io::Result<bool> {
        let real = self.real(path);
        let mut entries = std::fs::read_dir(&real).map_err(|e| about(&real, &e))?;
        Ok(entries.next().is_none())
    }

    /// Whether everything in a directory of a tree, at least one thing, matches a pattern or is a directory of
    /// which the same is true.
    pub fn holds_only(&self, tree: &Utf8Path, path: &[u8], patterns: &[String]) -> bool {
        use std::os::unix::ffi::OsStrExt;
        let place = self.real(tree).into_std_path_buf().join(std::ffi::OsStr::from_bytes(path));
        let Ok(entries) = std::fs::read_dir(place) else { return false };
        let mut any = false;
        for entry in entries {
            let Ok(entry) = entry else { return false };
            let inner = [path, entry.file_name().as_bytes()].join(&b'/');
            let directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let kept = any_covers(patterns, &inner)
                || directory && self.holds_only(tree, &inner, patterns);
            if !kept {
                return false;
            }
            any = true;
        }
        any
    }

    /// Where a tree differs from its list, sorted by path, at most [`DIFFERENCES_MAX`]. Entries of a directory
    /// are listed only when its modification time says that some may have come.
    pub fn compare(&self, tree: &Utf8Path, nodes: &Nodes) -> io::Result<Vec<Difference>> {
        let real = self.real(tree);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::open(real.as_std_path(), flags, Mode::empty())
            .map_err(|e| about(&real, &e.into()))?;
        let walk = Walk { root: &root, nodes };
        let directories: Vec<usize> = (0..nodes.count())
            .filter(|&n| nodes.stat(n).is_some_and(|s| s.kind == NodeKind::Directory))
            .collect();
        let workers = thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
        let workers = workers.min(nodes.count() / NODES_PER_THREAD_MIN).max(1);
        let compared = if workers == 1 {
            walk.directories(&directories)
        } else {
            thread::scope(|scope| {
                let shares = shares(&directories, nodes, workers);
                let threads: Vec<_> = shares
                    .into_iter()
                    .map(|share| scope.spawn(move || walk.directories(share)))
                    .collect();
                let done =
                    threads.into_iter().map(|t| t.join().unwrap_or_else(|e| resume_unwind(e)));
                done.collect::<io::Result<Vec<_>>>().map(|all| all.into_iter().flatten().collect())
            })
        };
        let mut differences = compared.map_err(|e| about(&real, &e))?;
        differences.sort_by(|a, b| a.path.cmp(&b.path));
        differences.truncate(DIFFERENCES_MAX);
        Ok(differences)
    }
}

/// Directories in parts with about as many entries each.
fn shares<'d>(directories: &'d [usize], nodes: &Nodes, workers: usize) -> Vec<&'d [usize]> {
    let each = nodes.count().div_ceil(workers);
    let mut shares = Vec::with_capacity(workers);
    let (mut rest, mut at, mut sum) = (directories, 0, 0);
    while let Some(&directory) = rest.get(at) {
        at += 1;
        sum += 1 + nodes.children(directory).len();
        if sum >= each {
            let (share, left) = rest.split_at(at);
            shares.push(share);
            (rest, at, sum) = (left, 0, 0);
        }
    }
    if !rest.is_empty() {
        shares.push(rest);
    }
    shares
}

#[derive(Clone, Copy)]
struct Walk<'a> {
    root: &'a OwnedFd,
    nodes: &'a Nodes,
}

impl Walk<'_> {
    fn directories(self, numbers: &[usize]) -> io::Result<Vec<Difference>> {
        let mut differences = Vec::new();
        for &number in numbers {
            self.directory(number, &mut differences)?;
            if differences.len() >= DIFFERENCES_MAX {
                break;
            }
        }
        Ok(differences)
    }

    fn directory(self, number: usize, differences: &mut Vec<Difference>) -> io::Result<()> {
        let path = self.nodes.path(number);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let name = if path.is_empty() { b".".as_slice() } else { &path };
        let directory = match rustix::fs::openat(self.root, name, flags, Mode::empty()) {
            Ok(directory) => directory,
            // That it is gone or something else is told with its own directory.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let found = node_stat(&rustix::fs::fstat(&directory)?);
        let listed = self.nodes.stat(number).copied();
        if number == 0
            && let Some(listed) = listed
            && differs(&listed, &found)
        {
            let found = Some(found);
            differences.push(Difference {
                path: path.clone(),
                listed: Some(listed),
                found,
                target: None,
            });
        }
        for child in self.nodes.children(number) {
            differences.extend(self.entry(&directory, child)?);
        }
        if listed.is_none_or(|listed| listed.mtime != found.mtime) {
            self.extras(&directory, number, &path, differences)?;
        }
        Ok(())
    }

    fn entry(self, directory: &OwnedFd, number: usize) -> io::Result<Option<Difference>> {
        let Some(listed) = self.nodes.stat(number) else { return Ok(None) };
        let name = self.nodes.name(number);
        let found = match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Some(node_stat(&stat)),
            Err(Errno::NOENT) => None,
            Err(error) => return Err(error.into()),
        };
        let mut target = None;
        if let Some(found) = &found {
            let touched = listed.inode != found.inode || listed.ctime != found.ctime;
            if listed.kind == NodeKind::Link && found.kind == NodeKind::Link && touched {
                let text = rustix::fs::readlinkat(directory, name, Vec::new())?.into_bytes();
                let wanted = self.nodes.target(number);
                target = (text != wanted).then(|| (wanted.to_vec(), text));
            }
            if target.is_none() && !differs(listed, found) {
                return Ok(None);
            }
        }
        Ok(Some(Difference { path: self.nodes.path(number), listed: Some(*listed), found, target }))
    }

    fn extras(
        self,
        directory: &OwnedFd,
        number: usize,
        path: &[u8],
        differences: &mut Vec<Difference>,
    ) -> io::Result<()> {
        let mut buffer = [const { MaybeUninit::uninit() }; DIRECTORY_BUFFER_BYTES];
        let mut entries = RawDir::new(directory, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") || self.nodes.child(number, name).is_some() {
                continue;
            }
            let Ok(stat) =
                rustix::fs::statat(directory, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)
            else {
                continue;
            };
            let below = [path, name].join(&b'/');
            let path = if path.is_empty() { name.to_vec() } else { below };
            differences.push(Difference {
                path,
                listed: None,
                found: Some(node_stat(&stat)),
                target: None,
            });
            if differences.len() >= DIFFERENCES_MAX {
                break;
            }
        }
        Ok(())
    }
}

/// What `stat` says, as it is listed.
pub fn node_stat(stat: &rustix::fs::Stat) -> NodeStat {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => NodeKind::Directory,
        FileType::Symlink => NodeKind::Link,
        FileType::Fifo => NodeKind::Fifo,
        FileType::Socket => NodeKind::Socket,
        FileType::BlockDevice => NodeKind::Block,
        FileType::CharacterDevice => NodeKind::Character,
        _ => NodeKind::File,
    };
    let file = matches!(kind, NodeKind::File | NodeKind::Link);
    let nanoseconds = |n| u32::try_from(n).unwrap_or_default();
    NodeStat {
        kind,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        size: if file { u64::try_from(stat.st_size).unwrap_or_default() } else { 0 },
        mtime: (stat.st_mtime, nanoseconds(stat.st_mtime_nsec)),
        ctime: (stat.st_ctime, nanoseconds(stat.st_ctime_nsec)),
        inode: stat.st_ino,
        offset: 0,
        attributes: 0,
    }
}
