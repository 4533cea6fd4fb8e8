//! A plan for a comment on a pull request.

use std::fmt::Write;

use crate::cli::output::text;
use crate::cli::output::transfers::transfers;
use crate::model::Plan;
use crate::model::outcome::Outcome;
use crate::model::plan::PlanDocument;

/// Renders a plan. Everything from outside is quoted as code, so nothing in it becomes markup.
pub fn plan(document: &PlanDocument) -> String {
    let plan = &document.spec;
    let mut out = format!("### reconcile plan for `{}`\n\n", code(&document.metadata.hostname));
    if let Some(revision) = &document.metadata.revision {
        let _ = writeln!(out, "Desired state: `{}`\n", code(&revision.to_string()));
    }
    if plan.changes.is_empty() && plan.blocked.is_empty() {
        out.push_str("No changes.\n");
    } else {
        let _ = writeln!(out, "**{}**\n", text::summary(&document.status));
    }
    if !plan.changes.is_empty() {
        out.push_str("| | resource | what | why | where |\n|---|---|---|---|---|\n");
        for change in &plan.changes {
            let _ = writeln!(
                out,
                "| `{}` | `{}` | `{}` | {}: `{}` | `{}` |",
                text::sign(change.action),
                code(&change.resource.to_string()),
                code(&text::headline(change)),
                change.attribution.name(),
                code(&change.reason),
                code(change.declared_at.as_deref().unwrap_or("—")),
            );
        }
        out.push_str("\n<details><summary>Diff</summary>\n\n```diff\n");
        for change in &plan.changes {
            let _ = writeln!(out, "# {}", fence(&change.resource.to_string()));
            for drift in &change.drift {
                let _ = writeln!(out, "! {} was {}", fence(&drift.path), fence(&drift.found));
            }
            for line in transfers(change).into_iter().chain(text::diff(change)) {
                let _ = writeln!(out, "{}", fence(&line));
            }
        }
        out.push_str("```\n\n</details>\n");
    }
    for blocked in &plan.blocked {
        let _ = writeln!(
            out,
            "\n> **blocked** `{}` {}: `{}`",
            code(&blocked.resource.to_string()),
            text::reason(blocked),
            code(&blocked.message)
        );
    }
    for note in &plan.notes {
        let _ = writeln!(out, "\n> note: `{}`", code(note));
    }
    if !document.status.disruption.is_empty() {
        let _ = writeln!(out, "\nDisruption: `{}`", code(&document.status.disruption.join(", ")));
    }
    out
}

/// Renders what became of a plan, to follow it in the same comment.
pub fn outcome(plan: &Plan, outcome: &Outcome) -> String {
    let mut out = "\n| resource | what | result |\n|---|---|---|\n".to_owned();
    for (change, result) in plan.changes.iter().zip(&outcome.results) {
        let failure = result.end.failure().map(|failure| failure.message.as_str());
        let said = failure.into_iter().chain(result.notes.iter().map(String::as_str));
        let said: Vec<String> = said.map(|text| format!(": `{}`", code(text))).collect();
        let _ = writeln!(
            out,
            "| `{}` | `{}` | {}{} |",
            code(&change.resource.to_string()),
            code(&text::headline(change)),
            result.end.name(),
            said.concat()
        );
    }
    out
}

/// Text that is safe inside single backticks and a table cell.
fn code(text: &str) -> String {
    text.replace('`', "'").replace('|', "\\|").replace(['\n', '\r'], " ")
}

/// Text that is safe inside a fenced block.
fn fence(text: &str) -> String {
    text.replace("```", "'''").replace(['\n', '\r'], " ")
}
