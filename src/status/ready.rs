//! How a resource is, in one word and one sentence.

use crate::model::ResourceId;
use crate::record::last_pass::{INTERRUPTED, WINDOW_CLOSED};
use crate::resource::Spec;
use crate::status::seen::{moves, outdated, waiting};
use crate::status::{Condition, Known, ResourceStatus, State, WAITING, holds};

/// The summary: what went wrong says most, then what nobody is to be kept as wished, then how far that is.
pub(super) fn ready(
    known: &Known<'_>,
    id: &ResourceId,
    spec: Option<&Spec>,
    status: &ResourceStatus,
) -> (State, Condition) {
    broken(known, id, status)
        .or_else(|| left_alone(known, id, spec, status))
        .unwrap_or_else(|| progress(known, id, spec, status))
}

/// Why a resource is not as wished.
fn not(state: State, reason: &str, message: String) -> (State, Condition) {
    let condition = Condition { status: "False".to_owned(), ..holds("Ready", reason, message) };
    (state, condition)
}

/// What could not be looked at, or was not done.
fn broken(
    known: &Known<'_>,
    id: &ResourceId,
    status: &ResourceStatus,
) -> Option<(State, Condition)> {
    let failed = known.last.and_then(|last| last.failed.get(id));
    let stuck = status.last_change.as_ref().is_some_and(|c| c.result == "rollback-failed");
    if let Some(message) = failed.filter(|_| stuck) {
        return Some(not(State::Inconsistent, "RollbackFailed", message.clone()));
    }
    if let Some(Err(message)) = known.observed.resources.get(id) {
        return Some(not(State::Failed, "Unobservable", message.clone()));
    }
    let message = failed.filter(|_| !outdated(known, id))?;
    Some(if message == INTERRUPTED {
        // A pass that was asked to stop failed at nothing.
        not(State::InProgress, "Interrupted", "the next pass goes on".to_owned())
    } else if message == WINDOW_CLOSED {
        not(State::InProgress, "Deferred", message.clone())
    } else {
        not(State::Failed, "ApplyFailed", message.clone())
    })
}

/// What nothing is done about, or which is only taken away.
fn left_alone(
    known: &Known<'_>,
    id: &ResourceId,
    spec: Option<&Spec>,
    status: &ResourceStatus,
) -> Option<(State, Condition)> {
    if let Some(condition) = status.condition("Suspended") {
        return Some(not(State::Suspended, "Suspended", condition.message.clone()));
    }
    let Some(spec) = spec else {
        if let Some(kept) = not_read(known, id) {
            return Some(not(State::Suspended, "NotRead", kept));
        }
        let (state, reason, why) = leaving(status.condition("Blocked"));
        return Some(not(state, reason, why.to_owned()));
    };
    let why = spec.why_off()?;
    Some((State::Current, holds("Ready", "Off", why.to_owned())))
}

/// How far what is wished and looked after is.
fn progress(
    known: &Known<'_>,
    id: &ResourceId,
    spec: Option<&Spec>,
    status: &ResourceStatus,
) -> (State, Condition) {
    let is = |kind: &str| status.condition(kind);
    if let Some(moves) = moves(known, id).filter(|_| is("Blocked").is_none()) {
        return not(State::InProgress, WAITING, moves);
    }
    if status.version.is_none() {
        let why =
            is("Blocked").map_or("the next pass installs it".to_owned(), |b| b.message.clone());
        let state = if is("Blocked").is_some() { State::Failed } else { State::InProgress };
        return not(state, "NotInstalled", why);
    }
    // What a pass leaves alone stays as it is, however it drifted.
    let given_up =
        is("Blocked").filter(|b| matches!(b.reason.as_str(), "Stalled" | "Fighting" | "Foreign"));
    if let Some(condition) = given_up {
        return not(State::Stalled, &condition.reason.clone(), condition.message.clone());
    }
    for kind in ["Drifted", "ActionPending"] {
        if let Some(condition) = is(kind) {
            return not(State::InProgress, kind, condition.message.clone());
        }
    }
    // A source that is down, or a release that is waited for, takes nothing from what is installed.
    let blocked =
        is("Blocked").filter(|b| !matches!(b.reason.as_str(), "SourceUnavailable" | "RateLimited"));
    if let Some(condition) = blocked {
        // Time alone changes these; the others need somebody.
        let passes = matches!(condition.reason.as_str(), "Waiting" | "TooYoung" | "Deferred");
        let state = if passes { State::InProgress } else { State::Stalled };
        return not(state, &condition.reason.clone(), condition.message.clone());
    }
    if let Some(why) = waiting(known, id, spec, status) {
        return not(State::InProgress, WAITING, why);
    }
    let version = status.version.as_ref().map(ToString::to_string).unwrap_or_default();
    if let Some(condition) = is("RolledBack") {
        let message = format!("{version} is in use by an operator's word: {}", condition.message);
        return not(State::Suspended, "RolledBack", message);
    }
    (State::Current, holds("Ready", "Converged", format!("{version} is in use")))
}

/// Why what is not wished is kept all the same.
fn not_read(known: &Known<'_>, id: &ResourceId) -> Option<String> {
    let owned = known.ledger.inventory.resources.get(id)?;
    let read = known.desired.was_read(&owned.declared_in);
    let how = if known.desired.refused.is_some() { "not valid now" } else { "not read here" };
    (!read).then(|| format!("it is kept: {} declared it and is {how}", owned.declared_in))
}

/// How what is not wished any more stands: time alone ends what is deferred.
fn leaving(blocked: Option<&Condition>) -> (State, &str, &str) {
    match blocked {
        Some(by) if by.reason == "Deferred" => (State::InProgress, &by.reason, &by.message),
        Some(by) if by.reason == "Suspended" => (State::Suspended, &by.reason, &by.message),
        Some(by) => (State::Stalled, &by.reason, &by.message),
        None => (State::InProgress, "NotDesired", "it will be removed"),
    }
}
