//! What a pass leaves in the ledger: intentions before anything is touched, results after.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;

use crate::desired::DesiredState;
use crate::host::Change as Host;
use crate::model::ledger::{
    Backup, InPlace, Inventory, LEDGER_FORMAT, Ledger, Left, Overrides, Owned, Trust,
};
use crate::model::outcome::{
    ChangeResult, DRIFT_KEPT, End, FailureClass, HistoryEntry, NOTES_KEPT, Outcome,
};
use crate::model::plan::InUse;
use crate::model::revision::Revision;
use crate::model::slot::slot_name;
use crate::model::step::Expected;
use crate::model::{
    Action, Change, DriftKind, Effect, Kind, Level, Plan, ResourceId, Step, StepKind,
};
use crate::observe::Observed;
use crate::record::ledger::Saved;
use crate::record::{accepted, basis, history, ledger as files, recognised, taken, taken_over};
use crate::resource::Found;
use crate::resource::app::AppObserved;

/// Kept files that are remembered of one resource: there is one, and one more after a pass that was cut off.
const BACKUPS_KNOWN_MAX: usize = 4;

/// Releases of one resource that are remembered as having been in use, newest last: years of daily ones, some bytes
/// each.
const ACTIVATED_KNOWN_MAX: usize = 1000;

/// Everything recording depends on.
#[derive(Clone, Copy, Debug)]
pub struct Pass<'a> {
    /// The wish.
    pub desired: &'a DesiredState,
    /// The host as it was before.
    pub observed: &'a Observed,
    /// What was to be done.
    pub plan: &'a Plan,
    /// When.
    pub now: Timestamp,
}

/// Writes down what will be ours before it is: a pass that is cut off leaves nothing that nobody owns.
pub fn intend(host: &Host, ledger: &mut Ledger, pass: &Pass<'_>) -> io::Result<()> {
    files::save_renamed(host, ledger, pass.now)?;
    let mut inventory = Cow::Borrowed(&ledger.inventory);
    let touched = pass.plan.changes.iter().filter(|c| c.action != Action::Remove);
    let touched = touched.map(|c| &c.resource);
    for id in touched.chain(pass.plan.unchanged.iter().map(|u| &u.resource)) {
        own(&mut inventory, id, pass);
    }
    for blocked in &pass.plan.blocked {
        taken::redeclare(&mut inventory, &blocked.resource, pass);
    }
    for change in &pass.plan.changes {
        note_unrecorded(&mut inventory, &change.resource, current(pass, &change.resource));
        note_backup(inventory.to_mut(), change, pass);
    }
    for unchanged in &pass.plan.unchanged {
        activate(&mut inventory, &unchanged.resource, current(pass, &unchanged.resource));
    }
    if inventory.decided != ledger.overrides.any() {
        inventory.to_mut().decided = ledger.overrides.any();
    }
    // From the first thing of ours on there is a trust file, so that one that is missing was lost.
    let trust = Trust { format: LEDGER_FORMAT, ..ledger.trust.clone() };
    let trust = (ledger.trust.format != LEDGER_FORMAT).then_some(trust);
    let inventory = drafted(inventory);
    files::save_changed(host, ledger, inventory, trust).map(drop)
}

/// Tells the history what became of some changes. Who was told of them by the pass knows anyway, so that failing to is
/// no failure of it; it is durable once the pass is concluded.
pub fn tell(host: &Host, pass: &Pass<'_>, ended: &[(&Change, &ChangeResult)]) {
    let plan = pass.plan.name().to_string();
    let entries: Vec<_> = ended.iter().map(|(c, r)| history_entry(&plan, pass, c, r)).collect();
    if let Err(error) = history::append(host, &entries) {
        tracing::warn!(%error, "cannot write the history");
    }
}

