//! The index a tree is to be made from.

mod back;
mod contents;
mod older;
mod refreshed;
mod signed;
mod ways;

use std::cell::OnceCell;
use std::sync::Arc;

use jiff::SignedDuration;

use crate::fetch::Reader;
use crate::format::casync::index::Index;
use crate::model::ledger::Owned;
use crate::model::outcome::chain;
use crate::model::step::Existing;
use crate::model::{BlockedReason, Constraint, Digest, Prereleases, ResourceId, Version};
use crate::resolve::decided::{quarantined, rolled_back, suspended};
use crate::resolve::{Question, policy, problem_of};
use crate::resource::app::spec::{Downgrade, Order, TagPattern, VersionWish};
use crate::resource::decision::{Problem, Resolution};
use crate::resource::tree::layout::{Layout, base};
use crate::resource::tree::observe::{can_be_moved, holds, is_as_made};
use crate::resource::tree::spec::{CasyncSource, Place, TreeLayout, TreeVersion};
use crate::resource::tree::wanted::{Offer, State, Wanted, slot_of, state};
use crate::resource::tree::{TreeObserved, TreeSpec};
use crate::source::SourceError;
use crate::source::casync::{IndexFile, has_versions, read, releases};
use crate::trust::openpgp::Keyring;
use signed::Signed;

/// File of a generation: the index it was made from.
const INDEX: &str = "index.caidx";

/// One tree while it is resolved.
#[derive(Debug)]
pub(super) struct Tree<'a> {
    question: &'a Question<'a>,
    id: &'a ResourceId,
    spec: &'a TreeSpec,
    observed: &'a TreeObserved,
    reader: &'a Reader,
    /// Who may sign, read once.
    keys: OnceCell<Result<Option<Keyring>, Problem>>,
}

/// An index that was found, and the version it is of.
struct Found<'a> {
    file: IndexFile,
    version: Version,
    source: &'a CasyncSource,
    offline: bool,
    /// Who signed it, where that is demanded.
    signed: Option<Signed>,
}

impl Found<'_> {
    /// Whether who signed it says which version it is.
    fn is_bound(&self) -> bool {
        let named = self.signed.as_ref().is_some_and(|signed| !signed.names.is_empty());
        named && !self.version.is_opaque()
    }
}

/// Which of both sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Network,
    Offline,
}

impl<'a> Tree<'a> {
    pub(super) fn new(
        question: &'a Question<'a>,
        id: &'a ResourceId,
        (spec, observed): (&'a TreeSpec, &'a TreeObserved),
        reader: &'a Reader,
    ) -> Self {
        Self { question, id, spec, observed, reader, keys: OnceCell::new() }
    }

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
            wanted.refresh = self.refresh(&wanted, None).await;
            return self.settle(wanted, Vec::new());
        }
        let taken = match self.find(&self.spec.source, From::Network).await {
            Ok(found) => self.take(found).await,
            Err(problem) => Err(problem),
        };
        match taken {
            Ok((wanted, note)) => self.settle(wanted, note.into_iter().collect()),
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
                Ok((wanted, note)) => {
                    let used = format!("the offline copy is used: {}", problem.message);
                    self.settle(wanted, std::iter::once(used).chain(note).collect())
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
        let mut file = read(&url, self.reader).await.map_err(failed)?;
        let signed = self.signed(&mut file, from).await?;
        if let Some(signed) = &signed {
            // Nobody but its publisher can change that.
            file.published = Some(signed.at);
        }
        let version = named.unwrap_or_else(|| version_of(&file.sha256));
        Ok(Found { file, version, source, offline: from == From::Offline, signed })
    }

    /// What an index that was found comes to, and what is to be said of its name.
    async fn take(&self, mut found: Found<'_>) -> Result<(Wanted, Option<String>), Problem> {
        let evidence = self.evidence(&found)?;
        let note = self.as_taken_before(&mut found)?;
        let older = self.below_floor(&found.version).or_else(|| self.signed_earlier(&found));
        if let Some(problem) = older {
            return Err(problem);
        }
        let index = found.file.sha256.clone();
        let slot = slot_of(self.spec, self.observed, &index);
        let unvouched = slot.as_deref().is_some_and(|slot| !self.is_vouched_for(slot));
        let mut wanted = Wanted { slot, unvouched, ..Wanted::of(found.version.clone(), index) };
        if !found.offline {
            wanted.refresh = self.refresh(&wanted, found.signed.as_ref()).await;
        }
        match state(self.spec, self.observed, &wanted) {
            State::InUse => return Ok((wanted, note)),
            State::Kept(slot) if self.is_as_made(&slot) => {
                wanted.contents = self.contents_of_kept(&slot).map(Box::new);
                return Ok((wanted, note));
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
            return Ok((Wanted { there: true, refresh: None, ..wanted }, note));
        }
        let stores = self.stores(found.source);
        let ways::Found { ways, packs, delta } = self.ways(&found.file, &index, &stores).await;
        wanted.contents = self.contents(&found.file, &index).await.map(Box::new);
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
        Ok((wanted, note))
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

    /// A generation that is there and needs nothing, or can be repaired from what is there.
    fn installed(&self, index: &Digest) -> Option<Wanted> {
        let slot = slot_of(self.spec, self.observed, index)?;
        if self.is_vouched_for(&slot) { self.keep(&slot, None) } else { None }
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
        // What nobody whom the wish trusts vouches for stays in use and is not made again.
        let usable = || wanted.rolled_back.is_some() || self.is_vouched_for(slot);
        match state(self.spec, self.observed, &wanted) {
            State::InUse => {}
            State::Kept(_) | State::Damaged | State::Missing if !usable() => return None,
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
        let (root, layout) = (self.question.root, Layout::new(&self.spec.path));
        // What is moved file by file may be half moved.
        if self.spec.layout == TreeLayout::InPlace && self.observed.live_inode().is_some() {
            return can_be_moved(root, &layout, slot, &self.spec.preserve);
        }
        is_as_made(root, &layout, (slot, head), &self.spec.preserve)
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
