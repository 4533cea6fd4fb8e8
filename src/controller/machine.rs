//! The decisions of the loop: what is heard, at what time, becomes passes; pure.
//!
//! Whoever drives it tells it what happens ([`Controller::hear`], [`Controller::seen`],
//! [`Controller::ended`]) and asks what to do ([`Controller::next`]). It has no clock of its own. One pass is
//! made at a time; whatever comes while it is made becomes exactly one more.
//!
//! A transient failure is tried again for that resource alone; a change that failed for good is held back by its
//! fingerprint (release and steps), so any other input ends the stall. Outside a window artifacts whose digest is
//! stated are fetched ahead; `Blocked.ahead` keeps them in the cache. What a resource says of its own rhythm and
//! windows (`model::pace`) is known once a pass has read the wish: `every` comes back with the pass and gets slots of
//! its own, `windows` are judged where the plan is made. A pass that replaced the agent's own program is the last of
//! that program: the loop executes its successor (`host::renew`), same process, same arguments. A pass that comes to
//! the same as one less than a minute ago writes neither that nor its counts.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::controller::backoff::{Backoff, Dice};
use crate::controller::fight::{FightRule, Fights};
use crate::controller::queue::{Order, Queue, Scope, Ticket, Trigger};
use crate::controller::schedule::Schedule;
use crate::controller::verdict::{Verdict, corrections, first_until, judge};
use crate::model::outcome::Outcome;
use crate::model::window::Windows;
use crate::model::{Action, Digest, Plan, ResourceId};
use crate::plan::hold::{Holds, Stalled, Unwished};

/// How long after the last sign of an edit the desired state is looked at: an editor or a checkout writes
/// several files one after another.
pub const SETTLE: SignedDuration = SignedDuration::from_millis(100);

/// How long after the first sign of an edit it is looked at all the same: what is written all the time is seen too.
pub const SETTLE_MAX: SignedDuration = SignedDuration::from_secs(2);

/// Passes in a row that may be cut off for a newer wish. The next one is finished: a wish that is edited
/// all the time must not keep a host from ever getting anything.
pub const SUPERSEDED_MAX: u32 = 3;

/// How soon after the agent went on as a new program it may do so again: two releases that replace each other must not
/// keep a host busy.
pub const RENEW_APART: SignedDuration = SignedDuration::from_mins(1);

/// What the loop goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// When passes are made without any cause.
    pub schedule: Schedule,
    /// How failures are tried again.
    pub backoff: Backoff,
    /// When corrections count as a fight.
    pub fight: FightRule,
    /// When what is in use may be replaced.
    pub windows: Windows,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Something in the place of the desired state was touched. Only a hint.
    Touched,
    /// SIGHUP.
    Signal,
    /// An operator wants a pass.
    Requested(Scope, Ticket),
    /// The agent is to end.
    Stop,
}

/// What the files of the desired state say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A valid wish of this digest.
    Valid(Digest),
    /// Nothing that could be used, and why.
    Invalid(String),
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Make this pass.
    Pass(Order),
    /// Look at the files of the desired state and tell what they say.
    Look,
    /// Nothing until then, or until something is heard.
    Wait(Timestamp),
    /// Go on as the program that has replaced this one.
    Renew,
    /// End.
    Stop,
}

/// What a pass came to.
#[derive(Clone, Debug)]
pub struct Ended<'a> {
    /// What was to be done; `None` when it did not come to a plan.
    pub plan: Option<(&'a Plan, &'a Outcome)>,
    /// What the desired state said when it began.
    pub wish: Wish,
    /// Resources whose source is asked in a rhythm of its own.
    pub every: &'a BTreeMap<ResourceId, SignedDuration>,
    /// What is wished of resources that were corrected.
    pub wishes: &'a BTreeMap<ResourceId, Digest>,
}

/// What is wrong with one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Trouble {
    failures: u32,
    retry_at: Timestamp,
    /// Whether a pass over it alone said nothing about it, so that only one over everything does: a removal.
    unseen_alone: bool,
}

