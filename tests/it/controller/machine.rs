//! The decisions of the loop in situations: at which time what is heard leads to what.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use reconcile::controller::backoff::{Backoff, Dice};
use reconcile::controller::fight::FightRule;
use reconcile::controller::machine::{
    Controller, Ended, Event, Next, Policy, RENEW_APART, SETTLE, SETTLE_MAX, SUPERSEDED_MAX, Wish,
};
use reconcile::controller::queue::{Order, Scope, Ticket, Trigger};
use reconcile::controller::schedule::Schedule;
use reconcile::model::outcome::{ChangeResult, End, Failure, FailureClass, Outcome};
use reconcile::model::window::{Rule, Window, Windows};
use reconcile::model::{
    Action, Attribution, Blocked, BlockedReason, Change, Digest, Drift, DriftKind, Plan,
    ResourceId, StepKind,
};
use reconcile::plan::hold::{fingerprint, hold};

const INTERVAL: SignedDuration = SignedDuration::from_mins(5);

fn start() -> Timestamp {
    "2026-06-01T12:00:00Z".parse().unwrap()
}

pub(super) fn policy() -> Policy {
    Policy {
        schedule: Schedule::new(INTERVAL, b"a machine"),
        backoff: Backoff::default(),
        fight: FightRule::default(),
        windows: Windows::default(),
    }
}

fn wish(name: &str) -> Wish {
    Wish::Valid(Digest::of_json(&name))
}

fn id(name: &str) -> ResourceId {
    format!("app/{name}").parse().unwrap()
}

pub(super) fn only(names: &[&str]) -> Scope {
    Scope::Only(names.iter().map(|name| id(name)).collect())
}

/// What became of a plan.
#[derive(Clone, Debug, Default)]
pub(super) struct Result {
    pub(super) plan: Plan,
    pub(super) outcome: Outcome,
}

impl Result {
    pub(super) fn change(mut self, name: &str, action: Action, end: End) -> Self {
        let drifted = action == Action::Repair;
        let drift = Drift {
            path: format!("/opt/{name}/bin/{name}"),
            kind: DriftKind::Modified,
            expected: String::new(),
            found: String::new(),
        };
        self.plan.changes.push(Change {
            resource: id(name),
            action,
            attribution: if drifted {
                Attribution::DriftCorrected
            } else {
                Attribution::UpstreamMoved
            },
            reason: String::new(),
            declared_at: None,
            before: None,
            after: None,
            drift: if drifted { vec![drift] } else { Vec::new() },
            fetch_bytes: Some(0),
            reused_bytes: 0,
            observed: Digest::of_json(&0),
            contents: None,
            steps: Vec::new(),
            undo: Vec::new(),
        });
        self.outcome.results.push(ChangeResult {
            resource: id(name),
            at: start(),
            end,
            fetched_bytes: 0,
            fetched: None,
            switched_to: None,
            notes: Vec::new(),
        });
        self
    }

    pub(super) fn blocked(
        mut self,
        name: &str,
        reason: BlockedReason,
        until: Option<Timestamp>,
    ) -> Self {
        self.plan.blocked.push(Blocked {
            resource: id(name),
            reason,
            message: "down".to_owned(),
            staying_on: None,
            until,
            declared_at: None,
            ahead: Vec::new(),
        });
        self
    }
}

fn failed(class: FailureClass) -> End {
    End::Failed(Failure { step: StepKind::Fetch, class, message: "it went wrong".to_owned() })
}

/// A loop with a clock that goes only when it is told to.
pub(super) struct Clocked {
    pub(super) controller: Controller,
    pub(super) now: Timestamp,
    wish: Wish,
    /// The wish that the pass began with that is made.
    began_with: Wish,
    tickets: Ticket,
    /// Resources that are asked about in a rhythm of their own.
    pub(super) every: BTreeMap<ResourceId, SignedDuration>,
    /// What is wished of each resource.
    pub(super) wishes: BTreeMap<ResourceId, Digest>,
}

impl Clocked {
    pub(super) fn new(policy: Policy) -> Self {
        let controller = Controller::new(policy, Dice::new(7), start());
        let (wish, began_with) = (wish("first"), wish("first"));
        let (every, wishes) = Default::default();
        Self { controller, now: start(), wish, began_with, tickets: 0, every, wishes }
    }

