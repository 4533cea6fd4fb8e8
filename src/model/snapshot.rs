//! What one generation of a tree consists of, as it was made: the list that drift is found with.
//!
//! A generation is a directory with the index it was made from, a head ([`SnapshotHead`], JSON), the part of
//! the archive that is not file content, and the list of nodes ([`Nodes`]), so compact that 100,000 of
//! them are read in a few milliseconds:
//!
//! | byte | bytes | field |
//! |---|---|---|
//! | 0 | 8 | `rcnodes1` |
//! | 8 | 4 | number of nodes |
//! | 12 | 4 | bytes of texts |
//! | 16 + 80 n | 80 | node n, numbers little endian |
//! | 16 + 80 N | … | texts: the name of each node, and of links their target after it |
//!
//! A node is: `u32` parent, `u32` place of its name in the texts, `u16` length of its name, `u8` type, a zero
//! byte, `u32` mode, `u32` owner, `u32` group, `u64` size, `i64` and `u32` modification time, `u32` and `i64`
//! change time, `u64` inode, `u64` where its content begins in the archive, `u64` hash of extended attributes.
//! Node 0 is the root; the entries of a directory stand together, sorted by name, after their directory.

use std::ops::Range;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::{Digest, Evidence, Version};

/// Version of a generation's own format.
pub const SNAPSHOT_FORMAT: u32 = 1;

/// Most nodes of a tree: 320 MiB of list.
pub const NODES_MAX: usize = 4_000_000;

const MAGIC: [u8; 8] = *b"rcnodes1";
const HEADER_BYTES: usize = 16;
const NODE_BYTES: usize = 80;

/// What is known about a generation besides its nodes. It stands beside the tree, never in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotHead {
    /// [`SNAPSHOT_FORMAT`].
    pub format: u32,
    /// The resource it was made for, `tree/site`.
    pub resource: String,
    /// The version.
    pub version: Version,
    /// Digest of everything in the desired state that decided what the tree holds.
    pub recipe: Digest,
    /// SHA-256 of the index.
    pub index: Digest,
    /// Why the index was accepted.
    pub evidence: Evidence,
    /// When the index was published, as far as its source says.
    pub published: Option<Timestamp>,
    /// When it was staged; of two that have the inode of the tree in use, the later one is in use.
    pub staged_at: Timestamp,
    /// Inode of the tree's root: says which generation a directory is, wherever it was renamed to.
    pub inode: u64,
    /// Inode of the tree whose files were moved into the one in use, where that is how it came there: what is left of
    /// that tree holds nothing of its own.
    pub merged: Option<u64>,
    /// Inode of the tree in use into which its own is to be moved, where that has only what is another there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_for: Option<u64>,
    /// Nodes of the tree.
    pub nodes: u64,
    /// Bytes of its archive.
    pub bytes: u64,
    /// What the archive says nothing about, so that the host's own way is kept.
    #[serde(default)]
    pub unsaid: Unsaid,
}

/// What an archive says nothing about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Unsaid {
    /// Permission bits.
    pub modes: bool,
    /// Owners, and the desired state does not say it either.
    pub owners: bool,
}

/// Type of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum NodeKind {
    /// A regular file.
    File = 1,
    /// A directory.
    Directory = 2,
    /// A symbolic link.
    Link = 3,
    /// A named pipe.
    Fifo = 4,
    /// A socket.
    Socket = 5,
    /// A block device.
    Block = 6,
    /// A character device.
    Character = 7,
}

impl NodeKind {
    fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::File,
            2 => Self::Directory,
            3 => Self::Link,
            4 => Self::Fifo,
            5 => Self::Socket,
            6 => Self::Block,
            7 => Self::Character,
            _ => return None,
        })
    }

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "regular file",
            Self::Directory => "directory",
            Self::Link => "symbolic link",
            Self::Fifo => "named pipe",
            Self::Socket => "socket",
            Self::Block => "block device",
            Self::Character => "character device",
        }
    }
}

/// One node as `lstat` saw it when it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeStat {
    /// Type.
    pub kind: NodeKind,
    /// The twelve permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of a file.
    pub size: u64,
    /// Last modification, seconds and nanoseconds.
    pub mtime: (i64, u32),
    /// Last change, seconds and nanoseconds.
    pub ctime: (i64, u32),
    /// Inode.
    pub inode: u64,
    /// Where a file's content begins in the archive.
    pub offset: u64,
    /// Hash of extended attributes and access control lists; 0 for none.
    pub attributes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Record {
    parent: u32,
    name_at: u32,
    name_length: u16,
    stat: NodeStat,
}

