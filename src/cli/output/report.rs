//! What a pass did, for people.

use std::fmt::Write;

use serde::Serialize;

use crate::cli::output::text::{headline, sign};
use crate::cli::output::units::bytes;
use crate::model::Plan;
use crate::model::outcome::{ChangeResult, End, Outcome};
use crate::model::plan::{PLAN_API_VERSION, PlanDocument};

/// One line for each change, and what failed in full.
pub fn outcome(plan: &Plan, outcome: &Outcome) -> String {
    let mut text = String::new();
    let (mut done, mut failed, mut interrupted, mut fetched) = (0, 0, 0, 0);
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
        };
        let id = change.resource.to_string();
        let _ = writeln!(text, "  {} {id:<20} {}: {how}", sign(change.action), headline(change));
        for note in &result.notes {
            let _ = writeln!(text, "      note: {note}");
        }
    }
    let _ = write!(text, "Applied: {done} done");
    for (number, what) in [(failed, "failed"), (interrupted, "interrupted")] {
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
