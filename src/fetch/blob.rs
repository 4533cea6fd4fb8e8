//! Artifacts into the content-addressed cache: resumed, hashed while they stream, from several places.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_RANGE, DATE, ETAG, HeaderMap, HeaderName, HeaderValue,
    IF_RANGE, LAST_MODIFIED, RANGE,
};
use reqwest::{Response, StatusCode, Url};
use rustix::fs::OFlags;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio::time::{Duration, Instant};

use crate::fetch::Client;
use crate::fetch::error::{FetchError, Resumed, shown};
use crate::fetch::hash::{Hasher, contradiction};
use crate::fetch::own::{cache_error, open_read, remove};
use crate::fetch::packed::{Pieces, pack};
use crate::fetch::partial::{PIECE_BYTES, Partial};
use crate::fetch::retry::{http_date, retrying};
use crate::model::cached::Cache;
use crate::model::step::Blob;
use crate::model::{Algorithm, Digest};

/// Pieces received but not yet hashed and written; with the 400 KiB a piece can have, 1.6 MiB.
const PIECES_WAITING_MAX: usize = 4;

/// Slowest line that is waited for, in bytes a second: everything else of the pass waits along.
const RATE_MIN: u64 = 4 << 10;

/// Stall timeouts for which a line is watched before it is too slow.
const WATCHED_STALLS: u32 = 2;

/// One artifact to get.
#[derive(Clone, Copy, Debug)]
pub struct BlobRequest<'a> {
    /// Where, in order of preference: `https:`, `http:` or `file:`.
    pub urls: &'a [String],
    /// Its file name, for people.
    pub name: &'a str,
    /// Its exact size in bytes, when the source states it.
    pub size: Option<u64>,
    /// Digests the bytes must have.
    pub expect: &'a [Digest],
    /// Most bytes accepted.
    pub size_max: u64,
}

/// Watches downloads; several may be under way at once.
pub trait Progress: Send + Sync {
    /// Bytes of `name` are coming, from the first one on; again when a download starts over.
    fn started(&self, name: &str, total: Option<u64>);
    /// So many more bytes of `name` are there, those of an earlier attempt included.
    fn advanced(&self, name: &str, bytes: u64);
    /// `name` is complete and as expected.
    fn finished(&self, name: &str);
    /// A place did not serve `name`; the next one is tried.
    fn skipped(&self, name: &str, why: &FetchError);
}

/// Watches nothing.
#[derive(Clone, Copy, Debug)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn started(&self, _: &str, _: Option<u64>) {}
    fn advanced(&self, _: &str, _: u64) {}
    fn finished(&self, _: &str) {}
    fn skipped(&self, _: &str, _: &FetchError) {}
}

/// Brings an artifact into the cache, from the cache itself or the first place that serves the expected bytes.
/// Interrupted downloads stay there, too, and are continued.
pub async fn download(
    client: &Client,
    request: &BlobRequest<'_>,
    cache: &Cache,
    progress: &dyn Progress,
) -> Result<Blob, FetchError> {
    if let Some(blob) = cached(request, cache).await? {
        return Ok(blob);
    }
    let mut failures = Vec::new();
    let mut places = request.urls.iter().peekable();
    while let Some(url) = places.next() {
        let place = Place { client, request, cache, progress };
        match retrying(client.backoff(), || place.fetch(url)).await {
            Ok(blob) => {
                progress.finished(request.name);
                return Ok(blob);
            }
            // No other place can help a full disk.
            Err(error @ FetchError::Cache { .. }) => return Err(error),
            Err(error) => {
                if places.peek().is_some() {
                    progress.skipped(request.name, &error);
                }
                failures.push(error);
            }
        }
    }
    match failures.pop() {
        Some(only) if failures.is_empty() => Err(only),
        last => {
            failures.extend(last);
            Err(FetchError::Everywhere { name: request.name.to_owned(), failures })
        }
    }
}

