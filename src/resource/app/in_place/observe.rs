//! What is where an app's one file should be.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use crate::host::{ItemKind, Look, Stat};
use crate::model::EntryKind;
use crate::model::ledger::{Owned, Recognised};
use crate::resource::app::in_place::{backup_names, beside, program};
use crate::resource::app::observe::Slot;
use crate::resource::observe::Depth;

/// Links followed from one path to a file: more than any sane installation has.
const LINKS_MAX: usize = 8;

/// Where the file should be.
#[derive(Clone, Copy, Debug)]
pub struct Wished<'a> {
    /// The path that the wish names.
    pub file: &'a Utf8Path,
    /// The directory into which a link there may lead, besides its own.
    pub follow: Option<&'a Utf8Path>,
    /// What the inventory says.
    pub owned: Option<&'a Owned>,
}

/// What is where the file should be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFound {
    /// The path that the wish leads to, links followed as far as they may be. Where a directory on the way is a link that
    /// is not followed, that link.
    pub path: Utf8PathBuf,
    /// What is at the end of a link that is not followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leads_to: Option<Utf8PathBuf>,
    /// Size and modification time, when there is a regular file.
    pub stat: Option<(u64, i64)>,
    /// Its permission bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
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

impl FileFound {
    /// Whether nobody could run the file that is there.
    pub fn cannot_run(&self) -> bool {
        self.mode.is_some_and(|mode| mode & 0o111 == 0)
    }

    /// Whether what is there is a program of somebody else.
    pub fn is_foreign(&self, owned: Option<&Owned>) -> bool {
        self.stat.is_some() && self.slot.is_none() && !self.is_tampered(owned)
    }

    /// Whether what is there is what somebody made of a program that we put there, or that was recognised there.
    pub fn is_tampered(&self, owned: Option<&Owned>) -> bool {
        let ours = owned.filter(|owned| !owned.activated.is_empty());
        let placed = ours.and_then(|owned| owned.in_place.as_ref()?.placed.as_ref());
        let other = || self.recognised(owned).is_some_and(|known| !self.is(known));
        self.stat.is_some() && self.slot.is_none() && (placed == Some(&self.path) || other())
    }

    /// What a program of somebody else at this path was recognised as, as long as none of ours took its place.
    pub fn recognised<'o>(&self, owned: Option<&'o Owned>) -> Option<&'o Recognised> {
        let before_us = owned.filter(|owned| owned.activated.is_empty());
        let known = before_us.and_then(|owned| owned.recognised.as_ref());
        known.filter(|known| known.path.as_ref() == Some(&self.path))
    }

    /// Whether it is still what it was recognised as.
    pub fn is(&self, known: &Recognised) -> bool {
        self.sha256.as_ref() == Some(&known.sha256)
    }
}

/// Looks at the file. It is read when size and time do not tell which release it is of, or when `depth` says so.
pub fn observe(
    host: &Look,
    wished: &Wished<'_>,
    (slots, depth): (&BTreeMap<String, Slot>, Depth),
) -> io::Result<FileFound> {
    let (path, leads_to) = match follow(host, wished)? {
        Followed::To(path) => (path, None),
        Followed::Astray(leads_to) => (wished.file.to_owned(), Some(leads_to)),
        Followed::Through(link, leads_to) => (link, Some(leads_to)),
    };
    let mut found = FileFound { path, leads_to, ..FileFound::default() };
    if found.leads_to.is_some() {
        return Ok(found);
    }
    let left = beside(&found.path);
    // A directory is nobody's half-written program.
    found.leftover = host.stat(&left)?.filter(|stat| stat.kind == ItemKind::File).map(|_| left);
    found.backups = backups(host, &found.path)?;
    let Some(stat) = host.stat(&found.path)? else { return Ok(found) };
    if stat.kind != ItemKind::File {
        found.other = Some(stat.kind.name().into());
        return Ok(found);
    }
    found.stat = Some((stat.size, stat.mtime));
    found.mode = Some(stat.mode);
    (found.slot, found.sha256) = whose(host, &found.path, stat, (wished, slots, depth))?;
    Ok(found)
}

