//! The index a tree is to be made from.

mod back;
mod contents;
mod ways;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};

use crate::fetch::Reader;
use crate::fetch::record::DOCUMENT_BYTES_MAX;
use crate::format::casync::index::Index;
use crate::model::ledger::Owned;
use crate::model::outcome::chain;
use crate::model::step::{Existing, OfflineCopy};
use crate::model::{
    Algorithm, BlockedReason, Constraint, Digest, Evidence, Level, Prereleases, ResourceId,
    Subject, Version,
};
use crate::resolve::decided::{quarantined, rolled_back, suspended};
use crate::resolve::{Question, policy, problem_of};
use crate::resource::app::spec::{Downgrade, Order, TagPattern, VersionWish};
use crate::resource::decision::{Problem, Resolution};
use crate::resource::tree::layout::{Layout, base};
use crate::resource::tree::observe::{holds, is_as_made};
use crate::resource::tree::spec::{CasyncSource, Place, TreeLayout, TreeVersion};
use crate::resource::tree::wanted::{HERE, OFFLINE, Offer, State, Wanted, slot_of, state};
use crate::resource::tree::{TreeObserved, TreeSpec};
use crate::source::casync::{IndexFile, has_versions, read, releases};
use crate::source::{SourceError, read_local};

/// File of a generation: the index it was made from.
const INDEX: &str = "index.caidx";

/// One tree while it is resolved.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tree<'a> {
    pub(super) question: &'a Question<'a>,
    pub(super) id: &'a ResourceId,
    pub(super) spec: &'a TreeSpec,
    pub(super) observed: &'a TreeObserved,
    pub(super) reader: &'a Reader,
}

/// An index that was found, and the version it is of.
struct Found<'a> {
    file: IndexFile,
    version: Version,
    source: &'a CasyncSource,
    offline: bool,
}

/// Which of both sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Network,
    Offline,
}

impl<'a> Tree<'a> {
    pub(super) async fn resolve(&self) -> Resolution<Wanted> {
        let mut resolution = self.choose().await;
        if let Some(wanted) = &mut resolution.wanted {
            wanted.way_back = self.way_back(wanted).map(Box::new);
        }
        resolution
    }

    async fn choose(&self) -> Resolution<Wanted> {
        if let Some(problem) = suspended(self.question, self.id, self.spec.suspend.as_ref()) {
            return Resolution { problem: Some(problem), ..Resolution::default() };
        }
        if let Some(resolution) = self.rolled_back() {
            return resolution;
        }
        if let TreeVersion::Index(digest) = &self.spec.version
            && let Some(mut wanted) = self.installed(digest)
        {
            wanted.refresh = self.refresh(&wanted);
            return self.settle(wanted, Vec::new());
        }
        let taken = match self.find(&self.spec.source, From::Network).await {
            Ok(found) => self.take(found).await,
            Err(problem) => Err(problem),
        };
        match taken {
            Ok(wanted) => self.settle(wanted, Vec::new()),
            Err(problem) => self.offline(problem).await,
        }
    }

    /// Takes what was found, unless it was used here and did not work.
    fn settle(&self, wanted: Wanted, notes: Vec<String>) -> Resolution<Wanted> {
        let digests = [wanted.index.clone()];
        match quarantined(self.question, self.id, wanted.version.as_str(), &digests) {
            Some(problem) => self.stay(problem),
            None => Resolution { wanted: Some(wanted), problem: None, notes },
        }
    }

    /// The source cannot help: another copy may, but never to go back.
    async fn offline(&self, problem: Problem) -> Resolution<Wanted> {
        let Some(offline) = &self.spec.offline else { return self.stay(problem) };
        let found = self.find(offline, From::Offline).await;
        match found.and_then(|found| self.goes_back(&found).map_or(Ok(found), Err)) {
            Ok(found) => match self.take(found).await {
                Ok(wanted) => {
                    let note = format!("the offline copy is used: {}", problem.message);
                    self.settle(wanted, vec![note])
                }
                Err(other) => self.stay_with(&problem, &other),
            },
            Err(other) => self.stay_with(&problem, &other),
        }
    }

    fn stay_with(&self, problem: &Problem, offline: &Problem) -> Resolution<Wanted> {
        let message =
            format!("{}; the offline copy does not help: {}", problem.message, offline.message);
        self.stay(Problem { message, ..problem.clone() })
    }

