//! What the host has of a tree.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::fs::Metadata;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use crate::assemble::{Trust, damaged, fingerprint, is_made_of, usable};
use crate::format::casync::chunk::ChunkId;
use crate::format::casync::index::Index;
use crate::host::nodes::Compared;
use crate::host::{ItemKind, Look, Places, carry};
use crate::model::difference::{Difference, Seen};
use crate::model::glob::any_covers;
use crate::model::snapshot::{NodeKind, Nodes, SNAPSHOT_FORMAT, SnapshotHead, Unsaid};
use crate::model::{Drift, DriftKind, Version};
use crate::resource::observe::Depth;
use crate::resource::tree::drift;
use crate::resource::tree::layout::{HEAD, Layout, NODES, STAGING_PREFIX, TREE};

/// A head names a resource, a version and two digests.
const HEAD_BYTES_MAX: u64 = 64 << 10;

/// A list of [`NODES_MAX`](crate::model::snapshot::NODES_MAX) nodes with names of common length.
const NODES_BYTES_MAX: u64 = 1 << 30;

/// What the host has of a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeObserved {
    /// What is at the path.
    pub live: Live,
    /// Generations by name.
    pub generations: BTreeMap<String, Generation>,
    /// Generations whose files are gone, by name: their indexes say of what they are made.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub earlier: BTreeMap<String, Generation>,
    /// The generation in use.
    pub current: Option<String>,
    /// Where the tree in use differs from it.
    pub drift: Vec<Drift>,
    /// How many paths of somebody else are in the tree in use; `None` when that cannot be known.
    pub extras: Option<u64>,
    /// The same of a tree that was in use, when a pass was cut off before it was moved to its place.
    pub misplaced_extras: Option<u64>,
    /// Places in the tree in use where something is mounted.
    pub mounts: Vec<Utf8PathBuf>,
    /// Names of ours in `staging/`: what an earlier pass left.
    pub leftovers: Vec<String>,
    /// Names in `kept/`: directories with files of somebody else, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<String>,
    /// Content differs where `stat` does not.
    pub rotten: bool,
    /// A digest of what is known about the nodes of a directory that is not ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub foreign: Option<String>,
    /// What looking at every node of the tree in use came to.
    #[serde(skip)]
    pub seen: Option<Arc<Seen>>,
}

/// What is at the path of a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Live {
    /// Nothing.
    #[default]
    Nothing,
    /// A directory with nothing in it.
    Empty {
        /// Its inode.
        inode: u64,
    },
    /// A directory.
    Directory {
        /// Its inode.
        inode: u64,
    },
    /// A symbolic link.
    Link {
        /// Its text.
        target: String,
    },
    /// Something else, of this type.
    Other(Cow<'static, str>),
}

/// One generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// What is known about it; `None` for what we did not make.
    pub head: Option<Box<SnapshotHead>>,
    /// Inode of the tree in it; `None` while that is in use elsewhere.
    pub tree: Option<u64>,
    /// Where it is on this machine.
    #[serde(skip)]
    pub real: Utf8PathBuf,
}

impl TreeObserved {
    /// Whether a generation could be brought into use: it has a head and its own tree.
    pub fn is_kept(&self, slot: &str) -> bool {
        self.generations.get(slot).is_some_and(Generation::is_kept)
    }

    /// Whether moving a generation into the tree in use was begun, or is still to begin, and can be gone on with.
    pub fn goes_on(&self, slot: &str) -> bool {
        let made_for = |known: &Generation| known.head.as_ref().and_then(|head| head.made_for);
        let part = self.generations.get(slot).filter(|known| known.is_part());
        self.current.is_some() && part.is_some_and(|known| made_for(known) == self.live_inode())
    }

    /// The version of a generation.
    pub fn version_of(&self, slot: &str) -> Option<Version> {
        self.head(slot).map(|head| head.version.clone())
    }

    /// The head of a generation.
    pub fn head(&self, slot: &str) -> Option<&SnapshotHead> {
        self.known(slot)?.head.as_deref()
    }

