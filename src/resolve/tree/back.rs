//! Going back to what a tree was: a generation made anew of its own index, without a source.

use std::collections::HashSet;
use std::fs;

use super::{INDEX, Tree};
use crate::format::casync::chunk::ChunkId;
use crate::format::casync::index::Index;
use crate::model::{Artifact, Effect, Evidence};
use crate::resource::tree::observe::takeable_of;
use crate::resource::tree::spec::{TreeLayout, file_url};
use crate::resource::tree::wanted::{Offer, Wanted};

/// Why a tree is on another release than the one that is half in use.
const CUT_OFF: &str = "what was in use did not work, and going back was cut off";

impl Tree<'_> {
    /// A generation made anew from its own index: no source needs to be asked for that.
    pub(super) fn own_copy(&self, slot: &str) -> Option<Offer> {
        let head = self.observed.head(slot)?;
        let path = self.observed.place_of(slot)?.join(INDEX);
        let bytes = fs::read(&path).ok()?;
        let index = Index::read(bytes.as_slice()).ok()?;
        Some(Offer {
            artifact: Artifact {
                name: INDEX.to_owned(),
                urls: vec![file_url(&path)],
                size: u64::try_from(bytes.len()).ok(),
                digest: None,
                content: None,
            },
            evidence: Evidence { digests: vec![head.index.clone()], ..head.evidence.clone() },
            stores: self.stores(&self.spec.source),
            packs: None,
            delta: None,
            published: head.published,
            ways: self.missing(&index, &self.kept_chunks()).ways,
            offline: false,
            own: true,
        })
    }

    /// Chunks of every generation that is kept: all of them are asked before a store is.
    fn kept_chunks(&self) -> HashSet<ChunkId> {
        let kept = self.observed.generations.keys();
        kept.flat_map(|slot| takeable_of(self.observed, slot)).collect()
    }

    /// A tree of its own for the generation in use, before the files of another one take the place of its own and must
    /// show that they work. What is known not to work is nothing to go back to.
    pub(super) fn way_back(&self, wanted: &Wanted) -> Option<Offer> {
        let looked_at = self.spec.health.as_ref().is_some_and(|check| check.rolls_back);
        let in_place = self.spec.layout == TreeLayout::InPlace;
        let head = self.observed.current_head()?;
        let due = looked_at && in_place && self.question.observed.facts.live;
        if !due || wanted.there || head.index == wanted.index || self.is_known_bad() {
            return None;
        }
        self.own_copy(self.observed.current.as_deref()?)
    }

    /// The generation to go back to where that was cut off: what is in use is then a mixture with what did not work.
    pub(super) fn going_back(&self) -> Option<Wanted> {
        if self.spec.layout != TreeLayout::InPlace || !self.is_known_bad() {
            return None;
        }
        let current = self.observed.current.as_deref()?;
        let debts = self.question.ledger.debts.iter().filter(|debt| debt.resource == *self.id);
        let mut back = debts.filter_map(|debt| match &debt.effect {
            Effect::Confirm { slot, back_to, .. } if slot == current => back_to.as_deref(),
            _ => None,
        });
        let slot = back.find(|slot| self.observed.is_kept(slot))?;
        let head = self.observed.head(slot)?;
        Some(Wanted {
            slot: Some(slot.to_owned()),
            rolled_back: Some(CUT_OFF.to_owned()),
            ..Wanted::of(head.version.clone(), head.index.clone())
        })
    }

    /// Whether the generation in use is one that did not work here.
    fn is_known_bad(&self) -> bool {
        let trust = &self.question.ledger.trust;
        self.observed.current_head().is_some_and(|head| {
            let digests = std::slice::from_ref(&head.index);
            trust.quarantine_of(self.id, head.version.as_str(), digests).is_some()
        })
    }
}
