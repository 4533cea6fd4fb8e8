//! 5. Doing it: performs the steps of a plan, decides nothing, knows no kinds.
//!
//! Everything is fetched, verified and staged first, several changes at once; nothing in use is touched.
//! Then changes are switched one after another, then owed effects are settled, then what is surplus is
//! removed. A change stops at its first failure; others go on.

pub mod exchange;
pub mod journal;
pub mod stage;
pub mod switch;
mod tree;

use std::cell::Cell;
use std::collections::BTreeMap;

use camino::Utf8Path;
use tokio::sync::Notify;

use crate::apply::journal::Journal;
use crate::apply::stage::{Staged, Stager};
use crate::assemble::Changed;
use crate::host::Change as Host;
use crate::model::outcome::{ChangeResult, End, Failure, FailureClass, Outcome};
use crate::model::{Change, Plan, ResourceId, Step};

/// Set when the pass is asked to stop: honoured between steps.
#[derive(Debug, Default)]
pub struct Stop {
    requested: Cell<bool>,
    notify: Notify,
}

impl Stop {
    /// Asks the pass to stop at the next safe point.
    pub fn request(&self) {
        self.requested.set(true);
        self.notify.notify_waiters();
    }

    /// Whether that was asked.
    pub fn requested(&self) -> bool {
        self.requested.get()
    }

    /// Returns once it was asked.
    pub async fn wait(&self) {
        let notified = self.notify.notified();
        if !self.requested() {
            notified.await;
        }
    }
}

/// Performs a plan. The result has one entry for each change.
pub async fn apply(
    plan: &Plan,
    host: &Host,
    stager: &Stager<'_>,
    journal: &mut Journal,
    stop: &Stop,
) -> Outcome {
    let mut prepared = stager.stage_all(&plan.changes, stop).await;
    let mut results: BTreeMap<ResourceId, ChangeResult> = BTreeMap::new();
    for change in &plan.changes {
        let mut result = ChangeResult::begin(&change.resource);
        let mut changed = None;
        if let Some(mut staged) = prepared.remove(&change.resource) {
            changed = staged.changed.take();
            result.note_staged(staged);
        }
        if result.end == End::Done && stop.requested() {
            result.end = End::Interrupted;
        }
        if result.end == End::Done {
            commit(change, host, journal, (&mut result, changed.as_ref()));
        }
        results.insert(change.resource.clone(), result);
    }
    for change in &plan.changes {
        if let Some(result) = results.get_mut(&change.resource).filter(|r| r.end == End::Done) {
            settle(change, host, journal, result).await;
        }
    }
    for change in &plan.changes {
        if let Some(result) = results.get_mut(&change.resource).filter(|r| r.end == End::Done) {
            remove(change, host, result);
        }
    }
    let in_plan_order = plan.changes.iter().filter_map(|c| results.remove(&c.resource));
    Outcome { results: in_plan_order.collect() }
}

impl ChangeResult {
    fn begin(resource: &ResourceId) -> Self {
        Self {
            resource: resource.clone(),
            end: End::Done,
            fetched_bytes: 0,
            fetched: None,
            switched_to: None,
            notes: Vec::new(),
        }
    }

    fn note_staged(&mut self, staged: Staged) {
        self.end = staged.end;
        self.fetched_bytes = staged.fetched_bytes;
        self.fetched = staged.fetched;
        self.notes = staged.notes;
    }

    fn fail(&mut self, step: &Step, class: FailureClass, message: String) {
        self.end = End::Failed(Failure { step: step.name(), class, message });
    }
}

/// Promotes and switches: milliseconds, and the only part that touches what is in use.
fn commit(
    change: &Change,
    host: &Host,
    journal: &mut Journal,
    (result, changed): (&mut ChangeResult, Option<&Changed>),
) {
    for step in &change.steps {
        let performed = match step {
            Step::Promote { from, to, replaces: true } => switch::replace(host, from, to),
            Step::Promote { from, to, replaces: false } => switch::promote(host, from, to),
            Step::Owe { effect } => journal.owe(host, &change.resource, effect).map_err(Into::into),
            Step::OweIfChanged { paths, effect } => {
                // Without anything to compare with, everything is another.
                if changed.is_some_and(|c| !paths.iter().any(|path| c.touches(path))) {
                    continue;
                }
                journal.owe(host, &change.resource, effect).map_err(Into::into)
            }
            Step::Exchange { tree, path, old, expects, preserve, by } => exchange::exchange(
                host,
                &exchange::Trees { tree, path, old: old.as_deref(), expects: *expects, preserve },
                *by,
            )
            .and_then(|put_away| {
                let slot = tree.parent().and_then(Utf8Path::file_name);
                result.switched_to = slot.map(str::to_owned);
                put_away
            }),
            Step::Switch { bin, beside, release, links, expects } => switch::switch(
                host,
                &switch::Links { bin, beside, release, links: links.as_deref(), expects },
            )
            .and_then(|cleared| {
                result.switched_to = release.file_name().map(str::to_owned);
                cleared
            }),
            Step::Fetch { .. }
            | Step::Unpack { .. }
            | Step::Assemble { .. }
            | Step::Settle { .. }
            | Step::Forgive { .. }
            | Step::Remove { .. }
            | Step::RemoveEmpty { .. } => continue,
        };
        if let Err(error) = performed {
            return result.fail(step, error.class(), crate::model::outcome::chain(&error));
        }
    }
}

/// Pays what is owed. An effect that fails stays owed and is tried again by every pass.
async fn settle(change: &Change, host: &Host, journal: &mut Journal, result: &mut ChangeResult) {
    for step in &change.steps {
        let settled = match step {
            Step::Settle { effect } => journal.settle(host, effect).await,
            Step::Forgive { effect, .. } => journal.forgive(host, &change.resource, effect),
            _ => continue,
        };
        // The other effects are due all the same; the first failure is the one to tell.
        if let Err(error) = settled
            && result.end == End::Done
        {
            result.fail(step, FailureClass::Transient, crate::model::outcome::chain(&error));
        }
    }
}

fn remove(change: &Change, host: &Host, result: &mut ChangeResult) {
    for step in &change.steps {
        let removed = match step {
            Step::Remove { path, aside } => switch::remove(host, path, aside.as_deref()),
            Step::RemoveEmpty { path } => host.remove_empty(path).map_err(Into::into),
            _ => continue,
        };
        if let Err(error) = removed {
            return result.fail(step, error.class(), crate::model::outcome::chain(&error));
        }
    }
}
