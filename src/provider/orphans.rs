//! What systemd-sysupdate's list says was installed and no definition owns any more.

use std::io;

use crate::desired::{Declared, DesiredState, Place};
use crate::format::sysupdate::definition::{Standing, Transfer};
use crate::format::sysupdate::installed;
use crate::host::{ItemKind, Look};
use crate::model::extension::Shape;
use crate::model::ledger::Ledger;
use crate::model::pace::Pace;
use crate::model::{Name, ResourceId};
use crate::provider::definitions::Component;
use crate::provider::{HOST_SET, Set, resources_of, spec};
use crate::resource::Spec;
use crate::resource::extension::apart::{Others, tell_apart};
use crate::resource::extension::spec::{Followed, Stock, Transfer as Wish, Tries};
use crate::source::spec::DirectoryUrl;

/// Most entries that are looked at: one for each pattern of each definition that there ever was.
const ENTRIES_MAX: usize = 10_000;

/// What the entries of a component's list stand for, but for those of definitions that are on and those of what the
/// desired state itself wishes. The last entry of something that is gone goes with it, as one does that stands for
/// nothing at all.
pub fn orphans(
    host: &Look,
    component: &Component,
    desired: &DesiredState,
) -> io::Result<Vec<Wish>> {
    let list = installed::list(component.name.as_deref());
    let mut orphans = Vec::new();
    let its = resources_of(component, desired);
    let wished: Vec<(bool, &Wish)> = desired
        .resources
        .iter()
        .filter_map(|(id, declared)| match &declared.spec {
            Spec::Extension(spec) => Some((its.contains(id), spec)),
            Spec::App(_) | Spec::Tree(_) => None,
        })
        .flat_map(|(its, spec)| spec.transfers.iter().map(move |transfer| (its, transfer)))
        .collect();
    for item in host.list(&list)?.unwrap_or_default().into_iter().take(ENTRIES_MAX) {
        let place = format!("{list}/{}", item.name);
        let Some(text) = host.link_in_utf8(&place)?.filter(|_| item.kind == ItemKind::Link) else {
            continue;
        };
        let (directory, target) = match installed::entry(&item.name, &text) {
            Some((directory, pattern)) => (directory, vec![pattern]),
            None => (list.clone(), Vec::new()),
        };
        let on = component.transfers.iter().filter(|t| t.is_enabled(&component.features));
        let owns = |transfer: &Transfer| {
            let same = target.iter().all(|pattern| transfer.target.patterns.contains(pattern));
            transfer.target.path == directory && (same || transfer.standing != Standing::Ours)
        };
        let mut others = wished.iter().filter(|(its, wish)| !its && wish.directory == directory);
        let is_wished = others.any(|(_, wish)| target.iter().any(|p| wish.target.contains(p)));
        if on.into_iter().any(owns) || is_wished {
            continue;
        }
        orphans.push(Wish {
            definition: None,
            min: None,
            from: DirectoryUrl::Local("/".into()),
            stock: Stock::Listed,
            manifest: String::new(),
            source: Vec::new(),
            directory: directory.into(),
            target,
            link: None,
            name: item.name,
            shape: Shape::Image,
            mode: None,
            read_only: None,
            tries: Tries::default(),
            class: None,
            remove_temporary: true,
            entry: Some(place.into()),
            others: Others::default(),
        });
    }
    let wished: Vec<Wish> = wished.into_iter().map(|(_, wish)| wish.clone()).collect();
    // What several of them fit is nobody's.
    for orphan in &mut orphans {
        tell_apart(std::iter::once(orphan), &wished);
    }
    Ok(orphans)
}

/// Makes a component whose last definition is gone a part of the wish once more, so that it can be cleaned up: nothing of
/// it is on. Nothing is done where something else is wished by its name.
pub fn wish_nothing_of(
    component: &Component,
    desired: &mut DesiredState,
    ledger: &Ledger,
) -> Option<ResourceId> {
    let follow = desired.follow.clone().filter(|_| component.name.as_deref() != Some(HOST_SET))?;
    let name: Name = component.name.as_deref().unwrap_or(HOST_SET).parse().ok()?;
    let id = ResourceId::extension(name);
    if desired.resources.contains_key(&id) {
        return None;
    }
    let followed = Followed { component: component.name.clone() };
    let file = followed.list();
    let mut spec = spec(&follow, &id, Some(followed), Set::default());
    let before = ledger.inventory.resources.get(&id).map(|owned| owned.home.clone());
    spec.home = before.unwrap_or_else(|| file.clone());
    let declared = Declared {
        spec: Spec::Extension(Box::new(spec)),
        declared_at: Place { file: file.into_string(), line: 1 },
        root: follow.root,
        pace: Pace::default(),
    };
    desired.resources.insert(id.clone(), declared);
    Some(id)
}
