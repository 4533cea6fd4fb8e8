//! Why a generation could not be made.

use std::io;
use std::path::PathBuf;

use crate::fetch::FetchError;
use crate::format::casync::catar::CatarError;
use crate::format::casync::chunk::{ChunkError, ChunkId};
use crate::format::casync::index::IndexError;
use crate::model::outcome::FailureClass;

/// Why a generation could not be made. What is in use stays in use.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// The index makes no sense.
    #[error("cannot use the index; ask its publisher")]
    Index(#[source] IndexError),
    /// The archive that the chunks make up is no archive, or one that tries to escape.
    #[error("cannot use the archive of this index; ask its publisher")]
    Archive(#[source] CatarError),
    /// An archive of a single file.
    #[error("refused the archive: it holds no directory; ask its publisher for an index of a tree")]
    NotADirectory,
    /// A chunk that no store has or gives.
    #[error("cannot get chunk {id} from any of {} places: {}", .tried.len(), listed(.tried))]
    Chunk {
        /// Which.
        id: ChunkId,
        /// What every place said.
        tried: Vec<Refused>,
    },
    /// The staging directory could not be written.
    #[error("cannot {action} {path} in the staging directory; check free space and permissions")]
    Write {
        /// What was attempted.
        action: &'static str,
        /// On what, below the root of the tree.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file of a generation could not be read or written.
    #[error("cannot {action} {}; check free space and permissions", .path.display())]
    Generation {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// More than is allowed.
    #[error(
        "refused the archive: it has more than {limit} {what}; raise `limits.{setting}` if that is right"
    )]
    TooMuch {
        /// What there is too much of.
        what: &'static str,
        /// The bound.
        limit: u64,
        /// The field to raise it with.
        setting: &'static str,
    },
    /// An update that would remove too much.
    #[error(
        "refused the update: it would remove {removed} of {of} paths, the most allowed is {limit}; if that \
         is meant, raise `max_delete`"
    )]
    Removes {
        /// Paths that would go.
        removed: u64,
        /// Paths in use.
        of: u64,
        /// The bound.
        limit: u64,
    },
    /// An update of which nobody can say what it would remove.
    #[error(
        "refused the update: what is in use cannot be told, because {} cannot be read; to replace the tree \
         all the same, write `max_delete: unlimited`", .path.display()
    )]
    Unlisted {
        /// The list of nodes.
        path: PathBuf,
    },
    /// A path that the system would not take.
    #[error(
        "refused the archive: {path}… is longer than the {limit} bytes of any path; ask its publisher"
    )]
    LongPath {
        /// How it begins.
        path: String,
        /// The bound.
        limit: usize,
    },
    /// The owner that is wished does not exist here.
    #[error(
        "cannot give files to {what} `{name}`: there is none on this host; make it, or write its number"
    )]
    NoAccount {
        /// `user` or `group`.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// The pass was asked to stop.
    #[error("assembling the tree was interrupted")]
    Interrupted,
    /// A thread of ours ended before its time.
    #[error(
        "assembling the tree ended unexpectedly: {0}; this is a defect of this program, so report it"
    )]
    Died(String),
}

/// What one place said about a chunk.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It is not there.
    #[error("{place} does not have it")]
    Missing {
        /// The URL or path.
        place: String,
    },
    /// It is there and cannot be read.
    #[error("{place}: {source}")]
    Unreadable {
        /// The path.
        place: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It could not be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// Something else is there.
    #[error("{place}: {source}")]
    Wrong {
        /// The URL or path.
        place: String,
        /// Why.
        #[source]
        source: ChunkError,
    },
}

fn listed(refused: &[Refused]) -> String {
    refused.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl AssembleError {
    /// What sort of failure this is.
    pub fn class(&self) -> FailureClass {
        match self {
            Self::Index(_) | Self::Archive(_) | Self::NotADirectory | Self::LongPath { .. } => {
                FailureClass::Verification
            }
            Self::Chunk { tried, .. } => {
                let wrong = tried.iter().all(|refused| matches!(refused, Refused::Wrong { .. }));
                if wrong && !tried.is_empty() {
                    FailureClass::Verification
                } else {
                    FailureClass::Transient
                }
            }
            Self::Write { .. } | Self::Generation { .. } | Self::Interrupted => {
                FailureClass::Transient
            }
            Self::TooMuch { .. }
            | Self::Removes { .. }
            | Self::Unlisted { .. }
            | Self::NoAccount { .. }
            | Self::Died(_) => FailureClass::Permanent,
        }
    }
}
