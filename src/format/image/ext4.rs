//! ext2, ext3 and ext4, read in small pieces.
//!
//! Layout (Linux `Documentation/filesystems/ext4`, little-endian): a superblock of 1 KiB at 1024; group descriptors
//! in the block after it; inodes in the tables that these name; blocks of a file in a tree of extents.
//! Directories are read from end to end: their hash trees are laid out so that this works.

use crate::format::image::bytes::{Source, crc32c, entry_name, u16_at, u32_at};
use crate::format::image::erofs::kind;
use crate::format::image::walk::Nodes;
use crate::format::image::{DIRECTORY_BYTES_MAX, DIRECTORY_ENTRIES_MAX, Format, ImageError, Kind};

const SUPERBLOCK_AT: u64 = 1024;
const ROOT: u64 = 2;

/// In `feature_incompat`: entries with types, extents, 64 bits, flexible groups, values in inodes, seed of checksums,
/// large directories, data in inodes, encryption, case folding.
const INCOMPAT_READ: u32 =
    0x2 | 0x40 | 0x80 | 0x200 | 0x400 | 0x2000 | 0x4000 | 0x8000 | 0x1_0000 | 0x2_0000;
const INCOMPAT_RECOVER: u32 = 0x4;
const INCOMPAT_64BIT: u32 = 0x80;
const RO_COMPAT_CHECKSUM: u32 = 0x400;

const FLAG_ENCRYPTED: u32 = 0x800;
const FLAG_EXTENTS: u32 = 0x8_0000;
const FLAG_INLINE: u32 = 0x1000_0000;

const EXTENT_MAGIC: u16 = 0xf30a;

/// Levels of a tree of extents: Linux makes no deeper ones.
const DEPTH_MAX: u16 = 5;

/// Length from which on an extent is allocated and not yet written.
const UNWRITTEN: u16 = 32_768;

/// Blocks named in an inode without extents.
const DIRECT_BLOCKS: u64 = 12;

const ATTRIBUTE_MAGIC: u32 = 0xea02_0000;

/// Namespace `user.` of an attribute.
const USER: u8 = 1;

pub(super) struct Ext4<'a> {
    source: Source<'a>,
    block_bits: u32,
    inodes: u32,
    inodes_per_group: u32,
    inode_bytes: u16,
    descriptors: u64,
    descriptor_bytes: u16,
}

struct Inode {
    raw: Vec<u8>,
    size: u64,
    flags: u32,
}

impl Inode {
    fn kind(&self) -> Kind {
        kind(u16_at(&self.raw, 0))
    }

    /// Extents, block numbers, or the target of a short link.
    fn map(&self) -> &[u8] {
        self.raw.get(40..100).unwrap_or_default()
    }
}

fn damaged(what: &'static str) -> ImageError {
    ImageError::Damaged { format: Format::Ext4, what }
}

fn unreadable(what: &str) -> ImageError {
    ImageError::Unreadable { format: Format::Ext4, what: what.to_owned() }
}

impl<'a> Ext4<'a> {
    pub(super) fn open(source: Source<'a>) -> Result<Self, ImageError> {
        let raw: [u8; 1024] = source.array(SUPERBLOCK_AT, Format::Ext4)?;
        let incompat = u32_at(&raw, 96);
        let wide = incompat & INCOMPAT_64BIT != 0;
        if u32_at(&raw, 24) > 6 {
            return Err(damaged("block size"));
        }
        let block_bits = u32_at(&raw, 24) + 10;
        if u32_at(&raw, 100) & RO_COMPAT_CHECKSUM != 0
            && raw.get(..1020).map(|body| crc32c(u32::MAX, body)) != Some(u32_at(&raw, 1020))
        {
            return Err(damaged("checksum of the superblock"));
        }
        let high = if wide { u64::from(u32_at(&raw, 336)) << 32 } else { 0 };
        let blocks = high | u64::from(u32_at(&raw, 4));
        let needs = blocks.checked_mul(1 << block_bits).ok_or(damaged("size"))?;
        source.holds(needs, Format::Ext4)?;
        if incompat & INCOMPAT_RECOVER != 0 {
            return Err(unreadable("its journal has to be replayed; unmount it cleanly"));
        }
        if incompat & !INCOMPAT_READ != 0 {
            return Err(unreadable("it uses features that are not read"));
        }
        let image = Self {
            source,
            block_bits,
            inodes: u32_at(&raw, 0),
            inodes_per_group: u32_at(&raw, 40),
            inode_bytes: if u32_at(&raw, 76) == 0 { 128 } else { u16_at(&raw, 88) },
            descriptors: (u64::from(u32_at(&raw, 20)) + 1) << block_bits,
            descriptor_bytes: if wide { u16_at(&raw, 254) } else { 32 },
        };
        let inode_fits = (128..=4096).contains(&image.inode_bytes);
        if image.inodes_per_group == 0 || !inode_fits || image.descriptor_bytes < 32 {
            return Err(damaged("geometry"));
        }
        match image.inode(ROOT)?.kind() {
            Kind::Directory => Ok(image),
            _ => Err(damaged("root directory")),
        }
    }

