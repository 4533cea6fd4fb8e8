//! Bytes over a network that behaves badly: nothing is lost, leaked, mixed or unbounded.

mod blobs;
mod documents;

use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reconcile::fetch::{Backoff, Client, Credentials, Reader, Settings};
use reconcile::model::cached::Cache;

const NEVER: SignedDuration = SignedDuration::ZERO;
const ANY: &str = "*/*";
const LIMIT: u64 = 1 << 20;

pub fn now() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

/// A client that tries again without waiting.
pub fn client(credentials: Credentials) -> Client {
    client_with(credentials, Settings::default().stall_timeout)
}

fn client_with(credentials: Credentials, stall_timeout: Duration) -> Client {
    let backoff = Backoff { base: Duration::ZERO, cap: Duration::ZERO, tries: 4 };
    Client::new(credentials, Settings { stall_timeout, backoff, ..Settings::default() }, now())
}

pub fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn reader_at(home: &Path, at: Timestamp, max_age: SignedDuration) -> Reader {
    Reader::new(client(Credentials::default()), Some(&Cache::below(home)), at, max_age)
}

fn reader(cache: &Path) -> Reader {
    reader_at(cache, now(), NEVER)
}
