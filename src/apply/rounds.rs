//! Which changes are switched together: a round is everything that is staged when it begins.
//!
//! Staging goes on while a round is taken through commit, merge, settle, confirm, refresh, announce and removal, and
//! rounds follow one another: so one slow source delays nobody else, and a round is all that a pass was before.
//! A round begins when everything is staged; or when something is staged and nothing more was for [`Gathering::quiet`], or
//! for at most [`Gathering::longest`] where more keeps coming. So what arrives together is merged by one refresh, restarts
//! a unit once and shares one sync, and sources that are fast make one round of a pass.
//!
//! What belongs together is one change, and one change is in one round. Any change may fail alone in any pass, so that
//! every set of changes may be switched without the others; a round needs nothing that a later one brings. Two things go
//! with the last round all the same: what is not wished any more, where something new is still on its way, which may take
//! its place, and the program that makes the pass. In a round changes keep the order of the plan, as the results of all of
//! them do. A round waits until the releases of the one before have shown that they work: what it restarts would fall into
//! their checks.
//!
//! Whoever asks for a stop ends staging: then the next round is the last, and its changes end as interrupted. What a round
//! did is told by the history at once; a pass that is killed between leaves a host that the next one understands. Only so
//! many are staged at once: where slow ones have all turns, what is not begun waits for them.

use std::collections::BTreeMap;
use std::mem;
use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::LocalBoxStream;
use tokio::time::{Instant, sleep_until};

use crate::apply::stage::Staged;
use crate::model::outcome::End;
use crate::model::{Action, Change, Step};

/// How long what is staged waits for more.
#[derive(Clone, Copy, Debug)]
pub struct Gathering {
    /// Since the last that was staged: archives are unpacked one after another, which takes seconds each.
    pub quiet: Duration,
    /// Since the first.
    pub longest: Duration,
}

impl Default for Gathering {
    fn default() -> Self {
        Self { quiet: Duration::from_secs(10), longest: Duration::from_mins(1) }
    }
}

/// Changes by their places in the plan, with what staging them came to; nothing for those that need none.
pub(super) type Ready = BTreeMap<usize, Option<Staged>>;

/// What comes of staging, by places in the plan, as soon as it is known.
pub(super) type Staging<'p> = LocalBoxStream<'p, (usize, Staged)>;

/// The rounds of a pass.
pub(super) struct Rounds<'p> {
    changes: &'p [Change],
    staging: Staging<'p>,
    gathering: Gathering,
    ready: Ready,
    /// What waits for the last round.
    last: Ready,
    /// When the first and the newest of what is to be switched became ready.
    since: Option<(Instant, Instant)>,
}

impl<'p> Rounds<'p> {
    /// The rounds of some changes, of which `staging` yields those that have something to stage.
    pub(super) fn new(changes: &'p [Change], staging: Staging<'p>, gathering: Gathering) -> Self {
        let (ready, last) = (Ready::new(), Ready::new());
        let mut rounds = Self { changes, staging, gathering, ready, last, since: None };
        for (place, change) in changes.iter().enumerate() {
            if !change.steps.iter().any(Step::is_staging) {
                rounds.take(place, None);
            }
        }
        rounds
    }

    /// What is switched next; `None` when everything was.
    pub(super) async fn next(&mut self) -> Option<Ready> {
        loop {
            let begins = self.since.map(|(first, newest)| {
                let Gathering { quiet, longest } = self.gathering;
                (first + longest).min(newest + quiet)
            });
            tokio::select! {
                biased;
                more = self.staging.next() => match more {
                    Some((place, staged)) => self.take(place, Some(staged)),
                    None => {
                        self.ready.append(&mut self.last);
                        break;
                    }
                },
                () = sleep_until(begins.unwrap_or_else(Instant::now)), if begins.is_some() => break,
            }
        }
        self.since = None;
        let ready = mem::take(&mut self.ready);
        (!ready.is_empty()).then_some(ready)
    }

    /// Goes on with staging while something else is done.
    pub(super) async fn while_staging<T>(
        &mut self,
        mut switching: Pin<Box<impl Future<Output = T>>>,
    ) -> T {
        loop {
            tokio::select! {
                biased;
                switched = &mut switching => return switched,
                Some((place, staged)) = self.staging.next() => self.take(place, Some(staged)),
            }
        }
    }

    fn take(&mut self, place: usize, staged: Option<Staged>) {
        if self.changes.get(place).is_some_and(|change| self.goes_last(change)) {
            self.last.insert(place, staged);
            return;
        }
        // What failed has nothing to be switched.
        if staged.as_ref().is_none_or(|staged| staged.end == End::Done) {
            let now = Instant::now();
            self.since = Some((self.since.map_or(now, |(first, _)| first), now));
        }
        self.ready.insert(place, staged);
    }

