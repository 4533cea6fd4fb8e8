//! Small things that are named by their content: fetched whole into memory, verified by whoever asked.

use std::ops::Range;
use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, HeaderMap, HeaderValue, RANGE};
use reqwest::{StatusCode, Url};

use crate::fetch::Client;
use crate::fetch::error::{FetchError, shown};
use crate::fetch::memory::read_bounded;
use crate::fetch::retry::retrying;

/// How long the first byte may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// Slowest line that is of use, in bytes a second: a chunk of common size takes ten seconds on it.
const RATE_MIN: u64 = 16 << 10;

/// The bytes at a URL, at most `limit`; tried again while that can help.
pub async fn piece(client: &Client, url: &str, limit: u64) -> Result<Vec<u8>, FetchError> {
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
/// its status 200, unless the whole file was asked for.
pub async fn piece_of(
    client: &Client,
    url: &str,
    bytes: Range<u64>,
) -> Result<Vec<u8>, FetchError> {
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
        let body = read_bounded(&parsed, response, length).await?;
        let received = body.len() as u64;
        if received != length {
            let url = shown(&parsed);
            return Err(FetchError::Truncated { url, expected: length, received });
        }
        Ok(body)
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

async fn attempt(client: &Client, parsed: &Url, limit: u64) -> Result<Vec<u8>, FetchError> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let response = client.get(parsed, headers).await?;
    if response.status() != StatusCode::OK {
        let (url, status) = (shown(parsed), response.status().as_u16());
        return Err(FetchError::Status { url, status, retry_after: None });
    }
    let stated = response.content_length();
    let bytes = read_bounded(parsed, response, limit).await?;
    match stated {
        Some(expected) if expected != bytes.len() as u64 => {
            let (url, received) = (shown(parsed), bytes.len() as u64);
            Err(FetchError::Truncated { url, expected, received })
        }
        _ => Ok(bytes),
    }
}
