//! What somebody else changed about an app; pure.

use std::collections::BTreeMap;

use crate::model::manifest::MANIFEST_NAME;
use crate::model::slot::tag_of_slot;
use crate::model::{Drift, DriftKind};
use crate::resource::app::layout::Layout;
use crate::resource::app::links::texts;
use crate::resource::app::plan::Situation;
use crate::resource::app::wanted::Wanted;
use crate::resource::decision::SlotState;

impl Situation<'_> {
    /// Everything that differs from the release that was made the one in use last.
    pub fn drift(&self) -> Vec<Drift> {
        let Some(slot) = self.last().or(self.observed.current()) else {
            return self.drift_of_recognised().into_iter().collect();
        };
        let tag = tag_of_slot(slot);
        let tags = &self.spec.version.tag;
        let Some(version) = self.observed.version_of(slot, tags) else { return Vec::new() };
        let slot = slot.to_owned();
        let (offer, rolled_back, anew) = (None, None, None);
        let wanted = Wanted { version, tag, slot, offer, rolled_back, as_is: false, anew };
        let state = self.state(&wanted);
        let mut drift = self.slot_drift(&wanted, &state);
        if let Some(file) = &self.observed.file {
            drift.extend(self.file_drift(file, &wanted));
        } else {
            let links = self.links(&wanted, &state);
            let expected = links.map(|links| texts(&wanted.slot, &links));
            drift.extend(self.link_drift(&wanted, expected.as_ref(), &self.our_links()));
        }
        drift
    }

    /// Differences inside a release directory.
    pub(super) fn slot_drift(&self, wanted: &Wanted, state: &SlotState) -> Vec<Drift> {
        let place = self.layout().slot(&wanted.slot);
        match (state, self.observed.slots.get(&wanted.slot)) {
            (SlotState::Missing, _) if self.was_in_use(&wanted.slot) => {
                vec![missing(place.as_str(), "directory")]
            }
            (SlotState::Damaged, Some(slot))
                if slot.manifest.is_none() && slot.drift.is_empty() =>
            {
                vec![missing(place.join(MANIFEST_NAME).as_str(), "the manifest")]
            }
            (SlotState::Damaged, Some(slot)) => slot.drift.clone(),
            _ => Vec::new(),
        }
    }

    /// Links that somebody else removed or changed since this release was made the one in use; unknown
    /// while it is not known which there should be.
    pub(super) fn link_drift(
        &self,
        wanted: &Wanted,
        expected: Option<&BTreeMap<String, String>>,
        found: &BTreeMap<String, String>,
    ) -> Vec<Drift> {
        let was_there = self.was_in_use(&wanted.slot) && !self.moves();
        let Some(expected) = expected.filter(|_| was_there) else {
            return Vec::new();
        };
        let layout: Layout = self.layout();
        let mut drift = Vec::new();
        for (name, text) in expected {
            let other = self.observed.bin.as_ref().and_then(|bin| bin.others.get(name));
            let (kind, found) = match (found.get(name), other) {
                (Some(now), _) if now == text => continue,
                (Some(now), _) => (DriftKind::Retargeted, format!("-> {now}")),
                (None, Some(other)) => (DriftKind::TypeChanged, other.to_string()),
                (None, None) => (DriftKind::Missing, "nothing".to_owned()),
            };
            let (path, expected) = (layout.bin().join(name).to_string(), format!("-> {text}"));
            drift.push(Drift { path, kind, expected, found });
        }
        for (name, text) in found.iter().filter(|(name, _)| !expected.contains_key(*name)) {
            drift.push(Drift {
                path: layout.bin().join(name).to_string(),
                kind: DriftKind::Extra,
                expected: "nothing".to_owned(),
                found: format!("-> {text}"),
            });
        }
        drift
    }
}

fn missing(path: &str, expected: &str) -> Drift {
    Drift {
        path: path.to_owned(),
        kind: DriftKind::Missing,
        expected: expected.to_owned(),
        found: "nothing".to_owned(),
    }
}
