//! The commit point of a tree: a whole generation comes into use by one rename.

use std::io;

use camino::Utf8Path;
use jiff::{Span, Timestamp};

use crate::apply::switch::SwitchError;
use crate::assemble::{HEAD, NODES};
use crate::host::carry::{Carried, hidden};
use crate::host::keep::Ours;
use crate::host::{Change as Host, ItemKind};
use crate::model::contents::{Hidden, KeptForeign};
use crate::model::difference::hides;
use crate::model::outcome::counted;
use crate::model::snapshot::{Nodes, SnapshotHead};
use crate::model::step::{ExchangeBy, Expected};

/// A list of nodes is ours; this bounds a mistake.
const GENERATION_BYTES_MAX: u64 = 1 << 30;

/// The trees to exchange.
#[derive(Clone, Copy, Debug)]
pub struct Trees<'a> {
    /// The new tree.
    pub tree: &'a Utf8Path,
    /// The path in use.
    pub path: &'a Utf8Path,
    /// Where the tree that was in use goes; in place, the generation in use.
    pub old: Option<&'a Utf8Path>,
    /// What is in use now.
    pub expects: Expected,
    /// Patterns of paths that are carried along.
    pub preserve: &'a [String],
    /// Where what is somebody else's in the tree in use is kept.
    pub keeps: Option<&'a KeptForeign>,
}

impl Trees<'_> {
    /// Whether what is at the path is what was planned for.
    fn fit(&self, found: Option<u64>) -> bool {
        let now = found.map_or(Expected::Nothing, |inode| Expected::Directory { inode });
        self.expects == Expected::Anything || self.expects == now
    }
}

/// Brings a tree into use, once what is somebody else's in the one in use has a second name; says so when there was
/// anything. The inner result is about what is done after that: the tree that was in use goes to its place. The next
/// pass does what is left of it.
pub fn perform(
    host: &Host,
    trees: &Trees<'_>,
    by: ExchangeBy,
) -> Result<(Option<String>, Result<(), SwitchError>), SwitchError> {
    refuse_hidden(host, trees)?;
    let standing = host.stat(trees.path)?.map(|stat| stat.inode);
    let kept = keep(host, trees, by)?;
    match exchange(host, trees, by) {
        Ok(put_away) => Ok((kept, put_away)),
        Err(error) => {
            // A merge may have removed the first names by now, and so may whatever follows an exchange.
            let stands = host.stat(trees.path)?.map(|stat| stat.inode) == standing;
            if let Some(kept) = trees.keeps.filter(|_| stands && by != ExchangeBy::InPlace) {
                // What cannot be removed is more than is needed, and told in every pass.
                let _ = host.remove(&kept.into);
            }
            Err(error)
        }
    }
}

/// Refuses to exchange where that would leave no place for what is carried along, before anything moves.
fn refuse_hidden(host: &Host, trees: &Trees<'_>) -> Result<(), SwitchError> {
    let from = trees.keeps.map_or(trees.path, |kept| kept.tree.as_path());
    if trees.preserve.is_empty() || host.inode_of_dir(from)?.is_none() {
        return Ok(());
    }
    let Some(nodes) = trees.tree.parent().map(|coming| list(host, coming)).transpose()?.flatten()
    else {
        return Ok(());
    };
    let hiding = |path: &[u8]| hides(&nodes, path);
    match hidden(&host.real(from), trees.preserve, &hiding)? {
        Some(path) => {
            let path = trees.path.join(String::from_utf8_lossy(&path).as_ref());
            Err(Hidden { path }.into())
        }
        None => Ok(()),
    }
}

/// The list of a generation's nodes, where it can be read.
fn list(host: &Host, generation: &Utf8Path) -> io::Result<Option<Nodes>> {
    let bytes = host.read(generation.join(NODES), GENERATION_BYTES_MAX)?;
    Ok(bytes.and_then(|bytes| Nodes::decode(&bytes).ok()))
}

fn keep(host: &Host, trees: &Trees<'_>, by: ExchangeBy) -> Result<Option<String>, SwitchError> {
    let Some(KeptForeign { tree, generation, into, .. }) = trees.keeps else { return Ok(None) };
    if host.inode_of_dir(tree)?.is_none() {
        return Ok(None);
    }
    let coming = match trees.tree.parent() {
        Some(generation) if by == ExchangeBy::InPlace => list(host, generation)?,
        _ => None,
    };
    // Without its list nobody can say what is ours, so all of it is kept.
    let nodes = list(host, generation)?;
    let (nodes, coming) = (nodes.as_ref(), coming.as_ref());
    let ours = Ours { nodes, coming, preserve: trees.preserve };
    if host.stat(into)?.is_some() {
        return Err(SwitchError::Stale { path: into.clone(), what: "it exists now".to_owned() });
    }
    let kept = host.keep_foreign(tree, into, ours).inspect_err(|_| {
        // Nothing gave way yet, and the next attempt would keep all of it once more.
        let _ = host.remove(into);
    })?;
    Ok((kept > 0).then(|| {
        let paths = counted(usize::try_from(kept).unwrap_or(usize::MAX), "path");
        let are = if kept == 1 { "is" } else { "are" };
        format!("{paths} of somebody else {are} kept in {into}")
    }))
}

