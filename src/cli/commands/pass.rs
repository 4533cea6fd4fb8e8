//! One pass: planned, printed, applied.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::pin::pin;

use camino::Utf8Path;

use crate::apply::rounds::Gathering;
use crate::apply::{Stop, StopReason};
use crate::cli::args::{Format, PassArgs};
use crate::cli::commands::shown::{self, Ended};
use crate::cli::exit::{self, Exit};
use crate::cli::imagined::Imagined;
use crate::cli::output::json::{About, plan_document};
use crate::cli::output::progress::Bars;
use crate::cli::output::{json, markdown, report, text};
use crate::cli::session::{AT_ONCE, Session};
use crate::cli::{CliError, mention, say};
use crate::desired::DesiredState;
use crate::fetch::Client;
use crate::host::{Change as Host, Look, read_bounded};
use crate::model::outcome::Outcome;
use crate::model::plan::{PLAN_API_VERSION, PlanDocument, PlanMetadata};
use crate::model::{Digest, Plan};
use crate::observe::Observed;
use crate::observe::renamed::follow_renames;
use crate::plan::check::{Present, check};
use crate::plan::hold::hold;
use crate::reconcile::{self, Glance, Hands, Preview, Request};
use crate::record::ledger;
use crate::resource::observe::Depth;

/// A saved plan of 10,000 changes stays below 64 MiB.
const PLAN_BYTES_MAX: u64 = 64 << 20;

/// Most passes made in a row because the desired state was edited during each.
const PASSES_MAX: u32 = 5;

/// Prints the plan, or saves it.
pub(super) async fn plan(
    session: &Session,
    args: &PassArgs,
    out: Option<&Utf8Path>,
) -> Result<Exit, CliError> {
    let told = told_to_end();
    // What is asked for a repository ends with whoever asks.
    tokio::select! {
        biased;
        exit = planned(session, args, out) => exit,
        () = told => Err(stopped()),
    }
}

async fn planned(
    session: &Session,
    args: &PassArgs,
    out: Option<&Utf8Path>,
) -> Result<Exit, CliError> {
    let glance = if session.imagined().is_some() { None } else { glance(session, &session.host) };
    let mut desired = session.desired().await?;
    desired.notes.extend(session.imagined().and_then(Imagined::unknown));
    let only = session.only(&desired)?;
    let client = session.client(&desired);
    let holds = session.holds(&desired, args)?;
    let request = Request { only: only.as_ref(), ..session.request(&desired, &holds, args) };
    let preview = match session.imagined() {
        Some(imagined) => {
            let (observed, ledger) = imagined.observed(&desired)?;
            reconcile::preview_of(&request, &session.host, &client, (observed, ledger)).await
        }
        None => {
            let preview = reconcile::preview_after(&request, &session.host, &client, glance).await;
            preview.map_err(|e| CliError::io(&e))?
        }
    };
    tracing::info!(requests = preview.requests, "planned");
    let about = about(session, &desired, &preview.observed);
    if let Some(out) = out {
        save(out, &json::render(&plan_document(preview.plan.clone(), about.clone())))?;
    }
    print(session, &preview.plan, about);
    Ok(exit_of_plan(&preview.plan, args).or(exit::of_wish(&desired)))
}

fn exit_of_plan(plan: &Plan, args: &PassArgs) -> Exit {
    let pending = args.detailed_exitcode && !plan.is_empty();
    let blocked = exit::of_plan(plan);
    if pending { blocked.or(Exit::Pending) } else { blocked }
}

/// Plans and applies, and once more when the desired state was edited meanwhile: a path unit is deaf while the
/// service that it starts is running.
///
/// Told to end, it gives up what only reads; what is being applied stops at its next safe point, and no pass follows.
pub(super) async fn reconcile(session: &Session, args: &PassArgs) -> Result<Exit, CliError> {
    let made = made(session, args).await;
    if let Err(error) = &made {
        shown::tell_unmade(session, error).await;
    }
    made
}

