//! How an image comes to its place and how it goes; pure.

use crate::format::sysupdate::pattern::Fields;
use crate::model::{Drift, DriftKind, Step};
use crate::resource::extension::layout::{
    class_at, hidden, manifest, own_directories, staged, staged_manifest,
};
use crate::resource::extension::observe::{ImageSeen, TransferObserved};
use crate::resource::extension::pick::Picks;
use crate::resource::extension::spec::Transfer;

/// First the manifest, then the image: an image without manifest would not be ours. What systemd finds by itself is hidden
/// until everything is ready.
pub(super) fn promote(
    transfer: &Transfer,
    seen: &TransferObserved,
    (file, fields): (&str, &Fields),
    there: Option<&ImageSeen>,
) -> Vec<Step> {
    let from = staged(&seen.directory, file);
    let there = there.filter(|image| image.file == file);
    let to = match there {
        Some(image) => seen.path_of(image),
        None if transfer.is_picked() => hidden(&seen.directory, file),
        None => seen.directory.join(file),
    };
    let seal = transfer.seal(&to, fields);
    let promoted = [
        // One that an image left behind may be there.
        Step::Promote {
            from: staged_manifest(&from),
            to: manifest(&seen.directory, file),
            replaces: true,
        },
        Step::Promote { from, to, replaces: there.is_some() },
    ];
    promoted.into_iter().chain(seal).collect()
}

/// Whether systemd finds the images of a transfer by themselves: without a link only their going unmerges them.
fn is_searched(seen: &TransferObserved) -> bool {
    seen.link.is_none() && class_at(&seen.directory, None).is_some()
}

/// Whether systemd finds an image that no link leads to.
pub(super) fn is_in_sight(seen: &TransferObserved, image: &ImageSeen) -> bool {
    let place = seen.directory.join(&image.file);
    let is_gone =
        |drift: &Drift| drift.kind == DriftKind::Missing && *drift.path == *place.as_str();
    is_searched(seen) && !image.hidden && !image.drift.iter().any(is_gone)
}

/// First the image, then the manifest, then directories that were made for it. An image that is a directory is
/// renamed away first, so that it is there whole or not at all. `picks` are made before.
pub(super) fn take_away(
    seen: &TransferObserved,
    (version, image): (&str, &ImageSeen),
    picks: &Picks,
) -> Vec<Step> {
    let is_directory = image.manifest.as_ref().is_some_and(|m| !m.entries.is_empty());
    let aside = hidden(&seen.directory, &image.file);
    let path = if picks.hides(&aside) { aside } else { seen.path_of(image) };
    let in_sight = is_searched(seen) && path == seen.directory.join(&image.file);
    let aside = (is_directory || in_sight).then(|| staged(&seen.directory, &image.file));
    let manifest = manifest(&seen.directory, &image.file);
    let slot = Some(version.to_owned());
    let mut steps = vec![
        Step::Remove { path, aside, expects: None, slot: slot.clone() },
        Step::Remove { path: manifest, aside: None, expects: None, slot },
    ];
    let own = own_directories(&seen.directory, &image.file).into_iter();
    steps.extend(own.map(|path| Step::RemoveEmpty { path }));
    steps
}