    /// One that has made its first pass and found nothing to do.
    pub(super) fn settled(policy: Policy) -> Self {
        let mut clocked = Self::new(policy);
        clocked.expect_pass(&[Trigger::Start]);
        clocked.ends(&Result::default());
        clocked
    }

    fn next(&mut self) -> Next {
        let next = self.controller.next(self.now);
        if matches!(next, Next::Pass(_)) {
            self.began_with = self.wish.clone();
        }
        next
    }

    #[track_caller]
    pub(super) fn expect_pass(&mut self, triggers: &[Trigger]) -> Order {
        match self.next() {
            Next::Pass(order) => {
                assert_eq!(order.triggers, triggers.iter().copied().collect::<BTreeSet<_>>());
                order
            }
            other => panic!("no pass but {other:?}"),
        }
    }

    #[track_caller]
    pub(super) fn expect_wait(&mut self) -> Timestamp {
        match self.next() {
            Next::Wait(until) => {
                assert!(until > self.now, "waits for the past: {until} at {}", self.now);
                until
            }
            other => panic!("no wait but {other:?}"),
        }
    }

    /// Lets the time come that is waited for.
    #[track_caller]
    pub(super) fn wait(&mut self) {
        self.now = self.expect_wait();
    }

    pub(super) fn ends(&mut self, result: &Result) {
        let plan = Some((&result.plan, &result.outcome));
        let (wish, every, wishes) = (self.began_with.clone(), &self.every, &self.wishes);
        self.controller.ended(&Ended { plan, wish, every, wishes }, self.now);
        self.controller.seen(&self.wish, self.now);
    }

    pub(super) fn hear(&mut self, event: Event) {
        self.controller.hear(event, self.now);
    }

    pub(super) fn request(&mut self, scope: Scope) -> Ticket {
        self.tickets += 1;
        self.hear(Event::Requested(scope, self.tickets));
        self.tickets
    }

    /// Another desired state, as it is found after a sign of an edit.
    pub(super) fn edit(&mut self, name: &str) {
        self.wish = wish(name);
        self.controller.seen(&self.wish, self.now);
    }

    pub(super) fn later(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
    }
}

#[test]
fn host_keeps_its_own_slot_over_restarts() {
    let schedule = Schedule::new(INTERVAL, b"a machine");
    let first = schedule.next(start());
    assert_eq!(schedule.next(first), first + INTERVAL);
    let again = Schedule::new(INTERVAL, b"a machine");
    assert_eq!(
        again.next(start() + SignedDuration::from_hours(2000)).duration_since(first).as_secs()
            % 300,
        0
    );
    assert!(schedule.next(first - SignedDuration::from_millis(1)) == first);
}

#[test]
fn hosts_are_spread_over_the_interval() {
    let mut tenths = [0; 10];
    for host in 0..1000 {
        let schedule = Schedule::new(INTERVAL, format!("machine {host}").as_bytes());
        let wait = schedule.next(start()).duration_since(start()).as_millis();
        tenths[usize::try_from(((wait - 1) * 10) / INTERVAL.as_millis()).unwrap()] += 1;
    }
    assert!(tenths.iter().all(|number| (60..=140).contains(number)), "{tenths:?}");
}

#[test]
fn first_pass_is_at_once_and_the_next_in_the_slot() {
    let mut clocked = Clocked::settled(policy());
    let until = clocked.expect_wait();
    assert_eq!(until, policy().schedule.next(start()));
    clocked.wait();
    let order = clocked.expect_pass(&[Trigger::Schedule]);
    assert_eq!(order.scope, Scope::All);
    assert!(!order.asks_afresh(), "a pass on schedule may use young answers");
}

#[test]
fn triggers_before_a_pass_are_one_pass() {
    let mut clocked = Clocked::settled(policy());
    clocked.hear(Event::Signal);
    let ticket = clocked.request(only(&["a"]));
    clocked.hear(Event::Signal);
    let order = clocked.expect_pass(&[Trigger::Signal, Trigger::Request]);
    assert_eq!((order.scope, order.tickets), (Scope::All, vec![ticket]));
    clocked.ends(&Result::default());
    clocked.expect_wait();
}

