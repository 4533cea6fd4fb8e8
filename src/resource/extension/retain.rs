//! Which old images are not kept; pure.

use std::cmp::Reverse;

use crate::resource::extension::layout::class_of;
use crate::resource::extension::observe::ImageSeen;
use crate::resource::extension::order::Order;
use crate::resource::extension::pick::Picks;
use crate::resource::extension::plan::Situation;
use crate::resource::extension::spec::{Activate, Transfer, Upkeep};
use crate::resource::extension::wanted::works;

impl Situation<'_> {
    /// Versions whose images are removed once `in_use` is the one in use: ours, older than the `retain` most
    /// recently activated, and neither protected nor merged. Nothing when it is not known what is in use.
    pub(super) fn surplus(&self, in_use: Option<&str>) -> Vec<String> {
        let Some(in_use) = in_use.filter(|_| self.spec.upkeep != Upkeep::Clean) else {
            return Vec::new();
        };
        let (spec, observed) = (self.spec, self.observed);
        let activated = |version: &str| {
            let slots = self.owned.map_or(&[][..], |owned| &owned.activated);
            slots.iter().rposition(|slot| slot == version)
        };
        let is_ours = self.ours();
        let versions = observed.versions();
        let order = Order::of(spec.order, versions.iter().copied());
        let mut ours: Vec<&str> =
            versions.into_iter().filter(|v| *v != in_use && is_ours(v)).collect();
        ours.sort_by(|a, b| {
            let left_now = |version: &str| observed.current.as_deref() == Some(version);
            // One that did not work is not what anybody goes back to, whoever brought it into sight again.
            let key = |version: &str| {
                Reverse((self.works(version), left_now(version), activated(version)))
            };
            key(a).cmp(&key(b)).then_with(|| order.compare(b, a))
        });
        let others_kept = spec.retain.saturating_sub(1) as usize;
        // Until the next boot the image before is the one that is merged.
        let others_kept = others_kept.max(usize::from(spec.activate == Activate::Boot));
        let protected = |version: &&str| spec.protect.iter().any(|p| p == version);
        let merged = |version: &&str| {
            let mut files = spec.transfers.iter().zip(&observed.transfers);
            files.any(|(transfer, seen)| {
                let image = seen.images.get(*version);
                let Some((class, image)) = transfer.class.zip(image) else { return false };
                if self.unmerges(transfer) {
                    return false;
                }
                let path = seen.path_of(image);
                if observed.has_open(&path) {
                    return true;
                }
                observed.is_merged(class, &own_names(image))
            })
        };
        let surplus = ours.into_iter().skip(others_kept);
        surplus.filter(|v| !protected(v) && !merged(v)).map(str::to_owned).collect()
    }

    /// Hides what goes from systemd, where it is merged and nothing else would end that, before the rest is merged. It
    /// is there until the release in use has shown that it works.
    pub(super) fn hide_surplus(&self, in_use: Option<&str>) -> Picks {
        let (mut picks, surplus) = (Picks::default(), self.surplus(in_use));
        for (transfer, seen) in self.spec.transfers.iter().zip(&self.observed.transfers) {
            let images = surplus.iter().filter_map(|version| seen.images.get(version));
            let is_merged = |image: &&ImageSeen| {
                let class = transfer.class.filter(|_| self.unmerges(transfer));
                class.is_some_and(|class| self.observed.is_merged(class, &own_names(image)))
            };
            picks.hide_all(seen, images.filter(is_merged));
        }
        picks
    }

    /// Whether an installed version is not known to be one that does not work here.
    pub(super) fn works(&self, version: &str) -> bool {
        works(self.observed, (self.id, version), self.trust)
    }

    /// Whether every image of a transfer is an extension of its own, so that old ones are merged until they go; and
    /// whether a pass merges.
    fn unmerges(&self, transfer: &Transfer) -> bool {
        let alone = transfer.link.is_none() && class_of(&transfer.directory).is_some();
        alone && self.is_looked_at()
    }

    /// Tells whether a version is ours: made here, used here, or adopted.
    pub(super) fn ours(&self) -> impl Fn(&str) -> bool {
        let (observed, owned) = (self.observed, self.owned);
        let adopted = observed.adopted(owned);
        // Where names begin alike, one of another extension may look like a version of this one.
        let made_here = move |image: &ImageSeen| {
            image.manifest.as_ref().is_some_and(|manifest| manifest.head.resource == *self.id)
        };
        // One that was in use here may have been made under another name.
        let was_used = move |version: &str| {
            let activated = owned.map_or(&[][..], |owned| &owned.activated);
            activated.iter().any(|slot| slot == version) && observed.manifest(version).is_some()
        };
        move |version: &str| {
            was_used(version)
                || observed.images(version).flatten().any(made_here)
                || adopted.iter().any(|slot| slot == version)
        }
    }
}

/// How systemd may write the name of an image's file.
fn own_names(image: &ImageSeen) -> [String; 2] {
    let stem = image.base().strip_suffix(".raw").unwrap_or(image.base());
    [image.base().to_owned(), stem.to_owned()]
}
