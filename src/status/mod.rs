//! What is, in conditions that programs can rely on; pure over what was observed and remembered.

pub mod carry;
pub mod export;
mod host;
mod ready;
mod seen;

use std::collections::BTreeMap;

use camino::Utf8PathBuf;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::desired::{Declared, DesiredState};
use crate::model::agent::AgentStatus;
use crate::model::ledger::Ledger;
use crate::model::outcome::HistoryEntry;
use crate::model::revision::{Revision, TroubleKind};
use crate::model::{
    Attribution, Blocked, BlockedReason, Digest, Drift, DriftKind, HostFacts, Level, ResourceId,
    Version,
};
use crate::observe::Observed;
use crate::record::last_pass::LastPass;
use crate::resource::extension::merged::InEffectBy;
use crate::resource::{Found, Spec};
use crate::status::ready::ready;
use crate::status::seen::{drift, outdated, placed, recognised, taken_away};

/// Everything status depends on.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The wish.
    pub desired: &'a DesiredState,
    /// The host.
    pub observed: &'a Observed,
    /// What is remembered.
    pub ledger: &'a Ledger,
    /// What the last pass came to.
    pub last: Option<&'a LastPass>,
    /// What was changed, oldest first.
    pub history: &'a [HistoryEntry],
    /// What the loop says about itself.
    pub agent: Option<&'a AgentStatus>,
    /// Why the pass could not be made that was to be the last one, if so.
    pub unmade: Option<&'a str>,
    /// The time.
    pub now: Timestamp,
}

impl<'a> Known<'a> {
    /// Why what is wished is not looked after, whatever is there.
    fn unmade(&self) -> Option<&'a str> {
        let told = self.agent.and_then(|agent| agent.unmade.as_deref());
        self.unmade.or(told).or(self.ledger.undecided.as_deref())
    }
}

/// The state of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostStatus {
    /// `reconcile/v1`.
    pub api_version: String,
    /// `HostStatus`.
    pub kind: String,
    /// Host name.
    pub hostname: String,
    /// The worst state of any resource.
    pub state: State,
    /// When the last pass was.
    pub last_pass_at: Option<Timestamp>,
    /// When everything wished was there for the last time.
    pub last_converged_at: Option<Timestamp>,
    /// From which commit the desired state was read, when it came from a repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
    /// SHA-256 over the texts of the desired state.
    pub desired: Digest,
    /// Conditions of the host.
    pub conditions: Vec<Condition>,
    /// The loop that keeps this host, if one runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentStatus>,
    /// What was found wrong with the agent's memory.
    pub losses: Vec<String>,
    /// Every wished resource and every other one of ours.
    pub resources: Vec<ResourceStatus>,
}

impl HostStatus {
    /// Why no pass can be made, if so.
    pub fn unmade(&self) -> Option<&str> {
        let unmade = self.conditions.iter().find(|condition| condition.reason == NOT_MADE)?;
        Some(&unmade.message)
    }
}

/// One word for scripts, best first.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum State {
    /// As wished.
    Current,
    /// Left alone on purpose.
    Suspended,
    /// Something will be done by the next pass, or is waited for.
    InProgress,
    /// Nothing will be done until somebody changes something.
    Stalled,
    /// The last pass failed at it.
    Failed,
    /// A release did not work and going back failed: what is in use is not whole.
    Inconsistent,
}

impl State {
    /// All of them, best first.
    pub const ALL: [Self; 6] = [
        Self::Current,
        Self::Suspended,
        Self::InProgress,
        Self::Stalled,
        Self::Failed,
        Self::Inconsistent,
    ];

    /// The name in every output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Current => "Current",
            Self::Suspended => "Suspended",
            Self::InProgress => "InProgress",
            Self::Stalled => "Stalled",
            Self::Failed => "Failed",
            Self::Inconsistent => "Inconsistent",
        }
    }
}

