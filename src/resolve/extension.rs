//! Which release of an extension to be on: candidates of all its transfers, put in lock-step.

mod offer;

use std::cmp::Reverse;

use crate::fetch::Reader;
use crate::model::extension::unsuitable_name;
use crate::model::ledger::{Owned, Pinned, Trust};
use crate::model::{BlockedReason, Constraint, Prereleases, ResourceId, Version};
use crate::resolve::Question;
use crate::resolve::decided::{
    fetched_again, gone_or_damaged, quarantined, rolled_back, suspended,
};
use crate::resolve::listing::{Candidate, candidates};
use crate::resource::decision::{Problem, Resolution, SlotState};
use crate::resource::extension::observe::{ImageSeen, LinkSeen, TransferObserved};
use crate::resource::extension::order::Order;
use crate::resource::extension::plan::file_name;
use crate::resource::extension::spec::{Transfer, Upkeep};
use crate::resource::extension::wanted::{WantedSet, image_state, is_whole, works};
use crate::resource::extension::{ExtensionObserved, ExtensionSpec};

/// One extension while it is resolved.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extension<'a> {
    pub(super) question: &'a Question<'a>,
    pub(super) id: &'a ResourceId,
    pub(super) spec: &'a ExtensionSpec,
    pub(super) observed: &'a ExtensionObserved,
    pub(super) reader: &'a Reader,
}

