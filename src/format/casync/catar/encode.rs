//! The encoder: writes the stream that casync would write for the same tree.

use std::io::{self, Write};

use super::goodbye::{self, Item};
use super::metadata::{AclEntry, Content, Metadata};
use super::object::{GOODBYE_MARKER, HEADER_BYTES, Object};
use super::{DEPTH_MAX, DIRECTORY_ENTRIES_MAX, FILE_NAME_BYTES_MAX};
use crate::format::casync::flags::Flags;

/// Why a tree cannot be written as a stream.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The bytes cannot be written.
    #[error("cannot write the archive at byte {at}")]
    Write {
        /// Bytes written before.
        at: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A name that is empty, `.`, `..`, too long, or has a `/` or a zero in it.
    #[error("cannot archive an entry named `{}`", .name.escape_ascii())]
    FileName {
        /// The name.
        name: Vec<u8>,
    },
    /// Entries that do not come sorted by name.
    #[error("the entry `{}` does not sort after the one before", .name.escape_ascii())]
    NameOrder {
        /// The name.
        name: Vec<u8>,
    },
    /// A node whose type the flags leave out.
    #[error("the entry `{}` needs the feature flag {flag}", .name.escape_ascii())]
    FlagMissing {
        /// The name.
        name: Vec<u8>,
        /// What is missing.
        flag: Flags,
    },
    /// A property that no object can hold: too long, a zero within, or an owner beyond 16 bits where
    /// the flags allow no more.
    #[error("the {object} of the entry `{}` does not fit the format", .name.escape_ascii())]
    Property {
        /// The name.
        name: Vec<u8>,
        /// Which object.
        object: &'static str,
    },
    /// More than [`DEPTH_MAX`] levels or [`DIRECTORY_ENTRIES_MAX`] entries.
    #[error(
        "the entry `{}` is too deep or one too many: \
         at most {DEPTH_MAX} levels and {DIRECTORY_ENTRIES_MAX} entries",
        .name.escape_ascii()
    )]
    TooMany {
        /// The name.
        name: Vec<u8>,
    },
    /// A call that makes no sense at this point.
    #[error("cannot write the archive at byte {at}: {what}")]
    Misuse {
        /// Bytes written before.
        at: u64,
        /// What is wrong.
        what: &'static str,
    },
}

/// Writes a stream node by node: directories before their entries, entries sorted by name.
#[derive(Debug)]
pub struct Encoder<W> {
    target: W,
    flags: Flags,
    at: u64,
    payload: u64,
    open: Vec<Directory>,
    begun: bool,
}

#[derive(Debug)]
struct Directory {
    entry_at: u64,
    items: Vec<Item>,
    last: Vec<u8>,
}

impl<W: Write> Encoder<W> {
    /// An encoder of streams with these flags, which it brings into normal form.
    pub fn new(target: W, flags: Flags) -> Self {
        let (flags, open) = (flags.normalised(), Vec::new());
        Self { target, flags, at: 0, payload: 0, open, begun: false }
    }

    /// Writes one node; the root has no name. Of the metadata only what the flags keep is written.
    /// After a file its bytes must follow, after a directory its entries and [`Encoder::leave`].
    pub fn node(
        &mut self,
        name: &[u8],
        metadata: &Metadata,
        content: &Content,
    ) -> Result<(), EncodeError> {
        self.whole()?;
        let flag = content.needs();
        if !self.flags.contains(flag) {
            return Err(EncodeError::FlagMissing { name: name.to_vec(), flag });
        }
        let seen = metadata.seen_with(self.flags, content);
        let objects = self.objects(name, &seen, content)?;
        if self.begun {
            self.enter(name)?;
        } else if name.is_empty() {
            self.begun = true;
        } else {
            return Err(EncodeError::FileName { name: name.to_vec() });
        }
        if self.open.len() >= DEPTH_MAX {
            return Err(EncodeError::TooMany { name: name.to_vec() });
        }
        let entry_at = self.at;
        self.write(&objects)?;
        match content {
            Content::Directory => {
                let (items, last) = (Vec::new(), Vec::new());
                self.open.push(Directory { entry_at, items, last });
            }
            Content::File { size, .. } => self.payload = *size,
            _ => {}
        }
        self.close_item();
        Ok(())
    }

