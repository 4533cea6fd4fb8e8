//! What the agent must remember, split by what losing it means.

mod accepted;
pub mod basis;
pub mod rename;
mod shed;

use std::collections::{BTreeMap, BTreeSet};

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::ledger::basis::Basis;
use crate::model::ledger::rename::Renames;
use crate::model::{Digest, Effect, ResourceId, Version};

pub use accepted::{Accepted, AcceptedImage};

/// Version of every ledger file's format.
pub const LEDGER_FORMAT: u32 = 1;

/// Digests of first uses that are kept of one resource: years of daily releases.
const LOCKS_MAX: usize = 1000;

/// Artifacts of one resource that are known not to run here, before all of them are forgotten.
const UNSUITABLE_MAX: usize = 100;

/// Releases of one resource that are known not to work here; the newest are kept.
const QUARANTINED_MAX: usize = 100;

/// Earlier places of one app that are remembered: edits of its layout that no pass could carry out between.
const LEFT_MAX: usize = 32;

/// All remembered things as read at the start of a pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// What protects against going back. Losing it is reported.
    pub trust: Trust,
    /// What is ours. Nothing else is ever pruned. Losing it stops pruning.
    pub inventory: Inventory,
    /// What an operator decided on this host.
    pub overrides: Overrides,
    /// Effects owed.
    pub debts: Vec<Debt>,
    /// Resources that were given another name here and not yet on the disk.
    pub renamed: Renames,
    /// Whether something else was learned that is not yet in the files.
    pub unwritten: bool,
    /// What was found wrong with the files, for people; the pass goes on.
    pub losses: Vec<String>,
    /// Why no pass is made, where what an operator decided cannot be read; one of the losses.
    pub undecided: Option<String>,
}

impl Ledger {
    /// Every resource that is ours, or that something was decided about or found of; some of them twice.
    pub fn ids(&self) -> impl Iterator<Item = &ResourceId> {
        let Overrides { suspended, pinned, .. } = &self.overrides;
        let failed = self.trust.quarantined.iter().map(|quarantined| &quarantined.resource);
        let decided = suspended.keys().chain(pinned.keys());
        self.inventory.resources.keys().chain(decided).chain(failed)
    }
}

/// Highest versions activated, digests first seen, builds that cannot run here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Trust {
    /// [`LEDGER_FORMAT`].
    pub format: u32,
    /// `latest` never goes below these.
    pub floors: BTreeMap<ResourceId, Version>,
    /// SHA-256 first accepted, by `app/name tag artifact`; of signed trees, each that was in use, by
    /// `tree/name version digest`.
    pub locks: BTreeMap<String, Digest>,
    /// What the release of an app was made of that was in use last and, as far as it is known, works.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub accepted: BTreeMap<ResourceId, Accepted>,
    /// The same of the images of an extension.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub accepted_images: BTreeMap<ResourceId, Vec<AcceptedImage>>,
    /// Artifacts that turned out not to run on this host, by the same key with a digest of their bytes behind it.
    pub unsuitable: BTreeSet<String>,
    /// Releases that were installed here and did not work.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub quarantined: Vec<Quarantined>,
}

/// A release that was installed here and did not work. It is not installed again until its bytes change or an
/// operator says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Quarantined {
    /// The resource.
    pub resource: ResourceId,
    /// The tag as published.
    pub tag: String,
    /// Digests of its bytes, packed or not, as far as they are known.
    pub digests: Vec<Digest>,
    /// What did not work.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
}

impl Quarantined {
    /// Whether these bytes are meant, whatever their release is called. Where they are not known or cannot be
    /// compared, the same release has the same bytes.
    pub fn is(&self, resource: &ResourceId, tag: &str, digests: &[Digest]) -> bool {
        let comparable = |digest: &&Digest| {
            self.digests.iter().any(|known| known.algorithm() == digest.algorithm())
        };
        let same_bytes = if digests.iter().any(|digest| comparable(&digest)) {
            digests.iter().any(|digest| self.digests.contains(digest))
        } else {
            self.tag == tag
        };
        &self.resource == resource && same_bytes
    }
}

impl Trust {
    /// The key under which the first digest of an artifact is locked.
    pub fn lock_key(resource: &ResourceId, tag: &str, artifact: &str) -> String {
        format!("{resource} {tag} {artifact}")
    }

