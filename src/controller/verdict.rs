//! What a pass means for each resource's next attempt.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::model::outcome::{End, FailureClass, Outcome};
use crate::model::{Attribution, Blocked, BlockedReason, Change, Plan, ResourceId};
use crate::plan::hold::{Stalled, fingerprint};

/// What is to be expected of a resource's next attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is nothing to try again.
    Well,
    /// Trying again may help.
    Again {
        /// Not before then, where that is known.
        not_before: Option<Timestamp>,
    },
    /// Trying the same again will not help.
    Stalled(Stalled),
    /// It was not tried: the pass was cut off.
    Untried,
}

/// Judges every resource of a pass.
pub fn judge(plan: &Plan, outcome: &Outcome) -> BTreeMap<ResourceId, Verdict> {
    let unchanged = plan.unchanged.iter().map(|u| (u.resource.clone(), Verdict::Well));
    let blocked = plan.blocked.iter().map(|b| (b.resource.clone(), of_blocked(b)));
    let mut verdicts: BTreeMap<ResourceId, Verdict> = unchanged.chain(blocked).collect();
    for (change, result) in plan.changes.iter().zip(&outcome.results) {
        let verdict = of_end(change, &result.end);
        // A wish that is blocked stays so when what could be done besides went well.
        let known = verdicts.get(&change.resource);
        if verdict != Verdict::Well || known.is_none() {
            verdicts.insert(change.resource.clone(), verdict);
        }
    }
    verdicts
}

fn of_blocked(blocked: &Blocked) -> Verdict {
    let again = || Verdict::Again { not_before: blocked.until };
    match blocked.reason {
        BlockedReason::SourceUnavailable
        | BlockedReason::RateLimited
        | BlockedReason::Unobservable => again(),
        // What it waits for is in the desired state, at the source or in time: every pass looks for it.
        _ => Verdict::Well,
    }
}

fn of_end(change: &Change, end: &End) -> Verdict {
    match end {
        End::Done => Verdict::Well,
        End::Interrupted => Verdict::Untried,
        // The next plan says until when.
        End::Deferred => Verdict::Again { not_before: None },
        End::Failed(failure) | End::RolledBack(failure) | End::RollbackFailed(failure) => {
            match failure.class {
                FailureClass::Transient | FailureClass::Stale => {
                    Verdict::Again { not_before: None }
                }
                FailureClass::Verification
                | FailureClass::Unsuitable
                | FailureClass::Unhealthy
                | FailureClass::Permanent => {
                    let message = failure.message.clone();
                    Verdict::Stalled(Stalled { change: fingerprint(change), message })
                }
            }
        }
    }
}

/// Changes of a pass that put right what somebody else had changed.
pub fn corrections<'a>(plan: &'a Plan, outcome: &'a Outcome) -> impl Iterator<Item = &'a Change> {
    let ended = plan.changes.iter().zip(&outcome.results);
    let corrected = ended.filter(|(change, result)| {
        change.attribution == Attribution::DriftCorrected && result.end == End::Done
    });
    corrected.map(|(change, _)| change)
}

/// The first moment at which something of a plan may go on that was made in a pass that began at a moment.
pub fn first_until(plan: &Plan, began: Timestamp) -> Option<Timestamp> {
    let times = plan.blocked.iter().filter_map(|blocked| blocked.until);
    times.filter(|until| *until > began).min()
}
