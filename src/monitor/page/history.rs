//! What was changed, newest first.

use std::fmt::Write;

use jiff::Timestamp;

use crate::model::Version;
use crate::model::outcome::HistoryEntry;
use crate::monitor::page::resources::{drifts, id};
use crate::monitor::page::{Text, moment};

/// Entries shown on the page; the rest is at `/history`.
const SHOWN: usize = 50;

/// The newest changes.
pub(super) fn history(html: &mut String, entries: &[HistoryEntry], now: Timestamp) {
    html.push_str("<h2>History</h2><div class=\"card\">");
    if entries.is_empty() {
        html.push_str("<div class=\"empty\">Nothing was changed yet.</div>");
    }
    for entry in entries.iter().rev().take(SHOWN) {
        row(html, entry, now);
    }
    html.push_str("</div>");
}

fn row(html: &mut String, entry: &HistoryEntry, now: Timestamp) {
    let (class, word) = match entry.result.as_str() {
        "done" => ("ok", entry.action.name()),
        "interrupted" => ("wait", "interrupted"),
        "deferred" => ("wait", "deferred"),
        "rolled-back" => ("bad", "rolled back"),
        "rollback-failed" => ("bad", "rollback failed"),
        _ => ("bad", "failed"),
    };
    let _ = write!(
        html,
        "<details><summary class=\"row event\">{}<span class=\"version\">{}</span>\
         <span class=\"soft\">{}</span><span class=\"pill {class}\">{}</span></summary>\
         <div class=\"more\"><p>{}</p>",
        id(&entry.resource),
        versions(entry.from.as_ref(), entry.to.as_ref()),
        moment(entry.at, now),
        Text(word),
        Text(&entry.reason),
    );
    if let Some(error) = &entry.error {
        let _ = write!(html, "<pre class=\"del\">{}</pre>", Text(error));
    }
    drifts(html, &entry.drift);
    let plan: String = entry.plan.chars().take("sha256:".len() + 12).collect();
    let _ = write!(
        html,
        "<dl><dt>when</dt><dd>{}</dd><dt>by</dt><dd>{}</dd><dt>plan</dt><dd><code>{}</code></dd></dl>\
         </div></details>",
        entry.at,
        Text(entry.attribution.name()),
        Text(plan)
    );
}

fn versions(from: Option<&Version>, to: Option<&Version>) -> String {
    match (from, to) {
        (Some(from), Some(to)) if from != to => {
            format!("<span class=\"soft\">{} →</span> {}", Text(from), Text(to))
        }
        (_, Some(version)) => Text(version).to_string(),
        (Some(version), None) => format!("<span class=\"soft\">{}</span>", Text(version)),
        (None, None) => String::new(),
    }
}
