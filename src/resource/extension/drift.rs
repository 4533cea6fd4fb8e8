//! What somebody else changed of an extension; pure.

use crate::format::sysupdate::pattern::Fields;
use crate::model::{Drift, DriftKind};
use crate::resource::extension::observe::{LinkSeen, TransferObserved};
use crate::resource::extension::plan::Situation;
use crate::resource::extension::spec::Transfer;
use crate::resource::extension::wanted::WantedSet;

impl Situation<'_> {
    /// Differences of what was made the one in use last.
    pub(super) fn image_drift(
        &self,
        transfer: &Transfer,
        seen: &TransferObserved,
        wanted: &WantedSet,
    ) -> Vec<Drift> {
        let mut drift = Vec::new();
        let image = seen.images.get(&wanted.slot);
        drift.extend(image.iter().flat_map(|image| image.drift.clone()));
        // What was put back, as a part of it did not work, is not linked any more.
        let withdrawn = self.observed.current.is_none() && !self.works(&wanted.slot);
        if withdrawn || !self.was_in_use(&wanted.slot) || self.is_new(seen) {
            return drift;
        }
        let missing = |path: String, expected: String| Drift {
            path,
            kind: DriftKind::Missing,
            expected,
            found: "nothing".to_owned(),
        };
        if image.is_none_or(|image| image.hidden) {
            let fields = Fields { version: wanted.slot.clone(), ..Fields::default() };
            let name = transfer.target.first().and_then(|pattern| pattern.name(&fields).ok());
            let name = image.map(|image| image.file.clone()).or(name);
            let place = seen.directory.join(name.unwrap_or_else(|| wanted.slot.clone()));
            drift.push(missing(place.to_string(), "regular file".to_owned()));
        }
        let expected = image.and_then(|image| transfer.link_text(&image.file));
        if let (Some(link), Some(expected)) = (&transfer.link, expected) {
            let expected_text = format!("-> {expected}");
            match &seen.there {
                LinkSeen::Text(now)
                    if transfer.linked_file(now) == image.map(|image| image.file.clone()) => {}
                LinkSeen::Text(now) => drift.push(Drift {
                    path: link.to_string(),
                    kind: DriftKind::Retargeted,
                    expected: expected_text,
                    found: format!("-> {now}"),
                }),
                LinkSeen::Nothing => drift.push(missing(link.to_string(), expected_text)),
                LinkSeen::Other(kind) => drift.push(Drift {
                    path: link.to_string(),
                    kind: DriftKind::TypeChanged,
                    expected: expected_text,
                    found: kind.to_string(),
                }),
            }
        }
        drift
    }

    /// Everything that differs from the release that was made the one in use last.
    pub fn drift(&self) -> Vec<Drift> {
        let last = self.owned.and_then(|owned| owned.activated.last()).map(String::as_str);
        let slot = last.or(self.observed.current.as_deref());
        let Some((slot, version)) = slot.and_then(|s| Some((s, self.observed.version_of(s)?)))
        else {
            return Vec::new();
        };
        let slot = slot.to_owned();
        let not_merged = self.not_merged(&slot).into_iter().map(|(_, drift)| drift);
        let wanted = WantedSet { version, slot, offers: Vec::new(), rolled_back: None };
        let pairs = self.spec.transfers.iter().zip(&self.observed.transfers);
        let drift = pairs.flat_map(|(transfer, seen)| self.image_drift(transfer, seen, &wanted));
        drift.chain(not_merged).collect()
    }

    /// Whether this release is the one that was made the one in use last.
    fn was_in_use(&self, slot: &str) -> bool {
        let last = self.owned.and_then(|owned| owned.activated.last()).map(String::as_str);
        last.or(self.observed.current.as_deref()) == Some(slot)
    }

    /// Whether a transfer came into the wish after the release in use was installed: nothing of it is there, and
    /// what others have in use was made for another wish.
    pub(super) fn is_new(&self, seen: &TransferObserved) -> bool {
        if !seen.images.is_empty() || seen.there != LinkSeen::Nothing {
            return false;
        }
        let recipe = self.spec.recipe();
        let made_before = |other: &TransferObserved| {
            let manifest = other.linked_image().and_then(|(_, image)| image.manifest.as_ref());
            manifest.is_some_and(|manifest| manifest.head.recipe != recipe)
        };
        self.observed.transfers.iter().any(made_before)
    }
}