/// The release whose program a file is, and its SHA-256 where it had to be read. Where several releases have the
/// same program, the one that was made the one in use last.
fn whose(
    host: &Look,
    path: &Utf8Path,
    stat: Stat,
    (wished, slots, depth): (&Wished<'_>, &BTreeMap<String, Slot>, Depth),
) -> io::Result<(Option<String>, Option<String>)> {
    let programs = slots.iter().filter_map(|(slot, found)| {
        let (_, entry) = program(found.manifest.as_ref()?, wished.file)?;
        let EntryKind::File { size, mtime, sha256, .. } = &entry.kind else { return None };
        Some((slot, *size, *mtime, sha256))
    });
    let programs: Vec<_> = programs.collect();
    let mut alike = programs.iter().filter(|(_, s, m, _)| (*s, *m) == (stat.size, stat.mtime));
    if let (Depth::Quick, Some((slot, ..)), None) = (depth, alike.next(), alike.next()) {
        return Ok((Some((*slot).clone()), None));
    }
    let sha256 = host.sha256(path)?.hex();
    let same = programs.iter().filter(|(_, _, _, known)| **known == sha256).map(|(slot, ..)| *slot);
    let same: Vec<&String> = same.collect();
    let last = wished.owned.and_then(|owned| owned.activated.last());
    let slot = last.filter(|last| same.contains(last)).or(same.first().copied());
    Ok((slot.cloned(), Some(sha256)))
}

/// A backup's name, and size and time of what is there, where that is a file.
type Backup = (Utf8PathBuf, Option<(u64, i64)>);

fn backups(host: &Look, file: &Utf8Path) -> io::Result<Vec<Backup>> {
    let mut taken = Vec::new();
    for name in backup_names(file) {
        let Some(stat) = host.stat(&name)? else { break };
        let regular = stat.kind == ItemKind::File;
        taken.push((name, regular.then_some((stat.size, stat.mtime))));
    }
    Ok(taken)
}

/// Where links lead.
enum Followed {
    /// To a path that may be replaced; it need not exist.
    To(Utf8PathBuf),
    /// Out of where they may lead.
    Astray(Utf8PathBuf),
    /// Through a directory that is a link of somebody else's, to what it leads to.
    Through(Utf8PathBuf, Utf8PathBuf),
}

/// Follows links from the wished path: a link leads to what its maker says, so one that leaves its own directory is
/// followed only where the wish says so.
fn follow(host: &Look, wished: &Wished<'_>) -> io::Result<Followed> {
    let file = wished.file;
    let allowed = [file.parent(), wished.follow];
    let mut path = file.to_owned();
    for _ in 0..LINKS_MAX {
        if let Some((link, leads_to)) = link_above(host, &path)? {
            return Ok(Followed::Through(link, leads_to));
        }
        if host.stat(&path)?.is_none_or(|stat| stat.kind != ItemKind::Link) {
            let astray = path != file && !leads_into(host, &path, &allowed)?;
            return Ok(if astray { Followed::Astray(path) } else { Followed::To(path) });
        }
        let text = host.read_link(&path)?.unwrap_or_default();
        path = lexical(&path.parent().unwrap_or(&path).join(text));
    }
    Err(io::Error::other(format!("{file} leads through more than {LINKS_MAX} links")))
}

/// A directory on the way to a file that is a link which neither root nor we made, and where it leads: whoever owns it
/// would say which file is replaced.
fn link_above(host: &Look, path: &Utf8Path) -> io::Result<Option<(Utf8PathBuf, Utf8PathBuf)>> {
    let trusted = [0, rustix::process::geteuid().as_raw()];
    let above: Vec<&Utf8Path> = path.ancestors().skip(1).collect();
    for directory in above.into_iter().rev() {
        let link = |stat: &Stat| stat.kind == ItemKind::Link && !trusted.contains(&stat.owner);
        if host.stat(directory)?.is_some_and(|stat| link(&stat)) {
            let text = host.read_link(directory)?.unwrap_or_default();
            let leads_to = lexical(&directory.parent().unwrap_or(directory).join(text));
            return Ok(Some((directory.to_owned(), leads_to)));
        }
    }
    Ok(None)
}

/// Whether a path is in one of these directories, and gets there through no other link.
fn leads_into(host: &Look, path: &Utf8Path, allowed: &[Option<&Utf8Path>]) -> io::Result<bool> {
    for &directory in allowed.iter().flatten().filter(|directory| path.starts_with(directory)) {
        let between = path.ancestors().skip(1).take_while(|above| *above != directory);
        let mut plain = true;
        for above in between {
            plain &= host.stat(above)?.is_none_or(|stat| stat.kind == ItemKind::Dir);
        }
        if plain {
            return Ok(true);
        }
    }
    Ok(false)
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