/// The loop's state.
#[derive(Clone, Debug)]
pub struct Controller {
    policy: Policy,
    dice: Dice,
    queue: Queue,
    running: Option<Order>,
    stopping: bool,
    /// A pass replaced the agent's own program.
    replaced: bool,
    renew_from: Timestamp,
    tick_at: Timestamp,
    look_at: Option<Timestamp>,
    /// The first sign of the edit that is about to be looked at.
    touched: Option<Timestamp>,
    until: Option<Timestamp>,
    wish: Option<Wish>,
    superseded: u32,
    troubles: BTreeMap<ResourceId, Trouble>,
    stalled: BTreeMap<ResourceId, Stalled>,
    fights: Fights,
    /// Slots of resources that have some of their own, and the next of each.
    own: BTreeMap<ResourceId, (Schedule, Timestamp)>,
    /// When each resource that is not wished any more was found missing first.
    unwished: BTreeMap<ResourceId, Timestamp>,
    /// When the pass began that is made or was made last.
    began: Timestamp,
    /// Failures of whole passes in a row.
    broken: u32,
}

impl Controller {
    /// A loop that begins with a pass.
    pub fn new(policy: Policy, dice: Dice, now: Timestamp) -> Self {
        let mut queue = Queue::default();
        queue.push(now, Trigger::Start, Scope::All, None);
        Self {
            tick_at: policy.schedule.next(now),
            policy,
            dice,
            queue,
            running: None,
            stopping: false,
            replaced: false,
            renew_from: now,
            look_at: None,
            touched: None,
            until: None,
            wish: None,
            superseded: 0,
            troubles: BTreeMap::new(),
            stalled: BTreeMap::new(),
            fights: Fights::default(),
            own: BTreeMap::new(),
            unwished: BTreeMap::new(),
            began: now,
            broken: 0,
        }
    }

    /// The same for a program that has just replaced another one.
    #[must_use]
    pub fn renewed(self, now: Timestamp) -> Self {
        Self { renew_from: now + RENEW_APART, ..self }
    }

    /// Goes by another policy from now on.
    pub fn follow(&mut self, policy: Policy, now: Timestamp) {
        self.tick_at = policy.schedule.next(now);
        self.policy = policy;
        // The wish says how often, the policy which slots of the host that makes.
        self.own.clear();
    }

    /// Takes note of something that happened.
    pub fn hear(&mut self, event: Event, now: Timestamp) {
        match event {
            Event::Touched => {
                let first = *self.touched.get_or_insert(now);
                self.look_at = Some((now + SETTLE).min(first + SETTLE_MAX));
            }
            Event::Signal => self.queue.push(now, Trigger::Signal, Scope::All, None),
            Event::Requested(scope, ticket) => {
                self.queue.push(now, Trigger::Request, scope, Some(ticket));
            }
            Event::Stop => self.stopping = true,
        }
    }

    /// Takes note of the wish that the pass carries out which is being made: seeing the same is no news.
    pub fn carries(&mut self, wish: Wish) {
        if self.running.as_ref().is_some_and(|order| order.scope == Scope::All) {
            self.wish = Some(wish);
        }
    }

    /// Takes note of what the files of the desired state say. Returns whether the pass that is being made
    /// is to end before it switches anything more: a newer wish takes its place.
    pub fn seen(&mut self, wish: &Wish, now: Timestamp) -> bool {
        (self.look_at, self.touched) = (None, None);
        if self.wish.as_ref() == Some(wish) {
            return false;
        }
        self.wish = Some(wish.clone());
        self.queue.push(now, Trigger::Desired, Scope::All, None);
        let newer = matches!(wish, Wish::Valid(_));
        newer && self.running.is_some() && self.superseded < SUPERSEDED_MAX
    }

