//! The directories of the cache, each of which can go at any time.

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
