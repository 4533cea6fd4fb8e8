//! What the host has of an app.

pub mod adopted;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

use camino::Utf8Path;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::host::{ItemKind, Look, Stat};
use crate::model::ledger::Owned;
use crate::model::manifest::{MANIFEST_FORMAT, MANIFEST_NAME, TAKEN_OVER_NAME};
use crate::model::slot::tag_of_slot;
use crate::model::{Drift, DriftKind, Entry, EntryKind, Manifest, Version};
use crate::resource::app::in_place::observe::{self as in_place, FileFound, Wished};
use crate::resource::app::layout::{Layout, STAGING_PREFIX, parse_link};
use crate::resource::app::spec::TagPattern;
use crate::resource::observe::{Depth, by_digest};

/// A manifest lists at most 200,000 entries of about 200 bytes.
const MANIFEST_BYTES_MAX: u64 = 64 << 20;

/// Differences listed per release; more than this is "everything".
pub(super) const DRIFT_MAX: usize = 1_000;

/// Links of a directory that holds no directory, where the file system counts them; others say 1.
const CHILDLESS_LINKS: u64 = 2;

/// The type of an entry of `bin` whose name or text could not be kept as it is.
const NOT_UTF8: &str = "name or link that is not UTF-8";

/// What the host has of an app.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppObserved {
    /// The directory of links; `None` when there is none.
    pub bin: Option<BinDir>,
    /// Release directories by name.
    pub slots: BTreeMap<String, Slot>,
    /// Names of ours in `staging/`: what an earlier pass left.
    pub leftovers: Vec<String>,
    /// The file that is replaced in place, where an app is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileFound>,
    /// Files that were replaced in place before the layout was edited.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<FileFound>,
}

/// The directory of links.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BinDir {
    /// Link texts by name.
    pub links: BTreeMap<String, String>,
    /// Entries that are not links, by name.
    pub others: BTreeMap<String, Cow<'static, str>>,
}

impl BinDir {
    /// Something that cannot be carried along when all links are switched at once, and its type.
    pub fn immovable(&self) -> Option<(&String, &str)> {
        let mut others = self.others.iter().map(|(name, kind)| (name, &**kind));
        others.find(|(_, kind)| *kind != ItemKind::File.name())
    }
}

/// One release directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// Its manifest; `None` for a directory that we did not make.
    #[serde(serialize_with = "by_digest", skip_deserializing)]
    pub manifest: Option<Box<Manifest>>,
    /// Where it differs from its manifest, or from what it held when it was taken over.
    pub drift: Vec<Drift>,
    /// When its content was listed as it was found; `None` for a directory that we made, or that nobody listed yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_over: Option<Timestamp>,
    /// Programs found in a directory without manifest: paths of files with an execute bit.
    pub executables: Vec<String>,
}

impl AppObserved {
    /// The slots that links of `bin` point into. One is the normal case; more are a mixture.
    pub fn linked_slots(&self) -> BTreeSet<&str> {
        if let Some(file) = &self.file {
            return file.slot.as_deref().into_iter().collect();
        }
        let links = self.bin.iter().flat_map(|bin| bin.links.values());
        links.filter_map(|text| parse_link(text)).map(|(slot, _)| slot).collect()
    }

    /// The slot in use, when all links agree on one.
    pub fn current(&self) -> Option<&str> {
        if let Some(file) = &self.file {
            return file.slot.as_deref();
        }
        let links = self.bin.iter().flat_map(|bin| bin.links.values());
        let mut slots = links.filter_map(|text| parse_link(text)).map(|(slot, _)| slot);
        let first = slots.next()?;
        slots.all(|slot| slot == first).then_some(first)
    }

    /// When the content of the release in use was taken over as it was found.
    pub fn taken_over(&self) -> Option<Timestamp> {
        self.slots.get(self.current()?)?.taken_over
    }

    /// The version of a release, there or gone: what its manifest says, else what its tag carries.
    pub fn version_of(&self, slot: &str, tag: &TagPattern) -> Option<Version> {
        let manifest = self.slots.get(slot).and_then(|found| found.manifest.as_ref());
        manifest.map(|m| m.version.clone()).or_else(|| tag.version(&tag_of_slot(slot)))
    }

    /// Release directories of another updater that become ours: only at the first sight of its
    /// installation, and only what is in use or bears a version.
    pub fn adopted(&self, owned: Option<&Owned>, tags: &TagPattern) -> Vec<String> {
        if let Some(owned) = owned {
            return owned.adopted.clone();
        }
        let linked = self.linked_slots();
        let made_by_us = self.slots.values().any(|slot| slot.manifest.is_some());
        if made_by_us || linked.is_empty() {
            return Vec::new();
        }
        let versioned = |slot: &str| {
            tags.version(&tag_of_slot(slot)).is_some_and(|version| !version.is_opaque())
        };
        let ours = |slot: &&String| linked.contains(slot.as_str()) || versioned(slot);
        self.slots.keys().filter(ours).cloned().collect()
    }
}

