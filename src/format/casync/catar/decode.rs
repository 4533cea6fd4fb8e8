//! The decoder: pulls nodes out of a stream, and refuses what casync would not have written.

use std::io::{self, BufReader, Read};

use super::goodbye::{self, Item};
use super::metadata::{AclEntry, Content, DefaultAcl, Metadata, Node, Xattr};
use super::object::{GOODBYE_MARKER, HEADER_BYTES, Object};
use super::{CatarError, DEPTH_MAX, DIRECTORY_ENTRIES_MAX, FILE_NAME_BYTES_MAX};
use crate::format::casync::flags::Flags;

/// Attributes and access list entries of one node: Linux allows at most 64 KiB of either, and an
/// access list entry takes 8 bytes there.
const NODE_LISTS_MAX: usize = 8192;

/// Bytes of all attributes of one node, names included: Linux lists at most 64 KiB of names; values
/// beyond this are no file's.
const XATTR_BYTES_MAX: usize = 4 << 20;

/// `none` for the mask of a default access list.
const NO_MASK: u64 = u64::MAX;

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
    source: R,
    at: u64,
    /// Bytes of the current file not read yet.
    payload: u64,
    flags: Option<Flags>,
    open: Vec<Directory>,
    /// A header that was read but belongs to what comes next.
    ahead: Option<Header>,
    begun: bool,
}

#[derive(Debug)]
struct Directory {
    entry_at: u64,
    items: Vec<Item>,
    last: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Header {
    at: u64,
    object: Object,
    body: u64,
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
        let (open, flags, ahead) = (Vec::new(), None, None);
        Self { source, at: 0, payload: 0, flags, open, ahead, begun: false }
    }

