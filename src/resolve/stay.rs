//! Staying on a release that is installed, and keeping it whole without asking anybody.

use crate::model::ledger::{Accepted, Pinned};
use crate::model::slot::{slot_name, tag_of_slot};
use crate::model::{BlockedReason, Constraint, Digest, Version};
use crate::resolve::App;
use crate::resolve::decided::{fetched_again, gone_or_damaged, rolled_back};
use crate::resolve::offer::{Offered, offer};
use crate::resource::app::wanted::{Offer, Wanted, outdated};
use crate::resource::decision::{Problem, Resolution, SlotState};
use crate::source;

impl App<'_> {
    /// The wish cannot be carried out: stay, and repair what is damaged if the cache holds it.
    pub(super) fn stay(&self, problem: Problem) -> Resolution<Wanted> {
        Resolution { wanted: self.in_use(), problem: Some(problem), notes: Vec::new() }
    }

    /// The release in use, to be kept whole.
    pub(super) fn in_use(&self) -> Option<Wanted> {
        let last = self.owned().and_then(|owned| owned.activated.last()).map(String::as_str);
        self.observed.current().or(last).and_then(|slot| self.keep(slot, None))
    }

    /// An operator went back: the wish is not looked at until that ends.
    pub(super) async fn rolled_back(&self) -> Option<Resolution<Wanted>> {
        let keep = |slot: &str, reason| self.keep(slot, reason);
        let kept = rolled_back(self.question, self.id, tag_of_slot, keep, gone_or_damaged)?;
        let pinned = self.question.ledger.overrides.pinned.get(self.id)?;
        Some(match kept {
            Ok(resolution) => resolution,
            // It did not work: there is no use in having it once more.
            Err(problem) if problem.reason == BlockedReason::Quarantined => self.stay(problem),
            Err(problem) => self.fetch_again(pinned).await.unwrap_or_else(|| self.stay(problem)),
        })
    }

    /// The release that an operator went back to is gone or damaged: the source may still have it.
    async fn fetch_again(&self, pinned: &Pinned) -> Option<Resolution<Wanted>> {
        let tag = tag_of_slot(&pinned.slot);
        let mut wish = self.spec.version.clone();
        if let Some(version) = wish.tag.version(&tag) {
            wish.want = Constraint::Exact(version);
        }
        let arch = self.facts().arch;
        let releases = source::releases(&self.spec.source, &wish, arch, self.reader).await.ok()?;
        let release = releases.iter().find(|release| slot_name(&release.tag) == pinned.slot)?;
        let Offered::Wanted(wanted, mut notes) = offer(self, release).await else { return None };
        notes.push(fetched_again(&tag, pinned));
        let wanted = Wanted { rolled_back: Some(pinned.reason.clone()), ..*wanted };
        (wanted.slot == pinned.slot).then_some(Resolution {
            wanted: Some(wanted),
            problem: None,
            notes,
        })
    }

    /// Wants an installed release; `None` when it is damaged and cannot be had.
    fn keep(&self, slot: &str, rolled_back: Option<String>) -> Option<Wanted> {
        let found = self.observed.slots.get(slot);
        let state = self.state(slot);
        if matches!(state, SlotState::Outdated(_))
            && rolled_back.is_none()
            && found.is_some_and(|found| !found.drift.is_empty())
        {
            // It cannot be made as it was from an edited wish.
            return None;
        }
        let adopted = self.owned().map_or(&[][..], |owned| &owned.adopted);
        let offer = match state.as_pinned(adopted, slot) {
            SlotState::Whole | SlotState::Adopted => None,
            SlotState::Missing if !self.is_as_wished(slot) => return None,
            SlotState::Damaged | SlotState::Missing => Some(self.cached_copy(slot)?),
            SlotState::Outdated(_) | SlotState::Foreign => return None,
        };
        let manifest = found.and_then(|found| found.manifest.as_ref());
        let tag = manifest.map_or_else(|| tag_of_slot(slot), |m| m.tag.clone());
        let version = match manifest {
            Some(manifest) => manifest.version.clone(),
            None => self.spec.version.tag.version(&tag)?,
        };
        let as_is = rolled_back.is_none();
        let (slot, anew) = (slot.to_owned(), None);
        Some(Wanted { version, tag, slot, offer, rolled_back, as_is, anew })
    }

    /// The version in use, unless it is known not to work here.
    pub(super) fn working_version(&self) -> Option<Version> {
        let slot = self.observed.current()?;
        let manifest = self.observed.slots.get(slot).and_then(|slot| slot.manifest.as_ref());
        let tag = manifest.map_or_else(|| tag_of_slot(slot), |m| m.tag.clone());
        let trust = &self.question.ledger.trust;
        let quarantined = trust.quarantine_of(self.id, &tag, &self.digests_of(slot));
        self.current_version().filter(|_| quarantined.is_none())
    }

    /// What a release was made of: as it says itself, else as is remembered of the one in use.
    pub(super) fn made_of(&self, slot: &str) -> Option<Accepted> {
        let found = self.observed.slots.get(slot).and_then(|found| found.manifest.as_ref());
        let remembered = || {
            let accepted = self.question.ledger.trust.accepted.get(self.id);
            accepted.filter(|accepted| self.owned().is_some() && accepted.slot == slot).cloned()
        };
        found.map(|manifest| Accepted::of(slot, manifest)).or_else(remembered)
    }

    /// Whether a release whose directory is lost would be made as the wish says now.
    fn is_as_wished(&self, slot: &str) -> bool {
        let arch = self.facts().arch.name();
        let made = self.made_of(slot);
        made.is_some_and(|made| {
            let made = (&made.recipe, &made.digest, &made.evidence);
            outdated(self.spec, made, arch).is_none()
        })
    }

    /// What is known about the bytes of an installed release.
    pub(super) fn digests_of(&self, slot: &str) -> Vec<Digest> {
        self.made_of(slot).iter().flat_map(Accepted::digests).cloned().collect()
    }

    /// The version in use.
    pub(super) fn current_version(&self) -> Option<Version> {
        self.observed.version_of(self.observed.current()?, &self.spec.version.tag)
    }

    /// The artifact a release was made from, if the cache still has it.
    pub(super) fn cached_copy(&self, slot: &str) -> Option<Offer> {
        let made = self.made_of(slot)?;
        let usable = self.is_cached(&made.digest) && self.is_vouched_for(slot);
        usable.then(|| {
            let (artifact, evidence) = made.from_cache();
            Offer { artifact, evidence, cached: true, delta: None }
        })
    }

    pub(super) fn is_cached(&self, digest: &Digest) -> bool {
        self.question.cache.blob(digest).is_file()
    }
}
