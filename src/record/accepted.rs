//! What the release in use of an app was made of, noted where losing its directory takes nothing.

use std::borrow::Cow;

use crate::model::ledger::{Accepted, Trust};
use crate::model::outcome::ChangeResult;
use crate::model::{Change, Manifest, ResourceId, Step};
use crate::record::commit::Pass;
use crate::resource::Found;

/// Notes what the release was made of that a change brought into use.
pub(super) fn note(
    trust: &mut Cow<'_, Trust>,
    pass: &Pass<'_>,
    (change, result): (&Change, &ChangeResult),
    slot: &str,
) {
    match made(change, result, slot) {
        Some(made) => drop(trust.to_mut().accepted.insert(change.resource.clone(), made)),
        None => note_slot(trust, pass, &change.resource, slot),
    }
}

/// What a change made a release of, where it did: the manifest says the same from the next pass on.
fn made(change: &Change, result: &ChangeResult, slot: &str) -> Option<Accepted> {
    let fetched = change.steps.iter().find_map(|step| match step {
        Step::Fetch { artifact, evidence, .. } => Some((artifact, evidence)),
        _ => None,
    });
    let unpacked = change.steps.iter().find_map(|step| match step {
        Step::Unpack { release, .. } => Some(release),
        _ => None,
    });
    let ((artifact, evidence), release) = fetched.zip(unpacked)?;
    Some(Accepted {
        slot: slot.to_owned(),
        tag: release.tag.clone(),
        recipe: release.recipe.clone(),
        artifact: artifact.name.clone(),
        digest: result.fetched.as_ref()?.digest.clone(),
        size: artifact.size,
        evidence: evidence.clone(),
    })
}

/// Notes what the release in use was made of where nobody did.
pub(super) fn note_found(trust: &mut Cow<'_, Trust>, pass: &Pass<'_>, id: &ResourceId) {
    let found = pass.observed.resources.get(id).and_then(|found| found.as_ref().ok());
    if let Some(slot) = found.and_then(Found::current) {
        note_slot(trust, pass, id, slot);
    }
}

fn note_slot(trust: &mut Cow<'_, Trust>, pass: &Pass<'_>, id: &ResourceId, slot: &str) {
    let found = pass.observed.resources.get(id).and_then(|found| found.as_ref().ok());
    let Some(Found::App(found)) = found else { return };
    let manifest = found.slots.get(slot).and_then(|slot| slot.manifest.as_deref());
    let Some(manifest) = manifest.filter(|manifest| !is_known(trust, id, slot, manifest)) else {
        return;
    };
    // What did not work here binds nobody.
    let digest = std::slice::from_ref(&manifest.digest);
    if trust.quarantine_of(id, &manifest.tag, digest).is_none() {
        trust.to_mut().accepted.insert(id.clone(), Accepted::of(slot, manifest));
    }
}

fn is_known(trust: &Trust, id: &ResourceId, slot: &str, manifest: &Manifest) -> bool {
    trust.accepted.get(id).is_some_and(|known| {
        (known.slot.as_str(), &known.digest, &known.recipe)
            == (slot, &manifest.digest, &manifest.recipe)
    })
}