/// Every type of condition that a resource can have.
pub const CONDITIONS: [&str; 9] = [
    "Ready",
    "Drifted",
    "Suspended",
    "RolledBack",
    "Quarantined",
    "Blocked",
    "Insecure",
    "Pending",
    "ActionPending",
];

/// Every type of condition that a host can have.
pub const HOST_CONDITIONS: [&str; 6] =
    ["Ready", "NoMatch", "DesiredStale", "DesiredRefused", "TrustStateLost", REBOOT_REQUIRED];

/// Why a host is not ready on which no pass can be made.
pub const NOT_MADE: &str = "PassNotMade";

/// Why a release is not verified that a place of this machine alone vouches for.
const LOCAL: &str = "LocalSource";

/// Why something is not as it should be that nothing but the next pass can tell.
const WAITING: &str = "WaitingForPass";

/// The condition of a host on which something is installed that the next start of the host brings into use.
pub const REBOOT_REQUIRED: &str = "RebootRequired";

/// The state of one resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceStatus {
    /// Which.
    pub id: ResourceId,
    /// One word.
    pub state: State,
    /// What was asked for; absent when it is not wished any more.
    pub requested: Option<String>,
    /// True when the version can move without an edit.
    pub floating: bool,
    /// The version in use; where somebody took it out of use, the one that is put back.
    pub version: Option<Version>,
    /// SHA-256 of its artifact.
    pub digest: Option<Digest>,
    /// How its artifact was verified.
    pub verified: Option<Level>,
    /// When its content was taken over as it was found: another program installed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_over: Option<Timestamp>,
    /// Other versions that are there to go back to.
    pub kept: Vec<String>,
    /// Directories with files of somebody else that were in its place, which are never removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set_aside: Vec<String>,
    /// What somebody else changed.
    pub drift: Vec<Drift>,
    /// Effects owed.
    pub owed: Vec<String>,
    /// The last change.
    pub last_change: Option<LastChange>,
    /// Conditions; absent ones are False.
    pub conditions: Vec<Condition>,
}

impl ResourceStatus {
    /// How its artifact was verified, in one word; nothing where that is not known.
    pub fn verified_by(&self) -> &'static str {
        let local = self.condition("Insecure").is_some_and(|why| why.reason == LOCAL);
        if local { "local" } else { self.verified.map_or("", Level::name) }
    }

    /// The condition of a kind, if there is one.
    fn condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.kind == kind)
    }
}

/// The last change of a resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastChange {
    /// When.
    pub at: Timestamp,
    /// Who caused it.
    pub attribution: Attribution,
    /// `done`, `failed` or `interrupted`.
    pub result: String,
}

/// One condition that is true, or `Ready`, which is always stated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// One of [`CONDITIONS`].
    #[serde(rename = "type")]
    pub kind: String,
    /// `True` or `False`.
    pub status: String,
    /// Why, in one CamelCase word.
    pub reason: String,
    /// Why, in words.
    pub message: String,
    /// Since when the status has been this one, as far as a watched pass has noted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Timestamp>,
}

/// What was last said about each resource.
#[derive(Debug)]
struct Latest<'a> {
    changes: BTreeMap<&'a ResourceId, &'a HistoryEntry>,
    blocked: BTreeMap<&'a ResourceId, &'a Blocked>,
}

impl<'a> Latest<'a> {
    fn of(known: &Known<'a>) -> Self {
        let blocked = known.last.map_or(&[][..], |last| &last.blocked).iter();
        let blocked = blocked.rev().filter(|blocked| !outdated(known, &blocked.resource));
        Self {
            changes: known.history.iter().map(|entry| (&entry.resource, entry)).collect(),
            blocked: blocked.map(|blocked| (&blocked.resource, blocked)).collect(),
        }
    }
}