#[test]
fn events_during_a_pass_are_exactly_one_more() {
    let mut clocked = Clocked::settled(policy());
    clocked.hear(Event::Signal);
    clocked.expect_pass(&[Trigger::Signal]);
    let tickets = vec![clocked.request(only(&["a"])), clocked.request(only(&["b"]))];
    assert_eq!(clocked.next(), Next::Wait(Timestamp::MAX), "one pass at a time");
    clocked.ends(&Result::default());
    let order = clocked.expect_pass(&[Trigger::Request]);
    assert_eq!((order.scope, order.tickets), (only(&["a", "b"]), tickets));
    clocked.ends(&Result::default());
    clocked.expect_wait();
}

#[test]
fn edit_is_looked_at_once_it_has_settled_and_only_another_wish_is_a_pass() {
    let mut clocked = Clocked::settled(policy());
    clocked.hear(Event::Touched);
    clocked.hear(Event::Touched);
    assert_eq!(clocked.expect_wait(), clocked.now + SETTLE);
    clocked.wait();
    assert_eq!(clocked.next(), Next::Look);
    clocked.controller.seen(&wish("first"), clocked.now);
    clocked.expect_wait();
    clocked.hear(Event::Touched);
    clocked.wait();
    assert_eq!(clocked.next(), Next::Look);
    clocked.wish = wish("second");
    clocked.controller.seen(&wish("second"), clocked.now);
    assert!(clocked.expect_pass(&[Trigger::Desired]).asks_afresh());
}

#[test]
fn edit_that_goes_on_is_looked_at_when_it_pauses_or_takes_too_long() {
    let mut clocked = Clocked::settled(policy());
    let first = clocked.now;
    clocked.hear(Event::Touched);
    clocked.now += SETTLE / 2;
    clocked.hear(Event::Touched);
    assert_eq!(clocked.expect_wait(), clocked.now + SETTLE);
    while clocked.next() != Next::Look {
        clocked.now += SETTLE / 2;
        clocked.hear(Event::Touched);
        assert!(clocked.now <= first + SETTLE_MAX, "it is never looked at");
    }
    assert_eq!(clocked.now, first + SETTLE_MAX);
    clocked.controller.seen(&wish("first"), clocked.now);
    clocked.hear(Event::Touched);
    assert_eq!(clocked.expect_wait(), clocked.now + SETTLE, "that was another edit");
}

#[test]
fn newer_wish_takes_the_place_of_the_one_that_is_staged_but_not_for_ever() {
    let mut clocked = Clocked::settled(policy());
    clocked.hear(Event::Signal);
    clocked.expect_pass(&[Trigger::Signal]);
    let cut_off = Result::default().change("a", Action::Upgrade, End::Interrupted);
    for edit in 0..SUPERSEDED_MAX {
        clocked.wish = wish(&edit.to_string());
        assert!(clocked.controller.seen(&clocked.wish, clocked.now), "edit {edit}");
        clocked.ends(&cut_off);
        clocked.expect_pass(&[Trigger::Desired]);
    }
    clocked.wish = wish("one too many");
    assert!(!clocked.controller.seen(&clocked.wish, clocked.now));
    clocked.ends(&Result::default().change("a", Action::Upgrade, End::Done));
    clocked.expect_pass(&[Trigger::Desired]);
    clocked.wish = wish("again");
    assert!(
        clocked.controller.seen(&clocked.wish, clocked.now),
        "a finished pass resets the count"
    );
}

#[test]
fn invalid_wish_is_a_pass_but_cuts_nothing_off() {
    let mut clocked = Clocked::settled(policy());
    clocked.hear(Event::Signal);
    clocked.expect_pass(&[Trigger::Signal]);
    let invalid = Wish::Invalid("line 3".to_owned());
    assert!(!clocked.controller.seen(&invalid, clocked.now));
    clocked.wish = invalid;
    clocked.ends(&Result::default());
    clocked.expect_pass(&[Trigger::Desired]);
}

