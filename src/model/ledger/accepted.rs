//! What the release in use of an app was made of, known also where its directory is lost.

use serde::{Deserialize, Serialize};

use crate::model::{Digest, Evidence, Manifest};

/// What a release was made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Accepted {
    /// The name of its directory.
    pub slot: String,
    /// The tag as published.
    pub tag: String,
    /// Digest of everything in the wish that decided what the directory holds.
    pub recipe: Digest,
    /// The artifact's file name.
    pub artifact: String,
    /// Digest of what was accepted.
    pub digest: Digest,
    /// Size of the artifact in bytes, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Why it was accepted.
    pub evidence: Evidence,
}

impl Accepted {
    /// What a release that is there says of itself.
    pub fn of(slot: &str, manifest: &Manifest) -> Self {
        Self {
            slot: slot.to_owned(),
            tag: manifest.tag.clone(),
            recipe: manifest.recipe.clone(),
            artifact: manifest.artifact.clone(),
            digest: manifest.digest.clone(),
            size: Some(manifest.size),
            evidence: manifest.evidence.clone(),
        }
    }

    /// Every digest that its bytes have.
    pub fn digests(&self) -> impl Iterator<Item = &Digest> {
        std::iter::once(&self.digest).chain(&self.evidence.digests)
    }
}
