//! The loop with its clock, its ears and its hands: the one place where the decisions meet the world.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{mpsc, oneshot};

use crate::apply::{Stop, StopReason};
use crate::controller::control::Answer;
use crate::controller::machine::{Controller, Ended, Event, Next, Policy, Wish};
use crate::controller::notify::Systemd;
use crate::controller::queue::{Order, Scope, Ticket};
use crate::model::outcome::Outcome;
use crate::model::{Digest, Plan, ResourceId};
use crate::plan::hold::Holds;

/// Most things heard and not yet taken note of.
pub const HEARD_MAX: usize = 64;

/// How long nothing happens before what is not needed meanwhile may go: longer than threads without work are kept, so that
/// what they leave behind goes too.
const QUIET: SignedDuration = SignedDuration::from_secs(5);

/// Something that came from outside.
#[derive(Debug)]
pub enum Heard {
    /// The place of the desired state was touched.
    Touched,
    /// SIGHUP.
    Reload,
    /// SIGTERM or SIGINT.
    Stop,
    /// Somebody wants a pass, and perhaps to know what became of it.
    Requested(Scope, oneshot::Sender<Answer>),
}

/// What can be done, and the clock.
pub trait Hands {
    /// Makes one pass.
    fn pass(&self, order: &Order, holds: &Holds, stop: &Stop) -> impl Future<Output = Done>;
    /// What the files of the desired state say now.
    fn wish(&self) -> Wish;
    /// What the pass carries out that is being made, once it knows.
    fn carries(&self) -> Option<Wish>;
    /// Reads the agent's configuration again; on a mistake the old one is kept.
    fn reload(&self) -> Result<Policy, String>;
    /// Nothing is to be done for a while: what is not needed meanwhile may go.
    fn rest(&self);
    /// The time.
    fn now(&self) -> Timestamp;
}

/// What a pass came to.
#[derive(Clone, Debug)]
pub struct Done {
    /// What was to be done and what became of it; `None` when it did not come to that.
    pub plan: Option<(Plan, Outcome)>,
    /// What the files of the desired state said when it began. When that could not be used, the pass
    /// carried out the wish before.
    pub wish: Wish,
    /// Resources whose source is asked in a rhythm of its own.
    pub every: BTreeMap<ResourceId, SignedDuration>,
    /// What is wished of resources that were corrected.
    pub wishes: BTreeMap<ResourceId, Digest>,
    /// The exit code that the same pass would have had on its own.
    pub exit: u8,
    /// What happened, in one line.
    pub message: String,
    /// Why it could not be made, if so. One that was asked to stop, or found another being made, could have been.
    pub unmade: Option<String>,
}

impl Done {
    /// Nothing came of it.
    pub fn nothing(wish: Wish) -> Self {
        let (every, wishes, message) = Default::default();
        Self { plan: None, wish, every, wishes, exit: 0, message, unmade: None }
    }
}

/// How the loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was told to.
    Stopped,
    /// The agent's own program was replaced: that one is to go on.
    Renewed,
}

/// A transition that others may want to know.
#[derive(Clone, Copy, Debug)]
pub enum News<'a> {
    /// The loop is about to begin.
    Ready,
    /// A pass begins.
    Began(&'a Order),
    /// A pass ended.
    Ended(&'a Order, &'a Done),
    /// Nothing until then; `last` is what the last pass said.
    Waiting {
        /// The next pass at the latest.
        until: Timestamp,
        /// What the last pass said.
        last: &'a str,
    },
    /// The configuration is read again.
    Reloading,
    /// It was, or why the old one is kept.
    Reloaded(&'a Result<(), String>),
    /// The program that has replaced this one goes on in a moment.
    Renewing,
    /// The loop ends.
    Stopping,
}

/// Somebody who is told. Observers never decide: whatever goes wrong with them is theirs.
pub trait Observer {
    /// Takes note of a transition. Must not block.
    fn told(&mut self, news: &News<'_>);
}

/// The loop and everything around it.
pub struct Drive<'a, H> {
    /// What is done.
    pub hands: &'a H,
    /// What is decided.
    pub controller: Controller,
    /// What comes from outside.
    pub ears: mpsc::Receiver<Heard>,
    /// Who is told.
    pub observers: Vec<Box<dyn Observer + 'a>>,
    /// Who waits for an answer.
    waiting: BTreeMap<Ticket, oneshot::Sender<Answer>>,
    tickets: Ticket,
    last: String,
    told: Option<Timestamp>,
    /// When something happened last.
    stirred: Timestamp,
    /// Whether it rests since then.
    rests: bool,
}

impl<H> std::fmt::Debug for Drive<'_, H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Drive").field("controller", &self.controller).finish_non_exhaustive()
    }
}

impl<'a, H: Hands> Drive<'a, H> {
    /// A loop that has not begun.
    pub fn new(
        hands: &'a H,
        controller: Controller,
        ears: mpsc::Receiver<Heard>,
        observers: Vec<Box<dyn Observer + 'a>>,
    ) -> Self {
        let (waiting, last) = (BTreeMap::new(), "ready".to_owned());
        Self {
            hands,
            controller,
            ears,
            observers,
            waiting,
            tickets: 0,
            last,
            told: None,
            stirred: hands.now(),
            rests: false,
        }
    }

