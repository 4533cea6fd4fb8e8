//! What is remembered of a resource goes along with it when it gets another name.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::ledger::{Debt, Ledger, Quarantined, Trust};
use crate::model::{Effect, ResourceId};

/// New names of resources, by the names that they had.
pub type Renames = BTreeMap<ResourceId, ResourceId>;

impl Ledger {
    /// Calls resources by their new names in everything that is remembered of them, all at once: two may have
    /// exchanged their names.
    pub fn rename(&mut self, renames: Renames) {
        if renames.is_empty() {
            return;
        }
        self.trust.rename(&renames);
        move_keys(&mut self.inventory.resources, &renames);
        // What was decided under the new name is the later decision.
        let decided = self.overrides.clone();
        move_keys(&mut self.overrides.suspended, &renames);
        move_keys(&mut self.overrides.pinned, &renames);
        for (id, suspension) in decided.suspended {
            if is_only_new(&id, &renames) {
                self.overrides.suspended.insert(id, suspension);
            }
        }
        for (id, pinned) in decided.pinned {
            if is_only_new(&id, &renames) {
                self.overrides.pinned.insert(id, pinned);
            }
        }
        for debt in &mut self.debts {
            debt.rename(&renames);
        }
        self.renamed.extend(renames);
    }
}

/// Whether this is what something is called now, and nothing was before.
fn is_only_new(id: &ResourceId, renames: &Renames) -> bool {
    !renames.contains_key(id) && renames.values().any(|new| new == id)
}

impl Trust {
    /// Has what did not work in the places of some resources known of those that take the places.
    pub fn carry_quarantines(&mut self, taken: &Renames) {
        for Quarantined { resource, .. } in &mut self.quarantined {
            change(resource, taken);
        }
    }

    /// Has what did not work in the places of some resources known also of those that take the places, while each goes on
    /// in another one: what was offered there may come along or stay. Whether anything was new.
    pub fn share_quarantines(&mut self, taken: &Renames) -> bool {
        let shared = self.quarantined.iter().filter_map(|failed| {
            let resource = taken.get(&failed.resource)?.clone();
            Some(Quarantined { resource, ..failed.clone() })
        });
        let known = |new: &Quarantined| {
            let same = |q: &Quarantined| (&q.tag, &q.digests) == (&new.tag, &new.digests);
            self.quarantined.iter().any(|q| q.resource == new.resource && same(q))
        };
        let shared: Vec<Quarantined> = shared.filter(|new| !known(new)).collect();
        let any = !shared.is_empty();
        self.quarantined.extend(shared);
        any
    }

    fn rename(&mut self, renames: &Renames) {
        move_keys(&mut self.floors, renames);
        move_keys(&mut self.accepted, renames);
        move_keys(&mut self.accepted_images, renames);
        let locks = std::mem::take(&mut self.locks);
        let (moved, kept): (Vec<_>, Vec<_>) = locks
            .into_iter()
            .map(|(key, digest)| (renamed_key(&key, renames), key, digest))
            .partition(|(moved, ..)| moved.is_some());
        self.locks = kept.into_iter().map(|(_, key, digest)| (key, digest)).collect();
        self.locks.extend(moved.into_iter().map(|(to, key, digest)| (to.unwrap_or(key), digest)));
        let unsuitable: BTreeSet<String> = std::mem::take(&mut self.unsuitable);
        let by_now = unsuitable.into_iter().map(|key| renamed_key(&key, renames).unwrap_or(key));
        self.unsuitable = by_now.collect();
        self.carry_quarantines(renames);
    }
}

impl Debt {
    fn rename(&mut self, renames: &Renames) {
        change(&mut self.resource, renames);
        if let Effect::Run { resource, .. } | Effect::Confirm { resource, .. } = &mut self.effect {
            change(resource, renames);
        }
    }
}

fn change(id: &mut ResourceId, renames: &Renames) {
    if let Some(new) = renames.get(id) {
        id.clone_from(new);
    }
}

/// A key of [`Trust::lock_key`] of a resource that has another name now.
fn renamed_key(key: &str, renames: &Renames) -> Option<String> {
    let (id, rest) = key.split_once(' ')?;
    let new = renames.get(&id.parse().ok()?)?;
    Some(format!("{new} {rest}"))
}

/// What was kept by an old name is kept by the new one, instead of what a resource that is gone left there.
fn move_keys<T>(map: &mut BTreeMap<ResourceId, T>, renames: &Renames) {
    let moved: Vec<(ResourceId, T)> =
        renames.iter().filter_map(|(old, new)| Some((new.clone(), map.remove(old)?))).collect();
    map.extend(moved);
}
