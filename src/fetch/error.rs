//! Failures of fetching, and which of them may pass.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::Url;

use crate::model::Digest;

/// Why bytes could not be fetched. URLs are shown without user, query and fragment, where secrets
/// travel.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Not something that can be fetched.
    #[error("cannot fetch `{url}`: it is not a complete http, https or file URL")]
    BadUrl {
        /// As given.
        url: String,
    },
    /// The HTTP client could not be made.
    #[error("cannot set up the HTTP client; check the proxy settings in the environment")]
    Setup {
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// No connection.
    #[error(
        "cannot fetch {url}: the server could not be reached ({}); check the network, the host name and \
         the proxy settings",
        innermost(.cause)
    )]
    Unreachable {
        /// What was asked for.
        url: String,
        /// Why.
        cause: reqwest::Error,
    },
    /// Earlier requests of this pass failed, so this one was not sent.
    #[error("cannot fetch {url}: {host} did not answer earlier requests of this pass")]
    GivenUp {
        /// What was asked for.
        url: String,
        /// The host and port.
        host: String,
    },
    /// A document that takes longer than any document should.
    #[error("cannot fetch {url}: it was not complete after {seconds} s; try again later")]
    TooSlow {
        /// What was asked for.
        url: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// Bytes that come, but so slowly that they might as well not.
    #[error(
        "cannot fetch {url}: fewer than {rate} bytes a second came for {seconds} s; what came is kept where the server can \
         go on from there"
    )]
    Trickling {
        /// What was asked for.
        url: String,
        /// How many bytes a second would have been enough.
        rate: u64,
        /// For how long that was watched.
        seconds: u64,
    },
    /// The connection broke off, or nothing came for the stall timeout.
    #[error("cannot fetch {url}: the connection broke off or stalled; try again later")]
    Interrupted {
        /// What was asked for.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// No authenticated connection.
    #[error(
        "cannot fetch {url}: no secure connection could be made; check this host's clock and its \
         root certificates (ca-certificates), and the server's certificate"
    )]
    Tls {
        /// What was asked for.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// A redirect that is not followed.
    #[error("cannot fetch {url}: it redirects where it must not; correct the URL of the source")]
    Redirect {
        /// What was asked for.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// An answer that is not the document.
    #[error("cannot fetch {url}: the server answered {status}{}", advice(*.status))]
    Status {
        /// What was asked for.
        url: String,
        /// The HTTP status.
        status: u16,
        /// How long the server asks to wait, where that is short.
        retry_after: Option<Duration>,
    },
    /// The host wants no requests for some time.
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
    /// The host is asked with a token that cannot be had.
    #[error("cannot ask {host}: {why}")]
    NoToken {
        /// The host and port.
        host: String,
        /// Why there is no token, and what to do.
        why: String,
    },
    /// More bytes than allowed.
    #[error(
        "cannot fetch {url}: it has more than the allowed {limit} bytes; raise the limit if that \
             is right"
    )]
    TooLarge {
        /// What was asked for.
        url: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// Another size than the source stated.
    #[error("refused {url}: it has {} bytes where the source states {expected}", at_least(*.found, *.expected))]
    SizeDiffers {
        /// What was asked for.
        url: String,
        /// The size the source states, in bytes.
        expected: u64,
        /// The size found; receiving stops right after the expected size.
        found: u64,
    },
    /// The body ended before its stated size.
    #[error("cannot fetch {url}: it ended after {received} of {expected} bytes; try again later")]
    Truncated {
        /// What was asked for.
        url: String,
        /// Stated size in bytes.
        expected: u64,
        /// Bytes there.
        received: u64,
    },
    /// The server cannot continue the partial download; it starts over.
    #[error("cannot continue the download of {url} where it stopped")]
    ResumeRefused {
        /// What was asked for.
        url: String,
    },
    /// Bytes other than those expected.
    #[error("refused {url}: its digest is {found}, expected {expected}")]
    WrongBytes {
        /// What was asked for.
        url: String,
        /// The digest that was demanded.
        expected: Digest,
        /// The digest of the bytes.
        found: Digest,
        /// A part came from an earlier attempt, so the mixture may be to blame.
        resumed: Resumed,
    },
    /// A `file:` source could not be read.
    #[error("cannot read {}; check that it is a readable regular file", .path.display())]
    Local {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The cache could not be used.
    #[error("cannot {action} {}; check free space and permissions of the cache", .path.display())]
    Cache {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Every URL failed.
    #[error("cannot fetch {name} from any of {} places: {}", .failures.len(), listed(.failures))]
    Everywhere {
        /// The artifact.
        name: String,
        /// In the order of the URLs.
        failures: Vec<FetchError>,
    },
}

/// Whether a download continued an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumed {
    /// Some bytes came from an earlier attempt.
    Yes,
    /// All bytes are from this attempt.
    No,
}

/// Whether trying again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It may pass by itself; the server may have said when.
    Transient(Option<Duration>),
    /// The same request will fail the same way.
    Permanent,
}

