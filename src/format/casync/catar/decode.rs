//! The decoder: pulls nodes out of a stream, and refuses what casync would not have written.

use std::io::{BufReader, Read};

use super::goodbye::{self, Item};
use super::metadata::{Content, Metadata, Node};
use super::object::{GOODBYE_MARKER, HEADER_BYTES, Object};
use super::objects::{Header, Objects, require_object, unexpected};
use super::properties::property;
use super::{CatarError, DEPTH_MAX, DIRECTORY_ENTRIES_MAX, FILE_NAME_BYTES_MAX};
use crate::format::casync::flags::Flags;

/// Attributes and access list entries of one node: Linux allows at most 64 KiB of either, and an
/// access list entry takes 8 bytes there.
const NODE_LISTS_MAX: usize = 8192;

/// What comes next in a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A node begins. The bytes of a file can be read until the next event is asked for; the
    /// entries of a directory follow.
    Node(Box<Node>),
    /// The directory begun last and not left yet is complete.
    Leave {
        /// Whether its table is in the order that finding a name by halves needs.
        searchable: bool,
    },
}

/// Reads a stream in constant memory but for 24 bytes per entry of open directories.
#[derive(Debug)]
pub struct Decoder<R> {
    objects: Objects<R>,
    /// Bytes of the current file not read yet.
    payload: u64,
    flags: Option<Flags>,
    open: Vec<Directory>,
    begun: bool,
}

#[derive(Debug)]
struct Directory {
    entry_at: u64,
    items: Vec<Item>,
    last: Vec<u8>,
}

impl<R: Read> Decoder<BufReader<R>> {
    /// A decoder at the start of a stream.
    pub fn new(source: R) -> Self {
        Self::unbuffered(BufReader::with_capacity(1 << 16, source))
    }
}

impl<R: Read> Decoder<R> {
    /// A decoder that reads no byte before it needs it, from a source of which small reads are cheap.
    pub fn unbuffered(source: R) -> Self {
        let (objects, open) = (Objects::new(source), Vec::new());
        Self { objects, payload: 0, flags: None, open, begun: false }
    }

    /// The next event; none when the stream is complete and nothing follows it. What was not read of
    /// a file is skipped.
    pub fn next_event(&mut self) -> Result<Option<Event>, CatarError> {
        self.skip_payload()?;
        if !self.begun {
            self.begun = true;
            let header = self.objects.expect("ENTRY")?;
            return self.node(header, Vec::new()).map(Some);
        }
        self.close_item();
        let Some(directory) = self.open.last() else { return self.end() };
        let previous = directory.last.clone();
        let header = self.objects.expect("FILENAME or GOODBYE")?;
        match header.object {
            Object::Filename => self.entry(header, previous).map(Some),
            Object::Goodbye => self.leave(header).map(Some),
            _ => Err(unexpected(header, "FILENAME or GOODBYE")),
        }
    }

    /// Reads bytes of the file that the last event began; 0 at its end.
    pub fn read_payload(&mut self, into: &mut [u8]) -> Result<usize, CatarError> {
        let room = usize::try_from(self.payload).unwrap_or(usize::MAX).min(into.len());
        let Some(into) = into.get_mut(..room).filter(|into| !into.is_empty()) else {
            return Ok(0);
        };
        let count = self.objects.some(into)?;
        self.payload -= count as u64;
        Ok(count)
    }

    /// The source: content of the file that the last event began may be taken from it directly, as far as
    /// [`Decoder::pass_payload`] is then told how much that was.
    pub fn source(&mut self) -> &mut R {
        self.objects.source()
    }

    /// The source, when no more is decoded.
    pub fn into_source(self) -> R {
        self.objects.into_source()
    }

    /// Counts bytes of the current file as read that were taken from the source directly.
    pub fn pass_payload(&mut self, count: u64) {
        let count = count.min(self.payload);
        self.objects.pass(count);
        self.payload -= count;
    }

    /// The flags of the stream, known from the first event on.
    pub fn flags(&self) -> Option<Flags> {
        self.flags
    }

