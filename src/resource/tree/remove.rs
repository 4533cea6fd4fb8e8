//! What to do about a tree that is not wished any more; pure.

use std::fmt::Write;

use crate::model::ledger::{Debt, Owned};
use crate::model::plan::InUse;
use crate::model::step::ExchangeBy;
use crate::model::{Change, Digest, ResourceId, Step};
use crate::resource::decision::{forgive, removal};
use crate::resource::tree::TreeObserved;
use crate::resource::tree::layout::{Layout, is_adopted};
use crate::resource::tree::observe::Live;
use crate::resource::tree::spec::TreeLayout;

/// Removes what is ours and leaves everything else: a tree in which somebody keeps files of their own stays.
pub fn remove(id: &ResourceId, owned: &Owned, observed: &TreeObserved, debts: &[Debt]) -> Change {
    let layout = Layout::new(&owned.home);
    // One that was made for another resource, and did not come to this one by another name of the wish.
    let theirs = |slot: &str| {
        let head = observed.head(slot).filter(|head| head.resource != id.to_string());
        head.is_some() && !owned.activated.iter().any(|known| known == slot)
    };
    let foreign = observed.current.is_some() && staying(observed).is_some();
    let not_mine = observed.current.as_deref().is_some_and(theirs);
    let mut steps: Vec<Step> = Vec::new();
    if observed.current.is_some() && !foreign && !not_mine {
        steps.push(layout.remove(layout.path.clone()));
    }
    // What was there before us is not ours to remove.
    let (others, ours): (Vec<_>, Vec<_>) =
        observed.generations.keys().partition(|slot| is_adopted(slot));
    let made = |slot: &str| {
        observed.head(slot).is_some() || owned.activated.iter().any(|known| known == slot)
    };
    for slot in ours.into_iter().filter(|slot| made(slot) && !theirs(slot)) {
        let through_link = matches!(observed.live, Live::Link { .. });
        if !(foreign && through_link && observed.current.as_ref() == Some(slot)) {
            steps.push(layout.remove(layout.generation(slot)));
        }
    }
    steps.extend(observed.leftovers.iter().map(|name| layout.sweep(name)));
    let earlier = observed.earlier.keys().filter(|slot| made(slot) && !theirs(slot));
    steps.extend(earlier.map(|slot| layout.remove(layout.earlier().join(slot))));
    let own = [layout.generations(), layout.earlier(), layout.staging(), layout.kept()];
    for path in own.into_iter().chain([layout.beside()]) {
        steps.push(Step::RemoveEmpty { path });
    }
    steps.extend(forgive(id, debts));
    let mut change = removal(id, owned, before(observed), Digest::of_json(observed), steps);
    if let Some(why) = staying(observed).filter(|_| foreign) {
        change.reason.push_str("; the tree stays: ");
        change.reason.push_str(why);
    }
    if !observed.kept.is_empty() {
        let _ = write!(change.reason, "; {} stays, which somebody else made", layout.kept());
    }
    for slot in others {
        let place = layout.tree(slot);
        let _ = write!(change.reason, "; {place} stays, which somebody else made");
    }
    change
}

/// Why a tree is left where it is.
fn staying(observed: &TreeObserved) -> Option<&'static str> {
    match observed.extras {
        _ if !observed.mounts.is_empty() => Some("something is mounted in it"),
        Some(0) => None,
        Some(_) => Some("there are files of somebody else in it"),
        None => Some("what is ours in it cannot be told without the list of its nodes"),
    }
}

/// What is in use.
pub fn before(observed: &TreeObserved) -> Option<InUse> {
    let slot = observed.current.as_ref()?;
    let head = observed.head(slot)?;
    Some(InUse {
        version: head.version.clone(),
        tag: slot.clone(),
        digest: Some(head.index.clone()),
        evidence: Some(head.evidence.clone()),
        requested: None,
        floating: false,
    })
}

/// How a tree at a path is exchanged.
pub(super) fn exchange_by(layout: TreeLayout) -> ExchangeBy {
    match layout {
        TreeLayout::Exchange => ExchangeBy::Directory,
        TreeLayout::Link => ExchangeBy::Link,
        TreeLayout::InPlace => ExchangeBy::InPlace,
    }
}
