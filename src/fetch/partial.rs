//! A download on disk that is not complete yet, with what is needed to continue it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use crate::fetch::error::FetchError;
use crate::fetch::hash::Hasher;
use crate::fetch::own::{cache_error, create_directory, open, open_read, remove, rename, write};
use crate::model::Digest;

/// Bytes read or written at once.
pub(super) const PIECE_BYTES: usize = 128 << 10;

/// Largest sidecar read, in bytes: a URL and a validator.
const SIDECAR_BYTES_MAX: u64 = 16 << 10;

/// Files that may be in use by others before this gives up finding a name of its own.
const NAMES_MAX: u32 = 64;

/// A partial download: its file, how many bytes are there, and the hash of those.
#[derive(Debug)]
pub(super) struct Partial {
    path: PathBuf,
    file: File,
    /// Bytes there, all of them hashed.
    pub(super) length: u64,
    hasher: Hasher,
    /// What the bytes must match for more to be appended.
    pub(super) validator: Option<String>,
    url: String,
    expect: Vec<Digest>,
}

/// What belongs to the bytes of a partial download.
#[derive(Serialize, Deserialize)]
struct Sidecar {
    url: String,
    validator: String,
}

impl Partial {
    /// Opens the partial download of `url` and hashes what is there already. The file is locked, so two
    /// downloads of the same thing never write into one file.
    pub(super) fn open(directory: &Path, url: &str, expect: &[Digest]) -> Result<Self, FetchError> {
        let failed = |source| cache_error("open", directory, source);
        create_directory(directory)?;
        let name = name(url, expect);
        for number in 0..NAMES_MAX {
            let path = directory.join(format!("{name}.{number}"));
            let Some(file) = lock(&path).map_err(failed)? else { continue };
            let mut partial = Self {
                path,
                file,
                length: 0,
                hasher: Hasher::wanting(expect),
                validator: None,
                url: url.to_owned(),
                expect: expect.to_vec(),
            };
            let resumable = partial.read_sidecar().is_some_and(|sidecar| sidecar.url == url);
            if resumable {
                partial.hash_prefix().map_err(failed)?;
                partial.validator = partial.read_sidecar().map(|sidecar| sidecar.validator);
            } else {
                partial.restart(None)?;
            }
            return Ok(partial);
        }
        Err(failed(io::Error::other("too many downloads of the same file at once")))
    }

    /// Forgets all bytes; the next ones belong to `validator`.
    pub(super) fn restart(&mut self, validator: Option<&str>) -> Result<(), FetchError> {
        let path = self.sidecar_path();
        let failed = |source| cache_error("write", &path, source);
        // The sidecar goes first and comes last: it must never describe other bytes.
        remove(&path).map_err(failed)?;
        self.file.set_len(0).and_then(|()| self.file.rewind()).map_err(failed)?;
        self.length = 0;
        self.hasher = Hasher::wanting(&self.expect);
        self.validator = validator.map(ToOwned::to_owned);
        if let Some(validator) = &self.validator {
            let sidecar = Sidecar { url: self.url.clone(), validator: validator.clone() };
            let bytes = serde_json::to_vec(&sidecar).map_err(|e| failed(e.into()))?;
            write(&path, &bytes).map_err(failed)?;
        }
        Ok(())
    }

    /// Appends all that comes, hashing it on the way. To be run where blocking is allowed.
    pub(super) fn append(&mut self, mut pieces: mpsc::Receiver<Bytes>) -> Result<(), FetchError> {
        let mut writer = BufWriter::with_capacity(PIECE_BYTES, &self.file);
        let mut written = Ok(());
        while let Some(piece) = pieces.blocking_recv() {
            written = writer.write_all(&piece);
            if written.is_err() {
                break;
            }
            self.hasher.update(&piece);
            self.length += piece.len() as u64;
        }
        let flushed = written.and_then(|()| writer.flush());
        flushed.map_err(|source| cache_error("write", &self.path, source))
    }

    /// Digests of all bytes there.
    pub(super) fn digests(&self) -> Vec<Digest> {
        self.hasher.clone().finish()
    }

    /// Moves the complete file to its place in the cache. The sidecar goes before it: nobody would ever come
    /// back for one that stays alone.
    pub(super) fn promote(self, place: &Path) -> Result<(), FetchError> {
        let failed = |source| cache_error("store", place, source);
        place.parent().map_or(Ok(()), create_directory)?;
        let sidecar = self.sidecar_path();
        remove(&sidecar).map_err(|source| cache_error("remove", &sidecar, source))?;
        rename(&self.path, place).map_err(failed)
    }

    /// Removes everything.
    pub(super) fn discard(self) -> Result<(), FetchError> {
        let failed = |source| cache_error("remove", &self.path, source);
        remove(&self.sidecar_path()).map_err(failed)?;
        remove(&self.path).map_err(failed)
    }

    fn sidecar_path(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".json");
        name.into()
    }

    fn read_sidecar(&self) -> Option<Sidecar> {
        let file = open_read(&self.sidecar_path()).ok()?;
        serde_json::from_reader(file.take(SIDECAR_BYTES_MAX)).ok()
    }

    fn hash_prefix(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; PIECE_BYTES];
        self.file.seek(SeekFrom::Start(0))?;
        loop {
            let count = self.file.read(&mut buffer)?;
            let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else {
                return Ok(());
            };
            self.hasher.update(bytes);
            self.length += count as u64;
        }
    }
}

/// Opens and locks `path`; `None` when somebody else has it.
fn lock(path: &Path) -> io::Result<Option<File>> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let file = open(path, &mut options).or_else(|_| {
        // Whatever is in its place is not a download.
        remove(path)?;
        open(path, &mut options)
    })?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    // Between opening and locking, its last owner may have moved it into the cache as complete.
    let (opened, there) = (file.metadata()?, std::fs::metadata(path));
    let same = there.is_ok_and(|there| (there.dev(), there.ino()) == (opened.dev(), opened.ino()));
    Ok(same.then_some(file))
}

/// Name of the partial download of what `expect` demands, from `url`.
fn name(url: &str, expect: &[Digest]) -> String {
    let mut hash = Sha256::new();
    hash.update(url.as_bytes());
    for digest in expect {
        hash.update([0]);
        hash.update(digest.to_string().as_bytes());
    }
    HEXLOWER.encode(&hash.finalize())
}
