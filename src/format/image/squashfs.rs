//! squashfs 4.0, read in small pieces.
//!
//! Layout (Linux `fs/squashfs/squashfs_fs.h`, little-endian): a superblock of 96 bytes; data and fragment
//! blocks; then tables of metadata blocks, each a 16-bit header (bit 15: stored as is, the rest: length)
//! and at most 8 KiB unpacked. An inode is named by the offset of its metadata block from the inode table,
//! shifted by 16, and the offset inside the block.

use crate::format::image::bytes::{Source, entry_name, u16_at, u32_at, u64_at};
use crate::format::image::codec::Codec;
use crate::format::image::walk::Nodes;
use crate::format::image::{DIRECTORY_BYTES_MAX, DIRECTORY_ENTRIES_MAX, Format, ImageError, Kind};

const SUPERBLOCK: usize = 96;

/// Unpacked bytes of a metadata block.
const METADATA_BYTES: usize = 8192;

/// Largest block Linux mounts.
const BLOCK_BYTES_MAX: u32 = 1 << 20;

/// No such table or fragment.
const NONE_64: u64 = u64::MAX;
const NONE_32: u32 = u32::MAX;

/// In the length of a data block: stored as is.
const STORED: u32 = 1 << 24;

/// Type of an extended attribute whose value lies elsewhere.
const OUT_OF_LINE: u16 = 0x100;

/// Extended attributes of one file that are looked at.
const ATTRIBUTES_MAX: u32 = 256;

/// Bytes of an extended attribute's value that are read.
const VALUE_BYTES_MAX: u32 = 64 << 10;

pub(super) struct Squashfs<'a> {
    source: Source<'a>,
    codec: Codec,
    block: u32,
    root: u64,
    attributes: u64,
    inodes: u64,
    directories: u64,
    fragments: u64,
}

/// A place in a table of metadata blocks.
struct Cursor<'s, 'a> {
    image: &'s Squashfs<'a>,
    /// Where the block after the one in `bytes` begins.
    next: u64,
    bytes: Vec<u8>,
    at: usize,
}

/// What is read of an inode.
struct Inode {
    kind: Kind,
    /// Directories: offset of the listing's block; files: where the first block begins.
    start: u64,
    /// Directories: offset inside the block; files: offset inside the fragment.
    offset: u32,
    size: u64,
    fragment: u32,
    /// Lengths of the file's first blocks.
    blocks: Vec<u32>,
    target: Vec<u8>,
    attributes: u32,
}

fn damaged(what: &'static str) -> ImageError {
    ImageError::Damaged { format: Format::Squashfs, what }
}

impl<'a> Squashfs<'a> {
    pub(super) fn open(source: Source<'a>) -> Result<Self, ImageError> {
        let raw: [u8; SUPERBLOCK] = source.array(0, Format::Squashfs)?;
        if (u16_at(&raw, 28), u16_at(&raw, 30)) != (4, 0) {
            return Err(ImageError::Unreadable {
                format: Format::Squashfs,
                what: format!("its version is {}, only 4.0 is read", u16_at(&raw, 28)),
            });
        }
        let used = u64_at(&raw, 40);
        source.holds(used, Format::Squashfs)?;
        let block = u32_at(&raw, 12);
        let log = u32::from(u16_at(&raw, 22));
        if !block.is_power_of_two()
            || !(4096..=BLOCK_BYTES_MAX).contains(&block)
            || block.ilog2() != log
        {
            return Err(damaged("block size"));
        }
        let table = |at| u64_at(&raw, at);
        let inside = |place: u64| (SUPERBLOCK as u64..used).contains(&place);
        let optional = |place: u64| place == NONE_64 || inside(place);
        if !inside(table(48)) || !inside(table(64)) || !inside(table(72)) || table(64) > table(72) {
            return Err(damaged("place of a table"));
        }
        if !optional(table(56)) || !(optional(table(80)) || u32_at(&raw, 16) == 0) {
            return Err(damaged("place of a table"));
        }
        let image = Self {
            source: source.part(0, used).ok_or(damaged("size"))?,
            codec: Codec::from_number(u16_at(&raw, 20)).ok_or(damaged("compression"))?,
            block,
            root: u64_at(&raw, 32),
            attributes: table(56),
            inodes: table(64),
            directories: table(72),
            fragments: table(80),
        };
        match image.kind(image.root)? {
            Kind::Directory => Ok(image),
            _ => Err(damaged("root directory")),
        }
    }

    /// A metadata block and where the next one begins.
    fn metadata(&self, at: u64) -> Result<(Vec<u8>, u64), ImageError> {
        let header = u16::from_le_bytes(self.source.array(at, Format::Squashfs)?);
        let length = usize::from(header & 0x7fff);
        let start = at.saturating_add(2);
        let packed = self.source.bytes(start, length, Format::Squashfs)?;
        let bytes = match header & 0x8000 {
            0 => self.codec.unpack(&packed, METADATA_BYTES)?,
            _ => packed,
        };
        if bytes.is_empty() || bytes.len() > METADATA_BYTES {
            return Err(damaged("metadata block"));
        }
        Ok((bytes, start.saturating_add(length as u64)))
    }

