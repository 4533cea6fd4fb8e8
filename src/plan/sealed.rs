//! Changes of extensions that cannot be made or taken back, as something is read-only; pure.

use camino::Utf8Path;

use crate::model::{
    Blocked, BlockedReason, Change, Effect, ExtensionClass, Plan, ResourceId, Step,
};
use crate::observe::Observed;
use crate::plan::check::paths;
use crate::resource::Found;
use crate::resource::extension::observe::{Sealed, elsewhere};

/// Takes such changes out of a plan, and says why.
pub(super) fn refuse(mut plan: Plan, observed: &Observed) -> Plan {
    let merging: Vec<(ExtensionClass, ResourceId)> = plan.changes.iter().flat_map(merges).collect();
    let (mut changes, mut blocked) = (Vec::with_capacity(plan.changes.len()), Vec::new());
    for change in plan.changes {
        let message = sealed_now(&change, of(observed, &change.resource))
            .or_else(|| sealed_then(&change, &merging));
        match message {
            Some(message) => blocked.push(Blocked {
                staying_on: change.before.map(|before| before.version),
                declared_at: change.declared_at,
                ..Blocked::new(change.resource, BlockedReason::Foreign, message)
            }),
            None => changes.push(change),
        }
    }
    plan.changes = changes;
    plan.blocked.extend(blocked);
    plan
}

fn of<'a>(observed: &'a Observed, id: &ResourceId) -> &'a [Sealed] {
    match observed.resources.get(id) {
        Some(Ok(Found::Extension(found))) => &found.sealed,
        _ => &[],
    }
}

/// What systemd merges in the course of a change.
fn merges(change: &Change) -> impl Iterator<Item = (ExtensionClass, ResourceId)> {
    change.steps.iter().filter_map(|step| match step {
        Step::Settle { effect: Effect::Refresh { class } } => {
            Some((*class, change.resource.clone()))
        }
        _ => None,
    })
}

/// Why a change cannot be made now.
fn sealed_now(change: &Change, sealed: &[Sealed]) -> Option<String> {
    sealed.iter().find_map(|sealed| {
        let inside = |path: &Utf8Path| path.starts_with(&sealed.directory);
        let mut all = change.steps.iter().flat_map(paths);
        all.any(inside).then(|| sealed.message())
    })
}

/// Why a change could not be taken back: what the same pass merges makes the place of a link read-only.
fn sealed_then(change: &Change, merging: &[(ExtensionClass, ResourceId)]) -> Option<String> {
    let links = change.undo.iter().filter_map(|step| match step {
        Step::Point { links, .. } => Some(links),
        _ => None,
    });
    links.flatten().find_map(|to| {
        let link = &to.link;
        let covers = |class: &ExtensionClass| link.starts_with(class.hierarchy());
        let (class, by) = merging.iter().find(|(class, _)| covers(class))?;
        let (what, over, id) = (class.name(), class.hierarchy(), &change.resource);
        let alone = (by != id).then(|| format!("`reconcile --only {id}` changes it before that"));
        let helps: Vec<String> =
            alone.into_iter().chain(link.parent().and_then(elsewhere)).collect();
        let helps = helps.join(", or ");
        Some(format!(
            "{link} could not be changed back: {by} merges a {what} in the same pass, which makes {over} read-only; \
             {helps}"
        ))
    })
}
