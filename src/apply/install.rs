//! The commit point of an app that is one file: a rename over it, so that there is always one.

use camino::Utf8Path;

use crate::apply::switch::{SwitchError, manifest_of};
use crate::host::{Change as Host, ItemKind};
use crate::model::step::{Expected, KeptAs};
use crate::resource::app::in_place::choose;

/// The file to replace.
#[derive(Clone, Copy, Debug)]
pub struct InPlace<'a> {
    /// The file.
    pub file: &'a Utf8Path,
    /// Where the new one is written.
    pub beside: &'a Utf8Path,
    /// The release directory.
    pub release: &'a Utf8Path,
    /// The program inside it, when it is known.
    pub program: Option<&'a str>,
    /// The file that the wish names.
    pub wished: &'a Utf8Path,
    /// What is there now.
    pub expects: Expected,
    /// Where that is kept.
    pub backup: Option<&'a KeptAs>,
}

/// Writes the program beside the file, with the file's owner, mode and attributes, keeps the file as the wish
/// says, and renames the program over it.
pub fn install(host: &Host, wish: &InPlace<'_>) -> Result<(), SwitchError> {
    let program = match wish.program {
        Some(program) => program.to_owned(),
        None => program_for(host, wish.release, wish.wished)?,
    };
    check(host, wish)?;
    host.make_dirs(wish.file.parent().unwrap_or(wish.file))?;
    if let Err(error) = host.copy_beside(&wish.release.join(program), wish.beside, wish.file) {
        // Nothing half-done is left behind; what cannot be removed is swept later.
        let _ = host.remove_file(wish.beside);
        return Err(error.into());
    }
    check(host, wish)?;
    if let Some(KeptAs { path, replaces }) = wish.backup {
        if *replaces {
            host.keep_over(wish.file, path)?;
        } else {
            host.keep_as(wish.file, path)?;
        }
    }
    Ok(host.rename_over(wish.beside, wish.file)?)
}

/// Puts back what was there before us.
pub fn restore(host: &Host, file: &Utf8Path, from: &Utf8Path) -> Result<(), SwitchError> {
    Ok(host.rename_over(from, file)?)
}

fn program_for(host: &Host, release: &Utf8Path, file: &Utf8Path) -> Result<String, SwitchError> {
    let manifest = manifest_of(host, release)?;
    let program = choose(&manifest.binaries, file).map(|program| program.path.clone());
    program.ok_or_else(|| SwitchError::NotOneProgram {
        path: release.to_owned(),
        found: manifest.binaries.into_iter().map(|program| program.path).collect(),
    })
}

/// Refuses to replace what is not there any more, or was changed, since the plan was made.
fn check(host: &Host, wish: &InPlace<'_>) -> Result<(), SwitchError> {
    if wish.expects == Expected::Anything {
        return Ok(());
    }
    let found = host.stat(wish.file)?;
    if let Some(found) = found.filter(|found| found.kind != ItemKind::File) {
        return Err(SwitchError::Foreign { path: wish.file.to_owned(), kind: found.kind.name() });
    }
    let now = found
        .map_or(Expected::Nothing, |found| Expected::File { size: found.size, mtime: found.mtime });
    if now == wish.expects {
        return Ok(());
    }
    let what = "it was replaced or written to".to_owned();
    Err(SwitchError::Stale { path: wish.file.to_owned(), what })
}