/// The nodes of a tree, parents before children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nodes {
    records: Vec<Record>,
    texts: Vec<u8>,
    /// The entries of each directory; empty for other nodes.
    children: Vec<Range<u32>>,
}

/// Why bytes are no list of nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the list of nodes is damaged at byte {at}: {what}")]
pub struct NodesError {
    /// Where.
    pub at: usize,
    /// What is wrong.
    pub what: &'static str,
}

impl Nodes {
    /// Reads a list. Everything that later calls rely on is checked.
    pub fn decode(bytes: &[u8]) -> Result<Self, NodesError> {
        let fail = |at, what| NodesError { at, what };
        let mut head = Fields(bytes);
        if head.take() != Some(MAGIC) {
            return Err(fail(0, "it does not begin like one"));
        }
        let (count, texts) = (head.count(), head.count());
        let (Some(count), Some(texts)) = (count, texts) else {
            return Err(fail(8, "it ends in its header"));
        };
        if count == 0 || count > NODES_MAX {
            return Err(fail(8, "a tree has 1 to 4000000 nodes"));
        }
        let texts_at = HEADER_BYTES + count * NODE_BYTES;
        if bytes.len() != texts_at + texts {
            return Err(fail(bytes.len(), "it has another length than its header says"));
        }
        let (table, texts) = bytes.split_at(texts_at);
        let table = table.get(HEADER_BYTES..).unwrap_or_default();
        let records: Option<Vec<Record>> = table.chunks_exact(NODE_BYTES).map(record).collect();
        let records = records.ok_or(fail(HEADER_BYTES, "a node is of no known type"))?;
        let nodes = Self { children: Vec::new(), texts: texts.to_vec(), records };
        nodes.checked().ok_or(fail(HEADER_BYTES, "nodes are out of order"))
    }

    /// Finds the entries of each directory; `None` when they do not stand together after it.
    fn checked(mut self) -> Option<Self> {
        let mut children = vec![0..0; self.records.len()];
        let mut last = 0;
        for (number, record) in (0_u32..).zip(&self.records) {
            let length = usize::from(record.name_length);
            let link = record.stat.kind == NodeKind::Link;
            let target = if link { usize::try_from(record.stat.size).ok()? } else { 0 };
            let at = usize::try_from(record.name_at).ok()?;
            let end = at.checked_add(length)?.checked_add(target)?;
            if end > self.texts.len() || (number > 0) == (length == 0) {
                return None;
            }
            if number == 0 {
                continue;
            }
            let parent = usize::try_from(record.parent).ok()?;
            let directory = self.records.get(parent)?.stat.kind == NodeKind::Directory;
            if record.parent >= number || record.parent < last || !directory {
                return None;
            }
            last = record.parent;
            let range: &mut Range<u32> = children.get_mut(parent)?;
            *range =
                if range.start == range.end { number..number + 1 } else { range.start..number + 1 };
        }
        self.children = children;
        Some(self)
    }

    /// The bytes of the list.
    pub fn encode(&self) -> Vec<u8> {
        let size = HEADER_BYTES + self.records.len() * NODE_BYTES + self.texts.len();
        let mut bytes = Vec::with_capacity(size);
        bytes.extend(MAGIC);
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
        bytes.extend(count(self.records.len()));
        bytes.extend(count(self.texts.len()));
        for Record { parent, name_at, name_length, stat } in &self.records {
            bytes.extend(parent.to_le_bytes());
            bytes.extend(name_at.to_le_bytes());
            bytes.extend(name_length.to_le_bytes());
            bytes.extend([stat.kind as u8, 0]);
            for number in [stat.mode, stat.uid, stat.gid] {
                bytes.extend(number.to_le_bytes());
            }
            bytes.extend(stat.size.to_le_bytes());
            bytes.extend(stat.mtime.0.to_le_bytes());
            bytes.extend(stat.mtime.1.to_le_bytes());
            bytes.extend(stat.ctime.1.to_le_bytes());
            bytes.extend(stat.ctime.0.to_le_bytes());
            for number in [stat.inode, stat.offset, stat.attributes] {
                bytes.extend(number.to_le_bytes());
            }
        }
        bytes.extend(&self.texts);
        bytes
    }

    /// How many there are; at least 1.
    pub fn count(&self) -> usize {
        self.records.len()
    }

