//! Small things that are named by their content: fetched whole into memory, verified by whoever asked.

use std::ops::Range;
use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, CONNECTION, CONTENT_RANGE, HeaderMap, HeaderValue, RANGE};
use reqwest::{Response, StatusCode, Url, Version};

use crate::fetch::Client;
use crate::fetch::error::{FetchError, shown};
use crate::fetch::memory::read_bounded;
use crate::fetch::retry::retrying;

/// How long the first byte may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// Slowest line that is of use, in bytes a second: a chunk of common size takes ten seconds on it.
const RATE_MIN: u64 = 16 << 10;

/// What became of the connection that something came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// It can be used again.
    Kept,
    /// The server closes it: each request costs a connection.
    Closed,
}

impl Line {
    fn of(response: &Response) -> Self {
        let stated = response.headers().get(CONNECTION).and_then(|value| value.to_str().ok());
        let says = |word: &str| stated.is_some_and(|stated| stated.eq_ignore_ascii_case(word));
        let kept = match response.version() {
            Version::HTTP_09 | Version::HTTP_10 => says("keep-alive"),
            _ => !says("close"),
        };
        if kept { Self::Kept } else { Self::Closed }
    }
}

/// The bytes at a URL, at most `limit`; tried again while that can help.
pub async fn piece(client: &Client, url: &str, limit: u64) -> Result<Vec<u8>, FetchError> {
    Ok(piece_by(client, url, limit).await?.0)
}

/// The same, and what became of the connection.
pub async fn piece_by(
    client: &Client,
    url: &str,
    limit: u64,
) -> Result<(Vec<u8>, Line), FetchError> {
    let parsed = Url::parse(url).map_err(|_| FetchError::BadUrl { url: url.to_owned() })?;
    retrying(client.backoff(), || async {
        let patience = patience(limit);
        tokio::time::timeout(patience, attempt(client, &parsed, limit)).await.unwrap_or_else(|_| {
            Err(FetchError::TooSlow { url: shown(&parsed), seconds: patience.as_secs() })
        })
    })
    .await
}

/// Some bytes of the file at a URL; tried again while that can help. A server that does not know ranges is told by
/// its status 200, unless the whole file was asked for. Also what became of the connection.
pub async fn piece_of(
    client: &Client,
    url: &str,
    bytes: Range<u64>,
) -> Result<(Vec<u8>, Line), FetchError> {
    let parsed = Url::parse(url).map_err(|_| FetchError::BadUrl { url: url.to_owned() })?;
    let length = bytes.end.saturating_sub(bytes.start);
    let range = format!("bytes={}-{}", bytes.start, bytes.end.saturating_sub(1));
    let range = HeaderValue::try_from(range);
    let range = range.map_err(|_| FetchError::BadUrl { url: url.to_owned() })?;
    let asking = retrying(client.backoff(), || async {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(RANGE, range.clone());
        let response = client.get(&parsed, headers).await?;
        let stated = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
        let begins = format!("bytes {}-", bytes.start);
        let answers = match response.status() {
            StatusCode::PARTIAL_CONTENT => stated.is_some_and(|stated| stated.starts_with(&begins)),
            StatusCode::OK => bytes.start == 0 && response.content_length() == Some(length),
            _ => false,
        };
        if !answers {
            let (url, status) = (shown(&parsed), response.status().as_u16());
            return Err(FetchError::Status { url, status, retry_after: None });
        }
        let line = Line::of(&response);
        let body = read_bounded(&parsed, response, length).await?;
        let received = body.len() as u64;
        if received != length {
            let url = shown(&parsed);
            return Err(FetchError::Truncated { url, expected: length, received });
        }
        Ok((body, line))
    });
    let patience = patience(length);
    tokio::time::timeout(patience, asking).await.unwrap_or_else(|_| {
        Err(FetchError::TooSlow { url: shown(&parsed), seconds: patience.as_secs() })
    })
}

/// How long so many bytes may take, however steadily they come.
fn patience(bytes: u64) -> Duration {
    ANSWER_WITHIN + Duration::from_secs(bytes / RATE_MIN)
}

async fn attempt(client: &Client, parsed: &Url, limit: u64) -> Result<(Vec<u8>, Line), FetchError> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let response = client.get(parsed, headers).await?;
    if response.status() != StatusCode::OK {
        let (url, status) = (shown(parsed), response.status().as_u16());
        return Err(FetchError::Status { url, status, retry_after: None });
    }
    let (stated, line) = (response.content_length(), Line::of(&response));
    let bytes = read_bounded(parsed, response, limit).await?;
    match stated {
        Some(expected) if expected != bytes.len() as u64 => {
            let (url, received) = (shown(parsed), bytes.len() as u64);
            Err(FetchError::Truncated { url, expected, received })
        }
        _ => Ok((bytes, line)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunk_that_drips_is_given_up_within_a_minute() {
        assert_eq!(patience(0), ANSWER_WITHIN);
        assert!(patience(256 << 10) < Duration::from_mins(1));
    }
}