    /// The next event; none when the stream is complete and nothing follows it. What was not read of
    /// a file is skipped.
    pub fn next_event(&mut self) -> Result<Option<Event>, CatarError> {
        self.skip_payload()?;
        if !self.begun {
            self.begun = true;
            let header = self.expect("ENTRY")?;
            return self.node(header, Vec::new()).map(Some);
        }
        self.close_item();
        let Some(directory) = self.open.last() else { return self.end() };
        let previous = directory.last.clone();
        let header = self.expect("FILENAME or GOODBYE")?;
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
        loop {
            match self.source.read(into) {
                Ok(0) => return Err(self.truncated("the rest of a PAYLOAD")),
                Ok(count) => {
                    self.at += count as u64;
                    self.payload -= count as u64;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(CatarError::Read { at: self.at, source }),
            }
        }
    }

    /// The source: content of the file that the last event began may be taken from it directly, as far as
    /// [`Decoder::pass_payload`] is then told how much that was.
    pub fn source(&mut self) -> &mut R {
        &mut self.source
    }

    /// The source, when no more is decoded.
    pub fn into_source(self) -> R {
        self.source
    }

    /// Counts bytes of the current file as read that were taken from the source directly.
    pub fn pass_payload(&mut self, count: u64) {
        let count = count.min(self.payload);
        self.at += count;
        self.payload -= count;
    }

    /// The flags of the stream, known from the first event on.
    pub fn flags(&self) -> Option<Flags> {
        self.flags
    }

    /// Bytes decoded so far.
    pub fn offset(&self) -> u64 {
        self.at
    }

    fn skip_payload(&mut self) -> Result<(), CatarError> {
        let mut waste = [0; 8192];
        while self.read_payload(&mut waste)? > 0 {}
        Ok(())
    }

    /// Notes where the entry that was last begun ended, in the directory it is in.
    fn close_item(&mut self) {
        let end = self.ahead.map_or(self.at, |header| header.at);
        if let Some(item) = self.open.last_mut().and_then(|open| open.items.last_mut())
            && item.size == 0
        {
            item.size = end.saturating_sub(item.offset);
        }
    }

    fn end(&mut self) -> Result<Option<Event>, CatarError> {
        let at = self.ahead.map_or(self.at, |header| header.at);
        if self.ahead.is_some() || self.fill(&mut [0], "nothing")? > 0 {
            return Err(CatarError::TrailingBytes { at });
        }
        Ok(None)
    }

    fn entry(&mut self, header: Header, previous: Vec<u8>) -> Result<Event, CatarError> {
        let at = header.at;
        let name = self.text(header)?;
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
        let header = self.expect("ENTRY")?;
        self.node(header, name)
    }

    fn node(&mut self, entry: Header, name: Vec<u8>) -> Result<Event, CatarError> {
        let (mut metadata, mode, flags) = self.entry_fields(entry)?;
        let mut last = (Object::Entry, NODE_LISTS_MAX);
        let next = loop {
            let Some(header) = self.header()? else { break None };
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
            self.property(header, flags, &mut metadata)?;
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
        let [flags, mode, attributes, uid, gid, mtime] = self.numbers(header)?;
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

    fn property(
        &mut self,
        header: Header,
        flags: Flags,
        metadata: &mut Metadata,
    ) -> Result<(), CatarError> {
        let (at, object) = (header.at, header.object.name());
        let needs = match header.object {
            Object::User | Object::Group => Flags::USER_NAMES,
            Object::Xattr => Flags::XATTRS,
            Object::Selinux => Flags::SELINUX,
            Object::Fcaps => Flags::FCAPS,
            Object::QuotaProjid => Flags::QUOTA_PROJID,
            _ => Flags::ACL,
        };
        require(flags, needs, header)?;
        let value = |field, value| CatarError::Value { at, object, field, value };
        match header.object {
            Object::User => metadata.user = Some(self.text(header)?),
            Object::Group => metadata.group = Some(self.text(header)?),
            Object::Selinux => metadata.selinux = Some(self.text(header)?),
            Object::Fcaps => metadata.fcaps = Some(self.body(header)?),
            Object::Xattr => self.xattr(header, metadata)?,
            Object::QuotaProjid => {
                let [project] = self.numbers(header)?;
                let known = u32::try_from(project).ok().filter(|&project| project != 0);
                metadata.quota_projid = Some(known.ok_or_else(|| value("project", project))?);
            }
            Object::AclGroupObj => {
                let [bits] = self.numbers(header)?;
                metadata.acl.group_obj = Some(permissions(header, bits)?);
            }
            Object::AclDefault => metadata.default_acl = Some(self.default_acl(header)?),
            _ => self.acl_entry(header, flags, metadata)?,
        }
        Ok(())
    }

    fn xattr(&mut self, header: Header, metadata: &mut Metadata) -> Result<(), CatarError> {
        let (at, object) = (header.at, header.object.name());
        let body = self.body(header)?;
        let mut parts = body.splitn(2, |&byte| byte == 0);
        let (Some(name), Some(content)) = (parts.next(), parts.next()) else {
            return Err(CatarError::Text { at, object });
        };
        if name.is_empty() || name.len() > FILE_NAME_BYTES_MAX {
            return Err(CatarError::Text { at, object });
        }
        if metadata.xattrs.last().is_some_and(|last| last.name.as_slice() >= name) {
            return Err(CatarError::NotSorted { at, object });
        }
        let before: usize = metadata.xattrs.iter().map(|x| x.name.len() + x.value.len()).sum();
        if before + body.len() > XATTR_BYTES_MAX {
            return Err(CatarError::TooMany { at, object });
        }
        metadata.xattrs.push(Xattr { name: name.to_vec(), value: content.to_vec() });
        Ok(())
    }

    fn default_acl(&mut self, header: Header) -> Result<DefaultAcl, CatarError> {
        let [user, group, other, mask] = self.numbers(header)?;
        let mask = (mask != NO_MASK).then_some(mask);
        Ok(DefaultAcl {
            user_obj: permissions(header, user)?,
            group_obj: permissions(header, group)?,
            other: permissions(header, other)?,
            mask: mask.map(|mask| permissions(header, mask)).transpose()?,
            users: Vec::new(),
            groups: Vec::new(),
        })
    }

    fn acl_entry(
        &mut self,
        header: Header,
        flags: Flags,
        metadata: &mut Metadata,
    ) -> Result<(), CatarError> {
        let (at, object) = (header.at, header.object.name());
        let body = self.body(header)?;
        let (numbers, _) = body.as_chunks::<8>();
        let (Some(&[id, bits]), rest) = (numbers.first_chunk::<2>(), body.get(16..)) else {
            return Err(CatarError::Text { at, object });
        };
        let number = u64::from_le_bytes(id);
        let id = u32::try_from(number).ok().filter(|&id| id != u32::MAX);
        let field = "id";
        let id = id.ok_or(CatarError::Value { at, object, field, value: number })?;
        let permissions = permissions(header, u64::from_le_bytes(bits))?;
        let name = match rest.unwrap_or_default() {
            [] => None,
            text => {
                require(flags, Flags::USER_NAMES, header)?;
                Some(ended_text(text).ok_or(CatarError::Text { at, object })?)
            }
        };
        let orphan = || unexpected(header, "ACL_DEFAULT");
        let list = match header.object {
            Object::AclUser => &mut metadata.acl.users,
            Object::AclGroup => &mut metadata.acl.groups,
            Object::AclDefaultUser => &mut metadata.default_acl.as_mut().ok_or_else(orphan)?.users,
            _ => &mut metadata.default_acl.as_mut().ok_or_else(orphan)?.groups,
        };
        let entry = AclEntry { id, name, permissions };
        if list.last().is_some_and(|last| *last >= entry) {
            return Err(CatarError::NotSorted { at, object });
        }
        list.push(entry);
        Ok(())
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
                self.ahead = next;
                Some(match mode & 0o170_000 {
                    0o040_000 => Content::Directory,
                    0o010_000 => Content::Fifo,
                    _ => Content::Socket,
                })
            }
            (0o100_000 | 0o120_000 | 0o020_000 | 0o060_000, None) => {
                return Err(self.truncated("the content of a node"));
            }
            (0o100_000, Some(header)) => {
                let header = require_object(header, Object::Payload)?;
                self.payload = header.body;
                Some(Content::File { size: header.body, offset: self.at })
            }
            (0o120_000, Some(header)) => {
                let header = require_object(header, Object::Symlink)?;
                Some(Content::Symlink { target: self.text(header)? })
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
        let [major, minor] = self.numbers(header)?;
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
            let [offset, size, hash] = self.read_numbers("the rest of a GOODBYE")?;
            found.push(Item { hash, offset, size });
        }
        let [back, size, marker] = self.read_numbers("the rest of a GOODBYE")?;
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

    fn expect(&mut self, expected: &'static str) -> Result<Header, CatarError> {
        match self.header()? {
            Some(header) => Ok(header),
            None => Err(self.truncated(expected)),
        }
    }

    /// The next header; none where the stream ends between two objects.
    fn header(&mut self) -> Result<Option<Header>, CatarError> {
        if let Some(header) = self.ahead.take() {
            return Ok(Some(header));
        }
        let at = self.at;
        let mut bytes = [0; 16];
        if self.fill(&mut bytes, "the rest of an object's header")? == 0 {
            return Ok(None);
        }
        let [size, kind] = words(&bytes);
        let object = Object::from_number(kind).ok_or(CatarError::UnknownObject { at, kind })?;
        match size.checked_sub(HEADER_BYTES).filter(|&body| object.fits(body)) {
            Some(body) => Ok(Some(Header { at, object, body })),
            None => Err(CatarError::ObjectSize { at, object: object.name(), size }),
        }
    }

    /// The body of an object whose size is limited by its type.
    fn body(&mut self, header: Header) -> Result<Vec<u8>, CatarError> {
        let (at, object) = (header.at, header.object.name());
        let size = header.body.saturating_add(HEADER_BYTES);
        let length = usize::try_from(header.body)
            .ok()
            .filter(|_| !matches!(header.object, Object::Payload | Object::Goodbye))
            .ok_or(CatarError::ObjectSize { at, object, size })?;
        let mut bytes = vec![0; length];
        if self.fill(&mut bytes, "the rest of an object")? < length {
            return Err(self.truncated("the rest of an object"));
        }
        Ok(bytes)
    }

    fn text(&mut self, header: Header) -> Result<Vec<u8>, CatarError> {
        let text = ended_text(&self.body(header)?);
        text.ok_or(CatarError::Text { at: header.at, object: header.object.name() })
    }

    fn numbers<const N: usize>(&mut self, header: Header) -> Result<[u64; N], CatarError> {
        if header.body == 8 * N as u64 {
            return self.read_numbers("the rest of an object");
        }
        let (at, object) = (header.at, header.object.name());
        Err(CatarError::ObjectSize { at, object, size: header.body + HEADER_BYTES })
    }

    fn read_numbers<const N: usize>(
        &mut self,
        expected: &'static str,
    ) -> Result<[u64; N], CatarError> {
        let mut numbers = [0; N];
        for number in &mut numbers {
            let mut bytes = [0; 8];
            if self.fill(&mut bytes, expected)? == 0 {
                return Err(self.truncated(expected));
            }
            *number = u64::from_le_bytes(bytes);
        }
        Ok(numbers)
    }

    /// Fills all of `into`, or nothing when the stream ends just before it.
    fn fill(&mut self, into: &mut [u8], expected: &'static str) -> Result<usize, CatarError> {
        let mut filled = 0;
        while let Some(room) = into.get_mut(filled..).filter(|room| !room.is_empty()) {
            match self.source.read(room) {
                Ok(0) if filled == 0 => break,
                Ok(0) => return Err(self.truncated(expected)),
                Ok(count) => {
                    filled += count;
                    self.at += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(CatarError::Read { at: self.at, source }),
            }
        }
        Ok(filled)
    }

    fn truncated(&self, expected: &'static str) -> CatarError {
        CatarError::Truncated { at: self.at, expected }
    }
}

fn unexpected(header: Header, expected: &'static str) -> CatarError {
    CatarError::Unexpected { at: header.at, found: header.object.name(), expected }
}

fn require(flags: Flags, flag: Flags, header: Header) -> Result<(), CatarError> {
    if flags.contains(flag) {
        return Ok(());
    }
    Err(CatarError::FlagMissing { at: header.at, object: header.object.name(), flag })
}

fn require_object(header: Header, object: Object) -> Result<Header, CatarError> {
    if header.object == object { Ok(header) } else { Err(unexpected(header, object.name())) }
}

/// Read, write and execute.
fn permissions(header: Header, bits: u64) -> Result<u8, CatarError> {
    u8::try_from(bits).ok().filter(|bits| *bits <= 7).ok_or(CatarError::Value {
        at: header.at,
        object: header.object.name(),
        field: "permissions",
        value: bits,
    })
}

/// Text before its one zero, which is the last byte; none when it is empty.
fn ended_text(bytes: &[u8]) -> Option<Vec<u8>> {
    let (last, text) = bytes.split_last()?;
    (*last == 0 && !text.is_empty() && !text.contains(&0)).then(|| text.to_vec())
}

fn words<const N: usize>(bytes: &[u8; 16]) -> [u64; N] {
    let (numbers, _) = bytes.as_chunks::<8>();
    std::array::from_fn(|at| numbers.get(at).copied().map_or(0, u64::from_le_bytes))
}
