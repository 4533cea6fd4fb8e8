//! The directories of the cache, each of which can go at any time.

use std::path::{Path, PathBuf};

use crate::model::Digest;

/// Whole artifacts by digest.
pub const BLOBS: &str = "blobs";

/// Downloads of artifacts that are not finished.
pub const PARTIAL: &str = "partial";

/// Chunks of trees that are not whole yet.
pub const CHUNKS: &str = "chunks";

/// What sources answered.
pub const DOCUMENTS: &str = "http";

/// Objects of repositories.
pub const GIT: &str = "git";

/// All of them.
pub const ALL: [&str; 5] = [BLOBS, PARTIAL, CHUNKS, DOCUMENTS, GIT];

/// What [`BLOBS`] are named by.
const BLOBS_BY: &str = "sha256";

/// Where on this machine sources and artifacts are kept.
#[derive(Clone, Debug)]
pub struct Cache {
    blobs: PathBuf,
    /// See [`PARTIAL`].
    pub partial: PathBuf,
    /// See [`CHUNKS`].
    pub chunks: PathBuf,
    /// See [`DOCUMENTS`].
    pub documents: PathBuf,
}

impl Cache {
    /// The one below a directory.
    pub fn below(home: &Path) -> Self {
        Self::found(|name| home.join(name))
    }

    /// The one whose directories are where `place` says.
    pub fn found(place: impl Fn(&str) -> PathBuf) -> Self {
        Self {
            blobs: place(&format!("{BLOBS}/{BLOBS_BY}")),
            partial: place(PARTIAL),
            chunks: place(CHUNKS),
            documents: place(DOCUMENTS),
        }
    }

    /// Where the bytes with a digest are, or would be.
    pub fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs.join(digest.hex())
    }
}
