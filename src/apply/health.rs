//! Releases that must show that they work, and what is done about those that do not.

use std::collections::BTreeMap;

use camino::Utf8Path;
use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt as _};
use tokio::sync::Semaphore;

use crate::apply::confirm::{Health, Unhealthy, baseline, can_look, watch};
use crate::apply::journal::Journal;
use crate::apply::{Stop, Work, commit, settle};
use crate::host::Change as Host;
use crate::model::ledger::Quarantined;
use crate::model::outcome::{End, Failure, FailureClass, chain};
use crate::model::step::ExchangeBy;
use crate::model::{Action, Change, Check, Digest, Effect, Kind, ResourceId, Step, StepKind};

/// Most releases that are looked at at the same time: each look may start a program.
const CHECKS_AT_ONCE: usize = 64;

/// Why the checks of releases failed before anything was touched.
pub(super) type Baselines = BTreeMap<ResourceId, Unhealthy>;

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

/// Looks before the switch, where something is in use whose health can be told and that is not itself what is to be
/// confirmed; where nothing is in use yet, only whether looking is possible. All at once and before the first switch of
/// the pass: in between, whatever is switched already would wait for what that makes due, and its own failure would
/// excuse what depends on it. Whoever asks for a stop does not wait for it: nothing is switched then.
pub(super) async fn baselines(changes: &[Change], host: &Host, stop: &Stop) -> Baselines {
    let switched = |change: &Change| change.steps.iter().any(|s| matches!(s, Step::Owe { .. }));
    let touched = changes.iter().filter(|change| switched(change));
    let sampled = touched.filter_map(|change| {
        let (check, _) = due(change)?;
        Some(async move {
            let look = async {
                match &change.before {
                    Some(_) => baseline(check, host).await,
                    None => can_look(check).await,
                }
            };
            let looked = tokio::select! {
                biased;
                () = stop.wait() => Ok(()),
                looked = look => looked,
            };
            (change.resource.clone(), looked)
        })
    });
    let sampled = stream::iter(sampled).buffered(CHECKS_AT_ONCE);
    let failed = sampled.filter_map(async |(id, looked)| Some((id, looked.err()?)));
    failed.collect().await
}