    /// A node.
    pub fn stat(&self, number: usize) -> Option<&NodeStat> {
        self.records.get(number).map(|record| &record.stat)
    }

    /// The name of a node in its directory; empty for the root.
    pub fn name(&self, number: usize) -> &[u8] {
        self.text(number).map_or(&[], |(name, _)| name)
    }

    /// The text of a link.
    pub fn target(&self, number: usize) -> &[u8] {
        self.text(number).map_or(&[], |(_, target)| target)
    }

    fn text(&self, number: usize) -> Option<(&[u8], &[u8])> {
        let record = self.records.get(number)?;
        let rest = self.texts.get(usize::try_from(record.name_at).ok()?..)?;
        let (name, rest) = rest.split_at_checked(usize::from(record.name_length))?;
        let link = record.stat.kind == NodeKind::Link;
        let length = if link { usize::try_from(record.stat.size).ok()? } else { 0 };
        Some((name, rest.get(..length)?))
    }

    /// The path of a node below the root; empty for the root.
    pub fn path(&self, number: usize) -> Vec<u8> {
        let mut names = Vec::new();
        let mut at = number;
        while at > 0 {
            names.push(self.name(at));
            at = self.parent(at);
        }
        names.reverse();
        names.join(&b'/')
    }

    /// The directory that a node is in; the root is in itself.
    pub fn parent(&self, number: usize) -> usize {
        let parent = self.records.get(number).map_or(0, |record| record.parent);
        usize::try_from(parent).unwrap_or_default()
    }

    /// The entries of a directory, sorted by name.
    pub fn children(&self, number: usize) -> Range<usize> {
        let range = self.children.get(number).cloned().unwrap_or_default();
        let index = |number: u32| usize::try_from(number).unwrap_or_default();
        index(range.start)..index(range.end)
    }

    /// The node at a path below the root; the root for an empty one.
    pub fn find(&self, path: &[u8]) -> Option<usize> {
        if path.is_empty() {
            return Some(0);
        }
        path.split(|&byte| byte == b'/').try_fold(0, |directory, name| self.child(directory, name))
    }

    /// The entry of a directory with this name.
    pub fn child(&self, directory: usize, name: &[u8]) -> Option<usize> {
        let mut range = self.children(directory);
        let end = range.end;
        while range.start < range.end {
            let middle = range.start + (range.end - range.start) / 2;
            if self.name(middle) < name {
                range.start = middle + 1;
            } else {
                range.end = middle;
            }
        }
        (range.start < end && self.name(range.start) == name).then_some(range.start)
    }
}

