//! Why a tree could not be published, or a store not cleaned.

use std::io;

use camino::Utf8PathBuf;

use crate::format::casync::catar::EncodeError;
use crate::format::casync::index::IndexError;
use crate::format::casync::packs::PackListError;

/// Why a tree could not be published, or a store not cleaned.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// A patch could not be made.
    #[error("cannot make a delta; publish without `--delta-from`")]
    Delta {
        /// Why.
        #[source]
        source: Box<crate::format::zstd_delta::ZstdDeltaError>,
    },
    /// A chunk of the store is not what its name says.
    #[error(
        "cannot make a delta: the store is damaged; repair it, or publish without `--delta-from`"
    )]
    Chunk {
        /// Why.
        #[source]
        source: crate::format::casync::chunk::ChunkError,
    },
    /// Something of the tree cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// What.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file was written to while it was read.
    #[error("{path} changed while it was read: publish again when nobody writes to the tree")]
    Changed {
        /// The file.
        path: String,
    },
    /// A node that no archive can hold.
    #[error("cannot publish {path}")]
    Encode {
        /// The node.
        path: String,
        /// Why.
        #[source]
        source: EncodeError,
    },
    /// A `.caexclude` file that casync would not understand either.
    #[error("line {line} of {path} is no pattern: use `name`, `a/b`, `dir/` or `!name`")]
    Exclude {
        /// The file.
        path: String,
        /// From 1.
        line: usize,
    },
    /// The store or a file beside the index cannot be written.
    #[error("cannot write {path}")]
    Write {
        /// What.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Publishing would publish what is being published.
    #[error("{path} is inside {tree}, which is published: put the index and its store elsewhere")]
    Inside {
        /// The index or the store.
        path: Utf8PathBuf,
        /// The directory.
        tree: Utf8PathBuf,
    },
    /// Chunks cannot be compressed.
    #[error("cannot compress a chunk at level {level}")]
    Compress {
        /// zstd's level.
        level: i32,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The store is being cleaned, or the index published by somebody else.
    #[error(
        "somebody else is publishing or removing chunks and has locked {path}: try again later"
    )]
    Busy {
        /// What is locked.
        path: Utf8PathBuf,
    },
    /// The index is signed, and no key was named.
    #[error(
        "publishing {index}: it is signed, and clients would refuse it without --sign; name the key, or remove \
         {signature} if nobody asks for it"
    )]
    Unsigned {
        /// The index.
        index: Utf8PathBuf,
        /// Its signature.
        signature: Utf8PathBuf,
    },
    /// gpg did not sign the index.
    #[error("cannot sign the index {path}, so it was not published; check that gpg has the key")]
    Sign {
        /// The index.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: Box<crate::publish::SignError>,
    },
    /// The index cannot be written.
    #[error("cannot make the index")]
    Index(#[source] IndexError),
    /// An index that says what to keep cannot be read.
    #[error("cannot read the index {path}, so nothing was removed")]
    ReadIndex {
        /// The index.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: IndexError,
    },
    /// The list of packs cannot be read or made.
    #[error("cannot use the list of packs {path}")]
    PackList {
        /// The list.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: PackListError,
    },
    /// A configuration that says nothing usable.
    #[error("cannot use the configuration {path}: {why}")]
    Config {
        /// The file.
        path: Utf8PathBuf,
        /// What is wrong and where.
        why: String,
    },
}
