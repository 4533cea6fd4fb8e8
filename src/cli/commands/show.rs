//! Questions about this host: status, diff, explain.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::cli::args::{Format, PassArgs};
use crate::cli::commands::details::in_full;
use crate::cli::exit::Exit;
use crate::cli::named::{Named, wished};
use crate::cli::output::answers::{Diff, Drifted, Explanation};
use crate::cli::output::text::{headline, in_one_line};
use crate::cli::output::units::seconds;
use crate::cli::output::{contents, json};
use crate::cli::session::Session;
use crate::cli::{CliError, mention, say};
use crate::controller::told;
use crate::desired::DesiredState;
use crate::fetch::memory::Reader;
use crate::model::agent::AgentStatus;
use crate::model::contents::PATHS_MAX;
use crate::model::ledger::Ledger;
use crate::model::outcome::counted;
use crate::model::{Kind, ResourceId};
use crate::monitor::memory;
use crate::observe::observe;
use crate::observe::renamed::follow_renames;
use crate::reconcile::{Request, preview};
use crate::record::{history, last_pass, ledger};
use crate::resolve::explain::{About, explain as explain_choice};
use crate::resource::Found;
use crate::status::carry::carry;
use crate::status::export::HostExport;
use crate::status::{Condition, HostStatus, Known, ResourceStatus, State, status as judge};

pub(super) fn judged(session: &Session, desired: &DesiredState) -> Result<HostStatus, CliError> {
    let ledger = remembered(session, desired)?;
    let observed = observe(desired, &ledger, &session.host, session.depth());
    let last = last_pass::load(&session.host);
    let mut history = history::load(&session.host);
    history::rename(&mut history, &ledger.renamed);
    let agent = told::read(&session.host);
    let mut status = judge(&Known {
        agent: agent.as_ref(),
        unmade: None,
        desired,
        observed: &observed,
        ledger: &ledger,
        last: last.as_ref(),
        history: &history,
        now: session.now,
    });
    carry(memory::load(&session.host).status.as_ref(), &mut status, None);
    Ok(status)
}

/// For prompts and for a loop over hosts.
fn oneline(status: &HostStatus) -> String {
    let all = status.resources.len();
    let current = status.resources.iter().filter(|r| r.state == State::Current).count();
    let ready = status.conditions.iter().find(|c| c.kind == "Ready" && c.reason != "Converged");
    let which = ready.map_or(String::new(), |ready| format!(" ({})", ready.message));
    let last = status.last_pass_at.map(seconds);
    let last = last.map_or(String::new(), |at| format!("; last pass {at}"));
    let told = status.conditions.iter().filter(|c| c.kind != "Ready" && c.status == "True");
    let told: String = told.flat_map(|c| ["; ", c.kind.as_str()]).collect();
    format!(
        "{} {}: {current} of {} as desired{which}{told}{last}\n",
        status.hostname,
        status.state.name(),
        counted(all, "resource")
    )
}

/// What is installed and in which condition.
pub(super) async fn status(session: &Session) -> Result<Exit, CliError> {
    let (desired, exit) = effective(session).await?;
    let status = judged(session, &desired)?;
    if session.common.output == Format::Json {
        say(&json::render(&status));
        return Ok(exit);
    }
    if session.common.output == Format::Oneline {
        say(&oneline(&status));
        return Ok(exit);
    }
    let mut text = format!("{}: {:?}", status.hostname, status.state);
    if let Some(at) = status.last_pass_at.map(seconds) {
        let _ = write!(text, "; last pass {at}");
    }
    text.push('\n');
    match &status.agent {
        Some(agent) => loop_lines(&mut text, agent),
        None => text.push_str("  loop: no agent runs; passes are made by hand or by a timer\n"),
    }
    if let Some(revision) = &status.revision {
        let _ = writeln!(
            text,
            "  desired state: {revision} of {}, accepted {}",
            revision.url,
            seconds(revision.accepted_at)
        );
    }
    let told = |c: &&Condition| !matches!(c.kind.as_str(), "Ready" | "TrustStateLost");
    for condition in status.conditions.iter().filter(told) {
        let _ =
            writeln!(text, "  ! {} ({}): {}", condition.kind, condition.reason, condition.message);
    }
    for loss in &status.losses {
        let _ = writeln!(text, "  ! {loss}");
    }
    for resource in &status.resources {
        line(&mut text, resource);
    }
    say(&text);
    Ok(exit)
}

/// Every condition but `Ready`; a blocked wish that says why a release is quarantined says all of it.
fn shown(conditions: &[Condition]) -> impl Iterator<Item = &Condition> {
    let again = conditions.iter().any(|c| c.kind == "Blocked" && c.reason == "Quarantined");
    let passed = move |c: &&Condition| c.kind != "Ready" && !(again && c.kind == "Quarantined");
    conditions.iter().filter(passed)
}

