//! Comparing a whole tree with the list of its nodes: one `stat` a node, on every core, nothing read.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::panic::resume_unwind;
use std::thread;

use camino::Utf8Path;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir};
use rustix::io::Errno;

use crate::host::{ItemKind, Look, about, beneath};
use crate::model::difference::{Difference, differs};
use crate::model::glob::any_covers;
use crate::model::snapshot::{NodeKind, NodeStat, Nodes};
use crate::parallel::workers;

/// Nodes that are worth a thread.
const NODES_PER_THREAD_MIN: usize = 2_000;

/// Differences told of one tree; more than this is "everything".
pub const DIFFERENCES_MAX: usize = 10_000;

/// Bytes of the first directory entries: both dots and the longest name.
const FIRST_ENTRIES_BYTES: usize = 512;

/// Bytes of directory entries read at once.
const DIRECTORY_BUFFER_BYTES: usize = 16 << 10;

impl Look {
    /// The inode of a directory; `None` when there is no directory.
    pub fn inode_of_dir(&self, path: &Utf8Path) -> io::Result<Option<u64>> {
        let stat = self.stat(path)?;
        Ok(stat.filter(|stat| stat.kind == ItemKind::Dir).map(|stat| stat.inode))
    }

    /// Whether a directory has no entries.
    pub fn is_empty_dir(&self, path: &Utf8Path) -> io::Result<bool> {
        let failed = |e: Errno| about(&self.real(path), &e.into());
        let directory = self.open(path, OFlags::RDONLY | OFlags::DIRECTORY).map_err(failed)?;
        // Room for the first few names, which is all that is needed.
        let mut buffer = [const { MaybeUninit::uninit() }; FIRST_ENTRIES_BYTES];
        let mut entries = RawDir::new(&directory, &mut buffer);
        while let Some(entry) = entries.next() {
            if !matches!(entry.map_err(failed)?.file_name().to_bytes(), b"." | b"..") {
                return Ok(false);
            }
        }
        Ok(true)
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

    /// Where a tree differs from its list, sorted by path. Entries of a directory are listed only when its times
    /// say that some may have come. Differences that `counts` does not want are passed over.
    pub fn compare(
        &self,
        tree: &Utf8Path,
        nodes: &Nodes,
        counts: &(dyn Fn(&Difference) -> bool + Sync),
    ) -> io::Result<Compared> {
        let root = self.open(tree, beneath::DIRECTORY);
        let root = root.map_err(|e| about(&self.real(tree), &e.into()))?;
        let walk = Walk { root: &root, nodes, counts };
        let directories: Vec<usize> = (0..nodes.count())
            .filter(|&n| nodes.stat(n).is_some_and(|s| s.kind == NodeKind::Directory))
            .collect();
        let workers = workers(nodes.count(), NODES_PER_THREAD_MIN);
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
                done.collect::<io::Result<Vec<_>>>().map(Compared::together)
            })
        };
        let mut compared = compared.map_err(|e| about(&self.real(tree), &e))?;
        compared.differences.sort_by(|a, b| a.path.cmp(&b.path));
        compared.differences.truncate(DIFFERENCES_MAX);
        compared.suspects.sort_unstable();
        Ok(compared)
    }
}

/// What comparing a tree with its list came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// The differences, at most [`DIFFERENCES_MAX`].
    pub differences: Vec<Difference>,
    /// How many paths are there that are not listed, however many differences there are. A directory counts
    /// once, with all it holds.
    pub extras: u64,
    /// Paths of all differences, whether they count or not.
    pub touched: Vec<Vec<u8>>,
    /// Numbers of the nodes of which `stat` says anything else than is listed, sorted. What makes names in a directory
    /// moves its times, and is none.
    pub suspects: Vec<usize>,
}

impl Compared {
    fn together(parts: Vec<Self>) -> Self {
        let mut all = Self::default();
        for part in parts {
            all.extras += part.extras;
            all.differences.extend(part.differences);
            all.touched.extend(part.touched);
            all.suspects.extend(part.suspects);
        }
        all
    }

