//! How an image comes to its place and how it goes; pure.

use crate::model::{Drift, DriftKind, Step};
use crate::resource::extension::layout::{
    class_at, hidden, manifest, own_directories, staged, staged_manifest,
};
use crate::resource::extension::observe::{ImageSeen, TransferObserved};
use crate::resource::extension::spec::Transfer;

/// First the manifest, then the image: an image without manifest would not be ours. What systemd picks by itself is hidden
/// until everything is ready.
pub(super) fn promote(
    transfer: &Transfer,
    seen: &TransferObserved,
    file: &str,
    there: Option<&ImageSeen>,
) -> [Step; 2] {
    let from = staged(&seen.directory, file);
    let there = there.filter(|image| image.file == file);
    let to = match there {
        Some(image) => seen.path_of(image),
        None if transfer.is_picked() => hidden(&seen.directory, file),
        None => seen.directory.join(file),
    };
    [
        // One that an image left behind may be there.
        Step::Promote {
            from: staged_manifest(&from),
            to: manifest(&seen.directory, file),
            replaces: true,
        },
        Step::Promote { from, to, replaces: there.is_some() },
    ]
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

/// Takes an image that no link leads to out of systemd's sight, before what is left is merged: systemd passes over the
/// name.
pub(super) fn hide(seen: &TransferObserved, image: &ImageSeen) -> Option<Step> {
    is_in_sight(seen, image).then(|| Step::Promote {
        from: seen.directory.join(&image.file),
        to: staged(&seen.directory, &image.file),
        replaces: true,
    })
}

/// First the image, then the manifest, then directories that were made for it. An image that is a directory is
/// renamed away first, so that it is there whole or not at all.
pub(super) fn take_away(
    seen: &TransferObserved,
    (version, image): (&str, &ImageSeen),
) -> Vec<Step> {
    let is_directory = image.manifest.as_ref().is_some_and(|m| !m.entries.is_empty());
    let in_sight = is_searched(seen) && !image.hidden;
    let aside = (is_directory || in_sight).then(|| staged(&seen.directory, &image.file));
    let manifest = manifest(&seen.directory, &image.file);
    let slot = Some(version.to_owned());
    let mut steps = vec![
        Step::Remove { path: seen.path_of(image), aside, expects: None, slot: slot.clone() },
        Step::Remove { path: manifest, aside: None, expects: None, slot },
    ];
    let own = own_directories(&seen.directory, &image.file).into_iter();
    steps.extend(own.map(|path| Step::RemoveEmpty { path }));
    steps
}