    /// Whether a change waits for everything else.
    fn goes_last(&self, change: &Change) -> bool {
        let comes = |change: &Change| {
            matches!(change.action, Action::Install | Action::Move)
                && change.steps.iter().any(Step::is_staging)
        };
        replaces_self(change) || (change.action == Action::Remove && self.changes.iter().any(comes))
    }
}

/// Whether a change replaces the program that makes the pass.
pub(super) fn replaces_self(change: &Change) -> bool {
    change.steps.iter().any(|step| matches!(step, Step::Try { .. }))
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use futures_util::stream::poll_fn;
    use serde_json::{Value, json};
    use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

    use super::*;
    use crate::model::outcome::{Failure, FailureClass};

    const HOUR: Duration = Duration::from_hours(1);
    const AT_ONCE: Gathering = Gathering { quiet: Duration::ZERO, longest: HOUR };

    fn change(action: &str, steps: &Value) -> Change {
        let change = json!({
            "resource": "app/tool", "action": action, "attribution": "first-install", "reason": "",
            "declaredAt": null, "before": null, "after": null, "drift": [], "fetchBytes": null,
            "reusedBytes": 0, "observed": crate::model::Digest::of_json(&0), "steps": steps,
        });
        serde_json::from_value(change).unwrap()
    }

    /// Two that are fetched, one that is removed, the agent, and one that has nothing to fetch.
    fn changes() -> [Change; 5] {
        let fetch = json!({
            "op": "fetch", "artifact": { "name": "a", "urls": [] }, "sizeMax": 1,
            "evidence": { "level": "none", "digests": [], "statedBy": "" },
        });
        let attempt = json!({ "op": "try", "release": "/r", "wished": "/w", "trials": [] });
        [
            change("upgrade", &json!([&fetch])),
            change("install", &json!([&fetch])),
            change("remove", &json!([])),
            change("upgrade", &json!([fetch, attempt])),
            change("tidy", &json!([])),
        ]
    }

    /// What is staged comes when the test says so.
    fn rounds(
        changes: &[Change],
        gathering: Gathering,
    ) -> (UnboundedSender<(usize, Staged)>, Rounds<'_>) {
        let (sender, mut staged) = unbounded_channel();
        let staging = poll_fn(move |context| staged.poll_recv(context)).boxed_local();
        (sender, Rounds::new(changes, staging, gathering))
    }

    fn places(ready: Option<Ready>) -> Vec<usize> {
        ready.unwrap_or_default().into_keys().collect()
    }

    #[tokio::test]
    async fn sources_that_are_fast_make_one_round() {
        let changes = changes();
        let (sender, mut rounds) = rounds(&changes, Gathering { quiet: HOUR, longest: HOUR });
        for place in [3, 1, 0] {
            assert!(rounds.next().now_or_never().is_none(), "it waits for {place}");
            sender.send((place, Staged::ended(End::Done))).unwrap();
        }
        drop(sender);
        assert_eq!(places(rounds.next().await), [0, 1, 2, 3, 4]);
        assert!(rounds.next().await.is_none());
    }

    #[tokio::test]
    async fn slow_source_delays_nobody_but_what_goes_last() {
        let changes = changes();
        let (sender, mut rounds) = rounds(&changes, AT_ONCE);
        assert_eq!(places(rounds.next().await), [4], "nothing is fetched for it");
        sender.send((3, Staged::ended(End::Done))).unwrap();
        sender.send((1, Staged::ended(End::Done))).unwrap();
        assert_eq!(places(rounds.next().await), [1]);
        assert!(rounds.next().now_or_never().is_none(), "what is left goes last");
        let switching = async {
            sender.send((0, Staged::ended(End::Done))).unwrap();
            tokio::task::yield_now().await;
            drop(sender);
        };
        rounds.while_staging(Box::pin(switching)).await;
        assert_eq!(places(rounds.next().await), [0, 2, 3]);
        assert!(rounds.next().await.is_none());
    }

    #[tokio::test]
    async fn removal_waits_for_nothing_that_cannot_take_its_place() {
        let mut changes = changes();
        changes[1].action = Action::Upgrade;
        let (_sender, mut rounds) = rounds(&changes, AT_ONCE);
        assert_eq!(places(rounds.next().await), [2, 4]);
    }

    #[tokio::test]
    async fn what_failed_begins_no_round_and_what_keeps_coming_puts_none_off() {
        let changes = changes();
        let (sender, mut rounds) = rounds(&changes[..2], AT_ONCE);
        let (step, class) = (crate::model::StepKind::Fetch, FailureClass::Transient);
        let failure = Failure { step, class, message: String::new() };
        sender.send((0, Staged::ended(End::Failed(failure)))).unwrap();
        assert!(rounds.next().now_or_never().is_none(), "there is nothing to switch");
        rounds.gathering = Gathering { quiet: HOUR, longest: Duration::ZERO };
        sender.send((1, Staged::ended(End::Done))).unwrap();
        assert_eq!(places(rounds.next().await), [0, 1]);
    }
}
