//! Refusals to touch what is somebody else's, and to fetch what systemd here cannot use; pure.

use crate::format::extension_release::CONFEXT_SINCE;
use crate::format::sysext::VERSIONED_SINCE;
use crate::model::{BlockedReason, ExtensionClass, ResourceId};
use crate::resource::decision::{Problem, SlotState};
use crate::resource::extension::observe::{Namesake, TransferObserved};
use crate::resource::extension::spec::Transfer;

/// Refuses what the systemd of this host does not know at all: nothing that a source offers would change that.
pub(super) fn refuse_unknown(transfer: &Transfer, systemd: Option<u32>) -> Result<(), Problem> {
    let Some((class, systemd)) = transfer.class.zip(systemd) else { return Ok(()) };
    let confext = class == ExtensionClass::Confext && systemd < CONFEXT_SINCE;
    let message = if confext {
        format!(
            "systemd {systemd} knows no configuration extensions, which came with {CONFEXT_SINCE}"
        )
    } else if transfer.is_versioned() && systemd < VERSIONED_SINCE {
        format!(
            "systemd {systemd} picks no image of {}, which came with {VERSIONED_SINCE}; have the image in use linked \
             (`layout: link`, `CurrentSymlink=`)",
            transfer.directory
        )
    } else {
        return Ok(());
    };
    Err(Problem { reason: BlockedReason::CannotRun, message, until: None })
}

/// Refuses a name that somebody else's extension has: systemd merges one of them and says nothing of the other.
pub(super) fn refuse_namesake(
    id: &ResourceId,
    transfer: &Transfer,
    seen: &TransferObserved,
    (file, slot): (&str, &str),
) -> Result<(), Problem> {
    let same = |other: &&Namesake| other.version.as_deref().is_none_or(|version| version == slot);
    let left = |other: &&Namesake| {
        let mut former = seen.former_of(id);
        former.any(|former| former.path.parent() == Some(&other.path))
    };
    let Some(other) = seen.namesakes.iter().filter(same).find(|other| !left(other)) else {
        return Ok(());
    };
    let ours = transfer.link.clone().unwrap_or_else(|| seen.directory.join(file));
    Err(Problem::foreign(format!(
        "{} is an extension of the same name as {ours} and was not put there by reconcile; systemd merges only one of \
         them; move it away, or give this one another name",
        other.path
    )))
}

/// Refuses what somebody else has at the place of an image.
pub(super) fn refuse_foreign(
    seen: &TransferObserved,
    file: &str,
    state: &SlotState,
) -> Result<(), Problem> {
    let place = seen.directory.join(file);
    if let Some(kind) = seen.in_the_way.get(file) {
        return Err(Problem::foreign(format!(
            "{place} is a {kind} that reconcile did not put there; move it away"
        )));
    }
    if *state == SlotState::Foreign {
        return Err(Problem::foreign(format!(
            "{place} exists, but reconcile did not make it and nothing uses it; move it away"
        )));
    }
    Ok(())
}
