//! Numbers as Prometheus reads them: text format 0.0.4, names as its naming rules ask for.

use std::collections::BTreeMap;
use std::fmt::Write;

use jiff::Timestamp;

use crate::model::ledger::Quarantined;
use crate::model::window::Windows;
use crate::model::{Kind, Plan};
use crate::monitor::tally::{self, BUCKETS, Tally, labels};
use crate::status::{CONDITIONS, HOST_CONDITIONS, HostStatus, REBOOT_REQUIRED, State};

/// What is counted.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The state of the host.
    pub status: &'a HostStatus,
    /// What the last pass did.
    pub plan: &'a Plan,
    /// What was counted so far.
    pub tally: &'a Tally,
    /// Releases that do not work here.
    pub quarantined: &'a [Quarantined],
    /// Bytes that are kept, by class.
    pub stored: &'a BTreeMap<String, u64>,
}

/// The text.
pub fn render(facts: &Facts<'_>) -> String {
    let mut text = Text::default();
    text.family("reconcile_build_info", "gauge", "Which program this is.");
    text.sample("reconcile_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    times(&mut text, facts.status);
    host(&mut text, facts.status);
    resources(&mut text, facts.status);
    pending(&mut text, facts.plan);
    quarantined(&mut text, facts.quarantined);
    sources(&mut text, facts.tally);
    stored(&mut text, facts.stored);
    counters(&mut text, facts.tally);
    durations(&mut text, facts.tally);
    text.0
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, pairs: &[(&str, &str)], value: impl std::fmt::Display) {
        let _ = writeln!(self.0, "{name}{} {value}", labels(pairs));
    }
}

/// Whether what is in use may be replaced at a moment.
pub fn window(windows: &Windows, now: Timestamp) -> String {
    let mut text = Text::default();
    let name = "reconcile_window_open";
    text.family(
        name,
        "gauge",
        "Whether what is in use may be replaced, by the windows of the host.",
    );
    text.sample(name, &[], u8::from(windows.closed(now).is_none()));
    text.0
}

/// When the next pass is due.
pub fn next_run(at: Timestamp) -> String {
    let mut text = Text::default();
    let name = "reconcile_next_run_timestamp_seconds";
    text.family(name, "gauge", "When a pass is due.");
    text.sample(name, &[], seconds(at));
    text.0
}

fn times(text: &mut Text, status: &HostStatus) {
    let times = [
        ("reconcile_last_run_timestamp_seconds", status.last_pass_at, "When the last pass was."),
        (
            "reconcile_last_success_timestamp_seconds",
            status.last_converged_at,
            "When everything was as desired for the last time.",
        ),
    ];
    for (name, at, help) in times {
        if let Some(at) = at {
            text.family(name, "gauge", help);
            text.sample(name, &[], seconds(at));
        }
    }
}

fn seconds(at: Timestamp) -> f64 {
    at.as_duration().as_secs_f64()
}

fn host(text: &mut Text, status: &HostStatus) {
    let name = "reconcile_host_condition";
    text.family(name, "gauge", "Whether a condition of the host holds.");
    for condition in HOST_CONDITIONS {
        let holds = status.conditions.iter().any(|c| c.kind == condition && c.status == "True");
        text.sample(name, &[("type", condition)], u8::from(holds));
    }
    let name = "reconcile_reboot_required";
    text.family(
        name,
        "gauge",
        "Whether something that is installed is used from the next start on.",
    );
    let required = status.conditions.iter().any(|c| c.kind == REBOOT_REQUIRED);
    text.sample(name, &[], u8::from(required));
}

fn sources(text: &mut Text, tally: &Tally) {
    let name = "reconcile_source_last_success_timestamp_seconds";
    text.family(name, "gauge", "When a source answered as it should for the last time.");
    for (source, at) in tally.answered() {
        text.sample(name, &[("source", source)], seconds(at));
    }
}

fn stored(text: &mut Text, stored: &BTreeMap<String, u64>) {
    let name = "reconcile_store_bytes";
    text.family(name, "gauge", "Bytes kept, when something was done last.");
    for (class, bytes) in stored {
        text.sample(name, &[("class", class)], bytes);
    }
}

