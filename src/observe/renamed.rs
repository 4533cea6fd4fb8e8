//! Resources that the wish calls by another name than when they were installed: the place tells.
//!
//! A name is only what the wish calls a resource. What was learned and decided about it (how high its version was, which
//! release did not work, that an operator suspended it, which hook is owed) is about what is in its place, so it goes
//! along with that.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8Path;

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
    let Moves { renames, given_up, exchanged } = moves(desired, host, ledger);
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
    ledger.trust.carry_quarantines(&given_up);
    // Not moved: this is done again until the files have changed hands, and twice would be back.
    ledger.unwritten |= ledger.trust.share_quarantines(&exchanged);
}

/// What an edit of the wish makes of those that are here.
#[derive(Default)]
struct Moves {
    /// The new names.
    renames: Renames,
    /// Whose place goes to one that has another place now: they stay who they are, but which release did not work is
    /// about the place.
    given_up: Renames,
    /// Who exchange their files, and stay who they are.
    exchanged: Renames,
}

fn moves(desired: &DesiredState, host: &Look, ledger: &Ledger) -> Moves {
    // What an extension's images and link are called comes from its name: by another name it is another one.
    let stays = |id: &ResourceId| id.kind != Kind::Extension;
    let inventory = &ledger.inventory.resources;
    let settled = |id: &ResourceId| {
        let declared = desired.resources.get(id);
        declared.is_some_and(|d| {
            let owned = ledger.inventory.at(id, d.spec.home());
            owned.is_some_and(|owned| file_of(owned) == d.spec.file())
        })
    };
    let mut places = Places { spots: Spots::new(host), was: BTreeMap::new() };
    for (id, owned) in inventory.iter().filter(|(id, _)| stays(id) && !settled(id)) {
        places.note(id, owned);
    }
    if places.was.is_empty() {
        return Moves::default();
    }
    let (mut renames, mut taken) = (Renames::new(), Renames::new());
    let mut stay = BTreeSet::new();
    for (id, declared) in desired.resources.iter().filter(|(id, _)| stays(id) && !settled(id)) {
        let before = places.names_before(id, declared);
        taken.extend(before.iter().filter(|was| *was != id).map(|was| (was.clone(), id.clone())));
        match before.into_iter().next() {
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
            break;
        }
    }
    taken.retain(|was, _| !renames.contains_key(was));
    let mut exchanged = taken.clone();
    // Whoever gives a file away and takes none has moved, and took along what is known of its releases.
    loop {
        let takers: BTreeSet<ResourceId> = exchanged.values().cloned().collect();
        let before = exchanged.len();
        exchanged.retain(|was, _| takers.contains(was));
        if exchanged.len() == before {
            break;
        }
    }
    let takers: BTreeSet<ResourceId> = taken.values().cloned().collect();
    taken.retain(|was, _| !stay.contains(was) && !takers.contains(was));
    Moves { renames, given_up: taken, exchanged }
}

/// What is ours, by where it is.
struct Places<'h> {
    spots: Spots<'h>,
    was: BTreeMap<(Kind, Spot), ResourceId>,
}

impl Places<'_> {
    fn note(&mut self, id: &ResourceId, owned: &Owned) {
        for path in std::iter::once(owned.home.as_path()).chain(file_of(owned)) {
            if let Some(spot) = self.spots.of(path, last_of(id.kind)) {
                self.was.insert((id.kind, spot), id.clone());
            }
        }
    }

    /// What the places of a wished resource were those of, its home first.
    fn names_before(&mut self, id: &ResourceId, declared: &Declared) -> Vec<ResourceId> {
        let was = declared.spec.paths().filter_map(|path| {
            let spot = self.spots.of(path, last_of(id.kind))?;
            self.was.get(&(id.kind, spot)).cloned()
        });
        was.collect()
    }
}

/// The file that is replaced in place.
fn file_of(owned: &Owned) -> Option<&Utf8Path> {
    owned.in_place.as_ref().map(|known| known.file.as_path())
}