    /// What to do. A pass that is returned counts as being made until [`Self::ended`]; meanwhile only looks
    /// are asked for.
    pub fn next(&mut self, now: Timestamp) -> Next {
        // What is wished meanwhile is for whoever comes after.
        let look_at = self.look_at.filter(|_| !self.stopping);
        if look_at.is_some_and(|at| at <= now) {
            return Next::Look;
        }
        if self.running.is_some() {
            return Next::Wait(look_at.unwrap_or(Timestamp::MAX));
        }
        if self.stopping {
            return Next::Stop;
        }
        if self.replaced && self.renew_from <= now {
            return Next::Renew;
        }
        self.collect(now);
        if let Some(order) = self.queue.take(now) {
            self.begin(&order, now);
            return Next::Pass(order);
        }
        let retries = self.troubles.values().map(|trouble| trouble.retry_at);
        let retries = retries.chain(self.own.values().map(|(_, next)| *next));
        let renew = self.replaced.then_some(self.renew_from);
        let times = [self.queue.due(), self.look_at, self.until, Some(self.tick_at), renew];
        Next::Wait(times.into_iter().flatten().chain(retries).min().unwrap_or(self.tick_at))
    }

    /// Turns what has come due into triggers.
    fn collect(&mut self, now: Timestamp) {
        // A clock that was set back must not stretch the interval.
        if self.tick_at.duration_since(now) > self.policy.schedule.interval() {
            self.tick_at = self.policy.schedule.next(now);
        }
        if self.tick_at <= now {
            self.queue.push(now, Trigger::Schedule, Scope::All, None);
        }
        if self.until.is_some_and(|until| until <= now) {
            self.queue.push(now, Trigger::Until, Scope::All, None);
        }
        let mut own = BTreeSet::new();
        for (id, (schedule, next)) in &mut self.own {
            if next.duration_since(now) > schedule.interval() {
                *next = schedule.next(now);
            }
            if *next <= now {
                own.insert(id.clone());
            }
        }
        if !own.is_empty() {
            self.queue.push(now, Trigger::Every, Scope::Only(own), None);
        }
        let due = || self.troubles.iter().filter(move |(_, trouble)| trouble.retry_at <= now);
        if due().any(|(_, trouble)| trouble.unseen_alone) {
            self.queue.push(now, Trigger::Retry, Scope::All, None);
        } else if due().next().is_some() {
            let due: BTreeSet<ResourceId> = due().map(|(id, _)| id.clone()).collect();
            self.queue.push(now, Trigger::Retry, Scope::Only(due), None);
        }
    }

    fn begin(&mut self, order: &Order, now: Timestamp) {
        if order.scope == Scope::All {
            self.tick_at = self.policy.schedule.next(now);
            self.until = None;
        }
        for (id, (schedule, next)) in &mut self.own {
            if order.scope.has(id) && *next <= now {
                *next = schedule.next(now);
            }
        }
        if order.is_personal() {
            self.stalled.retain(|id, _| !order.scope.has(id));
            self.fights.forget(|id| order.scope.has(id));
        }
        // What the pass says about them sets their time. Where it says nothing, they must not stay due.
        let later = now + self.policy.backoff.most;
        for (_, trouble) in self.troubles.iter_mut().filter(|(id, _)| order.scope.has(id)) {
            trouble.retry_at = trouble.retry_at.max(later);
        }
        self.began = now;
        self.running = Some(order.clone());
    }

    /// What the pass that is to be made now leaves for later.
    pub fn holds(&self, now: Timestamp) -> Holds {
        Holds {
            gate: self.policy.windows.gate(now),
            // Which resources have windows of their own is said by the wish, which the pass reads.
            own: BTreeMap::new(),
            stalled: self.stalled.clone(),
            fights: self.fights.going_on(self.policy.fight, now),
            unwished: Some(Unwished { since: self.unwished.clone(), now }),
        }
    }

