//! What somebody else changed of images that are to go: it is told, or it stays; pure.

use std::fmt::Write as _;

use crate::model::{Drift, DriftKind};
use crate::resource::extension::observe::ImageSeen;
use crate::resource::extension::plan::Situation;

/// Paths of somebody else that are named; how many more there are is said.
const PATHS_TOLD: usize = 5;

/// What of an image is not as it was made and would be lost with it: not what is missing.
pub(super) fn theirs(image: &ImageSeen) -> impl Iterator<Item = &str> {
    let changed = |drift: &&Drift| match drift.kind {
        DriftKind::Extra | DriftKind::Modified | DriftKind::TypeChanged | DriftKind::Retargeted => {
            true
        }
        DriftKind::Missing | DriftKind::ModeChanged | DriftKind::NotMerged => false,
    };
    image.drift.iter().filter(changed).map(|drift| drift.path.as_ref())
}

/// Paths in one line.
pub(super) fn list(paths: &[&str]) -> String {
    let mut text = paths.iter().take(PATHS_TOLD).copied().collect::<Vec<_>>().join(", ");
    let more = paths.len().saturating_sub(PATHS_TOLD);
    if more > 0 {
        let _ = write!(text, " and {more} more");
    }
    text
}

impl Situation<'_> {
    /// What is said of that where old images go, and those of transfers that are switched off.
    pub(super) fn takes_along(&self, keep: Option<&str>) -> String {
        let surplus = self.surplus(keep);
        let images = |version| self.observed.images(version).flatten();
        let old = surplus.iter().flat_map(|version| images(version));
        let retired = self.spec.retired.iter().zip(&self.observed.retired);
        let off = retired.flat_map(|pair| self.retired_of(pair)).map(|(_, image)| image);
        let paths: Vec<&str> = old.chain(off).flat_map(theirs).collect();
        match paths.as_slice() {
            [] => String::new(),
            [_] => format!("; {} goes as well, which is not reconcile's own", list(&paths)),
            _ => format!("; {} go as well, which are not reconcile's own", list(&paths)),
        }
    }
}