/// Looks at the app below `home`. Every release is compared with its manifest: any of them may be the next
/// one in use.
pub fn observe(
    host: &Look,
    home: &Utf8Path,
    file: Option<&Wished<'_>>,
    depth: Depth,
) -> io::Result<AppObserved> {
    let mut observed = match &host.from_inside(home)? {
        Some(inside) => observe_home(inside, &Layout::new(home), depth)?,
        None => AppObserved::default(),
    };
    observed.file =
        file.map(|file| in_place::observe(host, file, (&observed.slots, depth))).transpose()?;
    Ok(observed)
}

fn observe_home(host: &Look, layout: &Layout, depth: Depth) -> io::Result<AppObserved> {
    let mut observed = AppObserved { bin: observe_bin(host, layout)?, ..Default::default() };
    for item in host.list(layout.releases())?.unwrap_or_default() {
        let slot = match item.kind {
            ItemKind::Dir => observe_slot(host, &layout.slot(&item.name), depth)?,
            // Whatever it is, it is not ours and it is in the way of a release of that name.
            _ => Slot::default(),
        };
        observed.slots.insert(item.name, slot);
    }
    observed.leftovers = leftovers(host, &layout.staging())?;
    Ok(observed)
}

/// Names of ours in `staging`. All of them are directories, so that a directory without any need not be read.
fn leftovers(host: &Look, staging: &Utf8Path) -> io::Result<Vec<String>> {
    let childless = |stat: &Stat| stat.kind == ItemKind::Dir && stat.links == CHILDLESS_LINKS;
    if host.stat(staging)?.as_ref().is_none_or(childless) {
        return Ok(Vec::new());
    }
    let names = host.list(staging)?.unwrap_or_default().into_iter().map(|item| item.name);
    Ok(names.filter(|name| name.starts_with(STAGING_PREFIX)).collect())
}

fn observe_bin(host: &Look, layout: &Layout) -> io::Result<Option<BinDir>> {
    let Some(items) = host.list(layout.bin())? else { return Ok(None) };
    let mut bin = BinDir::default();
    for item in items {
        let path = layout.bin().join(&item.name);
        let lossy = |text: &str| text.contains(char::REPLACEMENT_CHARACTER);
        if lossy(&item.name) {
            bin.others.insert(item.name, NOT_UTF8.into());
        } else if item.kind == ItemKind::Link {
            match host.link_in_utf8(path)? {
                Some(target) => drop(bin.links.insert(item.name, target)),
                None => drop(bin.others.insert(item.name, NOT_UTF8.into())),
            }
        } else {
            bin.others.insert(item.name, item.kind.name().into());
        }
    }
    Ok(Some(bin))
}

fn observe_slot(host: &Look, directory: &Utf8Path, depth: Depth) -> io::Result<Slot> {
    let Some((manifest, written)) = read_manifest(host, directory)? else {
        return adopted::observe(host, directory, depth);
    };
    let mut drift = compare_entries(host, directory, &manifest.entries, (depth, Some(written)))?;
    drift.sort_by(|a, b| a.path.cmp(&b.path));
    drift.truncate(DRIFT_MAX);
    Ok(Slot { manifest: Some(manifest), drift, ..Slot::default() })
}

/// The manifest of a release directory, and the file it was read from. One that cannot be read counts as
/// missing: the directory is then not known to be whole, and not known to be ours.
fn read_manifest(host: &Look, directory: &Utf8Path) -> io::Result<Option<(Box<Manifest>, Stat)>> {
    let found = match host.read_stated(&directory.join(MANIFEST_NAME), MANIFEST_BYTES_MAX) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => None,
        read => read?,
    };
    let parsed = found.and_then(|(bytes, stat)| {
        Some((serde_json::from_slice::<Box<Manifest>>(&bytes).ok()?, stat))
    });
    Ok(parsed.filter(|(manifest, _)| manifest.format == MANIFEST_FORMAT))
}

/// Compares a directory with what was put into it. Where the manifest was the last thing `written` into it, a
/// directory that is not newer holds what it held then, and need not be read to know that nothing was added.
pub fn compare_entries(
    host: &Look,
    directory: &Utf8Path,
    entries: &[Entry],
    (depth, written): (Depth, Option<Stat>),
) -> io::Result<Vec<Drift>> {
    let mut drift = Vec::new();
    let mut suspects = Vec::new();
    let mut look = |path: &str, stat: Option<Stat>| {
        let is_newer = |written| stat.is_none_or(|stat| stat.is_newer_than(&written));
        if depth == Depth::Deep || written.is_none_or(is_newer) {
            suspects.push(path.to_owned());
        }
    };
    look("", host.stat(directory)?);
    for entry in entries {
        let stat = host.stat(directory.join(&entry.path))?;
        if matches!(entry.kind, EntryKind::Dir { .. }) {
            look(&entry.path, stat);
        }
        drift.extend(compare_entry(host, directory, entry, (depth, stat))?);
    }
    if !suspects.is_empty() {
        let known: BTreeSet<&str> = entries.iter().map(|e| e.path.as_str()).collect();
        for suspect in &suspects {
            drift.extend(extras(host, directory, suspect, &known)?);
        }
    }
    Ok(drift)
}

