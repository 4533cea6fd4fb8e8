//! What became of a plan.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{Action, Attribution, Drift, Plan, ResourceId, StepKind, Version};

/// What became of each change, in the order of the plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// One entry for each change of the plan.
    pub results: Vec<ChangeResult>,
    /// The running program was replaced by another one: whoever goes on must start that.
    pub replaced_self: bool,
}

impl Outcome {
    /// Whether everything is there that a plan was made for.
    pub fn converged(&self, plan: &Plan) -> bool {
        plan.blocked.is_empty() && self.results.iter().all(|result| result.end == End::Done)
    }
}

/// What became of one change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeResult {
    /// The resource.
    pub resource: ResourceId,
    /// When it came into use, or when it was known that it does not.
    pub at: Timestamp,
    /// How it ended.
    pub end: End,
    /// Bytes that came over the network or from a local source.
    pub fetched_bytes: u64,
    /// SHA-256 of the artifact that was fetched, to lock the first use.
    pub fetched: Option<FetchedArtifact>,
    /// The release directory now in use, when a switch was made.
    pub switched_to: Option<String>,
    /// Things an operator should know.
    pub notes: Vec<String>,
}

/// An artifact that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedArtifact {
    /// Its key in the trust ledger.
    pub lock_key: String,
    /// Its SHA-256.
    pub digest: crate::model::Digest,
}

/// How a change ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Every step was performed.
    Done,
    /// A step failed; what was in use before stays in use unless the switch had happened already.
    Failed(Failure),
    /// The release did not show that it works; the one before is in use again.
    RolledBack(Failure),
    /// The release did not show that it works, and going back failed as well.
    RollbackFailed(Failure),
    /// Not begun or not finished because the pass was asked to stop.
    Interrupted,
    /// Staged, and not switched to: the maintenance window closed meanwhile.
    Deferred,
}

impl End {
    /// The name in every output.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed(_) => "failed",
            Self::RolledBack(_) => "rolled-back",
            Self::RollbackFailed(_) => "rollback-failed",
            Self::Interrupted => "interrupted",
            Self::Deferred => "deferred",
        }
    }

    /// What went wrong.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failed(failure) | Self::RolledBack(failure) | Self::RollbackFailed(failure) => {
                Some(failure)
            }
            Self::Done | Self::Interrupted | Self::Deferred => None,
        }
    }
}

/// Why a step failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which step.
    pub step: StepKind,
    /// What sort of failure: decides the exit code and whether trying again makes sense.
    pub class: FailureClass,
    /// The whole story, outermost first.
    pub message: String,
}

/// Sorts of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FailureClass {
    /// Trying again later may help: network, busy disk, full disk.
    Transient,
    /// The bytes are not what they should be.
    Verification,
    /// The build cannot run on this host.
    Unsuitable,
    /// The release does not work here.
    Unhealthy,
    /// The host is not as it was planned for.
    Stale,
    /// Trying again will not help until something is changed.
    Permanent,
}

/// An error with all its causes in one line, outermost first.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

/// `1 app`, `2 apps`.
pub fn counted(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// One line of `history.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    /// When it came into use, or when it was known that it does not.
    pub at: Timestamp,
    /// Name of the plan, `sha256:…`.
    pub plan: String,
    /// The resource.
    pub resource: ResourceId,
    /// What.
    pub action: Action,
    /// Who caused it.
    pub attribution: Attribution,
    /// Why.
    pub reason: String,
    /// Version before.
    pub from: Option<Version>,
    /// Version after.
    pub to: Option<Version>,
    /// `done`, `failed`, `rolled-back`, `rollback-failed`, `interrupted` or `deferred`.
    pub result: String,
    /// The failure's message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Things an operator should know about how it went: the first [`NOTES_KEPT`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The commit of the desired state, `main@sha1:…`, when it came from a repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// What somebody else had changed: the first [`DRIFT_KEPT`] paths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drift: Vec<Drift>,
}

/// Notes kept of one change.
pub const NOTES_KEPT: usize = 20;

/// Drifted paths kept of one change.
pub const DRIFT_KEPT: usize = 20;
