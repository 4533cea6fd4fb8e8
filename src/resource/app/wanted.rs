//! What resolving came to: the one release an app is to be on.

use crate::model::ledger::Owned;
use crate::model::{Artifact, Delta, Digest, Evidence, Version};
use crate::resource::app::layout::parse_link;
use crate::resource::app::{AppObserved, AppSpec};
use crate::resource::decision::SlotState;

/// The release to be on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its version.
    pub version: Version,
    /// The tag as published.
    pub tag: String,
    /// The name of its directory.
    pub slot: String,
    /// How to get it; `None` when it is there already, or cannot be had.
    pub offer: Option<Offer>,
    /// An operator went back to it.
    pub rolled_back: Option<String>,
    /// It is in use and only kept whole until something else can be had or may be: an edit of how releases are made is
    /// about the next one.
    pub as_is: bool,
    /// Why its directory is made anew although it is there and whole.
    pub anew: Option<String>,
}

/// How to get a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The file.
    pub artifact: Artifact,
    /// What its bytes must be.
    pub evidence: Evidence,
    /// The cache holds the bytes.
    pub cached: bool,
    /// A shorter way.
    pub delta: Option<Box<Delta>>,
}

impl Offer {
    /// Bytes to transfer, as far as the source says, and bytes that are here already.
    pub fn bytes(&self) -> (Option<u64>, u64) {
        match &self.delta {
            _ if self.cached => (Some(0), self.artifact.size.unwrap_or(0)),
            None => (self.artifact.size, 0),
            Some(delta) => match &delta.patch {
                None => (Some(0), delta.base_bytes),
                Some(patch) => (patch.bytes, 0),
            },
        }
    }
}

/// Judges the directory `slot`.
pub fn slot_state(
    spec: &AppSpec,
    observed: &AppObserved,
    owned: Option<&Owned>,
    slot: &str,
    arch: &str,
) -> SlotState {
    let Some(found) = observed.slots.get(slot) else { return SlotState::Missing };
    let Some(manifest) = &found.manifest else {
        let named = |slots: &[String]| slots.iter().any(|s| s == slot);
        let adopted = owned.is_some_and(|owned| named(&owned.adopted));
        let activated = owned.is_some_and(|owned| named(&owned.activated));
        let linked = observed.linked_slots().contains(slot);
        // Among releases of ours, one without a manifest has lost it.
        let among_ours = linked && observed.slots.values().any(|slot| slot.manifest.is_some());
        return if (activated || among_ours) && !adopted {
            SlotState::Damaged
        } else if activated && spec.file.is_some() {
            // Nobody knows what of it is the program.
            SlotState::Outdated("an earlier updater made it".to_owned())
        } else if (activated || linked) && !found.drift.is_empty() {
            SlotState::Damaged
        } else if (activated || linked) && links_hold(observed, slot) {
            SlotState::Adopted
        } else {
            SlotState::Foreign
        };
    };
    if let Some(why) =
        outdated(spec, (&manifest.recipe, &manifest.digest, &manifest.evidence), arch)
    {
        return SlotState::Outdated(why);
    }
    if found.drift.is_empty() { SlotState::Whole } else { SlotState::Damaged }
}

/// Why a release that was made of this is not made as the wish says now.
pub fn outdated(
    spec: &AppSpec,
    (recipe, digest, evidence): (&Digest, &Digest, &Evidence),
    arch: &str,
) -> Option<String> {
    if *recipe != spec.recipe {
        return Some("source, asset, strip or binaries were edited".to_owned());
    }
    if let Some(min) = spec.verify.demanded().filter(|min| evidence.level < *min) {
        let level = evidence.level.name();
        return Some(format!("it was verified by {level}, now {} is demanded", min.name()));
    }
    let pinned = spec.verify.pinned.iter().filter(|p| p.arch.as_deref().is_none_or(|a| a == arch));
    let mut same_algorithm = pinned.filter(|p| p.digest.algorithm() == digest.algorithm());
    same_algorithm.any(|p| p.digest != *digest).then(|| "the pinned digest was edited".to_owned())
}

/// Whether every link into a directory without manifest leads to a program there.
fn links_hold(observed: &AppObserved, slot: &str) -> bool {
    let links = observed.bin.iter().flat_map(|bin| bin.links.values());
    let mut into_it = links.filter_map(|text| parse_link(text)).filter(|(s, _)| *s == slot);
    let found = observed.slots.get(slot);
    into_it.all(|(_, path)| found.is_some_and(|found| found.executables.iter().any(|e| e == path)))
}
