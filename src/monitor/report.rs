//! A finished pass as plain data: a snapshot and what changed since the one before.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::desired::DesiredState;
use crate::fetch::Answers;
use crate::host::Look;
use crate::model::ledger::Ledger;
use crate::model::outcome::HistoryEntry;
use crate::model::outcome::{End, Outcome};
use crate::model::plan::PlanDocument;
use crate::model::window::Windows;
use crate::monitor::event::{self, Event};
use crate::monitor::memory::Memory;
use crate::monitor::{Numbers, Snapshot, stored};
use crate::observe::{Observed, observe};
use crate::record::last_pass::LastPass;
use crate::resource::observe::Depth;
use crate::status::{self, Known, carry::carry};

/// A pass that is over.
#[derive(Clone, Debug)]
pub struct Pass<'a> {
    /// The wish.
    pub desired: &'a DesiredState,
    /// What was to be done.
    pub plan: PlanDocument,
    /// What became of it.
    pub outcome: &'a Outcome,
    /// The host before.
    pub observed: &'a Observed,
    /// What is remembered after.
    pub ledger: &'a Ledger,
    /// What it came to.
    pub last: Option<&'a LastPass>,
    /// When what is in use may be replaced on this host.
    pub windows: &'a Windows,
    /// What came of asking sources, by host.
    pub asked: &'a BTreeMap<String, Answers>,
    /// Why it could not be made, if so: there is neither plan nor outcome.
    pub unmade: Option<&'a str>,
    /// Why it was made: one of few words, for it becomes a label.
    pub trigger: &'a str,
    /// How long it took.
    pub took: Duration,
    /// The time of the pass.
    pub now: Timestamp,
}

/// What there is to tell.
#[derive(Debug)]
pub struct Report {
    /// For those who ask.
    pub snapshot: Snapshot,
    /// For those who are told.
    pub events: Vec<Event>,
    /// For the next report.
    pub memory: Memory,
}

/// What was known before.
#[derive(Clone, Debug)]
pub struct Before<'a> {
    /// What was told last.
    pub memory: &'a Memory,
    /// The newest entries of the history, those of this pass among them, and the last one of each resource.
    pub history: Arc<[HistoryEntry]>,
}

/// Looks at the host once more where something was done, and says what is and what changed.
pub fn report(host: &Look, pass: Pass<'_>, known: Before<'_>) -> Report {
    let Before { memory: before, history } = known;
    let again = (!pass.outcome.results.is_empty())
        .then(|| observe(pass.desired, pass.ledger, host, Depth::Quick));
    let mut status = status::status(&Known {
        desired: pass.desired,
        observed: again.as_ref().unwrap_or(pass.observed),
        ledger: pass.ledger,
        last: pass.last,
        history: &history,
        // Whoever shows a snapshot knows the loop that made it.
        agent: None,
        unmade: pass.unmade,
        now: pass.now,
    });
    carry(before.status.as_ref(), &mut status, Some(pass.now));
    let name = pass.plan.metadata.name.to_string();
    let about = event::About { at: pass.now, hostname: &status.hostname, plan: &name };
    let changes = pass.plan.spec.changes.iter().zip(&pass.outcome.results);
    let mut events = event::of_changes(about, changes.clone(), before.status.as_ref());
    // What a change said is not said again by the condition that it ended.
    for event in event::of_conditions(about, before.status.as_ref(), &status) {
        if !events
            .iter()
            .any(|told| (&told.resource, &told.reason) == (&event.resource, &event.reason))
        {
            events.push(event);
        }
    }
    let mut tally = before.tally.clone();
    let result = pass.unmade.map_or_else(|| result(pass.outcome), |_| "failed");
    tally.run(pass.trigger, result, pass.took.as_secs_f64());
    tally.asked(pass.asked, pass.now);
    for (change, result) in changes {
        tally.change(change, result);
    }
    let stored = match &before.stored {
        // Only who did something has stored something.
        Some(stored) if again.is_none() => stored.clone(),
        _ => stored::count(host, again.as_ref().unwrap_or(pass.observed)),
    };
    let numbers = Numbers {
        tally: tally.clone(),
        quarantined: pass.ledger.trust.quarantined.clone(),
        stored: stored.clone(),
    };
    let memory = Memory { status: Some(status.clone()), tally, stored: Some(stored) };
    let windows = pass.windows.clone();
    let snapshot =
        Snapshot { at: pass.now, status, plan: pass.plan, history, numbers, windows, next: None };
    Report { snapshot, events, memory }
}

/// What a pass came to, in one word.
fn result(outcome: &Outcome) -> &'static str {
    let any = |of: fn(&End) -> bool| outcome.results.iter().any(|result| of(&result.end));
    if any(|end| matches!(end, End::RolledBack(_) | End::RollbackFailed(_))) {
        "rolled_back"
    } else if any(|end| matches!(end, End::Failed(_))) {
        "failed"
    } else if any(|end| matches!(end, End::Interrupted | End::Deferred)) {
        "deferred"
    } else if outcome.results.is_empty() {
        "unchanged"
    } else {
        "changed"
    }
}
