//! What a pass did, for people.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use crate::cli::output::text::{headline, in_one_line, reason, sign};
use crate::cli::output::units::bytes;
use crate::model::outcome::{ChangeResult, End, Outcome};
use crate::model::plan::{PLAN_API_VERSION, PlanDocument};
use crate::model::{Action, Plan};
use crate::record::last_pass::WINDOW_CLOSED;

/// One line for each change, and what failed in full.
pub fn outcome(plan: &Plan, outcome: &Outcome) -> String {
    let mut text = String::new();
    let (mut done, mut failed, mut interrupted, mut deferred, mut fetched) = (0, 0, 0, 0, 0);
    for (change, result) in plan.changes.iter().zip(&outcome.results) {
        fetched += result.fetched_bytes;
        let how = match &result.end {
            End::Done => {
                done += 1;
                "done".to_owned()
            }
            End::Failed(failure) => {
                failed += 1;
                format!("FAILED at {}: {}", failure.step, failure.message)
            }
            End::RolledBack(failure) => {
                failed += 1;
                format!("ROLLED BACK: {}", failure.message)
            }
            End::RollbackFailed(failure) => {
                failed += 1;
                format!("ROLLBACK FAILED: {}", failure.message)
            }
            End::Interrupted => {
                interrupted += 1;
                "interrupted; the next pass goes on".to_owned()
            }
            End::Deferred => {
                deferred += 1;
                format!("deferred: {WINDOW_CLOSED}")
            }
        };
        let id = change.resource.to_string();
        let _ = writeln!(text, "  {} {id:<20} {}: {how}", sign(change.action), headline(change));
        for note in &result.notes {
            let _ = writeln!(text, "      note: {note}");
        }
    }
    let _ = write!(text, "Applied: {done} done");
    let others = [(failed, "failed"), (interrupted, "interrupted"), (deferred, "deferred")];
    for (number, what) in others {
        if number > 0 {
            let _ = write!(text, ", {number} {what}");
        }
    }
    if !plan.blocked.is_empty() {
        let _ = write!(text, ", {} blocked", plan.blocked.len());
    }
    if fetched > 0 {
        let _ = write!(text, "; {} fetched", bytes(fetched));
    }
    text.push_str(".\n");
    text
}

/// Most characters of the reason why a change failed, where there is one line for all of a pass.
const REASON_MAX: usize = 300;

/// Blocked wishes that are told one by one in that line.
const BLOCKED_TOLD: usize = 3;

fn shortened(message: &str) -> String {
    in_one_line(message).chars().take(REASON_MAX).collect()
}

/// What became of a pass, in one line: `1 upgraded, 2 unchanged; app/tool failed at fetch: …`.
pub fn sentence(plan: &Plan, outcome: &Outcome) -> String {
    let mut done: BTreeMap<&str, usize> = BTreeMap::new();
    let mut others = Vec::new();
    for (change, result) in plan.changes.iter().zip(&outcome.results) {
        match (&result.end, result.end.failure()) {
            (End::Done, _) => *done.entry(past(change.action)).or_default() += 1,
            (end, None) => others.push(format!("{} {}", result.resource, end.name())),
            (end, Some(failure)) => {
                let why = shortened(&failure.message);
                let (id, name) = (&result.resource, end.name());
                others.push(format!("{id} {name} at {}: {why}", failure.step));
            }
        }
    }
    for blocked in plan.blocked.iter().take(BLOCKED_TOLD) {
        let why = shortened(&blocked.message);
        others.push(format!("{} {}: {why}", blocked.resource, reason(blocked)));
    }
    let done = done.into_iter().map(|(done, number)| format!("{number} {done}"));
    let rest = [(plan.blocked.len(), "blocked"), (plan.unchanged.len(), "unchanged")];
    let rest = rest.into_iter().filter(|(number, _)| *number > 0);
    let counts = done.chain(rest.map(|(number, what)| format!("{number} {what}")));
    let counts = counts.collect::<Vec<_>>().join(", ");
    let parts = [counts].into_iter().filter(|counts| !counts.is_empty()).chain(others);
    let parts: Vec<String> = parts.collect();
    if parts.is_empty() { "nothing to do".to_owned() } else { parts.join("; ") }
}

/// What was done, for a count of it.
fn past(action: Action) -> &'static str {
    match action {
        Action::Install => "installed",
        Action::Upgrade => "upgraded",
        Action::Downgrade => "downgraded",
        Action::Replace => "replaced",
        Action::Repair => "repaired",
        Action::Move => "moved",
        Action::Remove => "removed",
        Action::Tidy => "tidied",
        Action::Fetch => "fetched ahead",
    }
}

/// A pass as a document for programs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PassDocument<'a> {
    /// `reconcile/v1`.
    api_version: &'static str,
    /// `Pass`.
    kind: &'static str,
    /// What was to be done.
    plan: &'a PlanDocument,
    /// What became of each change.
    results: Vec<ResultDocument>,
}

/// What became of one change.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ResultDocument {
    resource: String,
    result: &'static str,
    fetched_bytes: u64,
    notes: Vec<String>,
    error: Option<String>,
}

/// Plan and results.
pub fn document<'a>(plan: &'a PlanDocument, outcome: &Outcome) -> PassDocument<'a> {
    let result = |result: &ChangeResult| {
        let error = result.end.failure().map(|failure| failure.message.clone());
        ResultDocument {
            resource: result.resource.to_string(),
            result: result.end.name(),
            fetched_bytes: result.fetched_bytes,
            notes: result.notes.clone(),
            error,
        }
    };
    PassDocument {
        api_version: PLAN_API_VERSION,
        kind: "Pass",
        plan,
        results: outcome.results.iter().map(result).collect(),
    }
}
