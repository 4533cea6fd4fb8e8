//! Resources that the wish calls by another name than when they were installed: the place tells.
//!
//! A name is only what the wish calls a resource. What was learned and decided about it (how high its version was, which
//! release did not work, that an operator suspended it, which hook is owed) is about what is in its place, so it goes
//! along with that.

use std::collections::{BTreeMap, BTreeSet};

use crate::desired::{Declared, DesiredState};
use crate::host::Look;
use crate::host::spot::Spots;
use crate::model::ledger::rename::Renames;
use crate::model::ledger::{Ledger, Owned};
use crate::model::spot::Spot;
use crate::model::{Kind, ResourceId};
use crate::observe::last_of;

/// Calls everything that is remembered by the names that the wish has for it now.
pub fn follow_renames(desired: &DesiredState, host: &Look, ledger: &mut Ledger) {
    let renames = renames(desired, host, ledger);
    let mut spots = Spots::new(host);
    for (old, new) in &renames {
        let wished = desired.resources.get(new).map(|declared| declared.spec.home());
        let owned = ledger.inventory.resources.get_mut(old);
        if let Some((owned, home)) = owned.zip(wished) {
            let last = last_of(new.kind);
            // The same place may be written in another way now.
            if spots.of(&owned.home, last) == spots.of(home, last) {
                home.clone_into(&mut owned.home);
            }
        }
    }
    ledger.rename(renames);
}

fn renames(desired: &DesiredState, host: &Look, ledger: &Ledger) -> Renames {
    // What an extension's images and link are called comes from its name: by another name it is another one.
    let stays = |id: &ResourceId| id.kind != Kind::Extension;
    let inventory = &ledger.inventory.resources;
    let settled = |id: &ResourceId| {
        let declared = desired.resources.get(id);
        declared.is_some_and(|d| ledger.inventory.at(id, d.spec.home()).is_some())
    };
    let mut places = Places { spots: Spots::new(host), was: BTreeMap::new() };
    for (id, owned) in inventory.iter().filter(|(id, _)| stays(id) && !settled(id)) {
        places.note(id, owned);
    }
    if places.was.is_empty() {
        return Renames::new();
    }
    let mut renames = Renames::new();
    let mut stay = BTreeSet::new();
    for (id, declared) in desired.resources.iter().filter(|(id, _)| stays(id) && !settled(id)) {
        match places.name_before(id, declared) {
            Some(was) if was == *id => drop(stay.insert(was)),
            Some(was) => drop(renames.entry(was).or_insert_with(|| id.clone())),
            None => {}
        }
    }
    renames.retain(|old, _| !stay.contains(old));
    // Whatever is ours by the new name already gives it away itself, or keeps it.
    loop {
        let given: BTreeSet<ResourceId> = renames.keys().cloned().collect();
        renames.retain(|_, new| !inventory.contains_key(new) || given.contains(new));
        if renames.len() == given.len() {
            return renames;
        }
    }
}

/// What is ours, by where it is.
struct Places<'h> {
    spots: Spots<'h>,
    was: BTreeMap<(Kind, Spot), ResourceId>,
}

impl Places<'_> {
    fn note(&mut self, id: &ResourceId, owned: &Owned) {
        let file = owned.in_place.as_ref().map(|known| known.file.as_path());
        for path in std::iter::once(owned.home.as_path()).chain(file) {
            if let Some(spot) = self.spots.of(path, last_of(id.kind)) {
                self.was.insert((id.kind, spot), id.clone());
            }
        }
    }

    /// What a wished resource was called when it was installed.
    fn name_before(&mut self, id: &ResourceId, declared: &Declared) -> Option<ResourceId> {
        let mut was = declared.spec.paths().filter_map(|path| {
            let spot = self.spots.of(path, last_of(id.kind))?;
            self.was.get(&(id.kind, spot)).cloned()
        });
        was.next()
    }
}
