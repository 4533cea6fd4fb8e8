//! Trying again: which answers may pass, and how long to wait for them.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use jiff::fmt::rfc2822::DateTimeParser;
use jiff::{SignedDuration, Timestamp};
use reqwest::header::{HeaderMap, HeaderName, RETRY_AFTER};
use reqwest::{StatusCode, Url};

use crate::fetch::error::{Fault, FetchError, shown};

/// Longest wait a server may ask for within a pass; a longer one ends the attempt.
pub const WAIT_MAX: Duration = Duration::from_mins(1);

/// Longest time a server can make us leave it alone: a limit beyond a day is taken for an error.
pub const RATE_LIMIT_MAX: SignedDuration = SignedDuration::from_hours(24);

/// Wait after a refusal that names no time. GitHub asks for at least a minute.
/// <https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api>
pub const RATE_LIMIT_UNSTATED: SignedDuration = SignedDuration::from_mins(1);

/// How often and how fast to try again.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// Longest first wait; each further one may be twice as long.
    pub base: Duration,
    /// Longest wait.
    pub cap: Duration,
    /// Tries in all, the first included.
    pub tries: usize,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { base: Duration::from_secs(1), cap: Duration::from_secs(30), tries: 4 }
    }
}

impl Backoff {
    /// The waits between tries: each a random time between half and all of its bound, so that many
    /// hosts do not come back together.
    fn delays(self) -> impl Iterator<Item = Duration> {
        ExponentialBuilder::default()
            .with_min_delay(self.base / 2)
            .with_max_delay(self.cap / 2)
            .with_max_times(self.tries.saturating_sub(1))
            .with_jitter()
            .build()
    }
}

/// Repeats `attempt` while its failure may pass.
pub(super) async fn retrying<T, F: Future<Output = Result<T, FetchError>>>(
    backoff: Backoff,
    mut attempt: impl FnMut() -> F,
) -> Result<T, FetchError> {
    let mut delays = backoff.delays();
    loop {
        let error = match attempt().await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let Fault::Transient(asked) = error.fault() else { return Err(error) };
        let Some(delay) = delays.next() else { return Err(error) };
        tracing::debug!(%error, "trying again");
        tokio::time::sleep(asked.unwrap_or(delay)).await;
    }
}

/// What an answer means: `Ok` for a body (200, 206), 304 and 416, whose meaning the asker knows.
pub(super) fn verdict(
    url: &Url,
    status: StatusCode,
    headers: &HeaderMap,
    now: Timestamp,
) -> Result<(), FetchError> {
    let code = status.as_u16();
    if matches!(code, 200 | 206 | 304 | 416) {
        return Ok(());
    }
    let refusing = matches!(code, 403 | 429);
    if refusing && header(headers, "x-ratelimit-remaining") == Some("0") {
        let reset = header(headers, "x-ratelimit-reset").and_then(|s| s.parse().ok());
        let until = reset.and_then(|seconds| Timestamp::from_second(seconds).ok());
        return Err(limited(url, until, now));
    }
    let wait = header(headers, RETRY_AFTER.as_str()).and_then(|text| wait_asked(text, now));
    match wait {
        Some(wait) if wait > WAIT_MAX && (refusing || code == 503) => {
            let wait = SignedDuration::try_from(wait).unwrap_or(RATE_LIMIT_MAX);
            Err(limited(url, now.checked_add(wait).ok(), now))
        }
        _ => Err(FetchError::Status {
            url: shown(url),
            status: code,
            retry_after: wait.filter(|wait| *wait <= WAIT_MAX),
        }),
    }
}

/// The refusal of a host until `until`, or for a while when that is not known.
pub(super) fn limited(url: &Url, until: Option<Timestamp>, now: Timestamp) -> FetchError {
    let earliest = now.saturating_add(RATE_LIMIT_UNSTATED).unwrap_or(now);
    let latest = now.saturating_add(RATE_LIMIT_MAX).unwrap_or(now);
    let until = until.filter(|until| *until > now).unwrap_or(earliest).min(latest);
    FetchError::RateLimited { host: super::client::authority(url), until }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let name = HeaderName::try_from(name).ok()?;
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// `Retry-After`: seconds or an HTTP date (RFC 9110 §10.2.3).
fn wait_asked(text: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = http_date(text)?;
    Some(Duration::try_from(until.duration_since(now)).unwrap_or(Duration::ZERO))
}

/// An HTTP date in its preferred form: `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(super) fn http_date(text: &str) -> Option<Timestamp> {
    DateTimeParser::new().parse_timestamp(text).ok()
}
