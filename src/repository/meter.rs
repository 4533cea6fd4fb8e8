//! An HTTP connection to a repository that counts what arrives on it.
//!
//! What a server answers is kept in memory until it is understood, so an answer has a limit; and whether the
//! connection broke or what came over it is wrong decides what is done next.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use gix::Url;
use gix::protocol::transport::Protocol;
use gix::protocol::transport::client::blocking_io::http::reqwest::Remote;
use gix::protocol::transport::client::blocking_io::http::{
    GetResponse, Http, PostBodyDataKind, PostResponse, Transport,
};

/// How much may arrive, and how it went.
#[derive(Debug)]
pub(super) struct Meter {
    left: AtomicU64,
    spent: AtomicBool,
    broken: AtomicBool,
}

impl Meter {
    /// One that lets this many bytes pass.
    pub(super) fn new(bytes: u64) -> Arc<Self> {
        let (spent, broken) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Self { left: AtomicU64::new(bytes), spent, broken })
    }

    /// Lets this many bytes pass from now on.
    pub(super) fn allow(&self, bytes: u64) {
        self.left.store(bytes, Ordering::Relaxed);
    }

    /// Whether more wanted to pass.
    pub(super) fn is_spent(&self) -> bool {
        self.spent.load(Ordering::Relaxed)
    }

    /// Whether the connection broke.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    fn pass(&self, bytes: usize) {
        let left = self.left.load(Ordering::Relaxed);
        self.left.store(left.saturating_sub(bytes as u64), Ordering::Relaxed);
    }

    fn check(&self) -> io::Result<()> {
        if self.left.load(Ordering::Relaxed) > 0 {
            return Ok(());
        }
        self.spent.store(true, Ordering::Relaxed);
        Err(io::Error::other("the answer is longer than any of a repository"))
    }

    fn note<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if result.is_err() {
            self.broken.store(true, Ordering::Relaxed);
        }
        result
    }
}

/// A connection that is counted.
pub(super) fn connect(meter: Arc<Meter>, url: Url, version: Protocol) -> Transport<Metered> {
    Transport::new_http(Metered { remote: Remote::default(), meter }, url, version, false)
}

/// Requests whose answers are counted.
pub(super) struct Metered {
    remote: Remote,
    meter: Arc<Meter>,
}

impl Metered {
    fn count<R>(&self, reader: R) -> Counted<R> {
        Counted { reader, meter: Arc::clone(&self.meter) }
    }
}

impl Http for Metered {
    type Headers = Counted<<Remote as Http>::Headers>;
    type ResponseBody = Counted<<Remote as Http>::ResponseBody>;
    type PostBody = <Remote as Http>::PostBody;

    fn get(
        &mut self,
        url: &str,
        base_url: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> gix::Result<GetResponse<Self::Headers, Self::ResponseBody>> {
        let GetResponse { headers, body } = self.remote.get(url, base_url, headers)?;
        Ok(GetResponse { headers: self.count(headers), body: self.count(body) })
    }

    fn post(
        &mut self,
        url: &str,
        base_url: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
        body: PostBodyDataKind,
    ) -> gix::Result<PostResponse<Self::Headers, Self::ResponseBody, Self::PostBody>> {
        let answer = self.remote.post(url, base_url, headers, body)?;
        let (headers, body) = (self.count(answer.headers), self.count(answer.body));
        Ok(PostResponse { post_body: answer.post_body, headers, body })
    }

    fn configure(&mut self, config: &dyn std::any::Any) -> gix::Result {
        self.remote.configure(config)
    }

    fn redirected_base_url(&self) -> Option<String> {
        self.remote.redirected_base_url()
    }
}

/// A part of an answer.
pub(super) struct Counted<R> {
    reader: R,
    meter: Arc<Meter>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.meter.check()?;
        let read = self.meter.note(self.reader.read(buffer))?;
        self.meter.pass(read);
        Ok(read)
    }
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.meter.check()?;
        self.meter.note(self.reader.fill_buf())
    }

    fn consume(&mut self, amount: usize) {
        self.meter.pass(amount);
        self.reader.consume(amount);
    }
}
