//! 5. Doing it: performs the steps of a plan, decides nothing, knows no kinds.
//!
//! Changes are fetched, verified and staged, several at once; nothing in use is touched by that. What is staged is
//! switched in rounds ([`rounds`]), while staging goes on: one change after another, then owed effects are settled, then
//! releases show that they work or are switched back, then what is surplus is removed. A change stops at its first
//! failure; others go on.

pub mod confirm;
mod health;
pub mod install;
pub mod exchange;
pub mod journal;
mod announce;
mod durable;
mod merge;
mod obtain;
mod place;
pub mod rounds;
pub mod stage;
pub mod switch;
mod tree;
mod trial;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use camino::Utf8Path;
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::apply::health::Baselines;
use crate::apply::journal::{Journal, JournalError};
use crate::apply::rounds::{Gathering, Rounds, replaces_self};
use crate::apply::stage::{Staged, Stager};
use crate::apply::switch::SwitchError;
use crate::assemble::Changed;
use crate::host::Change as Host;
use crate::model::outcome::{ChangeResult, End, Failure, FailureClass, Outcome, chain};
use crate::model::step::ExchangeBy;
use crate::model::{Change, Plan, ResourceId, Step};

/// How long what an effect started may go on once the program is to end, before it is killed: the service manager waits
/// for two minutes, and then kills this program, too.
pub const GRACE: Duration = Duration::from_secs(30);

/// Set when the pass is asked to stop: honoured between steps.
#[derive(Debug, Default)]
pub struct Stop {
    why: Cell<Option<StopReason>>,
    /// Until when what was begun may go on.
    grace: Cell<Option<Instant>>,
    notify: Notify,
}

/// Why a pass is asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The program is to end.
    Asked,
    /// What is staged is not wished any more: a newer desired state takes its place.
    Superseded,
}

impl Stop {
    /// Asks the pass to stop at the next safe point.
    pub fn request(&self, why: StopReason) {
        // To end is the stronger wish.
        if self.why.get() != Some(StopReason::Asked) {
            self.why.set(Some(why));
        }
        if why == StopReason::Asked && self.grace.get().is_none() {
            self.grace.set(Some(Instant::now() + GRACE));
        }
        self.notify.notify_waiters();
    }

    /// Why that was asked, if it was.
    pub fn why(&self) -> Option<StopReason> {
        self.why.get()
    }

    /// Whether that was asked.
    pub fn requested(&self) -> bool {
        self.why.get().is_some()
    }

    /// Whether the program is to end.
    pub fn is_the_end(&self) -> bool {
        self.why.get() == Some(StopReason::Asked)
    }

    /// Returns once the program is to end.
    pub async fn wait_for_end(&self) {
        loop {
            let notified = self.notify.notified();
            if self.is_the_end() {
                return;
            }
            notified.await;
        }
    }

    /// Goes on with what was begun; `None` where the program is to end and that had its time.
    async fn in_time<T>(&self, begun: impl Future<Output = T>) -> Option<T> {
        let over = async {
            self.wait_for_end().await;
            if let Some(until) = self.grace.get() {
                tokio::time::sleep_until(until).await;
            }
        };
        tokio::select! {
            biased;
            ended = begun => Some(ended),
            () = over => None,
        }
    }

    /// Returns once it was asked.
    pub async fn wait(&self) {
        let notified = self.notify.notified();
        if !self.requested() {
            notified.await;
        }
    }
}

/// A change, and what became of it.
pub type Ended<'p> = (&'p Change, &'p ChangeResult);

/// What keeps a pass from doing all that was planned, and who is told how far it is.
#[derive(Clone, Copy)]
pub struct Bounds<'a> {
    /// Whether to stop.
    pub stop: &'a Stop,
    /// The time at any moment.
    pub clock: &'a dyn Fn() -> Timestamp,
    /// From when on a change may not be made any more, where that is ever.
    pub closes: &'a dyn Fn(&Change) -> Option<Timestamp>,
    /// How long what is staged waits for more.
    pub gathering: Gathering,
    /// Told what became of the changes of a round.
    pub ended: &'a dyn Fn(&[Ended<'_>]),
}

