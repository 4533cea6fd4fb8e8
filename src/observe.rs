//! 2. What the host has: every managed place is looked at, nothing is remembered or opened for writing.

pub mod ahead;
pub mod renamed;

use std::collections::{BTreeMap, HashMap};

use camino::{Utf8Path, Utf8PathBuf};

use crate::desired::DesiredState;
use crate::host::spot::{Last, Spots};
use crate::host::{Look, Places, facts};
use crate::model::ledger::Ledger;
use crate::model::spot::Spot;
use crate::model::{HostFacts, Kind, ResourceId};
use crate::observe::ahead::Seen;
use crate::parallel::in_parallel;
use crate::resource::extension::observe::Listings;
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
    /// The same paths without links, of those that lead through any.
    pub through_links: HashMap<Utf8PathBuf, Utf8PathBuf>,
    /// Where the agent keeps its own things, without links.
    pub own: Vec<Utf8PathBuf>,
}

impl Observed {
    /// Whether two paths are names of one place.
    pub fn are_one(&self, one: &Utf8Path, other: &Utf8Path) -> bool {
        let spot = |path| self.spots.get(path);
        one == other || spot(one).is_some_and(|one| spot(other) == Some(one))
    }

    /// A path of a wished resource without links.
    pub fn without_links<'p>(&'p self, path: &'p Utf8Path) -> &'p Utf8Path {
        self.through_links.get(path).map_or(path, Utf8PathBuf::as_path)
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
    let listings = Listings::default();
    let look = |(id, place): &(&ResourceId, Place<'_>)| {
        let found = resource::observe::observe((host, &listings), place, depth);
        ((*id).clone(), found.map_err(|error| error.to_string()))
    };
    resources.extend(in_parallel(&places, ITEMS_PER_THREAD_MIN, look));
    let mut observed = Observed {
        facts: facts::observe(host),
        resources,
        spots: HashMap::new(),
        through_links: HashMap::new(),
        own: Vec::new(),
    };
    observed.look_up(desired, ledger, host);
    observed
}

/// A tree replaces a link at its path, an app lives behind it.
fn last_of(kind: Kind) -> Last {
    if kind == Kind::App { Last::Followed } else { Last::Stays }
}

impl Observed {
    /// Looks up where every place is that is wished or ours.
    fn look_up(&mut self, desired: &DesiredState, ledger: &Ledger, host: &Look) {
        let wished = desired.resources.iter();
        let wished =
            wished.flat_map(|(id, declared)| declared.spec.paths().map(|path| (id.kind, path)));
        let ours = ledger.inventory.resources.iter();
        let ours = ours.flat_map(|(id, owned)| owned.paths().map(|path| (id.kind, path)));
        let paths: HashMap<&Utf8Path, Kind> =
            wished.chain(ours).map(|(kind, path)| (path, kind)).collect();
        let mut spots = Spots::new(host);
        for (path, kind) in &paths {
            let (spot, canonical) = spots.with_path(path, last_of(*kind));
            self.spots.extend(spot.map(|spot| ((*path).to_owned(), spot)));
            let other = canonical.filter(|canonical| canonical.as_str() != path.as_str());
            self.through_links.extend(other.map(|canonical| ((*path).to_owned(), canonical)));
        }
        let Places { state, cache, runtime, keyring: _ } = host.places();
        let own = [state, cache, runtime].into_iter();
        self.own = own.filter_map(|path| spots.with_path(path, Last::Followed).1).collect();
    }
}
