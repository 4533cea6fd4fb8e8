//! Counts over a plan and its name.

use crate::model::plan::PlanSummary;
use crate::model::{Change, Digest, Effect, Plan, Step};

impl Plan {
    /// True when nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// SHA-256 over the compact JSON: the plan's name.
    pub fn name(&self) -> Digest {
        Digest::of_json(self)
    }

    /// Counts for scripts and for the last line of the text.
    pub fn summary(&self) -> PlanSummary {
        let mut summary = PlanSummary {
            changes_pending: !self.changes.is_empty(),
            blocked: self.blocked.len(),
            unchanged: self.unchanged.len(),
            ..PlanSummary::default()
        };
        for change in &self.changes {
            *summary.actions.entry(change.action.name().to_owned()).or_insert(0) += 1;
            match change.fetch_bytes {
                Some(bytes) => summary.fetch_bytes += bytes,
                None => summary.fetch_unknown += 1,
            }
            for step in &change.steps {
                if let Step::Settle { effect } = step {
                    let text = disruption(change, effect);
                    if !summary.disruption.contains(&text) {
                        summary.disruption.push(text);
                    }
                }
            }
        }
        summary
    }
}

/// An effect, and for which paths only.
fn disruption(change: &Change, effect: &Effect) -> String {
    let paths = change.steps.iter().find_map(|step| match step {
        Step::OweIfChanged { paths, effect: other } if other == effect => Some(paths.join(", ")),
        _ => None,
    });
    let only = paths.map(|paths| format!(" (if {paths} changed)"));
    format!("{}{}", effect.describe(), only.unwrap_or_default())
}
