//! An operator's decisions on this host: rollback, suspend, resume.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::apply::Stop;
use crate::cli::args::{Format, PassArgs, WindowsArg};
use crate::cli::commands::run::{self, Poked};
use crate::cli::commands::{pass, show};
use crate::cli::exit::{self, Exit};
use crate::cli::named::{Named, wished};
use crate::cli::origin;
use crate::cli::output::text::in_one_line;
use crate::cli::session::{AT_ONCE, PATIENCE, Session};
use crate::cli::{CliError, mention, say};
use crate::desired::DesiredState;
use crate::host::Change as Host;
use crate::model::ledger::basis::Basis;
use crate::model::ledger::{Debt, Ledger, Overrides, Pinned, Quarantined, Suspension};
use crate::model::{BlockedReason, Effect, ResourceId};
use crate::observe::observe;
use crate::observe::renamed::follow_renames;
use crate::record::{last_pass, ledger};
use crate::repository;
use crate::resource::Found;
use crate::resource::back::Before;

/// Where to go back to, and why.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rollback<'a> {
    /// The version; the one before when absent.
    pub(super) to: Option<&'a str>,
    /// Why.
    pub(super) reason: &'a str,
    /// Until when.
    pub(super) until: Option<Timestamp>,
}

/// Pins an installed release and makes a pass that switches to it.
pub(super) async fn rollback(
    session: &Session,
    named: &Named,
    wish: &Rollback<'_>,
    args: &PassArgs,
    preview: Preview,
) -> Result<Exit, CliError> {
    let reason = check(session, wish.reason, wish.until)?;
    // To go back must be possible while somebody is still mending the desired state.
    let (desired, _) = show::effective(session).await?;
    let id = &session.find(named, &desired)?;
    wished(&desired, id)?;
    // The lock comes before anything is looked at, but looking alone takes none.
    let host = match preview {
        Preview::Only => None,
        Preview::AndApply => Some(session.lock(AT_ONCE).await?),
    };
    let mut ledger = ledger::load(&session.host).map_err(|e| CliError::io(&e))?;
    if desired.refused.is_none() {
        follow_renames(&desired, &session.host, &mut ledger);
    } else {
        is_still_there(&desired, &ledger, id)?;
    }
    let slot = target(session, &desired, &ledger, id, wish.to)?;
    let pinned = Pinned { slot: slot.clone(), reason, since: session.now, until: wish.until };
    ledger.overrides.pinned.insert(id.clone(), pinned);
    let only = BTreeSet::from([id.clone()]);
    let at_once = PassArgs { windows: WindowsArg::Ignore, ..args.clone() };
    let holds = session.holds(&desired, &at_once)?;
    let mut request = session.request(&desired, &holds, &at_once);
    request.only = Some(&only);
    let client = session.client(&desired);
    let planned = crate::reconcile::preview_with(&request, &session.host, &client, ledger)
        .await
        .map_err(|e| CliError::io(&e))?;
    let cannot = planned.plan.blocked.iter().find(|b| b.reason == BlockedReason::RolledBack);
    let is_made = host.is_some() && cannot.is_none();
    // One document: that of the pass has the plan in it.
    if !is_made || session.common.output != Format::Json {
        let about = pass::about(session, &desired, &planned.observed);
        pass::print(session, &planned.plan, about);
    }
    let Some(host) = host else { return Ok(exit::of_plan(&planned.plan)) };
    if let Some(blocked) = cannot {
        return Err(CliError::new(Exit::Failed, format!("nothing was done: {}", blocked.message)));
    }
    let mut planned = planned;
    // All files at once, if names changed: an override by a new name among old ones is of another place.
    ledger::save_renamed(&host, &mut planned.ledger, session.now).map_err(|e| CliError::io(&e))?;
    save(&host, &planned.ledger.overrides)?;
    let stop = Stop::default();
    let applying = pass::perform(session, &request, (&host, &client, &stop), &mut planned);
    let exit = pass::until_told(&stop, applying).await;
    drop(host);
    run::poke(session, id).await;
    exit
}

/// Whether to stop after the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Preview {
    /// Yes.
    Only,
    /// No.
    AndApply,
}

/// Refuses to go by a wish from before that says another place than where a resource is now: what is there may be
/// another's.
fn is_still_there(
    desired: &DesiredState,
    ledger: &Ledger,
    id: &ResourceId,
) -> Result<(), CliError> {
    let Some(said) = desired.resources.get(id).map(|declared| declared.spec.home()) else {
        return Ok(());
    };
    let owned = ledger.inventory.resources.get(id).map(|owned| owned.home.as_path());
    if owned == Some(said) {
        return Ok(());
    }
    let found = owned.map_or("is not installed".to_owned(), |home| format!("is at {home} now"));
    let why = format!(
        "the last valid desired state has {id} at {said}, and it {found}: nothing was done; correct the desired state first"
    );
    Err(CliError::new(Exit::Invalid, why))
}