    /// Where what is known about a generation is on this machine.
    pub fn place_of(&self, slot: &str) -> Option<&Utf8Path> {
        Some(&self.known(slot)?.real)
    }

    fn known(&self, slot: &str) -> Option<&Generation> {
        self.generations.get(slot).or_else(|| self.earlier.get(slot))
    }

    /// Names of all generations, also of those whose files are gone.
    pub fn slots(&self) -> impl Iterator<Item = &str> {
        let earlier = self.earlier.keys().filter(|slot| !self.generations.contains_key(*slot));
        self.generations.keys().chain(earlier).map(String::as_str)
    }

    /// The head of the generation in use.
    pub fn current_head(&self) -> Option<&SnapshotHead> {
        self.head(self.current.as_deref()?)
    }

    /// The generation whose tree stands where that of the one in use was made: a pass was cut off right after
    /// both were exchanged.
    pub fn misplaced(&self) -> Option<&str> {
        let inode = self.generations.get(self.current.as_deref()?)?.tree?;
        let mut owners = self.generations.iter().filter(|(_, generation)| {
            generation.tree.is_none() && generation.head.as_ref().is_some_and(|h| h.inode == inode)
        });
        owners.next().map(|(slot, _)| slot.as_str())
    }

    /// The inode of what is at the path, for steps that must not be performed on anything else.
    pub fn live_inode(&self) -> Option<u64> {
        match self.live {
            Live::Empty { inode } | Live::Directory { inode } => Some(inode),
            Live::Nothing | Live::Link { .. } | Live::Other(_) => None,
        }
    }
}

impl Generation {
    /// Whether it has a head and a tree with all that it lists.
    pub fn is_kept(&self) -> bool {
        self.tree.is_some() && self.head.as_ref().is_some_and(|head| head.made_for.is_none())
    }

    /// Whether its tree has only what is to be moved into another.
    pub fn is_part(&self) -> bool {
        self.tree.is_some() && self.head.as_ref().is_some_and(|head| head.made_for.is_some())
    }
}

/// Looks at the tree at `path`. Paths that match `preserve` are not looked at.
pub fn observe(
    host: &Look,
    path: &Utf8Path,
    preserve: &[String],
    depth: Depth,
) -> io::Result<TreeObserved> {
    let layout = Layout::new(path);
    // Everything looked at is in one directory.
    let near = path.parent().and_then(|parent| host.from_inside(parent).ok().flatten());
    let host = near.as_ref().unwrap_or(host);
    check_beside(host, &layout.beside())?;
    check_own_places(host, &layout)?;
    let mut observed = TreeObserved { live: observe_live(host, path)?, ..Default::default() };
    observed.generations = generations(host, &layout.generations())?;
    observed.earlier = generations(host, &layout.earlier())?;
    let staging = host.list(layout.staging())?.unwrap_or_default();
    observed.leftovers =
        staging.into_iter().map(|i| i.name).filter(|n| n.starts_with(STAGING_PREFIX)).collect();
    let kept = host.list(layout.kept())?.unwrap_or_default();
    observed.kept = kept.into_iter().map(|item| item.name).collect();
    observed.kept.sort();
    observed.current = current(&layout, &observed);
    if let Some(slot) = &observed.current {
        let tree = match &observed.live {
            Live::Link { .. } => layout.tree(slot),
            _ => path.to_owned(),
        };
        let unsaid = observed.head(slot).map(|head| head.unsaid).unwrap_or_default();
        let generation = layout.generation(slot);
        (observed.drift, observed.extras, observed.seen) =
            compare(host, &generation, &tree, (preserve, unsaid))?;
        observed.misplaced_extras = misplaced(host, &layout, &observed, preserve)?;
        if depth == Depth::Deep {
            let told = observed.drift.len();
            let known = std::mem::take(&mut observed.drift);
            observed.drift = with_content(host, &generation, &tree, known);
            observed.rotten = observed.drift.len() > told;
        }
    } else {
        (observed.current, observed.seen) = restored(host, &layout, &observed, preserve)?.unzip();
        observed.extras = observed.current.as_ref().map(|_| 0);
        if observed.current.is_none() && matches!(observed.live, Live::Directory { .. }) {
            observed.foreign = fingerprint(host.real(path).as_std_path());
        }
    }
    if observed.live_inode().is_some() {
        observed.mounts = host.mounts_within(path)?;
    }
    Ok(observed)
}