    /// Bytes decoded so far.
    pub fn offset(&self) -> u64 {
        self.objects.offset()
    }

    fn skip_payload(&mut self) -> Result<(), CatarError> {
        let mut waste = [0; 8192];
        while self.read_payload(&mut waste)? > 0 {}
        Ok(())
    }

    /// Notes where the entry that was last begun ended, in the directory it is in.
    fn close_item(&mut self) {
        let end = self.objects.offset();
        if let Some(item) = self.open.last_mut().and_then(|open| open.items.last_mut())
            && item.size == 0
        {
            item.size = end.saturating_sub(item.offset);
        }
    }

    fn end(&mut self) -> Result<Option<Event>, CatarError> {
        let at = self.objects.offset();
        if !self.objects.ended()? {
            return Err(CatarError::TrailingBytes { at });
        }
        Ok(None)
    }

    fn entry(&mut self, header: Header, previous: Vec<u8>) -> Result<Event, CatarError> {
        let at = header.at;
        let name = self.objects.text(header)?;
        let bad = matches!(name.as_slice(), b"." | b"..") || name.contains(&b'/');
        if bad || name.len() > FILE_NAME_BYTES_MAX {
            return Err(CatarError::FileName { at, name });
        }
        if name <= previous {
            return Err(CatarError::NameOrder { at, name, previous });
        }
        if let Some(directory) = self.open.last_mut() {
            if directory.items.len() == DIRECTORY_ENTRIES_MAX {
                return Err(CatarError::TooMany { at, object: "FILENAME" });
            }
            directory.items.push(Item { hash: goodbye::hash(&name), offset: at, size: 0 });
            directory.last.clone_from(&name);
        }
        let header = self.objects.expect("ENTRY")?;
        self.node(header, name)
    }

    fn node(&mut self, entry: Header, name: Vec<u8>) -> Result<Event, CatarError> {
        let (mut metadata, mode, flags) = self.entry_fields(entry)?;
        let mut last = (Object::Entry, NODE_LISTS_MAX);
        let next = loop {
            let Some(header) = self.objects.header()? else { break None };
            if header.object > Object::QuotaProjid || header.object == Object::Entry {
                break Some(header);
            }
            let repeats = header.object == last.0 && header.object.repeats();
            if header.object <= last.0 && !repeats {
                return Err(unexpected(header, "another property or the content"));
            }
            let left = last.1.checked_sub(1);
            let many = CatarError::TooMany { at: header.at, object: header.object.name() };
            last = (header.object, left.ok_or(many)?);
            property(&mut self.objects, header, flags, &mut metadata)?;
        };
        let content = self.content(mode, flags, next, entry.at)?;
        let depth = self.open.len();
        if depth >= DEPTH_MAX {
            return Err(CatarError::TooDeep { at: entry.at });
        }
        if matches!(content, Content::Directory) {
            let (items, last) = (Vec::new(), Vec::new());
            self.open.push(Directory { entry_at: entry.at, items, last });
        }
        Ok(Event::Node(Box::new(Node { name, depth, metadata, content })))
    }

    fn entry_fields(&mut self, header: Header) -> Result<(Metadata, u64, Flags), CatarError> {
        if header.object != Object::Entry {
            return Err(unexpected(header, "ENTRY"));
        }
        let (at, object) = (header.at, "ENTRY");
        let [flags, mode, attributes, uid, gid, mtime] = self.objects.numbers(header)?;
        let found = Flags::from_file(flags).map_err(|source| CatarError::Flags { at, source })?;
        let first = *self.flags.get_or_insert(found);
        if found != first {
            return Err(CatarError::OtherFlags { at, first, found });
        }
        let value = |field, value| CatarError::Value { at, object, field, value };
        let known = Flags::CHATTR
            .with(Flags::FAT_ATTRIBUTES)
            .with(Flags::SUBVOLUME)
            .with(Flags::SUBVOLUME_RO);
        let set = Flags::from_bits(attributes).ok().filter(|set| known.contains(*set));
        let set = set.ok_or_else(|| value("attributes", attributes))?;
        let id = |field, id: u64| match u32::try_from(id) {
            Ok(id) if id != u32::MAX => Ok(id),
            _ => Err(value(field, id)),
        };
        let permissions = u32::try_from(mode & 0o7777).unwrap_or_default();
        let (uid, gid) = (id("owner", uid)?, id("group", gid)?);
        if mtime == u64::MAX {
            return Err(value("time", mtime));
        }
        let metadata =
            Metadata { permissions, attributes: set, uid, gid, mtime, ..Metadata::default() };
        Ok((metadata, mode, found))
    }

