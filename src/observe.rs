//! 2. What the host has: every managed place is looked at, nothing is remembered or opened for writing.

use std::collections::BTreeMap;

use camino::Utf8Path;

use crate::desired::DesiredState;
use crate::host::{Look, facts};
use crate::model::ledger::Ledger;
use crate::model::{Constraint, HostFacts, ResourceId};
use crate::resource::app::layout::slot_name;
use crate::resource::app::observe::{Depth, observe as observe_app};
use crate::resource::app::{AppObserved, AppSpec};

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
    let look = |home: &Utf8Path, check: &[String]| {
        observe_app(host, home, check, depth).map_err(|error| error.to_string())
    };
    let mut apps = BTreeMap::new();
    for (name, declared) in &desired.apps {
        let id = ResourceId::app(name.clone());
        let found = look(&declared.spec.home, &slots_of_interest(&id, &declared.spec, ledger));
        apps.insert(id, found);
    }
    for (id, owned) in &ledger.inventory.resources {
        apps.entry(id.clone()).or_insert_with(|| look(&owned.home, &[]));
    }
    Observed { facts: facts::observe(host), apps }
}

/// Releases that may become the one in use without asking a source: they must be known to be whole.
fn slots_of_interest(id: &ResourceId, spec: &AppSpec, ledger: &Ledger) -> Vec<String> {
    let mut slots = Vec::new();
    if let Constraint::Exact(version) = &spec.version.want {
        slots.extend(spec.version.tag.tags(version).iter().map(|tag| slot_name(tag)));
    }
    slots.extend(ledger.overrides.pinned.get(id).map(|pinned| pinned.slot.clone()));
    slots
}
