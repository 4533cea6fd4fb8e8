//! 2. What the host has: every managed place is looked at, nothing is remembered or opened for writing.

use std::collections::BTreeMap;

use camino::Utf8Path;

use crate::desired::DesiredState;
use crate::host::{Look, facts};
use crate::model::ledger::Ledger;
use crate::model::{HostFacts, ResourceId};
use crate::resource::app::AppObserved;
use crate::resource::app::observe::{Depth, observe as observe_app};

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
    let look = |home: &Utf8Path| observe_app(host, home, depth).map_err(|error| error.to_string());
    let mut apps = BTreeMap::new();
    for (name, declared) in &desired.apps {
        apps.insert(ResourceId::app(name.clone()), look(&declared.spec.home));
    }
    for (id, owned) in &ledger.inventory.resources {
        apps.entry(id.clone()).or_insert_with(|| look(&owned.home));
    }
    Observed { facts: facts::observe(host), apps }
}
