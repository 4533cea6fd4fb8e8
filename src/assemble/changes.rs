//! What an update changes: paths that are added, changed or removed against the tree in use.

use std::collections::HashSet;

use crate::assemble::error::AssembleError;
use crate::format::casync::catar::Content;
use crate::model::glob::any_covers;
use crate::model::snapshot::{NodeKind, NodeStat, Nodes};
use crate::model::step::DeleteMax;

/// Paths that an update adds, changes or removes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// The paths; not kept where everything is new.
    pub paths: HashSet<Vec<u8>>,
    /// There was nothing to compare with.
    pub everything: bool,
    /// How many nodes were added.
    pub added: u64,
    /// How many were changed.
    pub changed: u64,
    /// How many were removed.
    pub removed: u64,
}

impl Changed {
    /// Whether anything at or below a path is another; `.` is all of it.
    pub fn touches(&self, path: &str) -> bool {
        if self.everything {
            return true;
        }
        let path = path.as_bytes();
        path == b"." && !self.paths.is_empty()
            || self.paths.iter().any(|changed| {
                changed
                    .strip_prefix(path)
                    .is_some_and(|rest| rest.is_empty() || rest.first() == Some(&b'/'))
            })
    }
}

/// Whether a file has the bytes that it had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bytes {
    Same,
    Other,
}

/// Compares the nodes of an archive with those of the tree in use while they come.
pub(super) struct Changes<'a> {
    old: Option<&'a Nodes>,
    touched: &'a HashSet<Vec<u8>>,
    preserve: &'a [String],
    levels: Vec<Level>,
    /// The node of the same path as the one that was entered last.
    current: Option<usize>,
    found: Changed,
}

struct Level {
    path: Vec<u8>,
    /// The directory in the tree in use.
    old: Option<usize>,
    /// Its first entry that the archive was not seen to have yet.
    next: usize,
    end: usize,
}

impl<'a> Changes<'a> {
    pub(super) fn new(
        old: Option<&'a Nodes>,
        touched: &'a HashSet<Vec<u8>>,
        preserve: &'a [String],
    ) -> Self {
        let found = Changed { everything: old.is_none(), ..Changed::default() };
        Self { old, touched, preserve, levels: Vec::new(), current: None, found }
    }

    /// A node comes: what is at its path now, if it is of the same type.
    pub(super) fn enter(&mut self, name: &[u8], content: &Content) -> Option<NodeStat> {
        let old = self.old_of(name);
        let kind = kind_of(content);
        let same = old.and_then(|number| Some((number, *self.old?.stat(number)?)));
        let same = same.filter(|(_, stat)| stat.kind == kind);
        if let (Some(number), None) = (old, same) {
            // A directory gave way to a file, or the other way round.
            self.remove_below(number);
        }
        self.current = same.map(|(number, _)| number);
        if kind == NodeKind::Directory {
            let path = self.path_of(name);
            if same.is_none() {
                self.note(path.clone(), if old.is_some() { Kind::Changed } else { Kind::Added });
            }
            let children = match (self.old, self.current) {
                (Some(nodes), Some(number)) => nodes.children(number),
                _ => 0..0,
            };
            self.levels.push(Level {
                path,
                old: self.current,
                next: children.start,
                end: children.end,
            });
        }
        same.map(|(_, stat)| stat)
    }

    /// The node of the tree in use at the path of the node that came last.
    pub(super) fn old_node(&self) -> Option<usize> {
        self.current
    }

    /// What is known of it.
    pub(super) fn old_stat(&self) -> Option<&NodeStat> {
        self.old?.stat(self.current?)
    }

    /// The text of the link at the path of the node that came last in the tree in use.
    pub(super) fn old_target(&self) -> &[u8] {
        let target = |nodes: &'a Nodes| Some(nodes.target(self.current?));
        self.old.and_then(target).unwrap_or_default()
    }

    /// The node that came last was made.
    pub(super) fn made(&mut self, name: &[u8], stat: &NodeStat, target: &[u8], bytes: Bytes) {
        let path = self.path_of(name);
        let Some((number, old)) = self.current.and_then(|n| Some((n, *self.old?.stat(n)?))) else {
            self.note(path, Kind::Added);
            return;
        };
        let same_target = self.old.is_none_or(|nodes| nodes.target(number) == target);
        let same_size = old.size == stat.size || stat.kind != NodeKind::File;
        let same = same_about(&old, stat) && same_target && same_size && bytes == Bytes::Same;
        if !same || self.touched.contains(&path) {
            self.note(path, Kind::Changed);
        }
    }