    /// What follows the properties of a node of that mode, which began at `entry_at`.
    fn content(
        &mut self,
        mode: u64,
        flags: Flags,
        next: Option<Header>,
        entry_at: u64,
    ) -> Result<Content, CatarError> {
        let content = match (mode & 0o170_000, next) {
            _ if mode > 0o177_777 => None,
            (0o040_000 | 0o010_000 | 0o140_000, _) => {
                self.objects.put_back(next);
                Some(match mode & 0o170_000 {
                    0o040_000 => Content::Directory,
                    0o010_000 => Content::Fifo,
                    _ => Content::Socket,
                })
            }
            (0o100_000 | 0o120_000 | 0o020_000 | 0o060_000, None) => {
                return Err(self.objects.truncated("the content of a node"));
            }
            (0o100_000, Some(header)) => {
                let header = require_object(header, Object::Payload)?;
                self.payload = header.body;
                Some(Content::File { size: header.body, offset: self.objects.offset() })
            }
            (0o120_000, Some(header)) => {
                let header = require_object(header, Object::Symlink)?;
                Some(Content::Symlink { target: self.objects.text(header)? })
            }
            (0o020_000, Some(header)) => Some(Content::Character { device: self.device(header)? }),
            (0o060_000, Some(header)) => Some(Content::Block { device: self.device(header)? }),
            _ => None,
        };
        let (object, field) = ("ENTRY", "mode");
        let content =
            content.ok_or(CatarError::Value { at: entry_at, object, field, value: mode })?;
        let flag = content.needs();
        if flags.contains(flag) {
            Ok(content)
        } else {
            Err(CatarError::FlagMissing { at: entry_at, object, flag })
        }
    }

    fn device(&mut self, header: Header) -> Result<(u32, u32), CatarError> {
        let header = require_object(header, Object::Device)?;
        let [major, minor] = self.objects.numbers(header)?;
        let (at, object) = (header.at, header.object.name());
        let number = |field, value| {
            u32::try_from(value).map_err(|_| CatarError::Value { at, object, field, value })
        };
        Ok((number("major number", major)?, number("minor number", minor)?))
    }

    fn leave(&mut self, header: Header) -> Result<Event, CatarError> {
        let at = header.at;
        let wrong = |field| CatarError::Goodbye { at, field };
        let Some(Directory { entry_at, items, .. }) = self.open.pop() else {
            return Err(unexpected(header, "ENTRY"));
        };
        if header.body != 24 * (items.len() as u64 + 1) {
            return Err(wrong("size"));
        }
        let expected = goodbye::table(items, at);
        let mut found = Vec::with_capacity(expected.len());
        for _ in &expected {
            let [offset, size, hash] = self.objects.read_numbers("the rest of a GOODBYE")?;
            found.push(Item { hash, offset, size });
        }
        let [back, size, marker] = self.objects.read_numbers("the rest of a GOODBYE")?;
        if back != at - entry_at {
            return Err(wrong("way back to its ENTRY"));
        }
        if size != header.body + HEADER_BYTES || marker != GOODBYE_MARKER {
            return Err(wrong("end"));
        }
        let searchable = found == expected;
        let sorted = |mut items: Vec<Item>| {
            items.sort_unstable();
            items
        };
        if !searchable && sorted(found) != sorted(expected) {
            return Err(wrong("list of entries"));
        }
        Ok(Event::Leave { searchable })
    }
}
