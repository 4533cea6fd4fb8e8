//! What is decided about one resource, whatever its kind.

use std::ops::Deref;

use jiff::Timestamp;

use crate::model::ledger::{Debt, Owned};
use crate::model::plan::{InUse, Unchanged};
use crate::model::{
    Action, Attribution, Blocked, BlockedReason, Change, Digest, Drift, DriftKind, ResourceId,
    Step, Version,
};
use crate::resource::Context;

/// The slot that holds what was in use before us; of trees, also one of ours that was repaired and has files that
/// are not ours.
pub const ADOPTED: &str = "adopted";

/// What resolving came to; `W` is the kind's own description of the release to be on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution<W> {
    /// The release to be on; where there is a problem, the one to stay on and keep whole.
    pub wanted: Option<W>,
    /// Why the wish itself cannot be carried out now.
    pub problem: Option<Problem>,
    /// Things an operator should know.
    pub notes: Vec<String>,
}

impl<W> Default for Resolution<W> {
    fn default() -> Self {
        Self { wanted: None, problem: None, notes: Vec::new() }
    }
}

/// Why a wish cannot be carried out now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Which rule.
    pub reason: BlockedReason,
    /// What was attempted, why it did not go, what to do.
    pub message: String,
    /// When it will be looked at again.
    pub until: Option<Timestamp>,
}

impl Problem {
    /// Something of somebody else stands in the way.
    pub fn foreign(message: String) -> Self {
        Self { reason: BlockedReason::Foreign, message, until: None }
    }
}

/// How a slot stands to the wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotState {
    /// There is none.
    Missing,
    /// It is whole, and as good as is demanded.
    Whole,
    /// It was not made by us, but is or was in use.
    Adopted,
    /// It is ours and must be made again, for this reason.
    Outdated(String),
    /// It is ours and somebody changed it.
    Damaged,
    /// It is not ours and not in use.
    Foreign,
}

impl SlotState {
    /// The same slot when an operator went back to it: neither a later edit of the desired state nor
    /// an unknown past keeps it from being used.
    #[must_use]
    pub fn as_pinned(self, adopted: &[String], slot: &str) -> Self {
        match self {
            Self::Outdated(_) => Self::Whole,
            Self::Foreign if adopted.iter().any(|s| s == slot) => Self::Adopted,
            state => state,
        }
    }

    /// Whether it must be made before it can be used.
    pub fn must_be_made(&self) -> bool {
        !matches!(self, Self::Whole | Self::Adopted)
    }
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// The change, if anything is to be done.
    pub change: Option<Change>,
    /// Why the wish is not carried out, if so.
    pub blocked: Option<Blocked>,
    /// What is as desired, if neither.
    pub unchanged: Option<Unchanged>,
}

/// Everything that decides what happens to one resource: `S` is the kind's wish, `O` what the host has of it,
/// `W` its description of the release to be on.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a, S, O, W> {
    /// Which resource, and what is known about it.
    pub context: Context<'a>,
    /// The wish.
    pub spec: &'a S,
    /// What the host has.
    pub observed: &'a O,
    /// The release to be on.
    pub resolution: &'a Resolution<W>,
}

impl<'a, S, O, W> Deref for Situation<'a, S, O, W> {
    type Target = Context<'a>;

    fn deref(&self) -> &Context<'a> {
        &self.context
    }
}

