//! Releases that must show that they work, of whatever kind; pure.

use crate::model::{Check, Effect, Step, Version};
use crate::resource::decision::Situation;

/// A release that is to be looked at after a switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Confirm {
    /// The journaled effect.
    pub(super) effect: Effect,
    /// The slot to go back to.
    pub(super) back_to: Option<String>,
}

impl Confirm {
    /// The step that looks.
    pub(super) fn step(&self, check: &Check) -> Step {
        Step::Confirm { check: check.clone(), effect: self.effect.clone() }
    }
}

impl<S, O, W> Situation<'_, S, O, W> {
    /// For a switch of this pass from one slot to another. Nobody goes back from a slot to itself.
    pub(super) fn confirm_switch(&self, slot: &str, from: Option<&str>) -> Confirm {
        let back_to = from.filter(|from| *from != slot).map(str::to_owned);
        let (resource, slot) = (self.id.clone(), slot.to_owned());
        let effect = Effect::Confirm { resource, slot, back_to: back_to.clone(), excused: false };
        Confirm { effect, back_to }
    }

    /// What is kept because the release in use has yet to show that it works: what a later one goes back to.
    pub(super) fn kept_in_doubt(&self, in_use: Option<&str>) -> impl Iterator<Item = &str> {
        let effects = self.debts.iter().map(|debt| &debt.effect);
        let doubted =
            move |effect: &&Effect| in_use.is_some_and(|slot| effect.doubts(self.id, slot));
        effects.filter(doubted).filter_map(Effect::kept)
    }

    /// For a switch of an earlier pass that did not see whether the release works. Nobody goes back from one that is
    /// excused.
    pub(super) fn confirm_owed(&self, slot: &str) -> Option<Confirm> {
        self.debts.iter().find_map(|debt| match &debt.effect {
            Effect::Confirm { slot: owed, back_to, excused, .. } if owed == slot => {
                let back_to = back_to.clone().filter(|_| !excused);
                Some(Confirm { effect: debt.effect.clone(), back_to })
            }
            _ => None,
        })
    }
}

/// The way back to a release: its switch, between owing every effect once more and performing it. `owes` are
/// the steps that journal what a switch makes due.
pub(super) fn way_back(owes: Vec<Step>, switch: Vec<Step>, version: Option<&Version>) -> Vec<Step> {
    let mut steps = owes;
    for step in &mut steps {
        if let Step::Owe { effect } | Step::OweIfChanged { effect, .. } = step
            && let Effect::Run { version: to, .. } = effect
        {
            *to = version.cloned();
        }
    }
    let settle = steps.iter().filter_map(|step| match step {
        Step::Owe { effect } | Step::OweIfChanged { effect, .. } => {
            Some(Step::Settle { effect: effect.clone() })
        }
        _ => None,
    });
    let settle: Vec<Step> = settle.collect();
    steps.extend(switch);
    steps.extend(settle);
    steps
}

/// The steps that journal effects.
pub(super) fn owe(effects: Vec<Effect>) -> Vec<Step> {
    effects.into_iter().map(|effect| Step::Owe { effect }).collect()
}
