//! `history.jsonl`: one line for each change that was made or failed.

use std::io;

use crate::host::{Change, Look};
use crate::model::outcome::HistoryEntry;

/// A history is rotated at 1 MiB, so two files stay far below this.
const HISTORY_BYTES_MAX: u64 = 8 << 20;

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

/// All remembered entries, oldest first. Lines that cannot be read (one torn by a crash) are left out.
pub fn load(host: &Look) -> io::Result<Vec<HistoryEntry>> {
    let path = host.places().state.join(NAME);
    let mut entries = Vec::new();
    for file in [older(&path), path] {
        let bytes = host.read(&file, HISTORY_BYTES_MAX).ok().flatten().unwrap_or_default();
        let lines = bytes.split(|b| *b == b'\n');
        entries.extend(lines.filter_map(|line| serde_json::from_slice::<HistoryEntry>(line).ok()));
    }
    Ok(entries)
}

fn older(path: &camino::Utf8Path) -> camino::Utf8PathBuf {
    format!("{path}.1").into()
}
