//! What is where an app's one file should be.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use crate::host::{ItemKind, Look};
use crate::model::EntryKind;
use crate::resource::app::in_place::{backup_names, beside, program};
use crate::resource::app::observe::Slot;

/// Links followed from one path to a file: more than any sane installation has.
const LINKS_MAX: usize = 8;

/// What is where the file should be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFound {
    /// The path that the wish leads to, links followed.
    pub path: Utf8PathBuf,
    /// Size and modification time, when there is a regular file.
    pub stat: Option<(u64, i64)>,
    /// What is in the way, when it is something else.
    pub other: Option<Cow<'static, str>>,
    /// The release whose program it is.
    pub slot: Option<String>,
    /// SHA-256, hexadecimal, when it had to be read to tell.
    pub sha256: Option<String>,
    /// What has the names that backups get, up to the first free one: size and modification time of files.
    pub backups: Vec<(Utf8PathBuf, Option<(u64, i64)>)>,
    /// What a pass that was cut off left beside it.
    pub leftover: Option<Utf8PathBuf>,
}

/// Looks at the file. It is read only when size and time do not tell which release it is of.
pub fn observe(
    host: &Look,
    file: &Utf8Path,
    slots: &BTreeMap<String, Slot>,
) -> io::Result<FileFound> {
    let path = follow(host, file)?;
    let left = beside(&path);
    // A directory is nobody's half-written program.
    let leftover = host.stat(&left)?.filter(|stat| stat.kind == ItemKind::File).map(|_| left);
    let backups = backups(host, &path)?;
    let mut found = FileFound { path, backups, leftover, ..FileFound::default() };
    let Some(stat) = host.stat(&found.path)? else { return Ok(found) };
    if stat.kind != ItemKind::File {
        found.other = Some(stat.kind.name().into());
        return Ok(found);
    }
    found.stat = Some((stat.size, stat.mtime));
    let programs = slots.iter().filter_map(|(slot, found)| {
        let (_, entry) = program(found.manifest.as_ref()?, file)?;
        let EntryKind::File { size, mtime, sha256, .. } = &entry.kind else { return None };
        Some((slot, *size, *mtime, sha256))
    });
    let programs: Vec<_> = programs.collect();
    let mut alike = programs.iter().filter(|(_, s, m, _)| (*s, *m) == (stat.size, stat.mtime));
    if let (Some((slot, ..)), None) = (alike.next(), alike.next()) {
        found.slot = Some((*slot).clone());
        return Ok(found);
    }
    let sha256 = host.sha256(&found.path)?.hex();
    let same = programs.iter().find(|(_, _, _, known)| **known == sha256);
    found.slot = same.map(|(slot, ..)| (*slot).clone());
    found.sha256 = Some(sha256);
    Ok(found)
}

fn backups(host: &Look, file: &Utf8Path) -> io::Result<Vec<(Utf8PathBuf, Option<(u64, i64)>)>> {
    let mut taken = Vec::new();
    for name in backup_names(file) {
        let Some(stat) = host.stat(&name)? else { break };
        let regular = stat.kind == ItemKind::File;
        taken.push((name, regular.then_some((stat.size, stat.mtime))));
    }
    Ok(taken)
}

/// The path that links lead to; it need not exist.
fn follow(host: &Look, file: &Utf8Path) -> io::Result<Utf8PathBuf> {
    let mut path = file.to_owned();
    for _ in 0..LINKS_MAX {
        if host.stat(&path)?.is_none_or(|stat| stat.kind != ItemKind::Link) {
            return Ok(path);
        }
        let text = host.read_link(&path)?.unwrap_or_default();
        path = lexical(&path.parent().unwrap_or(&path).join(text));
    }
    Err(io::Error::other(format!("{file} leads through more than {LINKS_MAX} links")))
}

/// The path without `.` and `..`: a host path, so `..` never leads out of the root.
fn lexical(path: &Utf8Path) -> Utf8PathBuf {
    let mut plain = Utf8PathBuf::from("/");
    for component in path.components() {
        match component {
            Utf8Component::Normal(name) => plain.push(name),
            Utf8Component::ParentDir => {
                plain.pop();
            }
            _ => {}
        }
    }
    plain
}
