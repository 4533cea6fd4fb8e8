//! Reading documents with a memory: one conditional request each, or none while fresh.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reqwest::header::{
    ACCEPT, CONTENT_LENGTH, DATE, ETAG, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, LAST_MODIFIED, LINK,
};
use reqwest::{Response, StatusCode, Url};

use crate::fetch::Client;
use crate::fetch::client::authority;
use crate::fetch::error::{FetchError, shown};
use crate::fetch::hosts::{Answers, Hosts};
use crate::fetch::record::{DOCUMENT_BYTES_MAX, Head, Key, Page, Remembered, load_limit};
use crate::fetch::retry::{http_date, limited, retrying};
use crate::model::cached::Cache;
use crate::model::pace::age_max;

/// Longest validator kept, in bytes.
const VALIDATOR_BYTES_MAX: usize = 1024;

/// A document that is younger than this when it is sent can be modified again with no later date (RFC 9110, 8.8.2.2;
/// dates have whole seconds).
const SETTLED_AFTER: SignedDuration = SignedDuration::from_secs(2);

/// Longest wait for one document, which has at most 16 MiB: a server that drips bytes must not hold a pass.
const DOCUMENT_TIME_MAX: Duration = Duration::from_mins(2);

/// Longest URL accepted, in bytes.
pub const URL_BYTES_MAX: usize = 8192;

/// A document and how well it is known to be current.
#[derive(Clone, Debug)]
pub struct Document {
    /// The bytes.
    pub body: Arc<Vec<u8>>,
    /// URL of the next page, on the same origin.
    pub next: Option<String>,
    /// When the source last vouched for it.
    pub checked_at: Timestamp,
    /// When it was last modified, as its source says.
    pub modified: Option<Timestamp>,
    /// Where it comes from.
    pub from: From,
}

/// Where a document comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// Received now.
    Network,
    /// Remembered, and the source says that it is current.
    NotModified,
    /// Remembered and young enough not to ask.
    Fresh,
    /// Remembered, however old.
    Stale,
}

/// Reads documents during one pass. It only reads: what it learns is handed out by
/// [`Reader::into_noted`] for the record phase to [`store`](crate::fetch::store), so looking changes
/// nothing.
#[derive(Clone, Debug)]
pub struct Reader {
    client: Client,
    cache: Option<Cache>,
    now: Timestamp,
    max_age: SignedDuration,
    learnt: Arc<Learnt>,
}

/// What all readers of one pass know together.
#[derive(Debug)]
struct Learnt {
    hosts: Hosts,
    noted: Mutex<BTreeMap<Key, Remembered>>,
    forgotten: Mutex<BTreeSet<Key>>,
    requests: AtomicU64,
}

/// One document as it is asked for.
struct Question {
    url: Url,
    accept: HeaderValue,
    identity: Option<String>,
    key: Key,
    limit: u64,
}

impl Reader {
    /// A reader that remembers what is in `cache`, and takes documents no older than `max_age`
    /// for current without asking.
    pub fn new(
        client: Client,
        cache: Option<&Cache>,
        now: Timestamp,
        max_age: SignedDuration,
    ) -> Self {
        Self {
            client,
            cache: cache.cloned(),
            now,
            max_age,
            learnt: Arc::new(Learnt {
                hosts: Hosts::new(),
                noted: Mutex::default(),
                forgotten: Mutex::default(),
                requests: AtomicU64::new(0),
            }),
        }
    }

    /// The same reader for a source that is asked every so often, whatever is done for others. A pass that asks afresh
    /// asks this one too.
    #[must_use]
    pub fn every(&self, every: Option<SignedDuration>) -> Self {
        let own = every.filter(|_| !self.max_age.is_zero()).map(age_max);
        Self { max_age: own.unwrap_or(self.max_age), ..self.clone() }
    }

    /// The client that asks.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Requests sent so far, further tries included.
    pub fn requests(&self) -> u64 {
        self.learnt.requests.load(Ordering::Relaxed)
    }

