//! erofs, read in small pieces.
//!
//! Layout (Linux `fs/erofs/erofs_fs.h`, little-endian): a superblock of 128 bytes at 1024; inodes of 32 or 64
//! bytes at `meta_blkaddr`, named by their place in units of 32; after each its extended attributes, and its
//! last partial block where that is stored inline. Directories are blocks of 12-byte entries followed by
//! their names. Only uncompressed files are read: directories always are, and mkfs.erofs leaves files that
//! are shorter than a block so unless told to pack tails.

use crate::format::image::bytes::{Source, crc32c, entry_name, u16_at, u32_at, u64_at};
use crate::format::image::walk::Nodes;
use crate::format::image::{DIRECTORY_BYTES_MAX, DIRECTORY_ENTRIES_MAX, Format, ImageError, Kind};

const SUPERBLOCK_AT: u64 = 1024;
const SUPERBLOCK: usize = 128;

/// In `feature_compat`: the superblock's block has a checksum.
const COMPAT_CHECKSUM: u32 = 1;

/// In `feature_incompat`, all that change nothing for uncompressed files: packed clusters (1), big ones (2), chunks
/// (4), a table of devices (8), packed tails (16), fragments (32), prefixes of attributes (64).
const INCOMPAT_READ: u32 = 0x7f;

/// In the format of a chunked file: entries of 8 bytes instead of 4.
const CHUNK_INDEXES: u32 = 0x20;

/// Attributes are aligned so.
const ATTRIBUTE_ALIGN: usize = 4;

/// Namespace `user.` of an attribute.
const USER: u8 = 1;

pub(super) struct Erofs<'a> {
    source: Source<'a>,
    block_bits: u32,
    root: u64,
    meta: u64,
    attributes: u64,
}

/// How a file's bytes are laid out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    Plain,
    Inline,
    Chunks,
    Compressed,
}

struct Inode {
    kind: Kind,
    layout: Layout,
    size: u64,
    /// First block, or the format of chunks.
    place: u32,
    /// Where the attributes are, and how many bytes of them.
    attributes: (u64, usize),
}

impl Inode {
    /// Where what follows the inode begins.
    fn tail(&self) -> u64 {
        self.attributes.0 + self.attributes.1 as u64
    }
}

fn damaged(what: &'static str) -> ImageError {
    ImageError::Damaged { format: Format::Erofs, what }
}

fn unreadable(what: &str) -> ImageError {
    ImageError::Unreadable { format: Format::Erofs, what: what.to_owned() }
}

impl<'a> Erofs<'a> {
    pub(super) fn open(source: Source<'a>) -> Result<Self, ImageError> {
        let raw: [u8; SUPERBLOCK] = source.array(SUPERBLOCK_AT, Format::Erofs)?;
        let block_bits = u32::from(raw.get(12).copied().unwrap_or_default());
        if !(9..=16).contains(&block_bits) {
            return Err(damaged("block size"));
        }
        source.holds(u64::from(u32_at(&raw, 36)) << block_bits, Format::Erofs)?;
        if u32_at(&raw, 8) & COMPAT_CHECKSUM != 0 {
            verify(source, &raw, block_bits)?;
        }
        if u32_at(&raw, 80) & !INCOMPAT_READ != 0 {
            return Err(unreadable("it uses features that are newer than this program"));
        }
        if raw.get(90) != Some(&0) {
            return Err(unreadable("its directory blocks are not as long as its blocks"));
        }
        let image = Self {
            source,
            block_bits,
            root: u16_at(&raw, 14).into(),
            meta: u64::from(u32_at(&raw, 40)) << block_bits,
            attributes: u64::from(u32_at(&raw, 44)) << block_bits,
        };
        match image.kind(image.root)? {
            Kind::Directory => Ok(image),
            _ => Err(damaged("root directory")),
        }
    }