    fn add(&mut self, difference: Difference) {
        if difference.listed.is_none() {
            self.extras += 1;
        }
        if self.differences.len() < DIFFERENCES_MAX {
            self.differences.push(difference);
        }
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
    counts: &'a (dyn Fn(&Difference) -> bool + Sync),
}

impl Walk<'_> {
    fn directories(self, numbers: &[usize]) -> io::Result<Compared> {
        let mut compared = Compared::default();
        for &number in numbers {
            self.directory(number, &mut compared)?;
        }
        Ok(compared)
    }

    fn note(self, difference: Difference, compared: &mut Compared) {
        compared.touched.push(difference.path.clone());
        if (self.counts)(&difference) {
            compared.add(difference);
        }
    }

    fn directory(self, number: usize, compared: &mut Compared) -> io::Result<()> {
        let path = self.nodes.path(number);
        let Some(directory) = self.open(&path)? else {
            compared.suspects.extend(self.nodes.children(number));
            return Ok(());
        };
        let found = node_stat(&rustix::fs::fstat(&directory)?);
        let listed = self.nodes.stat(number).copied();
        if number == 0
            && let Some(listed) = listed
            && differs(&listed, &found)
        {
            let (path, found) = (path.clone(), Some(found));
            compared.suspects.push(0);
            self.note(Difference { path, listed: Some(listed), found, target: None }, compared);
        }
        for child in self.nodes.children(number) {
            self.entry(&directory, child, compared)?;
        }
        // A modification time can be put back, the time of the last change cannot. The root's own moves with
        // every exchange.
        let quiet = |listed: NodeStat| (listed.mtime, listed.ctime) == (found.mtime, found.ctime);
        if !listed.is_some_and(quiet) {
            self.extras(&directory, number, &path, compared)?;
        }
        Ok(())
    }

    /// A listed directory. `None` when it is gone or something else, which is told with its own directory, and
    /// when something is mounted over it.
    fn open(self, path: &[u8]) -> io::Result<Option<OwnedFd>> {
        let name = if path.is_empty() { b".".as_slice() } else { path };
        match open_below(self.root, name, beneath::DIRECTORY) {
            Ok(directory) => Ok(Some(directory)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn entry(self, directory: &OwnedFd, number: usize, compared: &mut Compared) -> io::Result<()> {
        let Some(listed) = self.nodes.stat(number) else { return Ok(()) };
        let name = self.nodes.name(number);
        let found = match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Some(node_stat(&stat)),
            Err(Errno::NOENT) => None,
            Err(error) => return Err(error.into()),
        };
        if !found.is_some_and(|found| is_as_listed(listed, &found)) {
            compared.suspects.push(number);
        }
        let mut target = None;
        if let Some(found) = &found {
            let touched = listed.inode != found.inode || listed.ctime != found.ctime;
            if listed.kind == NodeKind::Link && found.kind == NodeKind::Link && touched {
                let text = rustix::fs::readlinkat(directory, name, Vec::new())?.into_bytes();
                let wanted = self.nodes.target(number);
                target = (text != wanted).then(|| (wanted.to_vec(), text));
            }
            if target.is_none() && !differs(listed, found) {
                return Ok(());
            }
        }
        let path = self.nodes.path(number);
        self.note(Difference { path, listed: Some(*listed), found, target }, compared);
        Ok(())
    }

    fn extras(
        self,
        directory: &OwnedFd,
        number: usize,
        path: &[u8],
        compared: &mut Compared,
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
            let found = Some(node_stat(&stat));
            self.note(Difference { path, listed: None, found, target: None }, compared);
        }
        Ok(())
    }
}

/// Opens what is at a path below a directory, reached through no link and across no mount.
pub fn open_below(root: &OwnedFd, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    match rustix::fs::openat2(root, path, flags, Mode::empty(), beneath::CONFINED) {
        Err(Errno::NOSYS) => rustix::fs::openat(root, path, flags, Mode::empty()),
        opened => opened,
    }
}

/// Whether nothing happened to a node, as far as the system would notice: an edit moves the change time, whatever is put
/// back then.
fn is_as_listed(listed: &NodeStat, found: &NodeStat) -> bool {
    let times = |stat: &NodeStat| (stat.mtime, stat.ctime, stat.inode);
    !differs(listed, found) && (listed.kind == NodeKind::Directory || times(listed) == times(found))
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
