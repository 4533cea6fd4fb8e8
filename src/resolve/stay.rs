//! Staying on a release that is installed, and keeping it whole without asking anybody.

use crate::model::{Artifact, Digest, Evidence, Subject, Version};
use crate::resolve::{App, gone_or_damaged, rolled_back};
use crate::resource::app::layout::tag_of_slot;
use crate::resource::app::wanted::{Offer, Wanted};
use crate::resource::decision::{Problem, Resolution, SlotState};

impl App<'_> {
    /// The wish cannot be carried out: stay, and repair what is damaged if the cache holds it.
    pub(super) fn stay(&self, problem: Problem) -> Resolution<Wanted> {
        let last = self.owned().and_then(|owned| owned.activated.last()).map(String::as_str);
        let wanted = self.observed.current().or(last).and_then(|slot| self.keep(slot, None));
        Resolution { wanted, problem: Some(problem), notes: Vec::new() }
    }

    /// An operator went back: the wish is not looked at until that ends.
    pub(super) fn rolled_back(&self) -> Option<Resolution<Wanted>> {
        let keep = |slot: &str, reason| self.keep(slot, reason);
        let resolution = rolled_back(self.question, self.id, tag_of_slot, keep, gone_or_damaged)?;
        Some(resolution.unwrap_or_else(|problem| self.stay(problem)))
    }

    /// Wants an installed release; `None` when it is damaged and cannot be had.
    fn keep(&self, slot: &str, rolled_back: Option<String>) -> Option<Wanted> {
        let found = self.observed.slots.get(slot)?;
        let mut state = self.state(slot);
        if rolled_back.is_some() {
            state = state.as_pinned(self.owned().map_or(&[], |owned| &owned.adopted), slot);
        }
        let offer = match state {
            SlotState::Whole | SlotState::Adopted => None,
            SlotState::Damaged => Some(self.cached_copy(slot)?),
            // The desired state asks for another directory than this one, but nothing better can be had.
            SlotState::Outdated(_) | SlotState::Missing | SlotState::Foreign => return None,
        };
        let manifest = found.manifest.as_ref();
        let tag = manifest.map_or_else(|| tag_of_slot(slot), |m| m.tag.clone());
        let version = match manifest {
            Some(manifest) => manifest.version.clone(),
            None => self.spec.version.tag.version(&tag)?,
        };
        Some(Wanted { version, tag, slot: slot.to_owned(), offer, rolled_back, anew: None })
    }

    /// The version in use, unless it is known not to work here.
    pub(super) fn working_version(&self) -> Option<Version> {
        let slot = self.observed.current()?;
        let manifest = self.observed.slots.get(slot).and_then(|slot| slot.manifest.as_ref());
        let tag = manifest.map_or_else(|| tag_of_slot(slot), |m| m.tag.clone());
        let trust = &self.question.ledger.trust;
        let quarantined = trust.quarantine_of(self.id, &tag, manifest.map(|m| &m.digest));
        self.current_version().filter(|_| quarantined.is_none())
    }

    /// The version in use.
    pub(super) fn current_version(&self) -> Option<Version> {
        self.observed.version_of(self.observed.current()?, &self.spec.version.tag)
    }

    /// The artifact a release was made from, if the cache still has it.
    pub(super) fn cached_copy(&self, slot: &str) -> Option<Offer> {
        let manifest = self.observed.slots.get(slot)?.manifest.as_ref()?;
        self.is_cached(&manifest.digest).then(|| Offer {
            artifact: Artifact {
                name: manifest.artifact.clone(),
                urls: Vec::new(),
                size: Some(manifest.size),
                digest: None,
                content: None,
            },
            evidence: Evidence {
                digests: vec![manifest.digest.clone()],
                // The cache holds bytes that have this digest themselves, whatever it was stated of.
                of: Subject::Artifact,
                ..manifest.evidence.clone()
            },
            cached: true,
            delta: None,
        })
    }

    pub(super) fn is_cached(&self, digest: &Digest) -> bool {
        let path = self.question.cache.join("blobs").join(digest.algorithm().name());
        path.join(digest.hex()).is_file()
    }
}
