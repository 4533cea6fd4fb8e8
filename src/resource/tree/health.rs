//! Confirming that a generation works, and what is done when it does not; pure.

use camino::Utf8Path;

use crate::model::step::{ExchangeBy, Expected};
use crate::model::{Check, Step};
use crate::resource::confirm::{Confirm, way_back};
use crate::resource::tree::plan::{Situation, Work};
use crate::resource::tree::remove::exchange_by;

impl Situation<'_> {
    /// What is looked at after an update on this host.
    pub(super) fn check(&self) -> Option<&Check> {
        self.spec.health.as_ref().filter(|_| self.facts.live)
    }

    /// What is to be confirmed. The generation to go back to is the one that stays: a damaged one does not.
    pub(super) fn confirm(&self, work: &Work) -> Option<Confirm> {
        self.check()?;
        let slot = work.slot.as_deref()?;
        if work.steps.is_empty() {
            return self.confirm_owed(slot);
        }
        let kept = work.steps.iter().find_map(|step| match step {
            // Nothing of it stays but what has second names.
            Step::Exchange { by: ExchangeBy::InPlace, .. } => work.way_back.as_deref(),
            Step::Exchange { old: Some(old), .. } => old.parent().and_then(Utf8Path::file_name),
            // Through a link every generation stays where it is.
            Step::Exchange { .. } if self.through_link() => self.observed.current.as_deref(),
            _ => None,
        });
        let before = self.before_doubt(slot);
        Some(self.confirm_switch(slot, before.or(kept)))
    }

    /// The generation that was in use before the one that has yet to show that it works, where it is kept.
    pub(super) fn before_doubt(&self, new: &str) -> Option<&str> {
        let mut kept = self.kept_in_doubt(self.observed.current.as_deref());
        kept.find(|slot| *slot != new && self.observed.is_kept(slot))
    }

    /// The way back: the generation before, and every effect once more.
    pub(super) fn undo(&self, confirm: &Confirm, work: &Work) -> Vec<Step> {
        let rolls_back = self.check().is_some_and(|check| check.rolls_back);
        let back_to = confirm.back_to.as_deref().filter(|_| rolls_back);
        let Some((slot, new)) = back_to.zip(work.slot.as_deref()) else { return Vec::new() };
        let layout = self.layout();
        let by = exchange_by(self.spec.layout);
        let switch = Step::Exchange {
            tree: layout.tree(slot),
            path: layout.path.clone(),
            old: match by {
                ExchangeBy::Directory => Some(layout.tree(new)),
                ExchangeBy::InPlace => Some(layout.generation(new)),
                ExchangeBy::Link => None,
            },
            expects: Expected::Anything,
            preserve: self.spec.preserve.clone(),
            by,
            keeps: Some(Box::new(self.keeps(new))),
        };
        let owes = self.effects(work).iter().map(|due| due.owe(work)).collect();
        let made_now = || self.observed.current_head().map(|head| head.version.clone());
        let version = self.observed.version_of(slot).or_else(made_now);
        way_back(owes, vec![switch], version.as_ref())
    }
}
