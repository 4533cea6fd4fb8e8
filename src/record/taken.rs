//! Resources whose place another one has by now: nothing of them is anywhere.

use std::collections::BTreeSet;

use crate::model::ledger::Inventory;
use crate::model::outcome::{End, Outcome};
use crate::model::{Action, Kind, ResourceId};
use crate::record::commit::Pass;

/// What is remembered to be in a place that is that of another resource, which is there as it is wished.
pub(super) fn places(inventory: &Inventory, pass: &Pass<'_>, outcome: &Outcome) -> Vec<ResourceId> {
    let Pass { desired, observed, plan, .. } = pass;
    let wished = |id: &ResourceId| desired.resources.get(id).map(|declared| declared.spec.home());
    let gone = inventory.resources.iter().filter(|(id, owned)| {
        // Extensions may share a directory.
        let is_there = wished(id).is_some_and(|home| observed.are_one(home, &owned.home));
        id.kind != Kind::Extension && !is_there
    });
    let gone: Vec<_> = gone.collect();
    if gone.is_empty() {
        return Vec::new();
    }
    let results = plan.changes.iter().zip(&outcome.results);
    let done = results.filter(|(change, result)| {
        let comes = !matches!(change.action, Action::Remove | Action::Fetch);
        comes && result.end == End::Done
    });
    let there: BTreeSet<&ResourceId> = done
        .map(|(change, _)| &change.resource)
        .chain(plan.unchanged.iter().map(|unchanged| &unchanged.resource))
        .filter(|id| id.kind != Kind::Extension)
        .collect();
    let taken = gone.into_iter().filter(|(id, owned)| {
        let mut others = there.iter().filter(|other| **other != *id);
        others.any(|other| wished(other).is_some_and(|home| observed.are_one(home, &owned.home)))
    });
    taken.map(|(id, _)| id.clone()).collect()
}
