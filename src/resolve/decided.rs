//! What stands above the wish: an operator's rollback or suspension, and what has been quarantined.

use jiff::Timestamp;

use crate::model::ledger::Pinned;
use crate::model::{BlockedReason, Digest, ResourceId};
use crate::resolve::Question;
use crate::resource::decision::{Problem, Resolution};
use crate::resource::{Found, SuspendWish};

/// An operator went back: the wish is not looked at until that ends. `keep` wants the release of a slot, `gone`
/// says what it means that it cannot be had, `name` is how people call a slot.
pub(super) fn rolled_back<W>(
    question: &Question<'_>,
    id: &ResourceId,
    name: impl Fn(&str) -> String,
    keep: impl Fn(&str, Option<String>) -> Option<W>,
    gone: impl Fn(&str) -> String,
) -> Option<Result<Resolution<W>, Problem>> {
    let pinned = question.ledger.overrides.pinned.get(id);
    let pinned = pinned.filter(|p| p.holds(question.now))?;
    let to = name(&pinned.slot);
    if let Some(problem) = failed_since(question, id, (pinned, &to)) {
        return Some(Err(problem));
    }
    let until = pinned.until;
    let until = until.map_or_else(|| format!("`reconcile resume {id}`"), |until| until.to_string());
    Some(match keep(&pinned.slot, Some(pinned.reason.clone())) {
        Some(wanted) => {
            let note = format!("rolled back to {to} until {until}: {}", pinned.reason);
            Ok(Resolution { wanted: Some(wanted), problem: None, notes: vec![note] })
        }
        None => Err(Problem {
            reason: BlockedReason::RolledBack,
            message: format!(
                "rolled back to {to} until {until} ({}), but {}; `reconcile resume {id}` follows the \
                 desired state again",
                pinned.reason,
                gone(&to)
            ),
            until: pinned.until,
        }),
    })
}

/// Why the release that an operator went back to is left: since then it was found not to work, and every pass would find
/// that again.
fn failed_since(
    question: &Question<'_>,
    id: &ResourceId,
    (pinned, to): (&Pinned, &str),
) -> Option<Problem> {
    let found = question.observed.resources.get(id).and_then(|found| found.as_ref().ok());
    if found.is_some_and(|found| found.current() == Some(&pinned.slot)) {
        return None;
    }
    let made_from = found.and_then(|found| found.made_from(&pinned.slot));
    let digests: Vec<Digest> = made_from.map(|(digest, _)| digest.clone()).into_iter().collect();
    let tag = Found::tag_of(&pinned.slot);
    let mut failed = question.ledger.trust.quarantined.iter();
    let failed = failed.find(|q| q.since >= pinned.since && q.is(id, &tag, &digests))?;
    Some(Problem {
        reason: BlockedReason::Quarantined,
        message: format!(
            "rolled back to {to} ({}), which failed its check then: {}. `reconcile rollback {id}` insists, `reconcile \
             resume {id}` follows the desired state again",
            pinned.reason, failed.reason
        ),
        until: pinned.until,
    })
}

/// What it means that the release an operator went back to cannot be had.
pub(super) fn gone_or_damaged(to: &str) -> String {
    format!(
        "{to} is gone or damaged, and what it was made from is not known any more or not in the cache"
    )
}

/// What is said where the release that an operator went back to is had from its source once more.
pub(super) fn fetched_again(to: &str, pinned: &Pinned) -> String {
    format!(
        "rolled back to {to} ({}), which is not whole here any more: it is fetched again",
        pinned.reason
    )
}

/// Why a release with these digests is not used again: it was, and it did not work.
pub(super) fn quarantined(
    question: &Question<'_>,
    id: &ResourceId,
    tag: &str,
    digests: &[Digest],
) -> Option<Problem> {
    let found = question.ledger.trust.quarantine_of(id, tag, digests)?;
    let since = found.since.round(jiff::Unit::Second).unwrap_or(found.since);
    Some(Problem {
        reason: BlockedReason::Quarantined,
        message: format!(
            "{tag} was switched back at {since}: {}. It is not used again until its bytes change; \
             `reconcile resume {id}` lifts that",
            found.reason
        ),
        until: None,
    })
}

/// Why a resource is left alone, by the desired state or by an operator.
pub(super) fn suspended(
    question: &Question<'_>,
    id: &ResourceId,
    wish: Option<&SuspendWish>,
) -> Option<Problem> {
    let wished = wish.map(|s| (s.reason.as_str(), s.until, "the desired state"));
    let order = question.ledger.overrides.suspended.get(id);
    let ordered = order.map(|s| (s.reason.as_str(), s.until, "an operator"));
    let holds = |until: Option<Timestamp>| until.is_none_or(|until| question.now < until);
    let (reason, until, by) =
        wished.into_iter().chain(ordered).find(|(_, until, _)| holds(*until))?;
    Some(Problem {
        reason: BlockedReason::Suspended,
        message: format!("suspended by {by}: {reason}"),
        until,
    })
}
