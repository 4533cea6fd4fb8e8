//! 2. What the host has: every managed place is looked at, nothing is remembered or opened for writing.

pub mod ahead;
pub mod renamed;

use std::collections::{BTreeMap, HashMap};

use camino::{Utf8Path, Utf8PathBuf};

use crate::desired::DesiredState;
use crate::host::spot::{Last, Spots};
use crate::host::{Look, facts};
use crate::model::ledger::Ledger;
use crate::model::spot::Spot;
use crate::model::{HostFacts, Kind, ResourceId};
use crate::observe::ahead::Seen;
use crate::parallel::in_parallel;
use crate::resource::observe::{Depth, Place};
use crate::resource::{self, Found};

/// Items that are worth a thread: looking at one takes longer than a tenth of starting one.
const ITEMS_PER_THREAD_MIN: usize = 32;

/// What the host has.
#[derive(Clone, Debug)]
pub struct Observed {
    /// About the host itself.
    pub facts: HostFacts,
    /// Everything that is wished or ours; the error's text for what could not be looked at.
    pub resources: BTreeMap<ResourceId, Result<Found, String>>,
    /// Where the places of resources really are, by their paths.
    pub spots: HashMap<Utf8PathBuf, Spot>,
}

impl Observed {
    /// Whether two paths are names of one place.
    pub fn are_one(&self, one: &Utf8Path, other: &Utf8Path) -> bool {
        let spot = |path| self.spots.get(path);
        one == other || spot(one).is_some_and(|one| spot(other) == Some(one))
    }
}

/// Looks at everything that is wished or ours. What cannot be looked at never hides the rest.
pub fn observe(desired: &DesiredState, ledger: &Ledger, host: &Look, depth: Depth) -> Observed {
    observe_rest(desired, ledger, host, depth, Seen::default())
}

/// The same without looking again at what was `seen` already.
pub fn observe_rest(
    desired: &DesiredState,
    ledger: &Ledger,
    host: &Look,
    depth: Depth,
    mut seen: Seen,
) -> Observed {
    let owned = |id: &ResourceId| ledger.inventory.resources.get(id);
    let wished = desired.resources.iter().map(|(id, declared)| {
        let (home, spec) = (declared.spec.home(), Some(&declared.spec));
        (id, Place { id, home, spec, owned: owned(id) })
    });
    let mut places: BTreeMap<&ResourceId, Place<'_>> = wished.collect();
    for (id, owned) in &ledger.inventory.resources {
        let place = Place { id, home: &owned.home, spec: None, owned: Some(owned) };
        places.entry(id).or_insert(place);
    }
    let mut resources: BTreeMap<ResourceId, Result<Found, String>> = BTreeMap::new();
    places.retain(|id, place| {
        let found = seen.take(place, depth);
        let unseen = found.is_none();
        resources.extend(found.map(|found| ((*id).clone(), Ok(found))));
        unseen
    });
    let places: Vec<_> = places.into_iter().collect();
    let look = |(id, place): &(&ResourceId, Place<'_>)| {
        let found = resource::observe::observe(host, place, depth);
        ((*id).clone(), found.map_err(|error| error.to_string()))
    };
    resources.extend(in_parallel(&places, ITEMS_PER_THREAD_MIN, look));
    Observed { facts: facts::observe(host), resources, spots: spots(desired, ledger, host) }
}

/// A tree replaces a link at its path, an app lives behind it.
fn last_of(kind: Kind) -> Last {
    if kind == Kind::App { Last::Followed } else { Last::Stays }
}

/// Where every place is that is wished or ours. One alone cannot be another's.
fn spots(desired: &DesiredState, ledger: &Ledger, host: &Look) -> HashMap<Utf8PathBuf, Spot> {
    let wished = desired.resources.iter().flat_map(|(id, declared)| {
        let file = declared.spec.file().map(|file| (id.kind, file));
        std::iter::once((id.kind, declared.spec.home())).chain(file)
    });
    let ours = ledger.inventory.resources.iter();
    let ours = ours.flat_map(|(id, owned)| owned.paths().map(|path| (id.kind, path)));
    let paths: HashMap<&Utf8Path, Kind> = wished.chain(ours).map(|(kind, p)| (p, kind)).collect();
    if paths.len() < 2 {
        return HashMap::new();
    }
    let mut spots = Spots::new(host);
    let found = paths
        .into_iter()
        .filter_map(|(path, kind)| Some((path.to_owned(), spots.of(path, last_of(kind))?)));
    found.collect()
}
