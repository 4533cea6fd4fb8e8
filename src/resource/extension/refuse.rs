//! Refusals to touch what is somebody else's; pure.

use crate::model::BlockedReason;
use crate::resource::decision::Problem;
use crate::resource::extension::ExtensionSpec;
use crate::resource::extension::observe::{Namesake, TransferObserved};
use crate::resource::extension::order::Order;
use crate::resource::extension::spec::Transfer;
use crate::resource::extension::wanted::WantedSet;

/// Refuses a name that somebody else's extension has: systemd merges one of them and says nothing of the other.
pub(super) fn refuse_namesake(
    transfer: &Transfer,
    seen: &TransferObserved,
    (file, slot): (&str, &str),
) -> Result<(), Problem> {
    let same = |other: &&Namesake| other.version.as_deref().is_none_or(|version| version == slot);
    let Some(other) = seen.namesakes.iter().find(same) else { return Ok(()) };
    let ours = transfer.link.clone().unwrap_or_else(|| seen.directory.join(file));
    Err(Problem::foreign(format!(
        "{} is an extension of the same name as {ours} and was not put there by reconcile; systemd merges only one of \
         them; move it away, or give this one another name",
        other.path
    )))
}

/// Refuses what is at the place of an image.
pub(super) fn foreign(seen: &TransferObserved, file: &str) -> Problem {
    Problem::foreign(format!(
        "{} exists, but reconcile did not make it and nothing uses it; move it away",
        seen.directory.join(file)
    ))
}

/// Refuses an older image than the newest of a directory from which systemd picks the newest: it would not be used.
pub(super) fn refuse_older(
    spec: &ExtensionSpec,
    current: Option<&str>,
    wanted: &WantedSet,
) -> Result<(), Problem> {
    let picked = spec.follows.is_none() && spec.transfers.iter().all(|t| t.link.is_none());
    let Some((current, transfer)) = current.zip(spec.transfers.first()).filter(|_| picked) else {
        return Ok(());
    };
    let order = Order::of(spec.order, [current, wanted.slot.as_str()].into_iter());
    if order.compare(current, &wanted.slot).is_le() {
        return Ok(());
    }
    let (directory, slot) = (&transfer.directory, &wanted.slot);
    Err(Problem {
        reason: match wanted.rolled_back {
            Some(_) => BlockedReason::RolledBack,
            None => BlockedReason::Downgrade,
        },
        message: format!(
            "systemd picks the newest image of {directory}, which is {current}, so that {slot} would not be used; \
             write `layout: link` to be able to go back"
        ),
        until: None,
    })
}
