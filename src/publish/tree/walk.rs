//! Walking a tree in the order of its archive stream, without following a link.

use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use camino::Utf8Path;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, Stat};
use rustix::io::Errno;

use super::PublishError;
use super::about::About;
use super::exclude::{self, Rules};
use super::pipeline::{Blocks, Mark};
use crate::format::casync::catar::{Content, EncodeError, Encoder, Metadata};
use crate::format::casync::flags::Flags;
use crate::format::casync::mtree;

/// Bytes of a file that are read at once.
const READ_BYTES: usize = 256 << 10;

/// Bytes of directory entries read at once.
const DIRECTORY_BUFFER_BYTES: usize = 16 << 10;

/// How nodes are opened: no link is followed, no pipe waited for.
const OPEN: OFlags =
    OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// Writes one tree to blocks.
#[derive(Debug)]
pub(super) struct Walk<'r, 's> {
    encoder: Encoder<Blocks<'r, 's>>,
    flags: Flags,
    about: About,
    /// Path below the root.
    path: Vec<u8>,
    buffer: Vec<u8>,
}

/// Entries of a directory with their types, sorted by name.
pub(super) fn entries(directory: &OwnedFd) -> Result<Vec<(CString, FileType)>, Errno> {
    let mut buffer = [const { MaybeUninit::uninit() }; DIRECTORY_BUFFER_BYTES];
    let mut entries = RawDir::new(directory, &mut buffer);
    let mut found = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let kind = match entry.file_type() {
            // Some file systems tell types only when asked about each file.
            FileType::Unknown => {
                let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
                FileType::from_raw_mode(stat.st_mode)
            }
            known => known,
        };
        found.push((name.to_owned(), kind));
    }
    found.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    Ok(found)
}

impl<'r, 's> Walk<'r, 's> {
    pub(super) fn new(blocks: Blocks<'r, 's>, flags: Flags) -> Self {
        let encoder = Encoder::new(blocks, flags);
        let buffer = vec![0; READ_BYTES];
        Self { encoder, flags, about: About::new(flags), path: Vec::new(), buffer }
    }

    /// Writes all of a tree: the length of the stream.
    pub(super) fn run(mut self, tree: &Utf8Path) -> Result<u64, PublishError> {
        let root =
            |error: Errno| PublishError::Read { path: tree.to_string(), source: error.into() };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(tree.as_std_path(), flags, Mode::empty()).map_err(root)?;
        let stat = rustix::fs::fstat(&directory).map_err(root)?;
        // Whoever publishes a tree means it, even if it says `chattr +d`.
        let metadata = self.about.read(&stat, Some(directory.as_fd())).map_err(root)?;
        self.node(b"", &metadata.unwrap_or_default(), &Content::Directory)?;
        self.directory(&directory, Rules::default())?;
        let finished = self.encoder.finish();
        let (blocks, bytes) =
            finished.map_err(|source| PublishError::Encode { path: tree.to_string(), source })?;
        blocks.finish()?;
        Ok(bytes)
    }

