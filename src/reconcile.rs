//! The pass on one screen.
//!
//! ```text
//! desired ──► observe ──► resolve ──► plan ──► apply ──► record
//! ```
//!
//! [`preview`] is the same without `apply` and `record`, and it takes a host that cannot be written.

mod glance;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;

use jiff::{SignedDuration, Timestamp};

use crate::apply::journal::Journal;
use crate::apply::rounds::Gathering;
use crate::apply::stage::Stager;
use crate::apply::{Bounds, Ended, Stop, apply};
use crate::desired::DesiredState;
use crate::fetch::Answers;
use crate::fetch::blob::Progress;
use crate::fetch::client::Client;
use crate::fetch::memory::Reader;
use crate::fetch::record::{Remembered, store};
use crate::host::{Change as Host, Look, facts, memory};
use crate::model::facts::Agent;
use crate::model::ledger::Ledger;
use crate::model::outcome::Outcome;
use crate::model::{Change, Plan, ResourceId, Step};
use crate::observe::ahead::Seen;
use crate::observe::renamed::follow_renames;
use crate::observe::{Observed, observe_rest};
use crate::plan::guard::Removals;
use crate::plan::hold::Holds;
use crate::plan::{Inputs, plan};
use crate::record::commit::{Pass, conclude, intend, tell};
use crate::record::last_pass::LastPass;
use crate::record::{cache, last_pass, ledger};
use crate::resolve::{Question, in_use, resolve};
use crate::resource::Found;
use crate::resource::observe::Depth;

pub use glance::Glance;

/// What one pass is about.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The wish.
    pub desired: &'a DesiredState,
    /// How closely to look.
    pub depth: Depth,
    /// Whether many removals were confirmed.
    pub removals: Removals,
    /// What is left for later.
    pub holds: &'a Holds,
    /// Only these resources.
    pub only: Option<&'a BTreeSet<ResourceId>>,
    /// How old a source's answer may be to be used without asking again.
    pub max_age: SignedDuration,
    /// Whether restarts and hooks run on this host.
    pub effects: Effects,
    /// The time of the pass.
    pub now: Timestamp,
}

/// Whether restarts and hooks run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Effects {
    /// Only when the managed root is the running system.
    #[default]
    Auto,
    /// Always.
    Run,
    /// Never.
    Skip,
}

/// What a pass will do, and what it was decided from.
#[derive(Debug)]
pub struct Preview {
    /// The plan.
    pub plan: Plan,
    /// The host.
    pub observed: Observed,
    /// What is remembered.
    pub ledger: Ledger,
    /// Sources' answers to remember.
    pub answers: Vec<Remembered>,
    /// Requests made.
    pub requests: u64,
    /// What came of them, by host.
    pub asked: BTreeMap<String, Answers>,
    /// What the pass came to, once it was made.
    pub last: Option<LastPass>,
}

/// What the host has.
pub fn look(request: &Request<'_>, host: &Look, ledger: &Ledger) -> Observed {
    look_on(request, host, ledger, Seen::default())
}

/// The same where a part of it was seen already.
fn look_on(request: &Request<'_>, host: &Look, ledger: &Ledger, seen: Seen) -> Observed {
    let mut observed = observe_rest(request.desired, ledger, host, request.depth, seen);
    observed.facts.agent = agent(request.desired, host);
    match request.effects {
        Effects::Auto => {}
        Effects::Run => {
            observed.facts.live = true;
            observed.facts.started = facts::start_of_host();
        }
        Effects::Skip => observed.facts.live = false,
    }
    observed
}

/// This program, and how its successor is tried: it must start, and understand the ledger and the wish.
fn agent(desired: &DesiredState, host: &Look) -> Option<Agent> {
    let file = facts::executable(host)?;
    let mut status = vec!["--root".to_owned(), host.root().to_string()];
    for root in &desired.roots {
        status.extend(["--desired".to_owned(), root.clone()]);
    }
    status.push("status".to_owned());
    Some(Agent { file, trials: vec![vec!["--version".to_owned()], status] })
}

/// Plans a pass. Nothing is written: a [`Look`] cannot.
pub async fn preview(request: &Request<'_>, host: &Look, client: &Client) -> io::Result<Preview> {
    preview_with(request, host, client, ledger::load(host)?).await
}

/// The same where looking began before the wish was known.
pub async fn preview_after(
    request: &Request<'_>,
    host: &Look,
    client: &Client,
    glance: Option<Glance>,
) -> io::Result<Preview> {
    let Some(glance) = glance else { return preview(request, host, client).await };
    let (mut ledger, seen) = glance.finish(host)?;
    follow_renames(request.desired, host, &mut ledger);
    let observed = look_on(request, host, &ledger, seen);
    Ok(preview_of(request, host, client, (observed, ledger)).await)
}