/// The blob as the cache has it. It is hashed again on use: a disk may have damaged it, a power failure
/// may have torn it. One that is wrong is dropped.
async fn cached(request: &BlobRequest<'_>, cache: &Cache) -> Result<Option<Blob>, FetchError> {
    let sha256 = request.expect.iter().find(|d| d.algorithm() == Algorithm::Sha256);
    let Some(sha256) = sha256 else { return Ok(None) };
    let (path, expect) = (cache.blob(sha256), request.expect.to_vec());
    let size = request.size;
    blocking(&cache.partial, move || {
        let Ok(file) = open_read(&path) else { return Ok(None) };
        let hashed = hash_file(file, Hasher::wanting(&expect));
        let (length, digests) = hashed.map_err(|e| cache_error("read", &path, e))?;
        if contradiction(&expect, &digests).is_some() {
            remove(&path).map_err(|e| cache_error("remove", &path, e))?;
            return Ok(None);
        }
        let right_size = size.is_none_or(|size| size == length);
        Ok(right_size.then_some(Blob { path, size: length, digests }))
    })
    .await
}

fn hash_file(mut file: File, mut hasher: Hasher) -> std::io::Result<(u64, Vec<Digest>)> {
    let mut buffer = vec![0; PIECE_BYTES];
    let mut length = 0;
    loop {
        let count = file.read(&mut buffer)?;
        let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else {
            return Ok((length, hasher.finish()));
        };
        hasher.update(bytes);
        length += count as u64;
    }
}

/// Runs work that blocks beside the runtime.
async fn blocking<T: Send + 'static>(
    directory: &Path,
    work: impl FnOnce() -> Result<T, FetchError> + Send + 'static,
) -> Result<T, FetchError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| cache_error("work in", directory, std::io::Error::other(error)))?
}

/// One download under way, wherever from.
struct Place<'a> {
    client: &'a Client,
    request: &'a BlobRequest<'a>,
    cache: &'a Cache,
    progress: &'a dyn Progress,
}

/// Where bytes come from.
enum Body {
    Web(Response),
    File(tokio::fs::File, PathBuf),
    /// A directory, packed.
    Packed(Pieces, PathBuf),
}

