//! What changed between two looks, each told once.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::model::outcome::{ChangeResult, End};
use crate::model::{Action, Change, ResourceId};
use crate::status::{Condition, HostStatus, ResourceStatus, State};

/// Something that changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// When it was seen.
    pub at: Timestamp,
    /// Whether somebody should look.
    #[serde(rename = "type")]
    pub severity: Severity,
    /// What happened, in one CamelCase word.
    pub reason: String,
    /// To which resource; to the host when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<ResourceId>,
    /// What happened, in words.
    pub message: String,
    /// The host.
    pub hostname: String,
    /// Name of the plan of the pass.
    pub plan: String,
}

/// How bad an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Severity {
    /// As it should be.
    Normal,
    /// Somebody should look.
    Warning,
}

impl Event {
    /// The `MESSAGE_ID` of its class in the journal: 16 bytes in hexadecimal, the beginning of the SHA-256 of
    /// `reconcile.event.REASON`.
    pub fn message_id(&self) -> String {
        let digest = Sha256::digest(format!("reconcile.event.{}", self.reason));
        data_encoding::HEXLOWER.encode(digest.get(..16).unwrap_or_default())
    }
}

/// Conditions that are told of: what beginning and ending is called, and whether it is bad.
const CONDITIONS: [(&str, &str, &str, Severity); 8] = [
    ("Drifted", "DriftDetected", "DriftCorrected", Severity::Warning),
    ("Suspended", "Suspended", "Resumed", Severity::Normal),
    ("RolledBack", "Pinned", "Resumed", Severity::Warning),
    ("Quarantined", "ReleaseQuarantined", "ReleaseUnquarantined", Severity::Warning),
    ("Blocked", "Blocked", "Unblocked", Severity::Warning),
    ("Insecure", "Insecure", "Secured", Severity::Warning),
    ("Pending", "Pending", "Merged", Severity::Normal),
    ("ActionPending", "EffectOwed", "EffectSettled", Severity::Warning),
];

/// The same of the host as a whole.
const HOST_CONDITIONS: [(&str, &str, &str, Severity); 4] = [
    ("DesiredRefused", "DesiredRefused", "DesiredAccepted", Severity::Warning),
    ("DesiredStale", "DesiredUnreachable", "DesiredReachable", Severity::Warning),
    ("NoMatch", "NothingSelected", "SomethingSelected", Severity::Warning),
    ("TrustStateLost", "TrustStateLost", "TrustStateRestored", Severity::Warning),
];

/// About the pass that events are of.
#[derive(Clone, Copy, Debug)]
pub(super) struct About<'a> {
    /// When.
    pub(super) at: Timestamp,
    /// The host.
    pub(super) hostname: &'a str,
    /// The plan's name.
    pub(super) plan: &'a str,
}

impl About<'_> {
    fn event(
        &self,
        (severity, reason): (Severity, &str),
        resource: Option<&ResourceId>,
        message: String,
    ) -> Event {
        Event {
            at: self.at,
            severity,
            reason: reason.to_owned(),
            resource: resource.cloned(),
            message,
            hostname: self.hostname.to_owned(),
            plan: self.plan.to_owned(),
        }
    }
}

/// What one pass did, by its results. A failure that was there before is not told again.
pub(super) fn of_changes<'a>(
    about: About<'_>,
    results: impl Iterator<Item = (&'a Change, &'a ChangeResult)>,
    before: Option<&HostStatus>,
) -> Vec<Event> {
    let earlier = by_id(before);
    results.filter_map(|(change, result)| of_change(about, change, result, &earlier)).collect()
}

