//! What to do about an extension that is not wished any more; pure.

use crate::model::extension::LinkTo;
use crate::model::ledger::{Debt, Owned};
use crate::model::plan::InUse;
use crate::model::{Change, Digest, Effect, ResourceId, Step};
use crate::resource::decision::{forgive, removal};
use crate::resource::extension::ExtensionObserved;
use crate::resource::extension::steps::take_away;

/// Takes away links that lead to images of ours, merges what is left, and removes the images. Everything else
/// stays. Effects are only run on the running system.
pub fn remove(
    id: &ResourceId,
    owned: &Owned,
    observed: &ExtensionObserved,
    (debts, live): (&[Debt], bool),
) -> Change {
    let mut links = Vec::new();
    let mut removals = Vec::new();
    for transfer in &observed.transfers {
        let ours = transfer.linked_image().is_some();
        if let Some(link) = transfer.link.as_ref().filter(|_| ours) {
            let now = transfer.there.text().map(str::to_owned);
            links.push(LinkTo { link: link.clone(), text: None, expects: Some(now) });
        }
        for image in transfer.images.values().filter(|image| image.manifest.is_some()) {
            removals.extend(take_away(transfer, image));
        }
    }
    let class = observed.transfers.iter().find_map(|transfer| {
        transfer.images.values().find_map(|image| image.manifest.as_ref().map(|m| m.class))
    });
    // A pass that was cut off after the links were gone owes the refresh still.
    let is_refresh = |debt: &&Debt| matches!(debt.effect, Effect::Refresh { .. });
    let refresh = match debts.iter().find(is_refresh) {
        Some(debt) => Some(debt.effect.clone()),
        None => class.filter(|_| !links.is_empty()).map(|class| Effect::Refresh { class }),
    };
    let refresh = refresh.filter(|_| live);
    let mut steps = Vec::new();
    steps.extend(refresh.iter().map(|effect| Step::Owe { effect: effect.clone() }));
    if !links.is_empty() {
        steps.push(Step::Point { slot: String::new(), links });
    }
    steps.extend(refresh.iter().map(|effect| Step::Settle { effect: effect.clone() }));
    steps.extend(removals);
    steps.push(Step::RemoveEmpty { path: owned.home.clone() });
    steps.extend(forgive(id, debts.iter().filter(|debt| Some(&debt.effect) != refresh.as_ref())));
    removal(id, owned, before(observed), Digest::of_json(observed), steps)
}

/// What is in use.
pub fn before(observed: &ExtensionObserved) -> Option<InUse> {
    let slot = observed.current.as_deref()?;
    let manifest = observed.manifest(slot);
    Some(InUse {
        version: observed.version_of(slot)?,
        tag: slot.to_owned(),
        digest: manifest.map(|m| m.digest.clone()),
        evidence: manifest.map(|m| m.evidence.clone()),
        requested: None,
        floating: false,
    })
}