async fn made(session: &Session, args: &PassArgs) -> Result<Exit, CliError> {
    let (stop, applying, told) = (Stop::default(), Cell::new(false), told_to_end());
    let mut passes = pin!(passes(session, args, (&stop, &applying)));
    tokio::select! {
        biased;
        exit = &mut passes => return exit,
        () = told => {}
    }
    if !applying.get() {
        return Err(stopped());
    }
    ask(&stop);
    passes.await
}

/// What is said where nothing was begun yet.
pub(super) fn stopped() -> CliError {
    CliError::new(Exit::Deferred, "stopped before anything was done")
}

async fn passes(
    session: &Session,
    args: &PassArgs,
    (stop, applying): (&Stop, &Cell<bool>),
) -> Result<Exit, CliError> {
    let mut session = session.clone();
    let mut passes = 1;
    loop {
        // A repository is fetched under the lock, too.
        let apart = session.common.git.git.is_some();
        let host = if apart { None } else { Host::seize(session.host.clone()) };
        let glance = host.as_ref().and_then(|host| glance(&session, host.look()));
        let desired = session.desired().await?;
        let exit = once(&session, args, &desired, (host, glance), (stop, applying)).await?;
        let again = passes < PASSES_MAX && session.common.output != Format::Json;
        if !again || stop.requested() || !session.was_edited_since(&desired)? {
            return Ok(exit);
        }
        mention("the desired state was edited meanwhile: another pass");
        session = session.renewed();
        passes += 1;
    }
}

/// Looks at the host while the wish is read, where that saves time.
fn glance(session: &Session, host: &Look) -> Option<Glance> {
    (session.depth() == Depth::Quick).then(|| Glance::begin(host)).flatten()
}

async fn once(
    session: &Session,
    args: &PassArgs,
    desired: &DesiredState,
    (host, glance): (Option<Host>, Option<Glance>),
    (stop, applying): (&Stop, &Cell<bool>),
) -> Result<Exit, CliError> {
    let only = session.only(desired)?;
    let client = session.client(desired);
    let host = match host {
        Some(host) => host,
        None => session.lock(AT_ONCE).await?,
    };
    let holds = session.holds(desired, args)?;
    let request = Request { only: only.as_ref(), ..session.request(desired, &holds, args) };
    let preview = reconcile::preview_after(&request, host.look(), &client, glance).await;
    let mut preview = preview.map_err(|e| CliError::io(&e))?;
    if session.common.output != Format::Json {
        print(session, &preview.plan, about(session, desired, &preview.observed));
    }
    applying.set(true);
    let exit = perform(session, &request, (&host, &client, stop), &mut preview).await;
    applying.set(false);
    // The program ends soon. To give back some hundred thousand small values before that takes milliseconds.
    std::mem::forget(preview);
    exit
}

/// Applies exactly a saved plan, if the host and the wish are still as they were.
pub(super) async fn apply_saved(
    session: &Session,
    args: &PassArgs,
    file: &Utf8Path,
) -> Result<Exit, CliError> {
    if !session.common.only.is_empty() {
        let why = "a saved plan is applied whole; make one with `plan --only RESOURCE --out FILE`";
        return Err(CliError::new(Exit::Usage, why));
    }
    let saved = read_plan(file)?;
    let session = &session.reading(&saved.metadata);
    let desired = session.desired().await?;
    let host = session.lock(AT_ONCE).await?;
    mention_edit(&saved.metadata, &desired);
    let holds = session.holds(&desired, args)?;
    let request = session.request(&desired, &holds, args);
    let mut preview = still_fits(session, &request, host.look(), file, saved)?;
    if preview.plan.is_empty() && session.common.output != Format::Json {
        say("Nothing to do: the saved plan has no changes.\n");
    }
    let client = session.client(&desired);
    let stop = Stop::default();
    let applying = perform(session, &request, (&host, &client, &stop), &mut preview);
    until_told(&stop, applying).await
}