impl fmt::Debug for Bounds<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bounds").field("stop", self.stop).finish_non_exhaustive()
    }
}

impl Bounds<'_> {
    /// Why a change that is staged may not come into use at a moment.
    fn end(&self, change: &Change, now: Timestamp) -> Option<End> {
        if self.stop.requested() {
            return Some(End::Interrupted);
        }
        // Staging it may have taken longer than the window was open.
        (self.closes)(change).filter(|closes| *closes <= now).map(|_| End::Deferred)
    }
}

/// Performs a plan. The result has one entry for each change.
pub async fn apply(
    plan: &Plan,
    host: &Host,
    stager: &Stager<'_>,
    journal: &mut Journal,
    bounds: &Bounds<'_>,
) -> Outcome {
    let changes = &plan.changes;
    let staging = stager.stage_each(changes, bounds.stop);
    let mut rounds = Rounds::new(changes, staging, bounds.gathering);
    let mut performed: BTreeMap<usize, Work<'_>> = BTreeMap::new();
    let looking = async { health::baselines(changes, host, bounds.stop).await };
    let baselines = rounds.while_staging(Box::pin(looking)).await;
    while let Some(mut ready) = rounds.next().await {
        rounds.while_staging(Box::pin(durable::sync_all(host, changes, &mut ready))).await;
        let begin = |(place, staged): (usize, Option<Staged>)| {
            Some((place, Work::begin(changes.get(place)?, staged, (bounds.clock)())))
        };
        let (places, mut work): (Vec<usize>, Vec<Work<'_>>) =
            ready.into_iter().filter_map(begin).unzip();
        let switching = switch_round((&mut work, &baselines), (host, stager), journal, bounds);
        rounds.while_staging(Box::pin(switching)).await;
        let ended: Vec<_> = work.iter().map(|work| (work.change, &work.result)).collect();
        (bounds.ended)(&ended);
        performed.extend(places.into_iter().zip(work));
    }
    stager.let_go(bounds.stop).await;
    let replaced_self = performed.values().any(|work| work.goes_on() && replaces_self(work.change));
    Outcome { results: performed.into_values().map(|work| work.result).collect(), replaced_self }
}

/// Takes what is staged into use, and through everything that this makes due.
async fn switch_round(
    (work, baselines): (&mut [Work<'_>], &Baselines),
    (host, stager): (&Host, &Stager<'_>),
    journal: &mut Journal,
    bounds: &Bounds<'_>,
) {
    let stop = bounds.stop;
    health::refuse_blind(work, baselines, host);
    for work in work.iter_mut() {
        work.result.at = (bounds.clock)();
        if !work.goes_on() {
            continue;
        }
        if let Some(end) = bounds.end(work.change, work.result.at) {
            if end == End::Deferred {
                switch::withdraw(host, work.change);
            }
            work.result.end = end;
        } else if let Err((step, error)) = commit(&work.change.steps, work, host, journal) {
            work.result.fail(step, error.class(), chain(&error));
        }
    }
    merge::merge(work, host, journal, stop).await;
    for work in work.iter_mut().filter(|work| work.goes_on()) {
        settle(&work.change.steps, work, host, journal, stop).await;
    }
    health::confirm(work, baselines, host, journal, stop).await;
    for work in work.iter_mut().filter(|work| work.goes_on()) {
        stager.refresh(work.change, &mut work.result, stop).await;
    }
    announce::announce(work, host).await;
    for work in work.iter_mut().filter(|work| work.goes_on()) {
        remove(work, host);
    }
}

/// One change while it is performed.
struct Work<'p> {
    change: &'p Change,
    result: ChangeResult,
    /// Paths of a tree that are another than before; `None` where there is nothing to compare with.
    changed: Option<Changed>,
    /// The slot that stays, whatever is surplus: the one in use now has yet to show that it works.
    kept: Option<String>,
}

impl<'p> Work<'p> {
    fn begin(change: &'p Change, staged: Option<Staged>, now: Timestamp) -> Self {
        let mut work = Self {
            change,
            result: ChangeResult::begin(&change.resource, now),
            changed: None,
            kept: None,
        };
        if let Some(mut staged) = staged {
            work.changed = staged.changed.take();
            work.result.note_staged(staged);
        }
        work
    }

    /// Whether everything went well so far.
    fn goes_on(&self) -> bool {
        self.result.end == End::Done
    }
}

impl ChangeResult {
    fn begin(resource: &ResourceId, at: Timestamp) -> Self {
        Self {
            resource: resource.clone(),
            at,
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
        self.end = End::Failed(Failure { step: step.kind(), class, message });
    }
}

/// Promotes and switches: milliseconds, and the only part that touches what is in use. The same for the steps
/// of a change and for those that undo it.
fn commit<'s>(
    steps: &'s [Step],
    work: &mut Work<'_>,
    host: &Host,
    journal: &mut Journal,
) -> Result<(), (&'s Step, SwitchError)> {
    for step in steps {
        if let Step::OweIfChanged { paths, .. } = step
            // Without anything to compare with, everything is another.
            && let Some(changed) = &work.changed
            && !paths.iter().any(|path| changed.touches(path))
        {
            continue;
        }
        commit_step(step, work, host, journal).map_err(|error| (step, error))?;
    }
    Ok(())
}

/// Performs a step that is a commit point or goes before one; every other step is passed over.
fn commit_step(
    step: &Step,
    work: &mut Work<'_>,
    host: &Host,
    journal: &mut Journal,
) -> Result<(), SwitchError> {
    let Work { change, result, .. } = work;
    match step {
        Step::Promote { from, to, replaces: true } => switch::replace(host, from, to),
        Step::Promote { from, to, replaces: false } => switch::promote(host, from, to),
        Step::Owe { effect } | Step::OweIfChanged { effect, .. } => {
            Ok(journal.owe(host, &change.resource, effect)?)
        }
        Step::Seal { path } => {
            result.notes.extend(switch::seal(host, path));
            Ok(())
        }
        Step::Enlist { list, entries } => {
            result.notes.extend(switch::enlist(host, list, entries));
            Ok(())
        }
        Step::Switch { bin, beside, release, links, expects } => {
            let (links, expects) = (links.as_deref(), expects.as_deref());
            let cleared =
                switch::switch(host, &switch::Links { bin, beside, release, links, expects })?;
            result.switched_to = release.file_name().map(str::to_owned);
            cleared
        }
        Step::Install { file, beside, release, program, wished, expects, keeps, backup } => {
            let wish = install::InPlace {
                file,
                beside,
                release,
                program: program.as_deref(),
                wished,
                expects: *expects,
                keeps: keeps.as_deref(),
                backup: backup.as_ref(),
                now: journal.now(),
            };
            result.notes.extend(install::install(host, &wish)?);
            result.switched_to = release.file_name().map(str::to_owned);
            Ok(())
        }
        Step::Point { slot, links } => note_use(slot, switch::point(host, links), result),
        Step::Pick { slot, shows, hides } => {
            note_use(slot, switch::pick(host, shows, hides), result)
        }
        Step::Exchange { tree, path, old, expects, preserve, by, keeps } => {
            let (old, keeps) = (old.as_deref(), keeps.as_deref());
            let trees = exchange::Trees { tree, path, old, expects: *expects, preserve, keeps };
            exchange_trees(host, &trees, *by, result)
        }
        Step::Fetch { .. }
        | Step::Unpack { .. }
        | Step::Place { .. }
        | Step::Try { .. }
        | Step::Assemble { .. }
        | Step::Merged { .. }
        | Step::Announce { .. }
        | Step::Refresh { .. }
        | Step::Settle { .. }
        | Step::Forgive { .. }
        | Step::Confirm { .. }
        | Step::Remove { .. }
        | Step::RemoveEmpty { .. } => Ok(()),
    }
}

/// Notes which images are in use from then on, if any.
fn note_use(
    slot: &str,
    switched: Result<(), SwitchError>,
    result: &mut ChangeResult,
) -> Result<(), SwitchError> {
    switched?;
    result.switched_to = Some(slot.to_owned()).filter(|slot| !slot.is_empty());
    Ok(())
}

/// Exchanges a tree; what somebody else has in the one in use is kept first.
fn exchange_trees(
    host: &Host,
    trees: &exchange::Trees<'_>,
    by: ExchangeBy,
    result: &mut ChangeResult,
) -> Result<(), SwitchError> {
    let (kept, put_away) = exchange::perform(host, trees, by)?;
    result.notes.extend(kept);
    let slot = trees.tree.parent().and_then(Utf8Path::file_name);
    result.switched_to = slot.map(str::to_owned);
    put_away
}

/// Pays what is owed. An effect that fails stays owed and is tried again by every pass; none is begun any more once the
/// program is to end.
async fn settle(
    steps: &[Step],
    work: &mut Work<'_>,
    host: &Host,
    journal: &mut Journal,
    stop: &Stop,
) {
    let Work { change, result, .. } = work;
    for step in steps {
        let settled = match step {
            Step::Settle { effect } if stop.is_the_end() && journal.owes(effect) => {
                let effect = effect.describe();
                result.notes.push(format!("{effect} stays owed: the agent was told to end"));
                if result.end == End::Done {
                    result.end = End::Interrupted;
                }
                continue;
            }
            Step::Settle { effect } => {
                let cut_off = || Err(JournalError::CutOff { effect: effect.describe() });
                stop.in_time(journal.settle(host, effect)).await.unwrap_or_else(cut_off)
            }
            Step::Forgive { effect, .. } => journal.forgive(host, &change.resource, effect),
            _ => continue,
        };
        // The other effects are due all the same; the first failure is the one to tell.
        if let Err(error) = settled
            && result.end == End::Done
        {
            let blamed = error.blames_release() && health::is_due(change);
            let class = if blamed { FailureClass::Unhealthy } else { FailureClass::Transient };
            result.fail(step, class, chain(&error));
        }
    }
}

fn remove(work: &mut Work<'_>, host: &Host) {
    let Work { change, result, kept, .. } = work;
    for step in &change.steps {
        let removed = match step {
            Step::Remove { slot, .. } if slot.is_some() && slot == kept => continue,
            Step::Remove { path, aside, expects, .. } => {
                switch::remove(host, path, (aside.as_deref(), expects.as_deref()))
            }
            Step::RemoveEmpty { path } => host.remove_empty(path).map_err(Into::into),
            _ => continue,
        };
        if let Err(error) = removed {
            return result.fail(step, error.class(), chain(&error));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_begun_has_its_time_when_the_program_is_to_end_and_no_more() {
        let stop = Stop::default();
        stop.request(StopReason::Superseded);
        assert!(stop.grace.get().is_none(), "what is due is done for the next wish");
        stop.request(StopReason::Asked);
        let until = stop.grace.get().unwrap();
        assert!(until > Instant::now());
        stop.request(StopReason::Asked);
        assert_eq!(stop.grace.get(), Some(until), "asking again gives no more time");
        stop.grace.set(Some(Instant::now()));
        let argv = ["sh", "-c", "trap '' TERM; sleep 600"].map(str::to_owned);
        assert!(stop.in_time(crate::host::runner::run(&argv, &[])).await.is_none());
    }
}
