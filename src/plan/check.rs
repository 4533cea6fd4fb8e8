//! Whether a saved plan is one that the present wish could have led to; pure.
//!
//! A plan is a file: it can be old, or edited. Its steps may lead nowhere outside the resource and cause no effect
//! that is not wished now. What is fetched is what the file says: whoever can write it decides that.

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use jiff::Timestamp;

use crate::desired::{Declared, DesiredState};
use crate::model::ledger::{Ledger, Left, Owned};
use crate::model::manifest::Binary;
use crate::model::{Action, Change, Effect, ExtensionClass, Kind, ResourceId, Step};
use crate::observe::Observed;
use crate::plan::places;
use crate::resource::Found;
use crate::resource::app::in_place::{backup_names, beside};
use crate::resource::tree::layout::Layout;

/// What a saved plan is held against.
#[derive(Clone, Copy, Debug)]
pub struct Present<'a> {
    /// The wish.
    pub desired: &'a DesiredState,
    /// What is remembered.
    pub ledger: &'a Ledger,
    /// The host.
    pub observed: &'a Observed,
    /// The time.
    pub now: Timestamp,
}

/// Why a change of a saved plan must not be performed.
pub fn check(change: &Change, present: &Present<'_>) -> Result<(), String> {
    let id = &change.resource;
    let declared = present.desired.resources.get(id);
    let owned = present.ledger.inventory.resources.get(id);
    let overrides = &present.ledger.overrides;
    if overrides.suspended.get(id).is_some_and(|s| s.holds(present.now)) {
        return Err(format!("{id} was suspended since it was made"));
    }
    let spec = declared.filter(|_| change.action != Action::Remove).map(|declared| &declared.spec);
    let known = (present.ledger, present.observed);
    if let Some(decided) = spec.and_then(|spec| places::decided((id, spec), known, present.now)) {
        return Err(decided.message(id));
    }
    let wished = declared.is_some_and(|declared| !declared.spec.is_off());
    if (change.action == Action::Remove) == wished {
        return Err(format!("the desired state was edited about {id} since it was made"));
    }
    let home = declared
        .map(|d| d.spec.home())
        .or(owned.map(|o| o.home.as_path()))
        .ok_or_else(|| format!("{id} is neither wished nor ours"))?;
    let found = present.observed.resources.get(id).and_then(|found| found.as_ref().ok());
    let file = found.and_then(Found::file);
    let left = left(owned, declared);
    for step in change.steps.iter().chain(&change.undo) {
        let files = file.into_iter().chain(left.files.iter().filter_map(|f| f.placed.as_deref()));
        let in_place = |path: &Utf8Path| {
            let mut files = files.clone();
            files.any(|file| {
                path == file || path == beside(file) || backup_names(file).any(|name| name == path)
            })
        };
        let own = |path: &Utf8Path| match declared {
            _ if in_place(path) => true,
            Some(declared) => declared.spec.owns(path),
            None if id.kind == Kind::Tree => Layout::new(home).covers(path),
            None => {
                let mut directories = owned.iter().flat_map(|owned| &owned.directories);
                path.starts_with(home)
                    || is_link(step, path)
                    || directories.any(|directory| path.starts_with(directory))
            }
        };
        let leads_out = paths(step).iter().any(|path| !own(path) || climbs(path));
        if leads_out || inner(step).any(|path| path.is_absolute() || climbs(path)) {
            return Err(format!("a step of {id} leads out of {home}"));
        }
        still_wished(step, id, declared, present)?;
    }
    Ok(())
}

/// Refuses a step whose evidence, effect or check the wish does not ask for any more.
fn still_wished(
    step: &Step,
    id: &ResourceId,
    declared: Option<&Declared>,
    present: &Present<'_>,
) -> Result<(), String> {
    match step {
        Step::Fetch { artifact, evidence, .. } => {
            let min = declared.and_then(|d| d.spec.level_min(&artifact.name));
            if min.is_some_and(|min| evidence.level < min) {
                return Err(format!("{id} now demands better evidence"));
            }
        }
        Step::Owe { effect } | Step::OweIfChanged { effect, .. } | Step::Settle { effect } => {
            // What is left is merged anew when an extension goes.
            let wished = declared
                .map_or(matches!(effect, Effect::Refresh { .. }), |d| d.spec.wishes(effect));
            if !wished || !present.observed.facts.live {
                return Err(format!("{} is not wished here any more", effect.describe()));
            }
        }
        Step::Try { trials, .. }
            if present.observed.facts.agent.as_ref().map(|agent| &agent.trials) != Some(trials) =>
        {
            return Err(format!("{id} was not planned by this program"));
        }
        Step::Confirm { check, .. } if declared.and_then(|d| d.spec.health()) != Some(check) => {
            return Err(format!("{id} now has another health check"));
        }
        _ => {}
    }
    Ok(())
}