impl FetchError {
    /// Whether trying again can help.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Unreachable { .. }
            | Self::Interrupted { .. }
            | Self::Truncated { .. }
            | Self::ResumeRefused { .. }
            | Self::WrongBytes { resumed: Resumed::Yes, .. } => Fault::Transient(None),
            Self::Status {
                status: 408 | 425 | 429 | 500 | 502..=504 | 507..=599,
                retry_after,
                ..
            } => Fault::Transient(*retry_after),
            Self::Status { status: 403, retry_after: Some(wait), .. } => {
                Fault::Transient(Some(*wait))
            }
            _ => Fault::Permanent,
        }
    }

    /// A failure of a request to `url`.
    pub(super) fn request(url: &Url, error: reqwest::Error) -> Self {
        let url = shown(url);
        let (connect, timeout) = (error.is_connect(), error.is_timeout());
        let (redirect, builder) = (error.is_redirect(), error.is_builder());
        let source = error.without_url();
        if redirect {
            Self::Redirect { url, source }
        } else if builder {
            Self::BadUrl { url }
        } else if connect && !timeout && is_tls(&source) {
            Self::Tls { url, source }
        } else if connect {
            Self::Unreachable { url, cause: source }
        } else {
            Self::Interrupted { url, source }
        }
    }
}

/// rustls reports every broken handshake as an I/O error of this kind, wrapped in others. An I/O error
/// skips what it wraps in its `source`.
fn is_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    let io = error.downcast_ref::<io::Error>();
    let wrapped = io.and_then(io::Error::get_ref);
    io.is_some_and(|io| io.kind() == io::ErrorKind::InvalidData)
        || wrapped.is_some_and(|wrapped| is_tls(wrapped))
        || error.source().is_some_and(is_tls)
}

/// A URL as people may see it: user, password, query and fragment can carry secrets.
pub fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    if !url.username().is_empty() || url.password().is_some() {
        // Refused only for URLs that cannot have a user, which then show none.
        let _ = url.set_username("");
        let _ = url.set_password(None);
    }
    url.into()
}

fn advice(status: u16) -> &'static str {
    match status {
        401 => "; check the token configured for this host",
        403 => "; check that the token configured for this host may read it",
        404 | 410 => "; check the name, and whether it is private and needs a token",
        500..=599 => "; try again later",
        _ => "",
    }
}

fn at_least(found: u64, expected: u64) -> String {
    if found > expected { format!("at least {found}") } else { found.to_string() }
}

fn listed(failures: &[FetchError]) -> String {
    failures.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The last of the causes of an error: what the system said. Those above it only tell which layer passed it on.
fn innermost(error: &dyn std::error::Error) -> String {
    let last = std::iter::successors(Some(error), |error| error.source()).last();
    last.map_or_else(String::new, ToString::to_string)
}
