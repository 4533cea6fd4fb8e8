//! 2. What the host has: every managed place is looked at, nothing is remembered or opened for writing.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::thread;

use crate::desired::DesiredState;
use crate::host::{Look, facts};
use crate::model::ledger::Ledger;
use crate::model::{HostFacts, ResourceId};
use crate::resource::app::observe::Depth;
use crate::resource::observe::Place;
use crate::resource::{self, Found};

/// Most threads that look at the host.
const THREADS_MAX: usize = 8;

/// Items that are worth a thread: looking at one takes longer than a tenth of starting one.
const ITEMS_PER_THREAD_MIN: usize = 32;

/// What the host has.
#[derive(Clone, Debug)]
pub struct Observed {
    /// About the host itself.
    pub facts: HostFacts,
    /// Everything that is wished or ours; the error's text for what could not be looked at.
    pub resources: BTreeMap<ResourceId, Result<Found, String>>,
}

/// Looks at everything that is wished or ours. What cannot be looked at never hides the rest.
pub fn observe(desired: &DesiredState, ledger: &Ledger, host: &Look, depth: Depth) -> Observed {
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
    let places: Vec<_> = places.into_iter().collect();
    let look = |(id, place): &(&ResourceId, Place<'_>)| {
        let found = resource::observe::observe(host, place, depth);
        ((*id).clone(), found.map_err(|error| error.to_string()))
    };
    let resources = in_parallel(&places, look).into_iter().collect();
    Observed { facts: facts::observe(host), resources }
}

/// Works on all items with every processor, when there are enough for that to be worth starting threads.
fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let workers = match items.len() / ITEMS_PER_THREAD_MIN {
        0 | 1 => 1,
        enough => {
            thread::available_parallelism().map_or(1, usize::from).min(enough).min(THREADS_MAX)
        }
    };
    if workers == 1 {
        return items.iter().map(work).collect();
    }
    let work = &work;
    thread::scope(|scope| {
        let mut parts = items.chunks(items.len().div_ceil(workers));
        let mine = parts.next().unwrap_or_default();
        let threads: Vec<_> =
            parts.map(|part| scope.spawn(|| part.iter().map(work).collect::<Vec<_>>())).collect();
        let mut done: Vec<R> = Vec::with_capacity(items.len());
        done.extend(mine.iter().map(work));
        for thread in threads {
            done.extend(thread.join().unwrap_or_else(|e| resume_unwind(e)));
        }
        done
    })
}
