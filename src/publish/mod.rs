//! The other side: writes what sources read, in the names and shapes of the original publishers.
//!
//! Content comes first and the pointer to it last, by a rename: whoever sees a version finds all of it. A version
//! that is published keeps its bytes unless that is forced. Nothing here needs the host's lock: a repository is no
//! part of what is managed.

mod choria;
pub mod image;
mod patches;
mod place;
mod release;
mod selfupdate;
mod signing;
pub mod tree;

use std::io;
use std::path::PathBuf;

pub use choria::{Choria, choria};
pub use release::{Release, SUMS, plain, release, write_index};
pub use selfupdate::{Selfupdate, selfupdate};
pub use signing::SignError;

pub use crate::format::go::Platform;

use crate::format::bsdiff::MakeError;
use crate::format::choria::ChoriaError;
use crate::format::packed::PackedError;
use crate::format::selfupdate::SelfupdateError;
use crate::format::zstd_delta::ZstdDeltaError;

/// Largest program published or patched, in bytes: making a patch takes several times that in memory.
pub const PROGRAM_BYTES_MAX: u64 = 1 << 30;

/// What happens to a version that is published already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It keeps its bytes.
    Kept,
    /// It is replaced.
    Replaced,
}

/// Why nothing was published. What was there before is still there and whole.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The version is there already.
    #[error("publishing {}: it is there already and a version keeps its bytes; use another version, or --force", .path.display())]
    Exists {
        /// The file or directory.
        path: PathBuf,
    },
    /// Somebody else publishes there, for longer than was to be waited.
    #[error("somebody else is publishing and has locked {}: try again later", .path.display())]
    Busy {
        /// The directory.
        path: PathBuf,
    },
    /// The version would not become the newest one.
    #[error(
        "publishing {version}: {newest} is published already, and clients keep to it; use --force to publish {version} \
         beside it"
    )]
    Older {
        /// What was to be published.
        version: String,
        /// What is the newest now.
        newest: String,
    },
    /// A file or directory cannot be read.
    #[error("cannot read {}; check that it exists and is readable", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file or directory cannot be written.
    #[error("cannot write {}; check that the disk is not full and the directory writable", .path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is nothing to publish.
    #[error("publishing {}: it holds no file to publish; name the directory that holds them", .path.display())]
    Nothing {
        /// The directory.
        path: PathBuf,
    },
    /// A name cannot be used.
    #[error("publishing: `{name}` cannot be {what}; choose another")]
    Name {
        /// The name, escaped for printing.
        name: String,
        /// What it was to be.
        what: &'static str,
    },
    /// go-updater's format does not allow it.
    #[error(transparent)]
    Choria(#[from] ChoriaError),
    /// go-selfupdate's format does not allow it.
    #[error(transparent)]
    Selfupdate(#[from] SelfupdateError),
    /// A program was not packed or unpacked.
    #[error("publishing {}: it cannot be packed or unpacked", .path.display())]
    Packed {
        /// The program.
        path: PathBuf,
        /// Why.
        #[source]
        source: PackedError,
    },
    /// A patch was not made.
    #[error("publishing a patch from {}: it was not made", .path.display())]
    Bsdiff {
        /// The old program.
        path: PathBuf,
        /// Why.
        #[source]
        source: MakeError,
    },
    /// A patch was not made.
    #[error("publishing a patch from {}: it was not made", .path.display())]
    Zstd {
        /// The old program.
        path: PathBuf,
        /// Why.
        #[source]
        source: ZstdDeltaError,
    },
    /// The checksums were not signed.
    #[error("publishing {}: it was not signed; check that gpg has the key", .path.display())]
    Sign {
        /// The file to sign.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<SignError>,
    },
    /// A version of the repository is signed, and no key was named.
    #[error(
        "publishing: {} is signed, and clients that ask for signatures would refuse what has none; name the key with \
         --sign, or remove the signatures if nobody asks for them", .path.display()
    )]
    Unsigned {
        /// A signature.
        path: PathBuf,
    },
}

/// What was published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// Every path that was written, in that order; none where all was there already.
    pub written: Vec<PathBuf>,
    /// What was not done.
    pub notes: Vec<String>,
}

impl From<Vec<PathBuf>> for Published {
    fn from(written: Vec<PathBuf>) -> Self {
        Self { written, notes: Vec::new() }
    }
}