impl Extension<'_> {
    pub(super) async fn resolve(&self) -> Resolution<WantedSet> {
        if let Some(problem) = suspended(self.question, self.id, self.spec.suspend.as_ref()) {
            return Resolution { problem: Some(problem), ..Resolution::default() };
        }
        if self.spec.upkeep != Upkeep::Full || self.spec.is_off() {
            return Resolution::default();
        }
        if let Some(resolution) = self.rolled_back().await {
            return resolution;
        }
        if let Some(wanted) = self.already_there() {
            return Resolution { wanted: Some(wanted), ..Resolution::default() };
        }
        let (found, mut notes) =
            match candidates(self.spec, self.observed, self.reader, self.question.now).await {
                Ok(found) => found,
                Err(problem) => return self.stay(problem),
            };
        let mut resolution = self.settle(found);
        notes.append(&mut resolution.notes);
        resolution.notes = notes;
        resolution
    }

    /// Takes the newest candidate that can be used.
    fn settle(&self, mut found: Vec<Candidate>) -> Resolution<WantedSet> {
        let order = Order::of(self.spec.order, found.iter().map(|c| c.version.as_str()));
        found.sort_by(|a, b| order.compare(b.version.as_str(), a.version.as_str()));
        let offered = found.len();
        let newest = found.first().map(|c| c.version.to_string());
        if let Constraint::Exact(exact) = &self.spec.version {
            found.sort_by_key(|c| Reverse(c.version.as_str() == exact.as_str()));
        }
        let mut passed_over: Option<Problem> = None;
        for candidate in &found {
            let version = candidate.version.as_str();
            let wish = &self.spec.version;
            let too_old = |min: &String| order.compare(version, min).is_lt();
            if !order.accepts(wish, version, self.spec.prereleases)
                || self.spec.min_version.as_ref().is_some_and(too_old)
            {
                continue;
            }
            if let Some(problem) = self.goes_back(order, version) {
                return self.stay(passed_over.unwrap_or(problem));
            }
            let wanted = match self.offer(candidate) {
                Ok(wanted) => wanted,
                Err(problem) => return self.stay(passed_over.unwrap_or(problem)),
            };
            if let Some(problem) = self.refused_here(&wanted) {
                passed_over.get_or_insert(problem);
                continue;
            }
            let (wanted, notes) = match self.link_first(order, &wanted) {
                Some(here) => {
                    let (here_is, id) = (&here.slot, self.id);
                    let note = format!(
                        "{id}: {version} is there; {here_is}, which is here, is linked again first, and the \
                         next pass goes on to {version}"
                    );
                    (here, vec![note])
                }
                None => (wanted, Vec::new()),
            };
            return Resolution { wanted: Some(wanted), problem: passed_over, notes };
        }
        self.stay(passed_over.unwrap_or_else(|| Problem {
            reason: BlockedReason::NoVersion,
            message: format!(
                "choosing a version: none of {offered} complete ones satisfies `{}`; the newest is {}",
                self.spec.version,
                newest.unwrap_or_default()
            ),
            until: None,
        }))
    }

    /// The release that was in use, when its link is gone and it is here, whole: nothing is merged until what is
    /// wished has been fetched, and that may fail.
    fn link_first(&self, order: Order, wished: &WantedSet) -> Option<WantedSet> {
        let fetches = wished.offers.iter().flatten().any(|offer| !offer.cached);
        if self.observed.current.is_some() || !fetches {
            return None;
        }
        let last = self.owned()?.activated.last()?;
        let accepted = order.accepts(&self.spec.version, last, Prereleases::Wanted);
        let nothing_there = |t: &TransferObserved| t.link.is_none() || t.there == LinkSeen::Nothing;
        if *last == wished.slot
            || !accepted
            || !self.observed.transfers.iter().all(nothing_there)
            || !is_whole(self.spec, self.observed, self.owned(), last)
        {
            return None;
        }
        self.keep(last, None).filter(|here| self.refused_here(here).is_none())
    }

    fn owned(&self) -> Option<&Owned> {
        self.question.ledger.inventory.at(self.id, &self.spec.home)
    }

    fn state(&self, slot: &str, transfer: &Transfer, image: Option<&ImageSeen>) -> SlotState {
        image_state(self.spec, self.observed, self.owned(), (slot, transfer, image))
    }

    /// The installed release that an exact version asks for: nothing needs to be asked.
    fn already_there(&self) -> Option<WantedSet> {
        let Constraint::Exact(exact) = &self.spec.version else { return None };
        let slot = exact.as_str();
        is_whole(self.spec, self.observed, self.owned(), slot).then(|| WantedSet {
            version: exact.clone(),
            slot: slot.to_owned(),
            offers: Vec::new(),
            rolled_back: None,
        })
    }

    /// `latest` never goes below what was in use, unless that is not wished any more.
    fn goes_back(&self, order: Order, to: &str) -> Option<Problem> {
        let wish = &self.spec.version;
        if !wish.is_floating() {
            return None;
        }
        let floor = self.question.ledger.trust.floors.get(self.id).map(Version::as_str);
        let current = self.observed.current.as_deref().filter(|slot| self.works(slot));
        let known = floor.into_iter().chain(current);
        let floor = known.max_by(|a, b| order.compare(a, b))?;
        if order.compare(to, floor).is_ge() || !order.accepts(wish, floor, Prereleases::Wanted) {
            return None;
        }
        Some(Problem {
            reason: BlockedReason::Downgrade,
            message: format!(
                "the source offers {to} at most, but {floor} was in use already; it was withdrawn, or the \
                 source is not to be trusted. To follow it, write the exact version"
            ),
            until: None,
        })
    }

    /// Why a release is not used on this host: it was tried, and systemd would not merge it or did not.
    fn refused_here(&self, wanted: &WantedSet) -> Option<Problem> {
        let trust = &self.question.ledger.trust;
        let pairs = self.spec.transfers.iter().zip(&self.observed.transfers);
        for ((transfer, seen), offer) in pairs.zip(&wanted.offers) {
            let Some(offer) = offer else { continue };
            let artifact = (offer.artifact.name.as_str(), offer.evidence.digests.first());
            let Ok(file) = file_name(transfer, (offer, seen.images.get(&wanted.slot))) else {
                continue;
            };
            let to_be = (transfer.class.unwrap_or_default(), transfer.found_as(&file));
            let name = unsuitable_name(artifact, to_be, &self.observed.os);
            let key = Trust::lock_key(self.id, &wanted.slot, &name);
            if trust.is_unsuitable(&key, &offer.evidence.digests) {
                return Some(Problem {
                    reason: BlockedReason::CannotRun,
                    message: format!(
                        "{} was looked at before and systemd would not merge it on this host; it is not \
                         fetched again until its bytes, its class or name, the operating system or systemd \
                         change (`reconcile history` says what was wrong); `reconcile resume {}` lifts that",
                        offer.artifact.name, self.id
                    ),
                    until: None,
                });
            }
        }
        quarantined(self.question, self.id, &wanted.slot, &wanted.digests(self.observed))
    }

    /// The wish cannot be carried out: stay, and repair what is damaged if the cache holds it.
    fn stay(&self, problem: Problem) -> Resolution<WantedSet> {
        Resolution { wanted: self.in_use(), problem: Some(problem), notes: Vec::new() }
    }

    /// The release in use, to be kept whole. Where somebody brought back one that did not work here, the last one that
    /// did.
    pub(super) fn in_use(&self) -> Option<WantedSet> {
        let activated = self.owned().map_or(&[][..], |owned| &owned.activated);
        let mut latest = activated.iter().rev().map(String::as_str);
        match self.observed.current.as_deref() {
            Some(current) if !self.works(current) => {
                let mut worked = latest.filter(|slot| self.works(slot));
                worked.find_map(|slot| self.keep(slot, None)).or_else(|| self.keep(current, None))
            }
            Some(current) => self.keep(current, None),
            // A set of which one image did not work is not all there any more, and what is stays.
            None => {
                let last = latest.next().and_then(|slot| self.keep(slot, None));
                last.filter(|here| self.refused_here(here).is_none())
            }
        }
    }

    /// Whether an installed release is not known to be one that does not work here.
    fn works(&self, slot: &str) -> bool {
        works(self.observed, (self.id, slot), &self.question.ledger.trust)
    }

    /// An operator went back: the wish is not looked at until that ends.
    async fn rolled_back(&self) -> Option<Resolution<WantedSet>> {
        let keep = |slot: &str, reason| self.keep(slot, reason);
        let kept = rolled_back(self.question, self.id, str::to_owned, keep, gone_or_damaged)?;
        let pinned = self.question.ledger.overrides.pinned.get(self.id)?;
        Some(match kept {
            Ok(resolution) => resolution,
            // It did not work: there is no use in having it once more.
            Err(problem) if problem.reason == BlockedReason::Quarantined => self.stay(problem),
            Err(problem) => match self.fetch_again(pinned).await {
                Ok(Some(resolution)) => resolution,
                Ok(None) => self.stay(problem),
                Err(refused) => self.stay(refused),
            },
        })
    }

    /// The release that an operator went back to is gone or damaged: the source may still have it.
    async fn fetch_again(&self, pinned: &Pinned) -> Result<Option<Resolution<WantedSet>>, Problem> {
        let found = candidates(self.spec, self.observed, self.reader, self.question.now).await;
        let Ok((found, mut notes)) = found else { return Ok(None) };
        let Some(candidate) = found.iter().find(|c| c.version.as_str() == pinned.slot) else {
            return Ok(None);
        };
        let wanted = self.offer(candidate)?;
        notes.push(fetched_again(&pinned.slot, pinned));
        let wanted = WantedSet { rolled_back: Some(pinned.reason.clone()), ..wanted };
        Ok(Some(Resolution { wanted: Some(wanted), problem: None, notes }))
    }

    /// Wants an installed release; `None` when it is damaged and cannot be had.
    fn keep(&self, slot: &str, rolled_back: Option<String>) -> Option<WantedSet> {
        let version = self.observed.version_of(slot)?;
        let mut offers = Vec::new();
        for (transfer, image) in self.spec.transfers.iter().zip(self.observed.images(slot)) {
            let offer = match self.state(slot, transfer, image) {
                SlotState::Whole | SlotState::Adopted => None,
                SlotState::Damaged | SlotState::Missing => {
                    Some(self.cached_copy(slot, (transfer, image))?)
                }
                // More is demanded than what is installed has, and nothing better can be had.
                SlotState::Outdated(_) | SlotState::Foreign => return None,
            };
            offers.push(offer);
        }
        Some(WantedSet { version, slot: slot.to_owned(), offers, rolled_back })
    }
}