    fn directory(&mut self, directory: &OwnedFd, mut rules: Rules) -> Result<(), PublishError> {
        let listed = entries(directory).map_err(|error| self.unreadable(error))?;
        if listed.iter().any(|(name, _)| name.as_bytes() == exclude::FILE_NAME) {
            self.read_rules(directory, &mut rules)?;
        }
        for (name, kind) in listed {
            let (left_out, below) = rules.test(name.as_bytes(), kind);
            if left_out || !self.flags.contains(needs(kind)) {
                continue;
            }
            let parent = self.path.len();
            if parent > 0 {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(name.as_bytes());
            match kind {
                FileType::Directory => self.subdirectory(directory, &name, below)?,
                FileType::RegularFile => self.file(directory, &name)?,
                _ => self.special(directory, &name)?,
            }
            self.path.truncate(parent);
        }
        self.encoder.leave().map_err(|source| self.unfit(source))
    }

    fn subdirectory(
        &mut self,
        parent: &OwnedFd,
        name: &CString,
        rules: Rules,
    ) -> Result<(), PublishError> {
        let (directory, stat) = self.open(parent, name, OPEN | OFlags::DIRECTORY)?;
        let about = self.about.read(&stat, Some(directory.as_fd()));
        let Some(metadata) = about.map_err(|error| self.unreadable(error))? else {
            return Ok(());
        };
        self.node(name.as_bytes(), &metadata, &Content::Directory)?;
        self.directory(&directory, rules)
    }

    fn file(&mut self, parent: &OwnedFd, name: &CString) -> Result<(), PublishError> {
        let (file, stat) = self.open(parent, name, OPEN)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(self.changed());
        }
        let about = self.about.read(&stat, Some(file.as_fd()));
        let Some(metadata) = about.map_err(|error| self.unreadable(error))? else {
            return Ok(());
        };
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        self.node(name.as_bytes(), &metadata, &Content::File { size, offset: 0 })?;
        self.encoder.target_mut().begin_content();
        let mut file = File::from(file);
        let mut left = size;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(READ_BYTES).min(READ_BYTES);
            let Some(room) = self.buffer.get_mut(..most) else { break };
            let read = file.read(room);
            let count = read.map_err(|source| PublishError::Read { path: self.at(), source })?;
            let Some(bytes) = self.buffer.get(..count).filter(|bytes| !bytes.is_empty()) else {
                return Err(self.changed());
            };
            self.encoder
                .payload(bytes)
                .map_err(|source| PublishError::Encode { path: at(&self.path), source })?;
            left -= count as u64;
        }
        self.encoder.target_mut().mark(Mark::End);
        let after = rustix::fs::fstat(&file).map_err(|error| self.unreadable(error))?;
        if state(&after) == state(&stat) { Ok(()) } else { Err(self.changed()) }
    }

    fn special(&mut self, parent: &OwnedFd, name: &CString) -> Result<(), PublishError> {
        let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| self.unreadable(error))?;
        let device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        let content = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(parent, name, Vec::new());
                let target = target.map_err(|error| self.unreadable(error))?.into_bytes();
                Content::Symlink { target }
            }
            FileType::BlockDevice => Content::Block { device },
            FileType::CharacterDevice => Content::Character { device },
            FileType::Fifo => Content::Fifo,
            FileType::Socket => Content::Socket,
            _ => return Err(self.changed()),
        };
        let metadata = self.about.read(&stat, None).map_err(|error| self.unreadable(error))?;
        self.node(name.as_bytes(), &metadata.unwrap_or_default(), &content)
    }

    /// Lists and encodes one node.
    fn node(
        &mut self,
        name: &[u8],
        metadata: &Metadata,
        content: &Content,
    ) -> Result<(), PublishError> {
        let mut line = mtree::line(&self.path, metadata, content, self.flags, None);
        if !matches!(content, Content::File { .. }) {
            line.push('\n');
        }
        self.encoder.target_mut().mark(Mark::Line(line));
        self.encoder.node(name, metadata, content).map_err(|source| self.unfit(source))
    }

    fn read_rules(&self, directory: &OwnedFd, rules: &mut Rules) -> Result<(), PublishError> {
        let path = [self.at().as_str(), ".caexclude"].join("/");
        let failed = |source| PublishError::Read { path: path.clone(), source };
        let opened = rustix::fs::openat(directory, exclude::FILE_NAME, OPEN, Mode::empty());
        let mut text = Vec::new();
        let file = File::from(opened.map_err(|error| failed(error.into()))?);
        let limit = exclude::FILE_BYTES_MAX;
        file.take(limit + 1).read_to_end(&mut text).map_err(failed)?;
        if text.len() as u64 > limit {
            return Err(failed(std::io::ErrorKind::FileTooLarge.into()));
        }
        rules.add(&text).map_err(|line| PublishError::Exclude { path: path.clone(), line })
    }

    fn open(
        &self,
        parent: &OwnedFd,
        name: &CString,
        flags: OFlags,
    ) -> Result<(OwnedFd, Stat), PublishError> {
        let opened = rustix::fs::openat(parent, name, flags, Mode::empty());
        let node = opened.map_err(|error| self.unreadable(error))?;
        let stat = rustix::fs::fstat(&node).map_err(|error| self.unreadable(error))?;
        Ok((node, stat))
    }

    fn at(&self) -> String {
        at(&self.path)
    }

    fn unreadable(&self, error: Errno) -> PublishError {
        PublishError::Read { path: self.at(), source: error.into() }
    }

    fn unfit(&self, source: EncodeError) -> PublishError {
        PublishError::Encode { path: self.at(), source }
    }

    fn changed(&self) -> PublishError {
        PublishError::Changed { path: self.at() }
    }
}

/// A path below the root for people.
fn at(path: &[u8]) -> String {
    if path.is_empty() { ".".to_owned() } else { path.escape_ascii().to_string() }
}

/// What changes when a file is written to.
fn state(stat: &Stat) -> (i64, i64, u64, i64, u64) {
    (stat.st_size, stat.st_mtime, stat.st_mtime_nsec, stat.st_ctime, stat.st_ctime_nsec)
}

/// The flag without which nodes of a type are left out.
fn needs(kind: FileType) -> Flags {
    match kind {
        FileType::Symlink => Flags::SYMLINKS,
        FileType::BlockDevice | FileType::CharacterDevice => Flags::DEVICE_NODES,
        FileType::Fifo => Flags::FIFOS,
        FileType::Socket => Flags::SOCKETS,
        _ => Flags::NONE,
    }
}