    /// Takes note of what the pass came to.
    pub fn ended(&mut self, ended: &Ended<'_>, now: Timestamp) {
        let Some(order) = self.running.take() else { return };
        if order.scope == Scope::All {
            self.wish = Some(ended.wish.clone());
        }
        let Some((plan, outcome)) = ended.plan else {
            self.broken += 1;
            let wait = self.policy.backoff.wait(self.broken, &mut self.dice);
            self.queue.push(now + wait, Trigger::Retry, order.scope, None);
            return;
        };
        self.broken = 0;
        self.replaced |= outcome.replaced_self;
        let verdicts = judge(plan, outcome);
        let cut_off = verdicts.values().any(|verdict| *verdict == Verdict::Untried);
        self.superseded = if cut_off { self.superseded + 1 } else { 0 };
        self.pace(ended.every);
        match &order.scope {
            Scope::All => {
                self.troubles.retain(|id, _| verdicts.contains_key(id));
                self.stalled.retain(|id, _| verdicts.contains_key(id));
                self.miss(plan);
            }
            Scope::Only(ids) => {
                for id in ids.iter().filter(|id| !verdicts.contains_key(id)) {
                    self.unseen(id, now);
                }
            }
        }
        if let Some(until) = first_until(plan, self.began) {
            self.until = Some(self.until.map_or(until, |known| known.min(until)));
        }
        for change in corrections(plan, outcome) {
            self.fights.corrected(change, ended.wishes.get(&change.resource), now);
        }
        for (id, verdict) in verdicts {
            self.note(id, verdict, now);
        }
    }

    /// Takes note of what a pass over everything found missing from the desired state.
    fn miss(&mut self, plan: &Plan) {
        let removed = plan.changes.iter().filter(|change| change.action == Action::Remove);
        let stays = plan.blocked.iter().filter(|blocked| blocked.declared_at.is_none());
        let missing = removed.map(|change| &change.resource).chain(stays.map(|b| &b.resource));
        let known = std::mem::take(&mut self.unwished);
        let since =
            |id: &ResourceId| known.get(id).map_or(self.began, |since| self.began.min(*since));
        self.unwished = missing.map(|id| (id.clone(), since(id))).collect();
    }

    /// Gives every resource with a rhythm of its own its slots, from the beginning of the pass on that told of it.
    fn pace(&mut self, every: &BTreeMap<ResourceId, SignedDuration>) {
        self.own.retain(|id, _| every.contains_key(id));
        for (id, every) in every {
            let schedule = self.policy.schedule.of(id, *every);
            if self.own.get(id).is_none_or(|(known, _)| *known != schedule) {
                self.own.insert(id.clone(), (schedule, schedule.next(self.began)));
            }
        }
    }

    /// Takes note that a pass over a resource alone said nothing about it.
    fn unseen(&mut self, id: &ResourceId, now: Timestamp) {
        if let Some(trouble) = self.troubles.get_mut(id) {
            trouble.unseen_alone = true;
            trouble.retry_at = now + self.policy.backoff.wait(trouble.failures, &mut self.dice);
        }
    }

    fn note(&mut self, id: ResourceId, verdict: Verdict, now: Timestamp) {
        match verdict {
            Verdict::Untried => {}
            Verdict::Well => {
                self.troubles.remove(&id);
            }
            Verdict::Stalled(stalled) => {
                self.troubles.remove(&id);
                self.stalled.insert(id, stalled);
            }
            Verdict::Again { not_before } => {
                let known = self.troubles.get(&id);
                let failures = known.map_or(0, |known| known.failures) + 1;
                let unseen_alone = known.is_some_and(|known| known.unseen_alone);
                let wait = self.policy.backoff.wait(failures, &mut self.dice);
                let retry_at = not_before.map_or(now, |time| time.max(now)) + wait;
                self.troubles.insert(id, Trouble { failures, retry_at, unseen_alone });
            }
        }
    }

    /// Whether the files of the desired state are about to be looked at.
    pub fn is_about_to_look(&self) -> bool {
        self.look_at.is_some()
    }
}
