//! What to do about an extension that is not wished any more; pure.

use crate::model::extension::LinkTo;
use crate::model::ledger::{Debt, Owned};
use crate::model::plan::InUse;
use crate::model::{Change, Digest, Effect, ResourceId, Step};
use crate::resource::decision::{forgive, removal};
use crate::resource::extension::ExtensionObserved;
use crate::resource::extension::layout::{class_at, hidden};
use crate::resource::extension::observe::{ImageSeen, TransferObserved};
use crate::resource::extension::pick::Picks;
use crate::resource::extension::plan::only;
use crate::resource::extension::steps::{is_in_sight, take_away};
use crate::resource::extension::theirs::{list, theirs};

/// Takes away links that lead to images of ours, merges what is left, and removes the images. Everything else
/// stays. Effects are only run on the running system.
pub fn remove(
    id: &ResourceId,
    owned: &Owned,
    observed: &ExtensionObserved,
    (debts, live): (&[Debt], bool),
) -> Change {
    let mut links = Vec::new();
    let (mut picks, mut removals) = (Picks::default(), Vec::new());
    let (mut classes, mut stays) = (Vec::new(), String::new());
    for transfer in &observed.transfers {
        let ours = transfer.linked_image().is_some();
        if let Some(link) = transfer.link.as_ref().filter(|_| ours) {
            let now = transfer.there.text().map(str::to_owned);
            links.push(LinkTo { link: link.clone(), text: None, expects: Some(now) });
        }
        for (version, image) in transfer.images.iter().filter(|(_, image)| image.manifest.is_some())
        {
            if is_in_sight(transfer, image) {
                classes.extend(class_at(&transfer.directory, None));
            }
            picks.hide_all(transfer, std::iter::once(image));
            let theirs: Vec<&str> = theirs(image).collect();
            if !theirs.is_empty() {
                stays.push_str(&stays_with(transfer, image, (&theirs, &picks)));
                continue;
            }
            removals.extend(take_away(transfer, (version, image), &picks));
        }
    }
    // A pass that was cut off after the links were gone owes the refresh still.
    let effects = debts.iter().map(|debt| debt.effect.clone());
    let mut refreshes: Vec<Effect> =
        effects.filter(|effect| matches!(effect, Effect::Refresh { .. })).collect();
    classes.extend(links.iter().filter_map(|link| class_at(&link.link, Some(&link.link))));
    classes.sort();
    for class in classes {
        let refresh = Effect::Refresh { class };
        if !refreshes.contains(&refresh) {
            refreshes.push(refresh);
        }
    }
    refreshes.retain(|_| live);
    let mut steps = Vec::new();
    steps.extend(refreshes.iter().map(|effect| Step::Owe { effect: effect.clone() }));
    steps.extend(picks.step(""));
    if !links.is_empty() {
        steps.push(Step::Point { slot: String::new(), links });
    }
    steps.extend(refreshes.iter().map(|effect| Step::Settle { effect: effect.clone() }));
    steps.extend(removals);
    steps.push(Step::RemoveEmpty { path: owned.home.clone() });
    steps.extend(forgive(id, debts.iter().filter(|debt| !refreshes.contains(&debt.effect))));
    let mut change = removal(id, owned, before(observed), Digest::of_json(observed), steps);
    change.reason.push_str(&stays);
    change
}

/// Says that an image stays as it is no more what was put there.
fn stays_with(
    transfer: &TransferObserved,
    image: &ImageSeen,
    (theirs, picks): (&[&str], &Picks),
) -> String {
    let aside = hidden(&transfer.directory, &image.file);
    let place = if picks.hides(&aside) { aside } else { transfer.path_of(image) };
    match theirs {
        [only] if transfer.path_of(image) == **only => {
            format!("; {place} stays, which somebody changed")
        }
        _ => format!("; {place} stays, in which somebody changed {}", list(theirs)),
    }
}

/// What is in use.
pub fn before(observed: &ExtensionObserved) -> Option<InUse> {
    let slot = observed.current.as_deref()?;
    let manifest = observed.manifest(slot);
    Some(InUse {
        version: observed.version_of(slot)?,
        tag: slot.to_owned(),
        digest: only(observed.digests(slot)),
        evidence: manifest.map(|m| m.evidence.clone()),
        requested: None,
        floating: false,
    })
}
