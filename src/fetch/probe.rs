//! Asking a service how it is: one request, no token, no redirect, no second try.

use reqwest::redirect;

/// The status that a URL answers with.
pub async fn status(url: &str) -> Result<u16, reqwest::Error> {
    let client =
        reqwest::Client::builder().redirect(redirect::Policy::none()).no_proxy().build()?;
    let answer = client.get(url).send().await.map_err(reqwest::Error::without_url)?;
    Ok(answer.status().as_u16())
}