    fn inode(&self, node: u64) -> Result<Inode, ImageError> {
        let number = u32::try_from(node).ok().filter(|n| (1..=self.inodes).contains(n));
        let index = number.ok_or(damaged("number of an inode"))? - 1;
        let group = u64::from(index / self.inodes_per_group);
        let length = usize::from(self.descriptor_bytes);
        let at = self.descriptors.saturating_add(group * length as u64);
        let descriptor = self.source.bytes(at, length, Format::Ext4)?;
        let high = if length >= 64 { u64::from(u32_at(&descriptor, 40)) << 32 } else { 0 };
        let table = self.place(high | u64::from(u32_at(&descriptor, 8)))?;
        let within = u64::from(index % self.inodes_per_group) * u64::from(self.inode_bytes);
        let at = table.saturating_add(within);
        let raw = self.source.bytes(at, self.inode_bytes.into(), Format::Ext4)?;
        let size = u64::from(u32_at(&raw, 108)) << 32 | u64::from(u32_at(&raw, 4));
        Ok(Inode { size, flags: u32_at(&raw, 32), raw })
    }

    fn place(&self, block: u64) -> Result<u64, ImageError> {
        block.checked_mul(1 << self.block_bits).ok_or(damaged("number of a block"))
    }

    fn block_bytes(&self) -> usize {
        1 << self.block_bits
    }

    /// The first `wanted` bytes of a file or directory.
    fn bytes(&self, inode: &Inode, wanted: u64) -> Result<Vec<u8>, ImageError> {
        let wanted = wanted.min(inode.size);
        if inode.flags & FLAG_ENCRYPTED != 0 {
            return Err(unreadable("the file looked for is encrypted"));
        }
        if inode.flags & FLAG_INLINE != 0 {
            return Err(unreadable("the file looked for is stored in its inode"));
        }
        let mut bytes = Vec::new();
        for block in 0..wanted.div_ceil(self.block_bytes() as u64) {
            match self.physical(inode, block)? {
                None => bytes.resize(bytes.len() + self.block_bytes(), 0),
                Some(place) => {
                    let at = self.place(place)?;
                    bytes.extend(self.source.bytes(at, self.block_bytes(), Format::Ext4)?);
                }
            }
        }
        bytes.truncate(usize::try_from(wanted).unwrap_or(usize::MAX));
        Ok(bytes)
    }

    /// As [`Self::physical`], for files of ext2 and ext3: the inode names twelve blocks and one block of further
    /// numbers.
    fn listed(&self, inode: &Inode, block: u64) -> Result<Option<u64>, ImageError> {
        let number = |list: &[u8], index: u64| {
            u64::from(u32_at(list, usize::try_from(index * 4).unwrap_or(usize::MAX - 4)))
        };
        let further = number(inode.map(), DIRECT_BLOCKS);
        let place = match block.checked_sub(DIRECT_BLOCKS) {
            None => number(inode.map(), block),
            Some(index) if index >= self.block_bytes() as u64 / 4 => {
                return Err(unreadable("the file looked for is long and has no extents"));
            }
            Some(_) if further == 0 => 0,
            Some(index) => {
                let at = self.place(further)?;
                number(&self.source.bytes(at, self.block_bytes(), Format::Ext4)?, index)
            }
        };
        Ok(Some(place).filter(|&place| place != 0))
    }

    /// The block of the image that a block of a file is in; none for a hole.
    fn physical(&self, inode: &Inode, block: u64) -> Result<Option<u64>, ImageError> {
        if inode.flags & FLAG_EXTENTS == 0 {
            return self.listed(inode, block);
        }
        let mut node = inode.map().to_vec();
        let mut depth_before = DEPTH_MAX + 1;
        loop {
            let (entries, depth) = (usize::from(u16_at(&node, 2)), u16_at(&node, 6));
            if u16_at(&node, 0) != EXTENT_MAGIC || depth >= depth_before {
                return Err(damaged("tree of extents"));
            }
            let starts_before = |entry: &&[u8]| u64::from(u32_at(entry, 0)) <= block;
            let entry =
                node.chunks_exact(12).skip(1).take(entries).take_while(starts_before).last();
            let Some(entry) = entry else { return Ok(None) };
            if depth == 0 {
                let into = block - u64::from(u32_at(entry, 0));
                let length = u16_at(entry, 4);
                let start = u64::from(u16_at(entry, 6)) << 32 | u64::from(u32_at(entry, 8));
                let written = length <= UNWRITTEN && into < u64::from(length);
                return Ok(written.then(|| start.saturating_add(into)));
            }
            let place = u64::from(u16_at(entry, 8)) << 32 | u64::from(u32_at(entry, 4));
            node = self.source.bytes(self.place(place)?, self.block_bytes(), Format::Ext4)?;
            depth_before = depth;
        }
    }
}

