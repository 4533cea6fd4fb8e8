//! Views of a wish.

use std::collections::BTreeMap;

use reconcile::desired::DesiredState;
use reconcile::resource::Spec;
use reconcile::resource::app::AppSpec;

/// The apps of a wish by name.
pub fn apps(state: &DesiredState) -> BTreeMap<String, AppSpec> {
    let specs = state.resources.iter().filter_map(|(id, declared)| match &declared.spec {
        Spec::App(spec) => Some((id.name.to_string(), AppSpec::clone(spec))),
        Spec::Extension(_) | Spec::Tree(_) => None,
    });
    specs.collect()
}