    /// Asks one source.
    async fn find(&self, source: &'a CasyncSource, from: From) -> Result<Found<'a>, Problem> {
        let failed = |error: SourceError| problem_of(&error);
        let mut named = None;
        let url = match &self.spec.version {
            TreeVersion::Constraint(want) if has_versions(&source.index) => {
                let wish = wish(want);
                let found = releases(&source.index, &wish, self.reader).await.map_err(failed)?;
                let chosen = policy::choose(&found, &wish, self.question.now)?;
                let release = chosen.first().copied();
                let artifact = release.and_then(|release| release.artifacts.first());
                named = release.map(|release| release.version.clone());
                artifact.and_then(|a| a.urls.last().cloned())
            }
            _ => Some(source.index.url()),
        };
        let url = url.ok_or_else(|| Problem {
            reason: BlockedReason::NoVersion,
            message: format!("{} names no index", source.index.text()),
            until: None,
        })?;
        let file = read(&url, self.reader).await.map_err(failed)?;
        let version = named.unwrap_or_else(|| version_of(&file.sha256));
        Ok(Found { file, version, source, offline: from == From::Offline })
    }

    /// What an index that was found comes to.
    async fn take(&self, found: Found<'_>) -> Result<Wanted, Problem> {
        let evidence = self.evidence(&found)?;
        if !found.offline
            && let Some(problem) = self.below_floor(&found.version)
        {
            return Err(problem);
        }
        let index = found.file.sha256.clone();
        let slot = slot_of(self.spec, self.observed, &index);
        let mut wanted = Wanted { slot, ..Wanted::of(found.version.clone(), index) };
        if !found.offline {
            wanted.refresh = self.refresh(&wanted);
        }
        match state(self.spec, self.observed, &wanted) {
            State::InUse => return Ok(wanted),
            State::Kept(slot) if self.is_as_made(&slot) => {
                wanted.contents = self.contents_of_kept(&slot).map(Box::new);
                return Ok(wanted);
            }
            State::Kept(_) | State::Damaged | State::Outdated(_) | State::Missing => {}
        }
        let index = Index::read(found.file.bytes.as_slice()).map_err(|error| Problem {
            reason: BlockedReason::SourceUnavailable,
            message: format!("cannot use {}: {}", found.file.artifact.name, chain(&error)),
            until: None,
        })?;
        let index = Arc::new(index);
        if self.is_there(&wanted, &index).await {
            return Ok(Wanted { there: true, refresh: None, ..wanted });
        }
        let stores = self.stores(found.source);
        let ways::Found { ways, packs, delta } = self.ways(&found.file, &index, &stores).await;
        wanted.contents = self.contents(&found.file, index.header.flags).await.map(Box::new);
        wanted.offer = Some(Box::new(Offer {
            artifact: found.file.artifact,
            evidence,
            stores,
            packs,
            delta,
            published: found.file.published,
            ways,
            offline: found.offline,
            own: false,
        }));
        Ok(wanted)
    }

    /// Whether a directory that somebody else made, and that may become ours, is what an index describes. It is read
    /// once, and then again when anything about it changed.
    async fn is_there(&self, wanted: &Wanted, index: &Arc<Index>) -> bool {
        let (spec, observed) = (self.spec, self.observed);
        let Some(now) = observed.foreign.as_ref() else { return false };
        if spec.existing != Existing::Adopted || spec.layout == TreeLayout::Link {
            return false;
        }
        let known = self.owned().and_then(|owned| owned.recognised.as_ref());
        if known.is_some_and(|k| k.sha256 == *now && k.digest.as_ref() == Some(&wanted.index)) {
            return true;
        }
        let path = &spec.path;
        let real = self.question.root.join(path.strip_prefix("/").unwrap_or(path));
        let index = Arc::clone(index);
        let compared = tokio::task::spawn_blocking(move || holds(&real, &index)).await;
        compared.unwrap_or_default()
    }

    /// The stores of a source first, then those of the other one: every chunk is verified whoever has it.
    fn stores(&self, source: &CasyncSource) -> Vec<String> {
        let mut stores: Vec<String> = source.stores.iter().map(Place::url).collect();
        let others = [Some(&self.spec.source), self.spec.offline.as_ref()];
        for store in others.into_iter().flatten().flat_map(|source| &source.stores) {
            let url = store.url();
            if !stores.contains(&url) {
                stores.push(url);
            }
        }
        stores
    }

    /// What vouches for an index, when that is enough.
    fn evidence(&self, found: &Found<'_>) -> Result<Evidence, Problem> {
        let sha256 = &found.file.sha256;
        let pinned = self.spec.verify.pinned.iter().map(|pin| &pin.digest);
        let pinned = pinned.chain(match &self.spec.version {
            TreeVersion::Index(digest) => Some(digest),
            TreeVersion::Constraint(_) => None,
        });
        let name = &found.file.artifact.name;
        let mut level = found.file.level;
        let local = found.file.artifact.urls.iter().any(|url| url.starts_with("file:"));
        let mut stated_by = match (found.offline, local) {
            (true, _) => OFFLINE,
            (false, true) => HERE,
            (false, false) => "the source",
        };
        for digest in pinned {
            if digest != sha256 {
                return Err(Problem {
                    reason: BlockedReason::NoVersion,
                    message: format!("{name} is now {sha256}, but {digest} is wished"),
                    until: None,
                });
            }
            (level, stated_by) = (Level::Digest, "the desired state");
        }
        let min = self.spec.verify.min.unwrap_or(Level::Tls);
        if level < min {
            return Err(Problem {
                reason: BlockedReason::Unverified,
                message: format!(
                    "verifying {name}: the level {} is demanded, but an index is accepted by its digest or by the \
                     way it comes, which is {} here; pin it by `version: {sha256}`, or lower `verify.min`",
                    min.name(),
                    level.name()
                ),
                until: None,
            });
        }
        let (digests, stated_by) = (vec![sha256.clone()], stated_by.to_owned());
        Ok(Evidence { level, digests, stated_by, of: Subject::Artifact, signer: None })
    }

    /// A generation that is there and needs nothing, or can be repaired from what is there.
    fn installed(&self, index: &Digest) -> Option<Wanted> {
        let slot = slot_of(self.spec, self.observed, index)?;
        self.keep(&slot, None)
    }

    /// Wants a generation that is there; `None` when it is gone.
    fn keep(&self, slot: &str, rolled_back: Option<String>) -> Option<Wanted> {
        // One that was made anew stands for it, also once it is gone.
        let same = |current: &&String| base(current) == base(slot);
        let slot = self.observed.current.as_ref().filter(same).map_or(slot, String::as_str);
        let head = self.observed.head(slot)?;
        let mut wanted = Wanted {
            slot: Some(slot.to_owned()),
            as_is: rolled_back.is_none(),
            rolled_back,
            ..Wanted::of(head.version.clone(), head.index.clone())
        };
        match state(self.spec, self.observed, &wanted) {
            State::InUse => {}
            State::Kept(slot) => {
                wanted.contents = self.contents_of_kept(&slot).map(Box::new);
                if !self.is_as_made(&slot) {
                    wanted.offer = Some(Box::new(self.own_copy(&slot)?));
                }
            }
            State::Damaged => wanted.offer = Some(Box::new(self.own_copy(slot)?)),
            State::Missing if self.observed.earlier.contains_key(slot) => {
                wanted.offer = Some(Box::new(self.own_copy(slot)?));
            }
            State::Outdated(_) | State::Missing => return None,
        }
        Some(wanted)
    }

    /// Whether a generation that is kept can be used as it is.
    fn is_as_made(&self, slot: &str) -> bool {
        let Some(head) = self.observed.head(slot) else { return false };
        // What is moved file by file may be half moved, and is looked at when all of it is.
        if self.spec.layout == TreeLayout::InPlace {
            return true;
        }
        let layout = Layout::new(&self.spec.path);
        is_as_made(self.question.root, &layout, (slot, head), &self.spec.preserve)
    }

    /// The offline copy, if it is there and has another index.
    fn refresh(&self, wanted: &Wanted) -> Option<OfflineCopy> {
        let mut copy = self.spec.refreshed.clone()?;
        let name = copy.index.file_name()?.replacen("@v", wanted.version.as_str(), 1);
        copy.index.set_file_name(name);
        if !copy.index.parent()?.is_dir() {
            return None;
        }
        let there = read_local(copy.index.clone().into(), DOCUMENT_BYTES_MAX).ok();
        let hash = there.map(|bytes| <[u8; 32]>::from(Sha256::digest(bytes)));
        let digest = hash.and_then(|hash| Digest::new(Algorithm::Sha256, &hash));
        (digest.as_ref() != Some(&wanted.index)).then_some(copy)
    }

    fn owned(&self) -> Option<&Owned> {
        self.question.ledger.inventory.at(self.id, &self.spec.path)
    }

    /// The wish cannot be carried out: stay, and repair what is damaged.
    fn stay(&self, problem: Problem) -> Resolution<Wanted> {
        let wanted = self.going_back().or_else(|| self.in_use());
        Resolution { wanted, problem: Some(problem), notes: Vec::new() }
    }

    /// The generation in use, to be kept whole.
    pub(super) fn in_use(&self) -> Option<Wanted> {
        let last = self.owned().and_then(|owned| owned.activated.last());
        let slot = self.observed.current.as_ref().or(last);
        slot.and_then(|slot| self.keep(slot, None))
    }

    /// An operator went back: the wish is not looked at until that ends.
    fn rolled_back(&self) -> Option<Resolution<Wanted>> {
        let keep = |slot: &str, reason| self.keep(slot, reason);
        let name = |slot: &str| {
            self.observed
                .version_of(slot)
                .map_or_else(|| slot.to_owned(), |version| version.to_string())
        };
        let resolution = rolled_back(self.question, self.id, name, keep, |_| {
            "that generation is gone".to_owned()
        })?;
        Some(resolution.unwrap_or_else(|problem| self.stay(problem)))
    }

    /// A floating version never goes below what was in use.
    fn below_floor(&self, to: &Version) -> Option<Problem> {
        if !self.spec.is_floating() || to.is_opaque() {
            return None;
        }
        let floor = self.question.ledger.trust.floors.get(self.id).cloned();
        let current = self.observed.current_head().map(|head| head.version.clone());
        let floor = floor.into_iter().chain(current.filter(|v| !v.is_opaque())).max()?;
        let accepted = match &self.spec.version {
            TreeVersion::Constraint(want) => want.accepts(&floor, Prereleases::Refused),
            TreeVersion::Index(_) => false,
        };
        (to < &floor && accepted).then(|| Problem {
            reason: BlockedReason::Downgrade,
            message: format!(
                "the source offers {to} at most, but {floor} was in use already; to go back, write the \
                 exact version"
            ),
            until: None,
        })
    }

    /// An offline copy is used to go forward only: it is older than what is installed when that was seen
    /// before, has a higher version, or was published later.
    fn goes_back(&self, found: &Found<'_>) -> Option<Problem> {
        if !self.spec.is_floating() {
            return None;
        }
        if let Some(problem) = self.below_floor(&found.version) {
            return Some(problem);
        }
        let head = self.observed.current_head()?;
        if head.index == found.file.sha256 || !found.version.is_opaque() {
            return None;
        }
        let base = found.file.sha256.hex();
        let base = base.get(..12).unwrap_or_default();
        let mut activated = self.owned().into_iter().flat_map(|owned| &owned.activated);
        let known = activated.any(|slot| slot.split('.').next() == Some(base));
        // Media formatted with FAT round times to two seconds.
        let grain = SignedDuration::from_secs(2);
        let newer = |(mine, theirs): (Timestamp, Timestamp)| theirs.duration_since(mine) > grain;
        let newer = head.published.zip(found.file.published).is_some_and(newer);
        (known || !newer).then(|| Problem {
            reason: BlockedReason::Downgrade,
            message: format!(
                "{} is not newer than what is installed, and an offline copy is never used to go back",
                found.file.artifact.name
            ),
            until: None,
        })
    }
}

/// The version of an index that names none. It has no order.
fn version_of(sha256: &Digest) -> Version {
    let text = format!("index-{}", sha256.short());
    text.parse().unwrap_or_else(|_| unreachable!("hexadecimal digits are a version"))
}

/// The wish about versions that a constraint is.
pub(super) fn wish(want: &Constraint) -> VersionWish {
    VersionWish {
        want: want.clone(),
        prereleases: Prereleases::Refused,
        tag: TagPattern::Plain,
        min_age: SignedDuration::ZERO,
        downgrade: Downgrade::Refused,
        order: Order::Version,
    }
}