/// Little-endian numbers, one after the other.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }

    fn short(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn long(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn signed(&mut self) -> Option<i64> {
        self.take().map(i64::from_le_bytes)
    }

    fn count(&mut self) -> Option<usize> {
        usize::try_from(self.short()?).ok()
    }
}

fn record(bytes: &[u8]) -> Option<Record> {
    let mut fields = Fields(bytes);
    let (parent, name_at) = (fields.short()?, fields.short()?);
    let name_length = fields.take().map(u16::from_le_bytes)?;
    let [kind, _] = fields.take()?;
    let (mode, uid, gid) = (fields.short()?, fields.short()?, fields.short()?);
    let size = fields.long()?;
    let mtime = (fields.signed()?, fields.short()?);
    let nanoseconds = fields.short()?;
    let ctime = (fields.signed()?, nanoseconds);
    let (inode, offset, attributes) = (fields.long()?, fields.long()?, fields.long()?);
    let kind = NodeKind::from_number(kind)?;
    let stat = NodeStat { kind, mode, uid, gid, size, mtime, ctime, inode, offset, attributes };
    Some(Record { parent, name_at, name_length, stat })
}

/// Collects nodes as an archive lists them: each directory right before its entries.
#[derive(Debug, Default)]
pub struct NodesBuilder {
    records: Vec<Record>,
    texts: Vec<u8>,
}

impl NodesBuilder {
    /// Adds a node below the directory that was added as `parent`; the root first, with an empty name. Returns
    /// its number among those added, or nothing when the list is full.
    pub fn add(&mut self, parent: u32, name: &[u8], target: &[u8], stat: NodeStat) -> Option<u32> {
        let number = u32::try_from(self.records.len()).ok()?;
        let name_at = u32::try_from(self.texts.len()).ok()?;
        if self.records.len() >= NODES_MAX {
            return None;
        }
        let name_length = u16::try_from(name.len()).ok()?;
        self.texts.extend(name);
        self.texts.extend(target);
        self.records.push(Record { parent, name_at, name_length, stat });
        Some(number)
    }

    /// Replaces what is known of a node: that of a directory is known once its entries were made.
    pub fn update(&mut self, number: u32, stat: NodeStat) {
        let record = usize::try_from(number).ok().and_then(|n| self.records.get_mut(n));
        if let Some(record) = record {
            record.stat = stat;
        }
    }

    /// The list, with the entries of each directory together; `None` for an empty one.
    pub fn finish(self) -> Option<Nodes> {
        let count = self.records.len();
        let index = |number: u32| usize::try_from(number).unwrap_or_default();
        // Entries by directory in the order added, as one array with the start of each directory's part.
        let mut starts = vec![0_usize; count + 1];
        for record in self.records.iter().skip(1) {
            *starts.get_mut(index(record.parent) + 1)? += 1;
        }
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        let mut fill = starts.clone();
        let mut entries = vec![0_usize; count.saturating_sub(1)];
        for (number, record) in self.records.iter().enumerate().skip(1) {
            let place = fill.get_mut(index(record.parent))?;
            *entries.get_mut(*place)? = number;
            *place += 1;
        }
        let mut order = Vec::with_capacity(count);
        order.push((0_usize, 0_u32));
        let mut next = 0;
        while let Some(&(number, _)) = order.get(next) {
            let part = entries.get(*starts.get(number)?..*starts.get(number + 1)?)?;
            let parent = u32::try_from(next).ok()?;
            order.extend(part.iter().map(|&entry| (entry, parent)));
            next += 1;
        }
        let moved =
            |&(at, parent): &(usize, u32)| Some(Record { parent, ..*self.records.get(at)? });
        let records = order.iter().map(moved).collect::<Option<_>>()?;
        Nodes { records, texts: self.texts, children: Vec::new() }.checked()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(kind: NodeKind, size: u64) -> NodeStat {
        NodeStat {
            kind,
            mode: 0o644,
            uid: 1,
            gid: 2,
            size,
            mtime: (-3, 4),
            ctime: (5, 6),
            inode: 7,
            offset: 8,
            attributes: 9,
        }
    }

    fn sample() -> Nodes {
        let mut builder = NodesBuilder::default();
        let directory = stat(NodeKind::Directory, 0);
        let root = builder.add(0, b"", b"", directory).unwrap();
        let a = builder.add(root, b"a", b"", directory).unwrap();
        builder.add(a, b"x", b"", stat(NodeKind::File, 10)).unwrap();
        let deep = builder.add(a, b"y", b"", directory).unwrap();
        builder.add(deep, b"\xff", b"", stat(NodeKind::Fifo, 0)).unwrap();
        builder.add(root, b"b", b"a/x", stat(NodeKind::Link, 3)).unwrap();
        builder.finish().unwrap()
    }

    #[test]
    fn list_comes_back_as_it_was_written() {
        let nodes = sample();
        let again = Nodes::decode(&nodes.encode()).unwrap();
        assert_eq!(again, nodes);
        assert_eq!(nodes.count(), 6);
        let b = nodes.child(0, b"b").unwrap();
        assert_eq!(nodes.target(b), b"a/x");
        let a = nodes.child(0, b"a").unwrap();
        let deep = nodes.child(a, b"y").unwrap();
        let pipe = nodes.children(deep).next().unwrap();
        assert_eq!(nodes.path(pipe), b"a/y/\xff");
        assert_eq!(nodes.stat(pipe).unwrap().kind, NodeKind::Fifo);
        assert_eq!(nodes.child(a, b"z"), None);
        assert_eq!(nodes.child(b, b"a"), None);
    }

    #[test]
    fn damaged_list_is_refused_or_safe_to_use() {
        let bytes = sample().encode();
        for end in 0..bytes.len() {
            assert!(Nodes::decode(&bytes[..end]).is_err(), "{end} bytes");
        }
        for at in 0..bytes.len() {
            for bit in [1, 0x80] {
                let mut damaged = bytes.clone();
                damaged[at] ^= bit;
                if let Ok(nodes) = Nodes::decode(&damaged) {
                    for number in 0..nodes.count() {
                        let _ = (nodes.path(number), nodes.target(number));
                        let _ = (nodes.child(number, b"x"), nodes.children(number));
                    }
                }
            }
        }
    }
}
