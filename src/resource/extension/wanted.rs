//! What resolving came to: the one release an extension is to be on.

use crate::format::sysupdate::pattern::Fields;
use crate::model::ledger::{Owned, Trust};
use crate::model::{Artifact, Evidence, ResourceId, Version};
use crate::resource::decision::SlotState;
use crate::resource::extension::observe::{ExtensionObserved, ImageSeen};
use crate::resource::extension::spec::{ExtensionSpec, Transfer};

/// The release to be on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedSet {
    /// Its version.
    pub version: Version,
    /// The same as text: the name of its slot.
    pub slot: String,
    /// For each transfer how to get it; `None` when it is there already, or cannot be had.
    pub offers: Vec<Option<FileOffer>>,
    /// An operator went back to it.
    pub rolled_back: Option<String>,
}

/// How to get one file of a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileOffer {
    /// The file.
    pub artifact: Artifact,
    /// What its bytes must be.
    pub evidence: Evidence,
    /// The cache holds the bytes.
    pub cached: bool,
    /// What its name says.
    pub fields: Fields,
}

/// Judges the image of a version for one transfer.
pub fn image_state(
    spec: &ExtensionSpec,
    observed: &ExtensionObserved,
    owned: Option<&Owned>,
    (slot, transfer, image): (&str, &Transfer, Option<&ImageSeen>),
) -> SlotState {
    let Some(image) = image else { return SlotState::Missing };
    let Some(manifest) = &image.manifest else {
        let named = |slots: &[String]| slots.iter().any(|s| s == slot);
        let adopted = match owned {
            Some(owned) => named(&owned.adopted),
            None => observed.is_enlisted() && named(&observed.adopted(None)),
        };
        let activated = owned.is_some_and(|owned| named(&owned.activated));
        let in_use = observed.current.as_deref() == Some(slot);
        return match (adopted, activated, in_use) {
            (true, ..) | (false, false, true) => SlotState::Adopted,
            (false, true, _) => SlotState::Damaged,
            (false, false, false) => SlotState::Foreign,
        };
    };
    if !image.drift.is_empty() {
        return SlotState::Damaged;
    }
    if transfer.class.is_some_and(|class| class != manifest.class) {
        return SlotState::Outdated("it was of another class".to_owned());
    }
    match spec.accepts(transfer, (&manifest.digest, manifest.evidence.level)) {
        Ok(()) => SlotState::Whole,
        Err(why) => SlotState::Outdated(why),
    }
}

/// Whether an installed version is not known to be one that does not work here.
pub fn works(observed: &ExtensionObserved, (id, slot): (&ResourceId, &str), trust: &Trust) -> bool {
    let digests: Vec<_> = observed.manifest(slot).map(|m| m.digest.clone()).into_iter().collect();
    trust.quarantine_of(id, slot, &digests).is_none()
}

/// Whether every image of a version is there and whole.
pub fn is_whole(
    spec: &ExtensionSpec,
    observed: &ExtensionObserved,
    owned: Option<&Owned>,
    slot: &str,
) -> bool {
    let mut images = spec.transfers.iter().zip(observed.images(slot));
    !observed.transfers.is_empty()
        && images.all(|(transfer, image)| {
            !image_state(spec, observed, owned, (slot, transfer, image)).must_be_made()
        })
}
