//! What a change of an extension makes due, how it is looked at, and the way back; pure.

use crate::model::extension::LinkTo;
use crate::model::{Check, Effect, Step};
use crate::resource::confirm::{Confirm, owe, way_back};
use crate::resource::extension::ExtensionSpec;
use crate::resource::extension::layout::class_at;
use crate::resource::extension::pick::Picks;
use crate::resource::extension::plan::Situation;
use crate::resource::extension::spec::Activate;
use crate::resource::extension::wanted::{WantedSet, is_whole};

impl Situation<'_> {
    /// What a switch makes due, in order.
    pub(super) fn effects(&self, wanted: Option<&WantedSet>) -> Vec<Effect> {
        if !self.facts.live || self.spec.activate == Activate::Boot {
            return Vec::new();
        }
        let mut classes = self.spec.classes();
        let links = self.observed.retired.iter().filter_map(|seen| seen.link.as_deref());
        classes.extend(links.filter_map(|link| class_at(link, Some(link))));
        let former = self.observed.transfers.iter().flat_map(|seen| seen.former_of(self.id));
        classes.extend(former.filter_map(|former| class_at(former.path.parent()?, None)));
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

    /// The release to go back to: the one in use, or the one before where that has yet to show that it works. Where
    /// somebody brought back one that did not work, the last one that did.
    pub(super) fn back_to(&self, to: &str) -> Option<&str> {
        let current = self.observed.current.as_deref();
        let whole = |slot: &&str| is_whole(self.spec, self.observed, self.owned, slot);
        let before = self.kept_in_doubt(current).filter(whole);
        let spoilt = current.is_some_and(|slot| !self.works(slot));
        let activated = self.owned.iter().flat_map(|owned| owned.activated.iter().rev());
        let last = activated.map(String::as_str).filter(|slot| spoilt && whole(slot));
        before.chain(current).chain(last).find(|slot| *slot != to && self.works(slot))
    }

    /// The way back: links as they were, or none where there was none, images in systemd's sight as they were, and where
    /// the image could have been used meanwhile, every effect once more.
    pub(super) fn undo(&self, confirm: &Confirm, changed: &[LinkTo], picks: &Picks) -> Vec<Step> {
        let back_to = confirm.back_to.as_deref();
        // What was in use comes back by taking back what was changed, where anything was.
        let anew = |unchanged| {
            back_to.filter(|_| unchanged || back_to != self.observed.current.as_deref())
        };
        let again = anew(picks.is_empty()).map(|slot| self.pick_again(slot));
        let picks = picks.back().then(again.unwrap_or_default());
        let pick = picks.step(back_to.unwrap_or_default());
        let point = self.point_back((back_to, anew(changed.is_empty())), changed);
        let switch: Vec<Step> = point.into_iter().chain(pick).collect();
        if switch.is_empty() {
            return Vec::new();
        }
        let used = self.check().is_some();
        let owes = if used { owe(self.effects(None)) } else { Vec::new() };
        let version = back_to.and_then(|slot| self.observed.version_of(slot));
        way_back(owes, switch, version.as_ref())
    }

    /// Links as they were; `anew` is the release that they are to lead to, whatever they were.
    fn point_back(
        &self,
        (back_to, anew): (Option<&str>, Option<&str>),
        changed: &[LinkTo],
    ) -> Option<Step> {
        let pairs = self.spec.transfers.iter().zip(&self.observed.transfers);
        let earlier = pairs.filter_map(|(transfer, seen)| {
            let text = Some(transfer.link_text(&seen.images.get(anew?)?.file)?);
            Some(LinkTo { link: transfer.link.clone()?, text, expects: None })
        });
        let mut links: Vec<LinkTo> = earlier.collect();
        for LinkTo { link, expects, .. } in changed {
            if !links.iter().any(|known| known.link == *link) {
                let text = expects.clone().flatten();
                links.push(LinkTo { link: link.clone(), text, expects: None });
            }
        }
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