/// Judges a host.
pub fn status(known: &Known<'_>) -> HostStatus {
    let latest = Latest::of(known);
    let mut resources: BTreeMap<ResourceId, ResourceStatus> = BTreeMap::new();
    for (id, declared) in &known.desired.resources {
        resources.insert(id.clone(), judge((known, &latest), id, Some(declared)));
    }
    for id in known.ledger.inventory.resources.keys() {
        resources.entry(id.clone()).or_insert_with(|| judge((known, &latest), id, None));
    }
    let resources: Vec<ResourceStatus> = resources.into_values().collect();
    let HostFacts { hostname, .. } = known.observed.facts.clone();
    let state = resources.iter().map(|r| r.state).max().unwrap_or(State::Current);
    // Whatever is there is as an older wish says, at best.
    let trouble = known.desired.revision.as_ref().and_then(|revision| revision.trouble.as_ref());
    let unused = trouble.is_some_and(|trouble| trouble.kind != TroubleKind::Unreachable);
    let outdated = unused || known.desired.refused.is_some();
    let state = if outdated { state.max(State::Stalled) } else { state };
    let state = if known.unmade().is_some() { state.max(State::Failed) } else { state };
    // The record of passes that came to the same is not written each time; the loop says when its last one was.
    let recorded = known.last.map(|last| last.at);
    let told = known.agent.and_then(|agent| agent.last_pass_at);
    let recorded_whole = known.last.and_then(|last| last.converged_at);
    let told_whole = known.agent.and_then(|agent| agent.last_converged_at);
    HostStatus {
        api_version: "reconcile/v1".to_owned(),
        kind: "HostStatus".to_owned(),
        hostname,
        state,
        last_pass_at: recorded.max(told),
        last_converged_at: recorded_whole.max(told_whole),
        revision: known.desired.revision.clone(),
        desired: known.desired.digest.clone(),
        conditions: host::conditions(known, &resources, state),
        agent: known.agent.cloned(),
        losses: known.ledger.losses.clone(),
        resources,
    }
}

fn judge(
    (known, latest): (&Known<'_>, &Latest<'_>),
    id: &ResourceId,
    declared: Option<&Declared>,
) -> ResourceStatus {
    let spec = declared.map(|d| &d.spec);
    let found = known.observed.resources.get(id).and_then(|found| found.as_ref().ok());
    let drift = declared.zip(found).map(|(d, f)| drift(known, id, d, f)).unwrap_or_default();
    let current = found.and_then(Found::current);
    let current = current.or_else(|| taken_away(known, id, (found?, &drift)));
    let made_from = found.zip(current).and_then(|(found, slot)| found.made_from(slot));
    let others = found.map(Found::usable).unwrap_or_default();
    let works = |slot: &str| {
        let digests: Vec<Digest> = found
            .and_then(|found| found.made_from(slot))
            .map(|(d, _)| d.clone())
            .into_iter()
            .collect();
        known.ledger.trust.quarantine_of(id, &Found::tag_of(slot), &digests).is_none()
    };
    let others = others.into_iter().filter(|slot| Some(*slot) != current && works(slot));
    let aside = found.zip(spec).map(|(found, spec)| found.set_aside(spec)).unwrap_or_default();
    let mut status = ResourceStatus {
        id: id.clone(),
        state: State::Current,
        requested: spec.map(Spec::requested),
        floating: spec.is_some_and(Spec::is_floating),
        version: match current {
            Some(slot) => found.and_then(|found| found.version_of(slot, spec)),
            None => recognised(known, id, found).or_else(|| placed(known, (id, spec?), found?)),
        },
        digest: made_from.map(|(digest, _)| digest.clone()),
        verified: made_from.map(|(_, evidence)| evidence.level),
        taken_over: match found {
            Some(Found::App(found)) => found.taken_over(),
            _ => None,
        },
        kept: others.filter_map(|slot| Some(found?.name_of(slot))).collect(),
        set_aside: aside.into_iter().map(Utf8PathBuf::into_string).collect(),
        drift,
        owed: known
            .ledger
            .debts
            .iter()
            .filter(|debt| &debt.resource == id)
            .map(|debt| debt.effect.describe())
            .collect(),
        last_change: latest.changes.get(id).map(|entry| LastChange {
            at: entry.at,
            attribution: entry.attribution,
            result: entry.result.clone(),
        }),
        conditions: Vec::new(),
    };
    status.conditions = conditions((known, latest), id, spec, &status);
    let ready = ready(known, id, spec, &status);
    status.state = ready.0;
    status.conditions.insert(0, ready.1);
    status
}