/// The release directory to go back to.
fn target(
    session: &Session,
    desired: &DesiredState,
    ledger: &Ledger,
    id: &ResourceId,
    to: Option<&str>,
) -> Result<String, CliError> {
    let refuse = |message: String| CliError::new(Exit::Failed, message);
    let observed = observe(desired, ledger, &session.host, session.depth());
    let Some(Ok(found)) = observed.resources.get(id) else {
        return Err(refuse(format!("it cannot be told what {id} has installed")));
    };
    let activated = ledger.inventory.resources.get(id).map(|owned| owned.activated.as_slice());
    let before = Before {
        id,
        spec: desired.resources.get(id).map(|declared| &declared.spec),
        found,
        activated: activated.unwrap_or_default(),
        pinned: ledger.overrides.pinned.get(id).map(|pinned| pinned.slot.as_str()),
    };
    let slot = before.slot(to).map_err(refuse)?;
    if to.is_some() && found.slots().contains(&slot.as_str()) && before.is_unsigned(&slot) {
        let name = found.name_of(&slot);
        mention(&format!("{name} of {id} was not verified by gpg, which is demanded now"));
    }
    Ok(slot)
}

/// Refuses a decision that nobody will understand, and one that ends before it begins; the reason, in one line.
fn check(session: &Session, reason: &str, until: Option<Timestamp>) -> Result<String, CliError> {
    let reason = in_one_line(reason);
    if reason.is_empty() {
        let why = "--reason is empty; say why, for whoever finds it later";
        return Err(CliError::new(Exit::Usage, why));
    }
    match until.filter(|until| *until <= session.now) {
        Some(until) => {
            let why = format!("--until {until} is over already; name a time to come");
            Err(CliError::new(Exit::Usage, why))
        }
        None => Ok(reason),
    }
}

/// Leaves a resource alone.
pub(super) async fn suspend(
    session: &Session,
    named: &Named,
    (reason, until): (&str, Option<Timestamp>),
) -> Result<Exit, CliError> {
    let reason = check(session, reason, until)?;
    let host = session.lock(PATIENCE).await?;
    let (mut ledger, desired) = by_name_now(session, &host).await?;
    let id = &named.here(ledger.ids(), desired.as_ref())?;
    let suspension = Suspension { reason: reason.clone(), until };
    ledger.overrides.suspended.insert(id.clone(), suspension);
    save(&host, &ledger.overrides)?;
    drop(host);
    let until =
        until.map_or_else(|| format!("until `reconcile resume {id}`"), |u| format!("until {u}"));
    say(&format!("{id} is left alone {until}: {reason}\n"));
    run::poke(session, id).await;
    Ok(Exit::Ok)
}

/// Accepts a commit of the repository that does not descend from the one accepted before.
pub(super) async fn accept_history(
    session: &Session,
    commit: &str,
    reason: &str,
) -> Result<Exit, CliError> {
    let reason = &check(session, reason, None)?;
    let Some(source) = session.repository()? else {
        return Err(CliError::new(Exit::Usage, "say which repository with --git and --ref"));
    };
    let host = session.lock(PATIENCE).await?;
    let until = repository::accept(&source, &host, commit, (reason, session.now))
        .map_err(|error| origin::refused(&error))?;
    say(&format!(
        "{commit} is accepted when it is what `{}` points to before {until:.0}\n",
        source.address.reference()
    ));
    Ok(Exit::Ok)
}