    fn cursor(&self, block: u64, offset: u32) -> Result<Cursor<'_, 'a>, ImageError> {
        let (bytes, next) = self.metadata(block)?;
        Ok(Cursor { image: self, next, bytes, at: usize::try_from(offset).unwrap_or(usize::MAX) })
    }

    /// A cursor at a reference: block from `table` on, shifted by 16, and offset.
    fn reference(&self, table: u64, reference: u64) -> Result<Cursor<'_, 'a>, ImageError> {
        let offset = u32::try_from(reference & 0xffff).unwrap_or_default();
        self.cursor(table.saturating_add(reference >> 16), offset)
    }

    /// Entry `index` of a table of 16-byte entries, whose metadata blocks are listed at `list`.
    fn lookup(&self, list: u64, index: u32) -> Result<[u8; 16], ImageError> {
        let pointer = list.saturating_add(u64::from(index / 512) * 8);
        let block = u64::from_le_bytes(self.source.array(pointer, Format::Squashfs)?);
        self.cursor(block, index % 512 * 16)?.array()
    }

    /// The inode, with as many lengths of blocks as `bytes` of content need.
    fn inode(&self, node: u64, bytes: usize) -> Result<Inode, ImageError> {
        let mut cursor = self.reference(self.inodes, node)?;
        let head: [u8; 16] = cursor.array()?;
        let mut inode = Inode {
            kind: Kind::Other,
            start: 0,
            offset: 0,
            size: 0,
            fragment: NONE_32,
            blocks: Vec::new(),
            target: Vec::new(),
            attributes: NONE_32,
        };
        match u16_at(&head, 0) {
            1 => {
                let raw: [u8; 16] = cursor.array()?;
                inode.start = u32_at(&raw, 0).into();
                inode.size = u16_at(&raw, 8).into();
                inode.offset = u16_at(&raw, 10).into();
                inode.kind = Kind::Directory;
            }
            8 => {
                let raw: [u8; 24] = cursor.array()?;
                inode.size = u32_at(&raw, 4).into();
                inode.start = u32_at(&raw, 8).into();
                inode.offset = u16_at(&raw, 18).into();
                inode.attributes = u32_at(&raw, 20);
                inode.kind = Kind::Directory;
            }
            2 => {
                let raw: [u8; 16] = cursor.array()?;
                inode.start = u32_at(&raw, 0).into();
                (inode.fragment, inode.offset) = (u32_at(&raw, 4), u32_at(&raw, 8));
                inode.size = u32_at(&raw, 12).into();
                inode.kind = Kind::File;
            }
            9 => {
                let raw: [u8; 40] = cursor.array()?;
                (inode.start, inode.size) = (u64_at(&raw, 0), u64_at(&raw, 8));
                (inode.fragment, inode.offset) = (u32_at(&raw, 28), u32_at(&raw, 32));
                inode.attributes = u32_at(&raw, 36);
                inode.kind = Kind::File;
            }
            3 | 10 => {
                let raw: [u8; 8] = cursor.array()?;
                let length = usize::try_from(u32_at(&raw, 4)).unwrap_or(usize::MAX);
                inode.target = cursor.take(length.min(bytes))?;
                inode.kind = Kind::Link;
            }
            4..=7 | 11..=14 => {}
            _ => return Err(damaged("type of an inode")),
        }
        if inode.kind == Kind::File {
            let wanted = inode.size.min(bytes as u64);
            let whole = match inode.fragment {
                NONE_32 => inode.size.div_ceil(u64::from(self.block)),
                _ => inode.size / u64::from(self.block),
            };
            for _ in 0..whole.min(wanted.div_ceil(u64::from(self.block))) {
                inode.blocks.push(u32::from_le_bytes(cursor.array()?));
            }
        }
        Ok(inode)
    }

    /// A data or fragment block of the given packed length.
    fn data(&self, at: u64, length: u32, unpacked: usize) -> Result<Vec<u8>, ImageError> {
        let packed_length = length & !STORED;
        if packed_length > self.block {
            return Err(damaged("length of a data block"));
        }
        let packed_length = usize::try_from(packed_length).unwrap_or(usize::MAX);
        if packed_length == 0 {
            return Ok(vec![0; unpacked]);
        }
        let packed = self.source.bytes(at, packed_length, Format::Squashfs)?;
        if length & STORED == 0 {
            self.codec.unpack(&packed, self.block_bytes())
        } else {
            Ok(packed)
        }
    }

    fn block_bytes(&self) -> usize {
        usize::try_from(self.block).unwrap_or_default()
    }

    fn fragment(&self, inode: &Inode) -> Result<Vec<u8>, ImageError> {
        if self.fragments == NONE_64 {
            return Err(damaged("fragment table"));
        }
        let entry = self.lookup(self.fragments, inode.fragment)?;
        let block = self.data(u64_at(&entry, 0), u32_at(&entry, 8), self.block_bytes())?;
        let tail = usize::try_from(inode.size % u64::from(self.block)).unwrap_or_default();
        let from = usize::try_from(inode.offset).unwrap_or(usize::MAX);
        let part = block.get(from..from.saturating_add(tail));
        part.map(<[u8]>::to_vec).ok_or(damaged("fragment"))
    }
}

