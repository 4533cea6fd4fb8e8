//! What to do about an app that is not wished any more; pure.

use std::collections::BTreeSet;

use camino::Utf8PathBuf;

use crate::model::ledger::Owned;
use crate::model::manifest::MANIFEST_NAME;
use crate::model::plan::InUse;
use crate::model::slot::tag_of_slot;
use crate::model::{Change, Digest, DriftKind, ResourceId, Step};
use crate::resource::Context;
use crate::resource::app::AppObserved;
use crate::resource::app::layout::Layout;
use crate::resource::app::left::{self, Going};
use crate::resource::app::observe::{DRIFT_MAX, Slot};
use crate::resource::decision::{forgive, removal};

/// Removes what is ours and leaves everything else. Where nothing of ours is there any more (an earlier
/// pass was cut off, or somebody was faster), it still ends that the app is ours. A file stays where another resource is
/// to be.
pub fn remove(context: &Context<'_>, owned: &Owned, observed: &AppObserved) -> Change {
    let Context { id, debts, taken, .. } = *context;
    let layout = Layout::new(&owned.home);
    let mut steps: Vec<Step> = Vec::new();
    let mine = |name: &str| is_mine(name, id, owned, observed);
    let theirs = |slot: &str| not_ours(slot, id, owned, observed);
    let links = left::links(observed, |slot| !theirs(slot));
    let mut going = Going::default();
    going.stays.extend(foreign(observed, &links).map(|name| layout.bin().join(name)));
    if observed.bin.as_ref().is_some_and(|bin| bin.immovable().is_some()) {
        // What cannot be carried along stays where it is, and the links go one after another.
        let gone = links.iter().map(|(name, text)| (layout.bin().join(name), text));
        steps.extend(gone.map(|(link, text)| Step::remove_link(link, text)));
    } else if !links.is_empty() {
        // Not a removal of the directory: what somebody puts there meanwhile is carried along.
        steps.push(Step::Switch {
            bin: layout.bin(),
            beside: layout.staged_bin(),
            release: layout.releases(),
            links: Some(Vec::new()),
            expects: Some(links),
        });
    }
    for file in observed.file.iter().chain(&observed.left) {
        // Only what was put there is looked at; what is not of any release of ours is somebody else's by now.
        let ours = file.slot.as_ref().is_some_and(|slot| !theirs(slot));
        let mut known = owned.in_place.iter().chain(&owned.left.files);
        let known = known.find(|known| known.placed.as_ref() == Some(&file.path));
        going.add(ours.then(|| file.path.clone()), (file, known));
    }
    going.spare(taken);
    steps.extend(std::mem::take(&mut going.steps));
    for (name, slot) in observed.slots.iter().filter(|(name, _)| mine(name)) {
        let foreign = added(slot);
        steps.extend(release(&layout, (name, slot), &foreign));
        going.stays.extend(foreign);
    }
    for name in &observed.leftovers {
        steps.push(layout.sweep(name));
    }
    for path in [layout.releases(), layout.staging(), layout.bin(), layout.home.clone()] {
        steps.push(Step::RemoveEmpty { path });
    }
    steps.extend(forgive(id, debts));
    let mut change = removal(id, owned, before(observed), Digest::of_json(observed), steps);
    going.tell(&mut change.reason);
    change
}

/// What a release directory holds that is not of the release; one that was there before us goes as a whole.
pub(super) fn added(slot: &Slot) -> Vec<Utf8PathBuf> {
    let made = slot.manifest.is_some();
    let added = slot.drift.iter().filter(|drift| made && drift.kind == DriftKind::Extra);
    added.map(|drift| Utf8PathBuf::from(&drift.path)).collect()
}

/// Removes a release, as a whole or all around what somebody put into its directory. The manifest goes last: until then
/// a pass that was cut off is gone on with.
fn release(layout: &Layout, (name, slot): (&str, &Slot), foreign: &[Utf8PathBuf]) -> Vec<Step> {
    let place = layout.slot(name);
    let manifest = slot.manifest.as_ref().filter(|_| !foreign.is_empty());
    let Some(manifest) = manifest else { return vec![layout.remove(place)] };
    if slot.drift.len() >= DRIFT_MAX {
        // There is more than anybody knows of.
        return Vec::new();
    }
    let mut gone: BTreeSet<Utf8PathBuf> = BTreeSet::new();
    for entry in &manifest.entries {
        let path = place.join(&entry.path);
        let holds_foreign = foreign.iter().any(|foreign| foreign.starts_with(&path));
        // Parents come before their children.
        let goes_along = path.ancestors().any(|above| gone.contains(above));
        if !holds_foreign && !goes_along {
            gone.insert(path);
        }
    }
    let manifest = place.join(MANIFEST_NAME);
    gone.into_iter().chain([manifest]).map(Step::remove).collect()
}

/// The entries of `bin` that are not among these links.
fn foreign<'a>(
    observed: &'a AppObserved,
    ours: &'a [(String, String)],
) -> impl Iterator<Item = &'a String> {
    let bin = observed.bin.iter();
    let names = bin.flat_map(|bin| bin.links.keys().chain(bin.others.keys()));
    names.filter(|name| !ours.iter().any(|(ours, _)| ours == *name))
}

/// Whether a release was made for this resource, or came to it by another name of the wish.
pub(super) fn is_mine(name: &str, id: &ResourceId, owned: &Owned, observed: &AppObserved) -> bool {
    let manifest = observed.slots.get(name).and_then(|slot| slot.manifest.as_ref());
    let made = manifest.is_some_and(|manifest| manifest.resource == id.to_string());
    let known = |names: &[String]| names.iter().any(|known| known == name);
    made || known(&owned.adopted) || manifest.is_some() && known(&owned.activated)
}

/// Whether a release was made for another resource.
pub(super) fn not_ours(name: &str, id: &ResourceId, owned: &Owned, observed: &AppObserved) -> bool {
    let made = observed.slots.get(name).is_some_and(|slot| slot.manifest.is_some());
    made && !is_mine(name, id, owned, observed)
}

/// What is in use.
pub fn before(observed: &AppObserved) -> Option<InUse> {
    let slot = observed.current()?;
    let manifest = observed.slots.get(slot)?.manifest.as_ref();
    Some(InUse {
        version: manifest
            .map(|m| m.version.clone())
            .or_else(|| tag_of_slot(slot).trim_start_matches('v').parse().ok())?,
        tag: tag_of_slot(slot),
        digest: manifest.map(|m| m.digest.clone()),
        evidence: manifest.map(|m| m.evidence.clone()),
        requested: None,
        floating: false,
    })
}
