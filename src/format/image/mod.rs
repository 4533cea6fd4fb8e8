//! Disk images of extensions, looked into without mounting them.
//!
//! An image is recognised by its magic numbers, checked for being whole, and read just far enough to list a
//! directory or to read a small file: squashfs, erofs and ext4, bare or as the root or usr partition of a
//! GPT. Nothing is decompressed but what is asked for, and no structure is believed beyond a bound.

mod bytes;
mod codec;
mod contents;
mod erofs;
mod ext4;
mod gpt;
mod squashfs;
mod walk;

use std::fmt;
use std::io;

use crate::format::elf::ReadAt;
use bytes::Source;
use walk::Tree;

pub use contents::{NEEDED, contents, hidden};

/// Loop devices, which images are mounted through, have whole sectors only: bytes after the last are lost.
const SECTOR: u64 = 512;

/// Entries of a directory that are listed: release directories have one, a root has twenty.
const DIRECTORY_ENTRIES_MAX: usize = 65_536;

/// Bytes of a directory: 65,536 names of the usual length stay below. Bounds the work that a hostile image makes.
const DIRECTORY_BYTES_MAX: u64 = 4 << 20;

/// What an image is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// squashfs 4.0.
    Squashfs,
    /// The Enhanced Read-Only File System.
    Erofs,
    /// ext2, ext3 or ext4.
    Ext4,
    /// btrfs, which is recognised and not read.
    Btrfs,
    /// A disk with a GUID partition table.
    Gpt,
    /// Hashes for dm-verity without the data they protect.
    Verity,
    /// An encrypted volume.
    Luks,
}

impl fmt::Display for Format {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Squashfs => "squashfs image",
            Self::Erofs => "erofs image",
            Self::Ext4 => "ext4 image",
            Self::Btrfs => "btrfs image",
            Self::Gpt => "GPT disk image",
            Self::Verity => "dm-verity hash image",
            Self::Luks => "LUKS volume",
        })
    }
}

/// Why an image cannot be looked into.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The bytes cannot be read.
    #[error("cannot read the image")]
    Read(#[source] io::Error),
    /// No bytes at all.
    #[error("the image is empty; fetch it again")]
    Empty,
    /// Begins as no known image does.
    #[error("it is no disk image: neither squashfs, erofs, ext4, btrfs nor GPT")]
    Unknown,
    /// Shorter than it says itself.
    #[error("the {format} is cut short: it needs {needs} bytes and has {has}; fetch it again")]
    Truncated {
        /// What it is.
        format: Format,
        /// Bytes it should have.
        needs: u64,
        /// Whole sectors it has, in bytes.
        has: u64,
    },
    /// Contradicts itself.
    #[error("the {format} is damaged: its {what} is impossible")]
    Damaged {
        /// What it is.
        format: Format,
        /// The part that is wrong.
        what: &'static str,
    },
    /// Perhaps whole, but not readable here: the caller decides.
    #[error("the {format} cannot be looked into: {what}")]
    Unreadable {
        /// What it is.
        format: Format,
        /// What would be needed.
        what: String,
    },
}

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Link,
    /// A device, pipe or socket.
    Other,
}

/// A directory's entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name; names that are not UTF-8 are left out.
    pub name: String,
    /// What it is, links not followed.
    pub kind: Kind,
}

/// The files of an extension, in an image or unpacked. Paths are relative to its root, without `.` and `..`;
/// links are followed as if the root were `/`.
pub trait ImageFiles {
    /// What is in a directory; nothing if there is no such directory.
    fn list(&self, directory: &str) -> Result<Vec<Entry>, ImageError>;

    /// What a path leads to, never a link; none if to nothing.
    fn kind(&self, path: &str) -> Result<Option<Kind>, ImageError>;

    /// The first `max` bytes of a regular file; none if there is no such file.
    fn read(&self, path: &str, max: usize) -> Result<Option<Vec<u8>>, ImageError>;

    /// An extended attribute in the `user.` namespace, named in full.
    fn attribute(&self, path: &str, name: &str) -> Result<Option<Vec<u8>>, ImageError>;
}

/// An image that is whole as far as its own sizes say.
pub struct Opened<'a> {
    /// What it is: for a disk with partitions, what the one that is looked into holds.
    pub format: Format,
    /// Whether it is a disk with partitions.
    pub partitioned: bool,
    /// Whether it comes with a dm-verity partition.
    pub verity: bool,
    /// What is in it.
    pub files: Box<dyn ImageFiles + 'a>,
}

impl fmt::Debug for Opened<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Opened").field("format", &self.format).finish_non_exhaustive()
    }
}

/// Recognises an image of `size` bytes, refuses it if it is cut short, and opens it for looking.
pub fn open(image: &dyn ReadAt, size: u64) -> Result<Opened<'_>, ImageError> {
    if size == 0 {
        return Err(ImageError::Empty);
    }
    let whole = Source::new(image, size - size % SECTOR);
    let Some(disk) = gpt::find(whole)? else {
        let (format, files) = file_system(whole)?;
        return Ok(Opened { format, partitioned: false, verity: false, files });
    };
    let (format, files) = file_system(disk.partition)?;
    let files = if disk.is_usr { Box::new(walk::Below { prefix: "usr", files }) } else { files };
    Ok(Opened { format, partitioned: true, verity: disk.verity, files })
}

fn file_system(source: Source<'_>) -> Result<(Format, Box<dyn ImageFiles + '_>), ImageError> {
    let unreadable =
        |format, what: &str| Err(ImageError::Unreadable { format, what: what.to_owned() });
    match recognise(source)? {
        Format::Squashfs => {
            Ok((Format::Squashfs, Box::new(Tree(squashfs::Squashfs::open(source)?))))
        }
        Format::Erofs => Ok((Format::Erofs, Box::new(Tree(erofs::Erofs::open(source)?)))),
        Format::Ext4 => Ok((Format::Ext4, Box::new(Tree(ext4::Ext4::open(source)?)))),
        Format::Btrfs => {
            let total: [u8; 8] = source.array(BTRFS_SUPERBLOCK + 0x70, Format::Btrfs)?;
            source.holds(u64::from_le_bytes(total), Format::Btrfs)?;
            unreadable(Format::Btrfs, "btrfs is recognised but not read; use squashfs or erofs")
        }
        Format::Gpt => unreadable(Format::Gpt, "it lies inside a partition"),
        Format::Verity => unreadable(Format::Verity, "it holds hashes and no files"),
        Format::Luks => unreadable(Format::Luks, "it is encrypted"),
    }
}

/// Where btrfs has its first superblock.
const BTRFS_SUPERBLOCK: u64 = 0x10000;

/// Magic numbers, where they stand, and what they mean.
const MAGICS: [(u64, &[u8], Format); 6] = [
    (0, b"hsqs", Format::Squashfs),
    (0, b"verity\0\0", Format::Verity),
    (0, b"LUKS\xba\xbe", Format::Luks),
    (1024, &[0xe2, 0xe1, 0xf5, 0xe0], Format::Erofs),
    (1024 + 56, &[0x53, 0xef], Format::Ext4),
    (BTRFS_SUPERBLOCK + 0x40, b"_BHRfS_M", Format::Btrfs),
];

fn recognise(source: Source<'_>) -> Result<Format, ImageError> {
    for (offset, magic, format) in MAGICS {
        if source.starts_with(offset, magic)? {
            return Ok(format);
        }
    }
    Err(ImageError::Unknown)
}
