//! The commit points: a release appears, comes into use and goes by one rename each.

use std::collections::BTreeMap;
use std::io;

use camino::{Utf8Path, Utf8PathBuf};

use crate::format::sysupdate::installed;
use crate::host::{Change as Host, ItemKind};
use crate::model::contents::Hidden;
use crate::model::extension::{ImageMove, LinkTo};
use crate::model::manifest::{Binary, MANIFEST_NAME};
use crate::model::outcome::FailureClass;
use crate::model::{Change, Manifest, Step};

/// The manifest of a release just staged is ours and complete; this bounds a mistake.
const MANIFEST_BYTES_MAX: u64 = 64 << 20;

/// Why a commit point was not passed. What was in use before is in use still.
#[derive(Debug, thiserror::Error)]
pub enum SwitchError {
    /// The system said no.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The host is not as it was planned for.
    #[error("{path} changed since the plan was made: {what}; plan again")]
    Stale {
        /// What was looked at.
        path: Utf8PathBuf,
        /// What was found.
        what: String,
    },
    /// Something of somebody else is in the way.
    #[error("{path} is a {kind} that reconcile did not put there; move it away")]
    Foreign {
        /// What is in the way.
        path: Utf8PathBuf,
        /// Its type.
        kind: &'static str,
    },
    /// What is to be carried along would have no place.
    #[error(transparent)]
    Hidden(#[from] Hidden),
    /// The release cannot be put in the place of one file.
    #[error(
        "{path} has {} programs ({}), and one file is to be replaced; name it with `binaries`",
        found.len(), found.join(", ")
    )]
    NotOneProgram {
        /// The release directory.
        path: Utf8PathBuf,
        /// Its programs.
        found: Vec<String>,
    },
    /// The release has no manifest that can be read.
    #[error("{path} has no readable manifest, so its programs are not known")]
    NoManifest {
        /// The release directory.
        path: Utf8PathBuf,
    },
}

impl SwitchError {
    /// What sort of failure this is.
    pub fn class(&self) -> FailureClass {
        match self {
            Self::Io(_) => FailureClass::Transient,
            Self::Stale { .. } => FailureClass::Stale,
            Self::Foreign { .. }
            | Self::Hidden(_)
            | Self::NotOneProgram { .. }
            | Self::NoManifest { .. } => FailureClass::Permanent,
        }
    }
}

/// Moves a complete staging directory to its place, where nothing may be.
pub fn promote(host: &Host, from: &Utf8Path, to: &Utf8Path) -> Result<(), SwitchError> {
    host.make_dirs(to.parent().unwrap_or(to))?;
    host.rename_new(from, to).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            SwitchError::Stale { path: to.to_owned(), what: "it exists now".to_owned() }
        }
        _ => SwitchError::Io(error),
    })
}

/// Exchanges a complete staging directory with the damaged one in its place, and removes that.
pub fn replace(host: &Host, from: &Utf8Path, to: &Utf8Path) -> Result<(), SwitchError> {
    host.unseal(from)?;
    host.unseal(to)?;
    match host.exchange(from, to) {
        // What was there is gone: nothing is in the way any more.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(host.rename_new(from, to)?),
        exchanged => {
            exchanged?;
            Ok(host.remove(from)?)
        }
    }
}

/// Makes links lead where they should, one after another, each by one rename.
pub fn point(host: &Host, links: &[LinkTo]) -> Result<(), SwitchError> {
    for LinkTo { link, text, expects } in links {
        let stat = host.stat(link)?;
        if let Some(other) = stat.filter(|stat| stat.kind != ItemKind::Link) {
            return Err(SwitchError::Foreign { path: link.clone(), kind: other.kind.name() });
        }
        let now = host.read_link(link)?;
        if expects.as_ref().is_some_and(|expected| *expected != now) {
            let what = now.map_or("it is gone".to_owned(), |now| format!("it leads to {now}"));
            return Err(SwitchError::Stale { path: link.clone(), what });
        }
        let directory = link.parent().unwrap_or(link);
        match text {
            Some(text) if now.as_ref() == Some(text) => {}
            Some(text) => {
                host.make_dirs(directory)?;
                // systemd passes over names that start like this.
                let beside = link
                    .with_file_name(format!(".#reconcile.{}", link.file_name().unwrap_or("link")));
                host.remove(&beside)?;
                host.symlink(text, &beside)?;
                host.rename_over(&beside, link)?;
            }
            None if now.is_none() => {}
            None => {
                host.remove(link)?;
                host.sync_dir(directory)?;
            }
        }
    }
    Ok(())
}