/// Writes down what became of the plan, of which the history was told.
pub fn conclude(
    host: &Host,
    ledger: &mut Ledger,
    pass: &Pass<'_>,
    outcome: &Outcome,
) -> io::Result<()> {
    let mut inventory = Cow::Borrowed(&ledger.inventory);
    let mut trust = Cow::Borrowed(&ledger.trust);
    let waiting: BTreeSet<_> = pass.plan.blocked.iter().map(|blocked| &blocked.resource).collect();
    for (change, result) in pass.plan.changes.iter().zip(&outcome.results) {
        let in_use = in_use_after(pass, change, result);
        activate(&mut inventory, &change.resource, in_use);
        // What waits for its time to move was kept whole where it is.
        let waits = waiting.contains(&change.resource);
        if result.switched_to.is_some()
            && !waits
            && let Some((known, file)) =
                in_place(inventory.to_mut(), &change.resource).zip(installed(change))
        {
            known.placed = Some(file.to_owned());
        }
        let never_began =
            result.end.failure().is_some_and(|failure| failure.step == StepKind::Fetch);
        let gone = change.action == Action::Remove && result.end == End::Done;
        if gone || (never_began && has_nothing(host, &inventory, change)) {
            inventory.to_mut().resources.remove(&change.resource);
            if gone {
                trust.to_mut().forget(&change.resource);
                unpin(host, &mut ledger.overrides, &change.resource)?;
            }
        }
        if result.end == End::Done {
            start(inventory.to_mut(), pass, &change.resource);
            if change.action != Action::Fetch && !waits {
                arrive(&mut inventory, &change.resource);
            }
        }
        note_left_out(inventory.to_mut(), pass, change, result);
        let doubted =
            |slot: &str| ledger.debts.iter().any(|d| d.effect.doubts(&change.resource, slot));
        learn(&mut trust, pass, (change, result), in_use.filter(|slot| !doubted(slot)));
    }
    for unchanged in &pass.plan.unchanged {
        raise(&mut trust, pass, &unchanged.resource, &unchanged.in_use.version);
        note_index(&mut trust, &unchanged.resource, &unchanged.in_use);
        accepted::note_found(&mut trust, pass, &unchanged.resource);
        recognised::note(&mut inventory, pass, unchanged);
        taken_over::note(host, pass, &unchanged.resource);
        note_placed(&mut inventory, pass, &unchanged.resource);
        arrive(&mut inventory, &unchanged.resource);
    }
    basis::note(&mut inventory, &ledger.overrides, pass, outcome);
    let taken = taken::places(&inventory, pass, outcome);
    for id in &taken {
        inventory.to_mut().resources.remove(id);
        if !pass.desired.resources.contains_key(id) {
            trust.to_mut().forget(id);
            unpin(host, &mut ledger.overrides, id)?;
        }
    }
    let (inventory, trust) = (drafted(inventory), drafted(trust));
    let saved = files::save_changed(host, ledger, inventory, trust)?;
    if !taken.is_empty() {
        // What went along with their places, too.
        files::save_trust(host, &ledger.trust)?;
    }
    // What the history was told.
    if saved == Saved::Unchanged
        && !pass.plan.changes.is_empty()
        && let Err(error) = host.sync_file_system(&host.places().state)
    {
        tracing::warn!(%error, "cannot make the history durable");
    }
    Ok(())
}

/// Forgets that an operator went back: that was a decision about what is gone now, not about what may come later.
fn unpin(host: &Host, overrides: &mut Overrides, id: &ResourceId) -> io::Result<()> {
    if overrides.pinned.remove(id).is_some() {
        files::save_overrides(host, overrides)?;
    }
    Ok(())
}

/// Notes where a program of a release is in place that nobody knows to have been put there: the inventory was lost.
fn note_placed(inventory: &mut Cow<'_, Inventory>, pass: &Pass<'_>, id: &ResourceId) {
    let found = pass.observed.resources.get(id).and_then(|found| found.as_ref().ok());
    let Some(Found::App(AppObserved { file: Some(file), .. })) = found else { return };
    let known = inventory.resources.get(id).and_then(|owned| owned.in_place.as_ref());
    if file.slot.is_some()
        && known.is_some_and(|known| known.placed.is_none())
        && let Some(known) = in_place(inventory.to_mut(), id)
    {
        known.placed = Some(file.path.clone());
    }
}

/// What was drafted, where anything was: a pass with nothing to do copies nothing.
fn drafted<T: Clone>(draft: Cow<'_, T>) -> Option<T> {
    match draft {
        Cow::Borrowed(_) => None,
        Cow::Owned(draft) => Some(draft),
    }
}