    /// Writes bytes of the file begun last, no more than were announced.
    pub fn payload(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        let left = self.payload.checked_sub(bytes.len() as u64);
        let what = "the file has more bytes than announced";
        self.payload = left.ok_or(EncodeError::Misuse { at: self.at, what })?;
        self.write(bytes)?;
        self.close_item();
        Ok(())
    }

    /// Ends the directory begun last.
    pub fn leave(&mut self) -> Result<(), EncodeError> {
        self.whole()?;
        let what = "no directory is open";
        let directory = self.open.pop().ok_or(EncodeError::Misuse { at: self.at, what })?;
        let start = self.at;
        let mut object = Writer::default();
        object.begin(Object::Goodbye, 24 * (directory.items.len() as u64 + 1));
        for item in goodbye::table(directory.items, start) {
            object.numbers(&[item.offset, item.size, item.hash]);
        }
        let size = object.bytes.len() as u64 + 24;
        object.numbers(&[start - directory.entry_at, size, GOODBYE_MARKER]);
        self.write(&object.bytes)?;
        self.close_item();
        Ok(())
    }

    /// Ends the stream: where it was written to, and its length in bytes.
    pub fn finish(mut self) -> Result<(W, u64), EncodeError> {
        self.whole()?;
        if !self.begun || !self.open.is_empty() {
            let what = "a directory is still open, or there is no root";
            return Err(EncodeError::Misuse { at: self.at, what });
        }
        self.target.flush().map_err(|source| EncodeError::Write { at: self.at, source })?;
        Ok((self.target, self.at))
    }

    /// Bytes written so far. Directly after a file was begun this is where its bytes will be.
    pub fn offset(&self) -> u64 {
        self.at
    }

    fn whole(&self) -> Result<(), EncodeError> {
        let what = "the file has fewer bytes than announced";
        if self.payload == 0 { Ok(()) } else { Err(EncodeError::Misuse { at: self.at, what }) }
    }

    /// Writes the name of an entry of the directory that is open.
    fn enter(&mut self, name: &[u8]) -> Result<(), EncodeError> {
        let at = self.at;
        let named = || name.to_vec();
        let what = "the root is no directory, or complete";
        let directory = self.open.last_mut().ok_or(EncodeError::Misuse { at, what })?;
        let bad = matches!(name, b"" | b"." | b"..") || name.iter().any(|b| matches!(b, b'/' | 0));
        if bad || name.len() > FILE_NAME_BYTES_MAX {
            return Err(EncodeError::FileName { name: named() });
        }
        if directory.last.as_slice() >= name {
            return Err(EncodeError::NameOrder { name: named() });
        }
        if directory.items.len() == DIRECTORY_ENTRIES_MAX {
            return Err(EncodeError::TooMany { name: named() });
        }
        directory.items.push(Item { hash: goodbye::hash(name), offset: at, size: 0 });
        directory.last = named();
        let mut object = Writer::default();
        object.text(Object::Filename, name);
        self.write(&object.bytes)
    }

