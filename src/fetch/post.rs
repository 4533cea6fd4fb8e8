//! Telling a service something: one request, no token, no redirect, no second try.

use std::time::Duration;

use reqwest::redirect;

/// How long connecting may take.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// Posts JSON; the status of the answer, whose body nobody reads.
pub async fn post(
    url: &str,
    json: String,
    headers: &[(&'static str, String)],
) -> Result<u16, reqwest::Error> {
    let client = reqwest::Client::builder()
        .redirect(redirect::Policy::none())
        .connect_timeout(CONNECT_TIME_MAX)
        .user_agent(concat!("reconcile/", env!("CARGO_PKG_VERSION")))
        .build()?;
    let mut request = client.post(url).header("content-type", "application/json").body(json);
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let answer = request.send().await.map_err(reqwest::Error::without_url)?;
    Ok(answer.status().as_u16())
}
