//! The one HTTP client: bounded waits, strict redirects, tokens bound to their hosts.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use jiff::{SignedDuration, Timestamp};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Certificate, Response, Url, redirect};
use sha2::{Digest as _, Sha256};

use crate::fetch::error::FetchError;
use crate::fetch::retry::{self, Backoff};

/// Redirects followed for one request: a release asset takes one, a moved project two.
pub const HOPS_MAX: usize = 5;

/// Longest token accepted, in bytes.
pub const TOKEN_BYTES_MAX: usize = 4096;

/// Where distributions keep the certificates of all trusted issuers in one file: Debian and Alpine, Fedora,
/// openSUSE.
const BUNDLES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
];

/// Most bytes of a bundle that are read; common ones have 200 KiB.
const BUNDLE_BYTES_MAX: u64 = 8 << 20;

/// Bearer tokens by host. A token is sent to exactly that host and port, over https only (or to this
/// machine itself), and never follows a redirect to another origin.
#[derive(Clone, Default)]
pub struct Credentials(BTreeMap<String, Result<HeaderValue, String>>);

impl Credentials {
    /// Adds the token for a host (`api.github.com`, `git.example:8443`). Where it cannot be sent, the host is one whose
    /// token is lacking.
    pub fn add(&mut self, host: &str, token: &str) {
        let host = normal(host);
        let value = header(token).ok_or_else(|| {
            format!(
                "the token for {host} must be one line of printable ASCII, at most {TOKEN_BYTES_MAX} bytes"
            )
        });
        self.0.insert(host, value);
    }

    /// Notes why there is no token for a host that is asked with one: it is not asked without.
    pub fn lacks(&mut self, host: &str, why: &str) {
        self.0.insert(normal(host), Err(why.to_owned()));
    }

    fn for_url(&self, url: &Url) -> Result<Option<&HeaderValue>, FetchError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let private = url.scheme() == "https" || (url.scheme() == "http" && is_loopback(url));
        match self.0.get(&authority(url)).filter(|_| private) {
            None => Ok(None),
            Some(Ok(token)) => Ok(Some(token)),
            Some(Err(why)) => Err(FetchError::NoToken { host: authority(url), why: why.clone() }),
        }
    }
}

/// A host without the port that https has anyway.
fn normal(host: &str) -> String {
    let host = host.trim().to_ascii_lowercase();
    host.strip_suffix(":443").unwrap_or(&host).to_owned()
}

fn header(token: &str) -> Option<HeaderValue> {
    let token = token.trim();
    let fits = !token.is_empty() && token.len() <= TOKEN_BYTES_MAX;
    let value = HeaderValue::try_from(format!("Bearer {token}"));
    let mut value = value.ok().filter(|_| fits)?;
    value.set_sensitive(true);
    Some(value)
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// How patient the client is.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Longest wait for the next bytes; twice as long for some. There is no limit on a whole transfer: a large artifact
    /// on a slow line must be able to finish.
    pub stall_timeout: Duration,
    /// Trying again.
    pub backoff: Backoff,
    /// Where the trusted issuers come from.
    pub roots: Roots,
}

/// Where the trusted issuers come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Roots {
    /// Every place of this system, or those that `$SSL_CERT_FILE` and `$SSL_CERT_DIR` name.
    #[default]
    All,
    /// The one file in which a distribution keeps all of them; every place where there is none. Reading each
    /// certificate once more from a file of its own takes longer than all the rest of a pass over one app.
    Bundle,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(30),
            backoff: Backoff::default(),
            roots: Roots::default(),
        }
    }
}

/// A cheap handle on the one client. Root certificates are loaded with the first request, so a pass
/// that asks nothing pays nothing.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    credentials: Credentials,
    settings: Settings,
    now: Timestamp,
    made: Instant,
    http: OnceLock<reqwest::Client>,
    /// For this machine itself: a proxy would be sent what must not leave it.
    direct: OnceLock<reqwest::Client>,
    /// The same for plain http, which needs no trusted issuer: loading them takes longer than all the rest
    /// of a pass over one app.
    plain: OnceLock<reqwest::Client>,
}

impl Client {
    /// A client; `now` is the time at this moment.
    pub fn new(credentials: Credentials, settings: Settings, now: Timestamp) -> Self {
        let (http, direct, plain) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        let made = Instant::now();
        Self(Arc::new(Inner { credentials, settings, now, made, http, direct, plain }))
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        let elapsed = SignedDuration::try_from(self.0.made.elapsed()).unwrap_or_default();
        self.0.now.saturating_add(elapsed).unwrap_or(self.0.now)
    }