#[test]
fn wish_that_changed_while_the_pass_was_made_is_one_more_pass() {
    let mut clocked = Clocked::settled(policy());
    clocked.hear(Event::Signal);
    clocked.expect_pass(&[Trigger::Signal]);
    // No event told of it: the loop looks again when a pass has ended.
    clocked.wish = wish("second");
    clocked.ends(&Result::default());
    clocked.expect_pass(&[Trigger::Desired]);
    clocked.ends(&Result::default());
    clocked.expect_wait();
}

#[test]
fn only_what_failed_is_tried_again_and_the_others_stay_on_schedule() {
    let mut clocked = Clocked::settled(policy());
    let slot = clocked.expect_wait();
    let down = Result::default().blocked("down", BlockedReason::SourceUnavailable, None).change(
        "well",
        Action::Upgrade,
        End::Done,
    );
    clocked.hear(Event::Signal);
    clocked.expect_pass(&[Trigger::Signal]);
    clocked.ends(&down);
    let began = clocked.now;
    clocked.wait();
    assert!(clocked.now <= began + SignedDuration::from_secs(1));
    assert_eq!(clocked.expect_pass(&[Trigger::Retry]).scope, only(&["down"]));
    clocked.ends(&Result::default().blocked("down", BlockedReason::SourceUnavailable, None));
    let mut passes = 0;
    while clocked.now < slot {
        clocked.wait();
        let Next::Pass(order) = clocked.next() else { panic!() };
        if order.triggers.contains(&Trigger::Schedule) {
            assert_eq!((clocked.now, order.scope), (slot, Scope::All));
            return;
        }
        assert_eq!(order.scope, only(&["down"]));
        clocked.ends(&Result::default().blocked("down", BlockedReason::SourceUnavailable, None));
        passes += 1;
        assert!(passes < 100, "backs off");
    }
    panic!("the slot was missed");
}

