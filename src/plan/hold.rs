//! What a plan leaves for later or leaves alone, although it could be done.
//!
//! Outside a maintenance window nothing in use is replaced, but what will be needed is fetched ahead. A change
//! that failed for good is not tried again until something about it is another, and what somebody else keeps
//! changing back is left to them. All of it is told in the plan, so that a preview tells it too.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::desired::DesiredState;
use crate::model::window::{Closed, Gate, Windows};
use crate::model::{
    Action, Algorithm, Blocked, BlockedReason, Change, Digest, Plan, ResourceId, Step, Subject,
};

/// A change that failed and would fail again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stalled {
    /// [`fingerprint`] of the change.
    pub change: Digest,
    /// Why it failed.
    pub message: String,
}

/// What somebody else keeps changing back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fight {
    /// [`wish_of`] the resource while it was corrected: of another wish that says nothing.
    pub wish: Option<Digest>,
    /// What to say about it.
    pub message: String,
}

/// How long a resource must be missing from the desired state before the loop removes it: while a file is saved or copied
/// it is not there for a moment.
pub const UNWISHED_FOR: SignedDuration = SignedDuration::from_secs(10);

/// Since when resources are missing from the desired state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unwished {
    /// When each was found missing first.
    pub since: BTreeMap<ResourceId, Timestamp>,
    /// The time.
    pub now: Timestamp,
}

impl Unwished {
    /// Why a resource is not removed yet.
    fn too_fresh(&self, id: &ResourceId) -> Option<Closed> {
        // A clock that was set back must not keep it for longer.
        let since = self.since.get(id).map_or(self.now, |since| self.now.min(*since));
        let until = since + UNWISHED_FOR;
        (until > self.now).then(|| Closed {
            why: "it has only just gone from the desired state, which may be about to be saved"
                .to_owned(),
            until: Some(until),
        })
    }
}

/// Everything that holds changes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holds {
    /// The maintenance windows of the host.
    pub gate: Gate,
    /// Those of each resource that has windows of its own.
    pub own: BTreeMap<ResourceId, Gate>,
    /// Changes that would fail again.
    pub stalled: BTreeMap<ResourceId, Stalled>,
    /// Resources that somebody else keeps changing.
    pub fights: BTreeMap<ResourceId, Fight>,
    /// For a loop, which sees the desired state at any moment: removals of what was there a moment ago.
    pub unwished: Option<Unwished>,
}

impl Holds {
    /// What the windows of the host and those of the resources hold back at a moment.
    pub fn by_windows(desired: &DesiredState, windows: &Windows, now: Timestamp) -> Self {
        Self::NONE.of(desired, windows, now)
    }

    /// The same for a wish, with what its windows hold back at a moment: what is wished of a resource now may be what the
    /// other side of a fight wants.
    #[must_use]
    pub fn of(&self, desired: &DesiredState, windows: &Windows, now: Timestamp) -> Self {
        let mut holds = self.clone();
        (holds.gate, holds.own) = (windows.gate(now), own(desired, windows, now));
        holds.fights.retain(|id, fight| fight.wish == wish_of(desired, id));
        holds
    }

    /// Nothing is held back.
    pub const NONE: Self = Self {
        gate: Gate::ALWAYS,
        own: BTreeMap::new(),
        stalled: BTreeMap::new(),
        fights: BTreeMap::new(),
        unwished: None,
    };

    /// Whether nothing that is wished is held back.
    pub fn is_empty(&self) -> bool {
        let Self { gate, own, stalled, fights, unwished: _ } = self;
        gate.closed().is_none() && own.is_empty() && stalled.is_empty() && fights.is_empty()
    }

    /// Whether what a resource has in use may be replaced.
    fn gate_of(&self, id: &ResourceId) -> &Gate {
        self.own.get(id).unwrap_or(&self.gate)
    }

    /// From when on a change may not be made any more: the window that is open closes then.
    pub fn closes(&self, change: &Change) -> Option<Timestamp> {
        match self.gate_of(&change.resource) {
            Gate::Open { until } if replaces(change.action) => *until,
            Gate::Open { .. } | Gate::Closed(_) => None,
        }
    }
}

/// The windows of those resources that have some of their own at a moment; `windows` are those of the host.
fn own(desired: &DesiredState, windows: &Windows, now: Timestamp) -> BTreeMap<ResourceId, Gate> {
    let own = desired.resources.iter().filter(|(_, declared)| !declared.pace.windows.0.is_empty());
    let own =
        own.map(|(id, declared)| (id.clone(), windows.with_own(&declared.pace.windows).gate(now)));
    own.collect()
}

