//! Releases that must show that they work, and what is done about those that do not.

use std::collections::BTreeMap;

use futures_util::future::join_all;

use crate::apply::confirm::{Health, sample, watch};
use crate::apply::journal::Journal;
use crate::apply::{Stop, commit_step, settle};
use crate::host::Change as Host;
use crate::model::ledger::Quarantined;
use crate::model::outcome::{ChangeResult, End, Failure, FailureClass, chain};
use crate::model::{Change, Check, Effect, ResourceId, Step};

/// Why the checks of releases failed before anything was touched: a new release is not blamed for it.
pub(super) type Baselines = BTreeMap<ResourceId, String>;

fn due(change: &Change) -> Option<(&Check, &Effect)> {
    change.steps.iter().find_map(|step| match step {
        Step::Confirm { check, effect } => Some((check, effect)),
        _ => None,
    })
}

/// Whether the release of a change must show that it works.
pub(super) fn is_due(change: &Change) -> bool {
    due(change).is_some()
}

/// Samples every check once before the switch, where something is in use whose health can be told and that
/// is not itself what is to be confirmed.
pub(super) async fn baselines(work: &[(&Change, ChangeResult)], host: &Host) -> Baselines {
    let switched = |change: &Change| change.steps.iter().any(|s| matches!(s, Step::Owe { .. }));
    let touched = work.iter().filter(|(change, result)| {
        result.end == End::Done && change.before.is_some() && switched(change)
    });
    let sampled = touched.filter_map(|(change, _)| {
        let (check, _) = due(change)?;
        Some(async move { (change.resource.clone(), sample(check, host.hooks()).await) })
    });
    let sampled = join_all(sampled).await;
    sampled.into_iter().filter_map(|(id, sample)| Some((id, sample.err()?))).collect()
}

/// Waits for every release that must show that it works, all at once; then goes back, one after another, from
/// those that did not.
pub(super) async fn confirm(
    work: &mut [(&Change, ChangeResult)],
    baselines: &Baselines,
    host: &Host,
    journal: &mut Journal,
    stop: &Stop,
) {
    let watched = work.iter().map(|(change, result)| watched(change, result, host, stop));
    let watched = join_all(watched).await;
    for ((change, result), health) in work.iter_mut().zip(watched) {
        let (Some(health), Some((_, effect))) = (health, due(change)) else { continue };
        let why = match health {
            Watched::Stopped => {
                // It stays owed, and the next pass looks again.
                result.end = End::Interrupted;
                continue;
            }
            Watched::Ended(Health::Holds) => None,
            Watched::Ended(Health::Fails(why)) => match baselines.get(&change.resource) {
                Some(before) => {
                    result.notes.push(format!("{why}; but before the switch, {before}"));
                    None
                }
                None => Some(why),
            },
        };
        if let Some(why) = why {
            go_back(change, why, host, journal, result).await;
        }
        if let Err(error) = journal.forgive(host, &change.resource, effect)
            && result.end == End::Done
        {
            let (class, message) = (FailureClass::Transient, chain(&error));
            result.end = End::Failed(Failure { step: "confirm", class, message });
        }
    }
}

enum Watched {
    Ended(Health),
    Stopped,
}

/// `None` when there is nothing to watch.
async fn watched(
    change: &Change,
    result: &ChangeResult,
    host: &Host,
    stop: &Stop,
) -> Option<Watched> {
    let (check, _) = due(change)?;
    match &result.end {
        End::Done => {}
        // An effect that failed after the switch because of the release says enough about it.
        End::Failed(failure) if failure.class == FailureClass::Unhealthy => {
            return Some(Watched::Ended(Health::Fails(failure.message.clone())));
        }
        _ => return None,
    }
    tokio::select! {
        biased;
        () = stop.wait() => Some(Watched::Stopped),
        health = watch(check, host.hooks()) => Some(Watched::Ended(health)),
    }
}

/// Remembers that the release does not work here, then performs the change's `undo` and looks once more.
async fn go_back(
    change: &Change,
    why: String,
    host: &Host,
    journal: &mut Journal,
    result: &mut ChangeResult,
) {
    let failure =
        |message: String| Failure { step: "confirm", class: FailureClass::Unhealthy, message };
    let rolls_back = due(change).is_some_and(|(check, _)| check.rolls_back);
    if !rolls_back {
        result.end = End::Failed(failure(why));
        return;
    }
    quarantine(change, &why, host, journal, result);
    if change.undo.is_empty() {
        let nowhere = format!("{why}; there is nothing to go back to, so it is in use still");
        result.end = End::Failed(failure(nowhere));
        return;
    }
    result.end = End::Done;
    for step in &change.undo {
        if let Err(error) = commit_step(step, change, host, journal, result) {
            let stuck = format!("{why}; going back failed: {}", chain(&error));
            result.end = End::RollbackFailed(failure(stuck));
            return;
        }
    }
    settle(&change.undo, change, host, journal, result).await;
    if let End::Failed(settled) = &result.end {
        let stuck = format!("{why}; the earlier release is in use again, but {}", settled.message);
        result.end = End::RollbackFailed(failure(stuck));
        return;
    }
    let again = match due(change) {
        Some((check, _)) => watch(check, host.hooks()).await,
        None => Health::Holds,
    };
    result.end = match again {
        Health::Holds => {
            let to = change.before.as_ref().map_or("what was there before", |b| b.version.as_str());
            End::RolledBack(failure(format!("{why}; {to} is in use again")))
        }
        Health::Fails(still) => {
            let stuck = format!("{why}; the earlier release is in use again, but {still}");
            End::RollbackFailed(failure(stuck))
        }
    };
}

/// Remembers that a release does not work here, before anything is done about it.
pub(super) fn quarantine(
    change: &Change,
    why: &str,
    host: &Host,
    journal: &mut Journal,
    result: &mut ChangeResult,
) {
    let Some(after) = &change.after else { return };
    let fetched = result.fetched.as_ref().map(|fetched| fetched.digest.clone());
    let release = Quarantined {
        resource: change.resource.clone(),
        tag: after.tag.clone(),
        digest: after.digest.clone().or(fetched),
        reason: why.to_owned(),
        since: journal.now(),
    };
    if let Err(error) = journal.quarantine(host, release) {
        result.notes.push(format!("cannot remember that it does not work: {error}"));
    }
}