fn resources(text: &mut Text, status: &HostStatus) {
    let mut counts: BTreeMap<(Kind, State), u64> = BTreeMap::new();
    for resource in &status.resources {
        for state in State::ALL {
            let count = counts.entry((resource.id.kind, state)).or_default();
            *count += u64::from(resource.state == state);
        }
    }
    text.family("reconcile_resources", "gauge", "Managed resources by state.");
    for ((kind, state), count) in counts {
        let kind = kind.to_string();
        text.sample("reconcile_resources", &[("kind", &kind), ("state", state.name())], count);
    }
    text.family("reconcile_resource_info", "gauge", "Which version is in use.");
    for resource in &status.resources {
        let kind = resource.id.kind.to_string();
        let version = resource.version.as_ref().map(ToString::to_string).unwrap_or_default();
        let floating = if resource.floating { "true" } else { "false" };
        let pairs = [
            ("kind", kind.as_str()),
            ("name", resource.id.name.as_str()),
            ("version", &version),
            ("floating", floating),
        ];
        text.sample("reconcile_resource_info", &pairs, 1);
    }
    text.family(
        "reconcile_resource_condition",
        "gauge",
        "Whether a condition of a resource holds.",
    );
    for resource in &status.resources {
        let kind = resource.id.kind.to_string();
        for condition in CONDITIONS {
            let holds =
                resource.conditions.iter().any(|c| c.kind == condition && c.status == "True");
            let name = resource.id.name.as_str();
            let pairs = [("kind", kind.as_str()), ("name", name), ("type", condition)];
            text.sample("reconcile_resource_condition", &pairs, u8::from(holds));
        }
    }
    let suspended = |c: &crate::status::Condition| c.kind == "Suspended";
    let count = status.resources.iter().filter(|r| r.conditions.iter().any(suspended)).count();
    text.family("reconcile_suspended", "gauge", "How many resources are left alone on purpose.");
    text.sample("reconcile_suspended", &[("scope", "resource")], count);
}

fn pending(text: &mut Text, plan: &Plan) {
    let mut counts: BTreeMap<(Kind, String), u64> = BTreeMap::new();
    for blocked in &plan.blocked {
        let reason = serde_json::to_value(blocked.reason).unwrap_or_default();
        let reason = reason.as_str().unwrap_or_default().to_owned();
        *counts.entry((blocked.resource.kind, reason)).or_default() += 1;
    }
    let help = "Wishes that the last pass could not carry out.";
    text.family("reconcile_blocked_changes", "gauge", help);
    for ((kind, reason), count) in counts {
        let kind = kind.to_string();
        text.sample("reconcile_blocked_changes", &[("kind", &kind), ("reason", &reason)], count);
    }
}

fn quarantined(text: &mut Text, releases: &[Quarantined]) {
    let mut counts: BTreeMap<Kind, u64> = BTreeMap::new();
    for release in releases {
        *counts.entry(release.resource.kind).or_default() += 1;
    }
    let help = "Releases that were switched back and are not tried again.";
    text.family("reconcile_quarantined_releases", "gauge", help);
    for (kind, count) in counts {
        text.sample("reconcile_quarantined_releases", &[("kind", &kind.to_string())], count);
    }
}

fn counters(text: &mut Text, tally: &Tally) {
    let helps = [
        (tally::RUNS, "Passes."),
        (tally::CHANGES, "Changes made."),
        (tally::FAILURES, "Changes that failed."),
        (tally::DRIFT, "Managed paths that somebody else had changed."),
        (tally::ROLLBACKS, "Releases that did not work and were switched back."),
        (tally::REQUESTS, "Documents asked of sources, by what came of it."),
        (tally::BYTES, "Bytes fetched."),
    ];
    for (name, help) in helps {
        text.family(name, "counter", help);
        for (labels, value) in tally.series(name) {
            let _ = writeln!(text.0, "{name}{labels} {value}");
        }
    }
}

fn durations(text: &mut Text, tally: &Tally) {
    let name = "reconcile_run_duration_seconds";
    text.family(name, "histogram", "How long passes take.");
    let durations = tally.durations();
    let mut below = 0_u64;
    for (bound, count) in BUCKETS.iter().zip(durations.counts) {
        below = below.saturating_add(count);
        let _ = writeln!(text.0, "{name}_bucket{{le=\"{bound}\"}} {below}");
    }
    let _ = writeln!(text.0, "{name}_bucket{{le=\"+Inf\"}} {}", durations.count);
    let _ = writeln!(text.0, "{name}_sum {}", durations.sum);
    let _ = writeln!(text.0, "{name}_count {}", durations.count);
}