fn exchange(
    host: &Host,
    trees: &Trees<'_>,
    by: ExchangeBy,
) -> Result<Result<(), SwitchError>, SwitchError> {
    match by {
        ExchangeBy::Directory => directories(host, trees),
        ExchangeBy::Link => link(host, trees),
        ExchangeBy::InPlace => in_place(host, trees),
    }
}

/// Refuses a tree that has only what is another in the one in use, where it would take its place.
fn refuse_part(host: &Host, trees: &Trees<'_>) -> Result<(), SwitchError> {
    let head = trees.tree.parent().map(|generation| head_of(host, generation)).transpose()?;
    match head.flatten().and_then(|head| head.made_for) {
        Some(_) => Err(not_made_for(trees)),
        None => Ok(()),
    }
}

fn not_made_for(trees: &Trees<'_>) -> SwitchError {
    let what = "the new tree was made for another directory".to_owned();
    SwitchError::Stale { path: trees.path.to_owned(), what }
}

fn directories(host: &Host, trees: &Trees<'_>) -> Result<Result<(), SwitchError>, SwitchError> {
    refuse_part(host, trees)?;
    let found = host.inode_of_dir(trees.path)?;
    if !trees.fit(found) {
        let what = "it is another directory now".to_owned();
        return Err(SwitchError::Stale { path: trees.path.to_owned(), what });
    }
    if found.is_none() {
        host.make_dirs(trees.path.parent().unwrap_or(trees.path))?;
        host.rename_new(trees.tree, trees.path)?;
        return Ok(Ok(()));
    }
    refuse_mounts(host, trees.path)?;
    if trees.old.is_none() && trees.keeps.is_none() && !host.is_empty_dir(trees.path)? {
        let what = "it is not empty any more".to_owned();
        return Err(SwitchError::Stale { path: trees.path.to_owned(), what });
    }
    let carried = carry(host, trees.path, trees)?;
    swap(host, trees.tree, trees.path)?;
    // Whoever replaced a file meanwhile did so in the tree that is in use no more.
    let carried = carry_again(host, (trees.tree, trees.path), trees, carried);
    Ok(carried.and_then(|()| put_away(host, trees)))
}

/// Not atomic: the files of the new tree are moved one by one. The head of its generation says last that it is the
/// one in use; until then a pass finds the old one changed, and goes on with what is left of the new one.
fn in_place(host: &Host, trees: &Trees<'_>) -> Result<Result<(), SwitchError>, SwitchError> {
    let found = host.inode_of_dir(trees.path)?;
    let (Some(inode), true) = (found, trees.fit(found)) else {
        return directories(host, trees);
    };
    if trees.keeps.is_none() && !host.is_empty_dir(trees.path)? {
        // Nothing in there is ours, so a merge would remove all of it.
        return directories(host, trees);
    }
    let generation = trees.tree.parent().unwrap_or(trees.tree);
    let nodes = list(host, generation)?;
    let mut old_staged_at = None;
    if let Some(old) = trees.old
        && let Some(head) = head_of(host, old)?
    {
        old_staged_at = Some(head.staged_at);
        if head.inode != inode {
            // It was told by its content, which is about to change.
            write_head(host, old, &SnapshotHead { inode, ..head })?;
        }
    }
    let head = head_of(host, generation)?;
    let (Some(nodes), Some(head)) = (nodes, head) else {
        let what = "the generation to merge cannot be read".to_owned();
        return Err(SwitchError::Stale { path: generation.to_owned(), what });
    };
    if head.made_for.is_some_and(|made_for| made_for != inode) {
        return Err(not_made_for(trees));
    }
    let old = trees.old.map(|old| list(host, old)).transpose()?.flatten();
    let lists = (old.as_ref(), &nodes);
    let Some(merged) = host.merge((trees.tree, trees.path), lists, trees.preserve)? else {
        host.remove(generation)?;
        let what = "somebody changed files while it was updated".to_owned();
        return Err(SwitchError::Stale { path: trees.path.to_owned(), what });
    };
    host.sync_file_system(trees.path)?;
    host.write(generation.join(NODES), &merged.encode())?;
    let merged = Some(head.inode);
    // Both have the inode now, and the one that was staged last is in use.
    let after = |old: Timestamp| old.checked_add(Span::new().nanoseconds(1)).unwrap_or(old);
    let staged_at = old_staged_at.map_or(head.staged_at, |old| after(old).max(head.staged_at));
    let head = SnapshotHead { staged_at, inode, merged, made_for: None, ..head };
    write_head(host, generation, &head)?;
    Ok(host.remove(trees.tree).map_err(SwitchError::from))
}

