//! What is kept to go back to where the files of a tree are replaced one by one; pure.
//!
//! The tree that was in use is gone then, but what is known about it is small: its index says of which chunks it is made.
//! While a release must show that it works, the files of the one before have second names.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use crate::model::step::Reuse;
use crate::model::{Effect, Step};
use crate::resource::confirm::Confirm;
use crate::resource::tree::layout::{base, is_adopted, slot_name};
use crate::resource::tree::plan::{Situation, Work};
use crate::resource::tree::spec::TreeLayout;
use crate::resource::tree::wanted::Wanted;

impl Situation<'_> {
    /// Gives the generation in use a tree of its own before `new` takes its place, where that is needed to go back.
    pub(super) fn keep_way_back(&self, (wanted, new): (&Wanted, &str), work: &mut Work) {
        let (Some(offer), Some(head)) = (&wanted.way_back, self.observed.current_head()) else {
            return;
        };
        if let Some(before) = self.before_doubt(new) {
            work.way_back = Some(before.to_owned());
            return;
        }
        let is_same = |slot: &&str| {
            let kept =
                self.observed.is_kept(slot) && self.observed.current.as_deref() != Some(*slot);
            kept && self.observed.head(slot).is_some_and(|other| other.index == head.index)
        };
        // A pass that was cut off made it before it replaced any file.
        let known = self.observed.slots().find(is_same).map(str::to_owned);
        let slot = known.unwrap_or_else(|| {
            let slot = slot_name(&head.index, self.observed.slots());
            let same = Wanted::of(head.version.clone(), head.index.clone());
            // Second names: files of another generation take the place of the first ones.
            work.steps.extend(self.stage(&same, offer, (&slot, Reuse::Hardlink)));
            slot
        });
        work.way_back = Some(slot);
    }

    /// Removes the tree to go back to, once the release in use has shown that it works.
    pub(super) fn drop_way_back(&self, confirm: &Confirm) -> Option<Step> {
        let Effect::Confirm { back_to: Some(back_to), .. } = &confirm.effect else { return None };
        let layout = self.layout();
        // What somebody else had there was put aside by another layout, and is never ours to remove.
        let ours = self.spec.layout == TreeLayout::InPlace && !is_adopted(back_to);
        ours.then(|| layout.remove(layout.generation(back_to)))
    }

    /// Removes generations, and what is known about too many earlier ones. Where files are replaced one by one, what is
    /// known about a generation is kept as long as retention keeps generations.
    pub(super) fn remember(&self, gone: &[String], keep: Option<&str>) -> Vec<Step> {
        let layout = self.layout();
        let activated = |slot: &str| {
            let activated = self.owned.map_or(&[][..], |owned| &owned.activated);
            activated.iter().rposition(|known| known == slot)
        };
        let in_place = self.spec.layout == TreeLayout::InPlace;
        let told = |slot: &&String| {
            let treeless = self.observed.generations.get(*slot).is_some_and(|g| g.tree.is_none());
            in_place && treeless && self.observed.head(slot).is_some()
        };
        let mut candidates: Vec<&String> =
            gone.iter().filter(told).chain(self.observed.earlier.keys()).collect();
        candidates.sort_by_key(|slot| {
            let left_now = self.observed.current.as_ref() == Some(*slot);
            Reverse((left_now, activated(slot), *slot))
        });
        let mut indexes: BTreeSet<&str> = keep.map(base).into_iter().collect();
        let others = self.spec.retain.saturating_sub(1) as usize;
        let new = candidates.into_iter().filter(|slot| indexes.insert(base(slot)));
        let kept: BTreeSet<&String> = new.take(others).collect();
        let mut steps: Vec<Step> = Vec::new();
        for slot in gone {
            let from = layout.generation(slot);
            steps.push(if kept.contains(slot) {
                let replaces = self.observed.earlier.contains_key(slot);
                Step::Promote { from, to: layout.earlier().join(slot), replaces }
            } else {
                layout.remove(from)
            });
        }
        let forgotten = self.observed.earlier.keys().filter(|slot| !kept.contains(slot));
        steps.extend(forgotten.map(|slot| layout.remove(layout.earlier().join(slot))));
        steps
    }
}
