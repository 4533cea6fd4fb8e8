//! Counters that only grow, kept over restarts and between passes.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::fetch::Answers;
use crate::model::outcome::{ChangeResult, End};
use crate::model::{Attribution, Change};

/// Upper bounds of the duration histogram, in seconds: from a pass that finds nothing to a large first install.
pub(super) const BUCKETS: [f64; 9] = [0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0];

/// Most series kept of one counter: labels are closed vocabularies, so this bounds a damaged file only.
const SERIES_MAX: usize = 2000;

/// Most hosts of sources that are told apart: each has up to five series.
const SOURCES_MAX: usize = 200;

/// How long a source that is not asked any more is remembered: longer than the longest time between two questions.
const ASKED_WITHIN: SignedDuration = SignedDuration::from_hours(8 * 24);

/// Names of counters.
pub(super) const RUNS: &str = "reconcile_runs_total";
pub(super) const CHANGES: &str = "reconcile_changes_total";
pub(super) const FAILURES: &str = "reconcile_change_failures_total";
pub(super) const DRIFT: &str = "reconcile_drift_detected_total";
pub(super) const ROLLBACKS: &str = "reconcile_rollbacks_total";
pub(super) const REQUESTS: &str = "reconcile_source_requests_total";
pub(super) const BYTES: &str = "reconcile_download_bytes_total";

/// All of them.
pub(super) const COUNTERS: [&str; 7] = [RUNS, CHANGES, FAILURES, DRIFT, ROLLBACKS, REQUESTS, BYTES];

/// Everything counted so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Tally {
    /// Values by name and by labels as they are printed.
    counters: BTreeMap<String, BTreeMap<String, u64>>,
    durations: Durations,
    /// Hosts of sources.
    sources: BTreeMap<String, Asked>,
}

/// When a host was asked, and when it answered as it should.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    asked_at: Timestamp,
    answered_at: Option<Timestamp>,
}

/// How long passes took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Durations {
    /// Passes up to each bound, not cumulated.
    pub(super) counts: [u64; BUCKETS.len()],
    /// All passes.
    pub(super) count: u64,
    /// Seconds in all.
    pub(super) sum: f64,
}

/// Labels as Prometheus prints them.
pub(super) fn labels(pairs: &[(&str, &str)]) -> String {
    let escape = |v: &str| v.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let pairs: Vec<String> =
        pairs.iter().map(|(name, value)| format!("{name}=\"{}\"", escape(value))).collect();
    if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) }
}

impl Tally {
    /// What was read from a file may be of another version: only what is printed is kept.
    pub(super) fn checked(mut self) -> Self {
        self.counters.retain(|name, series| {
            series.retain(|labels, _| {
                labels.is_empty() || (labels.starts_with('{') && labels.ends_with('}'))
            });
            COUNTERS.contains(&name.as_str()) && series.len() <= SERIES_MAX
        });
        if self.sources.len() > SOURCES_MAX + 1 {
            self.sources.clear();
        }
        self.durations.sum = if self.durations.sum.is_finite() { self.durations.sum } else { 0.0 };
        self
    }

    /// The series of one counter.
    pub(super) fn series(&self, name: &str) -> impl Iterator<Item = (&str, u64)> {
        let series = self.counters.get(name).into_iter().flatten();
        series.map(|(labels, value)| (labels.as_str(), *value))
    }

    /// Counts what came of asking sources. One that is not asked any more is forgotten after a while, so that what is
    /// exported is what the wish names.
    pub(super) fn asked(&mut self, hosts: &BTreeMap<String, Answers>, now: Timestamp) {
        for (host, answers) in hosts {
            let room = self.sources.len() < SOURCES_MAX || self.sources.contains_key(host);
            let name = if room { host.as_str() } else { "others" };
            for (result, number) in answers.named().into_iter().filter(|(_, number)| *number > 0) {
                self.add(REQUESTS, &[("source", name), ("result", result)], number);
            }
            let asked = self.sources.entry(name.to_owned());
            let asked = asked.or_insert(Asked { asked_at: now, answered_at: None });
            asked.asked_at = now;
            if answers.any_good() {
                asked.answered_at = Some(now);
            }
        }
        self.sources.retain(|_, asked| now.duration_since(asked.asked_at) <= ASKED_WITHIN);
        let sources = &self.sources;
        if let Some(series) = self.counters.get_mut(REQUESTS) {
            series.retain(|labels, _| {
                sources.keys().any(|host| labels.contains(&format!("source=\"{host}\"")))
            });
        }
    }

    /// When each source answered last as it should.
    pub(super) fn answered(&self) -> impl Iterator<Item = (&str, Timestamp)> {
        self.sources.iter().filter_map(|(host, asked)| Some((host.as_str(), asked.answered_at?)))
    }

    /// How long passes took.
    pub(super) fn durations(&self) -> &Durations {
        &self.durations
    }

    pub(super) fn add(&mut self, name: &str, pairs: &[(&str, &str)], number: u64) {
        let series = self.counters.entry(name.to_owned()).or_default();
        let value = series.entry(labels(pairs)).or_default();
        *value = value.saturating_add(number);
    }

    /// Counts one pass.
    pub(super) fn run(&mut self, trigger: &str, result: &str, seconds: f64) {
        self.add(RUNS, &[("trigger", trigger), ("result", result)], 1);
        let bucket = BUCKETS.iter().position(|bound| seconds <= *bound);
        if let Some(count) = bucket.and_then(|bucket| self.durations.counts.get_mut(bucket)) {
            *count = count.saturating_add(1);
        }
        self.durations.count = self.durations.count.saturating_add(1);
        self.durations.sum += seconds;
    }

    /// Counts one change.
    pub(super) fn change(&mut self, change: &Change, result: &ChangeResult) {
        let kind = change.resource.kind.to_string();
        let kind = ("kind", kind.as_str());
        self.add(BYTES, &[("origin", "source")], result.fetched_bytes);
        if change.attribution == Attribution::DriftCorrected {
            for drift in &change.drift {
                let name = serde_json::to_value(drift.kind).unwrap_or_default();
                self.add(DRIFT, &[kind, ("drift", name.as_str().unwrap_or_default())], 1);
            }
        }
        let rolled_back = match &result.end {
            End::RolledBack(_) => Some("done"),
            End::RollbackFailed(_) => Some("failed"),
            End::Done | End::Failed(_) | End::Interrupted | End::Deferred => None,
        };
        if let Some(how) = rolled_back {
            self.add(ROLLBACKS, &[kind, ("result", how)], 1);
        }
        match (&result.end, result.end.failure()) {
            (End::Done, _) => {
                let action = ("action", change.action.name());
                let attribution = ("attribution", change.attribution.name());
                self.add(CHANGES, &[kind, action, attribution], 1);
            }
            (_, Some(failure)) => {
                let reason = serde_json::to_value(failure.class).unwrap_or_default();
                self.add(FAILURES, &[kind, ("reason", reason.as_str().unwrap_or_default())], 1);
            }
            (_, None) => {}
        }
    }
}
