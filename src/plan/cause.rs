//! Who caused a change, where what was decided before tells: edits, ended decisions, another place.

use camino::Utf8Path;

use crate::desired::Declared;
use crate::model::ledger::basis::Basis;
use crate::model::{Attribution, Change, Kind, ResourceId};
use crate::plan::Inputs;

/// Says what was edited or ended, where a change would not come but for that.
pub(super) fn tell(inputs: &Inputs<'_>, (id, declared): (&ResourceId, &Declared), of: &mut Change) {
    let edited = match of.attribution {
        Attribution::FirstInstall => moved(inputs, id, declared)
            .map(|(old, new)| format!("its place is {new} now and was {old}")),
        Attribution::UpstreamMoved | Attribution::DesiredChanged => decided(inputs, declared, of),
        _ => None,
    };
    if let Some(edited) = edited {
        of.attribution = Attribution::DesiredChanged;
        of.reason = format!("{edited}; {}", of.reason);
    }
}

/// What was decided about a resource before, where that does not hold any more.
fn decided(inputs: &Inputs<'_>, declared: &Declared, of: &Change) -> Option<String> {
    let ledger = inputs.ledger;
    let id = &of.resource;
    if ledger.overrides.pinned.get(id).is_some_and(|pinned| pinned.holds(inputs.now)) {
        return None;
    }
    let basis = ledger.inventory.at(id, declared.spec.home())?.basis.as_ref()?;
    if let Some(ended) = basis.ended() {
        return Some(ended.to_owned());
    }
    let Basis::Request(before) = basis else { return None };
    let wished = declared.spec.requested();
    let moved = of.attribution == Attribution::UpstreamMoved;
    (moved && *before != wished).then(|| format!("{wished} is wished, which was {before}"))
}

/// Where a resource was and is to be, if those are two places.
pub(super) fn moved<'a>(
    inputs: &Inputs<'a>,
    id: &ResourceId,
    declared: &'a Declared,
) -> Option<(&'a Utf8Path, &'a Utf8Path)> {
    let owned = inputs.ledger.inventory.resources.get(id)?;
    let (old, new) = (&owned.home, declared.spec.home());
    // The home of what the host's own definitions wish is a name only.
    let nothing = id.kind == Kind::Extension && old.extension() == Some("reconcile");
    (!nothing && !inputs.observed.are_one(old, new)).then_some((old, new))
}