    /// Why a release is not installed again, if so.
    pub fn quarantine_of(
        &self,
        resource: &ResourceId,
        tag: &str,
        digests: &[Digest],
    ) -> Option<&Quarantined> {
        self.quarantined.iter().find(|quarantined| quarantined.is(resource, tag, digests))
    }

    /// Notes the digest of a first use.
    pub fn lock(&mut self, resource: &ResourceId, key: String, digest: Digest) {
        let its = self.locks.keys().filter(|its| is_of(resource, its) && **its != key);
        let mut its: Vec<&String> = its.collect();
        let surplus = (its.len() + 1).saturating_sub(LOCKS_MAX);
        if surplus > 0 {
            // The oldest go: their releases would be first uses again.
            its.sort_by_cached_key(|key| {
                tag_of(key).map(str::parse::<Version>).and_then(Result::ok)
            });
        }
        let surplus: Vec<String> = its.into_iter().take(surplus).cloned().collect();
        for key in &surplus {
            self.locks.remove(key);
        }
        self.locks.insert(key, digest);
    }

    /// Notes that bytes of an artifact do not run on this host.
    pub fn cannot_run(&mut self, resource: &ResourceId, key: &str, digests: &[Digest]) {
        self.unsuitable.extend(digests.iter().map(|digest| format!("{key} {digest}")));
        if self.unsuitable.iter().filter(|key| is_of(resource, key)).count() > UNSUITABLE_MAX {
            // They are found out again, one fetch each.
            self.lift_unsuitable(resource);
        }
    }

    /// Whether an artifact was found not to run on this host: the bytes with these digests, or any that it had where
    /// nobody states digests.
    pub fn is_unsuitable(&self, key: &str, digests: &[Digest]) -> bool {
        let key = format!("{key} ");
        if digests.is_empty() {
            return self
                .unsuitable
                .range(key.clone()..)
                .next()
                .is_some_and(|k| k.starts_with(&key));
        }
        digests.iter().any(|digest| self.unsuitable.contains(&format!("{key}{digest}")))
    }

    /// Forgets what was found of a resource not to run on this host, and says whether there was anything.
    pub fn lift_unsuitable(&mut self, resource: &ResourceId) -> bool {
        let before = self.unsuitable.len();
        self.unsuitable.retain(|key| !is_of(resource, key));
        self.unsuitable.len() < before
    }

    /// Notes the version that the bytes of a signed index were taken as: signatures are of bytes, not of names.
    pub fn take(&mut self, resource: &ResourceId, version: &Version, index: &Digest) {
        let key = Self::lock_key(resource, version.as_str(), &index.hex());
        self.lock(resource, key, index.clone());
    }

    /// The versions that an index was taken as.
    pub fn taken_as(
        &self,
        resource: &ResourceId,
        index: &Digest,
    ) -> impl Iterator<Item = Version> + use<'_> {
        let (resource, index) = (resource.clone(), index.clone());
        let its = self.locks.iter().filter(move |(_, digest)| **digest == index);
        let its = its.filter(move |(key, _)| is_of(&resource, key));
        its.filter_map(|(key, _)| tag_of(key)?.parse().ok())
    }

    /// Forgets a resource that is not ours any more.
    pub fn forget(&mut self, resource: &ResourceId) {
        self.floors.remove(resource);
        self.accepted.remove(resource);
        self.accepted_images.remove(resource);
        self.locks.retain(|key, _| !is_of(resource, key));
        self.lift_unsuitable(resource);
        self.quarantined.retain(|quarantined| quarantined.resource != *resource);
    }

    /// Notes that a release does not work here; of one that is known, what it failed by last.
    pub fn quarantine(&mut self, release: Quarantined) {
        let known = |q: &&mut Quarantined| {
            (&q.resource, &q.tag, &q.digests) == (&release.resource, &release.tag, &release.digests)
        };
        // Its bytes bind nobody: the publisher may mend them under the same tag.
        let locked = Self::lock_key(&release.resource, &release.tag, "");
        self.locks.retain(|key, _| !key.starts_with(&locked));
        if let Some(known) = self.quarantined.iter_mut().find(known) {
            *known = release;
            return;
        }
        let resource = release.resource.clone();
        self.quarantined.push(release);
        let its = |quarantined: &Quarantined| quarantined.resource == resource;
        if self.quarantined.iter().filter(|q| its(q)).count() > QUARANTINED_MAX
            && let Some(oldest) = self.quarantined.iter().position(its)
        {
            self.quarantined.remove(oldest);
        }
    }
}