fn generations(host: &Look, directory: &Utf8Path) -> io::Result<BTreeMap<String, Generation>> {
    let items = host.list(directory)?.unwrap_or_default().into_iter();
    let directories = items.filter(|item| item.kind == ItemKind::Dir);
    let generations = directories.map(|item| {
        let place = directory.join(&item.name);
        let head = read_head(host, &place)?;
        let tree = host.inode_of_dir(&place.join(TREE))?;
        Ok((item.name, Generation { head, tree, real: host.real(&place) }))
    });
    generations.collect()
}

/// Whether the directory at a path of this machine holds what an index describes, and nothing else.
pub fn holds(tree: &Utf8Path, index: &Index) -> bool {
    is_made_of(index, tree.as_std_path())
}

/// Chunks that can be taken from the tree in use, at a path of this machine, which somebody changed.
pub fn takeable(observed: &TreeObserved, path: &Utf8Path) -> HashSet<ChunkId> {
    let current = observed.current.as_ref();
    let Some(generation) = current.and_then(|slot| observed.generations.get(slot)) else {
        return HashSet::new();
    };
    let through_link = matches!(observed.live, Live::Link { .. });
    let tree = if through_link { generation.real.join(TREE) } else { path.to_owned() };
    let trust = if observed.rotten { Trust::Nothing } else { Trust::Stat };
    let taken = usable(generation.real.clone().into(), tree.into(), trust);
    taken.unwrap_or_default()
}

/// Chunks that can be taken from a generation that is kept, whatever somebody changed in it.
pub fn takeable_of(observed: &TreeObserved, slot: &str) -> HashSet<ChunkId> {
    let kept = observed.generations.get(slot).filter(|generation| generation.is_kept());
    let taken = kept.and_then(|kept| {
        usable(kept.real.clone().into(), kept.real.join(TREE).into(), Trust::Stat)
    });
    taken.unwrap_or_default()
}

/// Whether a generation that is not in use is as it was made: what `stat` says is looked at, and content where that
/// cannot vouch for it. `root` is where the managed host is on this machine.
pub fn is_as_made(
    root: &Utf8Path,
    layout: &Layout,
    (slot, head): (&str, &SnapshotHead),
    preserve: &[String],
) -> bool {
    let host = &Look::new(root.to_owned(), Places::default());
    let (generation, tree) = (layout.generation(slot), layout.tree(slot));
    match compare(host, &generation, &tree, (preserve, head.unsaid)) {
        Ok((drift, Some(0), _)) if drift.is_empty() => {}
        _ => return false,
    }
    let real = |path: &Utf8Path| host.real(path).into_std_path_buf();
    let content = || {
        let damaged = damaged(real(&generation), real(&tree))?;
        Some(damaged.iter().all(|path| any_covers(preserve, path)))
    };
    !is_touched(host, &generation, &tree) || content().unwrap_or_default()
}

/// Whether what is left of a generation can be moved into the tree in use, which then has all that is listed. `root` is
/// where the managed host is on this machine.
pub fn can_be_moved(root: &Utf8Path, layout: &Layout, slot: &str, preserve: &[String]) -> bool {
    let host = &Look::new(root.to_owned(), Places::default());
    let bytes = host.read(layout.generation(slot).join(NODES), NODES_BYTES_MAX).ok().flatten();
    let Some(Ok(nodes)) = bytes.map(|bytes| Nodes::decode(&bytes)) else { return false };
    host.can_merge((&layout.tree(slot), &layout.path), &nodes, preserve).unwrap_or_default()
}

