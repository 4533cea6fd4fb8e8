//! Effects that a change of a tree makes due, and what is kept beside it; pure.

use crate::model::{Effect, Step};
use crate::resource::confirm::Confirm;
use crate::resource::tree::plan::{Situation, Work};
use crate::resource::tree::spec::{Place, TreeLayout, Trigger};
use crate::resource::tree::wanted::Behind;

/// An effect that an exchange makes due, for some paths or for all.
pub(super) struct Due {
    pub(super) effect: Effect,
    pub(super) paths: Option<Vec<String>>,
}

impl Due {
    /// The step that journals it. Which paths changed is known only where a generation is made.
    pub(super) fn owe(&self, work: &Work) -> Step {
        let effect = self.effect.clone();
        match &self.paths {
            Some(paths) if work.staged => Step::OweIfChanged { paths: paths.clone(), effect },
            _ => Step::Owe { effect },
        }
    }
}

impl Situation<'_> {
    /// What an exchange makes due, in order.
    pub(super) fn effects(&self, work: &Work) -> Vec<Due> {
        if !self.facts.live {
            return Vec::new();
        }
        let wanted = work.wanted.as_ref();
        let version = wanted.map(|w| w.version.clone());
        // Of two generations that are here it is known which paths differ, before anything is done.
        let known = wanted.and_then(|wanted| wanted.contents.as_deref());
        let known = known.filter(|known| !work.staged && known.unlisted() == 0);
        let touched = |trigger: &&Trigger| {
            known.is_none_or(|known| trigger.paths.iter().any(|path| known.touches(path)))
        };
        let run = |argv: &Vec<String>| Effect::Run {
            resource: self.id.clone(),
            argv: argv.clone(),
            version: version.clone(),
        };
        let restarts = self
            .spec
            .restart
            .iter()
            .map(|unit| Due { effect: Effect::Restart { unit: unit.clone() }, paths: None });
        let triggers = self.spec.triggers.iter().filter(touched).flat_map(|trigger| {
            let paths = &trigger.paths;
            trigger.run.iter().map(move |argv| (argv, paths))
        });
        let triggers =
            triggers.map(|(argv, paths)| Due { effect: run(argv), paths: Some(paths.clone()) });
        let runs = self.spec.run.iter().map(|argv| Due { effect: run(argv), paths: None });
        restarts.chain(triggers).chain(runs).collect()
    }

    /// What runs once after each start of the host, when this pass is the first since.
    pub(super) fn starts(&self, work: &Work, now_owed: &[Due]) -> Vec<Due> {
        let since = self.owned.and_then(|owned| owned.started.as_ref());
        let recognised = work.wanted.as_ref().is_some_and(|wanted| wanted.there);
        let there = work.slot.is_some() || self.observed.current.is_some() || recognised;
        if !self.facts.live || !there || since == self.facts.started.as_ref() {
            return Vec::new();
        }
        let version = work.wanted.as_ref().map(|wanted| wanted.version.clone());
        let due = self.spec.on_start.iter().map(|argv| {
            let (resource, argv) = (self.id.clone(), argv.clone());
            Effect::Run { resource, argv, version: version.clone() }
        });
        let known = |effect: &Effect| now_owed.iter().any(|due| &due.effect == effect);
        let due = due.filter(|effect| !known(effect));
        due.map(|effect| Due { effect, paths: None }).collect()
    }

    /// The step that brings the offline copy up to what is then in use.
    pub(super) fn refresh(&self, work: &Work) -> Option<Step> {
        let wanted = work.wanted.as_ref()?;
        let (Behind { copy, signature }, slot) = (wanted.refresh.clone()?, work.slot.as_deref()?);
        let layout = self.layout();
        let tree = match self.spec.layout {
            TreeLayout::Link => layout.tree(slot),
            TreeLayout::Exchange | TreeLayout::InPlace => layout.path.clone(),
        };
        let stores = self.spec.source.stores.iter().map(Place::url).collect();
        let offered = wanted.offer.as_ref().map(|offer| offer.published);
        let installed = || self.observed.head(slot).and_then(|head| head.published);
        let published = offered.unwrap_or_else(installed);
        let generation = layout.generation(slot);
        Some(Step::Refresh { generation, tree, copy, signature, stores, published })
    }

    /// Effects owed from earlier passes: paid when still wished, struck out when not. On another root
    /// than the running system's they stay owed.
    pub(super) fn old_debts(&self, now_owed: &[Effect], confirm: Option<&Confirm>) -> Vec<Step> {
        let mut steps = Vec::new();
        for debt in self.debts.iter().filter(|d| !now_owed.contains(&d.effect)) {
            if confirm.is_some_and(|confirm| confirm.effect == debt.effect) {
                continue;
            }
            let superseded = matches!(debt.effect, Effect::Confirm { .. }) && self.facts.live;
            let wished = self.spec.wishes(&debt.effect) && !superseded;
            if wished && !self.facts.live {
                continue;
            }
            let effect = debt.effect.clone();
            steps.push(if wished {
                Step::Settle { effect }
            } else {
                let why = "the desired state does not ask for it any more".to_owned();
                Step::Forgive { effect, why }
            });
        }
        steps
    }
}