/// Shows images to systemd, then hides others from it: at no moment it sees none of them. What is as it should be
/// already is left alone.
pub fn pick(host: &Host, shows: &[ImageMove], hides: &[ImageMove]) -> Result<(), SwitchError> {
    for ImageMove { from, to } in shows {
        if host.stat(from)?.is_some() {
            relocate(host, from, |host| promote(host, from, to), to)?;
        } else if host.stat(to)?.is_none() {
            return Err(SwitchError::Stale { path: from.clone(), what: "it is gone".to_owned() });
        }
    }
    for ImageMove { from, to } in hides {
        let Some(stat) = host.stat(from)? else { continue };
        if stat.kind == ItemKind::Dir {
            // A directory takes the place of none that has anything in it.
            host.unseal(to)?;
            host.remove(to)?;
        }
        relocate(host, from, |host| Ok(host.rename_over(from, to)?), to)?;
    }
    Ok(())
}

/// Moves what may be a directory that is immutable, and is so again at its new place.
fn relocate(
    host: &Host,
    from: &Utf8Path,
    rename: impl FnOnce(&Host) -> Result<(), SwitchError>,
    to: &Utf8Path,
) -> Result<(), SwitchError> {
    let sealed = host.unseal(from)?;
    rename(host)?;
    if sealed {
        host.seal(to)?;
    }
    Ok(())
}

/// Makes a directory immutable; why not, where that cannot be done. What is in it was verified, so that it is used
/// all the same.
pub fn seal(host: &Host, path: &Utf8Path) -> Option<String> {
    let refused = host.seal(path).err()?;
    Some(format!("it is to be read-only, but cannot be made immutable: {refused}"))
}

/// Enters into systemd-sysupdate's list what is not in it yet; why not, where that cannot be done. Only a cleanup would
/// miss it.
pub fn enlist(host: &Host, list: &Utf8Path, entries: &[String]) -> Option<String> {
    let refused = enter(host, list, entries).err()?;
    Some(format!("a later cleanup will not know what is installed here: {refused}"))
}

fn enter(host: &Host, list: &Utf8Path, entries: &[String]) -> io::Result<()> {
    host.make_dirs(list)?;
    let mut entered = false;
    for text in entries {
        let entry = list.join(installed::name(text));
        if host.stat(&entry)?.is_none() {
            host.symlink(text, &entry)?;
            entered = true;
        }
    }
    if entered {
        host.sync_dir(list)?;
    }
    Ok(())
}

/// The links to make at once.
#[derive(Clone, Copy, Debug)]
pub struct Links<'a> {
    /// The directory of links.
    pub bin: &'a Utf8Path,
    /// Where the new one is made.
    pub beside: &'a Utf8Path,
    /// The release directory.
    pub release: &'a Utf8Path,
    /// The links; those of the release's manifest when absent.
    pub links: Option<&'a [Binary]>,
    /// Our links there now; every link into `releases` when absent.
    pub expects: Option<&'a [(String, String)]>,
}

impl<'a> Links<'a> {
    fn expected(&self) -> &'a [(String, String)] {
        self.expects.unwrap_or_default()
    }
}

/// Every link of `bin` that points into a release directory.
fn links_into_releases(host: &Host, bin: &Utf8Path) -> io::Result<Vec<(String, String)>> {
    let mut links = Vec::new();
    for item in host.list(bin)?.unwrap_or_default() {
        if item.kind == ItemKind::Link
            && let Some(text) = host.link_in_utf8(bin.join(&item.name))?
            && text.starts_with("../releases/")
        {
            links.push((item.name, text));
        }
    }
    Ok(links)
}

