//! Looking ahead: the apps that the inventory names are looked at while the wish is still being read.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use camino::Utf8PathBuf;

use crate::host::Look;
use crate::model::ledger::{Inventory, Owned};
use crate::model::{Kind, ResourceId};
use crate::resource::Found;
use crate::resource::app;
use crate::resource::app::observe::Depth;
use crate::resource::observe::Place;

/// Apps taken at once: what one more thread may have left to do when the others are through.
const TAKEN_AT_ONCE: usize = 8;

/// Apps that look the same whatever is wished of them, shared by all who look at them.
#[derive(Debug)]
pub struct Ahead {
    places: Vec<(ResourceId, Utf8PathBuf)>,
    next: AtomicUsize,
}

/// What was seen so far, by resource: where it was looked, and what was there.
#[derive(Debug, Default)]
pub struct Seen(BTreeMap<ResourceId, (Utf8PathBuf, Found)>);

impl Ahead {
    /// The apps of an inventory. What is one file in place depends on the wish.
    pub fn of(inventory: &Inventory) -> Self {
        let plain = |(id, owned): &(&ResourceId, &Owned)| {
            id.kind == Kind::App && owned.in_place.is_none() && owned.left.is_empty()
        };
        let places = inventory.resources.iter().filter(plain);
        let places = places.map(|(id, owned)| (id.clone(), owned.home.clone())).collect();
        Self { places, next: AtomicUsize::new(0) }
    }

    /// Looks at one app after another, until all are looked at or being looked at. What cannot be looked at is left
    /// out: whoever needs it looks again and says why.
    pub fn look(&self, host: &Look) -> Seen {
        let mut seen = Vec::new();
        loop {
            let from = self.next.fetch_add(TAKEN_AT_ONCE, Ordering::Relaxed);
            let Some(rest) = self.places.get(from..).filter(|rest| !rest.is_empty()) else { break };
            seen.extend(rest.iter().take(TAKEN_AT_ONCE).filter_map(|(id, home)| {
                let found = app::observe::observe(host, home, None, Depth::Quick).ok()?;
                Some((id.clone(), (home.clone(), Found::App(found))))
            }));
        }
        Seen(seen.into_iter().collect())
    }
}

impl Seen {
    /// Adds what somebody else saw.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// What was seen at a place, if it is the same that would be seen there now that the wish is known.
    pub(super) fn take(&mut self, place: &Place<'_>, depth: Depth) -> Option<Found> {
        let in_place = match place.spec {
            Some(spec) => spec.file().is_some(),
            None => place.owned.is_some_and(|owned| owned.in_place.is_some()),
        };
        let same = place.id.kind == Kind::App && !in_place && depth == Depth::Quick;
        let (home, found) = self.0.remove(place.id).filter(|_| same)?;
        (home == place.home).then_some(found)
    }
}
