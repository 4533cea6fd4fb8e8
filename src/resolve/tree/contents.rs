//! What an update makes of each path, by the list of a kept generation or the listing beside the index.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use camino::Utf8Path;

use super::Tree;
use crate::format::casync::chunk::{ChunkId, DigestKind};
use crate::format::casync::flags::Flags;
use crate::format::casync::index::Index;
use crate::format::casync::mtree::{self, Line};
use crate::model::contents::Contents;
use crate::model::difference::hides;
use crate::model::snapshot::{NodeKind, Nodes};
use crate::resource::tree::contents::{Coming, contents};
use crate::resource::tree::layout::TREE;
use crate::resource::tree::observe::{Live, hidden};
use crate::source::casync::IndexFile;

/// Ending of the name of the listing beside an index.
const LISTING_SUFFIX: &str = ".mtree";

/// Longest listing read, in bytes: one of some 80,000 nodes.
const LISTING_BYTES_MAX: u64 = 16 << 20;

/// File of a generation: the list of its nodes.
const NODES: &str = "nodes";

/// A list of nodes is ours; this bounds a mistake.
const NODES_BYTES_MAX: u64 = 1 << 30;

/// Bytes of files read for one plan to see whether their content changes, where size and time leave that open: a fifth
/// of a second.
const HASHED_BYTES_MAX: u64 = 64 << 20;

/// Bytes hashed at once.
const PIECE_BYTES: usize = 128 << 10;

impl Tree<'_> {
    /// What the listing beside an index makes of the paths in use; `None` where nothing is in use, or where there is no
    /// listing that could be of this index. Nothing binds it to that, so that it is told and decides nothing.
    pub(super) async fn contents(&self, file: &IndexFile, index: &Index) -> Option<Contents> {
        let flags = index.header.flags;
        // What somebody changed is told as drift.
        if self.observed.current_head()?.index == file.sha256 {
            return None;
        }
        let nodes = self.nodes(self.observed.current.as_deref()?)?;
        let listing = self.listing(file).await?;
        let lines = mtree::read(&listing).ok()?;
        // A listing is written last, so that one of an earlier index may be left beside a new one.
        if !mtree::fits(&lines, flags, index.length()) {
            return None;
        }
        let coming = lines.iter().filter_map(|line| Some((line, coming(line, flags)?)));
        let home = self.home();
        let mut budget = HASHED_BYTES_MAX;
        let mut digests = std::collections::HashMap::new();
        let coming: Vec<Coming<'_>> = coming
            .map(|(line, coming)| {
                digests.insert(coming.path, line.digest);
                coming
            })
            .collect();
        let same_content = |coming: &Coming<'_>| {
            let (kind, digest) = digests.get(coming.path).copied().flatten()?;
            budget = budget.checked_sub(coming.size)?;
            let path = home.as_ref()?.join(std::ffi::OsStr::from_bytes(coming.path));
            // casync may name the digest after its command line, whatever the stream has.
            let other = match kind {
                DigestKind::Sha256 => DigestKind::Sha512_256,
                DigestKind::Sha512_256 => DigestKind::Sha256,
            };
            let is = |kind| hash(&path, kind, coming.size).map(|found| found == digest);
            is(kind).and_then(|same| Ok(same || is(other)?)).ok()
        };
        let told = contents(self.spec, &nodes, coming.into_iter(), same_content);
        Some(Contents { unchecked: true, ..told })
    }

    /// A directory with preserved files in it for which a generation that is kept has no place.
    fn hidden(&self, kept: &Nodes) -> Option<String> {
        let preserve = &self.spec.preserve;
        let home = self.home().filter(|_| !preserve.is_empty())?;
        hidden(Utf8Path::from_path(&home)?, preserve, &|path| hides(kept, path))
    }

    /// What going to a generation that is kept makes of the paths in use.
    pub(super) fn contents_of_kept(&self, slot: &str) -> Option<Contents> {
        let current = self.observed.current.as_deref().filter(|current| *current != slot)?;
        let (nodes, kept) = (self.nodes(current)?, self.nodes(slot)?);
        let paths: Vec<Vec<u8>> = (0..kept.count()).map(|number| kept.path(number)).collect();
        let coming = paths.iter().enumerate().filter_map(|(number, path)| {
            let stat = kept.stat(number)?;
            let link = stat.kind == NodeKind::Link;
            Some(Coming {
                path,
                kind: stat.kind,
                size: if stat.kind == NodeKind::File { stat.size } else { 0 },
                mode: Some(stat.mode),
                target: link.then(|| kept.target(number)),
                time: Some(stat.mtime),
            })
        });
        let home = self.home();
        let there = self.observed.generations.get(slot)?.real.join(TREE);
        let mut budget = HASHED_BYTES_MAX;
        let same_content = |coming: &Coming<'_>| {
            let inode = |nodes: &Nodes| Some(nodes.stat(nodes.find(coming.path)?)?.inode);
            if inode(&nodes) == inode(&kept) {
                return Some(true);
            }
            budget = budget.checked_sub(coming.size.saturating_mul(2))?;
            let name = std::ffi::OsStr::from_bytes(coming.path);
            let hash = |tree: &Path| hash(&tree.join(name), DigestKind::Sha256, coming.size).ok();
            let (here, kept) = (hash(home.as_ref()?), hash(there.as_std_path()));
            Some(here.is_some() && here == kept)
        };
        let hidden = self.hidden(&kept);
        Some(Contents { hidden, ..contents(self.spec, &nodes, coming, same_content) })
    }

    async fn listing(&self, file: &IndexFile) -> Option<Vec<u8>> {
        let url = file.beside(LISTING_SUFFIX)?;
        if url.scheme() == "file" {
            return read(&url.to_file_path().ok()?, LISTING_BYTES_MAX).ok();
        }
        let listing = self.reader.document(url.as_str(), "*/*", LISTING_BYTES_MAX).await.ok()?;
        Some(listing.body.to_vec())
    }

    fn nodes(&self, slot: &str) -> Option<Nodes> {
        let place = &self.observed.generations.get(slot)?.real;
        Nodes::decode(&read(place.join(NODES).as_std_path(), NODES_BYTES_MAX).ok()?).ok()
    }

    /// The tree in use on this machine.
    fn home(&self) -> Option<PathBuf> {
        let slot = self.observed.current.as_deref()?;
        let generation = &self.observed.generations.get(slot)?.real;
        if matches!(self.observed.live, Live::Link { .. }) {
            return Some(generation.join(TREE).into());
        }
        let around = generation.parent()?.parent()?.parent()?;
        Some(around.join(self.spec.path.file_name()?).into())
    }
}

