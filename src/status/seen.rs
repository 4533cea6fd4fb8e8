//! What is told of one resource from what was seen of it; pure.

use crate::desired::Declared;
use crate::model::{Drift, ResourceId, Version};
use crate::resource::{self, Context, Found};
use crate::status::Known;

/// The release that somebody took out of use, and that is there still.
pub(super) fn taken_away<'a>(
    known: &Known<'a>,
    id: &ResourceId,
    (found, drift): (&'a Found, &[Drift]),
) -> Option<&'a str> {
    let last = known.ledger.inventory.resources.get(id)?.activated.last()?;
    let there = !drift.is_empty() && found.slots().contains(&last.as_str());
    there.then_some(last.as_str())
}

/// The version of a program that was there before us and is the wished one.
pub(super) fn recognised(
    known: &Known<'_>,
    id: &ResourceId,
    found: Option<&Found>,
) -> Option<Version> {
    let recognised = known.ledger.inventory.resources.get(id)?.recognised.as_ref()?;
    (found?.program()? == recognised.sha256).then(|| recognised.version.clone())
}

/// The drift that a pass would correct.
pub(super) fn drift(
    known: &Known<'_>,
    id: &ResourceId,
    declared: &Declared,
    found: &Found,
) -> Vec<Drift> {
    let context = Context {
        id,
        declared_at: "",
        owned: known.ledger.inventory.at(id, declared.spec.home()),
        trust: &known.ledger.trust,
        debts: &[],
        facts: &known.observed.facts,
    };
    resource::drift(context, &declared.spec, found)
}
