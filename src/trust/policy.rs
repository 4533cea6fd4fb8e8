//! The verification policy of a resource.

use camino::Utf8PathBuf;
use serde::Serialize;

use crate::model::{Digest, Level};

/// What evidence a resource demands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Policy {
    /// The weakest acceptable level; `None` is `auto`, the default of the kind of source.
    pub min: Option<Level>,
    /// Digests written in the desired state: for every architecture, or for one.
    pub pinned: Vec<PinnedDigest>,
    /// Where the checksum file is.
    pub checksums: Checksums,
    /// Keyring on this machine one of whose keys must have signed the checksum file.
    pub gpg: Option<Utf8PathBuf>,
}

impl Policy {
    /// The weakest level that the desired state accepts, where it says anything about that.
    pub fn demanded(&self) -> Option<Level> {
        self.min.max(self.gpg.as_ref().map(|_| Level::Signature))
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self { min: None, pinned: Vec::new(), checksums: Checksums::Auto, gpg: None }
    }
}

/// A digest written in the desired state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PinnedDigest {
    /// Only for this architecture (`x86_64`, `aarch64`); for all when absent.
    pub arch: Option<String>,
    /// The digest of the artifact.
    pub digest: Digest,
}

/// Where the checksum file of a release is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Checksums {
    /// Found by the usual names.
    Auto,
    /// Not looked for.
    None,
    /// A file of the release: an exact name, with `{version}`, `{tag}`, `{asset}`, `{arch}`.
    Named(String),
    /// A file of the release whose name matches, unanchored; the first in the source's order.
    Matching(String),
}
