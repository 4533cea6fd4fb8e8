//! Releases that were there before us: listed when they are taken over, and looked after from then on.

use std::io;

use camino::Utf8Path;
use serde::Deserialize;

use crate::host::{ItemKind, Look, Stat};
use crate::model::manifest::{MANIFEST_FORMAT, MANIFEST_NAME, TAKEN_OVER_NAME, TakenOver};
use crate::model::{Drift, DriftKind, Entry, EntryKind};
use crate::resource::app::observe::{
    DRIFT_MAX, MANIFEST_BYTES_MAX, Slot, compare_entries, executables,
};
use crate::resource::observe::Depth;

/// Most items that are listed: so long a list is still read, and each is hashed once.
const ITEMS_MAX: usize = 50_000;

/// Looks at a release without a manifest of ours.
pub(super) fn observe(host: &Look, directory: &Utf8Path, depth: Depth) -> io::Result<Slot> {
    let executables = executables(host, directory)?;
    let mut slot = Slot { executables, ..Slot::default() };
    if let Some((list, written)) = read(host, directory)? {
        slot.drift = drift(host, directory, &list.entries, (depth, written))?;
        slot.taken_over = Some(list.at);
    }
    Ok(slot)
}

fn drift(
    host: &Look,
    directory: &Utf8Path,
    entries: &[Entry],
    (depth, written): (Depth, Stat),
) -> io::Result<Vec<Drift>> {
    let mut drift = compare_entries(host, directory, entries, (depth, Some(written)))?;
    // What its programs write beside themselves was never known to be of it or not.
    drift.retain(|drift| drift.kind != DriftKind::Extra);
    drift.sort_by(|a, b| a.path.cmp(&b.path));
    drift.truncate(DRIFT_MAX);
    Ok(drift)
}

/// The list of what was there. One that cannot be read counts as missing.
fn read(host: &Look, directory: &Utf8Path) -> io::Result<Option<(TakenOver, Stat)>> {
    let list = text(host, directory)?;
    let list = list.and_then(|(bytes, stat)| Some((serde_json::from_slice(&bytes).ok()?, stat)));
    Ok(list.filter(|(list, _): &(TakenOver, Stat)| list.format == MANIFEST_FORMAT))
}

fn text(host: &Look, directory: &Utf8Path) -> io::Result<Option<(Vec<u8>, Stat)>> {
    match host.read_stated(&directory.join(TAKEN_OVER_NAME), MANIFEST_BYTES_MAX) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(None),
        read => read,
    }
}

/// Whether a newer reconcile wrote the list, who goes on with it once it is back.
fn is_newer(host: &Look, directory: &Utf8Path) -> io::Result<bool> {
    #[derive(Deserialize)]
    struct Any {
        format: u32,
    }
    let list = text(host, directory)?.and_then(|(bytes, _)| serde_json::from_slice(&bytes).ok());
    Ok(list.is_some_and(|list: Any| list.format > MANIFEST_FORMAT))
}

/// Everything in a directory that is not ours, parents before children; `None` where something in it can be in no list,
/// too much is, or a newer reconcile listed it.
pub fn entries(host: &Look, directory: &Utf8Path) -> io::Result<Option<Vec<Entry>>> {
    if is_newer(host, directory)? {
        return Ok(None);
    }
    // What cannot be listed is met in every pass, so nothing is read before all of it can be.
    let Some(mut entries) = unread(host, directory)? else { return Ok(None) };
    for entry in &mut entries {
        if let EntryKind::File { sha256, .. } = &mut entry.kind {
            *sha256 = host.sha256(directory.join(&entry.path))?.hex();
        }
    }
    Ok(Some(entries))
}

/// The same without the digests of files.
fn unread(host: &Look, directory: &Utf8Path) -> io::Result<Option<Vec<Entry>>> {
    let mut entries = Vec::new();
    let mut pending = vec![String::new()];
    while let Some(parent) = pending.pop() {
        for item in host.list(directory.join(&parent))?.unwrap_or_default() {
            // A damaged list is no part of the release that it is of.
            let ours = [TAKEN_OVER_NAME, MANIFEST_NAME].iter().any(|n| item.name.starts_with(n));
            if ours && parent.is_empty() {
                continue;
            }
            let path =
                if parent.is_empty() { item.name } else { format!("{parent}/{}", item.name) };
            let place = directory.join(&path);
            let Some(stat) = host.stat(&place)? else { return Ok(None) };
            let kind = match item.kind {
                ItemKind::Dir => {
                    pending.push(path.clone());
                    EntryKind::Dir { mode: stat.mode }
                }
                ItemKind::File => EntryKind::File {
                    mode: stat.mode,
                    size: stat.size,
                    mtime: stat.mtime,
                    sha256: String::new(),
                },
                ItemKind::Link => match host.link_in_utf8(&place)? {
                    Some(target) => EntryKind::Link { target },
                    None => return Ok(None),
                },
                ItemKind::Other => return Ok(None),
            };
            entries.push(Entry { path, kind });
            if entries.len() > ITEMS_MAX {
                return Ok(None);
            }
        }
    }
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Some(entries))
}
