//! Extended headers of tar: PAX records and GNU long names.

use crate::unpack::error::{Refused, UnpackError};
use crate::unpack::tree::refused;

/// What extended headers say about the entry that follows them.
#[derive(Debug, Default)]
pub(super) struct Extended {
    path: Option<Vec<u8>>,
    /// Target of a link.
    pub(super) link: Option<Vec<u8>>,
    /// Bytes of content, in place of the header's.
    pub(super) size: Option<u64>,
    /// Seconds since 1970, in place of the header's.
    pub(super) mtime: Option<i64>,
    /// Set when the entry is a sparse file in PAX form.
    pub(super) sparse: Option<SparseMarks>,
    named_by: Option<NamedBy>,
    any: Option<()>,
}

/// `GNU.sparse.*` records.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SparseMarks {
    /// `(major, minor)` of the sparse format; only 1.0 is understood.
    pub(super) version: (u64, u64),
    name: Option<Vec<u8>>,
    /// Size of the file with its holes.
    pub(super) real_size: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NamedBy {
    Gnu,
    Pax,
}

impl Extended {
    /// Whether nothing was said.
    pub(super) fn is_empty(&self) -> bool {
        self.any.is_none()
    }

    /// The path, in place of the header's.
    pub(super) fn name(&self) -> Option<&[u8]> {
        let sparse = self.sparse.as_ref().and_then(|marks| marks.name.as_ref());
        sparse.or(self.path.as_ref()).map(Vec::as_slice)
    }

    /// A GNU long name.
    pub(super) fn gnu_name(&mut self, bytes: Vec<u8>) -> Result<(), UnpackError> {
        self.named(NamedBy::Gnu)?;
        set(&mut self.path, without_nul(bytes))
    }

    /// A GNU long link target.
    pub(super) fn gnu_link(&mut self, bytes: Vec<u8>) -> Result<(), UnpackError> {
        self.named(NamedBy::Gnu)?;
        set(&mut self.link, without_nul(bytes))
    }

    /// The records of a PAX header for one entry.
    pub(super) fn pax(&mut self, bytes: &[u8]) -> Result<(), UnpackError> {
        self.named(NamedBy::Pax)?;
        for record in records(bytes) {
            let (key, value) = record?;
            match key {
                b"path" => set(&mut self.path, value.to_vec())?,
                b"linkpath" => set(&mut self.link, value.to_vec())?,
                b"size" => set(&mut self.size, number(value)?)?,
                b"mtime" => set(&mut self.mtime, whole_seconds(value)?)?,
                _ if key.starts_with(b"GNU.sparse.") => self.sparse_record(key, value)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn sparse_record(&mut self, key: &[u8], value: &[u8]) -> Result<(), UnpackError> {
        let marks = self.sparse.get_or_insert_default();
        match key {
            b"GNU.sparse.major" => marks.version.0 = number(value)?,
            b"GNU.sparse.minor" => marks.version.1 = number(value)?,
            b"GNU.sparse.name" => set(&mut marks.name, value.to_vec())?,
            b"GNU.sparse.realsize" => set(&mut marks.real_size, number(value)?)?,
            // Formats 0.0 and 0.1, which GNU tar has not written by default since 2006.
            _ => {
                let name = self.path.as_deref().unwrap_or(key);
                return Err(refused(&shown(name), Refused::Sparse));
            }
        }
        Ok(())
    }

    /// Readers disagree about which of two names counts, so there may be only one kind.
    fn named(&mut self, by: NamedBy) -> Result<(), UnpackError> {
        self.any = Some(());
        match self.named_by.replace(by) {
            Some(before) if before != by => {
                let name = self.path.as_deref().or(self.link.as_deref()).unwrap_or_default();
                Err(refused(&shown(name), Refused::NamedTwice))
            }
            _ => Ok(()),
        }
    }
}

/// Refuses global records that would change what the entries after them are. Those that exist in
/// practice (`comment` with git's commit, times, owners) change nothing here.
pub(super) fn check_globals(bytes: &[u8]) -> Result<(), UnpackError> {
    for record in records(bytes) {
        let (key, _) = record?;
        if matches!(key, b"path" | b"linkpath" | b"size") || key.starts_with(b"GNU.sparse.") {
            return Err(refused(&shown(key), Refused::ExtendedHeader));
        }
    }
    Ok(())
}

type Record<'a> = (&'a [u8], &'a [u8]);

/// `LENGTH KEY=VALUE\n`, where the length counts the whole record.
fn records(mut rest: &[u8]) -> impl Iterator<Item = Result<Record<'_>, UnpackError>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let record = split_record(rest);
        rest = record.map_or(&[], |(_, after)| after);
        let malformed = || refused(&shown(rest), Refused::ExtendedHeader);
        Some(record.map(|(record, _)| record).ok_or_else(malformed))
    })
}

fn split_record(bytes: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let digits = bytes.iter().position(|&byte| byte == b' ')?;
    let length = usize::try_from(digits_value(bytes.get(..digits)?)?).ok()?;
    let (record, after) = bytes.split_at_checked(length)?;
    let body = record.get(digits + 1..)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|&byte| byte == b'=')?;
    let (key, value) = body.split_at_checked(equals)?;
    Some(((key, value.get(1..)?), after))
}

fn digits_value(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn number(value: &[u8]) -> Result<u64, UnpackError> {
    digits_value(value).ok_or_else(|| refused(&shown(value), Refused::ExtendedHeader))
}

/// `1700000000.123456789`, possibly negative; the fraction is dropped.
fn whole_seconds(value: &[u8]) -> Result<i64, UnpackError> {
    let whole = value.split(|&byte| byte == b'.').next().unwrap_or_default();
    let text = std::str::from_utf8(whole).ok();
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| refused(&shown(value), Refused::ExtendedHeader))
}

/// Sets what may be set only once.
fn set<T>(place: &mut Option<T>, value: T) -> Result<(), UnpackError> {
    if place.replace(value).is_some() {
        return Err(refused("an extended header", Refused::ExtendedHeader));
    }
    Ok(())
}

fn without_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    bytes
}

fn shown(bytes: &[u8]) -> String {
    let start = bytes.get(..crate::unpack::path::SHOWN_BYTES_MAX).unwrap_or(bytes);
    String::from_utf8_lossy(start).into_owned()
}
