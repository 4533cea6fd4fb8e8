//! Being watched: what a pass came to, for people, scrapers and other programs.
//!
//! [`report`](report::report) turns a finished pass into a [`Snapshot`] and the [`Event`]s of what changed; both are
//! plain data. Everything else here only hands them on ([`reporter`]): [`metrics`] as text for Prometheus, [`api`] over HTTP, [`page`]
//! as a page for people, [`notify`] to webhooks, programs, a file and the journal. Nothing here decides anything about
//! a pass, and nothing that fails here can fail or delay one.

pub mod api;
pub mod event;
pub mod memory;
pub mod metrics;
pub mod notify;
pub mod openapi;
pub mod page;
pub mod report;
pub mod reporter;
pub mod serve;
mod stored;
pub mod tally;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::model::ledger::Quarantined;
use crate::model::outcome::HistoryEntry;
use crate::model::plan::PlanDocument;
use crate::model::window::Windows;
use crate::monitor::tally::Tally;
use crate::record::history::History;
use crate::status::HostStatus;

pub use event::{Event, Severity};
pub use report::{Pass, report};
pub use reporter::Reporter;

/// How many entries of the history are shown.
pub const HISTORY_SHOWN: usize = 200;

/// What is told in numbers alone. They become text when somebody asks, which is seldom next to passes.
#[derive(Clone, Debug, Default)]
pub struct Numbers {
    /// What was counted so far.
    pub tally: Tally,
    /// Releases that do not work here.
    pub quarantined: Vec<Quarantined>,
    /// Bytes that are kept, by class.
    pub stored: BTreeMap<String, u64>,
}

/// What is known after a pass.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// When it was made.
    pub at: Timestamp,
    /// The state of the host after the pass.
    pub status: HostStatus,
    /// What the pass did, or could not do.
    pub plan: PlanDocument,
    /// The newest entries of the history and the last one of each resource, oldest first.
    pub history: Arc<[HistoryEntry]>,
    /// What there is besides to be told in numbers.
    pub numbers: Numbers,
    /// When what is in use may be replaced on this host.
    pub windows: Windows,
    /// When the next pass is due, as far as somebody waits for it here.
    pub next: Option<Timestamp>,
}

impl Snapshot {
    /// The newest entries of the history, oldest first.
    pub fn newest(&self) -> &[HistoryEntry] {
        let others = self.history.len().saturating_sub(HISTORY_SHOWN);
        self.history.get(others..).unwrap_or_default()
    }

    /// The same as it is told to programs.
    fn changes(&self) -> History {
        History { entries: self.newest().to_vec(), damage: Vec::new() }
    }

    /// All numbers at a moment, as text for Prometheus.
    pub fn metrics(&self, now: Timestamp) -> String {
        let next = self.next.map(metrics::next_run).unwrap_or_default();
        let window = metrics::window(&self.windows, now);
        let Numbers { tally, quarantined, stored } = &self.numbers;
        let (status, plan) = (&self.status, &self.plan.spec);
        let text = metrics::render(&metrics::Facts { status, plan, tally, quarantined, stored });
        format!("{text}{window}{next}")
    }
}
