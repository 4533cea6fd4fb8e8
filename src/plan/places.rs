//! Resources that have one place on the host, or one name for systemd: neither goes for the other.

use std::collections::{BTreeMap, BTreeSet};

use camino::{Utf8Path, Utf8PathBuf};

use crate::desired::DesiredState;
use crate::model::ledger::{InPlace, Left};
use crate::model::spot::Spot;
use crate::model::{Blocked, BlockedReason, ExtensionClass, ResourceId};
use crate::observe::Observed;
use crate::plan::Inputs;
use crate::plan::images::Images;
use crate::plan::nesting::Nesting;
use crate::resource::Spec;

/// Who is to have which place.
#[derive(Debug, Default)]
pub(super) struct Places<'a> {
    wished: BTreeMap<&'a Spot, BTreeSet<&'a ResourceId>>,
    /// Where each resource has the extension of a name.
    named: BTreeMap<(ExtensionClass, &'a str), BTreeMap<&'a ResourceId, &'a Utf8Path>>,
    nesting: Nesting<'a>,
    pub(super) images: Images<'a>,
}

impl<'a> Places<'a> {
    pub(super) fn new(desired: &'a DesiredState, observed: &'a Observed) -> Self {
        let mut places = Self {
            nesting: Nesting::new(desired, observed),
            images: Images::new(desired, observed),
            ..Self::default()
        };
        for (id, declared) in &desired.resources {
            for spot in declared.spec.paths().filter_map(|path| observed.spots.get(path)) {
                places.wished.entry(spot).or_default().insert(id);
            }
            for (name, at) in names(&declared.spec) {
                places.named.entry(name).or_default().insert(id, at);
            }
        }
        places
    }

    /// Another resource that is to have the same place.
    fn twin(&self, id: &ResourceId, spec: &Spec, observed: &Observed) -> Option<&'a ResourceId> {
        let spots = spec.paths().filter_map(|path| observed.spots.get(path));
        let mut wished = spots.filter_map(|spot| self.wished.get(spot)).flatten();
        wished.find(|other| **other != id).copied()
    }

    /// What is said of another extension that systemd would find by the same name: it merges one of them only.
    fn namesake(&self, id: &ResourceId, spec: &Spec) -> Option<String> {
        names(spec).find_map(|(name, at)| {
            let (other, theirs) = self.named.get(&name)?.iter().find(|(other, _)| **other != id)?;
            Some(format!(
                "{at} and {theirs} of {other} are extensions of one name, of which systemd merges only one; give one of \
                 them another name"
            ))
        })
    }

    /// Refuses a resource whose place or name another one is to have, too.
    pub(super) fn refuse(
        &self,
        id: &ResourceId,
        desired: &DesiredState,
        observed: &Observed,
    ) -> Option<Blocked> {
        let declared = desired.resources.get(id)?;
        let name = |spec: &Spec| spec.file().unwrap_or(spec.home()).to_owned();
        let message = match self.twin(id, &declared.spec, observed) {
            Some(other) => format!(
                "{} and {} of {other} are two names of one place, and each would replace the other; give one of them a \
                 place of its own",
                name(&declared.spec),
                name(&desired.resources.get(other)?.spec)
            ),
            None => {
                let spec = &declared.spec;
                let nested = self.nesting.refuse(id, spec, observed);
                let shared = nested.or_else(|| self.images.shared(id, spec));
                shared.or_else(|| self.namesake(id, spec))?
            }
        };
        let declared_at = Some(declared.declared_at.to_string());
        Some(Blocked { declared_at, ..Blocked::new(id.clone(), BlockedReason::Foreign, message) })
    }

    /// The resource that is to have a place.
    pub(super) fn wished_by(&self, path: &Utf8Path, observed: &Observed) -> Option<&'a ResourceId> {
        self.wished.get(observed.spots.get(path)?)?.first().copied()
    }
}

/// Where a resource was before its layout was edited.
pub(super) fn left(inputs: &Inputs<'_>, id: &ResourceId, spec: &Spec) -> Left {
    spec.left(inputs.ledger.inventory.at(id, spec.home()))
}

/// What of that is not taken away, as somebody is to be there now.
pub(super) fn taken(inputs: &Inputs<'_>, id: &ResourceId, left: &Left) -> Vec<Utf8PathBuf> {
    let programs = left.files.iter().filter(|known| of_another(inputs, id, known).is_some());
    let programs = programs.filter_map(|known| known.placed.as_ref());
    let backups = left.files.iter().flat_map(|known| &known.backups).map(|backup| &backup.path);
    let backups = backups.filter(|path| wished_at(inputs, id, path).is_some());
    programs.chain(backups).cloned().collect()
}

/// What is to be said where somebody else is to be where a resource was.
pub(super) fn told_taken(inputs: &Inputs<'_>, id: &ResourceId, left: &Left) -> Option<String> {
    left.files.iter().find_map(|known| {
        let other = of_another(inputs, id, known).filter(|other| *other != id)?;
        Some(format!("{} is not removed: its place is that of {other} now", known.file))
    })
}

/// Who is to be where a program was put, where anybody is: that may be the resource itself by another name of the place.
fn of_another<'a>(
    inputs: &Inputs<'a>,
    id: &'a ResourceId,
    known: &InPlace,
) -> Option<&'a ResourceId> {
    let placed = known.placed.as_deref().unwrap_or(&known.file);
    let file = inputs.desired.resources.get(id).and_then(|declared| declared.spec.file());
    if file.is_some_and(|file| inputs.observed.are_one(file, placed)) {
        return Some(id);
    }
    wished_at(inputs, id, placed)
}

/// Another resource whose place is a path, or has it inside.
fn wished_at<'a>(inputs: &Inputs<'a>, id: &ResourceId, path: &Utf8Path) -> Option<&'a ResourceId> {
    let mut others = inputs.desired.resources.iter().filter(|(other, _)| *other != id);
    let spots = &inputs.observed.spots;
    let spot = spots.get(path);
    let is_there = |wished: &Utf8Path| spot.is_some() && spots.get(wished) == spot;
    let holds = |wished: &Utf8Path| path.starts_with(wished) || is_there(wished);
    others.find(|(_, declared)| declared.spec.paths().any(holds)).map(|(other, _)| other)
}

/// The names by which systemd finds the extensions of a wish, and where it finds them.
fn names(spec: &Spec) -> impl Iterator<Item = ((ExtensionClass, &str), &Utf8Path)> {
    let transfers = match spec {
        Spec::Extension(spec) => spec.transfers.as_slice(),
        Spec::App(_) | Spec::Tree(_) => &[],
    };
    transfers.iter().filter_map(|transfer| {
        let at = transfer.link.as_deref().unwrap_or(&transfer.directory);
        let one_name = transfer.link.is_some() || at.extension() == Some("v");
        Some(((transfer.class.filter(|_| one_name)?, transfer.name.as_str()), at))
    })
}