    fn inode(&self, node: u64) -> Result<Inode, ImageError> {
        let place = node.checked_mul(32).and_then(|offset| self.meta.checked_add(offset));
        let at = place.ok_or(damaged("place of an inode"))?;
        let head: [u8; 32] = self.source.array(at, Format::Erofs)?;
        let format = u16_at(&head, 0);
        let (length, size) = match format & 1 {
            0 => (32, u32_at(&head, 8).into()),
            _ => (64, u64_at(&head, 8)),
        };
        let layout = match format >> 1 & 7 {
            0 => Layout::Plain,
            2 => Layout::Inline,
            4 => Layout::Chunks,
            1 | 3 => Layout::Compressed,
            _ => return Err(damaged("layout of an inode")),
        };
        let attributes = match usize::from(u16_at(&head, 2)) {
            0 => 0,
            count => 12 + (count - 1) * 4,
        };
        Ok(Inode {
            kind: kind(u16_at(&head, 4)),
            layout,
            size,
            place: u32_at(&head, 16),
            attributes: (at + length, attributes),
        })
    }

    fn block(&self) -> u64 {
        1 << self.block_bits
    }

    /// The first `wanted` bytes of a file or directory.
    fn bytes(&self, inode: &Inode, wanted: u64) -> Result<Vec<u8>, ImageError> {
        let wanted = wanted.min(inode.size);
        let length = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let start = u64::from(inode.place) << self.block_bits;
        match inode.layout {
            Layout::Plain => self.source.bytes(start, length(wanted), Format::Erofs),
            Layout::Inline => {
                let whole = inode.size - inode.size % self.block();
                let first = whole.min(wanted);
                let mut bytes = match first {
                    0 => Vec::new(),
                    _ => self.source.bytes(start, length(first), Format::Erofs)?,
                };
                if wanted > whole {
                    let rest = length(wanted - whole);
                    bytes.extend(self.source.bytes(inode.tail(), rest, Format::Erofs)?);
                }
                Ok(bytes)
            }
            Layout::Chunks => self.chunks(inode, length(wanted)),
            Layout::Compressed => Err(unreadable("the file looked for is compressed")),
        }
    }

    fn chunks(&self, inode: &Inode, wanted: usize) -> Result<Vec<u8>, ImageError> {
        let chunk = self.block().checked_shl(inode.place & 0x1f).unwrap_or_default();
        let entry_bytes: u64 = if inode.place & CHUNK_INDEXES == 0 { 4 } else { 8 };
        let table = inode.tail().next_multiple_of(entry_bytes);
        let mut bytes = Vec::new();
        while bytes.len() < wanted {
            let index = (bytes.len() as u64).checked_div(chunk).ok_or(damaged("chunk size"))?;
            let raw = self.source.bytes(
                table.saturating_add(index * entry_bytes),
                if entry_bytes == 4 { 4 } else { 8 },
                Format::Erofs,
            )?;
            let (device, block) = match entry_bytes {
                4 => (0, u32_at(&raw, 0)),
                _ => (u16_at(&raw, 2), u32_at(&raw, 4)),
            };
            if device != 0 {
                return Err(unreadable("its data lies on another device"));
            }
            let count = usize::try_from(chunk).unwrap_or(usize::MAX).min(wanted - bytes.len());
            if block == u32::MAX {
                bytes.resize(bytes.len() + count, 0);
            } else {
                let at = u64::from(block) << self.block_bits;
                bytes.extend(self.source.bytes(at, count, Format::Erofs)?);
            }
        }
        Ok(bytes)
    }

    /// The value of an attribute at the head of `entries`, and how long the entry is.
    fn value(&self, at: u64, name: &str) -> Result<(Option<Vec<u8>>, usize), ImageError> {
        let head: [u8; 4] = self.source.array(at, Format::Erofs)?;
        let [name_length, namespace, ..] = head;
        let (name_length, value_length) = (usize::from(name_length), usize::from(u16_at(&head, 2)));
        let found = self.source.bytes(at + 4, name_length, Format::Erofs)?;
        let value = (namespace == USER && found == name.as_bytes())
            .then(|| self.source.bytes(at + 4 + name_length as u64, value_length, Format::Erofs));
        let length = (4 + name_length + value_length).next_multiple_of(ATTRIBUTE_ALIGN);
        Ok((value.transpose()?, length))
    }
}