/// Prints a saved plan if it could still be applied.
pub(super) async fn show_saved(
    session: &Session,
    args: &PassArgs,
    file: &Utf8Path,
) -> Result<Exit, CliError> {
    let saved = read_plan(file)?;
    let session = &session.reading(&saved.metadata);
    let desired = session.desired().await?;
    mention_edit(&saved.metadata, &desired);
    let holds = session.holds(&desired, args)?;
    let request = session.request(&desired, &holds, args);
    let preview = still_fits(session, &request, &session.host, file, saved)?;
    print(session, &preview.plan, about(session, &desired, &preview.observed));
    Ok(exit_of_plan(&preview.plan, args).or(exit::of_wish(&desired)))
}

/// Says so where the wish is not the one any more that a plan was made from.
fn mention_edit(saved: &PlanMetadata, desired: &DesiredState) {
    if saved.digest.as_ref().is_some_and(|digest| *digest != desired.digest) {
        mention(
            "note: the desired state was edited since the plan was saved; what the plan says counts here, and the \
             edit with the next pass",
        );
    }
}

/// The saved plan as a preview; stale when the host, the wish or an operator's decision moved on.
fn still_fits(
    session: &Session,
    request: &Request<'_>,
    host: &Look,
    file: &Utf8Path,
    saved: PlanDocument,
) -> Result<Preview, CliError> {
    let stale = |why: String| {
        CliError::new(Exit::Stale, format!("{file} cannot be applied: {why}; plan again"))
    };
    let root = &saved.metadata.root;
    if root != session.host.root() {
        let why = format!("{file} was made for another root; name it with --root {root}");
        return Err(CliError::new(Exit::Usage, why));
    }
    let mut ledger = ledger::load(host).map_err(|e| CliError::io(&e))?;
    follow_renames(request.desired, host, &mut ledger);
    let observed = reconcile::look(request, host, &ledger);
    if saved.metadata.hostname != observed.facts.hostname {
        return Err(stale(format!("it was made for the host {}", saved.metadata.hostname)));
    }
    let (desired, now) = (request.desired, request.now);
    let present = Present { desired, ledger: &ledger, observed: &observed, now };
    for change in &saved.spec.changes {
        let now = observed.resources.get(&change.resource).and_then(|o| o.as_ref().ok());
        if now.map(Digest::of_json).as_ref() != Some(&change.observed) {
            return Err(stale(format!("{} changed since it was made", change.resource)));
        }
        check(change, &present).map_err(stale)?;
    }
    // What is fetched ahead of a window was planned so; everything else is as it would be planned now.
    let held = hold(saved.spec.clone(), request.holds).blocked.pop();
    if let Some(held) = held.filter(|held| !saved.spec.blocked.contains(held)) {
        return Err(CliError::new(
            Exit::Deferred,
            format!(
                "{file} is not applied: {}: {}; `--windows ignore` applies it now",
                held.resource, held.message
            ),
        ));
    }
    let (answers, asked) = (Vec::new(), BTreeMap::new());
    Ok(Preview { plan: saved.spec, observed, ledger, answers, requests: 0, asked, last: None })
}

fn read_plan(file: &Utf8Path) -> Result<PlanDocument, CliError> {
    let unreadable =
        |why: String| CliError::new(Exit::Usage, format!("cannot read the plan {file}: {why}"));
    let bytes = std::fs::File::open(file)
        .and_then(|file| read_bounded(file, PLAN_BYTES_MAX))
        .map_err(|e| unreadable(e.to_string()))?;
    let document: PlanDocument = serde_json::from_slice(&bytes)
        .map_err(|_| unreadable("it is not, or not all of, what `plan --out` saves".to_owned()))?;
    if document.api_version != PLAN_API_VERSION || document.spec.name() != document.metadata.name {
        return Err(unreadable(
            "it was edited, or made by another version of reconcile".to_owned(),
        ));
    }
    Ok(document)
}

