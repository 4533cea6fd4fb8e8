//! What a pass did, for people.

use std::fmt::Write;

use crate::cli::output::text::{headline, sign};
use crate::cli::output::units::bytes;
use crate::model::Plan;
use crate::model::outcome::{End, Outcome};

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
    if fetched > 0 {
        let _ = write!(text, "; {} fetched", bytes(fetched));
    }
    text.push_str(".\n");
    text
}