impl Nodes for Squashfs<'_> {
    fn root(&self) -> u64 {
        self.root
    }

    fn kind(&self, node: u64) -> Result<Kind, ImageError> {
        Ok(self.inode(node, 0)?.kind)
    }

    fn children(&self, node: u64) -> Result<Vec<(String, u64)>, ImageError> {
        let inode = self.inode(node, 0)?;
        if inode.size > DIRECTORY_BYTES_MAX {
            return Err(damaged("size of a directory"));
        }
        let mut left = inode.size.saturating_sub(3);
        let mut children = Vec::new();
        if left == 0 {
            return Ok(children);
        }
        let mut cursor = self.cursor(self.directories.saturating_add(inode.start), inode.offset)?;
        while left > 0 {
            let head: [u8; 12] = cursor.array()?;
            left = left.checked_sub(12).ok_or(damaged("directory"))?;
            for _ in 0..=u32_at(&head, 0).min(256) {
                let raw: [u8; 8] = cursor.array()?;
                let length = usize::from(u16_at(&raw, 6)) + 1;
                let name = cursor.take(length)?;
                left = left.checked_sub(8 + length as u64).ok_or(damaged("directory"))?;
                let node = u64::from(u32_at(&head, 4)) << 16 | u64::from(u16_at(&raw, 0));
                children.extend(entry_name(&name).map(|name| (name, node)));
            }
            if children.len() > DIRECTORY_ENTRIES_MAX {
                return Err(damaged("number of directory entries"));
            }
        }
        Ok(children)
    }

    fn content(&self, node: u64, max: usize) -> Result<Vec<u8>, ImageError> {
        let inode = self.inode(node, max)?;
        if inode.kind == Kind::Link {
            return Ok(inode.target);
        }
        let wanted = usize::try_from(inode.size).unwrap_or(usize::MAX).min(max);
        let (mut bytes, mut at) = (Vec::new(), inode.start);
        for &length in &inode.blocks {
            let left = usize::try_from(inode.size).unwrap_or(usize::MAX) - bytes.len();
            let expected = left.min(self.block_bytes());
            let block = self.data(at, length, expected)?;
            if block.len() != expected {
                return Err(damaged("data block"));
            }
            bytes.extend(block);
            at = at.saturating_add(u64::from(length & !STORED));
        }
        if bytes.len() < wanted && inode.fragment != NONE_32 {
            bytes.extend(self.fragment(&inode)?);
        }
        if bytes.len() < wanted {
            return Err(damaged("length of a file"));
        }
        bytes.truncate(wanted);
        Ok(bytes)
    }

    fn attribute(&self, node: u64, name: &str) -> Result<Option<Vec<u8>>, ImageError> {
        let inode = self.inode(node, 0)?;
        if inode.attributes == NONE_32 || self.attributes == NONE_64 {
            return Ok(None);
        }
        let values = u64::from_le_bytes(self.source.array(self.attributes, Format::Squashfs)?);
        let entry = self.lookup(self.attributes.saturating_add(16), inode.attributes)?;
        let mut cursor = self.reference(values, u64_at(&entry, 0))?;
        for _ in 0..u32_at(&entry, 8).min(ATTRIBUTES_MAX) {
            let head: [u8; 4] = cursor.array()?;
            let found = cursor.take(u16_at(&head, 2).into())?;
            let length = u32::from_le_bytes(cursor.array()?).min(VALUE_BYTES_MAX);
            let value = cursor.take(usize::try_from(length).unwrap_or_default())?;
            if u16_at(&head, 0) & !OUT_OF_LINE != 0 || found != name.as_bytes() {
                continue;
            }
            if u16_at(&head, 0) & OUT_OF_LINE == 0 {
                return Ok(Some(value));
            }
            let mut elsewhere = self.reference(values, u64_at(&value, 0))?;
            let length = u32::from_le_bytes(elsewhere.array()?).min(VALUE_BYTES_MAX);
            return elsewhere.take(usize::try_from(length).unwrap_or_default()).map(Some);
        }
        Ok(None)
    }
}

impl Cursor<'_, '_> {
    /// The next bytes, which may lie in several blocks.
    fn take(&mut self, length: usize) -> Result<Vec<u8>, ImageError> {
        let mut taken = Vec::with_capacity(length.min(METADATA_BYTES));
        loop {
            let rest = self.bytes.get(self.at..).ok_or(damaged("place in a metadata block"))?;
            let count = rest.len().min(length - taken.len());
            taken.extend(rest.iter().take(count));
            self.at += count;
            if taken.len() == length {
                return Ok(taken);
            }
            (self.bytes, self.next) = self.image.metadata(self.next)?;
            self.at = 0;
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ImageError> {
        self.take(N)?.try_into().map_err(|_| damaged("metadata block"))
    }
}
