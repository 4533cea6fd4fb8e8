//! The commit point of a tree: a whole generation comes into use by one rename.

use std::io;

use camino::Utf8Path;

use crate::apply::switch::SwitchError;
use crate::host::Change as Host;
use crate::model::step::{ExchangeBy, Expected};

/// The trees to exchange.
#[derive(Clone, Copy, Debug)]
pub struct Trees<'a> {
    /// The new tree.
    pub tree: &'a Utf8Path,
    /// The path in use.
    pub path: &'a Utf8Path,
    /// Where the tree that was in use goes.
    pub old: Option<&'a Utf8Path>,
    /// What is in use now.
    pub expects: Expected,
    /// Patterns of paths that are carried along.
    pub preserve: &'a [String],
}

/// Brings a tree into use. The inner result is about what is done once that has happened: the tree that was in
/// use goes to its place. The next pass does what is left of it.
pub fn exchange(
    host: &Host,
    trees: &Trees<'_>,
    by: ExchangeBy,
) -> Result<Result<(), SwitchError>, SwitchError> {
    match by {
        ExchangeBy::Directory => directories(host, trees),
        ExchangeBy::Link => link(host, trees).map(Ok),
    }
}

fn directories(host: &Host, trees: &Trees<'_>) -> Result<Result<(), SwitchError>, SwitchError> {
    let found = host.inode_of_dir(trees.path)?;
    let now = found.map_or(Expected::Nothing, |inode| Expected::Directory { inode });
    if trees.expects != Expected::Anything && now != trees.expects {
        let what = "it is another directory now".to_owned();
        return Err(SwitchError::Stale { path: trees.path.to_owned(), what });
    }
    if found.is_none() {
        host.make_dirs(trees.path.parent().unwrap_or(trees.path))?;
        host.rename_new(trees.tree, trees.path)?;
        return Ok(Ok(()));
    }
    if !trees.preserve.is_empty() {
        host.carry(trees.path, trees.tree, trees.preserve)?;
    }
    host.exchange(trees.tree, trees.path).map_err(|error| match error.kind() {
        io::ErrorKind::ResourceBusy | io::ErrorKind::CrossesDevices => {
            SwitchError::Foreign { path: trees.path.to_owned(), kind: "mount point" }
        }
        _ => SwitchError::Io(error),
    })?;
    Ok(put_away(host, trees))
}

fn put_away(host: &Host, trees: &Trees<'_>) -> Result<(), SwitchError> {
    match trees.old {
        Some(old) => {
            host.make_dirs(old.parent().unwrap_or(old))?;
            Ok(host.rename_new(trees.tree, old)?)
        }
        None => Ok(host.remove(trees.tree)?),
    }
}

fn link(host: &Host, trees: &Trees<'_>) -> Result<(), SwitchError> {
    let parent = trees.path.parent().unwrap_or(trees.path);
    host.make_dirs(parent)?;
    let target = trees.tree.strip_prefix(parent).unwrap_or(trees.tree);
    let beside = trees.tree.with_extension("link");
    host.remove(&beside)?;
    host.symlink(target.as_str(), &beside)?;
    let stat = host.stat(trees.path)?;
    if let Some(stat) = stat.filter(|stat| stat.kind != crate::host::ItemKind::Link) {
        return Err(SwitchError::Foreign { path: trees.path.to_owned(), kind: stat.kind.name() });
    }
    Ok(host.rename_over(&beside, trees.path)?)
}