/// A file that will be kept is known before it is, so that it is never taken for somebody else's.
fn note_backup(inventory: &mut Inventory, change: &Change, pass: &Pass<'_>) {
    let Some(owned) = inventory.resources.get_mut(&change.resource) else { return };
    let found = pass.observed.resources.get(&change.resource).and_then(|found| found.as_ref().ok());
    let Some(Found::App(AppObserved { file: Some(file), .. })) = found else { return };
    let theirs = file.is_foreign(Some(owned));
    // What somebody made of ours is kept for them, and never overwritten.
    let edited = file.is_tampered(Some(owned));
    let Some(known) = &mut owned.in_place else { return };
    if let Some(path) = installed(change).filter(|_| !theirs) {
        known.placed = Some(path.to_owned());
    }
    for step in &change.steps {
        let Step::Install { expects: Expected::File { size, mtime }, backup: Some(kept), .. } =
            step
        else {
            continue;
        };
        // The first program of somebody else stays where it is kept, whatever is replaced later.
        if theirs || edited {
            continue;
        }
        let backup = Backup { path: kept.path.clone(), size: *size, mtime: *mtime };
        known.backups.retain(|known| *known != backup);
        known.backups.push(backup);
        let surplus = known.backups.len().saturating_sub(BACKUPS_KNOWN_MAX);
        known.backups.drain(..surplus);
    }
}

fn own(inventory: &mut Cow<'_, Inventory>, id: &ResourceId, pass: &Pass<'_>) {
    let Some(declared) = pass.desired.resources.get(id) else { return };
    let file = declared.spec.file();
    let same_file =
        |known: &Owned| known.in_place.as_ref().map(|known| known.file.as_path()) == file;
    let known = inventory.at(id, declared.spec.home());
    let directories = declared.spec.directories();
    let all_known = |known: &Owned| {
        directories.iter().all(|directory| known.directories.iter().any(|known| known == directory))
    };
    let same =
        |known: &Owned| known.declared_in == declared.root && same_file(known) && all_known(known);
    if known.is_some_and(same) {
        return;
    }
    let (declared_in, home) = (declared.root.clone(), declared.spec.home().to_owned());
    let known = known.cloned().or_else(|| moved(inventory, pass, (id, &home)));
    let found = pass.observed.resources.get(id).and_then(|found| found.as_ref().ok());
    let adopted = found.map(|found| found.adopted(known.as_ref(), &declared.spec));
    let adopted = adopted.unwrap_or_default();
    let left = known.as_ref().map_or(Left::NOTHING, |known| known.left(file));
    let mut before = known.iter().flat_map(|known| known.in_place.iter().chain(&known.left.files));
    let in_place = before.find(|known| Some(known.file.as_path()) == file).cloned();
    let in_place = in_place.or_else(|| file.map(|file| InPlace::of(file.to_owned())));
    let mut directories: BTreeSet<Utf8PathBuf> =
        directories.into_iter().map(Utf8Path::to_owned).collect();
    directories.extend(known.iter().flat_map(|known| known.directories.clone()));
    let kept = known.map(|k| (k.activated, k.started, k.left_out, k.basis, k.recognised));
    let (activated, started, left_out, basis, recognised) = kept.unwrap_or_default();
    let owned = Owned {
        declared_in,
        home,
        directories: directories.into_iter().collect(),
        in_place,
        left,
        adopted,
        activated,
        started,
        left_out,
        basis,
        recognised,
    };
    inventory.to_mut().resources.insert(id.clone(), owned);
}

fn in_place<'a>(inventory: &'a mut Inventory, id: &ResourceId) -> Option<&'a mut InPlace> {
    inventory.resources.get_mut(id)?.in_place.as_mut()
}

/// Whether nothing of a resource is on the host or ever was: what could not even be fetched is not ours. Where that
/// cannot be told, it stays ours.
fn has_nothing(host: &Host, inventory: &Inventory, change: &Change) -> bool {
    let owned = inventory.resources.get(&change.resource);
    let never = owned.filter(|owned| owned.activated.is_empty() && owned.adopted.is_empty());
    let absent = |owned: &Owned| host.stat(&owned.home).is_ok_and(|stat| stat.is_none());
    change.before.is_none() && never.is_some_and(absent)
}