fn head_of(host: &Host, generation: &Utf8Path) -> io::Result<Option<SnapshotHead>> {
    let bytes = host.read(generation.join(HEAD), GENERATION_BYTES_MAX)?;
    Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

fn write_head(host: &Host, generation: &Utf8Path, head: &SnapshotHead) -> io::Result<()> {
    host.write(generation.join(HEAD), &serde_json::to_vec(head)?)
}

fn put_away(host: &Host, trees: &Trees<'_>) -> Result<(), SwitchError> {
    match trees.old {
        Some(old) => {
            host.make_dirs(old.parent().unwrap_or(old))?;
            Ok(host.rename_new(trees.tree, old)?)
        }
        // It was empty; what came meanwhile is moved to its place by the next pass.
        None if trees.keeps.is_none() => Ok(host.remove_empty(trees.tree)?),
        None => Ok(host.remove(trees.tree)?),
    }
}

fn link(host: &Host, trees: &Trees<'_>) -> Result<Result<(), SwitchError>, SwitchError> {
    refuse_part(host, trees)?;
    let parent = trees.path.parent().unwrap_or(trees.path);
    host.make_dirs(parent)?;
    let target = trees.tree.strip_prefix(parent).unwrap_or(trees.tree);
    if let Some(inode) = host.inode_of_dir(trees.path)?
        && trees.fit(Some(inode))
    {
        match trees.old {
            Some(old) => return link_for_directory(host, trees, (target, old)),
            None => host.remove_empty(trees.path)?,
        }
    }
    let kept = trees.keeps.map(|kept| kept.tree.as_path());
    let kept = match kept {
        Some(kept) if host.inode_of_dir(kept)?.is_some() => Some(kept),
        _ => None,
    };
    let carried = kept.map(|kept| carry(host, kept, trees)).transpose()?.flatten();
    let beside = trees.tree.with_extension("link");
    host.remove(&beside)?;
    host.symlink(target.as_str(), &beside)?;
    let stat = host.stat(trees.path)?;
    if let Some(stat) = stat.filter(|stat| stat.kind != ItemKind::Link) {
        return Err(SwitchError::Foreign { path: trees.path.to_owned(), kind: stat.kind.name() });
    }
    host.rename_over(&beside, trees.path)?;
    Ok(kept.map_or(Ok(()), |kept| carry_again(host, (kept, trees.tree), trees, carried)))
}

/// The link is made where the directory is to go, so that one exchange brings both to their places.
fn link_for_directory(
    host: &Host,
    trees: &Trees<'_>,
    (target, old): (&Utf8Path, &Utf8Path),
) -> Result<Result<(), SwitchError>, SwitchError> {
    refuse_mounts(host, trees.path)?;
    let carried = carry(host, trees.path, trees)?;
    host.make_dirs(old.parent().unwrap_or(old))?;
    // A pass that was cut off may have left one.
    if host.stat(old)?.is_some_and(|stat| stat.kind == ItemKind::Link) {
        host.remove(old)?;
    }
    host.symlink(target.as_str(), old)?;
    swap(host, old, trees.path)?;
    Ok(carry_again(host, (old, trees.tree), trees, carried))
}

/// Carries what is preserved from the tree in use into the new one.
fn carry(host: &Host, from: &Utf8Path, trees: &Trees<'_>) -> io::Result<Option<Carried>> {
    let preserve = trees.preserve;
    (!preserve.is_empty()).then(|| host.carry(from, trees.tree, preserve)).transpose()
}

fn carry_again(
    host: &Host,
    (from, to): (&Utf8Path, &Utf8Path),
    trees: &Trees<'_>,
    carried: Option<Carried>,
) -> Result<(), SwitchError> {
    let Some(carried) = carried else { return Ok(()) };
    Ok(host.carry_again(from, to, trees.preserve, carried)?)
}

fn refuse_mounts(host: &Host, path: &Utf8Path) -> Result<(), SwitchError> {
    match host.mounts_within(path)?.into_iter().next() {
        Some(mount) => Err(SwitchError::Foreign { path: mount, kind: "mount point" }),
        None => Ok(()),
    }
}

fn swap(host: &Host, new: &Utf8Path, path: &Utf8Path) -> Result<(), SwitchError> {
    host.exchange(new, path).map_err(|error| match error.kind() {
        io::ErrorKind::ResourceBusy | io::ErrorKind::CrossesDevices => {
            SwitchError::Foreign { path: path.to_owned(), kind: "mount point" }
        }
        _ => SwitchError::Io(error),
    })
}
