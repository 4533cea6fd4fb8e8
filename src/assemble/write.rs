//! Nodes of an archive become files in a staging directory.
//!
//! Everything is made by a single name in a directory that was made before and is held open, exclusively and
//! without following a link; names with a `/`, `.` and `..` never get here. So nothing can be made elsewhere,
//! whatever the archive says.
//!
//! Where the tree is to be moved into the one in use, what stays there as it is has no second name here, and a directory
//! only where something is made in it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timestamps};
use rustix::io::Errno;

use crate::assemble::attributes::{self, About, Degraded, Powers, Wanted};
use crate::assemble::changes::{Bytes, Changes, kind_of};
use crate::assemble::content::FileWish;
use crate::assemble::copies::{Copies, Copy};
use crate::assemble::error::AssembleError;
use crate::assemble::standing::Standing;
use crate::assemble::stream::Stream;
use crate::format::casync::catar::{Content, Decoder, Metadata, Node};
use crate::format::casync::flags::Flags;
use crate::host::nodes::node_stat;
use crate::model::snapshot::{NODES_MAX, NodeStat, Nodes, NodesBuilder};
use crate::model::step::{Reuse, Special};

/// Mode while a tree is made: nobody else sees an unfinished one.
const PRIVATE: Mode = Mode::RWXU;

/// Bytes of a path below the root of a tree, above which Linux takes none (`PATH_MAX`, `limits.h`).
const PATH_BYTES_MAX: usize = 4096;

/// How much of a path that is too long is shown, in bytes.
const SHOWN_BYTES: usize = 80;

/// The tree while it is made.
pub(super) struct Writer<'a> {
    pub(super) powers: &'a Powers,
    pub(super) bounds: Bounds,
    /// The tree in use, where modes or owners that the archive does not tell are taken from.
    live: Option<OwnedFd>,
    /// The tree in use, where what stays as it is there is not made.
    pub(super) standing: Option<Standing>,
    levels: Vec<Level>,
    list: NodesBuilder,
    count: u64,
    pub(super) changes: Changes<'a>,
    pub(super) degraded: Degraded,
    pub(super) copies: Copies,
    pub(super) buffer: Vec<u8>,
}

/// How a tree is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// How unchanged files come in.
    pub(super) reuse: Reuse,
    /// Most nodes.
    pub(super) nodes_max: u64,
}

/// A directory that is being filled.
struct Level {
    name: Vec<u8>,
    /// `None` while nothing is made in it.
    directory: Option<OwnedFd>,
    number: u32,
    /// What it is in the tree in use, where it stays.
    stays: Option<NodeStat>,
    metadata: Box<Metadata>,
    wanted: Wanted,
}

/// A finished file: what `stat` says, and whether its content is another than before.
pub(super) struct Made {
    pub(super) stat: NodeStat,
    pub(super) bytes: Bytes,
    /// Its content and its times are still to come.
    pub(super) later: Option<Later>,
}

/// What is to be copied, and where to.
pub(super) struct Later {
    pub(super) from: File,
    pub(super) to: File,
    pub(super) times: Option<Timestamps>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(
        powers: &'a Powers,
        bounds: Bounds,
        changes: Changes<'a>,
        copies: Copies,
        (live, standing): (Option<OwnedFd>, Option<Standing>),
    ) -> Self {
        let nodes_max = bounds.nodes_max.min(NODES_MAX as u64);
        Self {
            powers,
            bounds: Bounds { nodes_max, ..bounds },
            live,
            standing,
            levels: Vec::new(),
            list: NodesBuilder::default(),
            count: 0,
            changes,
            degraded: Degraded::default(),
            copies,
            buffer: Vec::new(),
        }
    }

    /// Makes the root, whose place is `root`, which must be an empty directory.
    pub(super) fn root(
        &mut self,
        root: OwnedFd,
        node: Node,
        flags: Flags,
    ) -> Result<(), AssembleError> {
        if !matches!(node.content, Content::Directory) {
            return Err(AssembleError::NotADirectory);
        }
        let old = self.changes.enter(&node.name, &node.content);
        let old = self.live_stat(&node).or(old);
        let Node { metadata, content, .. } = node;
        let wanted = self.powers.wanted(
            &About { flags, metadata: &metadata, content: &content, old: old.as_ref() },
            &mut self.degraded,
        );
        let stat = rustix::fs::fstat(&root).map_err(|e| self.failed("look at", b"", e))?;
        let made = node_stat(&stat);
        // It is known by its own inode until it is moved.
        let stays = self.directory_stays(&wanted);
        let stays = stays.map(|listed| NodeStat { inode: made.inode, ..listed });
        self.open_level((Some(root), Vec::new(), stays), made, metadata, wanted)
    }