#[test]
fn waits_double_to_the_cap_and_begin_anew_after_a_success() {
    let backoff = Backoff::default();
    let ceilings: Vec<i64> = (1..=11).map(|n| backoff.ceiling(n).as_secs()).collect();
    assert_eq!(ceilings, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    assert_eq!(backoff.ceiling(u32::MAX).as_secs(), 300);
    let mut dice = Dice::new(1);
    let waits: Vec<_> = (0..1000).map(|_| backoff.wait(10, &mut dice).as_millis()).collect();
    assert!(waits.iter().all(|wait| (1..=300_000).contains(wait)));
    assert!(waits.iter().any(|wait| *wait < 30_000) && waits.iter().any(|wait| *wait > 270_000));

    let mut clocked = Clocked::settled(policy());
    let down = Result::default().blocked("a", BlockedReason::SourceUnavailable, None);
    for result in [&down, &down, &Result::default().change("a", Action::Upgrade, End::Done), &down]
    {
        clocked.request(only(&["a"]));
        let Next::Pass(_) = clocked.next() else { panic!() };
        clocked.ends(result);
    }
    assert!(clocked.expect_wait() <= clocked.now + SignedDuration::from_secs(1));
}

#[test]
fn source_that_names_a_time_is_not_asked_before() {
    let mut clocked = Clocked::settled(policy());
    let until = clocked.now + SignedDuration::from_secs(90);
    clocked.request(only(&["a"]));
    clocked.expect_pass(&[Trigger::Request]);
    clocked.ends(&Result::default().blocked("a", BlockedReason::RateLimited, Some(until)));
    clocked.wait();
    assert!(clocked.now >= until.min(policy().schedule.next(start())));
}

#[test]
fn terminal_failure_is_held_until_the_change_is_another_or_somebody_asks() {
    let mut clocked = Clocked::settled(policy());
    let refused =
        Result::default().change("a", Action::Upgrade, failed(FailureClass::Verification));
    clocked.hear(Event::Signal);
    clocked.expect_pass(&[Trigger::Signal]);
    clocked.ends(&refused);
    clocked.wait();
    clocked.expect_pass(&[Trigger::Schedule]);
    let holds = clocked.controller.holds(clocked.now);
    assert_eq!(holds.stalled[&id("a")].change, fingerprint(&refused.plan.changes[0]));
    let held = hold(refused.plan.clone(), &holds);
    assert_eq!((held.changes.len(), held.blocked[0].reason), (0, BlockedReason::Stalled));
    let mut another = refused.plan.clone();
    another.changes[0].action = Action::Replace;
    assert_eq!(hold(another.clone(), &holds), another);

    clocked.ends(&Result { plan: held, outcome: Outcome::default() });
    assert!(
        !clocked.controller.holds(clocked.now).stalled.is_empty(),
        "held for as long as it lasts"
    );
    clocked.request(only(&["b"]));
    clocked.expect_pass(&[Trigger::Request]);
    assert!(!clocked.controller.holds(clocked.now).stalled.is_empty(), "another was asked for");
    clocked.ends(&Result::default());
    clocked.request(only(&["a"]));
    clocked.expect_pass(&[Trigger::Request]);
    assert!(clocked.controller.holds(clocked.now).is_empty());
}

#[test]
fn correction_that_is_undone_each_time_is_given_up_for_a_while() {
    let mut clocked = Clocked::settled(policy());
    let repaired = Result::default().change("a", Action::Repair, End::Done);
    for time in 1..=FightRule::default().times {
        assert!(clocked.controller.holds(clocked.now).is_empty(), "before {time}");
        clocked.wait();
        clocked.expect_pass(&[Trigger::Schedule]);
        clocked.ends(&repaired);
    }
    let holds = clocked.controller.holds(clocked.now);
    assert!(holds.fights[&id("a")].message.contains("/opt/a/bin/a"), "{holds:?}");
    let held = hold(repaired.plan.clone(), &holds);
    assert_eq!((held.changes.len(), held.blocked[0].reason), (0, BlockedReason::Fighting));
    let upgrade = Result::default().change("a", Action::Upgrade, End::Done).plan;
    assert_eq!(hold(upgrade.clone(), &holds), upgrade, "only the correction is given up");
    clocked.later(3601);
    assert!(clocked.controller.holds(clocked.now).is_empty());
}

#[test]
fn slow_corrections_are_no_fight() {
    let mut clocked = Clocked::settled(policy());
    for _ in 0..20 {
        clocked.later(1200);
        let Next::Pass(_) = clocked.next() else { panic!() };
        clocked.ends(&Result::default().change("a", Action::Repair, End::Done));
        assert!(clocked.controller.holds(clocked.now).is_empty());
    }
}

#[test]
fn pass_that_came_to_nothing_is_tried_again_with_everybody_who_waits() {
    let mut clocked = Clocked::settled(policy());
    clocked.request(Scope::All);
    clocked.expect_pass(&[Trigger::Request]);
    let every = &BTreeMap::new();
    clocked.controller.ended(
        &Ended { plan: None, wish: wish("first"), every, wishes: &BTreeMap::new() },
        clocked.now,
    );
    clocked.later(1);
    assert_eq!(clocked.expect_pass(&[Trigger::Retry]).scope, Scope::All);
}

#[test]
fn removal_that_fails_for_now_is_tried_again_with_a_pass_over_everything() {
    let mut clocked = Clocked::settled(policy());
    clocked.hear(Event::Signal);
    clocked.expect_pass(&[Trigger::Signal]);
    let busy = Result::default().change("a", Action::Remove, failed(FailureClass::Transient));
    clocked.ends(&busy);
    clocked.wait();
    assert_eq!(clocked.expect_pass(&[Trigger::Retry]).scope, only(&["a"]));
    // It is not wished any more, so a pass over it alone has nothing to say.
    clocked.ends(&Result::default());
    clocked.wait();
    assert_eq!(clocked.expect_pass(&[Trigger::Retry]).scope, Scope::All);
    clocked.ends(&busy);
    clocked.wait();
    assert_eq!(clocked.expect_pass(&[Trigger::Retry]).scope, Scope::All, "it is known by now");
    clocked.ends(&Result::default().change("a", Action::Remove, End::Done));
    clocked.wait();
    clocked.expect_pass(&[Trigger::Schedule]);
}

#[test]
fn pass_that_comes_to_nothing_backs_off_also_when_a_resource_is_due() {
    let mut clocked = Clocked::settled(policy());
    clocked.hear(Event::Signal);
    clocked.expect_pass(&[Trigger::Signal]);
    clocked.ends(&Result::default().blocked("down", BlockedReason::SourceUnavailable, None));
    let end = clocked.now + SignedDuration::from_hours(1);
    let mut passes = 0;
    while clocked.now < end {
        clocked.wait();
        let Next::Pass(_) = clocked.next() else { panic!() };
        let ended = Ended {
            plan: None,
            wish: wish("first"),
            every: &BTreeMap::new(),
            wishes: &BTreeMap::new(),
        };
        clocked.controller.ended(&ended, clocked.now);
        passes += 1;
        assert!(passes < 100, "backs off");
    }
}

#[test]
fn edit_while_the_last_pass_is_made_is_not_waited_for() {
    let mut clocked = Clocked::new(policy());
    clocked.expect_pass(&[Trigger::Start]);
    clocked.hear(Event::Touched);
    clocked.hear(Event::Stop);
    clocked.later(60);
    assert_eq!(clocked.next(), Next::Wait(Timestamp::MAX), "only for the pass to end");
    clocked.ends(&Result::default());
    assert_eq!(clocked.next(), Next::Stop);
}

#[test]
fn end_is_after_the_pass_that_is_being_made() {
    let mut clocked = Clocked::new(policy());
    clocked.expect_pass(&[Trigger::Start]);
    clocked.hear(Event::Stop);
    clocked.hear(Event::Signal);
    assert!(matches!(clocked.next(), Next::Wait(_)));
    clocked.ends(&Result::default());
    assert_eq!(clocked.next(), Next::Stop);
}

#[test]
fn wish_of_the_very_pass_is_no_newer_one() {
    let mut clocked = Clocked::new(policy());
    clocked.expect_pass(&[Trigger::Start]);
    // The watch tells of the files once when it begins, while the first pass carries them out.
    clocked.hear(Event::Touched);
    clocked.now += SETTLE;
    assert_eq!(clocked.next(), Next::Look);
    clocked.controller.carries(clocked.wish.clone());
    assert!(!clocked.controller.seen(&clocked.wish, clocked.now), "nothing is cut off");
    clocked.ends(&Result::default());
    clocked.expect_wait();
}

#[test]
fn replaced_program_goes_on_after_the_pass_and_not_twice_within_a_minute() {
    let replaced = || {
        let mut result = Result::default().change("agent", Action::Upgrade, End::Done);
        result.outcome.replaced_self = true;
        result
    };
    let mut clocked = Clocked::new(policy());
    clocked.expect_pass(&[Trigger::Start]);
    clocked.request(Scope::All);
    assert!(matches!(clocked.next(), Next::Wait(_)), "the pass is finished first");
    clocked.ends(&replaced());
    assert_eq!(clocked.next(), Next::Renew);
    clocked.hear(Event::Stop);
    assert_eq!(clocked.next(), Next::Stop, "who is told to end does not begin anew");

    let mut clocked = Clocked::new(policy());
    clocked.controller = clocked.controller.renewed(start());
    clocked.expect_pass(&[Trigger::Start]);
    clocked.ends(&replaced());
    while clocked.next() != Next::Renew {
        clocked.wait();
        if matches!(clocked.controller.next(clocked.now), Next::Pass(_)) {
            clocked.ends(&Result::default());
        }
    }
    assert!(clocked.now >= start() + RENEW_APART);
}

#[test]
fn resource_with_a_rhythm_of_its_own_has_slots_of_its_own_beside_those_of_all() {
    let mut clocked = Clocked::new(policy());
    let (quick, slow) = (SignedDuration::from_secs(50), SignedDuration::from_hours(1));
    clocked.every = BTreeMap::from([(id("a"), quick), (id("b"), slow)]);
    clocked.expect_pass(&[Trigger::Start]);
    clocked.ends(&Result::default());
    let mut passes: BTreeMap<String, Vec<Timestamp>> = BTreeMap::new();
    while clocked.now < start() + SignedDuration::from_hours(3) {
        clocked.wait();
        let Next::Pass(order) = clocked.next() else { panic!("no pass") };
        assert!(!order.asks_afresh(), "how old an answer may be is said by the wish");
        let what = match &order.scope {
            Scope::All => "all".to_owned(),
            Scope::Only(ids) => ids.iter().map(ToString::to_string).collect(),
        };
        passes.entry(what).or_default().push(clocked.now);
        clocked.ends(&Result::default());
    }
    let apart = |name: &str| -> BTreeSet<i64> {
        let times = passes[name].windows(2);
        times.map(|pair| pair[1].duration_since(pair[0]).as_secs()).collect()
    };
    assert_eq!(apart("all"), [300].into());
    assert_eq!(apart("app/a"), [50].into());
    assert_eq!(apart("app/b"), [3600].into());
    // One that is not wished any more has no slots either.
    clocked.every.clear();
    clocked.wait();
    clocked.next();
    clocked.ends(&Result::default());
    let next = policy().schedule.next(clocked.now);
    assert_eq!(clocked.expect_wait(), next);
}

#[test]
fn clock_that_was_set_back_does_not_stop_the_loop() {
    let mut clocked = Clocked::settled(policy());
    clocked.now = start() - SignedDuration::from_hours(24 * 365);
    assert!(clocked.expect_wait() <= clocked.now + INTERVAL);
}

/// Open from two to four at night.
fn nightly() -> Policy {
    let window = Window {
        rule: Rule::Allow,
        days: Vec::new(),
        start: Time::constant(2, 0, 0, 0),
        open: SignedDuration::from_hours(2),
        zone: TimeZone::UTC,
    };
    Policy { windows: Windows(BTreeMap::from([("nights".to_owned(), window)])), ..policy() }
}

#[derive(Clone, Debug)]
enum Happens {
    Touched,
    Edited(u8),
    Signal,
    Request,
    Minutes(i64),
    Released,
    Fails,
    Busy,
    Breaks,
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        Just(Happens::Touched),
        (0..3_u8).prop_map(Happens::Edited),
        Just(Happens::Signal),
        Just(Happens::Request),
        (1..600_i64).prop_map(Happens::Minutes),
        Just(Happens::Released),
        Just(Happens::Fails),
        Just(Happens::Busy),
        Just(Happens::Breaks),
    ]
}

