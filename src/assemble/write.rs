//! Nodes of an archive become files in a staging directory.
//!
//! Everything is made by a single name in a directory that was made before and is held open, exclusively and
//! without following a link; names with a `/`, `.` and `..` never get here. So nothing can be made elsewhere,
//! whatever the archive says.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::assemble::attributes::{self, Degraded, Powers, Wanted};
use crate::assemble::changes::Changes;
use crate::assemble::error::AssembleError;
use crate::assemble::stream::{Piece, Stream};
use crate::format::casync::catar::{Content, Decoder, Metadata, Node};
use crate::format::casync::flags::Flags;
use crate::host::nodes::node_stat;
use crate::model::snapshot::{NODES_MAX, NodeStat, Nodes, NodesBuilder};
use crate::model::step::{Reuse, Special};

/// Mode while a tree is made: nobody else sees an unfinished one.
const PRIVATE: Mode = Mode::RWXU;

/// Bytes of a file copied at once where the kernel cannot do it by itself.
const COPY_BYTES: usize = 128 << 10;

/// The tree while it is made.
pub(super) struct Writer<'a> {
    powers: &'a Powers,
    reuse: Reuse,
    nodes_max: u64,
    levels: Vec<Level>,
    list: NodesBuilder,
    count: u64,
    pub(super) changes: Changes<'a>,
    pub(super) degraded: Degraded,
    /// The file system shares no blocks: not tried again.
    clones: Clones,
    buffer: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clones {
    Maybe,
    Never,
}

/// A directory that is being filled.
struct Level {
    directory: OwnedFd,
    number: u32,
    metadata: Box<Metadata>,
    wanted: Wanted,
}

/// A finished file: what `stat` says, and whether its content is another than before.
struct Made {
    stat: NodeStat,
    content_changed: bool,
}

