//! What a change of an extension makes due, how it is looked at, and the way back; pure.

use crate::model::extension::LinkTo;
use crate::model::{Check, Effect, Step};
use crate::resource::confirm::{Confirm, owe, way_back};
use crate::resource::extension::ExtensionSpec;
use crate::resource::extension::layout::class_at;
use crate::resource::extension::pick::Picks;
use crate::resource::extension::plan::Situation;
use crate::resource::extension::spec::Activate;
use crate::resource::extension::wanted::WantedSet;

impl Situation<'_> {
    /// What a switch makes due, in order.
    pub(super) fn effects(&self, wanted: Option<&WantedSet>) -> Vec<Effect> {
        if !self.facts.live || self.spec.activate == Activate::Boot {
            return Vec::new();
        }
        let mut classes = self.spec.classes();
        let links = self.observed.retired.iter().filter_map(|seen| seen.link.as_deref());
        classes.extend(links.filter_map(|link| class_at(link, Some(link))));
        classes.sort();
        classes.dedup();
        let refresh = classes.into_iter().map(|class| Effect::Refresh { class });
        let restarts = self.spec.restart.iter().map(|unit| Effect::Restart { unit: unit.clone() });
        let runs = self.spec.run.iter().map(|argv| Effect::Run {
            resource: self.id.clone(),
            argv: argv.clone(),
            version: wanted.map(|w| w.version.clone()),
        });
        refresh.chain(restarts).chain(runs).collect()
    }

    /// Whether somebody looks at what systemd merges.
    pub(super) fn is_looked_at(&self) -> bool {
        let searched = self.spec.transfers.iter().any(|transfer| transfer.class.is_some());
        self.facts.live && self.spec.activate == Activate::Now && searched
    }

    /// What is looked at after a merge on this host.
    pub(super) fn check(&self) -> Option<&Check> {
        let merges = self.facts.live && self.spec.activate == Activate::Now;
        self.spec.health.as_ref().filter(|_| merges)
    }

    /// The way back: links as they were, or none where there was none, images in systemd's sight as they were, and where
    /// the image could have been used meanwhile, every effect once more.
    pub(super) fn undo(&self, confirm: &Confirm, changed: &[LinkTo], picks: &Picks) -> Vec<Step> {
        let back_to = confirm.back_to.as_deref();
        let picks = match back_to.filter(|_| picks.is_empty()) {
            Some(slot) => self.pick_again(slot),
            None => picks.back(),
        };
        let pick = picks.step(back_to.unwrap_or_default());
        let point = self.point_back(back_to, changed);
        let switch: Vec<Step> = point.into_iter().chain(pick).collect();
        if switch.is_empty() {
            return Vec::new();
        }
        let used = self.check().is_some();
        let owes = if used { owe(self.effects(None)) } else { Vec::new() };
        let version = back_to.and_then(|slot| self.observed.version_of(slot));
        way_back(owes, switch, version.as_ref())
    }

    fn point_back(&self, back_to: Option<&str>, changed: &[LinkTo]) -> Option<Step> {
        let back = |link: &LinkTo, text: Option<String>| LinkTo {
            link: link.link.clone(),
            text,
            expects: None,
        };
        let links: Vec<LinkTo> = if changed.is_empty() {
            let pairs = self.spec.transfers.iter().zip(&self.observed.transfers);
            let earlier = pairs.filter_map(|(transfer, seen)| {
                let image = seen.images.get(back_to?)?;
                let text = transfer.link_text(&image.file)?;
                Some(LinkTo { link: transfer.link.clone()?, text: Some(text), expects: None })
            });
            earlier.collect()
        } else {
            changed.iter().map(|link| back(link, link.expects.clone().flatten())).collect()
        };
        let slot = back_to.unwrap_or_default().to_owned();
        (!links.is_empty()).then_some(Step::Point { slot, links })
    }

    /// The links as they are.
    pub(super) fn links_in_place(&self) -> Vec<LinkTo> {
        let seen = self.observed.transfers.iter();
        let links = seen.filter_map(|seen| {
            let text = seen.there.text().map(str::to_owned);
            let expects = Some(text.clone());
            Some(LinkTo { link: seen.link.clone()?, text: Some(text?), expects })
        });
        links.collect()
    }

    /// Effects owed from earlier passes: paid when still wished, struck out when not. On another root than the
    /// running system's they stay owed.
    pub(super) fn old_debts(&self, now_owed: &[Effect], merge: Option<&Effect>) -> Vec<Step> {
        let mut steps = Vec::new();
        let again = |argv: &[String]| {
            now_owed.iter().any(|e| matches!(e, Effect::Run { argv: now, .. } if now == argv))
        };
        for debt in self.debts.iter().filter(|d| !now_owed.contains(&d.effect)) {
            let effect = debt.effect.clone();
            if merge == Some(&effect) {
                continue;
            }
            let wished = self.spec.wishes(&effect) && !matches!(effect, Effect::Confirm { .. });
            let superseded = matches!(&effect, Effect::Run { argv, .. } if again(argv));
            if wished && !superseded && !self.facts.live {
                continue;
            }
            steps.push(if wished && !superseded {
                Step::Settle { effect }
            } else {
                let why = "the desired state does not ask for it any more".to_owned();
                Step::Forgive { effect, why }
            });
        }
        steps
    }
}

impl ExtensionSpec {
    /// Whether an effect is one that the desired state asks for.
    pub fn wishes(&self, effect: &Effect) -> bool {
        match effect {
            Effect::Restart { unit } => self.restart.contains(unit),
            Effect::Run { argv, .. } => self.run.contains(argv),
            Effect::Refresh { .. } | Effect::Confirm { .. } => self.activate == Activate::Now,
        }
    }
}