    /// Goes round until it is told to stop, or is another program.
    pub async fn run(mut self) -> End {
        self.tell(&News::Ready);
        loop {
            let now = self.hands.now();
            match self.controller.next(now) {
                Next::Stop => {
                    self.tell(&News::Stopping);
                    return End::Stopped;
                }
                Next::Renew => {
                    self.tell(&News::Renewing);
                    return End::Renewed;
                }
                Next::Look => {
                    self.controller.seen(&self.hands.wish(), now);
                }
                Next::Pass(order) => self.pass(&order).await,
                Next::Wait(until) => {
                    if !self.controller.is_about_to_look()
                        && self.told.replace(until) != Some(until)
                    {
                        let last = std::mem::take(&mut self.last);
                        self.tell(&News::Waiting { until, last: &last });
                        self.last = last;
                    }
                    self.wait(until, now).await;
                }
            }
        }
    }

    /// Waits for something to happen, and rests when nothing does.
    async fn wait(&mut self, until: Timestamp, now: Timestamp) {
        let rest_at = self.stirred + QUIET;
        let rest_at = Some(rest_at).filter(|at| !self.rests && *at < until);
        if let Some(heard) = listen(&mut self.ears, rest_at.unwrap_or(until), now).await {
            self.take(heard);
            self.stir();
        } else if rest_at.is_some_and(|at| at <= self.hands.now()) {
            self.hands.rest();
            self.rests = true;
        }
    }

    fn stir(&mut self) {
        (self.stirred, self.rests) = (self.hands.now(), false);
    }

    async fn pass(&mut self, order: &Order) {
        self.tell(&News::Began(order));
        let (hands, stop) = (self.hands, Stop::default());
        let holds = self.controller.holds(hands.now());
        let done = {
            let mut passing = std::pin::pin!(hands.pass(order, &holds, &stop));
            loop {
                let now = hands.now();
                let until = match self.controller.next(now) {
                    Next::Look => {
                        if let Some(wish) = hands.carries() {
                            self.controller.carries(wish);
                        }
                        if self.controller.seen(&hands.wish(), now) {
                            tracing::info!("a newer desired state takes the place of this pass");
                            stop.request(StopReason::Superseded);
                        }
                        continue;
                    }
                    Next::Wait(until) => until,
                    Next::Pass(_) | Next::Renew | Next::Stop => Timestamp::MAX,
                };
                let heard = tokio::select! {
                    biased;
                    done = &mut passing => break done,
                    heard = listen(&mut self.ears, until, now) => heard,
                };
                if matches!(heard, Some(Heard::Stop)) {
                    stop.request(StopReason::Asked);
                }
                if let Some(heard) = heard {
                    self.take(heard);
                }
            }
        };
        let now = hands.now();
        let plan = done.plan.as_ref().map(|(plan, outcome)| (plan, outcome));
        let Done { every, wishes, .. } = &done;
        self.controller.ended(&Ended { plan, wish: done.wish.clone(), every, wishes }, now);
        // Whatever was missed meanwhile is seen now: events are only hints.
        self.controller.seen(&hands.wish(), now);
        for ticket in &order.tickets {
            if let Some(reply) = self.waiting.remove(ticket) {
                let answer = Answer { exit: done.exit, message: done.message.clone() };
                // Who asked may have gone away.
                let _ = reply.send(answer);
            }
        }
        self.tell(&News::Ended(order, &done));
        self.told = None;
        self.last = done.message;
        self.stir();
    }

    fn take(&mut self, heard: Heard) {
        let now = self.hands.now();
        match heard {
            Heard::Touched => self.controller.hear(Event::Touched, now),
            Heard::Stop => self.controller.hear(Event::Stop, now),
            Heard::Reload => {
                self.tell(&News::Reloading);
                let said = self.hands.reload().map(|policy| self.controller.follow(policy, now));
                if let Err(why) = &said {
                    tracing::error!("{why}; the configuration before is kept");
                }
                self.tell(&News::Reloaded(&said));
                self.controller.hear(Event::Signal, now);
            }
            Heard::Requested(scope, reply) => {
                self.tickets += 1;
                self.waiting.insert(self.tickets, reply);
                self.controller.hear(Event::Requested(scope, self.tickets), now);
            }
        }
    }

    fn tell(&mut self, news: &News<'_>) {
        for observer in &mut self.observers {
            observer.told(news);
        }
    }
}

/// What is heard next, or nothing by `until`. Feeds the watchdog while it waits: a loop that hangs does not.
async fn listen(
    ears: &mut mpsc::Receiver<Heard>,
    until: Timestamp,
    now: Timestamp,
) -> Option<Heard> {
    let wait = Duration::try_from(until.duration_since(now)).unwrap_or(Duration::ZERO);
    // A clock cannot be waited for longer than this.
    let wait = wait.min(Duration::from_hours(24 * 365));
    let fed = Systemd::watchdog();
    let nap = fed.map_or(wait, |often| often.min(wait));
    let heard = tokio::select! {
        biased;
        heard = ears.recv() => heard,
        () = tokio::time::sleep(nap) => None,
    };
    if fed.is_some() {
        Systemd::feed();
    }
    heard
}