fn holds(kind: &str, reason: &str, message: String) -> Condition {
    Condition {
        kind: kind.to_owned(),
        status: "True".to_owned(),
        reason: reason.to_owned(),
        message,
        last_transition_time: None,
    }
}

/// Conditions other than `Ready` that hold.
fn conditions(
    (known, latest): (&Known<'_>, &Latest<'_>),
    id: &ResourceId,
    spec: Option<&Spec>,
    status: &ResourceStatus,
) -> Vec<Condition> {
    let mut conditions = Vec::new();
    if let Some(first) = status.drift.first() {
        let more = status.drift.len() - 1;
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let reason = if first.kind == DriftKind::NotMerged { "NotMerged" } else { "Modified" };
        conditions.push(holds("Drifted", reason, format!("{}{more}", first.path)));
    }
    let wished = spec.and_then(Spec::suspend).map(|s| (s.reason.clone(), s.until));
    let ordered = known.ledger.overrides.suspended.get(id).map(|s| (s.reason.clone(), s.until));
    let now = known.now;
    let suspended = wished.into_iter().chain(ordered);
    for (reason, until) in suspended.filter(|(_, until)| until.is_none_or(|until| now < until)) {
        let until = until.map_or(String::new(), |until| format!(" until {until}"));
        conditions.push(holds("Suspended", "Requested", format!("{reason}{until}")));
    }
    if let Some(pinned) = known.ledger.overrides.pinned.get(id).filter(|p| p.holds(now)) {
        conditions.push(holds("RolledBack", "Operator", pinned.reason.clone()));
    }
    for quarantined in known.ledger.trust.quarantined.iter().filter(|q| &q.resource == id) {
        let message = format!("{}: {}", quarantined.tag, quarantined.reason);
        conditions.push(holds("Quarantined", "HealthCheckFailed", message));
    }
    // That it is left alone is told already; that a rollback keeps what is not wished any more is not.
    let suspended = conditions.iter().any(|condition| condition.kind == "Suspended");
    let told = |blocked: &Blocked| blocked.reason == BlockedReason::Suspended && suspended;
    if let Some(blocked) = latest.blocked.get(id).filter(|blocked| !told(blocked)) {
        let reason = format!("{:?}", blocked.reason);
        conditions.push(holds("Blocked", &reason, blocked.message.clone()));
    }
    let found = known.observed.resources.get(id).and_then(|found| found.as_ref().ok());
    if let Some(level) = status.verified.filter(|level| *level <= Level::Tls) {
        let here = found.and_then(|found| found.accepted_from_here(found.current()?));
        let (reason, message) = match here.filter(|_| level == Level::Tls) {
            Some(place) => (LOCAL, format!("nobody but {place} vouches for the release in use")),
            None => (
                "VerificationDisabled",
                format!("the release in use was accepted with level {}", level.name()),
            ),
        };
        conditions.push(holds("Insecure", reason, message));
    }
    if let Some(by) = found.and_then(|found| found.pending(spec)) {
        let by = match by {
            InEffectBy::NextPass => "the next pass merges it",
            InEffectBy::NextStart => "a refresh by systemd or the next start of the host merges it",
        };
        conditions.push(holds(
            "Pending",
            "NotMerged",
            format!("the image in place is not merged; {by}"),
        ));
    }
    if !status.owed.is_empty() {
        conditions.push(holds("ActionPending", "EffectOwed", status.owed.join(", ")));
    }
    conditions
}
