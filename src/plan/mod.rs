//! 4. What to do: a pure function of the wish, the host, the sources and the ledger.

mod cause;
pub mod check;
pub mod guard;
pub mod hold;
mod images;
mod nesting;
mod places;
mod sealed;
mod successor;
pub mod summary;

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8Path;
use jiff::Timestamp;

use crate::desired::{Declared, DesiredState, Unclear, nearest};
use crate::model::ledger::{Debt, Ledger, Left, Owned, Suspension};
use crate::model::{Action, Blocked, BlockedReason, Change, Digest, Kind, Plan, ResourceId, Step};
use crate::observe::Observed;
use crate::parallel::in_parallel;
use crate::plan::guard::Removals;
use crate::plan::hold::Holds;
use crate::plan::places::Places;
use crate::resource::decision::Decision;
use crate::resource::{self, Context, Found, Resolved, Spec, app};

/// Resources that are decided about in a row: so many are worth a thread, as each takes some microseconds.
const PART: usize = 128;

/// The word for the newest version.
const LATEST: &str = "latest";

/// A resource, and what is wished of it.
type Wish<'a> = (&'a ResourceId, &'a Declared);

/// Everything a plan depends on.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// The wish.
    pub desired: &'a DesiredState,
    /// The host.
    pub observed: &'a Observed,
    /// The sources' answers.
    pub resolved: &'a BTreeMap<ResourceId, Resolved>,
    /// What each resource has in use, to be kept whole where something newer is held back.
    pub in_use: &'a BTreeMap<ResourceId, Resolved>,
    /// What is remembered.
    pub ledger: &'a Ledger,
    /// Whether many removals at once were confirmed.
    pub removals: Removals,
    /// What is left for later.
    pub holds: &'a Holds,
    /// Only these resources; everything, removals included, when absent.
    pub only: Option<&'a BTreeSet<ResourceId>>,
    /// The time of the pass.
    pub now: Timestamp,
}