/// The file that a change puts a program to.
fn installed(change: &Change) -> Option<&Utf8Path> {
    change.steps.iter().find_map(|step| match step {
        Step::Install { file, .. } => Some(file.as_path()),
        _ => None,
    })
}

/// Notes that nothing of ours is any more where an app was before.
fn arrive(inventory: &mut Cow<'_, Inventory>, id: &ResourceId) {
    if inventory.resources.get(id).is_some_and(|owned| !owned.left.is_empty())
        && let Some(owned) = inventory.to_mut().resources.get_mut(id)
    {
        owned.left = Left::default();
    }
}

/// Notes that what runs once after each start of the host was a part of this pass, if anything does.
fn start(inventory: &mut Inventory, pass: &Pass<'_>, id: &ResourceId) {
    let facts = &pass.observed.facts;
    let runs = pass.desired.resources.get(id).is_some_and(|declared| declared.spec.runs_on_start());
    if let Some(owned) = inventory.resources.get_mut(id).filter(|_| runs && facts.live) {
        owned.started.clone_from(&facts.started);
    }
}

/// Notes that systemd does not merge what it was asked to merge again.
fn note_left_out(
    inventory: &mut Inventory,
    pass: &Pass<'_>,
    change: &Change,
    result: &ChangeResult,
) {
    let found = pass.observed.resources.get(&change.resource).and_then(|found| found.as_ref().ok());
    let Some(Found::Extension(found)) = found else { return };
    let again = change.drift.iter().any(|drift| drift.kind == DriftKind::NotMerged);
    let failure = result.end.failure().filter(|_| again);
    let refused =
        failure.is_some_and(|f| f.step == StepKind::Merge && f.class == FailureClass::Unhealthy);
    if let Some(owned) = inventory.resources.get_mut(&change.resource) {
        owned.left_out = refused.then(|| found.merge_key(&pass.observed.facts));
    }
}

/// The same directory under the path it had before: what is in it stays ours.
fn moved(
    inventory: &Inventory,
    pass: &Pass<'_>,
    (id, home): (&ResourceId, &Utf8Path),
) -> Option<Owned> {
    let known = inventory.resources.get(id)?;
    pass.observed.are_one(&known.home, home).then(|| known.clone())
}

/// Notes a release that came into use without being recorded: before us, or by a pass that was killed.
fn note_unrecorded(inventory: &mut Cow<'_, Inventory>, id: &ResourceId, slot: Option<&str>) {
    let known = inventory.resources.get(id).zip(slot);
    if known.is_some_and(|(owned, slot)| !owned.activated.iter().any(|s| s == slot)) {
        activate(inventory, id, slot);
    }
}

fn current<'a>(pass: &Pass<'a>, id: &ResourceId) -> Option<&'a str> {
    pass.observed.resources.get(id)?.as_ref().ok()?.current()
}

/// The release in use after a change: where nothing was switched, the one before, which an earlier pass may
/// have switched to without living to record it.
fn in_use_after<'a>(pass: &Pass<'a>, change: &Change, result: &'a ChangeResult) -> Option<&'a str> {
    match &result.switched_to {
        _ if change.action == Action::Remove => None,
        Some(slot) => Some(slot),
        None => current(pass, &change.resource),
    }
}

/// Notes that a release came into use, keeping each name once, newest last.
fn activate(inventory: &mut Cow<'_, Inventory>, id: &ResourceId, slot: Option<&str>) {
    let (Some(owned), Some(slot)) = (inventory.resources.get(id), slot) else { return };
    if owned.activated.last().is_some_and(|last| last == slot) {
        return;
    }
    let Some(owned) = inventory.to_mut().resources.get_mut(id) else { return };
    owned.activated.retain(|s| s != slot);
    owned.activated.push(slot.to_owned());
    let surplus = owned.activated.len().saturating_sub(ACTIVATED_KNOWN_MAX);
    owned.activated.drain(..surplus);
}

