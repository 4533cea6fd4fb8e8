//! Paths through a file system, links followed inside it.

use crate::format::image::{Entry, ImageError, ImageFiles, Kind};

/// Links followed on the way to one file: systemd follows as many (`CHASE_MAX`).
const LINKS_MAX: usize = 32;

/// Bytes of a link's target: Linux allows no more (`PATH_MAX`).
const TARGET_BYTES_MAX: usize = 4096;

/// Names on the way to one file, links resolved.
const COMPONENTS_MAX: usize = 256;

/// A file system as nodes with numbers.
pub(super) trait Nodes {
    /// The root directory.
    fn root(&self) -> u64;
    /// What a node is.
    fn kind(&self, node: u64) -> Result<Kind, ImageError>;
    /// Names and nodes in a directory.
    fn children(&self, node: u64) -> Result<Vec<(String, u64)>, ImageError>;
    /// The first `max` bytes of a file, or of the target of a link.
    fn content(&self, node: u64, max: usize) -> Result<Vec<u8>, ImageError>;
    /// An extended attribute; the name is without `user.`.
    fn attribute(&self, node: u64, name: &str) -> Result<Option<Vec<u8>>, ImageError>;
}

/// A file system as a tree of paths.
pub(super) struct Tree<T>(pub(super) T);

impl<T: Nodes> Tree<T> {
    fn find(&self, path: &str) -> Result<Option<u64>, ImageError> {
        let mut pending: Vec<String> = split(path);
        let mut trail = vec![self.0.root()];
        let mut links = 0;
        for _ in 0..COMPONENTS_MAX {
            let Some(name) = pending.pop() else { return Ok(trail.last().copied()) };
            let Some(&here) = trail.last() else { return Ok(None) };
            if name == ".." {
                if trail.len() > 1 {
                    trail.pop();
                }
                continue;
            }
            if self.0.kind(here)? != Kind::Directory {
                return Ok(None);
            }
            let children = self.0.children(here)?;
            let Some((_, node)) = children.into_iter().find(|(child, _)| *child == name) else {
                return Ok(None);
            };
            if self.0.kind(node)? != Kind::Link {
                trail.push(node);
                continue;
            }
            links += 1;
            let target = self.0.content(node, TARGET_BYTES_MAX)?;
            let Some(target) = String::from_utf8(target).ok().filter(|_| links <= LINKS_MAX) else {
                return Ok(None);
            };
            if target.starts_with('/') {
                trail.truncate(1);
            }
            pending.extend(split(&target));
        }
        Ok(None)
    }

    fn find_kind(&self, path: &str, kind: Kind) -> Result<Option<u64>, ImageError> {
        match self.find(path)? {
            Some(node) if self.0.kind(node)? == kind => Ok(Some(node)),
            _ => Ok(None),
        }
    }
}

/// The names of a path, last one first.
fn split(path: &str) -> Vec<String> {
    let names = path.split('/').filter(|name| !matches!(*name, "" | "."));
    names.rev().map(str::to_owned).collect()
}

impl<T: Nodes> ImageFiles for Tree<T> {
    fn list(&self, directory: &str) -> Result<Vec<Entry>, ImageError> {
        let Some(node) = self.find_kind(directory, Kind::Directory)? else { return Ok(Vec::new()) };
        let children = self.0.children(node)?.into_iter();
        children.map(|(name, node)| Ok(Entry { name, kind: self.0.kind(node)? })).collect()
    }

    fn kind(&self, path: &str) -> Result<Option<Kind>, ImageError> {
        self.find(path)?.map(|node| self.0.kind(node)).transpose()
    }

    fn read(&self, path: &str, max: usize) -> Result<Option<Vec<u8>>, ImageError> {
        let node = self.find_kind(path, Kind::File)?;
        node.map(|node| self.0.content(node, max)).transpose()
    }

    fn attribute(&self, path: &str, name: &str) -> Result<Option<Vec<u8>>, ImageError> {
        let Some(name) = name.strip_prefix("user.") else { return Ok(None) };
        self.find(path)?.map_or(Ok(None), |node| self.0.attribute(node, name))
    }
}

/// Files that are seen below a directory: a usr partition is mounted on `usr`.
pub(super) struct Below<'a> {
    pub(super) prefix: &'static str,
    pub(super) files: Box<dyn ImageFiles + 'a>,
}

impl Below<'_> {
    fn inner<'p>(&self, path: &'p str) -> Option<&'p str> {
        let rest = path.strip_prefix(self.prefix)?;
        rest.strip_prefix('/').or_else(|| rest.is_empty().then_some(rest))
    }
}

impl ImageFiles for Below<'_> {
    fn list(&self, directory: &str) -> Result<Vec<Entry>, ImageError> {
        match self.inner(directory) {
            Some(inner) => self.files.list(inner),
            None if directory.is_empty() => {
                Ok(vec![Entry { name: self.prefix.to_owned(), kind: Kind::Directory }])
            }
            None => Ok(Vec::new()),
        }
    }

    fn kind(&self, path: &str) -> Result<Option<Kind>, ImageError> {
        self.inner(path).map_or(Ok(None), |inner| self.files.kind(inner))
    }

    fn read(&self, path: &str, max: usize) -> Result<Option<Vec<u8>>, ImageError> {
        self.inner(path).map_or(Ok(None), |inner| self.files.read(inner, max))
    }

    fn attribute(&self, path: &str, name: &str) -> Result<Option<Vec<u8>>, ImageError> {
        self.inner(path).map_or(Ok(None), |inner| self.files.attribute(inner, name))
    }
}