/// Plans a pass.
pub fn plan(inputs: &Inputs<'_>) -> Plan {
    let mut plan = Plan { notes: inputs.ledger.losses.clone(), ..Plan::default() };
    let places = Places::new(inputs.desired, inputs.observed);
    let is_meant = |id: &ResourceId| inputs.only.is_none_or(|only| only.contains(id));
    let wishes: Vec<_> = inputs.desired.resources.iter().filter(|(id, _)| is_meant(id)).collect();
    let parts: Vec<&[Wish<'_>]> = wishes.chunks(PART).collect();
    for part in in_parallel(&parts, 1, |part| decide_all(inputs, &places, part)) {
        plan.notes.extend(part.notes);
        plan.changes.extend(part.changes);
        plan.blocked.extend(part.blocked);
        plan.unchanged.extend(part.unchanged);
    }
    if inputs.only.is_none() {
        remove(inputs, &places, &mut plan);
    }
    let plan = sealed::refuse(plan, inputs.observed);
    let mut plan = hold::hold(plan, inputs.holds);
    keep_whole(inputs, &places, &mut plan);
    // Whoever replaces the program that makes the pass does so last.
    let agent = inputs.observed.facts.agent.as_ref().map(|agent| &agent.file);
    let ours = |step: &Step| matches!(step, Step::Install { file, .. } if agent == Some(file));
    plan.changes.sort_by_key(|change| change.steps.iter().any(ours));
    plan.notes.extend(inputs.desired.notes.iter().cloned());
    let moved = moved(inputs, &plan.blocked);
    plan.notes.extend(moved);
    plan.notes.extend(forgotten(inputs));
    plan.notes.extend(effects_left_out(inputs, &plan));
    plan
}

/// Decides about each of some resources.
fn decide_all(inputs: &Inputs<'_>, places: &Places<'_>, wishes: &[Wish<'_>]) -> Plan {
    let mut plan = Plan::default();
    for (id, declared) in wishes {
        let refused = places.refuse(id, inputs);
        if let Some(blocked) = refused.or_else(|| successor::refuse(inputs, id, declared)) {
            plan.blocked.push(blocked);
            continue;
        }
        let found = match inputs.observed.resources.get(*id) {
            Some(Ok(found)) => found,
            Some(Err(message)) => {
                let declared_at = Some(declared.declared_at.to_string());
                plan.blocked.push(unobservable(id, message, declared_at));
                continue;
            }
            None => continue,
        };
        let Some(resolved) = inputs.resolved.get(*id) else { continue };
        let left = places::left(inputs, id, &declared.spec);
        let mut decision = decide(inputs, (id, declared, &left), found, resolved);
        if let Some(blocked) = decision.blocked.as_mut().filter(|b| is_about_version(b.reason)) {
            blocked.message.push_str(slip(&declared.spec));
        }
        let found_note = found.note(declared.spec.home());
        let taken = places::told_taken(inputs, id, &left);
        let notes = resolved.notes().iter().chain(&found_note).chain(&taken);
        plan.notes.extend(notes.map(|note| format!("{id}: {note}")));
        if let Some(change) = &mut decision.change {
            cause::tell(inputs, (id, declared), change);
        }
        plan.changes.extend(
            decision.change.and_then(|change| places.images.spare(change, &BTreeSet::new())),
        );
        plan.blocked.extend(decision.blocked);
        plan.unchanged.extend(decision.unchanged);
    }
    plan
}

/// Whether a wish is not carried out because of the version that is asked for, as far as that can be told.
fn is_about_version(reason: BlockedReason) -> bool {
    matches!(reason, BlockedReason::NoVersion | BlockedReason::SourceUnavailable)
}

/// What to say about a version that is one letter away from the word for the newest.
fn slip(spec: &Spec) -> &'static str {
    let requested = spec.requested();
    let meant = requested != LATEST && nearest(&requested, &[LATEST]).is_some();
    if meant { "; did you mean `version: latest`?" } else { "" }
}

fn decide(
    inputs: &Inputs<'_>,
    (id, declared, left): (&ResourceId, &Declared, &Left),
    found: &Found,
    resolved: &Resolved,
) -> Decision {
    let context = Context {
        id,
        declared_at: &declared.declared_at.to_string(),
        owned: inputs.ledger.inventory.at(id, declared.spec.home()),
        left,
        taken: &places::taken(inputs, id, left),
        trust: &inputs.ledger.trust,
        debts: &debts_of(inputs.ledger, id),
        facts: &inputs.observed.facts,
    };
    resource::plan(context, &declared.spec, found, resolved)
}

/// What is in use where something newer is held back is repaired, and what it owes is paid, all the same.
fn keep_whole(inputs: &Inputs<'_>, places: &Places<'_>, plan: &mut Plan) {
    let held = |reason| matches!(reason, BlockedReason::Deferred | BlockedReason::Stalled);
    let held = plan.blocked.iter().filter(|blocked| held(blocked.reason));
    let repairs = held.filter_map(|blocked| {
        let id = &blocked.resource;
        let declared = inputs.desired.resources.get(id)?;
        let found = inputs.observed.resources.get(id)?.as_ref().ok()?;
        let in_use = inputs.in_use.get(id)?;
        let decide = |declared: &Declared, found: &Found| {
            let left = places::left(inputs, id, &declared.spec);
            decide(inputs, (id, declared, &left), found, in_use).change
        };
        let change = match as_laid_out(inputs, id, (declared, found)) {
            None => decide(declared, found)?,
            Some((spec, seen)) => {
                let change = decide(&Declared { spec, ..declared.clone() }, &seen)?;
                Change { observed: Digest::of_json(found), ..change }
            }
        };
        let change = places.images.spare(change, &BTreeSet::new())?;
        matches!(change.action, Action::Repair | Action::Tidy).then_some(change)
    });
    let repairs = Plan { changes: repairs.collect(), ..Plan::default() };
    let repairs = sealed::refuse(repairs, inputs.observed);
    plan.changes.extend(hold::hold(repairs, inputs.holds).changes);
}

/// The wish for an app and what it is by the layout that is in use, where the one that is wished waits.
fn as_laid_out(
    inputs: &Inputs<'_>,
    id: &ResourceId,
    (declared, found): (&Declared, &Found),
) -> Option<(Spec, Found)> {
    let (Spec::App(spec), Found::App(seen)) = (&declared.spec, found) else { return None };
    let owned = inputs.ledger.inventory.at(id, &spec.home)?;
    let (spec, seen) = app::as_laid_out(spec, seen, owned)?;
    Some((Spec::App(spec.into()), Found::App(seen)))
}

/// Plans the removal of what is ours and not wished any more: only where the path that once declared it
/// was read completely in this pass.
fn remove(inputs: &Inputs<'_>, places: &Places<'_>, plan: &mut Plan) {
    let brought = images::brought(&plan.changes);
    let mut removals: Vec<Change> = Vec::new();
    let mut unread: BTreeMap<&str, Vec<&ResourceId>> = BTreeMap::new();
    let mut installed = 0;
    for (id, owned) in &inputs.ledger.inventory.resources {
        if inputs.desired.resources.contains_key(id) {
            continue;
        }
        let was_read = inputs.desired.was_read(&owned.declared_in);
        let suspended = inputs.ledger.overrides.suspended.get(id).filter(|_| was_read);
        if let Some(blocked) = kept_by_decision(inputs, id, suspended) {
            plan.blocked.push(blocked);
            continue;
        }
        // Extensions may share a directory: what another one has in use is spared below.
        if id.kind != Kind::Extension {
            let named = |home: &Utf8Path| home == owned.home;
            let mut wished = inputs.desired.resources.values().map(|declared| declared.spec.home());
            if wished.any(named) {
                continue;
            }
            if let Some(other) = places.wished_by(&owned.home, inputs.observed) {
                plan.notes.push(format!("{id} is not removed: its place is that of {other} now"));
                continue;
            }
        }
        if !was_read {
            unread.entry(&owned.declared_in).or_default().push(id);
            continue;
        }
        if let Some(unclear) = unclear(inputs, id, owned) {
            plan.blocked.push(kept_unclear(inputs, id, &unclear.why));
            continue;
        }
        if let Some(blocked) = successor::keep(inputs, id) {
            plan.blocked.push(blocked);
            continue;
        }
        plan.notes.extend(successor::ended(inputs, id));
        match inputs.observed.resources.get(id) {
            Some(Ok(found)) => {
                installed += usize::from(!found.slots().is_empty());
                let files = owned.in_place.iter().chain(&owned.left.files).cloned().collect();
                let left = Left { links: false, files };
                let change = removal(inputs, (id, owned, &left), found);
                removals.extend(places.images.spare(change, &brought));
                let taken = places::told_taken(inputs, id, &left);
                plan.notes.extend(taken.map(|note| format!("{id}: {note}")));
            }
            Some(Err(message)) => plan.blocked.push(unobservable(id, message, None)),
            None => {}
        }
    }
    plan.notes.extend(unread.iter().map(|(root, kept)| kept_unread(root, kept)));
    let unknown = inputs.desired.unclear.iter().filter_map(|unclear| {
        let id = unclear.resource.as_ref()?;
        let owned = inputs.ledger.inventory.resources.contains_key(id);
        let wished = inputs.desired.resources.contains_key(id);
        (!owned && !wished).then(|| kept_unclear(inputs, id, &unclear.why))
    });
    plan.blocked.extend(unknown);
    match guard::check(inputs.removals, installed, inputs) {
        Ok(()) => plan.changes.extend(removals),
        Err(message) => plan.blocked.extend(removals.into_iter().map(|change| Blocked {
            staying_on: change.before.map(|b| b.version),
            ..Blocked::new(change.resource, BlockedReason::MassRemoval, message.clone())
        })),
    }
}

/// What an operator decided about, and what is not removed before that ends.
fn kept_by_decision(
    inputs: &Inputs<'_>,
    id: &ResourceId,
    suspended: Option<&Suspension>,
) -> Option<Blocked> {
    if let Some(suspension) = suspended.filter(|suspension| suspension.holds(inputs.now)) {
        let why = format!("suspended by an operator: {}", suspension.reason);
        let blocked = not_removed(inputs, id, (BlockedReason::Suspended, &why));
        return Some(Blocked { until: suspension.until, ..blocked });
    }
    let pinned = places::rolled_back(inputs, id)?;
    let why = format!("rolled back by an operator: {}", pinned.reason);
    let blocked = not_removed(inputs, id, (BlockedReason::RolledBack, &why));
    Some(Blocked { until: pinned.until, ..blocked })
}

/// Says what is kept as what declared it was not read.
fn kept_unread(root: &str, kept: &[&ResourceId]) -> String {
    match kept {
        [first, others @ ..] if !others.is_empty() => {
            let others = others.len();
            format!(
                "{first} and {others} more are kept: {root} declared them and was not read in this pass; to have them \
                 removed, wish them once more and strike them out again"
            )
        }
        kept => {
            let first = kept.first().map_or_else(String::new, ToString::to_string);
            format!(
                "{first} is kept: {root} declared it and was not read in this pass; to have it removed, wish it once \
                 more and strike it out again"
            )
        }
    }
}

/// The change that takes away what is ours of a resource that is not wished any more.
fn removal(
    inputs: &Inputs<'_>,
    (id, owned, left): (&ResourceId, &Owned, &Left),
    found: &Found,
) -> Change {
    let context = Context {
        id,
        declared_at: "",
        owned: Some(owned),
        left: &Left::NOTHING,
        taken: &places::taken(inputs, id, left),
        trust: &inputs.ledger.trust,
        debts: &debts_of(inputs.ledger, id),
        facts: &inputs.observed.facts,
    };
    found.remove(&context, owned)
}

/// Why it cannot be told that something is not wished any more, if so.
fn unclear<'a>(inputs: &Inputs<'a>, id: &ResourceId, owned: &Owned) -> Option<&'a Unclear> {
    inputs.desired.unclear.iter().find(|unclear| match &unclear.resource {
        Some(resource) => resource == id,
        None => id.kind == Kind::Extension && unclear.root == owned.declared_in,
    })
}

