//! Resources that have one place on the host, or one name for systemd: neither goes for the other.

use std::collections::{BTreeMap, BTreeSet};

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;

use crate::desired::{Declared, DesiredState};
use crate::model::ledger::{InPlace, Ledger, Left, Overrides, Pinned};
use crate::model::spot::Spot;
use crate::model::{Blocked, BlockedReason, ExtensionClass, Kind, ResourceId};
use crate::observe::Observed;
use crate::plan::Inputs;
use crate::plan::images::Images;
use crate::plan::nesting::Nesting;
use crate::resource::extension::observe::TransferObserved;
use crate::resource::extension::spec::Transfer;
use crate::resource::{Found, Spec};

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
            for spot in declared.spec.paths().filter_map(|path| observed.spots.get(path.as_str())) {
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
        let spots = spec.paths().filter_map(|path| observed.spots.get(path.as_str()));
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

    /// Refuses a resource whose place or name another one is to have, too, or whose place an operator decided about.
    pub(super) fn refuse(&self, id: &ResourceId, inputs: &Inputs<'_>) -> Option<Blocked> {
        let Inputs { desired, observed, ledger, now, .. } = *inputs;
        let declared = desired.resources.get(id)?;
        let mut until = None;
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
                shared.or_else(|| self.namesake(id, spec)).or_else(|| {
                    let decided = decided((id, spec), (ledger, observed), now)?;
                    until = decided.until;
                    Some(decided.message(id))
                })?
            }
        };
        let declared_at = Some(declared.declared_at.to_string());
        let blocked = Blocked::new(id.clone(), BlockedReason::Foreign, message);
        Some(Blocked { until, declared_at, ..blocked })
    }

    /// The resource that is to have a place.
    pub(super) fn wished_by(&self, path: &Utf8Path, observed: &Observed) -> Option<&'a ResourceId> {
        self.wished.get(observed.spots.get(path.as_str())?)?.first().copied()
    }
}

/// What an operator decided about a place of a resource that another one is to have now.
#[derive(Debug)]
pub(super) struct Decided<'a> {
    place: Utf8PathBuf,
    of: &'a ResourceId,
    what: &'static str,
    reason: &'a str,
    until: Option<Timestamp>,
}

impl Decided<'_> {
    pub(super) fn message(&self, id: &ResourceId) -> String {
        let Self { place, of, what, reason, .. } = self;
        format!(
            "{place} is left alone: {of} is there, which an operator {what}: {reason}; `reconcile resume {of}` ends \
             that, or give {id} another place"
        )
    }
}

/// The decision in force about the place of another resource, where this one is to have it, or what is around or inside.
pub(super) fn decided<'a>(
    (id, spec): (&ResourceId, &Spec),
    (ledger, observed): (&'a Ledger, &Observed),
    now: Timestamp,
) -> Option<Decided<'a>> {
    let Overrides { suspended, pinned, .. } = &ledger.overrides;
    let suspended = suspended.iter().filter(|(_, suspension)| suspension.holds(now));
    let suspended = suspended.map(|(of, s)| (of, "suspended", s.reason.as_str(), s.until));
    let pinned = pinned.iter().filter(|(_, pinned)| pinned.holds(now));
    let pinned = pinned.map(|(of, p)| (of, "rolled back", p.reason.as_str(), p.until));
    let mut others = suspended.chain(pinned).filter(|(of, ..)| *of != id);
    others.find_map(|(of, what, reason, until)| {
        if of.kind == Kind::Extension {
            let place = place_of_extension(of, spec, observed)?;
            return Some(Decided { place, of, what, reason, until });
        }
        let owned = ledger.inventory.resources.get(of)?;
        let place = owned.paths().find(|place| {
            let really = observed.without_links(place);
            spec.paths().any(|path| {
                let path_really = observed.without_links(path);
                observed.are_one(path, place)
                    || path_really.starts_with(really)
                    || really.starts_with(path_really)
            })
        })?;
        Some(Decided { place: place.to_owned(), of, what, reason, until })
    })
}

/// The link or image of an extension that another one is to have. Extensions may share a directory, and have names of
/// their own in it.
fn place_of_extension(of: &ResourceId, spec: &Spec, observed: &Observed) -> Option<Utf8PathBuf> {
    let Spec::Extension(spec) = spec else { return None };
    let Some(Ok(Found::Extension(found))) = observed.resources.get(of) else { return None };
    let image_of = |transfer: &Transfer, theirs: &TransferObserved| {
        let mut images = theirs.images.iter().filter(|_| transfer.directory == theirs.directory);
        // A pattern may fit an image of another name, in which it finds another version.
        images.find_map(|(version, image)| {
            let fits = transfer.image(&image.file).fields?.version == *version;
            fits.then(|| image.file.clone())
        })
    };
    found.transfers.iter().find_map(|theirs| {
        spec.transfers.iter().find_map(|transfer| match &theirs.link {
            Some(link) if transfer.link.as_ref() == Some(link) => Some(link.clone()),
            _ => Some(theirs.directory.join(image_of(transfer, theirs)?)),
        })
    })
}

/// The rollback in force of what is not wished any more, where another resource is to have its place.
pub(super) fn rolled_back<'a>(inputs: &Inputs<'a>, id: &ResourceId) -> Option<&'a Pinned> {
    let Inputs { ledger, observed, now, .. } = *inputs;
    let pinned = ledger.overrides.pinned.get(id).filter(|pinned| pinned.holds(now))?;
    let waits = |(other, declared): (&ResourceId, &Declared)| {
        decided((other, &declared.spec), (ledger, observed), now).is_some_and(|by| by.of == id)
    };
    inputs.desired.resources.iter().any(waits).then_some(pinned)
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
    let spot = spots.get(path.as_str());
    let is_there = |wished: &Utf8Path| spot.is_some() && spots.get(wished.as_str()) == spot;
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
