//! Resources that have one place on the host under two names: neither goes for the other.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8Path;

use crate::desired::DesiredState;
use crate::model::ledger::Owned;
use crate::model::spot::Spot;
use crate::model::{Blocked, BlockedReason, ResourceId};
use crate::observe::Observed;
use crate::resource::Spec;

/// Who is to have which place.
#[derive(Debug, Default)]
pub(super) struct Places<'a> {
    wished: BTreeMap<&'a Spot, BTreeSet<&'a ResourceId>>,
}

impl<'a> Places<'a> {
    pub(super) fn new(desired: &'a DesiredState, observed: &'a Observed) -> Self {
        let mut places = Self::default();
        for (id, declared) in &desired.resources {
            for spot in paths(&declared.spec).filter_map(|path| observed.spots.get(path)) {
                places.wished.entry(spot).or_default().insert(id);
            }
        }
        places
    }

    /// Another resource that is to have the same place.
    fn twin(&self, id: &ResourceId, spec: &Spec, observed: &Observed) -> Option<&'a ResourceId> {
        let spots = paths(spec).filter_map(|path| observed.spots.get(path));
        let mut wished = spots.filter_map(|spot| self.wished.get(spot)).flatten();
        wished.find(|other| **other != id).copied()
    }

    /// Refuses a resource whose place another one is to have, too.
    pub(super) fn refuse(
        &self,
        id: &ResourceId,
        desired: &DesiredState,
        observed: &Observed,
    ) -> Option<Blocked> {
        let declared = desired.resources.get(id)?;
        let other = self.twin(id, &declared.spec, observed)?;
        let theirs = &desired.resources.get(other)?.spec;
        let name = |spec: &Spec| spec.file().unwrap_or(spec.home()).to_owned();
        Some(Blocked {
            resource: id.clone(),
            reason: BlockedReason::Foreign,
            message: format!(
                "{} and {} of {other} are two names of one place, and each would replace the other; give one of them a \
                 place of its own",
                name(&declared.spec),
                name(theirs)
            ),
            staying_on: None,
            until: None,
            declared_at: Some(declared.declared_at.to_string()),
            ahead: Vec::new(),
        })
    }

    /// The resource that is to have the place of something that is ours.
    pub(super) fn wished_by(&self, owned: &Owned, observed: &Observed) -> Option<&'a ResourceId> {
        let file = owned.in_place.as_ref().map(|known| known.file.as_path());
        let paths = std::iter::once(owned.home.as_path()).chain(file);
        let spots = paths.filter_map(|path| observed.spots.get(path));
        spots.filter_map(|spot| self.wished.get(spot)).flatten().next().copied()
    }
}

fn paths(spec: &Spec) -> impl Iterator<Item = &Utf8Path> {
    std::iter::once(spec.home()).chain(spec.file())
}