/// Applies the plan of a preview and says what became of it.
pub(super) async fn perform(
    session: &Session,
    request: &Request<'_>,
    with: (&Host, &Client, &Stop),
    preview: &mut Preview,
) -> Result<Exit, CliError> {
    let outcome = carry_out(session, request, with, preview).await?;
    let applied = exit::of_pass(&preview.plan, &outcome).or(exit::of_wish(request.desired));
    if session.common.output == Format::Json {
        let about = about(session, request.desired, &preview.observed);
        let document = plan_document(preview.plan.clone(), about);
        say(&json::render(&report::document(&document, &outcome)));
    } else if !preview.plan.is_empty() {
        say(&match session.common.output {
            Format::Markdown => markdown::outcome(&preview.plan, &outcome),
            _ => report::outcome(&preview.plan, &outcome),
        });
    }
    Ok(applied)
}

/// Applies the plan of a preview; only progress is shown.
pub(super) async fn carry_out(
    session: &Session,
    request: &Request<'_>,
    (host, client, stop): (&Host, &Client, &Stop),
    preview: &mut Preview,
) -> Result<Outcome, CliError> {
    session.keep_wish(host);
    let progress = if session.interactive { Bars::shown() } else { Bars::hidden() };
    let hands = Hands {
        client,
        progress: &progress,
        stop,
        clock: &|| session.time(),
        gathering: Gathering::default(),
    };
    let outcome = reconcile::perform(request, preview, host, hands).await;
    progress.finish();
    let outcome = outcome.map_err(|e| CliError::io(&e))?;
    if let Ok(agent) = session.agent() {
        let ended = Ended {
            session,
            desired: request.desired,
            preview,
            outcome: &outcome,
            windows: &agent.windows(),
            trigger: shown::TRIGGER,
            began: session.began,
        };
        ended.tell(host, &agent.notify).await;
    }
    if outcome.replaced_self {
        mention("reconcile itself was replaced; the next run is of the new program");
    }
    Ok(outcome)
}

/// Goes on with what is applied until its end; asks it to stop when this process is told to end.
pub(super) async fn until_told<T>(stop: &Stop, applying: impl Future<Output = T>) -> T {
    let (mut applying, told) = (pin!(applying), told_to_end());
    tokio::select! {
        biased;
        done = &mut applying => return done,
        () = told => ask(stop),
    }
    applying.await
}

fn ask(stop: &Stop) {
    mention("stopping at the next safe point");
    stop.request(StopReason::Asked);
}

/// Returns once this process is told to end, from now on; never where it cannot be told but be killed.
fn told_to_end() -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    async move {
        let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}

/// What a plan's document says besides the plan.
pub(super) fn about(session: &Session, desired: &DesiredState, observed: &Observed) -> About {
    About {
        now: session.now,
        hostname: observed.facts.hostname.clone(),
        root: session.imagined().map_or(session.host.root().as_str(), |_| "/").to_owned(),
        desired: desired.roots.clone(),
        digest: desired.digest.clone(),
        revision: desired.revision.clone(),
    }
}

/// Prints a plan as it was asked for.
pub(super) fn print(session: &Session, plan: &Plan, about: About) {
    say(&match session.common.output {
        Format::Text | Format::Oneline => text::plan(plan, &about),
        Format::Json => json::render(&plan_document(plan.clone(), about)),
        Format::Markdown => markdown::plan(&plan_document(plan.clone(), about)),
    });
}

#[expect(clippy::disallowed_methods, reason = "a file the operator named, not the managed host")]
fn save(file: &Utf8Path, text: &str) -> Result<(), CliError> {
    std::fs::write(file, text)
        .map_err(|e| CliError::new(Exit::CannotWrite, format!("cannot save the plan {file}: {e}")))
}