/// Makes every link of `bin` at once: the new directory is built beside and exchanged, so that no reader
/// ever sees a mixture. Entries of somebody else are carried along.
///
/// The inner result is about what is done once the switch has happened: clearing the old directory away. The
/// next pass sweeps what is left of it.
pub fn switch(host: &Host, wish: &Links<'_>) -> Result<Result<(), SwitchError>, SwitchError> {
    let ours = match wish.expects {
        Some(ours) => ours.to_vec(),
        None => links_into_releases(host, wish.bin)?,
    };
    let wish = &Links { expects: Some(&ours), ..*wish };
    let new = texts(host, wish)?;
    let beside = wish.beside;
    host.make_dirs(beside.parent().unwrap_or(beside))?;
    host.remove(beside)?;
    if let Err(error) = build(host, wish, &new, beside) {
        // Nothing half-done is left behind; what cannot be removed is swept later.
        let _ = host.remove(beside);
        return Err(error);
    }
    if host.stat(wish.bin)?.is_none() {
        host.rename_new(beside, wish.bin)?;
        return Ok(Ok(()));
    }
    let linked = files(host, beside)?;
    match host.exchange(beside, wish.bin) {
        Err(error) if cannot_exchange(&error) => one_by_one(host, wish, &new)?,
        exchanged => exchanged?,
    }
    let brought = bring_over(host, wish, (&new, &linked));
    Ok(brought.and_then(|()| Ok(host.remove(beside)?)))
}

/// The inodes of the files of somebody else that the new directory has, too.
fn files(host: &Host, beside: &Utf8Path) -> io::Result<BTreeMap<String, u64>> {
    let mut files = BTreeMap::new();
    for item in host.list(beside)?.unwrap_or_default() {
        let stat = host.stat(beside.join(&item.name))?;
        if let Some(stat) = stat.filter(|stat| stat.kind == ItemKind::File) {
            files.insert(item.name, stat.inode);
        }
    }
    Ok(files)
}

/// Moves what somebody put into the old directory while the new one was made.
fn bring_over(
    host: &Host,
    wish: &Links<'_>,
    (new, linked): (&BTreeMap<String, String>, &BTreeMap<String, u64>),
) -> Result<(), SwitchError> {
    for item in host.list(wish.beside)?.unwrap_or_default() {
        let known = wish.expected().iter().any(|(name, _)| *name == item.name);
        let (from, to) = (wish.beside.join(&item.name), wish.bin.join(&item.name));
        if known || new.contains_key(&item.name) {
            continue;
        }
        let inode = |path: &Utf8Path| Ok::<_, io::Error>(host.stat(path)?.map(|stat| stat.inode));
        let there = inode(&to)?;
        if there.is_none() {
            host.rename_new(&from, &to)?;
        } else if item.kind == ItemKind::File
            && there == linked.get(&item.name).copied()
            && there != inode(&from)?
        {
            // It was replaced after the new directory got its second name.
            host.rename_over(&from, &to)?;
        }
    }
    Ok(())
}

/// Makes the new directory of links: ours as they shall be, everything else as it is.
fn build(
    host: &Host,
    wish: &Links<'_>,
    new: &BTreeMap<String, String>,
    beside: &Utf8Path,
) -> Result<(), SwitchError> {
    host.make_new_dir(beside)?;
    host.copy_ownership(wish.bin, beside)?;
    for (name, text) in new {
        host.symlink(text, &beside.join(name))?;
    }
    let present = host.list(wish.bin)?;
    let mut expected: BTreeMap<&str, &str> =
        wish.expected().iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    for item in present.unwrap_or_default() {
        let path = wish.bin.join(&item.name);
        let text = if item.kind == ItemKind::Link { host.link_in_utf8(&path)? } else { None };
        if let Some(planned) = expected.remove(item.name.as_str()) {
            if text.as_deref() != Some(planned) {
                let what = format!("it should still be a link to {planned}");
                return Err(SwitchError::Stale { path, what });
            }
            continue;
        }
        if new.contains_key(&item.name) {
            return Err(SwitchError::Foreign { path, kind: item.kind.name() });
        }
        match (item.kind, text) {
            (ItemKind::Link, Some(text)) => host.symlink(&text, &beside.join(&item.name))?,
            (ItemKind::File, _) => host.hard_link(&path, &beside.join(&item.name))?,
            (kind, _) => return Err(SwitchError::Foreign { path, kind: kind.name() }),
        }
    }
    if let Some((name, text)) = expected.pop_first() {
        let what = format!("the link to {text} is gone");
        return Err(SwitchError::Stale { path: wish.bin.join(name), what });
    }
    Ok(host.sync_dir(beside)?)
}