impl Place<'_> {
    /// One attempt, continuing an earlier one where both sides can.
    async fn fetch(&self, url: &str) -> Result<Blob, FetchError> {
        let parsed = Url::parse(url).map_err(|_| FetchError::BadUrl { url: url.to_owned() })?;
        let (directory, expect) = (self.cache.partial.clone(), self.request.expect.to_vec());
        let text = url.to_owned();
        let mut partial =
            blocking(&self.cache.partial, move || Partial::open(&directory, &text, &expect))
                .await?;
        let answer = match parsed.scheme() {
            "file" => partial.restart(None).and_then(|()| open_file(&parsed)),
            "http" | "https" => self.ask(&parsed, &mut partial).await,
            _ => Err(FetchError::BadUrl { url: shown(&parsed) }),
        };
        let checked = answer.and_then(|(body, total)| {
            self.check_total(&parsed, total)?;
            Ok((body, total))
        });
        let (body, total) = match checked {
            Ok(answer) => answer,
            Err(error) => return Err(leave(partial, error)),
        };
        let resumed = if partial.length > 0 { Resumed::Yes } else { Resumed::No };
        self.progress.started(self.request.name, total.or(self.request.size));
        self.progress.advanced(self.request.name, partial.length);
        let (partial, received) = self.receive(&parsed, partial, body).await?;
        match received.and_then(|()| self.judge(&parsed, &partial, total, resumed)) {
            Ok(digests) => self.keep(partial, digests),
            Err(error) => Err(leave(partial, error)),
        }
    }

    /// Asks for what is missing; an answer that does not continue makes `partial` start over.
    async fn ask(
        &self,
        url: &Url,
        partial: &mut Partial,
    ) -> Result<(Body, Option<u64>), FetchError> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/octet-stream"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let validator = partial.validator.as_deref().filter(|_| partial.length > 0);
        let validator = validator.and_then(|text| HeaderValue::try_from(text).ok());
        let range = HeaderValue::try_from(format!("bytes={}-", partial.length));
        let asked = match (validator, range) {
            (Some(validator), Ok(range)) => {
                headers.insert(RANGE, range);
                headers.insert(IF_RANGE, validator);
                Resumed::Yes
            }
            _ => Resumed::No,
        };
        let response = self.client.get(url, headers).await?;
        match (response.status(), asked) {
            (StatusCode::OK, _) => {
                partial.restart(strong_validator(response.headers()).as_deref())?;
                let total = response.content_length();
                Ok((Body::Web(response), total))
            }
            (StatusCode::PARTIAL_CONTENT, Resumed::Yes) => {
                match content_range(response.headers()) {
                    Some((start, total)) if start == partial.length => {
                        Ok((Body::Web(response), total))
                    }
                    _ => Err(FetchError::ResumeRefused { url: shown(url) }),
                }
            }
            (StatusCode::RANGE_NOT_SATISFIABLE, Resumed::Yes) => {
                Err(FetchError::ResumeRefused { url: shown(url) })
            }
            (status, _) => {
                let status = status.as_u16();
                Err(FetchError::Status { url: shown(url), status, retry_after: None })
            }
        }
    }

    /// The size the place announces, against what is expected and allowed.
    fn check_total(&self, url: &Url, total: Option<u64>) -> Result<(), FetchError> {
        let (size, limit) = (self.request.size, self.request.size_max);
        if size.or(total).is_some_and(|size| size > limit) {
            return Err(FetchError::TooLarge { url: shown(url), limit });
        }
        match (size, total) {
            (Some(expected), Some(found)) if expected != found => {
                Err(FetchError::SizeDiffers { url: shown(url), expected, found })
            }
            _ => Ok(()),
        }
    }

    /// Streams the body to disk, hashing on another thread meanwhile. The outer error means that the
    /// partial download is lost, the inner one that it stays.
    async fn receive(
        &self,
        url: &Url,
        mut partial: Partial,
        mut body: Body,
    ) -> Result<(Partial, Result<(), FetchError>), FetchError> {
        let limit = self.request.size.unwrap_or(self.request.size_max);
        let mut received = partial.length;
        let mut pace = Pace::new(self.client.stall_timeout() * WATCHED_STALLS);
        let (pieces, waiting) = mpsc::channel(PIECES_WAITING_MAX);
        let writer = tokio::task::spawn_blocking(move || {
            let written = partial.append(waiting);
            (partial, written)
        });
        let outcome = loop {
            let piece = match body.piece(url).await {
                Ok(Some(piece)) => piece,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            };
            let count = piece.len() as u64;
            received += count;
            if received > limit {
                break Err(self.too_long(url, received));
            }
            if let Err(seconds) = pace.note(count) {
                break Err(FetchError::Trickling { url: shown(url), rate: RATE_MIN, seconds });
            }
            if pieces.send(piece).await.is_err() {
                break Ok(());
            }
            self.progress.advanced(self.request.name, count);
        };
        drop(pieces);
        let joined = writer.await;
        let (partial, written) = joined.map_err(|error| {
            cache_error("write to", &self.cache.partial, std::io::Error::other(error))
        })?;
        Ok((partial, written.and(outcome)))
    }

    fn too_long(&self, url: &Url, found: u64) -> FetchError {
        let url = shown(url);
        match self.request.size {
            Some(expected) => FetchError::SizeDiffers { url, expected, found },
            None => FetchError::TooLarge { url, limit: self.request.size_max },
        }
    }

    /// Whether all bytes are there and are the right ones.
    fn judge(
        &self,
        url: &Url,
        partial: &Partial,
        total: Option<u64>,
        resumed: Resumed,
    ) -> Result<Vec<Digest>, FetchError> {
        if let Some(expected) = self.request.size.or(total).filter(|size| *size != partial.length) {
            let (url, received) = (shown(url), partial.length);
            return Err(FetchError::Truncated { url, expected, received });
        }
        let digests = partial.digests();
        match contradiction(self.request.expect, &digests) {
            None => Ok(digests),
            Some((expected, found)) => Err(FetchError::WrongBytes {
                url: shown(url),
                expected: expected.clone(),
                found: found.clone(),
                resumed,
            }),
        }
    }

    fn keep(&self, partial: Partial, digests: Vec<Digest>) -> Result<Blob, FetchError> {
        let size = partial.length;
        let path = match digests.first() {
            Some(sha256) => self.cache.blob(sha256),
            None => self.cache.partial.clone(),
        };
        partial.promote(&path)?;
        Ok(Blob { path, size, digests })
    }
}