/// The tag or version in the key of a lock.
fn tag_of(key: &str) -> Option<&str> {
    key.split(' ').nth(1)
}

/// Whether a key of [`Trust::lock_key`] is one of a resource.
fn is_of(resource: &ResourceId, key: &str) -> bool {
    key.strip_prefix(&resource.to_string()).is_some_and(|rest| rest.starts_with(' '))
}

/// What is ours.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Inventory {
    /// [`LEDGER_FORMAT`].
    pub format: u32,
    /// By resource.
    pub resources: BTreeMap<ResourceId, Owned>,
    /// Whether anything that an operator decided was in force: then decisions that are missing were lost.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub decided: bool,
}

impl Inventory {
    /// What is ours of a resource in this directory; nothing of it elsewhere counts.
    pub fn at(&self, id: &ResourceId, home: &Utf8Path) -> Option<&Owned> {
        // Comparing component by component takes longer, and is needed for what an operator edited by hand alone.
        let same = |owned: &&Owned| owned.home.as_str() == home.as_str() || owned.home == home;
        self.resources.get(id).filter(same)
    }
}

/// One resource of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owned {
    /// The `--desired` path whose documents declared it: only a complete reading of that path without
    /// it means that it is not wished any more.
    pub declared_in: String,
    /// Its directory: `/opt/ripgrep`.
    pub home: Utf8PathBuf,
    /// Every directory that images were put into; empty where all of them are in `home`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub directories: Vec<Utf8PathBuf>,
    /// What belongs to an app that is one file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_place: Option<InPlace>,
    /// Where an app was before its layout was edited: ours until it is gone.
    #[serde(default, skip_serializing_if = "Left::is_empty")]
    pub left: Left,
    /// Release directories that were there before us and were adopted.
    #[serde(default)]
    pub adopted: Vec<String>,
    /// Release directory names in the order in which they were activated, newest last.
    #[serde(default)]
    pub activated: Vec<String>,
    /// The start of the host after which everything ran that runs once after each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<String>,
    /// What systemd left out when it was asked to merge it again: it is not asked twice for the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<Digest>,
    /// What the release in use was chosen by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basis: Option<Basis>,
    /// What the program or tree of somebody else in its place was recognised as, where that is the wished one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recognised: Option<Recognised>,
}

impl Owned {
    /// Where an app is no more once it is this file, or links in its `bin` where it is none.
    pub fn left(&self, file: Option<&Utf8Path>) -> Left {
        let mut left = self.left.clone();
        match &self.in_place {
            Some(known) if Some(known.file.as_path()) != file => left.files.push(known.clone()),
            None if file.is_some() && !self.activated.is_empty() => left.links = true,
            _ => {}
        }
        left.links &= file.is_some();
        left.files.retain(|known| Some(known.file.as_path()) != file && known.placed.is_some());
        let surplus = left.files.len().saturating_sub(LEFT_MAX);
        left.files.drain(..surplus);
        left
    }

    /// Every path that belongs to it alone.
    pub fn paths(&self) -> impl Iterator<Item = &Utf8Path> {
        let files = self.in_place.iter().chain(&self.left.files);
        let files = files.flat_map(|known| std::iter::once(&known.file).chain(&known.placed));
        std::iter::once(&self.home).chain(files).map(Utf8PathBuf::as_path)
    }
}

/// Where an app was before its layout was edited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Left {
    /// Links in its `bin`.
    pub links: bool,
    /// Files that were replaced in place, oldest first.
    pub files: Vec<InPlace>,
}

impl Left {
    /// Nothing.
    pub const NOTHING: Self = Self { links: false, files: Vec::new() };

    /// Whether nothing was left.
    pub fn is_empty(&self) -> bool {
        *self == Self::NOTHING
    }
}

/// The file that is replaced in place; what is known of one says nothing about another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InPlace {
    /// The file as the wish names it.
    pub file: Utf8PathBuf,
    /// Where a program was put, links followed: nothing else is removed or taken for a changed program of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placed: Option<Utf8PathBuf>,
    /// Programs of ours that were replaced and kept, so that no backup of somebody else is taken for one of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backups: Vec<Backup>,
}