/// Whether any file of a tree was touched since it was made, if only to put its times back.
fn is_touched(host: &Look, generation: &Utf8Path, tree: &Utf8Path) -> bool {
    let bytes = host.read(generation.join(NODES), NODES_BYTES_MAX).ok().flatten();
    let Some(Ok(nodes)) = bytes.map(|bytes| Nodes::decode(&bytes)) else { return true };
    let tree = host.real(tree).into_std_path_buf();
    (0..nodes.count()).any(|number| {
        let Some(listed) = nodes.stat(number).filter(|s| s.kind == NodeKind::File) else {
            return false;
        };
        let path = tree.join(OsStr::from_bytes(&nodes.path(number)));
        let same = |found: Metadata| {
            let changed = (found.ctime(), u32::try_from(found.ctime_nsec()).unwrap_or_default());
            (found.ino(), changed) == (listed.inode, listed.ctime)
        };
        !path.symlink_metadata().is_ok_and(same)
    })
}

/// A directory of the tree at a path of this machine that has something preserved in it and has no place where the next
/// tree has something else, as `hides` tells.
pub fn hidden(
    tree: &Utf8Path,
    preserve: &[String],
    hides: &dyn Fn(&[u8]) -> bool,
) -> Option<String> {
    // What cannot be looked at now is looked at again right before anything moves.
    let path = carry::hidden(tree, preserve, hides).ok()??;
    Some(String::from_utf8_lossy(&path).into_owned())
}

/// Refuses a link where our directory should be: what is made and removed through it would be elsewhere.
fn check_beside(host: &Look, beside: &Utf8Path) -> io::Result<()> {
    match host.stat(beside)? {
        Some(stat) if stat.kind != ItemKind::Dir => {
            let why = format!(
                "{beside} is a {} where a directory should be; move it away",
                stat.kind.name()
            );
            Err(io::Error::new(io::ErrorKind::NotADirectory, why))
        }
        _ => Ok(()),
    }
}

/// Refuses a tree that would swallow what this program needs, or be a part of it.
fn check_own_places(host: &Look, layout: &Layout) -> io::Result<()> {
    let Places { state, cache, runtime, keyring: _ } = host.places();
    let ours = [state, cache, runtime].into_iter();
    let mut shared = ours.filter(|own| layout.covers(own) || layout.path.starts_with(own));
    match shared.next() {
        Some(own) => {
            let why = format!(
                "{} cannot be a tree: reconcile keeps its own files in {own}; choose another path",
                layout.path
            );
            Err(io::Error::new(io::ErrorKind::InvalidInput, why))
        }
        None => Ok(()),
    }
}

/// How many paths of somebody else are in a tree that a pass left where the one in use had been made.
fn misplaced(
    host: &Look,
    layout: &Layout,
    observed: &TreeObserved,
    preserve: &[String],
) -> io::Result<Option<u64>> {
    let Some(slot) = observed.misplaced() else { return Ok(None) };
    let Some(current) = &observed.current else { return Ok(None) };
    let unsaid = observed.head(slot).map(|head| head.unsaid).unwrap_or_default();
    let generation = layout.generation(slot);
    let (_, extras, _) = compare(host, &generation, &layout.tree(current), (preserve, unsaid))?;
    Ok(extras)
}

/// The generation in use where no inode tells: the tree was copied back from somewhere. Only one that is whole
/// is taken for ours, because anything else may be somebody else's.
fn restored(
    host: &Look,
    layout: &Layout,
    observed: &TreeObserved,
    preserve: &[String],
) -> io::Result<Option<(String, Arc<Seen>)>> {
    let mut treeless =
        observed.generations.iter().filter(|(_, generation)| generation.tree.is_none());
    let (Live::Directory { .. }, Some((slot, generation))) = (&observed.live, treeless.next())
    else {
        return Ok(None);
    };
    let unsaid = generation.head.as_ref().map(|head| head.unsaid).unwrap_or_default();
    let (drift, _, seen) =
        compare(host, &layout.generation(slot), &layout.path, (preserve, unsaid))?;
    Ok(seen.filter(|_| drift.is_empty()).map(|seen| (slot.clone(), seen)))
}

