//! Small things that are named by their content: fetched whole into memory, verified by whoever asked.

use reqwest::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue};
use reqwest::{StatusCode, Url};

use crate::fetch::Client;
use crate::fetch::error::{FetchError, shown};
use crate::fetch::memory::read_bounded;
use crate::fetch::retry::retrying;

/// The bytes at a URL, at most `limit`; tried again while that can help.
pub async fn piece(client: &Client, url: &str, limit: u64) -> Result<Vec<u8>, FetchError> {
    let parsed = Url::parse(url).map_err(|_| FetchError::BadUrl { url: url.to_owned() })?;
    retrying(client.backoff(), || async {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let response = client.get(&parsed, headers).await?;
        if response.status() != StatusCode::OK {
            let (url, status) = (shown(&parsed), response.status().as_u16());
            return Err(FetchError::Status { url, status, retry_after: None });
        }
        let stated = response.content_length();
        let bytes = read_bounded(&parsed, response, limit).await?;
        match stated {
            Some(expected) if expected != bytes.len() as u64 => {
                let (url, received) = (shown(&parsed), bytes.len() as u64);
                Err(FetchError::Truncated { url, expected, received })
            }
            _ => Ok(bytes),
        }
    })
    .await
}