    /// Whether a request to `url` would carry a token.
    pub fn has_token(&self, url: &str) -> bool {
        let any = !self.0.credentials.0.is_empty();
        let url = any.then(|| Url::parse(url).ok()).flatten();
        // Where one is lacking the request says so.
        url.is_some_and(|url| !matches!(self.0.credentials.for_url(&url), Ok(None)))
    }

    /// How to try again.
    pub(super) fn backoff(&self) -> Backoff {
        self.0.settings.backoff
    }

    /// Longest wait for the next bytes.
    pub(super) fn stall_timeout(&self) -> Duration {
        self.0.settings.stall_timeout
    }

    /// A name for the token that `url` would be asked with: another token may see other things.
    pub(super) fn identity(&self, url: &Url) -> Option<String> {
        let token = self.0.credentials.for_url(url).ok()??;
        Some(HEXLOWER.encode(&Sha256::digest(token.as_bytes())))
    }

    /// Sends one request. An answer is `Ok` with status 200, 206, 304 or 416.
    pub(super) async fn get(
        &self,
        url: &Url,
        mut headers: HeaderMap,
    ) -> Result<Response, FetchError> {
        if let Some(token) = self.0.credentials.for_url(url)? {
            headers.insert(AUTHORIZATION, token.clone());
        }
        let send =
            |client: &reqwest::Client| client.get(url.clone()).headers(headers.clone()).send();
        let failed = |error| FetchError::request(url, error);
        let mut response = send(self.http(url)?).await.map_err(failed)?;
        if response.headers().contains_key(LOCATION) && response.status().is_redirection() {
            // To https, which the client for plain http leaves alone.
            response = send(self.secure(url)?).await.map_err(failed)?;
        }
        retry::verdict(url, response.status(), response.headers(), self.now())?;
        Ok(response)
    }

    /// Sends one request for the head of an answer alone.
    pub(super) async fn head(&self, url: &Url) -> Result<Response, FetchError> {
        let mut headers = HeaderMap::new();
        if let Some(token) = self.0.credentials.for_url(url)? {
            headers.insert(AUTHORIZATION, token.clone());
        }
        let request = self.http(url)?.head(url.clone()).headers(headers);
        let response = request.send().await.map_err(|e| FetchError::request(url, e))?;
        retry::verdict(url, response.status(), response.headers(), self.now())?;
        Ok(response)
    }

    fn http(&self, url: &Url) -> Result<&reqwest::Client, FetchError> {
        if url.scheme() != "http" || !is_loopback(url) {
            return self.secure(url);
        }
        if let Some(client) = self.0.plain.get() {
            return Ok(client);
        }
        let client = builder(&self.0.settings, Redirects::PlainOnly).no_proxy().tls_certs_only([]);
        let client = client.build().map_err(|source| FetchError::Setup { source })?;
        Ok(self.0.plain.get_or_init(|| client))
    }

    /// The client that knows whom to trust.
    fn secure(&self, url: &Url) -> Result<&reqwest::Client, FetchError> {
        let direct = is_loopback(url);
        let place = if direct { &self.0.direct } else { &self.0.http };
        if let Some(client) = place.get() {
            return Ok(client);
        }
        let builder = || {
            let builder = builder(&self.0.settings, Redirects::All);
            if direct { builder.no_proxy() } else { builder }
        };
        // Without any root certificate the first fails; plain http must work all the same, and https
        // then fails for want of a trusted issuer.
        let bundle = if self.0.settings.roots == Roots::Bundle { bundle() } else { None };
        let client = bundle
            .map_or_else(builder, |roots| builder().tls_certs_only(roots))
            .build()
            .or_else(|_| builder().build())
            .or_else(|_| builder().tls_certs_only([]).build())
            .map_err(|source| FetchError::Setup { source })?;
        Ok(place.get_or_init(|| client))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { credentials, settings, .. } = &*self.0;
        f.debug_struct("Client")
            .field("credentials", credentials)
            .field("settings", settings)
            .finish_non_exhaustive()
    }
}