fn verify(source: Source<'_>, raw: &[u8], block_bits: u32) -> Result<(), ImageError> {
    // Blocks that are no longer than what stands before the superblock are summed in full.
    let block = 1_u64 << block_bits;
    let length = if block > SUPERBLOCK_AT { block - SUPERBLOCK_AT } else { block };
    let length = usize::try_from(length).unwrap_or_default();
    let mut block = source.bytes(SUPERBLOCK_AT, length, Format::Erofs)?;
    if let Some(field) = block.get_mut(4..8) {
        field.fill(0);
    }
    if crc32c(u32::MAX, &block) == u32_at(raw, 4) {
        Ok(())
    } else {
        Err(damaged("checksum of the superblock"))
    }
}

/// From the mode of an inode.
pub(super) fn kind(mode: u16) -> Kind {
    match mode >> 12 {
        0o04 => Kind::Directory,
        0o10 => Kind::File,
        0o12 => Kind::Link,
        _ => Kind::Other,
    }
}

impl Nodes for Erofs<'_> {
    fn root(&self) -> u64 {
        self.root
    }

    fn kind(&self, node: u64) -> Result<Kind, ImageError> {
        Ok(self.inode(node)?.kind)
    }

    fn children(&self, node: u64) -> Result<Vec<(String, u64)>, ImageError> {
        let inode = self.inode(node)?;
        if inode.size > DIRECTORY_BYTES_MAX {
            return Err(damaged("size of a directory"));
        }
        let bytes = self.bytes(&inode, inode.size)?;
        let mut children = Vec::new();
        for block in bytes.chunks(usize::try_from(self.block()).unwrap_or(4096)) {
            let names_at = usize::from(u16_at(block, 8));
            if names_at < 12 || names_at > block.len() {
                return Err(damaged("directory"));
            }
            for entry in (0..names_at / 12).map(|index| index * 12) {
                let from = usize::from(u16_at(block, entry + 8));
                let to = if entry + 12 < names_at {
                    usize::from(u16_at(block, entry + 20))
                } else {
                    block.len()
                };
                let name = block.get(from..to).ok_or(damaged("directory"))?;
                let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
                children.extend(entry_name(name).map(|name| (name, u64_at(block, entry))));
            }
            if children.len() > DIRECTORY_ENTRIES_MAX {
                return Err(damaged("number of directory entries"));
            }
        }
        Ok(children)
    }

    fn content(&self, node: u64, max: usize) -> Result<Vec<u8>, ImageError> {
        self.bytes(&self.inode(node)?, max as u64)
    }

    fn attribute(&self, node: u64, name: &str) -> Result<Option<Vec<u8>>, ImageError> {
        let (at, length) = self.inode(node)?.attributes;
        if length < 12 {
            return Ok(None);
        }
        let head: [u8; 12] = self.source.array(at, Format::Erofs)?;
        let shared = usize::from(head.get(4).copied().unwrap_or_default());
        for index in 0..shared {
            let id = self.source.array(at + 12 + index as u64 * 4, Format::Erofs)?;
            let place = self.attributes.saturating_add(u64::from(u32::from_le_bytes(id)) * 4);
            if let (Some(value), _) = self.value(place, name)? {
                return Ok(Some(value));
            }
        }
        let mut offset = 12 + shared * 4;
        while offset + 4 <= length {
            let (value, step) = self.value(at + offset as u64, name)?;
            if value.is_some() {
                return Ok(value);
            }
            offset += step;
        }
        Ok(None)
    }
}
