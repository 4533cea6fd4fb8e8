//! Which decision each release in use goes back to, noted after a pass.

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::model::ledger::basis::Basis;
use crate::model::ledger::{Inventory, Overrides};
use crate::model::outcome::{End, Outcome};
use crate::model::{Action, BlockedReason, ResourceId};
use crate::record::commit::Pass;

/// Notes what everything that a pass left in use was chosen by. What was held back leaves the note as it was: it says
/// then why the change comes at last.
pub(super) fn note(
    inventory: &mut Cow<'_, Inventory>,
    overrides: &Overrides,
    pass: &Pass<'_>,
    outcome: &Outcome,
) {
    let plan = pass.plan;
    let waiting: BTreeSet<&ResourceId> = plan.blocked.iter().map(|b| &b.resource).collect();
    let changes = plan.changes.iter().zip(&outcome.results);
    let done = changes.filter(|(change, result)| {
        result.end == End::Done && !matches!(change.action, Action::Fetch | Action::Remove)
    });
    let settled = done.map(|(change, _)| &change.resource);
    let settled = settled.chain(plan.unchanged.iter().map(|unchanged| &unchanged.resource));
    for id in settled.filter(|id| !waiting.contains(id)) {
        set(inventory, id, || by_wish(overrides, pass, id));
    }
    for blocked in &plan.blocked {
        let id = &blocked.resource;
        match blocked.reason {
            BlockedReason::Suspended => set(inventory, id, || Some(Basis::Suspension)),
            BlockedReason::RolledBack => set(inventory, id, || Some(Basis::Rollback)),
            BlockedReason::Quarantined => set(inventory, id, || by_wish(overrides, pass, id)),
            _ => {}
        }
    }
}

fn by_wish(overrides: &Overrides, pass: &Pass<'_>, id: &ResourceId) -> Option<Basis> {
    if overrides.pinned.get(id).is_some_and(|pinned| pinned.holds(pass.now)) {
        return Some(Basis::Rollback);
    }
    let declared = pass.desired.resources.get(id)?;
    Some(Basis::Request(declared.spec.requested()))
}

fn set(inventory: &mut Cow<'_, Inventory>, id: &ResourceId, basis: impl FnOnce() -> Option<Basis>) {
    let Some(owned) = inventory.resources.get(id) else { return };
    let basis = basis();
    if owned.basis != basis
        && let Some(owned) = inventory.to_mut().resources.get_mut(id)
    {
        owned.basis = basis;
    }
}