fn coming(line: &Line, flags: Flags) -> Option<Coming<'_>> {
    let kind = match line.kind.as_deref()? {
        "file" => NodeKind::File,
        "dir" => NodeKind::Directory,
        "link" => NodeKind::Link,
        "fifo" => NodeKind::Fifo,
        "socket" => NodeKind::Socket,
        "block" => NodeKind::Block,
        "char" => NodeKind::Character,
        _ => return None,
    };
    let time = line.time.and_then(|time| {
        let seconds = i64::try_from(time / 1_000_000_000).ok()?;
        Some((seconds, u32::try_from(time % 1_000_000_000).ok()?))
    });
    let modes = flags.intersects(Flags::PERMISSIONS.with(Flags::ACL));
    Some(Coming {
        path: &line.path,
        kind,
        size: line.size.filter(|_| kind == NodeKind::File).unwrap_or_default(),
        mode: line.mode.filter(|_| modes),
        target: line.link.as_deref(),
        time,
    })
}

fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if File::open(path)?.take(limit + 1).read_to_end(&mut bytes)? as u64 > limit {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(bytes)
}

/// The digest of a file of this size.
fn hash(path: &Path, kind: DigestKind, size: u64) -> io::Result<ChunkId> {
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.len() != size {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let (mut file, mut hasher) = (file.take(size), kind.hasher());
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let count = file.read(&mut piece)?;
        if count == 0 {
            return Ok(hasher.finish());
        }
        hasher.update(piece.get(..count).unwrap_or_default());
    }
}