/// Raises the floor to what is in use now and, as far as it is known, works, and locks the digest of a first use.
fn learn(
    trust: &mut Cow<'_, Trust>,
    pass: &Pass<'_>,
    (change, result): (&Change, &ChangeResult),
    in_use: Option<&str>,
) {
    let cannot_run =
        matches!(&result.end, End::Failed(failure) if failure.class == FailureClass::Unsuitable);
    if let Some(fetched) = result.fetched.as_ref().filter(|_| cannot_run) {
        let stated = change.after.iter().flat_map(|after| &after.evidence);
        let stated = stated.flat_map(|evidence| &evidence.digests);
        let digests: Vec<_> = stated.chain([&fetched.digest]).cloned().collect();
        trust.to_mut().cannot_run(&change.resource, &fetched.lock_key, &digests);
    }
    let Some(after) = change.after.as_ref().filter(|a| in_use == Some(&slot_name(&a.tag))) else {
        return;
    };
    // What did not show that it works is no reason to refuse an older release that does, or other bytes.
    let unproven = match &result.end {
        End::Failed(failure) | End::RollbackFailed(failure) => {
            failure.class == FailureClass::Unhealthy
        }
        End::Interrupted => is_confirmed_by(change),
        _ => false,
    };
    if unproven {
        return;
    }
    raise(trust, pass, &change.resource, &after.version);
    note_index(trust, &change.resource, after);
    if let Some(slot) = in_use {
        accepted::note(trust, pass, (change, result), slot);
    }
    let first_use = after.evidence.as_ref().is_some_and(|e| e.level == Level::Lock);
    if let Some(fetched) = result.fetched.as_ref().filter(|_| first_use) {
        let key = fetched.lock_key.clone();
        trust.to_mut().lock(&change.resource, key, fetched.digest.clone());
    }
}

/// Notes which version a signed index is, so that it never becomes a newer one.
fn note_index(trust: &mut Cow<'_, Trust>, id: &ResourceId, in_use: &InUse) {
    let signed = in_use.evidence.as_ref().is_some_and(|evidence| evidence.signer.is_some());
    if id.kind != Kind::Tree || !signed || in_use.version.is_opaque() {
        return;
    }
    if let Some(index) = &in_use.digest
        && trust.taken_as(id, index).all(|known| known != in_use.version)
    {
        trust.to_mut().take(id, &in_use.version, index);
    }
}

/// Whether a change has to show that it works before it counts.
fn is_confirmed_by(change: &Change) -> bool {
    let confirms = |step: &Step| matches!(step, Step::Owe { effect: Effect::Confirm { .. } });
    change.steps.iter().any(confirms)
}

fn raise(
    trust: &mut Cow<'_, Trust>,
    pass: &Pass<'_>,
    id: &ResourceId,
    version: &crate::model::Version,
) {
    let spec = pass.desired.resources.get(id).map(|declared| &declared.spec);
    if spec.is_some_and(|spec| spec.raises(trust.floors.get(id), version)) {
        trust.to_mut().floors.insert(id.clone(), version.clone());
    }
}

fn history_entry(
    plan: &str,
    pass: &Pass<'_>,
    change: &Change,
    result: &ChangeResult,
) -> HistoryEntry {
    let error = result.end.failure().map(|f| format!("{}: {}", f.step, f.message));
    // What only cleans up wishes for no version, and leaves the one in use.
    let stays = change.before.as_ref().filter(|_| change.action == Action::Tidy);
    HistoryEntry {
        at: result.at,
        plan: plan.to_owned(),
        resource: change.resource.clone(),
        action: change.action,
        attribution: change.attribution,
        reason: change.reason.clone(),
        from: change.before.as_ref().map(|b| b.version.clone()),
        to: change.after.as_ref().or(stays).map(|a| a.version.clone()),
        result: result.end.name().to_owned(),
        error,
        notes: result.notes.iter().take(NOTES_KEPT).cloned().collect(),
        revision: pass.desired.revision.as_ref().map(Revision::name),
        drift: change.drift.iter().take(DRIFT_KEPT).cloned().collect(),
    }
}