/// The desired state, or the last valid one, or none where nobody knows of a valid one; and what that means for the exit
/// code.
pub(super) async fn effective(session: &Session) -> Result<(DesiredState, Exit), CliError> {
    let last = session.last_wish().ok().flatten();
    // Where what was there before is in effect for the loop, that is the wish, also when nothing is there any more.
    let read = match &last {
        Some(_) => session.desired().await,
        None => session.desired_if_any().await,
    };
    match read {
        Err(error) if matches!(error.exit(), Exit::Invalid | Exit::Config) => {
            let (exit, refused) = (error.exit(), Some(error.message().to_owned()));
            if exit == Exit::Config {
                // What is wrong with a wish was told where it was read.
                mention(error.message());
            }
            if let Some(desired) = last {
                mention("the last valid desired state stays in effect until it is valid:");
                return Ok((DesiredState { refused, ..desired }, exit));
            }
            mention("what is installed all the same:");
            let nothing = DesiredState::from_texts(Vec::new()).map_err(|_| error)?;
            Ok((DesiredState { refused, ..nothing }, exit))
        }
        read => read.map(|desired| (desired, Exit::Ok)),
    }
}

fn loop_lines(text: &mut String, agent: &AgentStatus) {
    let next = agent.next_pass_at.map(seconds);
    let next = next.map_or(String::new(), |at| format!(", next pass {at}"));
    let _ = writeln!(
        text,
        "  loop: {}{next}; last ({}): {}",
        agent.state, agent.triggers, agent.message
    );
    if let Some(why) = &agent.misconfigured {
        let _ = writeln!(text, "  ! the configuration before is kept: {why}");
    }
}

/// What this host has, for planning elsewhere.
pub(super) async fn export(session: &Session) -> Result<Exit, CliError> {
    let desired = session.desired().await?;
    let ledger = ledger::load(&session.host).map_err(|e| CliError::io(&e))?;
    let observed = observe(&desired, &ledger, &session.host, session.depth());
    let export = HostExport::of(session.identity()?, &observed, &ledger, session.now);
    let export = export.map_err(|error| CliError::new(Exit::Failed, error.to_string()))?;
    say(&json::render(&export));
    Ok(Exit::Ok)
}

/// A resource in one line, and its conditions.
pub(super) fn line(text: &mut String, resource: &ResourceStatus) {
    let version = resource.version.as_ref().map_or("-".to_owned(), ToString::to_string);
    let requested = resource.requested.as_deref().unwrap_or("not desired");
    let verified = resource.verified_by();
    let _ = writeln!(
        text,
        "  {:<24} {:<14} {:<12} {:<14} {verified}",
        resource.id.to_string(),
        version,
        requested,
        format!("{:?}", resource.state),
    );
    for path in &resource.set_aside {
        let _ = writeln!(
            text,
            "      files of somebody else are kept in {path}; remove them when nobody needs them"
        );
    }
    for condition in shown(&resource.conditions) {
        let message = in_one_line(&condition.message);
        let _ = writeln!(text, "      {} ({}): {message}", condition.kind, condition.reason);
    }
    let told = |message: &str| {
        resource.conditions.iter().any(|c| c.kind != "Ready" && c.message == message)
    };
    let ready = resource.conditions.iter().find(|c| c.kind == "Ready" && c.status == "False");
    if let Some(ready) = ready.filter(|ready| !told(&ready.message)) {
        let message = in_one_line(&ready.message);
        let _ = writeln!(text, "      not ready ({}): {message}", ready.reason);
    }
}

/// How the host differs from what was installed, and what the next pass makes of the trees that are named.
pub(super) async fn diff(
    session: &Session,
    pass: &PassArgs,
    resources: &[Named],
) -> Result<Exit, CliError> {
    let desired = session.desired().await?;
    let status = judged(session, &desired)?;
    let known = || status.resources.iter().map(|resource| &resource.id);
    let resources: Result<Vec<_>, _> = resources.iter().map(|named| named.among(known())).collect();
    let resources = resources?;
    let wanted = |r: &&ResourceStatus| resources.is_empty() || resources.contains(&r.id);
    let drifted: Vec<&ResourceStatus> =
        status.resources.iter().filter(wanted).filter(|r| !r.drift.is_empty()).collect();
    if session.common.output == Format::Json {
        let drifted = drifted.into_iter().cloned();
        let resources = drifted.map(|r| Drifted { resource: r.id, drift: r.drift }).collect();
        say(&json::document(Diff { resources }));
        return Ok(Exit::Ok);
    }
    let mut text = String::new();
    for resource in &drifted {
        let _ = writeln!(text, "{}", resource.id);
        for drift in &resource.drift {
            let kind = serde_json::to_value(drift.kind).ok();
            let kind = kind.as_ref().and_then(|k| k.as_str()).unwrap_or_default();
            let _ = writeln!(text, "  {kind} {}", drift.path);
            let _ = writeln!(text, "    - {}", drift.expected);
            let _ = writeln!(text, "    + {}", drift.found);
        }
    }
    coming(session, pass, &desired, &resources, &mut text).await?;
    if text.is_empty() {
        text.push_str("No differences.\n");
    }
    say(&text);
    Ok(Exit::Ok)
}

