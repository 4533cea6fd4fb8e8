//! What the release in use was made of, noted where losing it takes nothing.

use std::borrow::Cow;

use crate::model::ledger::{Accepted, AcceptedImage, Trust};
use crate::model::outcome::ChangeResult;
use crate::model::{Algorithm, Change, Kind, Manifest, ResourceId, Step};
use crate::record::commit::Pass;
use crate::resource::Found;
use crate::resource::extension::ExtensionObserved;

/// Notes what the release was made of that a change brought into use.
pub(super) fn note(
    trust: &mut Cow<'_, Trust>,
    pass: &Pass<'_>,
    (change, result): (&Change, &ChangeResult),
    slot: &str,
) {
    if change.resource.kind == Kind::Extension {
        return note_images(trust, pass, &change.resource, (slot, made_images(change, result)));
    }
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

/// The images that a change made, as far as the digests of what they were made of are known.
fn made_images(change: &Change, result: &ChangeResult) -> Vec<AcceptedImage> {
    let pairs = change.steps.windows(2).filter_map(|pair| match pair {
        [Step::Fetch { artifact, evidence, .. }, Step::Place { image, .. }] => {
            Some((artifact, evidence, image))
        }
        _ => None,
    });
    let made = pairs.filter_map(|(artifact, evidence, image)| {
        let slot = image.version.to_string();
        let key = Trust::lock_key(&change.resource, &slot, &artifact.name);
        let fetched = result.fetched.as_ref().filter(|fetched| fetched.lock_key == key);
        let stated = evidence.digests.iter().find(|d| d.algorithm() == Algorithm::Sha256);
        let made = Accepted {
            tag: slot.clone(),
            slot,
            recipe: image.recipe.clone(),
            artifact: artifact.name.clone(),
            digest: stated.or(fetched.map(|fetched| &fetched.digest))?.clone(),
            size: artifact.size,
            evidence: evidence.clone(),
        };
        Some(AcceptedImage { path: image.path.clone(), made })
    });
    made.collect()
}

/// Notes what the images of a release were made of: those that were made now, those that are there, and of that release
/// those that are lost.
fn note_images(
    trust: &mut Cow<'_, Trust>,
    pass: &Pass<'_>,
    id: &ResourceId,
    (slot, mut images): (&str, Vec<AcceptedImage>),
) {
    let found = pass.observed.resources.get(id).and_then(|found| found.as_ref().ok());
    if let Some(Found::Extension(found)) = found {
        images.extend(images_there(found, slot));
    }
    let known = trust.accepted_images.get(id).map_or(&[][..], Vec::as_slice);
    images.extend(known.iter().filter(|image| image.made.slot == slot).cloned());
    images.sort_by(|a, b| a.path.cmp(&b.path));
    images.dedup_by(|later, first| later.path == first.path);
    let worked = |image: &AcceptedImage| {
        let digest = std::slice::from_ref(&image.made.digest);
        trust.quarantine_of(id, slot, digest).is_none()
    };
    // What did not work here binds nobody.
    if images.is_empty() || images.as_slice() == known || !images.iter().all(worked) {
        return;
    }
    trust.to_mut().accepted_images.insert(id.clone(), images);
}

/// What the images of a release say of themselves.
fn images_there(found: &ExtensionObserved, slot: &str) -> impl Iterator<Item = AcceptedImage> {
    let manifests = found.images(slot).flatten().filter_map(|image| image.manifest.as_deref());
    manifests.map(AcceptedImage::of).collect::<Vec<_>>().into_iter()
}

fn note_slot(trust: &mut Cow<'_, Trust>, pass: &Pass<'_>, id: &ResourceId, slot: &str) {
    let found = pass.observed.resources.get(id).and_then(|found| found.as_ref().ok());
    let found = match found {
        Some(Found::App(found)) => found,
        Some(Found::Extension(_)) => return note_images(trust, pass, id, (slot, Vec::new())),
        Some(Found::Tree(_)) | None => return,
    };
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