    /// Notes how long the entry is by now that was begun last in the directory that is open.
    fn close_item(&mut self) {
        let at = self.at;
        if let Some(item) = self.open.last_mut().and_then(|open| open.items.last_mut()) {
            item.size = at - item.offset;
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        let written = self.target.write_all(bytes);
        written.map_err(|source| EncodeError::Write { at: self.at, source })?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// Everything of a node from its ENTRY to the header of its payload.
    fn objects(
        &self,
        name: &[u8],
        seen: &Metadata,
        content: &Content,
    ) -> Result<Vec<u8>, EncodeError> {
        let narrow = self.flags.contains(Flags::UIDS_16BIT);
        let mut objects = Writer { narrow, ..Writer::default() };
        let mode = content.type_bits() | seen.permissions;
        objects.begin(Object::Entry, 48);
        objects.numbers(&[self.flags.bits(), mode.into(), seen.attributes.bits()]);
        objects.owner(Object::Entry, seen.uid);
        objects.owner(Object::Entry, seen.gid);
        objects.numbers(&[seen.mtime]);
        objects.properties(seen);
        match content {
            Content::File { size, .. } => objects.begin(Object::Payload, *size),
            Content::Symlink { target } => objects.text(Object::Symlink, target),
            Content::Block { device: (major, minor) }
            | Content::Character { device: (major, minor) } => {
                objects.begin(Object::Device, 16);
                objects.numbers(&[(*major).into(), (*minor).into()]);
            }
            Content::Directory | Content::Fifo | Content::Socket => {}
        }
        match objects.misfit {
            Some(object) => {
                Err(EncodeError::Property { name: name.to_vec(), object: object.name() })
            }
            None => Ok(objects.bytes),
        }
    }
}

/// Objects of one node, and the first that does not fit the format.
#[derive(Debug, Default)]
struct Writer {
    bytes: Vec<u8>,
    misfit: Option<Object>,
    narrow: bool,
}

impl Writer {
    fn begin(&mut self, object: Object, body: u64) {
        match body.checked_add(HEADER_BYTES).filter(|_| object.fits(body)) {
            Some(size) => self.numbers(&[size, object.number()]),
            None => self.misfit = self.misfit.or(Some(object)),
        }
    }

    fn numbers(&mut self, numbers: &[u64]) {
        self.bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    }

    fn owner(&mut self, object: Object, id: u32) {
        if id == u32::MAX || self.narrow && id > u16::MAX.into() {
            self.misfit = self.misfit.or(Some(object));
        }
        self.numbers(&[id.into()]);
    }

    fn text(&mut self, object: Object, text: &[u8]) {
        self.begin(object, text.len() as u64 + 1);
        self.ended(object, text);
    }

    fn ended(&mut self, object: Object, text: &[u8]) {
        if text.is_empty() || text.contains(&0) {
            self.misfit = self.misfit.or(Some(object));
        }
        self.bytes.extend_from_slice(text);
        self.bytes.push(0);
    }

    fn properties(&mut self, seen: &Metadata) {
        for (object, text) in [(Object::User, &seen.user), (Object::Group, &seen.group)] {
            if let Some(text) = text {
                self.text(object, text);
            }
        }
        for xattr in &seen.xattrs {
            self.begin(Object::Xattr, (xattr.name.len() + 1 + xattr.value.len()) as u64);
            self.ended(Object::Xattr, &xattr.name);
            self.bytes.extend_from_slice(&xattr.value);
        }
        self.acl_entries(Object::AclUser, &seen.acl.users);
        self.acl_entries(Object::AclGroup, &seen.acl.groups);
        if let Some(permissions) = seen.acl.group_obj {
            self.begin(Object::AclGroupObj, 8);
            self.numbers(&[permissions.into()]);
        }
        if let Some(acl) = &seen.default_acl {
            self.begin(Object::AclDefault, 32);
            let mask = acl.mask.map_or(u64::MAX, u64::from);
            self.numbers(&[acl.user_obj.into(), acl.group_obj.into(), acl.other.into(), mask]);
            self.acl_entries(Object::AclDefaultUser, &acl.users);
            self.acl_entries(Object::AclDefaultGroup, &acl.groups);
        }
        if let Some(label) = &seen.selinux {
            self.text(Object::Selinux, label);
        }
        if let Some(fcaps) = &seen.fcaps {
            self.begin(Object::Fcaps, fcaps.len() as u64);
            self.bytes.extend_from_slice(fcaps);
        }
        if let Some(project) = seen.quota_projid {
            self.begin(Object::QuotaProjid, 8);
            self.numbers(&[project.into()]);
        }
    }

    fn acl_entries(&mut self, object: Object, entries: &[AclEntry]) {
        for entry in entries {
            let name = entry.name.as_ref().map_or(0, |name| name.len() as u64 + 1);
            self.begin(object, 16 + name);
            self.owner(object, entry.id);
            self.numbers(&[entry.permissions.into()]);
            if let Some(name) = &entry.name {
                self.ended(object, name);
            }
        }
    }
}