/// The same with a ledger that holds a decision not yet written.
pub async fn preview_with(
    request: &Request<'_>,
    host: &Look,
    client: &Client,
    mut ledger: Ledger,
) -> io::Result<Preview> {
    follow_renames(request.desired, host, &mut ledger);
    let observed = look(request, host, &ledger);
    Ok(preview_of(request, host, client, (observed, ledger)).await)
}

/// The same for a host that was looked at elsewhere.
pub async fn preview_of(
    request: &Request<'_>,
    host: &Look,
    client: &Client,
    (observed, ledger): (Observed, Ledger),
) -> Preview {
    let cache = host.cache();
    let reader = Reader::new(client.clone(), Some(&cache), request.now, request.max_age);
    let question = Question {
        desired: request.desired,
        observed: &observed,
        ledger: &ledger,
        only: request.only,
        root: host.root(),
        cache: &cache,
        now: request.now,
    };
    let resolved = resolve(&question, &reader).await;
    let in_use =
        if request.holds.is_empty() { BTreeMap::new() } else { in_use(&question, &reader) };
    let plan = plan(&Inputs {
        desired: request.desired,
        observed: &observed,
        resolved: &resolved,
        in_use: &in_use,
        ledger: &ledger,
        removals: request.removals,
        holds: request.holds,
        only: request.only,
        now: request.now,
    });
    let (requests, asked) = (reader.requests(), reader.answers());
    let answers = reader.into_noted();
    Preview { plan, observed, ledger, answers, requests, asked, last: None }
}

/// What performing needs besides the host.
#[derive(Clone, Copy)]
pub struct Hands<'a> {
    /// The network.
    pub client: &'a Client,
    /// Who is told about transfers.
    pub progress: &'a dyn Progress,
    /// Whether to stop.
    pub stop: &'a Stop,
    /// The time at any moment: a pass may last longer than a window.
    pub clock: &'a dyn Fn() -> Timestamp,
    /// How long what is staged waits for more to be switched along.
    pub gathering: Gathering,
}

impl fmt::Debug for Hands<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hands").field("stop", self.stop).finish_non_exhaustive()
    }
}

/// Performs the plan of a preview and records what became of it. Cursors move last.
pub async fn perform(
    request: &Request<'_>,
    preview: &mut Preview,
    host: &Host,
    hands: Hands<'_>,
) -> io::Result<Outcome> {
    let pass = Pass {
        desired: request.desired,
        observed: &preview.observed,
        plan: &preview.plan,
        now: request.now,
    };
    intend(host, &mut preview.ledger, &pass)?;
    if preview.plan.changes.iter().flat_map(|change| &change.steps).any(Step::is_staging) {
        // What made the plan is not needed beside what comes now.
        memory::give_back();
    }
    let facts = &preview.observed.facts;
    let found = preview.observed.resources.values().filter_map(|found| found.as_ref().ok());
    let seen = found.filter_map(Found::seen).collect();
    let stager = Stager::new(host, hands.client, hands.progress, facts, request.now);
    let stager = stager.with_seen(seen);
    let mut journal = Journal::new(&preview.ledger, request.now);
    let closes = |change: &Change| request.holds.closes(change);
    let Hands { stop, clock, gathering, .. } = hands;
    let ended = |ended: &[Ended<'_>]| tell(host, &pass, ended);
    let bounds = Bounds { stop, clock, closes: &closes, gathering, ended: &ended };
    let outcome = apply(&preview.plan, host, &stager, &mut journal, &bounds).await;
    (preview.ledger.trust, preview.ledger.debts) = journal.into_parts();
    conclude(host, &mut preview.ledger, &pass, &outcome)?;
    let earlier = last_pass::load(host);
    let last = LastPass::after(earlier.as_ref(), &pass, &outcome, request.only);
    if let Err(error) = last_pass::save(host, &last, earlier.as_ref()) {
        tracing::warn!(%error, "cannot remember what this pass came to");
    }
    // The cache only saves transfers: failing to keep or to clean it is not a failure of the pass.
    if let Err(error) = cache::sweep(host, (&preview.observed, &last), &outcome) {
        tracing::warn!(%error, "cannot clean the cache");
    }
    if let Err(error) = store(&host.cache(), &preview.answers) {
        tracing::warn!(%error, "cannot remember what the sources said");
    }
    preview.last = Some(last);
    Ok(outcome)
}