/// Refuses changes whose check looks through a program that cannot be started or does not answer, and that does not
/// come with this round either: nobody could tell whether the release works. Nothing is switched, and the next pass
/// tries it again.
pub(super) fn refuse_blind(work: &mut [Work<'_>], baselines: &Baselines, host: &Host) {
    let comes = |program: &str| {
        let mut round = work.iter().filter(|work| work.goes_on());
        round.any(|work| may_bring(work.change, program, host))
    };
    let refused = baselines.iter().filter_map(|(id, looked)| match looked {
        Unhealthy::Blind { program, why } if !comes(program) => Some((id, why)),
        _ => None,
    });
    let refused: BTreeMap<&ResourceId, &String> = refused.collect();
    for work in work.iter_mut().filter(|work| work.goes_on()) {
        let Some(why) = refused.get(&work.change.resource) else { continue };
        let message = format!(
            "{why}; without its health check nobody could tell whether the new release works, so nothing was \
             switched: correct `health` or install the program"
        );
        work.result.end = not_looked(message);
    }
}

/// Whether a program may come with a change: it is where the change puts something, an image holds it, or a hook of a
/// first installation makes it.
fn may_bring(change: &Change, program: &str, host: &Host) -> bool {
    let named = Utf8Path::new(program);
    let is_in = |place: &Utf8Path| named.starts_with(place) || named.starts_with(host.real(place));
    change.steps.iter().any(|step| match step {
        Step::Switch { bin, release, .. } => is_in(bin) || is_in(release),
        Step::Install { file, wished, .. } => is_in(file) || is_in(wished),
        Step::Exchange { path, tree, .. } => is_in(path) || is_in(tree),
        Step::Point { .. } | Step::Pick { .. } => true,
        Step::Owe { effect: Effect::Run { .. } } => change.before.is_none(),
        _ => false,
    })
}

/// Waits for every release that must show that it works, all at once; then goes back, one after another, from
/// those that did not.
pub(super) async fn confirm(
    work: &mut [Work<'_>],
    baselines: &Baselines,
    host: &Host,
    journal: &mut Journal,
    stop: &Stop,
) {
    let turns = Semaphore::new(CHECKS_AT_ONCE);
    let watched = join_all(work.iter().map(|work| watched(work, (host, &turns), stop))).await;
    for (work, health) in work.iter_mut().zip(watched) {
        let (Some(health), Some((_, effect))) = (health, due(work.change)) else { continue };
        let why = match health {
            Watched::Stopped => {
                // It stays owed, and the next pass looks again.
                work.result.end = End::Interrupted;
                continue;
            }
            Watched::Ended(Health::Holds) => None,
            Watched::Ended(Health::Blind(why)) => {
                // Nothing is known of the release: it stays owed, and a change that failed removes nothing.
                work.result.end = not_looked(format!("{why}; the next pass looks again"));
                continue;
            }
            Watched::Ended(Health::Fails(why)) if work.change.action == Action::Move => {
                // The same release is where it was, too: nothing is wrong with it. It stays owed, and until it holds
                // nothing is taken away there.
                let message = format!("{why}; what is in the place before stays until it holds");
                work.result.end = not_looked(message);
                continue;
            }
            Watched::Ended(Health::Fails(why)) => {
                if let Some(excuse) = excuse(work.change, effect, baselines, journal) {
                    stay_in_doubt(&format!("{why}; but {excuse}"), work, host, journal);
                    continue;
                }
                Some(why)
            }
        };
        if let Some(why) = why
            && go_back(why, work, host, journal, stop).await == WayBack::Blocked
        {
            // It stays owed: the next pass looks once more, and tries the way back again.
            continue;
        }
        if let Err(error) = journal.forgive(host, &work.change.resource, effect)
            && work.goes_on()
        {
            work.result.end = not_looked(chain(&error));
        }
    }
}

/// How a change ends of which it cannot be told yet whether it works.
fn not_looked(message: String) -> End {
    End::Failed(Failure { step: StepKind::Confirm, class: FailureClass::Transient, message })
}

/// Why it says nothing about a release that its check failed, if so.
fn excuse(
    change: &Change,
    effect: &Effect,
    baselines: &Baselines,
    journal: &Journal,
) -> Option<String> {
    if matches!(effect, Effect::Confirm { excused: true, .. }) {
        return Some("so did what was in use before".to_owned());
    }
    match baselines.get(&change.resource) {
        Some(Unhealthy::Fails(before)) if !was_spoilt(change) && !did_not_work(change, journal) => {
            Some(format!("before the switch, {before}"))
        }
        // A check that could not look says nothing about what was in use.
        Some(_) | None => None,
    }
}

/// Leaves a release in use of which nobody can tell whether it works: it is looked at again by every pass, and what was
/// in use before is kept until it holds.
fn stay_in_doubt(why: &str, work: &mut Work<'_>, host: &Host, journal: &mut Journal) {
    let Some((_, effect)) = due(work.change) else { return };
    let Effect::Confirm { back_to, .. } = effect else { return };
    work.kept.clone_from(back_to);
    let kept = back_to.as_ref().map_or(String::new(), |slot| format!(", and {slot} is kept"));
    work.result.notes.push(format!("{why}: it has yet to show that it works{kept}"));
    if let Err(error) = journal.excuse(host, effect)
        && work.goes_on()
    {
        work.result.end = not_looked(chain(&error));
    }
}

/// Whether what was in use was known not to work, so that somebody else brought it back: that its check failed is no news.
fn did_not_work(change: &Change, journal: &Journal) -> bool {
    change.before.as_ref().is_some_and(|before| {
        let digests: Vec<_> = before.digest.iter().cloned().collect();
        journal.trust().quarantine_of(&change.resource, &before.tag, &digests).is_some()
    })
}

/// Whether what was in use had been changed by somebody else, and something else is gone back to: that its check
/// failed then excuses no other release. A tree that was changed is itself what is gone back to, unless its files are
/// replaced one by one: then it may be half of the new release, and a tree of its own was made to go back to.
fn was_spoilt(change: &Change) -> bool {
    let in_place = |step: &Step| matches!(step, Step::Exchange { by: ExchangeBy::InPlace, .. });
    let other = change.resource.kind == Kind::App || change.undo.iter().any(in_place);
    other && !change.drift.is_empty() && change.action != Action::Repair
}

enum Watched {
    Ended(Health),
    Stopped,
}

/// `None` when there is nothing to watch.
async fn watched(
    work: &Work<'_>,
    (host, turns): (&Host, &Semaphore),
    stop: &Stop,
) -> Option<Watched> {
    let (check, _) = due(work.change)?;
    match &work.result.end {
        End::Done => {}
        // What was never merged cannot be looked at.
        End::Failed(failure) if failure.step == StepKind::Merge => return None,
        // An effect that failed after the switch because of the release says enough about it.
        End::Failed(failure) if failure.class == FailureClass::Unhealthy => {
            return Some(Watched::Ended(Health::Fails(failure.message.clone())));
        }
        _ => return None,
    }
    Some(unless_stopped(stop, watch(check, host, turns)).await)
}

async fn unless_stopped(stop: &Stop, watch: impl Future<Output = Health>) -> Watched {
    tokio::select! {
        biased;
        () = stop.wait() => Watched::Stopped,
        health = watch => Watched::Ended(health),
    }
}

/// What became of the way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WayBack {
    /// It was gone, or there is none.
    Over,
    /// Something is in the way.
    Blocked,
}

/// Remembers that the release does not work here, then performs the change's `undo` and looks once more.
async fn go_back(
    why: String,
    work: &mut Work<'_>,
    host: &Host,
    journal: &mut Journal,
    stop: &Stop,
) -> WayBack {
    let change = work.change;
    let failure = |message: String| Failure {
        step: StepKind::Confirm,
        class: FailureClass::Unhealthy,
        message,
    };
    let Some((check, _)) = due(change).filter(|(check, _)| check.rolls_back) else {
        work.result.end = End::Failed(failure(why));
        return WayBack::Over;
    };
    quarantine(&why, work, host, journal);
    if change.undo.is_empty() {
        let nowhere = format!("{why}; there is nothing to go back to, so it is in use still");
        work.result.end = End::Failed(failure(nowhere));
        return WayBack::Over;
    }
    work.result.end = End::Done;
    if let Err((_, error)) = commit(&change.undo, work, host, journal) {
        let (id, error) = (&change.resource, chain(&error));
        let stuck = format!(
            "{why}; going back failed: {error}. The next pass tries it again; `reconcile rollback {id}` does it at once"
        );
        work.result.end = End::RollbackFailed(failure(stuck));
        return WayBack::Blocked;
    }
    settle(&change.undo, work, host, journal, stop).await;
    let still = match &work.result.end {
        End::Failed(settled) => Some(settled.message.clone()),
        // What runs is told when the next pass has done what is owed.
        End::Interrupted => None,
        // Where nothing was in use before, there is nothing to look at.
        _ if change.before.is_none() => None,
        _ => match unless_stopped(stop, watch(check, host, &Semaphore::new(1))).await {
            Watched::Ended(Health::Holds) => None,
            Watched::Ended(Health::Fails(still)) => Some(still),
            Watched::Ended(Health::Blind(why)) => {
                look_later(&why, work, host, journal);
                None
            }
            Watched::Stopped => {
                look_later("the pass was told to end", work, host, journal);
                None
            }
        },
    };
    work.result.end = went_back(StepKind::Confirm, change, &why, still);
    WayBack::Over
}

/// Owes a look at what was gone back to. There is nothing else to go back to, so that it is excused.
fn look_later(why: &str, work: &mut Work<'_>, host: &Host, journal: &mut Journal) {
    let Some(slot) = work.result.switched_to.clone() else { return };
    let resource = work.change.resource.clone();
    let effect = Effect::Confirm { resource, slot, back_to: None, excused: true };
    work.result.notes.push(match journal.owe(host, &work.change.resource, &effect) {
        Ok(()) => format!("{} stays owed: {why}", effect.describe()),
        Err(error) => format!("cannot journal to {}: {error}", effect.describe()),
    });
}

/// How a change ended whose release is not in use any more; `still` is what does not work all the same.
pub(super) fn went_back(step: StepKind, change: &Change, why: &str, still: Option<String>) -> End {
    let now = match &change.before {
        Some(before) => {
            let version = before.version.to_string();
            // Tags with other characters are written otherwise in names of slots.
            let told = |slot: &&str| *slot != before.tag && !slot.contains('%');
            let other = change.back_to().filter(told);
            format!("{} is in use again", other.map_or(version, str::to_owned))
        }
        None if change.undo.iter().any(|s| matches!(s, Step::Point { .. } | Step::Pick { .. })) => {
            "it was taken away again".to_owned()
        }
        None => "what was there before is in use again".to_owned(),
    };
    let failure = |message| Failure { step, class: FailureClass::Unhealthy, message };
    match still {
        None => End::RolledBack(failure(format!("{why}; {now}"))),
        Some(still) => End::RollbackFailed(failure(format!("{why}; {now}, but {still}"))),
    }
}

/// Remembers that a release does not work here, before anything is done about it.
pub(super) fn quarantine(why: &str, work: &mut Work<'_>, host: &Host, journal: &mut Journal) {
    let Some(after) = &work.change.after else { return };
    let fetched = work.result.fetched.as_ref().map(|fetched| &fetched.digest);
    let stated = after.evidence.iter().flat_map(|evidence| &evidence.digests);
    let of_files: Vec<&Digest> = fetched.into_iter().chain(stated).collect();
    // Where the digest is none of a file, the release has several, each of which may be in others that work.
    let whole = after.digest.iter().filter(|digest| !of_files.contains(digest));
    let is_set = work.change.resource.kind == Kind::Extension && whole.count() > 0;
    let of_files = of_files.into_iter().filter(|_| !is_set);
    let mut digests: Vec<_> = of_files.chain(&after.digest).cloned().collect();
    digests.sort();
    digests.dedup();
    let release = Quarantined {
        resource: work.change.resource.clone(),
        tag: after.tag.clone(),
        digests,
        reason: why.to_owned(),
        since: journal.now(),
    };
    if let Err(error) = journal.quarantine(host, release) {
        work.result.notes.push(format!("cannot remember that it does not work: {error}"));
    }
}
