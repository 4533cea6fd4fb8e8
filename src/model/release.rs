//! What a source offers: releases and their files.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{Digest, Version};

/// One version at a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Release {
    /// The version, with the tag's prefix removed.
    pub version: Version,
    /// The tag exactly as published; the name of the release directory is made from it.
    pub tag: String,
    /// The source itself says that this is a prerelease.
    #[serde(default)]
    pub prerelease: bool,
    /// When the source says it was published.
    #[serde(default)]
    pub published: Option<Timestamp>,
    /// Its files.
    pub artifacts: Vec<Artifact>,
}

/// One downloadable file of a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Artifact {
    /// File name, without any directory.
    pub name: String,
    /// Where to get it: `https:`, `http:` or `file:`, in order of preference (mirrors first).
    pub urls: Vec<String>,
    /// Size in bytes, when the source states it.
    #[serde(default)]
    pub size: Option<u64>,
    /// The digest the source's own API states.
    #[serde(default)]
    pub digest: Option<Digest>,
    /// SHA-256 of the program inside, where the source states that instead, as updaters of single programs do.
    /// Such an artifact is one program, packed or not, and the only one of its release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Digest>,
}

/// How well bytes are vouched for, weakest first.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Nothing is checked.
    None,
    /// The connection was authenticated, the bytes were not.
    Tls,
    /// The same bytes as the first time they were seen from this source.
    Lock,
    /// A checksum file published beside the artifact.
    Checksum,
    /// The digest that the forge's API states.
    ForgeDigest,
    /// A signature by a key named in the desired state.
    Signature,
    /// A digest written in the desired state.
    Digest,
}

impl Level {
    /// The name used in YAML and output.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Tls => "tls",
            Self::Lock => "lock",
            Self::Checksum => "checksum",
            Self::ForgeDigest => "forge-digest",
            Self::Signature => "signature",
            Self::Digest => "digest",
        }
    }
}

/// What the bytes must be, and who says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// The strongest level reached.
    pub level: Level,
    /// Every digest the bytes must have; empty for `none`, `tls` and the first `lock`.
    pub digests: Vec<Digest>,
    /// Which bytes.
    #[serde(default, skip_serializing_if = "Subject::is_artifact")]
    pub of: Subject,
    /// Who said so, for people: `SHA256SUMS of the release`, `the GitHub API`.
    pub stated_by: String,
    /// Fingerprint of the primary OpenPGP key that signed the checksums of an app's release, or a tree's index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
}

/// What the digests of an [`Evidence`] are of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// The artifact as it is downloaded.
    #[default]
    Artifact,
    /// The program inside it: checked while it is unpacked, before anything is promoted.
    Program,
}

impl Subject {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde calls")]
    fn is_artifact(&self) -> bool {
        *self == Self::Artifact
    }
}
