//! An app that comes by another name at another place, while an operator's decision holds the old one.
//!
//! What was decided is about what is in a place. Where the place is another with the name, as a `home` that nobody wrote
//! is, it cannot follow; so nothing is done that would end it without a word.

use crate::desired::Declared;
use crate::model::ledger::Owned;
use crate::model::{Blocked, BlockedReason, Kind, ResourceId};
use crate::plan::{Inputs, not_removed};
use crate::resource::{Found, Spec};

/// Why an app is not installed by its new name, if so.
pub(super) fn refuse(inputs: &Inputs<'_>, id: &ResourceId, declared: &Declared) -> Option<Blocked> {
    if inputs.ledger.inventory.resources.contains_key(id) {
        return None;
    }
    let is_it = |(old, owned): &(&ResourceId, &Owned)| {
        is_gone(inputs, old, owned) && decided(inputs, old).is_some() && same(inputs, old, declared)
    };
    let (old, owned) = inputs.ledger.inventory.resources.iter().find(is_it)?;
    let message = format!(
        "{old} was the same and is {}; `home: {}` keeps its place and that, `reconcile resume {old}` ends it",
        decided(inputs, old)?,
        owned.home
    );
    let declared_at = Some(declared.declared_at.to_string());
    Some(Blocked { declared_at, ..Blocked::new(id.clone(), BlockedReason::Suspended, message) })
}

/// Why an app is not removed by its old name, if so.
pub(super) fn keep(inputs: &Inputs<'_>, old: &ResourceId) -> Option<Blocked> {
    let decided = decided(inputs, old)?;
    let new = |id: &ResourceId| !inputs.ledger.inventory.resources.contains_key(id);
    let mut wished = inputs.desired.resources.iter().filter(|(id, _)| new(id));
    let (new, _) = wished.find(|(_, declared)| same(inputs, old, declared))?;
    let why = format!("{new} is the same, and it is {decided}");
    Some(not_removed(inputs, old, (BlockedReason::Suspended, &why)))
}

/// What is said of a rollback that ends as what it was about is removed.
pub(super) fn ended(inputs: &Inputs<'_>, id: &ResourceId) -> Option<String> {
    let decided = decided(inputs, id)?;
    Some(format!("{id} is {decided}; that ends with its removal"))
}

fn is_gone(inputs: &Inputs<'_>, id: &ResourceId, owned: &Owned) -> bool {
    !inputs.desired.resources.contains_key(id) && inputs.desired.was_read(&owned.declared_in)
}

/// What an operator decided about a resource.
fn decided(inputs: &Inputs<'_>, id: &ResourceId) -> Option<String> {
    let overrides = &inputs.ledger.overrides;
    let suspended = overrides.suspended.get(id).filter(|s| s.holds(inputs.now));
    let pinned = overrides.pinned.get(id).filter(|p| p.holds(inputs.now));
    let suspended = suspended.map(|s| format!("suspended by an operator ({})", s.reason));
    suspended.or_else(|| pinned.map(|p| format!("rolled back by an operator ({})", p.reason)))
}

/// Whether an app that is wished is made of the same as one that is installed.
fn same(inputs: &Inputs<'_>, old: &ResourceId, declared: &Declared) -> bool {
    let Spec::App(spec) = &declared.spec else { return false };
    let found = inputs.observed.resources.get(old).and_then(|found| found.as_ref().ok());
    let Some(Found::App(found)) = found.filter(|_| old.kind == Kind::App) else { return false };
    let mut manifests = found.slots.values().filter_map(|slot| slot.manifest.as_ref());
    manifests.any(|manifest| manifest.recipe == spec.recipe)
}