fn of_change(
    about: About<'_>,
    change: &Change,
    result: &ChangeResult,
    earlier: &BTreeMap<&ResourceId, &ResourceStatus>,
) -> Option<Event> {
    let (id, what) = (&change.resource, describe(change));
    let kind = match &result.end {
        End::Interrupted | End::Deferred => return None,
        End::Done => match change.action {
            Action::Tidy | Action::Fetch => return None,
            Action::Remove => (Severity::Normal, "Pruned"),
            Action::Repair => (Severity::Normal, "DriftCorrected"),
            _ => (Severity::Normal, "ChangeApplied"),
        },
        End::Failed(_) => (Severity::Warning, "ChangeFailed"),
        End::RolledBack(_) => (Severity::Warning, "RolledBack"),
        End::RollbackFailed(_) => (Severity::Warning, "RollbackFailed"),
    };
    let Some(failure) = result.end.failure() else {
        return Some(about.event(kind, Some(id), what));
    };
    let told = earlier.get(id).is_some_and(|earlier| {
        let failed = |c: &Condition| c.reason == "ApplyFailed" && c.message == failure.message;
        earlier.conditions.iter().any(failed)
    });
    let message = format!("{what}: {}", failure.message);
    (!told).then(|| about.event(kind, Some(id), message))
}

fn describe(change: &Change) -> String {
    let version = |in_use: &Option<crate::model::plan::InUse>| {
        in_use.as_ref().map(|in_use| in_use.version.to_string())
    };
    let versions = match (version(&change.before), version(&change.after)) {
        (Some(before), Some(after)) if before != after => format!(" {before} -> {after}"),
        (_, Some(version)) | (Some(version), None) => format!(" {version}"),
        (None, None) => String::new(),
    };
    format!("{}{versions}: {}", change.action.name(), change.reason)
}

/// What is otherwise than at the look before. Nothing is told of a first look but what is wrong.
pub(super) fn of_conditions<'s>(
    about: About<'_>,
    before: Option<&'s HostStatus>,
    after: &'s HostStatus,
) -> Vec<Event> {
    let earlier = by_id(before);
    let later = by_id(Some(after));
    let conditions = |of: &BTreeMap<&ResourceId, &'s ResourceStatus>, id: &ResourceId| {
        of.get(id).map_or(&[][..], |resource| resource.conditions.as_slice())
    };
    let mut events = Vec::new();
    // What was removed has no conditions any more, which is the end of those it had.
    let ids: BTreeSet<&ResourceId> = earlier.keys().chain(later.keys()).copied().collect();
    for id in ids {
        let both = (conditions(&earlier, id), conditions(&later, id));
        events.extend(differences(about, Some(id), both, &CONDITIONS));
    }
    let was = before.map_or(&[][..], |before| before.conditions.as_slice());
    events.extend(differences(about, None, (was, &after.conditions), &HOST_CONDITIONS));
    let was = before.map_or(State::Current, |before| before.state);
    if was != after.state {
        let message = format!("the host is {}, it was {}", after.state.name(), was.name());
        let kind = match after.state {
            State::Current | State::Suspended | State::InProgress => {
                (Severity::Normal, "HostStateChanged")
            }
            State::Stalled | State::Failed | State::Inconsistent => {
                (Severity::Warning, "HostDegraded")
            }
        };
        events.push(about.event(kind, None, message));
    }
    events
}

/// Which conditions began and ended.
fn differences(
    about: About<'_>,
    resource: Option<&ResourceId>,
    (was, now): (&[Condition], &[Condition]),
    told: &[(&str, &str, &str, Severity)],
) -> Vec<Event> {
    let changes = told.iter().filter_map(|(kind, begins, ends, severity)| {
        let is = |c: &&Condition| c.kind == *kind;
        match (was.iter().find(is), now.iter().find(is)) {
            (Some(then), None) => {
                let message = format!("no longer: {}", then.message);
                Some(about.event((Severity::Normal, ends), resource, message))
            }
            // One trouble after another is one more that somebody should know of.
            (then, Some(now)) if then.is_none_or(|then| then.reason != now.reason) => {
                let message = format!("{}: {}", now.reason, now.message);
                Some(about.event((*severity, begins), resource, message))
            }
            _ => None,
        }
    });
    changes.collect()
}

fn by_id(status: Option<&HostStatus>) -> BTreeMap<&ResourceId, &ResourceStatus> {
    let resources = status.into_iter().flat_map(|status| &status.resources);
    resources.map(|resource| (&resource.id, resource)).collect()
}
