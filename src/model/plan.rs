//! All of a pass as one value, with no choice left for execution.

use std::collections::BTreeMap;

use camino::Utf8Path;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::contents::Contents;
use crate::model::revision::Revision;
use crate::model::{Digest, Evidence, ResourceId, Step, Version};

/// The document format of saved and printed plans.
pub const PLAN_API_VERSION: &str = "reconcile/v1";

/// Everything a pass will do. Equal inputs give equal bytes: no clock, no random number, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// What to do, in the order in which switches happen.
    pub changes: Vec<Change>,
    /// Wanted, but not possible or not allowed now.
    pub blocked: Vec<Blocked>,
    /// Resources that are as desired.
    pub unchanged: Vec<Unchanged>,
    /// Things an operator should know that change nothing.
    pub notes: Vec<String>,
}

/// All that happens to one resource, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// The resource.
    pub resource: ResourceId,
    /// What, in one word.
    pub action: Action,
    /// Who caused it.
    pub attribution: Attribution,
    /// Why, in one sentence.
    pub reason: String,
    /// Where the wish stands: `desired-state/web.yaml:14`. Absent for what is not wished any more.
    pub declared_at: Option<String>,
    /// What is in use now.
    pub before: Option<InUse>,
    /// What will be in use.
    pub after: Option<InUse>,
    /// What somebody else changed.
    pub drift: Vec<Drift>,
    /// Bytes to transfer; `None` when the source does not say.
    pub fetch_bytes: Option<u64>,
    /// Bytes that come from the cache instead.
    pub reused_bytes: u64,
    /// Fingerprint of the observation this was planned from; a saved plan is stale when it differs.
    pub observed: Digest,
    /// What becomes of each path inside a tree, where that is known beforehand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contents: Option<Contents>,
    /// The acts.
    pub steps: Vec<Step>,
    /// What is done instead of going on when the release does not show that it works.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undo: Vec<Step>,
}

impl Change {
    /// The slot that is in use after `undo`. Where the change only looks at what an earlier pass switched to, it is not
    /// the one in use before.
    pub fn back_to(&self) -> Option<&str> {
        // A generation that was made anew stands for the one that it was made of.
        let base = |slot| str::split_once(slot, '.').map_or(slot, |(base, _)| base);
        let before = self.before.as_ref().map(|before| base(&before.tag));
        self.undo.iter().find_map(|step| match step {
            Step::Switch { release, .. } | Step::Install { release, .. } => release.file_name(),
            Step::Point { slot, .. } | Step::Pick { slot, .. } => {
                Some(slot.as_str()).filter(|slot| !slot.is_empty())
            }
            Step::Exchange { tree, .. } => {
                let slot = tree.parent().and_then(Utf8Path::file_name).map(base);
                slot.filter(|slot| before != Some(slot))
            }
            _ => None,
        })
    }
}

/// A release in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InUse {
    /// Its version.
    pub version: Version,
    /// The tag as published.
    pub tag: String,
    /// SHA-256 of its artifact, when known.
    pub digest: Option<Digest>,
    /// Why it was or would be accepted, when known.
    pub evidence: Option<Evidence>,
    /// What was asked for: `latest`, `>=14, <15`, `14.1.1`.
    pub requested: Option<String>,
    /// True when the version can move without an edit of the desired state.
    pub floating: bool,
}

/// What a change does, in one word.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Nothing was in use.
    Install,
    /// To a higher version.
    Upgrade,
    /// To a lower version.
    Downgrade,
    /// The same version with other bytes, or an order of versions that cannot be told.
    Replace,
    /// The same version, whole again.
    Repair,
    /// The same version in another place.
    Move,
    /// Not wished any more.
    Remove,
    /// Only effects owed from an earlier pass, leftovers and old releases.
    Tidy,
    /// Only what a later pass will need.
    Fetch,
}

impl Action {
    /// The name in every output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Install => "install",
            Self::Upgrade => "upgrade",
            Self::Downgrade => "downgrade",
            Self::Replace => "replace",
            Self::Repair => "repair",
            Self::Move => "move",
            Self::Remove => "remove",
            Self::Tidy => "tidy",
            Self::Fetch => "fetch",
        }
    }
}

/// Who caused a change.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Attribution {
    /// Wished and not there yet.
    FirstInstall,
    /// The desired state was edited.
    DesiredChanged,
    /// The source has something newer.
    UpstreamMoved,
    /// Somebody changed what we manage.
    DriftCorrected,
    /// The desired state does not name it any more.
    Pruned,
    /// An operator or a failed health check went back.
    RolledBack,
    /// An earlier pass was cut off.
    Interrupted,
    /// More old releases than `retain` allows.
    Retention,
    /// The host was started, after which something runs.
    HostStarted,
    /// A copy of the source has less than what is installed.
    CopyBehind,
}

