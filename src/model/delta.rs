//! Shorter ways to a program than its whole artifact: from one that is installed.

use camino::Utf8PathBuf;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{Artifact, Digest};

/// How to make the program of a release from one that is here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Delta {
    /// The program that is here.
    #[schemars(with = "String")]
    pub base: Utf8PathBuf,
    /// Its SHA-256, checked before anything is made of it.
    pub base_digest: Digest,
    /// Its size in bytes.
    pub base_bytes: u64,
    /// What to do with it; absent when it is the wanted program already.
    pub patch: Option<Patch>,
    /// SHA-256 of what must come of it.
    pub makes: Digest,
    /// What to do when that does not go well.
    pub fallback: Fallback,
}

/// A published patch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Patch {
    /// The file; its digest where the source states one.
    pub artifact: Artifact,
    /// Its format.
    pub format: PatchFormat,
    /// Its size in bytes as far as was said before it is fetched; for people.
    pub bytes: Option<u64>,
}

/// Formats of patches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PatchFormat {
    /// `BSDIFF40`.
    Bsdiff,
    /// As `zstd --patch-from` makes it.
    Zstd,
}

/// What to do when a patch cannot be had, does not apply or makes other bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Fallback {
    /// Get the whole artifact, with a note.
    #[default]
    Full,
    /// Get the whole artifact when it has at most so many bytes.
    Limit(u64),
    /// Fail.
    Fail,
}