impl<S, O, W> Situation<'_, S, O, W> {
    /// Decides. Total: every situation has an answer. The kind says which version is in use, what work leads
    /// to the release to be on, which change that work is, and what is in use when there is nothing to do.
    pub(super) fn decide<Work: Default>(
        &self,
        staying_on: impl Fn() -> Option<Version>,
        work: impl FnOnce(&W) -> Result<Work, Problem>,
        change: impl FnOnce(Work) -> Option<Change>,
        in_use: impl FnOnce(&W) -> Option<InUse>,
    ) -> Decision {
        let mut decision = Decision::default();
        if let Some(problem) = &self.resolution.problem {
            decision.blocked = Some(self.blocked(problem, staying_on()));
            if problem.reason == BlockedReason::Suspended {
                return decision;
            }
        }
        let wanted = self.resolution.wanted.as_ref();
        match wanted.map_or_else(|| Ok(Work::default()), work) {
            Err(obstacle) => decision.blocked = Some(self.blocked(&obstacle, staying_on())),
            Ok(work) => decision.change = change(work),
        }
        // What is put back into use is what the host stays on.
        if let (Some(blocked), Some(change)) = (&mut decision.blocked, &decision.change)
            && blocked.staying_on.is_none()
        {
            blocked.staying_on = change.after.as_ref().map(|after| after.version.clone());
        }
        if decision.change.is_none() && decision.blocked.is_none() {
            let in_use = wanted.and_then(in_use);
            decision.unchanged =
                in_use.map(|in_use| Unchanged { resource: self.id.clone(), in_use });
        }
        decision
    }

    fn blocked(&self, problem: &Problem, staying_on: Option<Version>) -> Blocked {
        Blocked {
            staying_on,
            until: problem.until,
            declared_at: Some(self.declared_at.to_owned()),
            ..Blocked::new(self.id.clone(), problem.reason, problem.message.clone())
        }
    }

    /// What a change that only cleans up is called, who caused it, and why; `left` is whether an earlier pass
    /// left anything, `surplus` says what more is kept than shall be.
    pub(super) fn explain_tidy(
        &self,
        left: Leftovers,
        surplus: String,
    ) -> (Action, Attribution, String) {
        let (attribution, why) = if !self.debts.is_empty() {
            (Attribution::Interrupted, "an earlier pass owes effects".to_owned())
        } else if left == Leftovers::Some {
            (Attribution::Interrupted, "an earlier pass was cut off".to_owned())
        } else {
            (Attribution::Retention, surplus)
        };
        (Action::Tidy, attribution, why)
    }

    /// Whether a release was ever made the one in use.
    pub(super) fn was_active(&self) -> bool {
        self.owned.is_some_and(|owned| !owned.activated.is_empty())
    }
}

/// Whether an earlier pass left half-done work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leftovers {
    None,
    Some,
}

impl Leftovers {
    /// Of a list of them.
    pub(super) fn of<T>(list: &[T]) -> Self {
        if list.is_empty() { Self::None } else { Self::Some }
    }
}

/// Why a first install happens.
pub(super) fn not_installed(
    floating: Option<&str>,
    version: &str,
) -> (Action, Attribution, String) {
    let why = match floating {
        Some(requested) => format!("not installed; {requested} is {version}"),
        None => "not installed".to_owned(),
    };
    (Action::Install, Attribution::FirstInstall, why)
}

/// Drift in one sentence; `not_whole` is what is said when none can be named.
pub(super) fn count_drift(drift: &[Drift], not_whole: &str) -> String {
    match drift {
        [] => not_whole.to_owned(),
        [one] if one.kind == DriftKind::Missing => format!("{} is gone", one.path),
        [first, ..] if drift.iter().all(|d| d.kind == DriftKind::NotMerged) => {
            format!("{} is linked, but systemd has not merged it", first.path)
        }
        [one] if one.kind == DriftKind::Extra => {
            format!("{} was added by somebody else", one.path)
        }
        [one] => format!("{} was changed by somebody else", one.path),
        more => format!("{} paths were changed by somebody else", more.len()),
    }
}

/// Why some of what is kept goes: there is more of it than `retain` allows.
pub(super) fn more_than(retain: u32, what: &str) -> String {
    match retain {
        1 => format!("more than one {what} is kept"),
        most => format!("more than {most} {what}s are kept"),
    }
}

/// Steps that strike out what is owed for a resource that is removed.
pub(super) fn forgive<'d>(
    id: &ResourceId,
    debts: impl IntoIterator<Item = &'d Debt>,
) -> impl Iterator<Item = Step> {
    debts.into_iter().map(move |debt| Step::Forgive {
        effect: debt.effect.clone(),
        why: format!("{id} is removed"),
    })
}

/// The change that removes a resource that is not wished any more.
pub(super) fn removal(
    id: &ResourceId,
    owned: &Owned,
    before: Option<InUse>,
    observed: Digest,
    steps: Vec<Step>,
) -> Change {
    Change {
        resource: id.clone(),
        action: Action::Remove,
        attribution: Attribution::Pruned,
        reason: format!("{} does not name it any more", owned.declared_in),
        declared_at: None,
        before,
        after: None,
        drift: Vec::new(),
        fetch_bytes: Some(0),
        reused_bytes: 0,
        observed,
        contents: None,
        steps,
        undo: Vec::new(),
    }
}
