//! 2. What the host has: every managed place is looked at, nothing is remembered or opened for writing.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::thread;

use camino::Utf8Path;

use crate::desired::DesiredState;
use crate::host::{Look, facts};
use crate::model::ledger::Ledger;
use crate::model::{HostFacts, ResourceId};
use crate::resource::app::AppObserved;
use crate::resource::app::observe::{Depth, observe as observe_app};

/// Most threads that look at the host.
const THREADS_MAX: usize = 8;

/// Items that are worth a thread: looking at an app takes longer than a tenth of starting one.
const ITEMS_PER_THREAD_MIN: usize = 32;

/// What the host has.
#[derive(Clone, Debug)]
pub struct Observed {
    /// About the host itself.
    pub facts: HostFacts,
    /// Every app that is wished or ours; the error's text for one that could not be looked at.
    pub apps: BTreeMap<ResourceId, Result<AppObserved, String>>,
}

/// Looks at everything that is wished or ours. What cannot be looked at never hides the rest.
pub fn observe(desired: &DesiredState, ledger: &Ledger, host: &Look, depth: Depth) -> Observed {
    let wished = desired.apps.iter();
    let wished = wished.map(|(name, app)| (ResourceId::app(name.clone()), app.spec.home.as_path()));
    let mut places: BTreeMap<ResourceId, &Utf8Path> = wished.collect();
    for (id, owned) in &ledger.inventory.resources {
        places.entry(id.clone()).or_insert(&owned.home);
    }
    let places: Vec<_> = places.into_iter().collect();
    let look = |(id, home): &(ResourceId, &Utf8Path)| {
        (id.clone(), observe_app(host, home, depth).map_err(|error| error.to_string()))
    };
    let apps = in_parallel(&places, look).into_iter().collect();
    Observed { facts: facts::observe(host), apps }
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