    /// What came of asking so far, by host.
    pub fn answers(&self) -> BTreeMap<String, Answers> {
        self.learnt.hosts.answers()
    }

    /// The document at `url`, of at most `limit_bytes` (and [`DOCUMENT_BYTES_MAX`]).
    pub async fn document(
        &self,
        url: &str,
        accept: &str,
        limit_bytes: u64,
    ) -> Result<Document, FetchError> {
        let question = self.question(url, accept, limit_bytes)?;
        let known = self.recall(&question.key);
        if let Some(document) = known.as_deref().and_then(|page| self.fresh(page)) {
            return Ok(document);
        }
        let Question { url, identity, .. } = &question;
        let limit_key = || Key::limit(&authority(url), identity.as_deref());
        let now = self.client.now();
        let remembered_limit = || load_limit(self.cache.as_ref()?, &limit_key(), now);
        let asking = || async {
            // Not held while waiting to try again: a slow host must not keep others from being asked.
            let _permit =
                self.learnt.hosts.permit(url, self.client.now(), remembered_limit).await?;
            let asked = self.ask(&question, known.as_ref());
            tokio::time::timeout(DOCUMENT_TIME_MAX, asked).await.unwrap_or_else(|_| {
                let seconds = DOCUMENT_TIME_MAX.as_secs();
                Err(FetchError::TooSlow { url: shown(url), seconds })
            })
        };
        let outcome = retrying(self.client.backoff(), asking).await;
        let outcome = outcome.map_err(|error| self.as_limit(url, error));
        self.learnt.hosts.learn(url, &outcome);
        if let Err(FetchError::RateLimited { until, .. }) = &outcome {
            let key = limit_key();
            self.note(key.clone(), Remembered::Limit { key, until: *until });
        }
        outcome
    }

    /// The document as remembered, however old.
    pub fn stale(&self, url: &str, accept: &str) -> Option<Document> {
        let question = self.question(url, accept, DOCUMENT_BYTES_MAX).ok()?;
        self.recall(&question.key).map(|page| document(&page, page.checked_at, From::Stale))
    }

    /// How many bytes are at `url`, without getting them; `None` where the server does not say.
    pub async fn size(&self, url: &str) -> Result<Option<u64>, FetchError> {
        let question = self.question(url, "*/*", DOCUMENT_BYTES_MAX)?;
        let Question { url, .. } = &question;
        let asking = || async {
            let _permit = self.learnt.hosts.permit(url, self.client.now(), || None).await?;
            self.learnt.requests.fetch_add(1, Ordering::Relaxed);
            self.client.head(url).await
        };
        let response = retrying(self.client.backoff(), asking).await?;
        // The length of the body that is not there is 0; what its answer would have had is in the header.
        let length = response.headers().get(CONTENT_LENGTH);
        Ok(length.and_then(|length| length.to_str().ok()?.parse().ok()))
    }

    /// Whether a document was ever read: of several possible places, that one is asked first.
    pub fn remembers(&self, url: &str, accept: &str) -> bool {
        let Ok(question) = self.question(url, accept, DOCUMENT_BYTES_MAX) else { return false };
        let noted = self.learnt.noted.lock().unwrap_or_else(PoisonError::into_inner);
        noted.contains_key(&question.key)
            || self.cache.as_ref().is_some_and(|cache| question.key.path(cache).exists())
    }

    /// Asks for a document without conditions the next time, because what is remembered of it cannot be right.
    /// Whether there is anything remembered: what was received in this pass is as new as it gets.
    pub fn forget(&self, url: &str, accept: &str) -> bool {
        let Ok(question) = self.question(url, accept, DOCUMENT_BYTES_MAX) else { return false };
        let mut noted = self.learnt.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(noted.get(&question.key), Some(Remembered::Page(_))) {
            return false;
        }
        noted.remove(&question.key);
        let there = self.cache.as_ref().is_some_and(|c| question.key.path(c).exists());
        self.learnt.forgotten.lock().unwrap_or_else(PoisonError::into_inner).insert(question.key);
        there
    }

