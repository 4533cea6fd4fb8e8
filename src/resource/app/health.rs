//! Confirming that a release works, and what is done when it does not; pure.

use crate::model::manifest::Binary;
use crate::model::step::Expected;
use crate::model::{Check, Effect, Step};
use crate::resource::app::layout::parse_link;
use crate::resource::app::plan::Situation;
use crate::resource::app::wanted::Wanted;

/// A confirmation that is due.
#[derive(Clone, Debug)]
pub(super) struct Confirm {
    /// What is looked at.
    pub(super) check: Check,
    /// The journaled effect.
    pub(super) effect: Effect,
    /// The release to go back to, and its links.
    back_to: Option<(String, Vec<Binary>)>,
}

impl Situation<'_> {
    /// What is to be confirmed when this pass brings a release into use.
    pub(super) fn confirm_switch(&self, wanted: &Wanted) -> Option<Confirm> {
        let check = self.spec.health.clone().filter(|_| self.facts.live)?;
        let current = self.observed.current().filter(|current| *current != wanted.slot);
        let back_to = current.map(|slot| (slot.to_owned(), self.links_of(slot)));
        let effect = Effect::Confirm {
            resource: self.id.clone(),
            slot: wanted.slot.clone(),
            back_to: current.map(str::to_owned),
        };
        Some(Confirm { check, effect, back_to })
    }

    /// What is to be confirmed because an earlier pass brought a release into use without living to see
    /// whether it works.
    pub(super) fn confirm_owed(&self, wanted: &Wanted) -> Option<Confirm> {
        let check = self.spec.health.clone().filter(|_| self.facts.live)?;
        self.debts.iter().find_map(|debt| {
            let Effect::Confirm { slot, back_to, .. } = &debt.effect else { return None };
            let back_to = back_to.as_ref().and_then(|slot| {
                let manifest = self.observed.slots.get(slot)?.manifest.as_ref()?;
                Some((slot.clone(), manifest.binaries.clone()))
            });
            let effect = debt.effect.clone();
            (slot == &wanted.slot).then(|| Confirm { check: check.clone(), effect, back_to })
        })
    }

    /// The links that point into a release now.
    fn links_of(&self, slot: &str) -> Vec<Binary> {
        let links = self.observed.bin.iter().flat_map(|bin| &bin.links);
        let into_it = links.filter_map(|(name, text)| {
            let (_, path) = parse_link(text).filter(|(into, _)| *into == slot)?;
            Some(Binary { name: name.clone(), path: path.to_owned() })
        });
        into_it.collect()
    }

    /// The way back: the links as they were, and every effect once more.
    pub(super) fn undo(&self, confirm: &Confirm, effects: &[Effect]) -> Vec<Step> {
        if !confirm.check.rolls_back {
            return Vec::new();
        }
        let slot = confirm.back_to.as_ref().map(|(slot, _)| slot);
        let switch = match (&confirm.back_to, &self.observed.file) {
            (Some((slot, _)), Some(file)) => {
                self.place(file, slot, self.program(slot), (Expected::Anything, None))
            }
            (Some((slot, links)), None) => Step::Switch {
                bin: self.layout().bin(),
                beside: self.layout().staged_bin(),
                release: self.layout().slot(slot),
                links: Some(links.clone()),
                expects: None,
            },
            (None, file) => {
                let kept = file.as_ref().and_then(|file| Some((file, self.displaced(file)?)));
                let Some((file, from)) = kept else { return Vec::new() };
                Step::Restore { file: file.path.clone(), from }
            }
        };
        let version = slot.and_then(|s| self.observed.version_of(s, &self.spec.version.tag));
        let again = effects.iter().map(|effect| match effect {
            Effect::Run { resource, argv, .. } => Effect::Run {
                resource: resource.clone(),
                argv: argv.clone(),
                version: version.clone(),
            },
            effect => effect.clone(),
        });
        let again: Vec<Effect> = again.collect();
        let owe = again.iter().map(|effect| Step::Owe { effect: effect.clone() });
        let settle = again.iter().map(|effect| Step::Settle { effect: effect.clone() });
        owe.chain([switch]).chain(settle).collect()
    }
}
