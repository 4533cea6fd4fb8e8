//! What resolving came to: the one release an extension is to be on.

use crate::format::sysupdate::pattern::Fields;
use crate::model::ledger::{Owned, Trust};
use crate::model::{Artifact, Digest, Evidence, ResourceId, Version};
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

impl WantedSet {
    /// What names its bytes, as [`digests_of`] says.
    pub fn digests(&self, observed: &ExtensionObserved) -> Vec<Digest> {
        let images = observed.images(&self.slot).enumerate();
        digests_of(images.map(|(index, image)| {
            let offer = self.offers.get(index).and_then(Option::as_ref);
            match offer {
                Some(offer) => offer.evidence.digests.first().cloned(),
                None => Some(image?.manifest.as_ref()?.digest.clone()),
            }
        }))
    }
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

/// What names the bytes of a release: the digest of its file, or one of the digests of all its files, as one of them may be
/// in other releases as well. Where not all are known, those that are.
pub fn digests_of(files: impl Iterator<Item = Option<Digest>>) -> Vec<Digest> {
    let files: Vec<Option<Digest>> = files.collect();
    let known: Vec<Digest> = files.iter().flatten().cloned().collect();
    if files.len() > 1 && known.len() == files.len() {
        return vec![Digest::of_json(&known)];
    }
    known
}

/// Whether an installed version is not known to be one that does not work here.
pub fn works(observed: &ExtensionObserved, (id, slot): (&ResourceId, &str), trust: &Trust) -> bool {
    trust.quarantine_of(id, slot, &observed.digests(slot)).is_none()
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
