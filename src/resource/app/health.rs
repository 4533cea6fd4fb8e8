//! Confirming that a release works, and what is done when it does not; pure.

use crate::model::manifest::Binary;
use crate::model::step::Expected;
use crate::model::{Check, Step};
use crate::resource::app::layout::parse_link;
use crate::resource::app::plan::Situation;
use crate::resource::confirm::{Confirm, owe, way_back};

impl Situation<'_> {
    /// What is looked at after a switch on this host.
    pub(super) fn check(&self) -> Option<&Check> {
        self.spec.health.as_ref().filter(|_| self.facts.live)
    }

    /// The links that point into a release now, or would.
    fn links_of(&self, slot: &str) -> Option<Vec<Binary>> {
        if self.observed.current() != Some(slot) {
            let manifest = self.observed.slots.get(slot)?.manifest.as_ref()?;
            return Some(manifest.binaries.clone());
        }
        let links = self.observed.bin.iter().flat_map(|bin| &bin.links);
        let into_it = links.filter_map(|(name, text)| {
            let (_, path) = parse_link(text).filter(|(into, _)| *into == slot)?;
            Some(Binary { name: name.clone(), path: path.to_owned() })
        });
        Some(into_it.collect())
    }

    /// The way back: the links as they were, and every effect once more.
    pub(super) fn undo(&self, confirm: &Confirm) -> Vec<Step> {
        if !self.check().is_some_and(|check| check.rolls_back) {
            return Vec::new();
        }
        let layout = self.layout();
        let switch = match (confirm.back_to.as_deref(), &self.observed.file) {
            (Some(slot), Some(file)) => {
                let undoes = (Expected::Anything, None);
                Some(self.place(file, slot, self.program(slot), undoes))
            }
            (Some(slot), None) => self.links_of(slot).map(|links| Step::Switch {
                bin: layout.bin(),
                beside: layout.staged_bin(),
                release: layout.slot(slot),
                links: Some(links),
                expects: None,
            }),
            (None, _) => None,
        };
        let slot = confirm.back_to.as_deref();
        let version = slot.and_then(|s| self.observed.version_of(s, &self.spec.version.tag));
        let owes = owe(self.effects(None));
        switch.map(|switch| way_back(owes, vec![switch], version.as_ref())).unwrap_or_default()
    }
}
