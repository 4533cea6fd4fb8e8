//! Reader of zip archives.
//!
//! The central directory says what there is; the `zip` crate checks it against the local headers. The
//! contents then pass through the pipe one after the other, in the central directory's order, each
//! exactly as long as it says: a zip archive is unpacked like any other stream. Source: PKWARE's
//! APPNOTE 6.3.10.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

use zip::result::ZipError;
use zip::{CompressionMethod, DateTime, ExtraField, System, ZipArchive};

use crate::model::step::UnpackLimits;
use crate::unpack::error::{Refused, UnpackError};
use crate::unpack::limits::{PATH_BYTES_MAX, StreamBound, ZIP_DIRECTORY_BYTES_MAX};
use crate::unpack::path;
use crate::unpack::pipe::{self, Chunks, Filler, Stop};
use crate::unpack::tree::{Executable, FileHead, Length, Tree, refused, refused_raw};

/// File type bits of a Unix mode (POSIX `sys/stat.h`).
const TYPE_BITS: u32 = 0o170_000;

/// Set-user-id, set-group-id and sticky.
const SPECIAL_BITS: u32 = 0o7000;

/// What an entry is.
enum Kind {
    Dir,
    File,
    Link,
}

/// An entry as the central directory lists it.
struct Head {
    path: String,
    kind: Kind,
    size: u64,
    /// Unix permission bits, where the archive has them.
    mode: Option<u32>,
    mtime: i64,
}

/// Unpacks a zip archive into `tree`.
pub(super) fn unpack(
    file: File,
    bound: StreamBound,
    limits: &UnpackLimits,
    tree: &mut Tree,
) -> Result<(), UnpackError> {
    let mut archive = open(file, limits)?;
    if archive.has_duplicate_names() {
        return Err(damaged("the same name is listed twice"));
    }
    if archive.has_overlapping_entries().map_err(UnpackError::Zip)? {
        return Err(damaged("entries overlap one another"));
    }
    archive.validate_header_consistency().map_err(UnpackError::Zip)?;
    let heads = (0..archive.len()).map(|i| head(&mut archive, i)).collect::<Result<Vec<_>, _>>()?;
    let sizes: Vec<u64> = heads.iter().map(|head| head.size).collect();
    pipe::overlap(
        bound,
        move |filler| fill(&mut archive, &sizes, filler),
        |chunks| heads.into_iter().try_for_each(|head| add(head, chunks, tree)),
    )
}

/// Opens the archive, first through a reader that stops before a central directory can fill the memory.
fn open(mut file: File, limits: &UnpackLimits) -> Result<ZipArchive<BufReader<File>>, UnpackError> {
    let again = file.try_clone().map_err(|error| UnpackError::Zip(ZipError::Io(error)))?;
    let rationed = Rationed { file: again, left: ZIP_DIRECTORY_BYTES_MAX };
    let listed = ZipArchive::new(BufReader::new(rationed)).map_err(UnpackError::Zip)?.len();
    if listed as u64 > limits.entries {
        return Err(UnpackError::Limit { what: "entries", max: limits.entries });
    }
    file.seek(SeekFrom::Start(0)).map_err(|error| UnpackError::Zip(ZipError::Io(error)))?;
    ZipArchive::new(BufReader::new(file)).map_err(UnpackError::Zip)
}

/// A file of which only so much may be read.
struct Rationed {
    file: File,
    left: u64,
}

impl Read for Rationed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(into)?;
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| {
            io::Error::other(format!(
                "its directory is larger than {ZIP_DIRECTORY_BYTES_MAX} bytes"
            ))
        })?;
        Ok(count)
    }
}