/// The value of an attribute in `area`, which holds entries from `first` on; values lie `base` bytes into it and
/// further.
fn value(
    area: &[u8],
    first: usize,
    base: usize,
    name: &str,
) -> Result<Option<Vec<u8>>, ImageError> {
    let mut at = first;
    while let Some(entry) = area.get(at..at + 16).filter(|entry| u32_at(entry, 0) != 0) {
        let [name_length, namespace, ..] = *entry else { break };
        let end = at + 16 + usize::from(name_length);
        if namespace == USER && area.get(at + 16..end) == Some(name.as_bytes()) {
            if u32_at(entry, 4) != 0 {
                return Err(unreadable("an attribute's value has an inode of its own"));
            }
            let from = base + usize::from(u16_at(entry, 2));
            let length = usize::try_from(u32_at(entry, 8)).unwrap_or(usize::MAX);
            let bytes = area.get(from..from.saturating_add(length));
            return bytes.map(|bytes| Some(bytes.to_vec())).ok_or(damaged("attribute"));
        }
        at = end.next_multiple_of(4);
    }
    Ok(None)
}

impl Nodes for Ext4<'_> {
    fn root(&self) -> u64 {
        ROOT
    }

    fn kind(&self, node: u64) -> Result<Kind, ImageError> {
        Ok(self.inode(node)?.kind())
    }

    fn children(&self, node: u64) -> Result<Vec<(String, u64)>, ImageError> {
        let inode = self.inode(node)?;
        if inode.size > DIRECTORY_BYTES_MAX {
            return Err(damaged("size of a directory"));
        }
        let bytes = self.bytes(&inode, inode.size)?;
        let mut children = Vec::new();
        for block in bytes.chunks(self.block_bytes()) {
            let mut at = 0;
            while let Some(entry) = block.get(at..at + 8) {
                let length = usize::from(u16_at(entry, 4));
                let name_length = usize::from(entry.get(6).copied().unwrap_or_default());
                if length < 8 + name_length || length % 4 != 0 {
                    return Err(damaged("directory"));
                }
                let name = block.get(at + 8..at + 8 + name_length).ok_or(damaged("directory"))?;
                if u32_at(entry, 0) != 0 {
                    let node = u64::from(u32_at(entry, 0));
                    children.extend(entry_name(name).map(|name| (name, node)));
                }
                at += length;
            }
            if children.len() > DIRECTORY_ENTRIES_MAX {
                return Err(damaged("number of directory entries"));
            }
        }
        Ok(children)
    }

    fn content(&self, node: u64, max: usize) -> Result<Vec<u8>, ImageError> {
        let inode = self.inode(node)?;
        let short =
            inode.kind() == Kind::Link && inode.size < 60 && inode.flags & FLAG_EXTENTS == 0;
        if short && inode.flags & FLAG_INLINE == 0 {
            let length = usize::try_from(inode.size).unwrap_or_default().min(max);
            return inode.map().get(..length).map(<[u8]>::to_vec).ok_or(damaged("link"));
        }
        self.bytes(&inode, max as u64)
    }

    fn attribute(&self, node: u64, name: &str) -> Result<Option<Vec<u8>>, ImageError> {
        let inode = self.inode(node)?;
        let inside = 128 + usize::from(u16_at(&inode.raw, 128));
        if u32_at(&inode.raw, inside) == ATTRIBUTE_MAGIC {
            let found = value(&inode.raw, inside + 4, inside + 4, name)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        let block = u64::from(u16_at(&inode.raw, 118)) << 32 | u64::from(u32_at(&inode.raw, 104));
        if block == 0 {
            return Ok(None);
        }
        let area = self.source.bytes(self.place(block)?, self.block_bytes(), Format::Ext4)?;
        if u32_at(&area, 0) == ATTRIBUTE_MAGIC {
            value(&area, 32, 0, name)
        } else {
            Err(damaged("block of attributes"))
        }
    }
}
