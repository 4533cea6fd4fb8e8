//! A verified artifact becomes one file: an image, decompressed by its first bytes whatever its name.

use std::fs::{File, FileTimes};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};

use crate::model::extension::PlaceRules;
use crate::model::{Algorithm, Blob, Digest};
use crate::trust::Verified;
use crate::unpack::container::{self, Container};
use crate::unpack::error::UnpackError;
use crate::unpack::head;
use crate::unpack::inflate::Coding;

/// Bytes decompressed, hashed and written at a time.
const PIECE_BYTES: usize = 128 << 10;

/// An image in its staging place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// SHA-256 of the image.
    pub sha256: Digest,
    /// Bytes of the image.
    pub size: u64,
    /// Modification time in seconds since 1970.
    pub mtime: i64,
}

/// Writes the image that `blob` holds into the new file `into`. Nothing is synced: the caller does that.
pub fn place(
    blob: &Verified<Blob>,
    into: &Path,
    rules: &PlaceRules,
) -> Result<Placed, UnpackError> {
    let blob = blob.get();
    let unreadable = |source| UnpackError::Blob { path: blob.path.clone(), source };
    let mut packed = File::open(&blob.path).map_err(unreadable)?;
    let start = head(&mut packed).map_err(unreadable)?;
    let coding = match container::recognise("", &start)? {
        Container::Stream(coding) => coding,
        // An image may start with anything.
        Container::Zip => Coding::Plain,
    };
    let failed = |action| {
        let path = into.display().to_string();
        move |source| UnpackError::Stage { action, path, source }
    };
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(into)
        .map_err(failed("make"))?;
    let known = blob.digests.iter().find(|d| d.algorithm() == Algorithm::Sha256);
    let (sha256, size) = match (coding, known) {
        (Coding::Plain, Some(known)) => {
            check(blob.size, rules)?;
            packed.seek(SeekFrom::Start(0)).map_err(unreadable)?;
            let size = std::io::copy(&mut packed, &mut file).map_err(failed("write"))?;
            (known.clone(), size)
        }
        _ => inflate(coding, packed, (&mut file, into), rules)?,
    };
    if let Some(microseconds) = rules.modified_us {
        let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_micros(microseconds));
        let times = at.map_or_else(FileTimes::new, |at| FileTimes::new().set_modified(at));
        file.set_times(times).map_err(failed("set the time of"))?;
    }
    file.set_permissions(std::fs::Permissions::from_mode(rules.mode))
        .map_err(failed("set the mode of"))?;
    let mtime = file.metadata().map_err(failed("look at"))?.mtime();
    Ok(Placed { sha256, size, mtime })
}

fn inflate(
    coding: Coding,
    packed: File,
    (file, into): (&mut File, &Path),
    rules: &PlaceRules,
) -> Result<(Digest, u64), UnpackError> {
    let damaged = |source| UnpackError::Stream { coding: coding.name(), source };
    let mut reader = coding.reader(packed).map_err(damaged)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; PIECE_BYTES];
    let mut size = 0;
    loop {
        let count = reader.read(&mut buffer).map_err(damaged)?;
        let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else { break };
        size += bytes.len() as u64;
        check(size, rules)?;
        hasher.update(bytes);
        file.write_all(bytes).map_err(|source| {
            let path = into.display().to_string();
            UnpackError::Stage { action: "write", path, source }
        })?;
    }
    let bytes: [u8; 32] = hasher.finalize().into();
    let sha256 = Digest::new(Algorithm::Sha256, &bytes);
    Ok((sha256.unwrap_or_else(|| unreachable!("SHA-256 has 32 bytes")), size))
}

fn check(size: u64, rules: &PlaceRules) -> Result<(), UnpackError> {
    if size <= rules.bytes_max {
        return Ok(());
    }
    Err(UnpackError::Limit { what: "bytes in the image", max: rules.bytes_max })
}