impl Seek for Rationed {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

/// What the central directory says about one entry, if it is acceptable.
fn head(archive: &mut ZipArchive<BufReader<File>>, index: usize) -> Result<Head, UnpackError> {
    let entry = archive.by_index_raw(index).map_err(UnpackError::Zip)?;
    let raw = entry.name_raw();
    let path = path::clean_zip(raw).map_err(|why| refused_raw(raw, why))?;
    if entry.encrypted() {
        return Err(refused(&path, Refused::Encrypted));
    }
    if !matches!(entry.compression(), CompressionMethod::Stored | CompressionMethod::Deflated) {
        return Err(refused(&path, Refused::Method));
    }
    // The upper half of the external attributes is a Unix mode, except where DOS made the archive.
    let unix = entry.external_attributes() >> 16;
    let mode = (unix != 0 && entry.system() != System::Dos).then_some(unix);
    let kind = match unix & TYPE_BITS {
        _ if raw.ends_with(b"/") => Kind::Dir,
        0 | 0o100_000 => Kind::File,
        0o040_000 => Kind::Dir,
        0o120_000 => Kind::Link,
        0o020_000 | 0o060_000 => return Err(refused(&path, Refused::Device)),
        0o010_000 => return Err(refused(&path, Refused::Fifo)),
        _ => return Err(refused(&path, Refused::UnknownType)),
    };
    let size = entry.size();
    match kind {
        Kind::Dir if size != 0 => return Err(refused(&path, Refused::UnexpectedContent)),
        Kind::Link if size >= PATH_BYTES_MAX as u64 => {
            return Err(refused(&path, Refused::LinkTarget));
        }
        _ => {}
    }
    let stamp = entry.extra_data_fields().find_map(|field| match field {
        ExtraField::ExtendedTimestamp(stamp) => stamp.mod_time().map(i64::from),
        _ => None,
    });
    let mtime = stamp.or_else(|| entry.last_modified().and_then(seconds)).unwrap_or(0);
    Ok(Head { path, kind, size, mode, mtime })
}

/// Passes on the contents. Runs on the filling thread.
fn fill(
    archive: &mut ZipArchive<BufReader<File>>,
    sizes: &[u64],
    filler: &mut Filler,
) -> Result<(), Stop> {
    for (index, &size) in sizes.iter().enumerate() {
        let mut content = archive.by_index(index).map_err(UnpackError::Zip)?;
        // One byte more shows that there is more without inflating all of it.
        let mut bounded = (&mut content).take(size.saturating_add(1));
        let failed = |source| UnpackError::Stream { coding: "zip", source };
        if filler.pump(&mut bounded, failed)? != size {
            return Err(Stop::Failed(damaged("an entry is not as long as it says")));
        }
    }
    Ok(())
}

fn add(head: Head, chunks: &mut Chunks, tree: &mut Tree) -> Result<(), UnpackError> {
    tree.count_entry()?;
    if let Some(mode) = head.mode.filter(|mode| mode & SPECIAL_BITS != 0) {
        tree.note(format!(
            "`{}` had mode {:o}: only its lower bits are kept",
            head.path,
            mode & 0o7777
        ));
    }
    match head.kind {
        Kind::Dir => tree.add_dir(&head.path),
        Kind::File => {
            let executable = head.mode.map_or(Executable::ByContent, Executable::from_mode);
            let length = Length::Exactly(head.size);
            let file = FileHead { path: head.path, length, executable, mtime: head.mtime };
            tree.add_file(&file, chunks)
        }
        Kind::Link => {
            let mut raw = vec![0; usize::try_from(head.size).unwrap_or(PATH_BYTES_MAX)];
            chunks.read(&mut raw)?;
            let target = path::link_target(&raw).map_err(|why| refused(&head.path, why))?;
            tree.add_link(&head.path, target)
        }
    }
}

/// Seconds since 1970 of a DOS time, which has no zone and is read as UTC.
fn seconds(time: DateTime) -> Option<i64> {
    let small = |part: u8| i8::try_from(part).ok();
    let date = jiff::civil::Date::new(
        i16::try_from(time.year()).ok()?,
        small(time.month())?,
        small(time.day())?,
    );
    let clock = jiff::civil::Time::new(
        small(time.hour())?,
        small(time.minute())?,
        small(time.second())?,
        0,
    );
    let zoned = date.ok()?.to_datetime(clock.ok()?).to_zoned(jiff::tz::TimeZone::UTC);
    Some(zoned.ok()?.timestamp().as_second())
}

fn damaged(what: &str) -> UnpackError {
    UnpackError::Damaged { format: "zip", what: what.to_owned() }
}