impl<'a> Writer<'a> {
    pub(super) fn new(
        powers: &'a Powers,
        reuse: Reuse,
        nodes_max: u64,
        changes: Changes<'a>,
    ) -> Self {
        Self {
            powers,
            reuse,
            nodes_max: nodes_max.min(NODES_MAX as u64),
            levels: Vec::new(),
            list: NodesBuilder::default(),
            count: 0,
            changes,
            degraded: Degraded::default(),
            clones: Clones::Maybe,
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
        let Node { metadata, content, .. } = node;
        let wanted =
            self.powers.wanted(flags, &metadata, &content, old.as_ref(), &mut self.degraded);
        self.open_level(root, b"", metadata, wanted)
    }

    /// Makes a node. Content of files is taken from the decoder's source.
    pub(super) fn node(
        &mut self,
        node: Node,
        flags: Flags,
        decoder: &mut Decoder<Stream>,
    ) -> Result<(), AssembleError> {
        self.count += 1;
        if self.count > self.nodes_max {
            let (what, limit) = ("files, directories and links", self.nodes_max);
            return Err(AssembleError::TooMuch { what, limit, setting: "entries" });
        }
        let old = self.changes.enter(&node.name, &node.content);
        let Node { name, metadata, content, .. } = node;
        let wanted =
            self.powers.wanted(flags, &metadata, &content, old.as_ref(), &mut self.degraded);
        if let Content::Directory = content {
            let made = self.with_parent(&name, "make the directory", |parent| {
                rustix::fs::mkdirat(parent, name.as_slice(), PRIVATE)?;
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                rustix::fs::openat(parent, name.as_slice(), flags, Mode::empty())
            })?;
            return self.open_level(made, &name, metadata, wanted);
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
        self.changes.made(&name, &stat, target, made.content_changed);
        self.add(&name, target, stat)?;
        Ok(())
    }

    /// Finishes the directory that is being filled.
    pub(super) fn leave(&mut self, flags: Flags) -> Result<(), AssembleError> {
        let Some(Level { directory, number, metadata, wanted }) = self.levels.pop() else {
            return Ok(());
        };
        let times = attributes::times(flags, &metadata);
        let done = attributes::apply(
            directory.as_fd(),
            &wanted,
            &metadata,
            self.powers,
            &mut self.degraded,
        )
        .and_then(|()| times.map_or(Ok(()), |times| rustix::fs::futimens(&directory, &times)))
        .and_then(|()| rustix::fs::fstat(&directory));
        let stat = done.map_err(|e| self.failed("finish the directory", b"", e))?;
        let stat = NodeStat { attributes: wanted.attributes, ..node_stat(&stat) };
        self.list.update(number, stat);
        self.changes.leave(&stat)
    }

    /// The list of all nodes, and what was noted.
    pub(super) fn finish(self) -> Result<(Nodes, Changes<'a>, Vec<String>), AssembleError> {
        let nodes = self.list.finish().ok_or_else(|| AssembleError::Died("no root".to_owned()))?;
        Ok((nodes, self.changes, self.degraded.into_notes()))
    }

    fn open_level(
        &mut self,
        directory: OwnedFd,
        name: &[u8],
        metadata: Metadata,
        wanted: Wanted,
    ) -> Result<(), AssembleError> {
        let stat = rustix::fs::fstat(&directory).map_err(|e| self.failed("look at", name, e))?;
        let number = self.add(name, &[], node_stat(&stat))?;
        self.levels.push(Level { directory, number, metadata: Box::new(metadata), wanted });
        Ok(())
    }

    fn add(&mut self, name: &[u8], target: &[u8], stat: NodeStat) -> Result<u32, AssembleError> {
        let parent = self.levels.last().map_or(0, |level| level.number);
        let (what, limit) = ("files, directories and links", NODES_MAX as u64);
        let full = AssembleError::TooMuch { what, limit, setting: "entries" };
        self.list.add(parent, name, target, stat).ok_or(full)
    }

    fn with_parent<T>(
        &self,
        name: &[u8],
        action: &'static str,
        act: impl FnOnce(&OwnedFd) -> Result<T, Errno>,
    ) -> Result<T, AssembleError> {
        let parent = self.levels.last().map(|level| &level.directory);
        let parent = parent.ok_or_else(|| AssembleError::Died("a node without root".to_owned()))?;
        act(parent).map_err(|errno| self.failed(action, name, errno))
    }

    fn failed(&self, action: &'static str, name: &[u8], errno: Errno) -> AssembleError {
        self.failed_io(action, name, errno.into())
    }

    fn failed_io(&self, action: &'static str, name: &[u8], source: io::Error) -> AssembleError {
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
        let parent = self.levels.last().map(|level| &level.directory);
        let Some(parent) = parent else { return Ok(None) };
        match rustix::fs::mknodat(parent, name, kind, Mode::empty(), number) {
            Ok(()) => {}
            Err(Errno::PERM) if is_device => {
                self.degraded.note("device nodes could not be made: only root may");
                return Ok(None);
            }
            Err(errno) => return Err(self.failed("make the node", name, errno)),
        }
        self.with_parent(name, "set the mode of", |parent| {
            rustix::fs::chmodat(parent, name, mode, AtFlags::empty())
        })?;
        self.finish_at(name, metadata, (wanted, flags)).map(Some)
    }

    fn finish_at(
        &self,
        name: &[u8],
        metadata: &Metadata,
        (wanted, flags): (&Wanted, Flags),
    ) -> Result<Made, AssembleError> {
        let times = attributes::times(flags, metadata);
        let stat = self.with_parent(name, "set owner and time of", |parent| {
            attributes::apply_at(parent, name, wanted, times.as_ref())?;
            rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
        })?;
        Ok(Made { stat: node_stat(&stat), content_changed: false })
    }
}

/// A file to make.
struct FileWish<'a> {
    name: &'a [u8],
    size: u64,
    metadata: &'a Metadata,
    wanted: &'a Wanted,
}

impl Writer<'_> {
    fn file(
        &mut self,
        wish: &FileWish<'_>,
        flags: Flags,
        decoder: &mut Decoder<Stream>,
    ) -> Result<Made, AssembleError> {
        let whole = if wish.size > 0 { decoder.source().whole_file(wish.size) } else { None };
        let same_place = self.changes.old_node();
        let unchanged = whole.is_some()
            && whole.map(|(_, node)| node) == same_place
            && whole.map(|w| w.0) == Some(0);
        if let Some(found) = whole {
            decoder.pass_payload(wish.size);
            if let Some(made) = self.link_whole(wish, flags, decoder, found)? {
                return Ok(Made { content_changed: !unchanged, ..made });
            }
        }
        let file = self.with_parent(wish.name, "make", |parent| {
            let flags =
                OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(parent, wish.name, flags, Mode::RUSR | Mode::WUSR)
        })?;
        let mut file = File::from(file);
        let content_changed = match whole {
            Some((old, node)) => {
                let from = decoder.source().olds.get_mut(old).and_then(|old| old.file(node));
                let from =
                    from.ok_or_else(|| AssembleError::Died("a seed went away".to_owned()))?;
                self.copy_whole(from, &file, wish.size)
                    .map_err(|e| self.failed_io("write", wish.name, e))?;
                !unchanged
            }
            None => self.fill(wish, decoder, &mut file)?,
        };
        let times = attributes::times(flags, wish.metadata);
        let done = attributes::apply(
            file.as_fd(),
            wish.wanted,
            wish.metadata,
            self.powers,
            &mut self.degraded,
        )
        .and_then(|()| times.map_or(Ok(()), |times| rustix::fs::futimens(&file, &times)))
        .and_then(|()| rustix::fs::fstat(&file));
        let stat = done.map_err(|e| self.failed("set mode and time of", wish.name, e))?;
        Ok(Made { stat: node_stat(&stat), content_changed })
    }