/// What may be wished still stays as it is.
fn kept_unclear(inputs: &Inputs<'_>, id: &ResourceId, why: &str) -> Blocked {
    let found = inputs.observed.resources.get(id).and_then(|found| found.as_ref().ok());
    let in_use = found.and_then(resource::in_use).map(|in_use| in_use.version);
    Blocked {
        staying_on: in_use,
        message: format!("it stays as it is until that is mended: {why}"),
        ..unobservable(id, why, None)
    }
}

/// What an operator wants left alone is not removed either.
fn not_removed(
    inputs: &Inputs<'_>,
    id: &ResourceId,
    (reason, why): (BlockedReason, &str),
) -> Blocked {
    let found = inputs.observed.resources.get(id).and_then(|found| found.as_ref().ok());
    let message = format!("it is not desired any more and not removed: {why}");
    Blocked {
        staying_on: found.and_then(resource::in_use).map(|in_use| in_use.version),
        ..Blocked::new(id.clone(), reason, message)
    }
}

/// Resources whose directory was edited: what is in the old place is not touched. Who is refused the new one, or is left
/// alone, does not move.
fn moved(inputs: &Inputs<'_>, blocked: &[Blocked]) -> Vec<String> {
    let stays = |by: BlockedReason| matches!(by, BlockedReason::Foreign | BlockedReason::Suspended);
    let stay = blocked.iter().filter(|blocked| stays(blocked.reason));
    let stay: BTreeSet<&ResourceId> = stay.map(|blocked| &blocked.resource).collect();
    let resources = inputs.desired.resources.iter().filter_map(|(id, declared)| {
        if stay.contains(id) {
            return None;
        }
        let (old, new) = cause::moved(inputs, id, declared)?;
        let others = inputs.desired.resources.iter().filter(|(other, _)| *other != id);
        let mut theirs = others.map(|(other, declared)| (other, declared.spec.home()));
        let theirs = theirs.find(|(_, home)| inputs.observed.are_one(home, old));
        Some(theirs.map_or_else(
            || format!("{id} moves from {old} to {new}; remove the old directory by hand"),
            |(other, _)| format!("{id} moves from {old} to {new}; {old} is that of {other} now"),
        ))
    });
    resources.collect()
}

