//! What the release in use was made of, known also where it is lost.

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

use crate::model::extension::ImageManifest;
use crate::model::{Artifact, Digest, Evidence, Manifest, Subject};

/// What a release was made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Accepted {
    /// The name of its directory; of an image its version.
    pub slot: String,
    /// The tag as published.
    pub tag: String,
    /// Digest of everything in the wish that decided what it holds.
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

    /// What it was made of as it is fetched from the cache: no place, and the digest that the cache has it by.
    pub fn from_cache(self) -> (Artifact, Evidence) {
        let artifact = Artifact {
            name: self.artifact,
            urls: Vec::new(),
            size: self.size,
            digest: None,
            content: None,
        };
        // The cache holds bytes that have this digest themselves, whatever it was stated of.
        let of = Subject::Artifact;
        (artifact, Evidence { digests: vec![self.digest], of, ..self.evidence })
    }

    /// Every digest that its bytes have.
    pub fn digests(&self) -> impl Iterator<Item = &Digest> {
        std::iter::once(&self.digest).chain(&self.evidence.digests)
    }
}

/// What an image was made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptedImage {
    /// Where it is.
    pub path: Utf8PathBuf,
    /// What it was made of.
    #[serde(flatten)]
    pub made: Accepted,
}

impl AcceptedImage {
    /// What an image that is there says of itself.
    pub fn of(manifest: &ImageManifest) -> Self {
        let ImageManifest { head, artifact, digest, evidence, .. } = manifest;
        let version = head.version.to_string();
        let made = Accepted {
            slot: version.clone(),
            tag: version,
            recipe: head.recipe.clone(),
            artifact: artifact.clone(),
            digest: digest.clone(),
            size: Some(manifest.artifact_size),
            evidence: evidence.clone(),
        };
        Self { path: head.path.clone(), made }
    }
}