/// Adds files whose content is another although nothing else about them is.
fn with_content(
    host: &Look,
    generation: &Utf8Path,
    tree: &Utf8Path,
    mut drift: Vec<Drift>,
) -> Vec<Drift> {
    let real = |path: &Utf8Path| host.real(path).into_std_path_buf();
    let Some(found) = damaged(real(generation), real(tree)) else { return drift };
    for path in found {
        let path = format!("{tree}/{}", String::from_utf8_lossy(&path));
        // Whatever is told already explains a chunk that is not whole.
        if drift.iter().any(|known| known.path == path) {
            continue;
        }
        drift.push(Drift {
            path,
            kind: DriftKind::Modified,
            expected: "chunks that the index names".to_owned(),
            found: "other content in one of them".to_owned(),
        });
    }
    drift
}

fn observe_live(host: &Look, path: &Utf8Path) -> io::Result<Live> {
    let Some(stat) = host.stat(path)? else { return Ok(Live::Nothing) };
    Ok(match stat.kind {
        ItemKind::Dir => {
            let Some(inode) = host.inode_of_dir(path)? else { return Ok(Live::Nothing) };
            if host.is_empty_dir(path)? { Live::Empty { inode } } else { Live::Directory { inode } }
        }
        ItemKind::Link => Live::Link { target: host.link_in_utf8(path)?.unwrap_or_default() },
        other => Live::Other(other.name().into()),
    })
}

/// The generation in use: the one whose tree is at the path, wherever its other files are.
fn current(layout: &Layout, observed: &TreeObserved) -> Option<String> {
    if let Live::Link { target } = &observed.live {
        let known = |slot: &&String| layout.link_text(slot) == *target;
        return observed.generations.keys().find(known).cloned();
    }
    let inode = observed.live_inode()?;
    let is_live =
        |generation: &Generation| generation.head.as_ref().is_some_and(|head| head.inode == inode);
    // A tree that is changed in place has the inode of the generation before, too.
    let live = observed.generations.iter().filter(|(_, generation)| is_live(generation));
    let newest = live.max_by_key(|(_, generation)| generation.head.as_ref().map(|h| h.staged_at));
    newest.map(|(slot, _)| slot.clone())
}

fn read_head(host: &Look, place: &Utf8Path) -> io::Result<Option<Box<SnapshotHead>>> {
    let bytes = host.read(place.join(HEAD), HEAD_BYTES_MAX)?;
    let head = bytes.and_then(|bytes| serde_json::from_slice::<Box<SnapshotHead>>(&bytes).ok());
    Ok(head.filter(|head| head.format == SNAPSHOT_FORMAT))
}

/// Where a tree is not as it was made, how many paths of somebody else are in it, and everything else that was seen.
type Comparison = (Vec<Drift>, Option<u64>, Option<Arc<Seen>>);

/// Compares a tree with the list of a generation.
fn compare(
    host: &Look,
    generation: &Utf8Path,
    tree: &Utf8Path,
    (preserve, unsaid): (&[String], Unsaid),
) -> io::Result<Comparison> {
    let place = generation.join(NODES);
    let bytes = host.read(&place, NODES_BYTES_MAX)?;
    let nodes = bytes.map(|bytes| Nodes::decode(&bytes));
    let Some(Ok(nodes)) = nodes else {
        let drift = Drift {
            path: place.to_string(),
            kind: DriftKind::Missing,
            expected: "the list of nodes".to_owned(),
            found: "none that can be read".to_owned(),
        };
        return Ok((vec![drift], None, None));
    };
    let counts = |difference: &Difference| {
        // Directories that are there for what is preserved in them.
        let for_others = || {
            difference.listed.is_none()
                && difference.found.is_some_and(|found| found.kind == NodeKind::Directory)
                && host.holds_only(tree, &difference.path, preserve)
        };
        let kept = any_covers(preserve, &difference.path);
        !kept && !difference.is_unsaid(unsaid) && (preserve.is_empty() || !for_others())
    };
    let compared = host.compare(tree, &nodes, &counts)?;
    let (drift, extras) = (drift::told(tree, &compared.differences), compared.extras);
    let Compared { touched, suspects, .. } = compared;
    let seen = Seen { generation: generation.to_owned(), touched, suspects };
    Ok((drift, Some(extras), Some(Arc::new(seen))))
}