    /// Gives a file of a generation a second name, where that is wished and nothing about it changes.
    fn link_whole(
        &mut self,
        wish: &FileWish<'_>,
        flags: Flags,
        decoder: &mut Decoder<Stream>,
        (old, node): (usize, usize),
    ) -> Result<Option<Made>, AssembleError> {
        if self.reuse != Reuse::Hardlink {
            return Ok(None);
        }
        let Some(old) = decoder.source().olds.get(old) else { return Ok(None) };
        let Some(stat) = old.nodes.stat(node) else { return Ok(None) };
        let mine = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let owner = wish.wanted.owner.unwrap_or(mine);
        let times = attributes::times(flags, wish.metadata);
        let time = times.map(|t| (t.last_modification.tv_sec, t.last_modification.tv_nsec));
        let same_time = time.is_none_or(|(s, n)| (s, n) == (stat.mtime.0, i64::from(stat.mtime.1)));
        let same = stat.mode == wish.wanted.mode
            && (stat.uid, stat.gid) == owner
            && stat.attributes == wish.wanted.attributes
            && same_time;
        if !same {
            return Ok(None);
        }
        let path = old.nodes.path(node);
        let root = old.root();
        let linked = self.with_parent(wish.name, "give a second name to", |parent| {
            rustix::fs::linkat(root, path.as_slice(), parent, wish.name, AtFlags::empty())?;
            rustix::fs::statat(parent, wish.name, AtFlags::SYMLINK_NOFOLLOW)
        });
        Ok(linked.ok().map(|stat| Made { stat: node_stat(&stat), content_changed: false }))
    }

    /// Copies a whole file: shared blocks where the file system can.
    fn copy_whole(&mut self, from: &File, to: &File, size: u64) -> io::Result<()> {
        if self.clones == Clones::Maybe {
            match rustix::fs::ioctl_ficlone(to, from) {
                Ok(()) => return Ok(()),
                Err(_) => self.clones = Clones::Never,
            }
        }
        copy_range(from, 0, to, size, &mut self.buffer)
    }

    /// Writes a file piece by piece; whether its content is another than what is at its path now.
    fn fill(
        &mut self,
        wish: &FileWish<'_>,
        decoder: &mut Decoder<Stream>,
        file: &mut File,
    ) -> Result<bool, AssembleError> {
        let same_place = self
            .changes
            .old_node()
            .filter(|_| self.changes.old_stat().is_some_and(|old| old.size == wish.size));
        let (mut at, mut changed) = (0, same_place.is_none());
        while at < wish.size {
            let stream = decoder.source();
            let piece = stream.piece(wish.size - at)?;
            let length = match piece {
                Piece::File { old, node, at: from, length } => {
                    changed |= old != 0 || Some(node) != same_place || from != at;
                    let source = stream.olds.get_mut(old).and_then(|old| old.file(node));
                    let source =
                        source.ok_or_else(|| AssembleError::Died("a seed went away".to_owned()))?;
                    let copied = copy_range(source, from, file, length, &mut self.buffer);
                    copied.map_err(|e| self.failed_io("write", wish.name, e))?;
                    length
                }
                Piece::Loaded(range) => {
                    if !changed && let Some(node) = same_place {
                        changed = !is_same(stream, node, at, range.clone(), &mut self.buffer);
                    }
                    let bytes = stream.loaded(range);
                    file.write_all(bytes).map_err(|e| self.failed_io("write", wish.name, e))?;
                    bytes.len() as u64
                }
            };
            if length == 0 {
                let why = "the archive ended within a file".to_owned();
                return Err(AssembleError::Died(why));
            }
            decoder.pass_payload(length);
            at += length;
        }
        Ok(changed)
    }
}

/// Whether a file of the tree in use has these bytes at a place.
fn is_same(
    stream: &mut Stream,
    node: usize,
    at: u64,
    range: std::ops::Range<usize>,
    buffer: &mut Vec<u8>,
) -> bool {
    buffer.resize(range.len(), 0);
    let file = stream.olds.first_mut().and_then(|old| old.file(node));
    let read = file.is_some_and(|file| file.read_exact_at(buffer, at).is_ok());
    read && buffer.as_slice() == stream.loaded(range)
}

/// Copies a part of a file to the end of another, inside the kernel where it can.
fn copy_range(
    from: &File,
    at: u64,
    mut to: &File,
    length: u64,
    buffer: &mut Vec<u8>,
) -> io::Result<()> {
    let (mut at, mut left) = (at, length);
    while left > 0 {
        let count = usize::try_from(left).unwrap_or(usize::MAX);
        match rustix::fs::copy_file_range(from, Some(&mut at), to, None, count) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(copied) => left -= copied as u64,
            Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::NOSYS | Errno::INVAL | Errno::OPNOTSUPP | Errno::PERM) => {
                break;
            }
            Err(error) => return Err(error.into()),
        }
    }
    while left > 0 {
        let count = usize::try_from(left).unwrap_or(COPY_BYTES).min(COPY_BYTES);
        buffer.resize(count, 0);
        from.read_exact_at(buffer, at)?;
        to.write_all(buffer)?;
        at += count as u64;
        left -= count as u64;
    }
    Ok(())
}