/// A host over days, on which passes take time and a release waits for its window.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a trouble that comes and goes by itself"
)]
struct Story {
    clocked: Clocked,
    waiting: BTreeSet<Ticket>,
    /// The wish that was carried out last.
    enforced: Option<Wish>,
    /// Whether a release waits to come into use.
    released: bool,
    /// Whether a source is down.
    fails: bool,
    /// Whether something is not wished any more and cannot be removed yet.
    busy_removal: bool,
    /// Whether passes come to nothing.
    breaks: bool,
    /// When the last pass ended, and what it was about.
    ended: Option<(Timestamp, Scope)>,
    /// How long passes take.
    takes: SignedDuration,
    /// The pass that is made, the wish it carries out, and when it ends.
    busy: Option<(Order, Wish, Timestamp)>,
}

impl Story {
    fn begin() -> Self {
        Self {
            clocked: Clocked::new(nightly()),
            waiting: BTreeSet::new(),
            enforced: None,
            released: false,
            fails: false,
            busy_removal: false,
            breaks: false,
            ended: None,
            takes: SignedDuration::ZERO,
            busy: None,
        }
    }

    /// Lets something happen; returns until when time goes on after it.
    fn happens(&mut self, event: &Happens) -> Timestamp {
        let clocked = &mut self.clocked;
        match event {
            Happens::Touched => clocked.hear(Event::Touched),
            Happens::Edited(n) => {
                clocked.wish = wish(&n.to_string());
                clocked.hear(Event::Touched);
            }
            Happens::Signal => clocked.hear(Event::Signal),
            Happens::Request => {
                let ticket = clocked.request(Scope::All);
                self.waiting.insert(ticket);
            }
            Happens::Minutes(minutes) => {
                return clocked.now + SignedDuration::from_mins(*minutes);
            }
            Happens::Released => self.released = true,
            Happens::Fails => self.fails = !self.fails,
            Happens::Busy => self.busy_removal = !self.busy_removal,
            Happens::Breaks => self.breaks = !self.breaks,
        }
        clocked.now
    }

