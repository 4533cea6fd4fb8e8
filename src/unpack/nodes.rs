//! The unpacked tree in memory: what is where, and where its links lead.

use std::collections::btree_map::{BTreeMap, Entry as Place};

use crate::model::manifest::{Entry, EntryKind, MANIFEST_NAME};
use crate::model::step::Strip;
use crate::unpack::error::Refused;
use crate::unpack::limits::{LINK_HOPS_MAX, TARGET_COMPONENTS_MAX};
use crate::unpack::path;

/// The directory that `strip: auto` keeps: its name is part of a layout, not of a release.
const KEPT_TOP: &str = "bin";

/// What a file's first bytes say it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Magic {
    /// An ELF program or library.
    Elf,
    /// A script that names its interpreter.
    Script,
    /// Anything else.
    Other,
}

impl Magic {
    /// Reads the first bytes of a file.
    pub(super) fn of(head: &[u8]) -> Self {
        match head {
            [0x7f, b'E', b'L', b'F', ..] => Self::Elf,
            [b'#', b'!', ..] => Self::Script,
            _ => Self::Other,
        }
    }
}

/// One file, directory or link.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) kind: EntryKind,
    pub(super) magic: Magic,
}

/// Every node by its path, sorted; parents before children.
#[derive(Debug, Default)]
pub(super) struct Nodes(BTreeMap<String, Node>);

impl Nodes {
    pub(super) fn get(&self, path: &str) -> Option<&Node> {
        self.0.get(path)
    }

    pub(super) fn kind_mut(&mut self, path: &str) -> Option<&mut EntryKind> {
        self.0.get_mut(path).map(|node| &mut node.kind)
    }

    /// The file at `path` and those of the same content, if it is not executable.
    pub(super) fn plain_copies(&self, path: &str) -> Vec<String> {
        let plain = |node: &Node| match &node.kind {
            EntryKind::File { mode, sha256, .. } if mode & 0o111 == 0 => Some(sha256.clone()),
            _ => None,
        };
        let Some(content) = self.get(path).and_then(plain) else { return Vec::new() };
        let copies = self.files().filter(|(_, node)| plain(node).as_ref() == Some(&content));
        copies.map(|(path, _)| path.to_owned()).collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.0.iter().map(|(path, node)| (path.as_str(), node))
    }

    /// The regular files.
    pub(super) fn files(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.iter().filter(|(_, node)| matches!(node.kind, EntryKind::File { .. }))
    }

    /// The symbolic links with their targets.
    pub(super) fn links(&self) -> impl Iterator<Item = (&str, &str)> {
        self.iter().filter_map(|(path, node)| match &node.kind {
            EntryKind::Link { target } => Some((path, target.as_str())),
            _ => None,
        })
    }

    /// Adds a node at a path where nothing is yet.
    pub(super) fn add(&mut self, path: &str, kind: EntryKind, magic: Magic) -> Result<(), Refused> {
        match self.0.entry(path.to_owned()) {
            Place::Occupied(_) => Err(Refused::Duplicate),
            Place::Vacant(place) => {
                place.insert(Node { kind, magic });
                Ok(())
            }
        }
    }

    /// The directories above `path` that are not there yet, topmost first.
    pub(super) fn missing_parents<'a>(&self, path: &'a str) -> Result<Vec<&'a str>, Refused> {
        let mut missing = Vec::new();
        let mut rest = path;
        while let Some((parent, _)) = rest.rsplit_once('/') {
            match self.get(parent).map(|node| &node.kind) {
                Some(EntryKind::Dir { .. }) => break,
                Some(_) => return Err(Refused::NotInDirectory),
                None => missing.push(parent),
            }
            rest = parent;
        }
        missing.reverse();
        Ok(missing)
    }

    /// The top directory that `strip` drops.
    pub(super) fn stripped(&self, strip: Strip) -> Option<String> {
        let mut tops = self.iter().filter(|(path, _)| !path.contains('/'));
        match (strip, tops.next(), tops.next()) {
            (Strip::Auto, Some((top, node)), None)
                if top != KEPT_TOP && matches!(node.kind, EntryKind::Dir { .. }) =>
            {
                Some(top.to_owned())
            }
            _ => None,
        }
    }

    /// Drops the top directory `top`, which holds everything.
    pub(super) fn lift(&mut self, top: &str) {
        let old = std::mem::take(&mut self.0);
        self.0 = old
            .into_iter()
            .filter_map(|(mut path, node)| {
                let below = path.strip_prefix(top)?.strip_prefix('/')?.len();
                path.drain(..path.len() - below);
                Some((path, node))
            })
            .collect();
    }

    /// Names at the top that are on disk already: all but the links.
    pub(super) fn tops_on_disk(&self) -> impl Iterator<Item = &str> {
        self.iter()
            .filter(|(path, node)| {
                !path.contains('/') && !matches!(node.kind, EntryKind::Link { .. })
            })
            .map(|(path, _)| path)
    }

    /// Refuses a release that would overwrite its own manifest.
    pub(super) fn check_reserved(&self) -> Result<(), Refused> {
        if self.0.contains_key(MANIFEST_NAME) { Err(Refused::Reserved) } else { Ok(()) }
    }

    /// Where the link at `path` with `target` leads, over other links; empty for the root itself.
    ///
    /// This is an exact look-up, not arithmetic on text: `dir/link/../x` is not `dir/x`.
    pub(super) fn follow(&self, path: &str, target: &str) -> Result<String, Refused> {
        let mut at: Vec<&str> = path::split(path).0.split('/').filter(|c| !c.is_empty()).collect();
        let mut ahead: Vec<&str> = Vec::new();
        push_components(&mut ahead, target)?;
        let mut hops = 1;
        while let Some(component) = ahead.pop() {
            if component == ".." {
                at.pop().ok_or(Refused::LinkLeaves)?;
                continue;
            }
            at.push(component);
            let node = self.get(&at.join("/")).ok_or(Refused::LinkDangles)?;
            match &node.kind {
                EntryKind::Dir { .. } => {}
                EntryKind::File { .. } if ahead.is_empty() => {}
                EntryKind::File { .. } => return Err(Refused::LinkDangles),
                EntryKind::Link { target } => {
                    hops += 1;
                    if hops > LINK_HOPS_MAX {
                        return Err(Refused::LinkLoops);
                    }
                    at.pop();
                    push_components(&mut ahead, target)?;
                }
            }
        }
        Ok(at.join("/"))
    }

    /// Two paths that a case-insensitive file system takes for one.
    pub(super) fn case_collision(&self) -> Option<(&str, &str)> {
        let mut seen: BTreeMap<String, &str> = BTreeMap::new();
        self.0.keys().find_map(|path| {
            seen.insert(path.to_lowercase(), path).map(|other| (other, path.as_str()))
        })
    }

    /// As the manifest lists them.
    pub(super) fn into_entries(self) -> Vec<Entry> {
        self.0.into_iter().map(|(path, node)| Entry { path, kind: node.kind }).collect()
    }
}

/// Puts what a link's text names in front of what is still to be walked, next component last.
fn push_components<'a>(ahead: &mut Vec<&'a str>, target: &'a str) -> Result<(), Refused> {
    ahead.extend(target.rsplit('/').filter(|c| !c.is_empty() && *c != "."));
    if ahead.len() > TARGET_COMPONENTS_MAX { Err(Refused::LinkLoops) } else { Ok(()) }
}
