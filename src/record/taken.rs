//! Whose places are now: of another path that wishes them, or of another resource that is there.

use std::borrow::Cow;
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

/// What is ours, and wished where it is, belongs to the path that wishes it now, also while nothing can be done about it:
/// the path before, which does not name it any more, must not take it away.
pub(super) fn redeclare(inventory: &mut Cow<'_, Inventory>, id: &ResourceId, pass: &Pass<'_>) {
    let Some(declared) = pass.desired.resources.get(id) else { return };
    let known = inventory.at(id, declared.spec.home());
    if known.is_some_and(|known| known.declared_in != declared.root)
        && let Some(owned) = inventory.to_mut().resources.get_mut(id)
    {
        owned.declared_in.clone_from(&declared.root);
    }
}