    /// Makes a node. Content of files is taken from the decoder's source.
    pub(super) fn node(
        &mut self,
        node: Node,
        flags: Flags,
        decoder: &mut Decoder<Stream>,
    ) -> Result<(), AssembleError> {
        self.count += 1;
        if self.count > self.bounds.nodes_max {
            let (what, limit) = ("files, directories and links", self.bounds.nodes_max);
            return Err(AssembleError::TooMuch { what, limit, setting: "entries" });
        }
        let old = self.changes.enter(&node.name, &node.content);
        self.check_length(&node)?;
        let old = self.live_stat(&node).or(old);
        let Node { name, metadata, content, .. } = node;
        let wanted = self.powers.wanted(
            &About { flags, metadata: &metadata, content: &content, old: old.as_ref() },
            &mut self.degraded,
        );
        if let Content::Directory = content {
            return self.directory(name, metadata, wanted);
        }
        let made = match &content {
            Content::File { size, .. } => {
                let file =
                    FileWish { name: &name, size: *size, metadata: &metadata, wanted: &wanted };
                Some(self.file(&file, flags, decoder)?)
            }
            _ => self.other(&name, &metadata, &content, (&wanted, flags))?,
        };
        let Some(made) = made else {
            self.changes.left_out();
            return Ok(());
        };
        let target =
            if let Content::Symlink { target } = &content { target.as_slice() } else { &[] };
        let stat = NodeStat { attributes: wanted.attributes, ..made.stat };
        let stat = match &content {
            Content::Symlink { target } => NodeStat { size: target.len() as u64, ..stat },
            Content::File { offset, .. } => NodeStat { offset: *offset, ..stat },
            _ => stat,
        };
        self.changes.made(&name, &stat, target, made.bytes);
        let number = self.add(&name, target, stat)?;
        if let Some(Later { from, to, times }) = made.later {
            let path = self.changes.path_of(&name);
            let copy = Copy { number, path, from, to, times, stat };
            self.copies.add(copy, &mut self.list)?;
        }
        Ok(())
    }

    /// Finishes the directory that is being filled.
    pub(super) fn leave(&mut self, flags: Flags) -> Result<(), AssembleError> {
        let Some(level) = self.levels.pop() else { return Ok(()) };
        let Level { directory, number, metadata, wanted, stays, .. } = level;
        let times = attributes::times(flags, &metadata);
        let stat = match (stays, directory) {
            (Some(stays), _) => self.directory_standing(stays, &wanted, times.as_ref()),
            (None, Some(directory)) => {
                let done = attributes::apply(
                    directory.as_fd(),
                    &wanted,
                    &metadata,
                    self.powers,
                    &mut self.degraded,
                )
                .and_then(|()| {
                    times.map_or(Ok(()), |times| rustix::fs::futimens(&directory, &times))
                })
                .and_then(|()| rustix::fs::fstat(&directory));
                node_stat(&done.map_err(|e| self.failed("finish the directory", b"", e))?)
            }
            (None, None) => return Err(AssembleError::Died("a directory went away".to_owned())),
        };
        let stat = NodeStat { attributes: wanted.attributes, ..stat };
        self.list.update(number, stat);
        self.changes.leave(&stat);
        Ok(())
    }

    /// The list of all nodes, and what was noted.
    pub(super) fn finish(mut self) -> Result<(Nodes, Changes<'a>, Vec<String>), AssembleError> {
        self.copies.finish(&mut self.list)?;
        let nodes = self.list.finish().ok_or_else(|| AssembleError::Died("no root".to_owned()))?;
        Ok((nodes, self.changes, self.degraded.into_notes()))
    }

