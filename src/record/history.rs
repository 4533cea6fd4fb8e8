//! `history.jsonl`: one line for each change that was made or failed.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::host::{Change, Look, Stat};
use crate::model::document::Answer;
use crate::model::ledger::rename::Renames;
use crate::model::outcome::{HistoryEntry, counted};

/// Most bytes of a file that are read: it is rotated at 1 MiB, and one pass over ten thousand resources adds some more.
const HISTORY_BYTES_MAX: u64 = 64 << 20;

/// Size at which the file becomes `history.jsonl.1`, in bytes.
const ROTATE_BYTES: u64 = 1 << 20;

const NAME: &str = "history.jsonl";

/// Appends entries; durable with the next sync of the state directory's file system.
pub fn append(host: &Change, entries: &[HistoryEntry]) -> io::Result<()> {
    let path = host.places().state.join(NAME);
    if host.stat(&path)?.is_some_and(|stat| stat.size > ROTATE_BYTES) {
        host.rename_over(&path, &older(&path))?;
    }
    if entries.is_empty() {
        return Ok(());
    }
    let lines: Result<Vec<String>, _> = entries.iter().map(serde_json::to_string).collect();
    host.append_unsynced(&path, &lines.map_err(io::Error::other)?)
}

/// Resources got other names: what was told of them before is told by these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Renaming {
    /// When, which tells it from any other.
    #[serde(default)]
    pub(super) at: Timestamp,
    /// The new names by the old ones.
    pub(super) renamed: Renames,
}

/// Appends new names, perhaps once more after a pass that was cut off; durable like entries.
pub(super) fn append_renaming(host: &Change, renaming: &Renaming) -> io::Result<()> {
    let line = serde_json::to_string(renaming).map_err(io::Error::other)?;
    host.append_unsynced(host.places().state.join(NAME), &[line])
}

/// Tells what was told of resources by their new names.
pub fn rename(entries: &mut [HistoryEntry], renames: &Renames) {
    for entry in entries {
        if let Some(new) = renames.get(&entry.resource) {
            entry.resource.clone_from(new);
        }
    }
}

/// A line of the file.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Entry(Box<HistoryEntry>),
    Renaming(Renaming),
}

/// What is remembered of changes, and what of it is lost.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct History {
    /// All entries that can be read, oldest first.
    pub entries: Vec<HistoryEntry>,
    /// What cannot be read, for people: a file, or lines of one (a single one may be torn by a crash).
    pub damage: Vec<String>,
}

impl Answer for History {
    const KIND: &'static str = "History";
}

/// All remembered entries, oldest first. Lines that cannot be read are left out.
pub fn load(host: &Look) -> Vec<HistoryEntry> {
    read(host).entries
}

/// The same with what cannot be read.
pub fn read(host: &Look) -> History {
    let path = host.places().state.join(NAME);
    let mut history = History::default();
    let mut last = None;
    for file in [older(&path), path] {
        let bytes = match host.read(&file, HISTORY_BYTES_MAX) {
            Ok(bytes) => bytes.unwrap_or_default(),
            Err(error) => {
                history.damage.push(format!("{} cannot be read: {error}", host.real(file)));
                continue;
            }
        };
        let mut unreadable = 0;
        for line in bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            match serde_json::from_slice(line) {
                Ok(Line::Entry(entry)) => history.entries.push(*entry),
                Ok(Line::Renaming(renaming)) if last.as_ref() == Some(&renaming) => {}
                Ok(Line::Renaming(renaming)) => {
                    rename(&mut history.entries, &renaming.renamed);
                    last = Some(renaming);
                }
                Err(_) => unreadable += 1,
            }
        }
        if unreadable > 0 {
            let lines = counted(unreadable, "line");
            history.damage.push(format!("{lines} of {} cannot be read", host.real(file)));
        }
    }
    history
}

/// The part of the history that is asked for again and again: read when its files are others than they were.
#[derive(Clone, Debug, Default)]
pub struct Recent {
    files: [Option<Stat>; 2],
    entries: Arc<[HistoryEntry]>,
}

impl Recent {
    /// The `newest` entries and the last one of each resource, oldest first.
    pub fn of(&mut self, host: &Look, newest: usize) -> io::Result<Arc<[HistoryEntry]>> {
        let path = host.places().state.join(NAME);
        let files = [host.stat(older(&path))?, host.stat(&path)?];
        if files != self.files {
            let entries = load(host);
            let others = entries.len().saturating_sub(newest);
            let mut seen = BTreeSet::new();
            let last: Vec<bool> = entries.iter().rev().map(|e| seen.insert(&e.resource)).collect();
            let kept: Vec<bool> =
                last.into_iter().rev().enumerate().map(|(at, last)| last || at >= others).collect();
            let kept = entries.into_iter().zip(kept).filter(|(_, kept)| *kept);
            *self = Self { files, entries: kept.map(|(entry, _)| entry).collect() };
        }
        Ok(Arc::clone(&self.entries))
    }
}

fn older(path: &camino::Utf8Path) -> camino::Utf8PathBuf {
    format!("{path}.1").into()
}
