//! Handing reports on: to those who ask, and to a file.

use std::io;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use tokio::sync::watch;

use crate::host::Change as Host;
use crate::monitor::memory;
use crate::monitor::report::{Pass, report};
use crate::monitor::serve::Feed;
use crate::monitor::{Event, Snapshot};

/// Where what passes come to is shown.
#[derive(Debug)]
pub struct Reporter {
    feed: watch::Sender<Option<Arc<Snapshot>>>,
    textfile: Option<Utf8PathBuf>,
}

impl Reporter {
    /// A reporter that has nothing to show yet.
    pub fn new(textfile: Option<Utf8PathBuf>) -> Self {
        Self { feed: watch::Sender::new(None), textfile }
    }

    /// The newest snapshot and those that follow.
    pub fn feed(&self) -> Feed {
        self.feed.subscribe()
    }

    /// Takes note of a pass that ended; what changed is left to be told. What fails here is logged: no pass is
    /// undone because nobody can see it.
    pub fn ended(&self, host: &Host, pass: Pass<'_>) -> Vec<Event> {
        let report = report(host, pass, &memory::load(host));
        if let Err(error) = memory::save(host, &report.memory) {
            tracing::warn!(%error, "cannot remember what was told");
        }
        if let Some(file) = &self.textfile
            && let Err(error) = replace(file, &report.snapshot.metrics())
        {
            tracing::warn!(%error, "cannot write the metrics to {file}");
        }
        self.feed.send_replace(Some(Arc::new(report.snapshot)));
        report.events
    }

    /// Takes note of when the next pass is due.
    pub fn waits(&self, until: Timestamp) {
        self.feed.send_modify(|newest| {
            if let Some(snapshot) = newest {
                Arc::make_mut(snapshot).next = Some(until);
            }
        });
    }
}

/// Replaces the file as a whole. The collector reads names that end in `.prom`, which the name beside it does not.
#[expect(clippy::disallowed_methods, reason = "a file the operator named, not the managed host")]
fn replace(file: &Utf8Path, text: &str) -> io::Result<()> {
    let name = file.file_name().unwrap_or("metrics");
    let beside = file.with_file_name(format!(".{name}.reconcile"));
    std::fs::write(&beside, text)?;
    std::fs::rename(&beside, file)
}