    /// The node that came last was left out.
    pub(super) fn left_out(&mut self) {
        self.current = None;
    }

    /// The directory that is being filled is complete.
    pub(super) fn leave(&mut self, stat: &NodeStat) {
        let Some(end) = self.levels.last().map(|level| level.end) else { return };
        self.pass(end);
        if let Some(level) = self.levels.pop() {
            let old = level.old.and_then(|number| Some(*self.old?.stat(number)?));
            let other = old.is_some_and(|old| !same_about(&old, stat));
            if other || old.is_some() && self.touched.contains(&level.path) {
                self.note(level.path, Kind::Changed);
            }
        }
    }

    /// The path of something in the directory that is being filled.
    pub(super) fn path_of(&self, name: &[u8]) -> Vec<u8> {
        let parent = self.levels.last().map_or(&[][..], |level| &level.path);
        if parent.is_empty() { name.to_vec() } else { [parent, name].join(&b'/') }
    }

    /// The path of the directory that is being filled.
    pub(super) fn path_of_directory(&self) -> Vec<u8> {
        self.levels.last().map_or_else(Vec::new, |level| level.path.clone())
    }

    /// Everything that was found, unless that removes more than it may.
    pub(super) fn finish(mut self, most: DeleteMax) -> Result<Changed, AssembleError> {
        // What somebody else put into the tree goes with it.
        let extras = self.touched.iter().filter(|path| {
            self.old.is_some_and(|nodes| nodes.find(path).is_none())
                && !any_covers(self.preserve, path)
        });
        self.found.paths.extend(extras.cloned());
        let of = self.old.map_or(0, |nodes| nodes.count() as u64);
        let (removed, added) = (self.found.removed, self.found.added);
        if let Some(limit) = most.exceeded(removed, of, added) {
            return Err(AssembleError::Removes { removed, of, limit });
        }
        Ok(self.found)
    }

    /// The node of the tree in use with this name in the directory that is being filled. Both sides are sorted:
    /// what is passed over is not in the archive.
    fn old_of(&mut self, name: &[u8]) -> Option<usize> {
        let nodes = self.old?;
        if self.levels.is_empty() {
            return Some(0);
        }
        let parent = self.levels.last()?.old?;
        let found = nodes.child(parent, name);
        let children = nodes.children(parent);
        let until = found.unwrap_or_else(|| {
            let before = children.clone().take_while(|&n| nodes.name(n) < name).count();
            children.start + before
        });
        self.pass(until);
        if let Some(level) = self.levels.last_mut().filter(|_| found.is_some()) {
            level.next = until + 1;
        }
        found
    }

    fn pass(&mut self, until: usize) {
        let Some(level) = self.levels.last_mut() else { return };
        let gone = level.next..until;
        level.next = until.max(level.next);
        for number in gone {
            self.remove(number);
        }
    }

    fn remove(&mut self, number: usize) {
        let Some(nodes) = self.old else { return };
        let path = nodes.path(number);
        if any_covers(self.preserve, &path) {
            return;
        }
        self.note(path, Kind::Removed);
        self.remove_below(number);
    }

    fn remove_below(&mut self, number: usize) {
        let Some(nodes) = self.old else { return };
        // At most as deep as archives are.
        for child in nodes.children(number) {
            self.remove(child);
        }
    }

    fn note(&mut self, path: Vec<u8>, kind: Kind) {
        match kind {
            Kind::Added => self.found.added += 1,
            Kind::Changed => self.found.changed += 1,
            Kind::Removed => self.found.removed += 1,
        }
        if !self.found.everything {
            self.found.paths.insert(path);
        }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Added,
    Changed,
    Removed,
}

/// The same mode, owner and attributes. Times alone are no change: a rebuild touches them all.
fn same_about(old: &NodeStat, new: &NodeStat) -> bool {
    let mode = old.mode == new.mode || new.kind == NodeKind::Link;
    let owner = (old.uid, old.gid) == (new.uid, new.gid);
    mode && owner && old.attributes == new.attributes
}

/// The type that a node of the archive has on disk.
pub(super) fn kind_of(content: &Content) -> NodeKind {
    match content {
        Content::File { .. } => NodeKind::File,
        Content::Directory => NodeKind::Directory,
        Content::Symlink { .. } => NodeKind::Link,
        Content::Fifo => NodeKind::Fifo,
        Content::Socket => NodeKind::Socket,
        Content::Block { .. } => NodeKind::Block,
        Content::Character { .. } => NodeKind::Character,
    }
}
