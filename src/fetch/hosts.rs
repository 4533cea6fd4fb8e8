//! How much each host is asked, and which hosts are left alone for now.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use reqwest::Url;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::fetch::client::authority;
use crate::fetch::error::{FetchError, shown};
use crate::fetch::memory::{Document, From};

/// Requests for documents under way at once, in all.
pub const REQUESTS_MAX: usize = 128;

/// Requests for documents under way at once at one host. GitHub refuses more than 100; a thousand sources on
/// one host 20 ms away take a third of a second.
pub const REQUESTS_PER_HOST_MAX: usize = 64;

/// Documents of one host that may break off or stall in a row before it is given up for this pass. A
/// host that cannot be connected to is given up at once: with a thousand sources there, waiting for each
/// of them would take hours.
const FAILURES_MAX: u32 = 3;

/// All hosts asked during a pass.
#[derive(Debug)]
pub(super) struct Hosts {
    all: Arc<Semaphore>,
    hosts: Mutex<BTreeMap<String, Arc<Host>>>,
}

#[derive(Debug)]
struct Host {
    permits: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    limited_until: Option<Timestamp>,
    answers: Answers,
}

/// How often the documents of a host were asked for, by what came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// They came.
    pub ok: u64,
    /// They are as they were.
    pub not_modified: u64,
    /// There are none: what is looked for by its usual names need not be there.
    pub absent: u64,
    /// The host refused for now.
    pub rate_limited: u64,
    /// Anything else.
    pub error: u64,
}

impl Answers {
    /// With the names of the metrics.
    pub fn named(&self) -> [(&'static str, u64); 5] {
        [
            ("ok", self.ok),
            ("not_modified", self.not_modified),
            ("absent", self.absent),
            ("rate_limited", self.rate_limited),
            ("error", self.error),
        ]
    }

    /// Whether the host answered at all as it should.
    pub fn any_good(&self) -> bool {
        self.ok + self.not_modified > 0
    }

    fn count(&mut self, outcome: &Result<Document, FetchError>) {
        match outcome {
            Ok(Document { from: From::NotModified, .. }) => self.not_modified += 1,
            Ok(_) => self.ok += 1,
            Err(FetchError::Status { status: 404 | 410, .. }) => self.absent += 1,
            Err(FetchError::RateLimited { .. }) => self.rate_limited += 1,
            // It was not asked.
            Err(FetchError::GivenUp { .. }) => {}
            Err(_) => self.error += 1,
        }
    }
}

/// The right to send one request.
#[derive(Debug)]
pub(super) struct Permit {
    _host: Option<OwnedSemaphorePermit>,
    _all: Option<OwnedSemaphorePermit>,
}

impl Hosts {
    pub(super) fn new() -> Self {
        Self { all: Arc::new(Semaphore::new(REQUESTS_MAX)), hosts: Mutex::default() }
    }

    /// Waits for the right to ask the host of `url`; refused where asking is of no use now. `limit`
    /// says until when the host is known to refuse requests, and is asked once for each host.
    pub(super) async fn permit(
        &self,
        url: &Url,
        now: Timestamp,
        limit: impl FnOnce() -> Option<Timestamp>,
    ) -> Result<Permit, FetchError> {
        let host = self.host(url, limit);
        host.check(url, now)?;
        // The host first: whoever waits for a busy host must not keep others waiting.
        let of_host = Arc::clone(&host.permits).acquire_owned().await.ok();
        let of_all = Arc::clone(&self.all).acquire_owned().await.ok();
        host.check(url, now)?;
        Ok(Permit { _host: of_host, _all: of_all })
    }

    /// Learns from the outcome of a request, all its tries included.
    pub(super) fn learn(&self, url: &Url, outcome: &Result<Document, FetchError>) {
        let host = self.host(url, || None);
        let mut state = host.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.answers.count(outcome);
        match outcome {
            Err(FetchError::RateLimited { until, .. }) => state.limited_until = Some(*until),
            Err(FetchError::Unreachable { .. }) => state.failures = FAILURES_MAX,
            // It was not asked.
            Err(FetchError::GivenUp { .. }) => {}
            Err(FetchError::Interrupted { .. }) => state.failures += 1,
            // It answers, if only with errors, and does so quickly.
            Ok(_) | Err(_) => state.failures = 0,
        }
    }

    /// What came of asking, by host.
    pub(super) fn answers(&self) -> BTreeMap<String, Answers> {
        let hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let answers = hosts.iter().map(|(name, host)| {
            let state = host.state.lock().unwrap_or_else(PoisonError::into_inner);
            (name.clone(), state.answers)
        });
        answers.filter(|(_, answers)| *answers != Answers::default()).collect()
    }

    fn host(&self, url: &Url, limit: impl FnOnce() -> Option<Timestamp>) -> Arc<Host> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let host = hosts.entry(authority(url)).or_insert_with(|| {
            let state = State { limited_until: limit(), ..State::default() };
            let permits = Arc::new(Semaphore::new(REQUESTS_PER_HOST_MAX));
            Arc::new(Host { permits, state: Mutex::new(state) })
        });
        Arc::clone(host)
    }
}

impl Host {
    fn check(&self, url: &Url, now: Timestamp) -> Result<(), FetchError> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(until) = state.limited_until.filter(|until| *until > now) {
            return Err(FetchError::RateLimited { host: authority(url), until });
        }
        if state.failures >= FAILURES_MAX {
            return Err(FetchError::GivenUp { url: shown(url), host: authority(url) });
        }
        Ok(())
    }
}
