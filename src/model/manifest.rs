//! What one installed release consists of: written into the release directory when it is made.

use std::fmt;

use camino::Utf8Path;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::model::{Digest, Evidence, Version};

/// Name of the manifest inside a release directory.
pub const MANIFEST_NAME: &str = ".reconcile.json";

/// Name of the list inside a release directory that was there before us.
pub const TAKEN_OVER_NAME: &str = ".reconcile-taken-over.json";

/// Version of the manifest's own format.
pub const MANIFEST_FORMAT: u32 = 1;

/// A release as it was unpacked. It travels with the directory, so it is there exactly when the
/// directory is, and it marks the directory as ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// [`MANIFEST_FORMAT`].
    pub format: u32,
    /// The resource it was made for, `app/ripgrep`.
    pub resource: String,
    /// The version.
    pub version: Version,
    /// The tag as published.
    pub tag: String,
    /// Digest of everything in the desired state that decided what the directory holds: where it came
    /// from, which file, how it was unpacked. Another recipe means another directory.
    pub recipe: Digest,
    /// The artifact's file name.
    pub artifact: String,
    /// SHA-256 of the artifact.
    pub digest: Digest,
    /// Size of the artifact in bytes.
    pub size: u64,
    /// Why the artifact was accepted.
    pub evidence: Evidence,
    /// When it was staged.
    pub staged_at: Timestamp,
    /// Names to link in `bin`, each with the path it points to inside the release.
    pub binaries: Vec<Binary>,
    /// Every entry except the manifest itself, sorted by path; parents before children.
    pub entries: Vec<Entry>,
}

/// What a release directory held that was there before us when it was taken over: what it should have held is not known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenOver {
    /// [`MANIFEST_FORMAT`].
    pub format: u32,
    /// When it was listed.
    pub at: Timestamp,
    /// As in a manifest.
    pub entries: Vec<Entry>,
}

impl AsRef<Digest> for Manifest {
    fn as_ref(&self) -> &Digest {
        &self.digest
    }
}

/// One program of a release.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Binary {
    /// Name of the link.
    pub name: String,
    /// Path of the program, relative to the release directory.
    pub path: String,
}

impl Binary {
    /// The program that belongs in the place of `file`: the only one, or the one of that name.
    pub fn in_place_of<'b>(programs: &'b [Self], file: &Utf8Path) -> Option<&'b Self> {
        match programs {
            [only] => Some(only),
            several => {
                several.iter().find(|program| Some(program.name.as_str()) == file.file_name())
            }
        }
    }
}

/// One file, directory or link of a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Entry {
    /// Path relative to the release directory; the first key.
    pub path: String,
    /// Type and content.
    #[serde(flatten)]
    pub kind: EntryKind,
}

/// Read by hand because `flatten` copies every key and value first: manifests are most of what a pass with
/// nothing to do reads.
impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntryVisitor)
    }
}

struct EntryVisitor;

impl<'de> Visitor<'de> for EntryVisitor {
    type Value = Entry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of `path` and a type")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entry, A::Error> {
        let Some(("path", path)) = map.next_entry::<&str, String>()? else {
            return Err(de::Error::custom("`path` is the first key of an entry"));
        };
        let kind = EntryKind::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Entry { path, kind })
    }
}

/// Type and content of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EntryKind {
    /// A regular file.
    File {
        /// Permission bits.
        mode: u32,
        /// Size in bytes.
        size: u64,
        /// Modification time in seconds since 1970, as set by us.
        mtime: i64,
        /// SHA-256 of the content, hexadecimal.
        sha256: String,
    },
    /// A directory.
    Dir {
        /// Permission bits.
        mode: u32,
    },
    /// A symbolic link.
    Link {
        /// Its text.
        target: String,
    },
}