fn texts(host: &Host, wish: &Links<'_>) -> Result<BTreeMap<String, String>, SwitchError> {
    let slot = wish.release.file_name().unwrap_or_default();
    let text = |b: &Binary| (b.name.clone(), format!("../releases/{slot}/{}", b.path));
    if let Some(links) = wish.links {
        for path in links.iter().map(|link| wish.release.join(&link.path)) {
            // A link to nothing is worse than whatever is in use.
            if host.stat(&path)?.is_none() {
                return Err(SwitchError::Stale { path, what: "it is gone".to_owned() });
            }
        }
        return Ok(links.iter().map(text).collect());
    }
    Ok(manifest_of(host, wish.release)?.binaries.iter().map(text).collect())
}

/// The manifest of a release that is there.
pub(super) fn manifest_of(host: &Host, release: &Utf8Path) -> Result<Manifest, SwitchError> {
    let bytes = host.read(release.join(MANIFEST_NAME), MANIFEST_BYTES_MAX)?;
    let manifest = bytes.and_then(|bytes| serde_json::from_slice::<Manifest>(&bytes).ok());
    manifest.ok_or_else(|| SwitchError::NoManifest { path: release.to_owned() })
}

/// NFS and some FUSE file systems know no exchange: there, and only there, each link is switched
/// atomically by itself, new ones before old ones go.
fn one_by_one(
    host: &Host,
    wish: &Links<'_>,
    new: &BTreeMap<String, String>,
) -> Result<(), SwitchError> {
    for (name, text) in new {
        let beside = wish.bin.join(format!(".reconcile-{name}"));
        host.remove(&beside)?;
        host.symlink(text, &beside)?;
        host.rename_over(&beside, &wish.bin.join(name))?;
    }
    for (name, _) in wish.expected().iter().filter(|(name, _)| !new.contains_key(name)) {
        host.remove(wish.bin.join(name))?;
    }
    Ok(host.sync_dir(wish.bin)?)
}

fn cannot_exchange(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
}

/// Removes something of ours; what may be in use is renamed aside first, so that it is there whole or not
/// at all.
pub fn remove(
    host: &Host,
    path: &Utf8Path,
    (aside, expects): (Option<&Utf8Path>, Option<&str>),
) -> Result<(), SwitchError> {
    if let Some(text) = expects {
        return remove_link(host, path, text);
    }
    host.unseal(path)?;
    let Some(aside) = aside else { return Ok(host.remove(path)?) };
    if host.stat(path)?.is_none() {
        // It was renamed away already.
        return Ok(host.remove(aside)?);
    }
    host.make_dirs(aside.parent().unwrap_or(aside))?;
    host.remove(aside)?;
    host.rename_new(path, aside)?;
    Ok(host.remove(aside)?)
}

/// Removes a link, unless it leads elsewhere by now.
fn remove_link(host: &Host, link: &Utf8Path, text: &str) -> Result<(), SwitchError> {
    let Some(stat) = host.stat(link)? else { return Ok(()) };
    let is_link = stat.kind == ItemKind::Link;
    if !is_link || host.link_in_utf8(link)?.as_deref() != Some(text) {
        let what = format!("it should still be a link to {text}");
        return Err(SwitchError::Stale { path: link.to_owned(), what });
    }
    Ok(host.remove(link)?)
}

/// Removes what was staged of a change that is for later: what is wished by then is staged anew, of what is in the cache.
pub(super) fn withdraw(host: &Host, change: &Change) {
    for step in &change.steps {
        if let Step::Promote { from, .. } = step
            && let Err(error) = host.remove(from)
        {
            tracing::warn!(%error, resource = %change.resource, "what was staged is left to the next pass");
        }
    }
}