/// What `parent`, a directory of a release, holds besides what is `known`.
fn extras(
    host: &Look,
    directory: &Utf8Path,
    parent: &str,
    known: &BTreeSet<&str>,
) -> io::Result<Vec<Drift>> {
    let found = match host.list(directory.join(parent)) {
        // That something else is there is told of the directory itself.
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => None,
        found => found?,
    };
    let extra = found.unwrap_or_default().into_iter().filter_map(|item| {
        let path = if parent.is_empty() { item.name } else { format!("{parent}/{}", item.name) };
        let ours = [MANIFEST_NAME, TAKEN_OVER_NAME].contains(&path.as_str())
            || known.contains(path.as_str());
        (!ours).then(|| Drift {
            path: directory.join(path).to_string(),
            kind: DriftKind::Extra,
            expected: "nothing".to_owned(),
            found: item.kind.name().to_owned(),
        })
    });
    Ok(extra.collect())
}

fn compare_entry(
    host: &Look,
    directory: &Utf8Path,
    entry: &Entry,
    (depth, found): (Depth, Option<Stat>),
) -> io::Result<Option<Drift>> {
    let path = directory.join(&entry.path);
    let differs = |kind, expected: String, found: String| {
        Ok(Some(Drift { path: path.to_string(), kind, expected, found }))
    };
    let Some(stat) = found else {
        return differs(
            DriftKind::Missing,
            type_name(&entry.kind).to_owned(),
            "nothing".to_owned(),
        );
    };
    if stat.kind.name() != type_name(&entry.kind) {
        let (wanted, found) = (type_name(&entry.kind).to_owned(), stat.kind.name().to_owned());
        return differs(DriftKind::TypeChanged, wanted, found);
    }
    match &entry.kind {
        EntryKind::Link { target } => {
            let found = host.link_in_utf8(&path)?.unwrap_or_default();
            if &found == target {
                Ok(None)
            } else {
                differs(DriftKind::Retargeted, format!("-> {target}"), format!("-> {found}"))
            }
        }
        EntryKind::Dir { mode } => Ok(compare_mode(&path, *mode, stat)),
        EntryKind::File { mode, size, mtime, sha256 } => {
            let same_times = stat.size == *size && stat.mtime == *mtime;
            if depth == Depth::Quick && same_times {
                return Ok(compare_mode(&path, *mode, stat));
            }
            if stat.size != *size {
                let bytes = |size: u64| format!("{size} bytes");
                return differs(DriftKind::Modified, bytes(*size), bytes(stat.size));
            }
            let found = host.sha256(&path)?.hex();
            if &found == sha256 {
                return Ok(compare_mode(&path, *mode, stat));
            }
            let describe = |size: u64, hex: &str| {
                format!("{size} bytes, sha256 {}", hex.get(..12).unwrap_or(hex))
            };
            differs(DriftKind::Modified, describe(*size, sha256), describe(stat.size, &found))
        }
    }
}

fn compare_mode(path: &Utf8Path, mode: u32, stat: Stat) -> Option<Drift> {
    (stat.mode != mode).then(|| Drift {
        path: path.to_string(),
        kind: DriftKind::ModeChanged,
        expected: format!("mode {mode:04o}"),
        found: format!("mode {:04o}", stat.mode),
    })
}

fn type_name(kind: &EntryKind) -> &'static str {
    match kind {
        EntryKind::File { .. } => ItemKind::File.name(),
        EntryKind::Dir { .. } => ItemKind::Dir.name(),
        EntryKind::Link { .. } => ItemKind::Link.name(),
    }
}

/// Paths of all files with an execute bit, sorted, as distronomicon discovers them.
fn executables(host: &Look, directory: &Utf8Path) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut pending = vec![String::new()];
    while let Some(parent) = pending.pop() {
        for item in host.list(directory.join(&parent))?.unwrap_or_default() {
            let path =
                if parent.is_empty() { item.name } else { format!("{parent}/{}", item.name) };
            match item.kind {
                ItemKind::Dir => pending.push(path),
                ItemKind::File => {
                    let stat = host.stat(directory.join(&path))?;
                    if stat.is_some_and(|s| s.mode & 0o111 != 0) {
                        found.push(path);
                    }
                }
                ItemKind::Link | ItemKind::Other => {}
            }
        }
    }
    found.sort();
    Ok(found)
}