/// How fast bytes come.
struct Pace {
    since: Instant,
    bytes: u64,
    watched: Duration,
}

impl Pace {
    fn new(watched: Duration) -> Self {
        Self { since: Instant::now(), bytes: 0, watched }
    }

    /// So many more came; fails with the seconds in which there were too few.
    fn note(&mut self, bytes: u64) -> Result<(), u64> {
        self.bytes += bytes;
        let elapsed = self.since.elapsed();
        if elapsed < self.watched {
            return Ok(());
        }
        let enough = u128::from(RATE_MIN) * elapsed.as_millis() / 1000;
        if u128::from(self.bytes) < enough {
            return Err(elapsed.as_secs());
        }
        *self = Self::new(self.watched);
        Ok(())
    }
}

/// Keeps a partial download that can be continued, and removes any other.
fn leave(partial: Partial, error: FetchError) -> FetchError {
    let usable = !matches!(
        error,
        FetchError::WrongBytes { .. }
            | FetchError::TooLarge { .. }
            | FetchError::SizeDiffers { .. }
            | FetchError::ResumeRefused { .. }
    );
    if usable && partial.validator.is_some() && partial.length > 0 {
        return error;
    }
    match partial.discard() {
        Ok(()) => error,
        Err(worse) => worse,
    }
}

impl Body {
    async fn piece(&mut self, url: &Url) -> Result<Option<Bytes>, FetchError> {
        match self {
            Self::Web(response) => {
                response.chunk().await.map_err(|error| FetchError::request(url, error))
            }
            Self::File(file, path) => {
                let mut piece = Vec::with_capacity(PIECE_BYTES);
                let read = file.read_buf(&mut piece).await;
                read.map_err(|source| FetchError::Local { path: path.clone(), source })?;
                Ok((!piece.is_empty()).then(|| piece.into()))
            }
            Self::Packed(pieces, path) => match pieces.recv().await {
                Some(Err(source)) => Err(FetchError::Local { path: path.clone(), source }),
                piece => Ok(piece.transpose().ok().flatten()),
            },
        }
    }
}

/// Opens a `file:` source: a directory where the URL ends with a slash, and otherwise a regular file. Anything else is
/// refused without waiting for it.
fn open_file(url: &Url) -> Result<(Body, Option<u64>), FetchError> {
    let path = url.to_file_path().map_err(|()| FetchError::BadUrl { url: shown(url) })?;
    let local = |source| FetchError::Local { path: path.clone(), source };
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(&path).map_err(local)?;
    let metadata = file.metadata().map_err(local)?;
    if metadata.is_dir() && url.path().ends_with('/') {
        return Ok((Body::Packed(pack(path.clone()), path), None));
    }
    if !metadata.is_file() {
        return Err(local(std::io::ErrorKind::InvalidInput.into()));
    }
    let length = metadata.len();
    let mut file = tokio::fs::File::from_std(file);
    file.set_max_buf_size(PIECE_BYTES);
    Ok((Body::File(file, path), Some(length)))
}

/// A validator that promises equal bytes: a strong `ETag`, else a `Last-Modified` that lies at least a
/// second before `Date` (RFC 9110 §8.8.2.2).
fn strong_validator(headers: &HeaderMap) -> Option<String> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(etag) = text(ETAG) {
        return etag.starts_with('"').then(|| etag.to_owned());
    }
    let modified = text(LAST_MODIFIED)?;
    let settled = http_date(modified)? < http_date(text(DATE)?)?;
    settled.then(|| modified.to_owned())
}

/// `bytes 100-199/200` as first byte and total (RFC 9110 §14.4).
fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let (unit, rest) = headers.get(CONTENT_RANGE)?.to_str().ok()?.split_once(' ')?;
    let (range, total) = rest.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    let start = start.trim().parse().ok()?;
    unit.eq_ignore_ascii_case("bytes").then(|| (start, total.trim().parse().ok()))
}