impl Attribution {
    /// The name in every output.
    pub fn name(self) -> &'static str {
        match self {
            Self::FirstInstall => "first-install",
            Self::DesiredChanged => "desired-changed",
            Self::UpstreamMoved => "upstream-moved",
            Self::DriftCorrected => "drift-corrected",
            Self::Pruned => "pruned",
            Self::RolledBack => "rolled-back",
            Self::Interrupted => "interrupted",
            Self::Retention => "retention",
            Self::HostStarted => "host-started",
            Self::CopyBehind => "copy-behind",
        }
    }
}

/// One thing somebody else changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Drift {
    /// Which path, absolute on the host.
    pub path: String,
    /// What happened to it.
    pub kind: DriftKind,
    /// What it should be, for people.
    pub expected: String,
    /// What it is, for people.
    pub found: String,
}

/// What happened to a managed path.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum DriftKind {
    /// It is gone.
    Missing,
    /// Its content, size or modification time differ.
    Modified,
    /// A link points elsewhere.
    Retargeted,
    /// Permission bits differ.
    ModeChanged,
    /// It is another type of file.
    TypeChanged,
    /// It is there and should not be.
    Extra,
    /// It is an image that is linked, and systemd has not merged it.
    NotMerged,
}

/// A resource that is as desired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Unchanged {
    /// The resource.
    pub resource: ResourceId,
    /// What is in use.
    pub in_use: InUse,
}

/// A wish that is not carried out, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Blocked {
    /// The resource.
    pub resource: ResourceId,
    /// Which rule.
    pub reason: BlockedReason,
    /// What was attempted, why it did not go, what to do.
    pub message: String,
    /// What stays in use.
    pub staying_on: Option<Version>,
    /// When it will be looked at again, where that is known.
    pub until: Option<Timestamp>,
    /// Where the wish stands.
    pub declared_at: Option<String>,
    /// SHA-256 of artifacts that are fetched already, or in this pass, for the time when it is carried out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ahead: Vec<Digest>,
}

impl Blocked {
    /// One of which nothing else is known.
    pub fn new(resource: ResourceId, reason: BlockedReason, message: String) -> Self {
        let (staying_on, until, declared_at, ahead) = (None, None, None, Vec::new());
        Self { resource, reason, message, staying_on, until, declared_at, ahead }
    }
}

/// Why a wish is not carried out.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum BlockedReason {
    /// The source did not answer, or answered nonsense.
    SourceUnavailable,
    /// The source refuses requests until a stated time.
    RateLimited,
    /// The release is fresh and its files for this host are not all there yet.
    Waiting,
    /// No release satisfies the wish.
    NoVersion,
    /// No file of the release fits this host.
    NoAsset,
    /// Several files fit and guessing is refused.
    Ambiguous,
    /// The evidence is weaker than the policy demands.
    Unverified,
    /// The same tag now has other bytes than when it was first seen.
    Tampered,
    /// It would go back to a lower version.
    Downgrade,
    /// The release is younger than `min_age`.
    TooYoung,
    /// Suspended by the desired state or an operator.
    Suspended,
    /// An operator went back to a release that cannot be had any more.
    RolledBack,
    /// Something that is not ours stands in the way.
    Foreign,
    /// More would be removed at once than the guard allows.
    MassRemoval,
    /// The staged build cannot run on this host.
    CannotRun,
    /// The release was installed here, did not work, and was switched back.
    Quarantined,
    /// The host could not be looked at.
    Unobservable,
    /// No maintenance window is open.
    Deferred,
    /// It failed and would fail again.
    Stalled,
    /// Somebody else changes it back each time it is corrected.
    Fighting,
}

/// A plan as it is printed and saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanDocument {
    /// [`PLAN_API_VERSION`].
    pub api_version: String,
    /// `Plan`.
    pub kind: String,
    /// About this document.
    pub metadata: PlanMetadata,
    /// The plan.
    pub spec: Plan,
    /// Derived from the plan, for scripts.
    pub status: PlanSummary,
}

/// About a plan document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanMetadata {
    /// SHA-256 over the compact JSON of `spec`: the plan's name.
    pub name: Digest,
    /// When it was made. Not part of the name.
    pub created_at: Timestamp,
    /// For which host: a saved plan is refused elsewhere.
    pub hostname: String,
    /// The root it was made for.
    pub root: String,
    /// Program and version.
    pub generator: String,
    /// Where the desired state was read from.
    pub desired: Vec<String>,
    /// SHA-256 over the texts of the desired state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// From which commit, when it came from a repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
}

/// Counts over a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanSummary {
    /// True when there is anything to do.
    pub changes_pending: bool,
    /// Number of changes by action.
    pub actions: BTreeMap<String, usize>,
    /// Number of blocked wishes.
    pub blocked: usize,
    /// Number of resources as desired.
    pub unchanged: usize,
    /// Bytes to transfer, as far as sources say.
    pub fetch_bytes: u64,
    /// Number of changes that transfer nobody knows how much.
    #[serde(default)]
    pub fetch_unknown: usize,
    /// Effects on the running system: `restart web.service`.
    pub disruption: Vec<String>,
}