    /// Goes on until a time.
    fn goes_on(&mut self, horizon: Timestamp) {
        loop {
            let now = self.clocked.now;
            if let Some((order, wish, _)) = self.busy.take_if(|(_, _, end)| *end <= now) {
                self.pass_ends(&order, wish);
                continue;
            }
            match self.clocked.next() {
                Next::Pass(order) => {
                    assert!(self.busy.is_none(), "two passes");
                    self.has_cause(&order);
                    self.busy = Some((order, self.clocked.wish.clone(), now + self.takes));
                }
                Next::Look => {
                    self.clocked.controller.seen(&self.clocked.wish, now);
                }
                Next::Wait(until) => {
                    let until = self.busy.as_ref().map_or(until, |(_, _, end)| until.min(*end));
                    if until > horizon {
                        break;
                    }
                    assert!(until > now, "does not go on at {until}");
                    self.clocked.now = until;
                }
                Next::Renew | Next::Stop => panic!("nobody asked it to end"),
            }
        }
        self.clocked.now = self.clocked.now.max(horizon);
    }

    /// Nothing that a pass was about is tried again without an event or a wait after it.
    fn has_cause(&self, order: &Order) {
        let retries = order.triggers == BTreeSet::from([Trigger::Retry]);
        let just_ended = self.ended.as_ref().filter(|(at, _)| *at == self.clocked.now);
        let Some((_, last)) = just_ended.filter(|_| retries) else { return };
        assert!(*last != Scope::All && *last != order.scope, "no backoff between two of {last:?}");
    }