/// What the sources have that the trees among `resources` have not.
async fn coming(
    session: &Session,
    pass: &PassArgs,
    desired: &DesiredState,
    resources: &[ResourceId],
    text: &mut String,
) -> Result<(), CliError> {
    let wished = |id: &&ResourceId| desired.resources.contains_key(*id);
    let trees = resources.iter().filter(|id| id.kind == Kind::Tree).filter(wished);
    let trees: BTreeSet<ResourceId> = trees.cloned().collect();
    if trees.is_empty() {
        return Ok(());
    }
    let holds = session.holds(desired, pass)?;
    let request = Request { only: Some(&trees), ..session.request(desired, &holds, pass) };
    let client = session.client(desired);
    let preview = preview(&request, &session.host, &client).await.map_err(|e| CliError::io(&e))?;
    for change in preview.plan.changes.iter().filter(|change| trees.contains(&change.resource)) {
        let _ = writeln!(text, "{} {}", change.resource, headline(change));
        let _ = writeln!(text, "  {}", change.reason);
        let contents = change.contents.iter();
        for line in contents.flat_map(|contents| contents::lines(contents, PATHS_MAX)) {
            let _ = writeln!(text, "  {line}");
        }
    }
    for blocked in preview.plan.blocked.iter().filter(|blocked| trees.contains(&blocked.resource)) {
        let _ = writeln!(text, "{} blocked: {}", blocked.resource, blocked.message);
    }
    Ok(())
}

/// Everything known about one resource and how its version is chosen.
pub(super) async fn explain(session: &Session, named: &Named) -> Result<Exit, CliError> {
    let (desired, exit) = effective(session).await?;
    let status = judged(session, &desired)?;
    let id = &named.among(status.resources.iter().map(|resource| &resource.id))?;
    let resource = status.resources.iter().find(|r| &r.id == id);
    let declared = match (desired.resources.get(id), resource) {
        (None, Some(resource)) => return Ok(unwished(session, resource, exit)),
        _ => wished(&desired, id)?,
    };
    let reader = reader(session, &desired);
    let facts = crate::host::facts::observe(&session.host);
    let found = found(session, &desired, id)?;
    let wish = (&declared.spec, &found);
    let ledger = remembered(session, &desired)?;
    let about = About { facts: &facts, trust: &ledger.trust };
    let choice = explain_choice(id, wish, about, &reader, session.now).await;
    if session.common.output == Format::Json {
        let (resource, declared_at) = (resource.cloned(), Some(declared.declared_at.to_string()));
        say(&json::document(Explanation { resource, declared_at, choice }));
        return Ok(exit);
    }
    let mut text = String::new();
    if let Some(resource) = resource {
        in_full(&mut text, resource, Some(declared));
    }
    for line in choice {
        let _ = writeln!(text, "  {line}");
    }
    say(&text);
    Ok(exit)
}

/// What is known about a resource that is installed and not in the desired state.
fn unwished(session: &Session, resource: &ResourceStatus, exit: Exit) -> Exit {
    if session.common.output == Format::Json {
        let (resource, choice) = (Some(resource.clone()), Vec::new());
        say(&json::document(Explanation { resource, declared_at: None, choice }));
        return exit;
    }
    let mut text = String::new();
    in_full(&mut text, resource, None);
    say(&text);
    exit
}

/// The ledger, by the names that resources have now.
pub(super) fn remembered(session: &Session, desired: &DesiredState) -> Result<Ledger, CliError> {
    let mut ledger = ledger::look(&session.host).map_err(|e| CliError::io(&e))?;
    follow_renames(desired, &session.host, &mut ledger);
    Ok(ledger)
}

/// What the host has of one resource.
pub(super) fn found(
    session: &Session,
    desired: &DesiredState,
    id: &ResourceId,
) -> Result<Found, CliError> {
    let ledger = remembered(session, desired)?;
    let mut observed = observe(desired, &ledger, &session.host, session.depth());
    match observed.resources.remove(id) {
        Some(Ok(found)) => Ok(found),
        Some(Err(why)) => Err(CliError::new(Exit::Failed, why)),
        None => Err(CliError::new(Exit::Failed, format!("it cannot be told what {id} has"))),
    }
}

/// What asks sources anew.
pub(super) fn reader(session: &Session, desired: &DesiredState) -> Reader {
    let cache = session.host.cache();
    let client = session.client(desired);
    Reader::new(client, Some(&cache), session.now, jiff::SignedDuration::ZERO)
}