/// Where an app was before its layout was edited.
fn left(owned: Option<&Owned>, declared: Option<&Declared>) -> Left {
    match declared {
        Some(declared) => declared.spec.left(owned),
        None => owned.map_or(Left::NOTHING, |owned| owned.left.clone()),
    }
}

/// The places that a step writes to.
pub(super) fn paths(step: &Step) -> Vec<&Utf8Path> {
    match step {
        Step::Unpack { into, .. } | Step::Place { into, .. } | Step::Assemble { into, .. } => {
            vec![into]
        }
        Step::Point { links, .. } => links.iter().map(|link| link.link.as_path()).collect(),
        Step::Pick { shows, hides, .. } => {
            shows.iter().chain(hides).flat_map(|moved| [moved.from.as_path(), &moved.to]).collect()
        }
        Step::Exchange { tree, path, old, keeps, .. } => {
            let kept = keeps.iter().flat_map(|kept| [&kept.tree, &kept.generation, &kept.into]);
            let kept = kept.map(Utf8PathBuf::as_path);
            [tree.as_path(), path].into_iter().chain(old.as_deref()).chain(kept).collect()
        }
        Step::Promote { from, to, .. } => vec![from, to],
        Step::Switch { bin, beside, release, .. } => vec![bin, beside, release],
        Step::Try { release, .. } => vec![release],
        Step::Install { file, beside, release, keeps, backup, .. } => {
            let kept = keeps.iter().flat_map(|kept| [kept.staged.as_path(), &kept.release]);
            let backup = backup.iter().map(|backup| backup.path.as_path());
            [file.as_path(), beside, release].into_iter().chain(kept).chain(backup).collect()
        }
        Step::Remove { path, aside, .. } => {
            std::iter::once(path.as_path()).chain(aside.as_deref()).collect()
        }
        Step::RemoveEmpty { path } | Step::Seal { path } => vec![path],
        Step::Enlist { list, .. } => vec![list],
        Step::Refresh { generation, tree, copy, signature, .. } => {
            let signature = signature.iter().map(|signature| signature.path.as_path());
            [generation.as_path(), tree, &copy.index, &copy.store]
                .into_iter()
                .chain(signature)
                .collect()
        }
        Step::Fetch { delta, .. } => delta.iter().map(|delta| delta.base.as_path()).collect(),
        Step::Owe { .. }
        | Step::OweIfChanged { .. }
        | Step::Settle { .. }
        | Step::Forgive { .. }
        | Step::Merged { .. }
        | Step::Announce { .. }
        | Step::Confirm { .. } => Vec::new(),
    }
}

/// What a step names inside a release, and the links that it makes in a directory.
fn inner(step: &Step) -> impl Iterator<Item = &Utf8Path> {
    let (links, program): (&[Binary], _) = match step {
        Step::Switch { links: Some(links), .. } => (links, None),
        Step::Install { program, .. } => (&[], program.as_deref()),
        _ => (&[], None),
    };
    let links = links.iter().flat_map(|link| [link.name.as_str(), &link.path]);
    links.chain(program).map(Utf8Path::new)
}

/// A link to an image: it is where systemd looks, not in a directory of ours.
fn is_link(step: &Step, path: &Utf8Path) -> bool {
    let classes = [ExtensionClass::Sysext, ExtensionClass::Confext];
    matches!(step, Step::Point { .. })
        && classes.iter().any(|class| path.parent() == Some(class.search_directory().into()))
}

fn climbs(path: &Utf8Path) -> bool {
    path.components().any(|c| c == Utf8Component::ParentDir)
}
