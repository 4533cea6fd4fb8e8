//! What an app stands on, also where somebody took that out of use, and where it can go back to; pure.

use crate::model::slot::tag_of_slot;
use crate::model::{Digest, Version};
use crate::resource::app::plan::Situation;
use crate::resource::app::wanted::slot_state;
use crate::resource::decision::SlotState;

impl Situation<'_> {
    /// The release that was made the one in use last.
    pub(super) fn last(&self) -> Option<&str> {
        self.owned.and_then(|owned| owned.activated.last()).map(String::as_str)
    }

    /// The release in use; where links or the program were tampered with, the one that they made no more use of.
    pub(super) fn stands_on(&self) -> Option<&str> {
        self.observed.current().or(self.last())
    }

    /// The version of that release, or of the program of somebody else that was recognised in its place.
    pub(super) fn stands_on_version(&self) -> Option<Version> {
        match self.stands_on() {
            Some(slot) => self.observed.version_of(slot, &self.spec.version.tag),
            None => self.recognised().map(|known| known.version.clone()),
        }
    }

    /// Whether a release is not known to be one that does not work here.
    pub(super) fn works(&self, slot: &str) -> bool {
        let manifest = self.observed.slots.get(slot).and_then(|found| found.manifest.as_ref());
        let tag = manifest.map_or_else(|| tag_of_slot(slot), |manifest| manifest.tag.clone());
        let digests: Vec<Digest> =
            manifest.map(|manifest| manifest.digest.clone()).into_iter().collect();
        self.trust.quarantine_of(self.id, &tag, &digests).is_none()
    }

    /// The release to go back to when `to` does not show that it works: the one in use, or else the last one that
    /// was, of those that are whole and worked; the one before one that has yet to show it. `kept` is what is kept of a program of somebody else. Nobody goes
    /// back from a release that is only repaired.
    pub(super) fn back_to<'s>(&'s self, to: &str, kept: Option<&'s str>) -> Option<&'s str> {
        if self.stands_on() == Some(to) {
            return kept;
        }
        let current = self.observed.current();
        let usable = |slot: &&str| *slot != to && self.works(slot);
        let last = self.owned.iter().flat_map(|owned| owned.activated.iter().rev());
        let last = last.map(String::as_str).filter(|slot| self.is_whole(slot));
        let before = self.kept_in_doubt(current).filter(|slot| self.is_whole(slot));
        let whole = current.filter(|slot| self.is_whole(slot)).or(kept);
        // One that was changed and is in use is better than nothing.
        before.chain(whole).chain(last).chain(current).find(usable)
    }

    /// Whether all of a release is there, and which programs it has is known.
    fn is_whole(&self, slot: &str) -> bool {
        let arch = self.facts.arch.name();
        let adopted = self.owned.map_or(&[][..], |owned| &owned.adopted);
        let state = slot_state(self.spec, self.observed, self.owned, slot, arch);
        match state.as_pinned(adopted, slot) {
            SlotState::Whole => true,
            SlotState::Adopted => self.observed.current() == Some(slot),
            _ => false,
        }
    }
}
