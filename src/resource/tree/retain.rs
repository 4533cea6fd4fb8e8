//! Which old generations of a tree are not kept; pure.

use std::cmp::Reverse;

use crate::model::ledger::Owned;
use crate::resource::tree::layout::is_adopted;
use crate::resource::tree::{TreeObserved, TreeSpec};

/// Names of generations to remove once `in_use` is the one in use: older than the `retain` most recently
/// activated. One that is `dropped` does not count. Nothing when it is not known what is in use.
pub(super) fn surplus(
    spec: &TreeSpec,
    observed: &TreeObserved,
    owned: Option<&Owned>,
    (in_use, dropped): (Option<&str>, Option<&str>),
) -> Vec<String> {
    let Some(in_use) = in_use else { return Vec::new() };
    let activated = |slot: &str| {
        owned.and_then(|owned| owned.activated.iter().rposition(|s| s.as_str() == slot))
    };
    let mut others: Vec<&String> = observed
        .generations
        .keys()
        .filter(|slot| {
            let left_now = observed.current.as_ref() == Some(*slot);
            let counts = slot.as_str() != in_use && Some(slot.as_str()) != dropped;
            // What somebody put among them is not ours to count, still less to remove.
            let made = observed.head(slot).is_some() || activated(slot).is_some();
            let counts = counts && made && !is_adopted(slot);
            counts
                && (left_now
                    || observed
                        .generations
                        .get(*slot)
                        .is_some_and(|g| g.tree.is_some() && !g.is_part()))
        })
        .collect();
    others.sort_by_key(|slot| {
        let left_now = observed.current.as_ref() == Some(*slot);
        let staged = observed.head(slot).map(|head| head.staged_at);
        Reverse((left_now, activated(slot), staged, (*slot).clone()))
    });
    let kept = spec.retain.saturating_sub(1) as usize;
    let mut surplus: Vec<String> = others.into_iter().skip(kept).cloned().collect();
    surplus.sort();
    surplus
}
