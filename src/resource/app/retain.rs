//! Which old releases of an app are not kept; pure.

use std::cmp::Reverse;

use crate::model::ledger::Owned;
use crate::model::slot::tag_of_slot;
use crate::resource::app::{AppObserved, AppSpec};

/// Names of release directories to remove once `in_use` is the release in use: ours, older than the
/// `retain` most recently activated, not protected. Nothing when it is not known what is in use.
pub fn surplus(
    spec: &AppSpec,
    observed: &AppObserved,
    owned: Option<&Owned>,
    in_use: Option<&str>,
) -> Vec<String> {
    let Some(in_use) = in_use else { return Vec::new() };
    let activated = |slot: &str| {
        owned.and_then(|owned| owned.activated.iter().rposition(|s| s.as_str() == slot))
    };
    let adopted = observed.adopted(owned, &spec.version.tag);
    let mut ours: Vec<&String> = observed
        .slots
        .iter()
        .filter(|(name, slot)| {
            let adopted = adopted.contains(name);
            (adopted || slot.manifest.is_some()) && name.as_str() != in_use
        })
        .map(|(name, _)| name)
        .collect();
    ours.sort_by_key(|name| {
        let staged =
            observed.slots.get(*name).and_then(|s| s.manifest.as_ref()).map(|m| m.staged_at);
        let left_now = observed.current() == Some(name.as_str());
        Reverse((left_now, activated(name), staged, (*name).clone()))
    });
    let protected = |name: &str| {
        let version = spec.version.tag.version(&tag_of_slot(name));
        version.is_some_and(|version| spec.protect.contains(&version))
    };
    let others_kept = spec.retain.saturating_sub(1) as usize;
    let mut surplus: Vec<String> =
        ours.into_iter().skip(others_kept).filter(|name| !protected(name)).cloned().collect();
    surplus.sort();
    surplus
}
