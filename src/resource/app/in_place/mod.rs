//! Apps that are one file, replaced where it is.
//!
//! ```text
//! /usr/local/bin/tool                       the file in use, a copy of the program of one release
//! /usr/local/bin/tool.backup                the one before; tool.backup.1 and so on where that is somebody's
//! /usr/local/bin/.tool.reconcile-new        half-done work
//! <home>/releases/<slot>/…                  installed releases, as for every app
//! ```

pub mod observe;
mod plan;

use camino::{Utf8Path, Utf8PathBuf};

use crate::model::manifest::Binary;
use crate::model::{Entry, EntryKind, Manifest};

/// Names of backups that are tried: there are as many files of somebody else at most.
const BACKUPS_MAX: u32 = 10;

/// Where the new file is written before it is renamed.
pub fn beside(file: &Utf8Path) -> Utf8PathBuf {
    file.with_file_name(format!(".{}.reconcile-new", file.file_name().unwrap_or_default()))
}

/// Where the file that was in use before is kept.
pub fn backup(file: &Utf8Path) -> Utf8PathBuf {
    Utf8PathBuf::from(format!("{file}.backup"))
}

/// Names for the file that was in use before, in the order in which they are tried.
pub fn backup_names(file: &Utf8Path) -> impl Iterator<Item = Utf8PathBuf> {
    let first = backup(file);
    let numbered = (1..BACKUPS_MAX).map(move |number| format!("{file}.backup.{number}").into());
    std::iter::once(first).chain(numbered)
}

/// The program of a release that belongs in the place of `file`: its only one, or the one of that name.
/// Its path inside the release, and its entry.
pub fn program<'m>(manifest: &'m Manifest, file: &Utf8Path) -> Option<(&'m str, &'m Entry)> {
    let program = Binary::in_place_of(&manifest.binaries, file)?;
    let entry = manifest.entries.iter().find(|entry| entry.path == program.path)?;
    matches!(entry.kind, EntryKind::File { .. }).then_some((program.path.as_str(), entry))
}