    fn pass_ends(&mut self, order: &Order, wish: Wish) {
        let now = self.clocked.now;
        self.ended = Some((now, order.scope.clone()));
        for ticket in &order.tickets {
            self.waiting.remove(ticket);
        }
        if self.breaks {
            let every = &BTreeMap::new();
            self.clocked
                .controller
                .ended(&Ended { plan: None, wish, every, wishes: &BTreeMap::new() }, now);
            self.clocked.controller.seen(&self.clocked.wish, now);
            return;
        }
        let mut result = Result::default();
        if self.busy_removal && order.scope == Scope::All {
            result = result.change("gone", Action::Remove, failed(FailureClass::Transient));
        }
        if self.released && order.scope == Scope::All {
            result = result.change("a", Action::Upgrade, End::Done);
        }
        result.plan = hold(result.plan, &self.clocked.controller.holds(now));
        let plan = &result.plan;
        let goes_on = |id: &ResourceId| plan.changes.iter().any(|change| &change.resource == id);
        result.outcome.results.retain(|ended| goes_on(&ended.resource));
        if goes_on(&id("a")) {
            let hour = now.to_zoned(TimeZone::UTC).hour();
            assert!((2..4).contains(&hour), "switched at {now}");
            self.released = false;
        }
        if self.fails {
            result = result.blocked("b", BlockedReason::SourceUnavailable, None);
        }
        if order.scope == Scope::All {
            self.enforced = Some(wish.clone());
        }
        let plan = Some((&result.plan, &result.outcome));
        let every = &self.clocked.every;
        self.clocked.controller.ended(&Ended { plan, wish, every, wishes: &BTreeMap::new() }, now);
        self.clocked.controller.seen(&self.clocked.wish, now);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_trigger_is_lost_no_two_passes_run_nothing_spins_or_switches_outside_its_window(
        events in proptest::collection::vec((happens(), 0..30_i64), 1..40),
    ) {
        let mut story = Story::begin();
        for (event, takes) in &events {
            story.takes = SignedDuration::from_secs(*takes);
            let until = story.happens(event);
            story.goes_on(until);
        }
        story.breaks = false;
        let later = story.clocked.now + SignedDuration::from_hours(48);
        story.goes_on(later);
        prop_assert!(story.waiting.is_empty(), "without an answer: {:?}", story.waiting);
        prop_assert_eq!(story.enforced, Some(story.clocked.wish), "the last wish was not carried out");
        prop_assert!(!story.released, "a window went by and what was deferred was not done");
    }
}
