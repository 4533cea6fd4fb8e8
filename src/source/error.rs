//! Why a source could not say what it offers.

use std::io;
use std::path::PathBuf;

use jiff::Timestamp;

use crate::fetch::FetchError;

/// Why a source could not say what it offers. Nothing that is installed changes because of it.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It did not answer, or with a failure of its own.
    #[error(transparent)]
    Unreachable(Box<FetchError>),
    /// It refuses requests for some time.
    #[error(
        "cannot ask {host}: it refuses requests until {until}; configure a token for it or ask less \
         often"
    )]
    RateLimited {
        /// The host and port.
        host: String,
        /// Until when.
        until: Timestamp,
    },
    /// There is no such thing.
    #[error(
        "cannot find {what}; check the spelling, that it has a release, and whether it is private and \
         needs a token"
    )]
    NotFound {
        /// What was looked for.
        what: String,
    },
    /// A directory of this host has no such file.
    #[error("cannot find {what}; check the spelling, and that something is published there")]
    Absent {
        /// What was looked for.
        what: String,
    },
    /// A directory holds nothing that could be a release.
    #[error("cannot find releases in {}: {what}", .path.display())]
    Nothing {
        /// The directory.
        path: PathBuf,
        /// Why nothing there counts, and what to do.
        what: &'static str,
    },
    /// The directory that is the source is empty: it may be where something is mounted that is not there now.
    #[error(
        "cannot find releases in {}: it is empty; mount what belongs there (a stick, a share), or publish something there",
        .path.display()
    )]
    Empty {
        /// The directory.
        path: PathBuf,
    },
    /// It does not tell which versions there are.
    #[error(
        "cannot ask {place} for its versions: a Choria repository on the web has no list of them; write an exact \
         `version`"
    )]
    NoIndex {
        /// The repository.
        place: String,
    },
    /// It wants another token.
    #[error("cannot read {what}: access is denied; check the token configured for its host")]
    Denied {
        /// What was asked.
        what: String,
        /// Why.
        #[source]
        source: Box<FetchError>,
    },
    /// The answer makes no sense.
    #[error("cannot use the answer of {place}: {what}; check that the source is what it should be")]
    Malformed {
        /// Who answered.
        place: String,
        /// What is wrong with it.
        what: String,
    },
    /// The directory that is the source could not be opened: it may be on something not mounted now.
    #[error("cannot open {}; mount it, or check that it exists and is readable", .path.display())]
    Gone {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A directory of this host could not be read.
    #[error("cannot read {}; check that it exists and is readable", .path.display())]
    Local {
        /// The directory or file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What kind of failure, for deciding what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// It may work later: fall back on what is remembered.
    Unreachable,
    /// It will work at a stated time.
    RateLimited,
    /// It will not work until somebody publishes or edits something.
    NotFound,
    /// It will not work until somebody grants access.
    Denied,
    /// It answered nonsense.
    Malformed,
}

impl SourceError {
    /// What kind of failure.
    pub fn class(&self) -> Class {
        match self {
            Self::Unreachable(_) | Self::Gone { .. } | Self::Empty { .. } => Class::Unreachable,
            Self::RateLimited { .. } => Class::RateLimited,
            Self::NotFound { .. }
            | Self::Absent { .. }
            | Self::Nothing { .. }
            | Self::NoIndex { .. } => Class::NotFound,
            Self::Denied { .. } => Class::Denied,
            Self::Malformed { .. } => Class::Malformed,
            Self::Local { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => Class::NotFound,
                io::ErrorKind::PermissionDenied => Class::Denied,
                _ => Class::Unreachable,
            },
        }
    }

    /// A failure to fetch what describes `what`.
    pub(super) fn fetch(what: &str, error: FetchError) -> Self {
        let what = what.to_owned();
        match error {
            FetchError::RateLimited { host, until } => Self::RateLimited { host, until },
            FetchError::Status { status: 404 | 410, .. } => Self::NotFound { what },
            FetchError::Status { status: 401 | 403, .. } | FetchError::NoToken { .. } => {
                Self::Denied { what, source: Box::new(error) }
            }
            FetchError::TooLarge { limit, .. } => {
                let why = format!("it has more than the allowed {limit} bytes");
                Self::Malformed { place: what, what: why }
            }
            FetchError::BadUrl { .. } => {
                Self::Malformed { place: what, what: "its URL is not complete".to_owned() }
            }
            other => Self::Unreachable(Box::new(other)),
        }
    }
}