/// Resources that were installed by us and that the ledger does not know: it was lost.
fn forgotten(inputs: &Inputs<'_>) -> Vec<String> {
    let resources = inputs.observed.resources.iter().filter(|(id, found)| {
        let unknown = !inputs.ledger.inventory.resources.contains_key(*id);
        unknown && found.as_ref().is_ok_and(|found| found.was_made_for(id))
    });
    let note = |(id, _)| {
        format!(
            "reconcile installed {id}, but its ledger does not say so: it was lost, and the highest \
             version ever used is not known any more"
        )
    };
    resources.map(note).collect()
}

/// Says so when restarts and hooks are wished and not run, because another system is managed.
fn effects_left_out(inputs: &Inputs<'_>, plan: &Plan) -> Option<String> {
    let wished = plan.changes.iter().filter_map(|change| {
        let spec = &inputs.desired.resources.get(&change.resource)?.spec;
        spec.has_effects().then(|| change.resource.to_string())
    });
    let wished: Vec<String> = wished.collect();
    (!inputs.observed.facts.live && !wished.is_empty()).then(|| {
        format!(
            "restarts, hooks and health checks are not run on another root than `/` unless --effects run says so: \
             {}",
            wished.join(", ")
        )
    })
}

fn debts_of(ledger: &Ledger, id: &ResourceId) -> Vec<Debt> {
    ledger.debts.iter().filter(|debt| &debt.resource == id).cloned().collect()
}

fn unobservable(id: &ResourceId, message: &str, declared_at: Option<String>) -> Blocked {
    let message = format!("it cannot be told what the host has: {message}");
    Blocked { declared_at, ..Blocked::new(id.clone(), BlockedReason::Unobservable, message) }
}
