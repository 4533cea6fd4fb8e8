//! Images of which systemd picks the newest by itself, and what hides the newer ones from it; pure.
//!
//! No link says which image of such a directory is in use. So a newer one than the one to be on is kept under a name that
//! systemd passes over: nothing is lost, and showing it again is one rename.

use camino::{Utf8Path, Utf8PathBuf};

use crate::model::extension::ImageMove;
use crate::model::{BlockedReason, Step};
use crate::resource::decision::Problem;
use crate::resource::extension::layout::hidden;
use crate::resource::extension::observe::{ImageSeen, TransferObserved};
use crate::resource::extension::order::Order;
use crate::resource::extension::plan::Situation;
use crate::resource::extension::spec::Transfer;
use crate::resource::extension::steps::is_in_sight;
use crate::resource::extension::wanted::WantedSet;

/// What is shown and hidden so that systemd picks a version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Picks {
    shows: Vec<ImageMove>,
    hides: Vec<ImageMove>,
}

impl Picks {
    /// Whether nothing comes into sight.
    pub(super) fn only_hide(&self) -> bool {
        self.shows.is_empty()
    }

    /// Whether nothing moves.
    pub(super) fn is_empty(&self) -> bool {
        self.shows.is_empty() && self.hides.is_empty()
    }

    /// Shows an image that is hidden, or was made hidden.
    pub(super) fn show(&mut self, directory: &Utf8Path, file: &str) {
        let (place, aside) = places(directory, file);
        self.shows.push(ImageMove { from: aside, to: place });
    }

    /// Hides an image that is in sight.
    pub(super) fn hide(&mut self, directory: &Utf8Path, file: &str) {
        let (place, aside) = places(directory, file);
        self.hides.push(ImageMove { from: place, to: aside });
    }

    /// Hides those of some images that are in sight.
    pub(super) fn hide_all<'i>(
        &mut self,
        seen: &TransferObserved,
        images: impl Iterator<Item = &'i ImageSeen>,
    ) {
        for image in images.filter(|image| is_in_sight(seen, image)) {
            self.hide(&seen.directory, &image.file);
        }
    }

    /// Whether an image is hidden at a place.
    pub(super) fn hides(&self, aside: &Utf8Path) -> bool {
        self.hides.iter().any(|hidden| hidden.to == aside)
    }

    /// The same, and then others.
    pub(super) fn then(mut self, others: Self) -> Self {
        self.shows.extend(others.shows);
        for hidden in others.hides {
            if !self.hides.contains(&hidden) {
                self.hides.push(hidden);
            }
        }
        self
    }

    /// What takes all of it back.
    pub(super) fn back(&self) -> Self {
        let back = |moves: &[ImageMove]| {
            moves.iter().map(|m| ImageMove { from: m.to.clone(), to: m.from.clone() }).collect()
        };
        Self { shows: back(&self.hides), hides: back(&self.shows) }
    }

    /// The step that does it, if there is anything to do.
    pub(super) fn step(self, slot: &str) -> Option<Step> {
        let slot = slot.to_owned();
        (!self.is_empty()).then_some(Step::Pick { slot, shows: self.shows, hides: self.hides })
    }
}

/// The place of an image, and where it is hidden.
fn places(directory: &Utf8Path, file: &str) -> (Utf8PathBuf, Utf8PathBuf) {
    (directory.join(file), hidden(directory, file))
}

impl Situation<'_> {
    /// Hides what systemd would pick instead of `wanted`; an obstacle where it is somebody else's, or where nobody here
    /// decides what is used.
    pub(super) fn hide_newer(
        &self,
        transfer: &Transfer,
        seen: &TransferObserved,
        (wanted, picks): (&WantedSet, &mut Picks),
    ) -> Result<(), Problem> {
        // systemd-sysupdate installs an older version beside a newer one, and so do we in its place.
        let is_asked = self.spec.follows.is_none() || wanted.rolled_back.is_some();
        if transfer.link.is_some() || !is_asked {
            return Ok(());
        }
        let is_ours = self.ours();
        for (version, image) in self.newer((transfer, seen), &wanted.slot) {
            if !is_ours(version) {
                let message = format!(
                    "systemd picks the newest image of {}, which is {} and was not put there by reconcile, so that {} \
                     would not be used; move it away",
                    transfer.directory, image.file, wanted.slot
                );
                let foreign = Problem::foreign(message);
                let reason = wanted.rolled_back.as_ref().map(|_| BlockedReason::RolledBack);
                return Err(Problem { reason: reason.unwrap_or(foreign.reason), ..foreign });
            }
            picks.hide(&transfer.directory, &image.file);
        }
        Ok(())
    }

    /// What makes systemd pick a release that is there, as far as that is ours to say.
    pub(super) fn pick_again(&self, slot: &str) -> Picks {
        let (mut picks, is_ours) = (Picks::default(), self.ours());
        let pairs = self.spec.transfers.iter().zip(&self.observed.transfers);
        for (transfer, seen) in pairs.filter(|(transfer, _)| transfer.is_picked()) {
            let Some(image) = seen.images.get(slot) else { continue };
            if image.hidden {
                picks.show(&transfer.directory, &image.file);
            }
            let newer = self.newer((transfer, seen), slot);
            for (_, image) in newer.filter(|(version, _)| is_ours(version)) {
                picks.hide(&transfer.directory, &image.file);
            }
        }
        picks
    }

    /// What makes systemd pick the release in use, after everything was put back.
    pub(super) fn pick_in_place(&self, slot: &str) -> Picks {
        let mut picks = Picks::default();
        let pairs = self.spec.transfers.iter().zip(&self.observed.transfers);
        for (transfer, seen) in pairs.filter(|(transfer, _)| transfer.is_picked()) {
            if let Some(image) = seen.images.get(slot).filter(|image| !image.hidden) {
                picks.show(&transfer.directory, &image.file);
            }
        }
        picks
    }

    /// Images in sight that are newer than a version, as whoever picks one of them sees it.
    fn newer<'s>(
        &self,
        (transfer, seen): (&Transfer, &'s TransferObserved),
        slot: &str,
    ) -> impl Iterator<Item = (&'s str, &'s ImageSeen)> {
        let versions = seen.images.keys().map(String::as_str);
        let order = Order::of(transfer.order_in_use(self.spec.order), versions.chain([slot]));
        let slot = slot.to_owned();
        let in_sight = seen.images.iter().filter(|(_, image)| !image.hidden);
        in_sight
            .map(|(version, image)| (version.as_str(), image))
            .filter(move |(version, _)| order.compare(version, &slot).is_gt())
    }
}
