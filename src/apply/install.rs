//! The commit point of an app that is one file: a rename over it, so that there is always one.

use std::fs::File;
use std::io;

use camino::Utf8Path;
use jiff::Timestamp;

use crate::apply::switch::{SwitchError, manifest_of, promote, replace};
use crate::host::replace::Like;
use crate::host::{Change as Host, ItemKind, Stat};
use crate::model::manifest::{Binary, MANIFEST_FORMAT, MANIFEST_NAME};
use crate::model::step::{Expected, Kept, KeptAs};
use crate::model::{Entry, EntryKind, Evidence, Level, Manifest, Subject};

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
    /// Where that is kept as a release.
    pub keeps: Option<&'a Kept>,
    /// Where that is kept as a file.
    pub backup: Option<&'a KeptAs>,
    /// The time of the pass.
    pub now: Timestamp,
}

/// Writes the program beside the file, with the file's owner, mode and attributes, keeps the file as the wish
/// says, and renames the program over it. Says what the file had that the program could not be given. Somebody else may
/// own the directory: the file is opened once, and what is there later counts only as a reason to give up.
pub fn install(host: &Host, wish: &InPlace<'_>) -> Result<Option<String>, SwitchError> {
    let program = match wish.program {
        Some(program) => program.to_owned(),
        None => program_for(host, wish.release, wish.wished)?,
    };
    let program = wish.release.join(program);
    let gone = || SwitchError::Stale { path: program.clone(), what: "it is gone".to_owned() };
    let (source, _) = host.open_file(&program)?.ok_or_else(gone)?;
    check(host, wish)?;
    let old = host.open_file(wish.file)?;
    expect(wish, old.as_ref().map(|(_, stat)| *stat))?;
    let old = old.as_ref().map(|(file, _)| file);
    if let Some((kept, old)) = wish.keeps.zip(old) {
        keep(host, wish, (kept, old))?;
    }
    host.make_dirs(wish.file.parent().unwrap_or(wish.file))?;
    let lost = replace_by(host, wish, (&source, old)).inspect_err(|_| {
        // Nothing half-done is left behind; what cannot be removed is swept later.
        let _ = host.remove_file(wish.beside);
    })?;
    Ok((!lost.is_empty()).then(|| {
        let (file, lost) = (wish.file, lost.join(", "));
        format!("{file} lost attributes that the system does not let be set here: {lost}")
    }))
}

fn replace_by(
    host: &Host,
    wish: &InPlace<'_>,
    (source, old): (&File, Option<&File>),
) -> Result<Vec<String>, SwitchError> {
    host.remove_file(wish.beside)?;
    let lost = host.copy_to(source, wish.beside, old.map_or(Like::Program, Like::Successor))?;
    check(host, wish)?;
    let mut surplus = None;
    if let Some((KeptAs { path, replaces }, old)) = wish.backup.zip(old) {
        if *replaces {
            host.keep_over((wish.file, old), path)?;
        } else {
            host.keep_as((wish.file, old), path)?;
            surplus = Some(path);
        }
    }
    host.rename_over(wish.beside, wish.file).inspect_err(|_| {
        // Each pass would keep one more of the same; but once the new one is in place, it is the way back.
        if let (Ok(Some(_)), Some(path)) = (host.stat(wish.beside), surplus) {
            let _ = host.remove_file(path);
        }
    })?;
    Ok(lost)
}

/// Makes a release of what was there before us. A pass that dies right after it finds the file in use to be of that
/// release.
fn keep(host: &Host, wish: &InPlace<'_>, (kept, old): (&Kept, &File)) -> Result<(), SwitchError> {
    let Kept { head, .. } = kept;
    let name = wish.wished.file_name().unwrap_or(&head.tag).to_owned();
    let copy = kept.staged.join(&name);
    host.make_dirs(kept.staged.parent().unwrap_or(&kept.staged))?;
    host.remove(&kept.staged)?;
    host.make_new_dir(&kept.staged)?;
    host.copy_to(old, &copy, Like::Program)?;
    let (stat, sha256) = (host.stat(&copy)?, host.sha256(&copy)?);
    let stat = stat.ok_or_else(|| SwitchError::Stale {
        path: copy.clone(),
        what: "it was removed".to_owned(),
    })?;
    let manifest = Manifest {
        format: MANIFEST_FORMAT,
        resource: head.resource.to_string(),
        version: head.version.clone(),
        tag: head.tag.clone(),
        recipe: head.recipe.clone(),
        artifact: name.clone(),
        digest: sha256.clone(),
        size: stat.size,
        evidence: Evidence {
            level: Level::None,
            digests: Vec::new(),
            of: Subject::Artifact,
            stated_by: "nobody: it was there before reconcile".to_owned(),
            signer: None,
        },
        staged_at: wish.now,
        binaries: vec![Binary { name: name.clone(), path: name.clone() }],
        entries: vec![Entry {
            path: name,
            kind: EntryKind::File {
                mode: stat.mode,
                size: stat.size,
                mtime: stat.mtime,
                sha256: sha256.hex(),
            },
        }],
    };
    let json = serde_json::to_vec(&manifest).map_err(io::Error::from)?;
    host.write(kept.staged.join(MANIFEST_NAME), &json)?;
    if kept.replaces {
        replace(host, &kept.staged, &kept.release)
    } else {
        promote(host, &kept.staged, &kept.release)
    }
}

/// The path of the program inside a release that belongs in the place of a file.
pub(super) fn program_for(
    host: &Host,
    release: &Utf8Path,
    file: &Utf8Path,
) -> Result<String, SwitchError> {
    let manifest = manifest_of(host, release)?;
    let program = Binary::in_place_of(&manifest.binaries, file).map(|program| program.path.clone());
    program.ok_or_else(|| SwitchError::NotOneProgram {
        path: release.to_owned(),
        found: manifest.binaries.into_iter().map(|program| program.path).collect(),
    })
}

/// Refuses to replace what is not there any more, or was changed, since the plan was made.
fn check(host: &Host, wish: &InPlace<'_>) -> Result<(), SwitchError> {
    expect(wish, host.stat(wish.file)?)
}

fn expect(wish: &InPlace<'_>, found: Option<Stat>) -> Result<(), SwitchError> {
    if let Some(found) = found.filter(|found| found.kind != ItemKind::File) {
        return Err(SwitchError::Foreign { path: wish.file.to_owned(), kind: found.kind.name() });
    }
    if wish.expects == Expected::Anything {
        return Ok(());
    }
    let now = found
        .map_or(Expected::Nothing, |found| Expected::File { size: found.size, mtime: found.mtime });
    if now == wish.expects {
        return Ok(());
    }
    let what = "it was replaced or written to".to_owned();
    Err(SwitchError::Stale { path: wish.file.to_owned(), what })
}
