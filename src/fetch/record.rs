//! What is remembered about documents and hosts, one file for each, below `<cache>/http/`.
//!
//! A page is one line of JSON (what was asked, the server's validators, SHA-256 of the body) and then
//! the body byte for byte, so validators and body can never part. The file's modification time is
//! when the source last vouched for it. A file that is not whole counts as absent.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::fetch::FetchError;
use crate::fetch::own::{cache_error, create_directory, open_read, rename, write};
use crate::fetch::retry::RATE_LIMIT_MAX;
use crate::model::cached::Cache;
use crate::model::{Algorithm, Digest};

/// Largest document accepted and remembered, in bytes: 100 releases with 100 files each at GitHub.
pub const DOCUMENT_BYTES_MAX: u64 = 16 << 20;

/// Largest first line of a remembered page, in bytes: two validators and two URLs.
const HEADER_BYTES_MAX: u64 = 32 << 10;

const FORMAT: u32 = 1;

/// Something learnt during a pass, to be kept for the next ones.
#[derive(Clone, Debug)]
pub enum Remembered {
    /// A document that is new or has changed.
    Page(Arc<Page>),
    /// The remembered document is still the current one.
    Checked {
        /// Which.
        key: Key,
        /// As of when.
        at: Timestamp,
    },
    /// A host refuses requests.
    Limit {
        /// Which host, asked with which token.
        key: Key,
        /// Until when.
        until: Timestamp,
    },
}

/// Name of a remembered thing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(String);

impl Key {
    /// The key of a document: another token or media type may get another body.
    pub(super) fn page(url: &str, accept: &str, identity: Option<&str>) -> Self {
        Self::of(&["page", url, accept, identity.unwrap_or_default()])
    }

    /// The key of a host's limit.
    pub(super) fn limit(authority: &str, identity: Option<&str>) -> Self {
        Self::of(&["limit", authority, identity.unwrap_or_default()])
    }

    fn of(parts: &[&str]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        Self(HEXLOWER.encode(&hash.finalize()))
    }

    pub(super) fn path(&self, cache: &Cache) -> PathBuf {
        cache.documents.join(&self.0)
    }
}

/// A document with the validators the server gave for exactly this body.
#[derive(Clone, Debug)]
pub struct Page {
    pub(super) key: Key,
    pub(super) head: Head,
    pub(super) body: Arc<Vec<u8>>,
    pub(super) checked_at: Timestamp,
}

/// What is known about a remembered body.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Head {
    /// For people who look into the cache.
    pub(super) url: String,
    /// Byte for byte as the server gave it.
    pub(super) etag: Option<String>,
    /// Byte for byte as the server gave it.
    pub(super) last_modified: Option<String>,
    /// It was modified so shortly before it was sent that its date does not tell it from what came after.
    #[serde(default)]
    pub(super) unsettled: bool,
    /// The next page of a list.
    pub(super) next: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    format: u32,
    sha256: Digest,
    head: Head,
}

#[derive(Serialize, Deserialize)]
struct LimitFile {
    format: u32,
    until: Timestamp,
}

impl Page {
    /// The remembered page, if it is there and whole.
    pub(super) fn load(cache: &Cache, key: &Key) -> Option<Self> {
        let mut file = open_read(&key.path(cache)).ok()?;
        let metadata = file.metadata().ok()?;
        if metadata.len() > DOCUMENT_BYTES_MAX + HEADER_BYTES_MAX {
            return None;
        }
        let checked_at = Timestamp::try_from(metadata.modified().ok()?).ok()?;
        let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).ok()?);
        file.by_ref().take(metadata.len()).read_to_end(&mut bytes).ok()?;
        let (head, body) = decode(bytes)?;
        Some(Self { key: key.clone(), head, body: Arc::new(body), checked_at })
    }

    fn encode(&self) -> Option<Vec<u8>> {
        let sha256 = Digest::new(Algorithm::Sha256, &Sha256::digest(&*self.body))?;
        let line = Line { format: FORMAT, sha256, head: self.head.clone() };
        let mut bytes = serde_json::to_vec(&line).ok()?;
        bytes.push(b'\n');
        bytes.extend_from_slice(&self.body);
        Some(bytes)
    }
}

fn decode(mut bytes: Vec<u8>) -> Option<(Head, Vec<u8>)> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let line: Line = serde_json::from_slice(bytes.get(..end)?).ok()?;
    bytes.drain(..=end);
    let whole =
        line.format == FORMAT && line.sha256.as_bytes() == Sha256::digest(&bytes).as_slice();
    whole.then_some((line.head, bytes))
}