/// The certificates of the first bundle there is.
fn bundle() -> Option<Vec<Certificate>> {
    let file = BUNDLES.iter().find_map(|path| File::open(path).ok())?;
    let mut bytes = Vec::new();
    file.take(BUNDLE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Certificate::from_pem_bundle(&bytes).ok().filter(|roots| !roots.is_empty())
}

/// Which redirects a client follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Redirects {
    /// All that are allowed.
    All,
    /// Those that stay with plain http; one to https is handed out.
    PlainOnly,
}

fn builder(settings: &Settings, redirects: Redirects) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(concat!("reconcile/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(settings.connect_timeout)
        .read_timeout(settings.stall_timeout)
        .referer(false)
        .redirect(redirect::Policy::custom(move |attempt| {
            let secure = attempt.url().scheme() == "https";
            match redirect_allowed(attempt.url(), attempt.previous()) {
                Ok(()) if secure && redirects == Redirects::PlainOnly => attempt.stop(),
                Ok(()) => attempt.follow(),
                Err(refused) => attempt.error(refused),
            }
        }))
}

/// Why a redirect is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedirectRefused {
    /// Too many.
    #[error("more than {HOPS_MAX} redirects")]
    TooMany,
    /// From https to http.
    #[error("from https to unprotected http")]
    Downgrade,
    /// To another protocol.
    #[error("to a protocol other than http and https")]
    Scheme,
}

/// Whether `next` may be asked after `previous` redirected to it.
pub fn redirect_allowed(next: &Url, previous: &[Url]) -> Result<(), RedirectRefused> {
    if previous.len() > HOPS_MAX {
        return Err(RedirectRefused::TooMany);
    }
    match next.scheme() {
        "http" if previous.iter().any(|url| url.scheme() == "https") => {
            Err(RedirectRefused::Downgrade)
        }
        "http" | "https" => Ok(()),
        _ => Err(RedirectRefused::Scheme),
    }
}

/// Host, and port when it is not the scheme's own, in lower case: the key of tokens and limits.
pub fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// This machine itself: nothing leaves it, so http is as private as https.
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn urls(texts: &[&str]) -> Vec<Url> {
        texts.iter().map(|text| url(text)).collect()
    }

    #[test]
    fn redirects_never_leave_https_and_end() {
        let secure = urls(&["https://a.example/x"]);
        assert_eq!(redirect_allowed(&url("https://b.example/x"), &secure), Ok(()));
        assert_eq!(
            redirect_allowed(&url("http://a.example/x"), &secure),
            Err(RedirectRefused::Downgrade)
        );
        let via_https = urls(&["https://a.example/x", "http://a.example/x"]);
        assert_eq!(
            redirect_allowed(&url("http://b.example/x"), &via_https),
            Err(RedirectRefused::Downgrade)
        );
        assert_eq!(
            redirect_allowed(&url("file:///etc/passwd"), &secure),
            Err(RedirectRefused::Scheme)
        );
        let plain = urls(&["http://a.example/1"]);
        assert_eq!(redirect_allowed(&url("http://b.example/"), &plain), Ok(()));
        assert_eq!(redirect_allowed(&url("https://a.example/"), &[plain, secure].concat()), Ok(()));
        let many = vec![url("https://a.example/"); HOPS_MAX + 1];
        assert_eq!(
            redirect_allowed(&url("https://a.example/"), &many),
            Err(RedirectRefused::TooMany)
        );
    }

    #[test]
    fn tokens_belong_to_one_host_and_are_not_shown() {
        let mut credentials = Credentials::default();
        credentials.add("api.github.com", "s3cret");
        credentials.add("127.0.0.1:8080", "s3cret");
        credentials.add("Git.example:443", "s3cret");
        let has = |text: &str| credentials.for_url(&url(text)).unwrap().is_some();
        assert!(has("https://api.github.com/repos/a/b"));
        assert!(has("https://api.github.com:443/"));
        assert!(has("http://127.0.0.1:8080/"));
        assert!(has("https://git.example/"));
        assert!(!has("http://api.github.com/"));
        assert!(!has("https://api.github.com:8443/"));
        assert!(!has("https://api.github.com.example/"));
        assert!(!has("https://github.com/"));
        assert!(!has("http://127.0.0.1:8081/"));
        assert!(!format!("{credentials:?}").contains("s3cret"));
        for unusable in ["two\nlines", ""] {
            credentials.add("a.example", unusable);
            assert!(credentials.for_url(&url("https://a.example/")).is_err());
        }
    }

    #[test]
    fn client_can_be_made_without_root_certificates() {
        assert!(builder(&Settings::default(), Redirects::All).tls_certs_only([]).build().is_ok());
    }
}
