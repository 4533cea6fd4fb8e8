//! Exit codes: the only place that knows them.

use std::process::ExitCode;

use crate::desired::{DesiredState, Selection};
use crate::model::outcome::{End, FailureClass, Outcome};
use crate::model::revision::TroubleKind;
use crate::model::{Blocked, BlockedReason, Plan};

/// How the program ended, in one number that scripts may rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Converged, or the answer was printed.
    Ok,
    /// At least one resource failed; the others were applied.
    Failed,
    /// Changes are pending; only with `--detailed-exitcode`.
    Pending,
    /// Nothing was done: suspended, waiting, or asked to stop.
    Deferred,
    /// The saved plan does not fit the host any more.
    Stale,
    /// A release did not work and the one before is in use again.
    RolledBack,
    /// A release did not work and going back failed: an operator must look.
    RollbackFailed,
    /// The command line is wrong.
    Usage,
    /// The desired state is invalid.
    Invalid,
    /// A source is unavailable and nothing usable is installed.
    Unavailable,
    /// The state directory or the host cannot be written.
    CannotWrite,
    /// Another pass holds the lock.
    Locked,
    /// Bytes were refused by verification.
    Refused,
    /// The agent's own configuration is invalid.
    Config,
}

impl Exit {
    /// The number, as the README lists it.
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Pending => 2,
            Self::Deferred => 3,
            Self::Stale => 5,
            Self::RolledBack => 6,
            Self::RollbackFailed => 7,
            Self::Usage => 64,
            Self::Invalid => 65,
            Self::Unavailable => 69,
            Self::CannotWrite => 73,
            Self::Locked => 75,
            Self::Refused => 77,
            Self::Config => 78,
        }
    }

    /// The exit with this number, as another process told it; a failure when it is none of ours.
    pub fn of_code(code: u8) -> Self {
        let all = [
            Self::Ok,
            Self::Pending,
            Self::Deferred,
            Self::Stale,
            Self::RolledBack,
            Self::RollbackFailed,
            Self::Usage,
            Self::Invalid,
            Self::Unavailable,
            Self::CannotWrite,
            Self::Locked,
            Self::Refused,
            Self::Config,
        ];
        all.into_iter().find(|exit| exit.code() == code).unwrap_or(Self::Failed)
    }

    /// When several apply, the one that needs an operator most.
    fn rank(self) -> u8 {
        match self {
            Self::RollbackFailed => 11,
            Self::Refused => 9,
            Self::RolledBack | Self::Failed => 8,
            Self::Stale => 7,
            Self::Unavailable => 6,
            Self::Deferred => 3,
            Self::Pending => 2,
            Self::Ok => 0,
            Self::Usage | Self::Invalid | Self::CannotWrite | Self::Locked | Self::Config => 10,
        }
    }

    /// The worse of two.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        if other.rank() > self.rank() { other } else { self }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// What blocked wishes mean for the exit code. A source that is down is not a failure where something is
/// installed: the host is as it was.
fn of_blocked(plan: &Plan) -> Exit {
    plan.blocked.iter().fold(Exit::Ok, |exit, blocked| {
        let installed = blocked.staying_on.is_some();
        exit.or(match blocked.reason {
            BlockedReason::SourceUnavailable | BlockedReason::RateLimited if installed => Exit::Ok,
            BlockedReason::SourceUnavailable | BlockedReason::RateLimited => Exit::Unavailable,
            BlockedReason::Waiting
            | BlockedReason::TooYoung
            | BlockedReason::Suspended
            | BlockedReason::Deferred
            | BlockedReason::Quarantined => Exit::Deferred,
            BlockedReason::Unverified | BlockedReason::Tampered => Exit::Refused,
            BlockedReason::NoVersion
            | BlockedReason::NoAsset
            | BlockedReason::Ambiguous
            | BlockedReason::Downgrade
            | BlockedReason::Foreign
            | BlockedReason::RolledBack
            | BlockedReason::MassRemoval
            | BlockedReason::CannotRun
            | BlockedReason::Stalled
            | BlockedReason::Fighting
            | BlockedReason::Unobservable => Exit::Failed,
        })
    })
}

/// What a plan that is only looked at means: that something waits or is suspended is an answer.
pub fn of_plan(plan: &Plan) -> Exit {
    match of_blocked(plan) {
        Exit::Deferred => Exit::Ok,
        exit => exit,
    }
}

/// What the wish itself means: a repository whose present state is refused, a host for which there is nothing.
pub fn of_wish(desired: &DesiredState) -> Exit {
    let trouble = desired.revision.as_ref().and_then(|revision| revision.trouble.as_ref());
    let trouble = match trouble.map(|trouble| trouble.kind) {
        None | Some(TroubleKind::Unreachable) => Exit::Ok,
        Some(TroubleKind::Refused) => Exit::Refused,
        Some(TroubleKind::Unusable) => Exit::Invalid,
    };
    match desired.selection {
        Selection::Nothing => trouble.or(Exit::Deferred),
        Selection::Whole | Selection::Part => trouble,
    }
}

/// What a whole pass means. Something that waits counts only when nothing was done.
pub fn of_pass(plan: &Plan, outcome: &Outcome) -> Exit {
    let done = outcome.results.iter().any(|result| result.end == End::Done);
    // A release that does not work here waits for somebody, whatever else was done.
    let known_bad = |blocked: &Blocked| blocked.reason == BlockedReason::Quarantined;
    let counts = !done || plan.blocked.iter().any(known_bad);
    let blocked = if counts { of_blocked(plan) } else { of_plan(plan) };
    blocked.or(of_outcome(outcome))
}

/// What the results of a pass mean for the exit code.
pub fn of_outcome(outcome: &Outcome) -> Exit {
    outcome.results.iter().fold(Exit::Ok, |exit, result| {
        exit.or(match &result.end {
            End::Done => Exit::Ok,
            End::Interrupted | End::Deferred => Exit::Deferred,
            End::RolledBack(_) => Exit::RolledBack,
            End::RollbackFailed(_) => Exit::RollbackFailed,
            End::Failed(failure) => match failure.class {
                FailureClass::Verification => Exit::Refused,
                FailureClass::Stale => Exit::Stale,
                FailureClass::Transient
                | FailureClass::Permanent
                | FailureClass::Unsuitable
                | FailureClass::Unhealthy => Exit::Failed,
            },
        })
    })
}