impl InPlace {
    /// A file of which nothing is known yet.
    pub fn of(file: Utf8PathBuf) -> Self {
        Self { file, placed: None, backups: Vec::new() }
    }
}

/// A program or a tree of somebody else that is a release all the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recognised {
    /// Where the program is, links followed; absent of a tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<Utf8PathBuf>,
    /// SHA-256, hexadecimal: of a program, or of what is known about the nodes of a tree.
    pub sha256: String,
    /// The version it is of.
    pub version: Version,
    /// The artifact that it is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// A file that was kept when another took its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Backup {
    /// Where it is kept.
    pub path: Utf8PathBuf,
    /// Bytes.
    pub size: u64,
    /// Modification time in seconds since 1970.
    pub mtime: i64,
}

/// What an operator decided on this host; the loop respects it until it is cleared or expires.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Overrides {
    /// [`LEDGER_FORMAT`].
    pub format: u32,
    /// Suspended resources.
    pub suspended: BTreeMap<ResourceId, Suspension>,
    /// Rollbacks: the release directory to stay on.
    pub pinned: BTreeMap<ResourceId, Pinned>,
}

impl Overrides {
    /// Whether an operator decided anything.
    pub fn any(&self) -> bool {
        !self.suspended.is_empty() || !self.pinned.is_empty()
    }
}

/// Why and until when a resource is left alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Suspension {
    /// Why.
    pub reason: String,
    /// Until when; for ever when absent.
    pub until: Option<Timestamp>,
}

impl Suspension {
    /// Whether it holds at `now`.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// A rollback in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pinned {
    /// The release directory's name.
    pub slot: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
    /// Until when; until cleared when absent.
    pub until: Option<Timestamp>,
}

impl Pinned {
    /// Whether it holds at `now`.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// An effect owed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Debt {
    /// Which resource's switch made it due.
    pub resource: ResourceId,
    /// The effect.
    pub effect: Effect,
    /// Since when.
    pub since: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Algorithm;

    fn digest(n: usize) -> Digest {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&n.to_le_bytes());
        Digest::new(Algorithm::Sha256, &bytes).unwrap()
    }

    #[test]
    fn what_is_remembered_of_one_resource_is_bounded_and_goes_with_it() {
        let (tool, toolbox): (ResourceId, ResourceId) =
            ("app/tool".parse().unwrap(), "app/toolbox".parse().unwrap());
        let mut trust = Trust::default();
        for id in [&tool, &toolbox] {
            for n in 0..1500 {
                let (tag, bad) = (format!("v{n:05}"), format!("bad{n:05}"));
                let key = Trust::lock_key(id, &tag, "a");
                trust.lock(id, key.clone(), digest(n));
                trust.cannot_run(id, &key, &[digest(n)]);
                let (resource, reason) = (id.clone(), String::new());
                let digests = vec![digest(n)];
                trust.quarantine(Quarantined {
                    resource,
                    tag: bad,
                    digests,
                    reason,
                    since: Timestamp::UNIX_EPOCH,
                });
            }
        }
        assert!(trust.locks.len() <= 2 * LOCKS_MAX && trust.unsuitable.len() <= 2 * UNSUITABLE_MAX);
        assert_eq!(trust.quarantined.len(), 2 * QUARANTINED_MAX);
        assert!(trust.quarantine_of(&tool, "bad01499", &[digest(1499)]).is_some());
        trust.forget(&tool);
        let mut ids = trust.locks.keys().chain(&trust.unsuitable);
        assert!(ids.all(|key| key.starts_with("app/toolbox ")));
        assert_eq!(trust.quarantined.len(), QUARANTINED_MAX);
        assert!(!trust.locks.is_empty());
    }

    #[test]
    fn oldest_digest_goes_first_and_never_the_new_one() {
        let tool: ResourceId = "app/tool".parse().unwrap();
        let mut trust = Trust::default();
        let key = |n: usize| Trust::lock_key(&tool, &format!("{n}.0"), "a");
        for n in (1..=LOCKS_MAX + 1).rev() {
            trust.lock(&tool, key(n), digest(n));
        }
        assert_eq!(trust.locks.len(), LOCKS_MAX);
        assert!(trust.locks.contains_key(&key(1)) && !trust.locks.contains_key(&key(2)));
        trust.lock(&tool, key(9999), digest(9999));
        assert!(trust.locks.contains_key(&key(10)) && !trust.locks.contains_key(&key(1)));
    }
}