    /// Asks for a document without conditions the next time, although it was received in this pass: another one that
    /// belongs to it was replaced meanwhile.
    pub fn discard(&self, url: &str, accept: &str) {
        let Ok(question) = self.question(url, accept, DOCUMENT_BYTES_MAX) else { return };
        let mut noted = self.learnt.noted.lock().unwrap_or_else(PoisonError::into_inner);
        noted.remove(&question.key);
        self.learnt.forgotten.lock().unwrap_or_else(PoisonError::into_inner).insert(question.key);
    }

    /// What was learnt, to be stored.
    pub fn into_noted(self) -> Vec<Remembered> {
        let mut noted = self.learnt.noted.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *noted).into_values().collect()
    }

    fn question(&self, url: &str, accept: &str, limit: u64) -> Result<Question, FetchError> {
        let bad = || FetchError::BadUrl { url: url.chars().take(200).collect() };
        let parsed = Url::parse(url).ok().filter(|parsed| {
            url.len() <= URL_BYTES_MAX && matches!(parsed.scheme(), "http" | "https")
        });
        let parsed = parsed.ok_or_else(bad)?;
        let identity = self.client.identity(&parsed);
        Ok(Question {
            key: Key::page(parsed.as_str(), accept, identity.as_deref()),
            accept: HeaderValue::try_from(accept).map_err(|_| bad())?,
            identity,
            url: parsed,
            limit: limit.min(DOCUMENT_BYTES_MAX),
        })
    }

    /// What this pass or an earlier one knows.
    fn recall(&self, key: &Key) -> Option<Arc<Page>> {
        let noted = self.learnt.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Remembered::Page(page)) = noted.get(key) {
            return Some(Arc::clone(page));
        }
        let checked = match noted.get(key) {
            Some(Remembered::Checked { at, .. }) => Some(*at),
            _ => None,
        };
        drop(noted);
        if self.learnt.forgotten.lock().unwrap_or_else(PoisonError::into_inner).contains(key) {
            return None;
        }
        let mut page = Page::load(self.cache.as_ref()?, key)?;
        page.checked_at = checked.unwrap_or(page.checked_at);
        Some(Arc::new(page))
    }

    /// A page is fresh for `max_age`, and for the rest of the pass that asked for it. A time of checking
    /// that lies ahead means that a clock was wrong: ask.
    fn fresh(&self, page: &Page) -> Option<Document> {
        let age = self.now.duration_since(page.checked_at);
        let asked_now = page.checked_at == self.now;
        let young = age >= SignedDuration::ZERO && age < self.max_age;
        (asked_now || young).then(|| document(page, page.checked_at, From::Fresh))
    }

    async fn ask(
        &self,
        question: &Question,
        known: Option<&Arc<Page>>,
    ) -> Result<Document, FetchError> {
        self.learnt.requests.fetch_add(1, Ordering::Relaxed);
        let url = &question.url;
        let response = self.client.get(url, headers(question, known)).await?;
        match (response.status(), known) {
            (StatusCode::OK, _) => {}
            (StatusCode::NOT_MODIFIED, Some(page)) => {
                let checked = Remembered::Checked { key: page.key.clone(), at: self.now };
                self.note(page.key.clone(), checked);
                return Ok(document(page, self.now, From::NotModified));
            }
            (status, _) => {
                let (url, status) = (shown(url), status.as_u16());
                return Err(FetchError::Status { url, status, retry_after: None });
            }
        }
        let head = head(url, &response);
        let body = Arc::new(read_bounded(url, response, question.limit).await?);
        let page = Page { key: question.key.clone(), head, body, checked_at: self.now };
        let found = document(&page, self.now, From::Network);
        self.note(page.key.clone(), Remembered::Page(Arc::new(page)));
        Ok(found)
    }

    fn note(&self, key: Key, item: Remembered) {
        self.learnt.noted.lock().unwrap_or_else(PoisonError::into_inner).insert(key, item);
    }

    /// A server that keeps answering 429 means it, even without saying until when.
    fn as_limit(&self, url: &Url, error: FetchError) -> FetchError {
        match error {
            FetchError::Status { status: 429, .. } => limited(url, None, self.client.now()),
            other => other,
        }
    }
}

