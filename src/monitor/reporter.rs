//! Handing reports on: to those who ask, and to a file.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use tokio::sync::watch;

use crate::host::{Change as Host, Look, Stat};
use crate::monitor::memory::{self, Memory};
use crate::monitor::report::{Before, Pass, report};
use crate::monitor::serve::Feed;
use crate::monitor::{Event, HISTORY_SHOWN, Snapshot};
use crate::record::history::Recent;
use crate::record::last_pass::SAME_FOR;

/// Where what passes come to is shown.
#[derive(Debug)]
pub struct Reporter {
    feed: watch::Sender<Option<Arc<Snapshot>>>,
    textfile: Option<Utf8PathBuf>,
    known: RefCell<Known>,
}

/// What is known from the pass before.
#[derive(Debug, Default)]
struct Known {
    memory: Memory,
    /// The memory as it was written last, when, and the file then.
    written: Option<(Memory, Timestamp, Stat)>,
    history: Recent,
}

impl Known {
    /// What was told last. Another pass, one that is made by hand, may have told something.
    fn memory(&mut self, host: &Look) -> &Memory {
        let there = host.stat(memory::place(host)).ok().flatten();
        if there != self.written.as_ref().map(|(_, _, stat)| *stat) {
            self.memory = memory::load(host);
            // Long ago: what is to be noted next is written.
            self.written = there.map(|stat| (self.memory.clone(), Timestamp::MIN, stat));
        }
        &self.memory
    }

    /// Writes what is to be remembered, unless what is written lacks nothing but the counts of a moment.
    fn note(&mut self, host: &Host, memory: Memory, now: Timestamp) {
        self.memory = memory;
        let recently = |at: Timestamp| at <= now && now.duration_since(at) < SAME_FOR;
        let same = |(written, at, _): &(Memory, Timestamp, Stat)| {
            recently(*at) && self.memory.tells_the_same(written)
        };
        if !self.written.as_ref().is_some_and(same) {
            self.write(host, now);
        }
    }

    fn write(&mut self, host: &Host, now: Timestamp) {
        let written =
            memory::save(host, &self.memory).and_then(|()| host.stat(memory::place(host)));
        match written {
            Ok(stat) => self.written = stat.map(|stat| (self.memory.clone(), now, stat)),
            Err(error) => tracing::warn!(%error, "cannot remember what was told"),
        }
    }
}

impl Reporter {
    /// A reporter that has nothing to show yet.
    pub fn new(textfile: Option<Utf8PathBuf>) -> Self {
        Self { feed: watch::Sender::new(None), textfile, known: RefCell::default() }
    }

    /// The newest snapshot and those that follow.
    pub fn feed(&self) -> Feed {
        self.feed.subscribe()
    }

    /// Takes note of a pass that ended; what changed is left to be told. What fails here is logged: no pass is
    /// undone because nobody can see it.
    pub fn ended(&self, host: &Host, pass: Pass<'_>) -> Vec<Event> {
        let now = pass.now;
        let (events, memory) = self.show(host, pass);
        self.known.borrow_mut().note(host, memory, now);
        events
    }

    /// Takes note of a pass that could not be made. Perhaps nothing can be written, so what was told is remembered here
    /// until the next one.
    pub fn unmade(&self, host: &Look, pass: Pass<'_>) -> Vec<Event> {
        let (events, memory) = self.show(host, pass);
        self.known.borrow_mut().memory = memory;
        events
    }

    /// Shows what a pass came to; what changed, and what is to be remembered.
    fn show(&self, host: &Look, pass: Pass<'_>) -> (Vec<Event>, Memory) {
        let now = pass.now;
        let mut known = self.known.borrow_mut();
        let history = known.history.of(host, HISTORY_SHOWN).unwrap_or_default();
        let report = report(host, pass, Before { memory: known.memory(host), history });
        if let Some(file) = &self.textfile
            && let Err(error) = replace(file, &report.snapshot.metrics(now))
        {
            tracing::warn!(%error, "cannot write the metrics to {file}");
        }
        self.feed.send_replace(Some(Arc::new(report.snapshot)));
        (report.events, report.memory)
    }

    /// Writes the counts of a moment that are not written yet: nobody counts on.
    pub fn finish(&self, host: &Host, now: Timestamp) {
        let mut known = self.known.borrow_mut();
        let missing = known.written.as_ref().is_some_and(|(written, ..)| *written != known.memory);
        if missing {
            known.write(host, now);
        }
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