    /// What is at the path of the node that came last in the tree in use, if that is asked for.
    fn live_stat(&self, node: &Node) -> Option<NodeStat> {
        let live = self.live.as_ref()?;
        if let Some(listed) = self.as_listed() {
            return Some(listed);
        }
        let directory = matches!(node.content, Content::Directory);
        let path = if directory {
            self.changes.path_of_directory()
        } else {
            self.changes.path_of(&node.name)
        };
        let path = if path.is_empty() { b".".to_vec() } else { path };
        let stat = rustix::fs::statat(live, path.as_slice(), AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let stat = node_stat(&stat);
        // Permissions of a link are those of everybody and say nothing about a file.
        (stat.kind == kind_of(&node.content)).then_some(stat)
    }

    /// Refuses what nobody could open, look at or remove by its path.
    fn check_length(&self, node: &Node) -> Result<(), AssembleError> {
        let path = match node.content {
            Content::Directory => self.changes.path_of_directory(),
            _ => self.changes.path_of(&node.name),
        };
        if path.len() < PATH_BYTES_MAX {
            return Ok(());
        }
        let begin = path.get(..SHOWN_BYTES).unwrap_or_default();
        let path = begin.escape_ascii().to_string();
        Err(AssembleError::LongPath { path, limit: PATH_BYTES_MAX })
    }

    /// Begins a directory: made at once, unless it is in the tree in use and stays.
    fn directory(
        &mut self,
        name: Vec<u8>,
        metadata: Metadata,
        wanted: Wanted,
    ) -> Result<(), AssembleError> {
        if let Some(stays) = self.directory_stays(&wanted) {
            return self.open_level((None, name, Some(stays)), stays, metadata, wanted);
        }
        let made =
            self.with_parent(&name, "make the directory", |parent| make_directory(parent, &name))?;
        let stat = rustix::fs::fstat(&made).map_err(|e| self.failed("look at", &name, e))?;
        self.open_level((Some(made), name, None), node_stat(&stat), metadata, wanted)
    }

    fn open_level(
        &mut self,
        (directory, name, stays): (Option<OwnedFd>, Vec<u8>, Option<NodeStat>),
        stat: NodeStat,
        metadata: Metadata,
        wanted: Wanted,
    ) -> Result<(), AssembleError> {
        let number = self.add(&name, &[], stat)?;
        let metadata = Box::new(metadata);
        self.levels.push(Level { name, directory, number, stays, metadata, wanted });
        Ok(())
    }

    fn add(&mut self, name: &[u8], target: &[u8], stat: NodeStat) -> Result<u32, AssembleError> {
        let parent = self.levels.last().map_or(0, |level| level.number);
        let (what, limit) = ("files, directories and links", NODES_MAX as u64);
        let full = AssembleError::TooMuch { what, limit, setting: "entries" };
        self.list.add(parent, name, target, stat).ok_or(full)
    }

    pub(super) fn with_parent<T>(
        &mut self,
        name: &[u8],
        action: &'static str,
        act: impl FnOnce(&OwnedFd) -> Result<T, Errno>,
    ) -> Result<T, AssembleError> {
        let made = self.make_levels();
        made.map_err(|errno| self.failed("make the directory of", name, errno))?;
        let parent = self.levels.last().and_then(|level| level.directory.as_ref());
        let parent = parent.ok_or_else(|| AssembleError::Died("a node without root".to_owned()))?;
        act(parent).map_err(|errno| self.failed(action, name, errno))
    }

    /// Makes the directories that are being filled, as far as they are not made.
    fn make_levels(&mut self) -> Result<(), Errno> {
        let mut parent: Option<&OwnedFd> = None;
        for level in &mut self.levels {
            if let (None, Some(parent)) = (&level.directory, parent) {
                level.directory = Some(make_directory(parent, &level.name)?);
            }
            parent = level.directory.as_ref();
        }
        Ok(())
    }

    pub(super) fn failed(&self, action: &'static str, name: &[u8], errno: Errno) -> AssembleError {
        self.failed_io(action, name, errno.into())
    }

    pub(super) fn failed_io(
        &self,
        action: &'static str,
        name: &[u8],
        source: io::Error,
    ) -> AssembleError {
        let path = self.changes.path_of(name);
        let path = if path.is_empty() { b".".to_vec() } else { path };
        AssembleError::Write { action, path: path.escape_ascii().to_string(), source }
    }

    /// Makes what is neither file nor directory; nothing where that is not allowed.
    fn other(
        &mut self,
        name: &[u8],
        metadata: &Metadata,
        content: &Content,
        (wanted, flags): (&Wanted, Flags),
    ) -> Result<Option<Made>, AssembleError> {
        if let Some(made) = self.stands(content, metadata, (wanted, flags)) {
            return Ok(Some(made));
        }
        let (kind, device) = match content {
            Content::Symlink { target } => {
                self.with_parent(name, "make the link", |parent| {
                    rustix::fs::symlinkat(target.as_slice(), parent, name)
                })?;
                return self.finish_at(name, metadata, (wanted, flags)).map(Some);
            }
            Content::Fifo => (FileType::Fifo, (0, 0)),
            Content::Socket => (FileType::Socket, (0, 0)),
            Content::Block { device } => (FileType::BlockDevice, *device),
            Content::Character { device } => (FileType::CharacterDevice, *device),
            Content::File { .. } | Content::Directory => return Ok(None),
        };
        let is_device = matches!(kind, FileType::BlockDevice | FileType::CharacterDevice);
        if is_device && !self.powers.allow.contains(&Special::Devices) {
            self.degraded.note("device nodes were left out: `allow: [devices]` brings them");
            return Ok(None);
        }
        let number = rustix::fs::makedev(device.0, device.1);
        let mode = Mode::from_raw_mode(wanted.mode);
        let allowed =
            self.with_parent(name, "make the node", |parent| {
                match rustix::fs::mknodat(parent, name, kind, Mode::empty(), number) {
                    Err(Errno::PERM) if is_device => Ok(false),
                    other => other.map(|()| true),
                }
            })?;
        if !allowed {
            self.degraded.note("device nodes could not be made: only root may");
            return Ok(None);
        }
        self.with_parent(name, "set the mode of", |parent| {
            rustix::fs::chmodat(parent, name, mode, AtFlags::empty())
        })?;
        self.finish_at(name, metadata, (wanted, flags)).map(Some)
    }

    fn finish_at(
        &mut self,
        name: &[u8],
        metadata: &Metadata,
        (wanted, flags): (&Wanted, Flags),
    ) -> Result<Made, AssembleError> {
        let times = attributes::times(flags, metadata);
        let stat = self.with_parent(name, "set owner and time of", |parent| {
            attributes::apply_at(parent, name, wanted, times.as_ref())?;
            rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
        })?;
        Ok(Made { stat: node_stat(&stat), bytes: Bytes::Same, later: None })
    }
}

fn make_directory(parent: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    rustix::fs::mkdirat(parent, name, PRIVATE)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}
