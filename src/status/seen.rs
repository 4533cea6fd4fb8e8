//! What is told of one resource from what was seen of it; pure.

use crate::desired::Declared;
use crate::model::{BlockedReason, Drift, ResourceId, Version};
use crate::record::last_pass::LastPass;
use crate::resource::{self, Context, Found, Spec};
use crate::status::{Known, ResourceStatus};

/// The release that somebody took out of use, and that is there still.
pub(super) fn taken_away<'a>(
    known: &Known<'a>,
    id: &ResourceId,
    (found, drift): (&'a Found, &[Drift]),
) -> Option<&'a str> {
    let last = known.ledger.inventory.resources.get(id)?.activated.last()?;
    let in_part = matches!(found, Found::Extension(found) if found.is_linked(last));
    let away = in_part || !drift.is_empty() || moves(known, id).is_some();
    let there = away && found.slots().contains(&last.as_str());
    there.then_some(last.as_str())
}

/// What is to be said of an app that is still where it was before its layout was edited.
pub(super) fn moves(known: &Known<'_>, id: &ResourceId) -> Option<String> {
    let spec = &known.desired.resources.get(id)?.spec;
    let left = spec.left(known.ledger.inventory.at(id, spec.home()));
    (!left.is_empty()).then(|| "its layout was edited; the next pass moves it".to_owned())
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

/// The version of a program that we put in place, whose release is where its app was by another name.
pub(super) fn placed(
    known: &Known<'_>,
    (id, spec): (&ResourceId, &Spec),
    found: &Found,
) -> Option<Version> {
    let owned = known.ledger.inventory.resources.get(id)?;
    let moved = owned.home != spec.home();
    let file = owned.in_place.as_ref()?.placed.as_deref().filter(|_| moved);
    let there = found.file_in_place().filter(|there| Some(*there) == file);
    there.and_then(|_| found.version_of(owned.activated.last()?, Some(spec)))
}

/// The drift that a pass would correct.
pub(super) fn drift(
    known: &Known<'_>,
    id: &ResourceId,
    declared: &Declared,
    found: &Found,
) -> Vec<Drift> {
    let owned = known.ledger.inventory.at(id, declared.spec.home());
    let context = Context {
        id,
        declared_at: "",
        owned,
        left: &declared.spec.left(owned),
        taken: &[],
        trust: &known.ledger.trust,
        debts: &[],
        facts: &known.observed.facts,
    };
    resource::drift(context, &declared.spec, found)
}

/// Whether what the last pass said of a resource is not so any more: another wish, or an operator who resumed it.
pub(super) fn outdated(known: &Known<'_>, id: &ResourceId) -> bool {
    let Some(last) = known.last else { return false };
    let wished = known.desired.resources.get(id);
    let other = wished.is_some_and(|declared| !last.is_about(id, &declared.spec));
    other || last.resumed.contains(id) || is_over(known, last, id)
}

/// Whether a suspension that a pass found is over.
fn is_over(known: &Known<'_>, last: &LastPass, id: &ResourceId) -> bool {
    let ended = last.blocked.iter().filter(|blocked| {
        blocked.reason == BlockedReason::Suspended && blocked.until.is_some_and(|u| u <= known.now)
    });
    ended.map(|blocked| &blocked.resource).any(|ended| ended == id)
}

/// What the next pass has to look at before anybody can say more.
pub(super) fn waiting(
    known: &Known<'_>,
    id: &ResourceId,
    spec: Option<&Spec>,
    status: &ResourceStatus,
) -> Option<String> {
    let is = |kind: &str| status.conditions.iter().find(|c| c.kind == kind);
    let (spec, version) = (spec?, status.version.as_ref()?);
    let stays = is("RolledBack").is_some();
    if !stays && !spec.accepts(version) {
        let why = is("Blocked").map_or("the next pass sees to that", |b| b.message.as_str());
        return Some(format!("{version} is in use, {} is wished; {why}", spec.requested()));
    }
    let last = known.last?;
    if last.resumed.contains(id) {
        return Some("it was resumed; the next pass follows the desired state".to_owned());
    }
    let was_stuck = last.wishes.contains_key(id) && outdated(known, id);
    was_stuck.then(|| "the next pass looks again".to_owned())
}