/// Until when a host refuses requests, as remembered at `now`. One that is longer than any is was learnt by a clock that was
/// ahead.
pub(super) fn load_limit(cache: &Cache, key: &Key, now: Timestamp) -> Option<Timestamp> {
    let file = open_read(&key.path(cache)).ok()?;
    let limit: LimitFile = serde_json::from_reader(file.take(HEADER_BYTES_MAX)).ok()?;
    let longest = now.saturating_add(RATE_LIMIT_MAX).unwrap_or(now);
    (limit.format == FORMAT && limit.until <= longest).then_some(limit.until)
}

/// Keeps what a [`Reader`](crate::fetch::Reader) noted. Only the record phase calls this; two
/// processes must not do so at once.
pub fn store(cache: &Cache, noted: &[Remembered]) -> Result<(), FetchError> {
    if noted.is_empty() {
        return Ok(());
    }
    create_directory(&cache.documents)?;
    noted.iter().try_for_each(|item| match item {
        Remembered::Page(page) => {
            let Some(bytes) = page.encode() else { return Ok(()) };
            let path = page.key.path(cache);
            replace(&path, &bytes)?;
            touch(&path, page.checked_at)
        }
        Remembered::Checked { key, at } => touch(&key.path(cache), *at),
        Remembered::Limit { key, until } => {
            let limit = LimitFile { format: FORMAT, until: *until };
            let Ok(bytes) = serde_json::to_vec(&limit) else { return Ok(()) };
            replace(&key.path(cache), &bytes)
        }
    })
}

/// A reader sees the old file or the new one. Nothing is synced: a file torn by a power failure
/// fails its digest and counts as absent.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), FetchError> {
    let staged = path.with_extension("new");
    let written = write(&staged, bytes).and_then(|()| rename(&staged, path));
    written.map_err(|source| cache_error("write", path, source))
}

fn touch(path: &Path, at: Timestamp) -> Result<(), FetchError> {
    let omit = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let modified = Timespec { tv_sec: at.as_second(), tv_nsec: at.subsec_nanosecond().into() };
    let times = Timestamps { last_access: omit, last_modification: modified };
    match rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW) {
        // Wiped since it was read: nothing is lost.
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(cache_error("touch", path, errno.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(body: &[u8]) -> Page {
        let head = Head {
            url: "https://a.example/x".to_owned(),
            etag: Some("\"1\"".to_owned()),
            last_modified: None,
            unsettled: false,
            next: None,
        };
        let key = Key::page(&head.url, "*/*", None);
        let checked_at = Timestamp::from_second(1_700_000_000).unwrap();
        Page { key, head, body: Arc::new(body.to_vec()), checked_at }
    }

    #[test]
    fn remembered_page_comes_back_byte_for_byte() {
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::below(home.path());
        let page = page(b"\x00\xffline\n{\n");
        store(&cache, &[Remembered::Page(Arc::new(page.clone()))]).unwrap();
        let loaded = Page::load(&cache, &page.key).unwrap();
        assert_eq!(loaded.body, page.body);
        assert_eq!(loaded.head.etag, page.head.etag);
        assert_eq!(loaded.checked_at, page.checked_at);
    }

    #[test]
    fn page_that_is_not_whole_counts_as_absent() {
        let bytes = page(b"some body").encode().unwrap();
        for end in 0..bytes.len() {
            assert!(decode(bytes[..end].to_vec()).is_none(), "{end} bytes");
        }
        let mut flipped = bytes.clone();
        *flipped.last_mut().unwrap() ^= 1;
        assert!(decode(flipped).is_none());
        assert!(decode(vec![0; bytes.len()]).is_none());
    }

    #[test]
    fn limit_that_a_clock_ahead_of_time_has_set_is_forgotten() {
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::below(home.path());
        let key = || Key::limit("a.example", None);
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        for (until, holds) in [(now + RATE_LIMIT_MAX, true), (now + RATE_LIMIT_MAX * 2, false)] {
            store(&cache, &[Remembered::Limit { key: key(), until }]).unwrap();
            assert_eq!(load_limit(&cache, &key(), now), Some(until).filter(|_| holds));
        }
    }

    #[test]
    fn keys_tell_tokens_and_media_types_apart() {
        let key = |accept, identity| Key::page("https://a.example/", accept, identity);
        assert_ne!(key("a", None), key("b", None));
        assert_ne!(key("a", None), key("a", Some("t")));
        assert_ne!(Key::of(&["ab", "c"]), Key::of(&["a", "bc"]));
    }
}