/// What is wished of a resource, in one word.
pub fn wish_of(desired: &DesiredState, id: &ResourceId) -> Option<Digest> {
    desired.resources.get(id).map(|declared| Digest::of_json(&declared.spec))
}

/// What makes a change the same change as in an earlier pass.
pub fn fingerprint(change: &Change) -> Digest {
    Digest::of_json(&(&change.action, &change.after, &change.steps))
}

/// Takes out of a plan what is held back, and says why.
#[must_use]
pub fn hold(mut plan: Plan, holds: &Holds) -> Plan {
    let mut changes = Vec::with_capacity(plan.changes.len());
    for change in plan.changes {
        let stalled = holds.stalled.get(&change.resource);
        if let Some(stalled) = stalled.filter(|stalled| stalled.change == fingerprint(&change)) {
            let message = format!(
                "it failed and would fail again: {}; it is tried again when the release, the desired state \
                 or the host changes, or with `reconcile request`",
                stalled.message
            );
            plan.blocked.push(blocked(&change, BlockedReason::Stalled, message));
        } else if let Some(fight) = fight_over(&change, holds) {
            plan.blocked.push(blocked(&change, BlockedReason::Fighting, fight.message.clone()));
        } else if let Some(closed) =
            holds.gate_of(&change.resource).closed().filter(|_| replaces(change.action))
        {
            let (later, ahead) = defer(change, closed);
            plan.blocked.push(later);
            changes.extend(ahead);
        } else if let Some(fresh) = too_fresh(&change, holds) {
            plan.blocked.push(defer(change, &fresh).0);
        } else {
            changes.push(change);
        }
    }
    plan.changes = changes;
    plan
}

fn fight_over<'h>(change: &Change, holds: &'h Holds) -> Option<&'h Fight> {
    holds.fights.get(&change.resource).filter(|_| change.action == Action::Repair)
}

fn too_fresh(change: &Change, holds: &Holds) -> Option<Closed> {
    // What is still declared goes by a word of the wish, and is not missing from it.
    let missing = change.action == Action::Remove && change.declared_at.is_none();
    let unwished = holds.unwished.as_ref().filter(|_| missing)?;
    unwished.too_fresh(&change.resource)
}

/// Whether something that is in use gives way to something else. A first install, making whole what is in
/// use, and paying what is owed wait for nothing.
fn replaces(action: Action) -> bool {
    match action {
        Action::Upgrade | Action::Downgrade | Action::Replace | Action::Move | Action::Remove => {
            true
        }
        Action::Install | Action::Repair | Action::Tidy | Action::Fetch => false,
    }
}

fn blocked(change: &Change, reason: BlockedReason, message: String) -> Blocked {
    Blocked {
        staying_on: change.before.as_ref().map(|before| before.version.clone()),
        declared_at: change.declared_at.clone(),
        ..Blocked::new(change.resource.clone(), reason, message)
    }
}

/// The change told as deferred, and what is fetched for it now.
fn defer(change: Change, closed: &Closed) -> (Blocked, Option<Change>) {
    let until = closed.until.map_or(String::new(), |until| format!(" until {until}"));
    let to = change.after.as_ref().map_or(String::new(), |after| format!(" to {}", after.version));
    let action = change.action.name();
    let message = format!("{action}{to} is deferred{until}: {}", closed.why);
    let mut later = blocked(&change, BlockedReason::Deferred, message);
    later.until = closed.until;
    later.ahead = ahead(&change).unwrap_or_default();
    let fetch = (change.fetch_bytes != Some(0) && !later.ahead.is_empty()).then(|| Change {
        action: Action::Fetch,
        reason: format!("{}; it comes into use later", change.reason),
        drift: Vec::new(),
        contents: None,
        steps: change.steps.into_iter().filter(|s| matches!(s, Step::Fetch { .. })).collect(),
        undo: Vec::new(),
        ..change
    });
    (later, fetch)
}

/// SHA-256 digests of what can be fetched now and found again later: whole artifacts whose digest is stated.
/// `None` when there is anything else.
fn ahead(change: &Change) -> Option<Vec<Digest>> {
    let digests = change.steps.iter().filter_map(|step| match step {
        Step::Fetch { evidence, delta: None, .. } if evidence.of == Subject::Artifact => {
            Some(evidence.digests.iter().find(|d| d.algorithm() == Algorithm::Sha256).cloned())
        }
        Step::Fetch { .. } | Step::Assemble { .. } => Some(None),
        _ => None,
    });
    digests.collect()
}