/// Ends a suspension and a rollback; where there is neither, a quarantine: what an operator decided is theirs to end, and
/// says nothing of a release that did not work.
pub(super) async fn resume(session: &Session, named: &Named) -> Result<Exit, CliError> {
    let mut ended = Vec::new();
    let host = session.lock(PATIENCE).await?;
    let (mut ledger, desired) = by_name_now(session, &host).await?;
    let id = &named.here(ledger.ids(), desired.as_ref())?;
    let overrides = &mut ledger.overrides;
    let mut basis = None;
    if let Some(suspension) = overrides.suspended.remove(id) {
        ended.push(format!("suspension ({})", suspension.reason));
        basis = Some(Basis::Suspension);
    }
    if let Some(pinned) = overrides.pinned.remove(id) {
        ended.push(format!("rollback ({})", pinned.reason));
        basis = Some(Basis::Rollback);
    }
    save(&host, overrides)?;
    let quarantined = &mut ledger.trust.quarantined;
    let its = |quarantined: &Quarantined| &quarantined.resource == id;
    let mut stays = String::new();
    if ended.is_empty() {
        let lifted: Vec<Quarantined> = quarantined.extract_if(.., |q| its(q)).collect();
        ended.extend(lifted.iter().map(|q| format!("quarantine of {}", q.tag)));
        if ledger.trust.lift_unsuitable(id) {
            ended.push("what was found not to run here".to_owned());
        }
        if !lifted.is_empty() {
            look_again((session, &host), id, desired, &lifted, &mut ledger)?;
            basis = Some(Basis::Quarantine);
        }
        ledger::save_trust(&host, &ledger.trust).map_err(|e| CliError::io(&e))?;
    } else if let Some(other) = quarantined.iter().find(|q| its(q)) {
        stays =
            format!("; {} stays quarantined, `reconcile resume {id}` again lifts that", other.tag);
    }
    if ended.is_empty() {
        say(&format!("{id} was neither suspended nor rolled back nor quarantined here\n"));
        return Ok(Exit::Ok);
    }
    if basis.is_some() {
        ends(&host, &mut ledger, id, basis)?;
    }
    if let Some(mut last) = last_pass::load(&host) {
        last.resume(id);
        last_pass::save(&host, &last, None).map_err(|e| CliError::io(&e))?;
    }
    drop(host);
    let follows = match run::poke(session, id).await {
        Poked::Yes => "the running agent follows the desired state now",
        Poked::NoAgent => "the next pass follows the desired state",
    };
    say(&format!("{id}: ended {}; {follows}{stays}\n", ended.join(", ")));
    Ok(Exit::Ok)
}

/// Notes what the release in use was kept by, for the plan that is free of it.
fn ends(
    host: &Host,
    ledger: &mut Ledger,
    id: &ResourceId,
    basis: Option<Basis>,
) -> Result<(), CliError> {
    let mut inventory = ledger.inventory.clone();
    if let Some(owned) = inventory.resources.get_mut(id) {
        owned.basis = basis;
    }
    let saved = ledger::save_changed(host, ledger, Some(inventory), None);
    saved.map(drop).map_err(|e| CliError::io(&e))
}

/// Owes a look at the release in use, where it is one that did not work: what is not switched to is not looked at.
fn look_again(
    (session, host): (&Session, &Host),
    id: &ResourceId,
    desired: Result<DesiredState, CliError>,
    lifted: &[Quarantined],
    ledger: &mut Ledger,
) -> Result<(), CliError> {
    // Where nobody can say what is wished, it is owed; the next pass strikes it out when it is not.
    let desired =
        desired.or_else(|error| DesiredState::from_texts(Vec::new()).map_err(|_| error))?;
    let declared = desired.resources.get(id);
    if declared.is_some_and(|declared| declared.spec.health().is_none()) {
        return Ok(());
    }
    let observed = observe(&desired, ledger, host, session.depth());
    let Some(Ok(found)) = observed.resources.get(id) else { return Ok(()) };
    let Some(slot) = found.current() else { return Ok(()) };
    let digests: Vec<_> =
        found.made_from(slot).map(|(digest, _)| digest.clone()).into_iter().collect();
    if !lifted.iter().any(|quarantined| quarantined.is(id, &Found::tag_of(slot), &digests)) {
        return Ok(());
    }
    let (resource, slot) = (id.clone(), slot.to_owned());
    let effect = Effect::Confirm { resource, slot, back_to: None, excused: false };
    ledger.debts.push(Debt { resource: id.clone(), effect, since: session.now });
    // Before the quarantine is lifted: killed in between, it holds still.
    ledger::save_debts(host, &ledger.debts).map_err(|e| CliError::io(&e))
}

/// The ledger by the names that resources have now, and the wish that says so: two may have exchanged their names since
/// the last pass, and a decision is about what has the name now. Where nobody can say what is wished, the names are those
/// of the last pass.
async fn by_name_now(
    session: &Session,
    host: &Host,
) -> Result<(Ledger, Result<DesiredState, CliError>), CliError> {
    let mut ledger = ledger::load(host).map_err(|e| CliError::io(&e))?;
    let desired = session.desired().await;
    match &desired {
        Ok(desired) => {
            follow_renames(desired, host, &mut ledger);
            if !ledger.renamed.is_empty() || ledger.unwritten {
                // What was valid before would give the names back.
                session.keep_wish(host);
            }
            ledger::save_renamed(host, &mut ledger, session.now).map_err(|e| CliError::io(&e))?;
        }
        Err(error) => {
            mention(&format!("{}; names are those of the last pass", error.message()));
        }
    }
    Ok((ledger, desired))
}

fn save(host: &Host, overrides: &Overrides) -> Result<(), CliError> {
    ledger::save_overrides(host, overrides).map_err(|e| CliError::io(&e))
}