fn document(page: &Page, checked_at: Timestamp, from: From) -> Document {
    let next = page.head.next.clone();
    let modified = page.head.last_modified.as_deref().and_then(http_date);
    Document { body: Arc::clone(&page.body), next, checked_at, modified, from }
}

/// Sends exactly the validators that are stored beside the body: an empty or invented one would be
/// answered with nonsense.
fn headers(question: &Question, known: Option<&Arc<Page>>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, question.accept.clone());
    let Some(page) = known.filter(|page| page.body.len() as u64 <= question.limit) else {
        return headers;
    };
    let validators = [
        (IF_NONE_MATCH, page.head.etag.as_deref()),
        (IF_MODIFIED_SINCE, page.head.last_modified.as_deref().filter(|_| !page.head.unsettled)),
    ];
    for (name, value) in validators {
        if let Some(value) = value.and_then(|text| HeaderValue::try_from(text).ok()) {
            headers.insert(name, value);
        }
    }
    headers
}

fn head(url: &Url, response: &Response) -> Head {
    let validator = |name: HeaderName| {
        let value = response.headers().get(name)?.to_str().ok()?;
        (!value.is_empty() && value.len() <= VALIDATOR_BYTES_MAX).then(|| value.to_owned())
    };
    let last_modified = validator(LAST_MODIFIED);
    let date = |text: Option<String>| text.as_deref().and_then(http_date);
    let times = date(last_modified.clone()).zip(date(validator(DATE)));
    Head {
        url: shown(url),
        etag: validator(ETAG),
        unsettled: times.is_some_and(|(m, now)| now.duration_since(m) < SETTLED_AFTER),
        last_modified,
        next: response
            .headers()
            .get_all(LINK)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .find_map(|value| next_link(response.url(), value)),
    }
}

/// The target of `rel="next"` in a `Link` header (RFC 8288), if it is on the same origin.
fn next_link(base: &Url, header: &str) -> Option<String> {
    let link = header.split(',').find(|link| {
        link.split(';').skip(1).any(|param| {
            let (name, value) = param.trim().split_once('=').unwrap_or_default();
            name.trim().eq_ignore_ascii_case("rel")
                && value.trim().trim_matches('"').split_ascii_whitespace().any(|rel| rel == "next")
        })
    })?;
    let target = link.split(';').next()?.trim().strip_prefix('<')?.strip_suffix('>')?;
    let target = base.join(target).ok()?;
    (target.origin() == base.origin()).then(|| target.into())
}

pub(super) async fn read_bounded(
    url: &Url,
    mut response: Response,
    limit: u64,
) -> Result<Vec<u8>, FetchError> {
    let too_large = || FetchError::TooLarge { url: shown(url), limit };
    if response.content_length().is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|e| FetchError::request(url, e))? {
        if body.len() as u64 + piece.len() as u64 > limit {
            return Err(too_large());
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_page_is_taken_from_the_same_origin_only() {
        let base = Url::parse("https://api.github.com/repos/a/b/releases?per_page=100").unwrap();
        let next = |header: &str| next_link(&base, header);
        assert_eq!(
            next(
                "<https://api.github.com/x?page=1>; rel=\"prev\", \
                  <https://api.github.com/x?page=3>; rel=\"next\""
            ),
            Some("https://api.github.com/x?page=3".to_owned())
        );
        assert_eq!(next("</y>; rel=next"), Some("https://api.github.com/y".to_owned()));
        assert_eq!(next("<https://evil.example/x>; rel=\"next\""), None);
        assert_eq!(next("<http://api.github.com/x>; rel=\"next\""), None);
        assert_eq!(next("<https://api.github.com/x>; rel=\"last\""), None);
        assert_eq!(next(",;<>=\""), None);
    }
}
