//! SHA256SUMS of a systemd-sysupdate server: which files there are, and their digests.
//!
//! Source: sysupdate.d(5) and the behaviour of systemd 262. A line is 64 hexadecimal digits of
//! either case, a blank, `*` or another blank, a path, and a line feed. Paths may have directories,
//! and never lead out of the manifest's own: no empty, `.` or `..` component, no `/` in front, no
//! `%`. The first of several lines about one path counts. A path `BEST-BEFORE-YYYY-MM-DD` states a
//! date.
//!
//! systemd refuses a whole manifest for one bad line. Here, on purpose, such a line is read where
//! its meaning is plain (CRLF, one blank as separator, no last line feed, `./` in front) and passed
//! over where it is not; either way with a warning, and [`Manifest::strict`] tells what systemd
//! would say. The readers of [`checksums`](crate::format::checksums) do not fit: they drop
//! directories and hold 20,000 lines.

use std::collections::HashMap;

use jiff::civil::Date;

use crate::model::{Algorithm, Digest};

/// Largest manifest, in bytes: a million lines with short names.
pub const MANIFEST_BYTES_MAX: usize = 64 << 20;
/// Most lines.
pub const LINES_MAX: usize = 1_000_000;
/// Longest path, in bytes: Linux limits paths to that.
pub const PATH_BYTES_MAX: usize = 4096;
/// Most warnings that are kept; the rest is counted.
pub const WARNINGS_MAX: usize = 100;

/// Digits of a SHA-256.
const HEX_LENGTH: usize = 64;
/// Digest, separator, marker, one character and the line feed: what systemd wants to be left.
const STRICT_BYTES_MIN: usize = 67;
/// Digest of the empty file, which a date marker should be.
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const MARKER: &str = "BEST-BEFORE-";

/// One file of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Relative to the manifest.
    pub path: String,
    /// SHA-256 of the bytes as served.
    pub sha256: Digest,
}

/// Something in a manifest that a publisher should repair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestWarning {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong, and what was made of it.
    pub message: &'static str,
}

/// A date after which the list of files is not to be trusted to be complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BestBefore(pub Date);

impl BestBefore {
    /// True from the first moment of the date on: systemd compares with its midnight.
    pub fn is_past(self, today: Date) -> bool {
        today >= self.0
    }
}

/// Why a manifest was not read.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Larger than [`MANIFEST_BYTES_MAX`].
    #[error(
        "reading SHA256SUMS: it is larger than {MANIFEST_BYTES_MAX} bytes; have its publisher \
         remove old releases"
    )]
    TooLarge,
    /// More lines than [`LINES_MAX`].
    #[error(
        "reading SHA256SUMS: it has more than {LINES_MAX} lines; have its publisher \
         remove old releases"
    )]
    TooManyLines,
    /// Something was there, and none of it a line of a manifest.
    #[error(
        "reading SHA256SUMS: none of its {lines} lines names a file with its digest; check the URL \
         in `Path=`"
    )]
    Nothing {
        /// How many lines it has.
        lines: usize,
    },
}

/// A manifest that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    entries: Vec<Entry>,
    best_before: Vec<BestBefore>,
    warnings: Vec<ManifestWarning>,
    unlisted_warnings: usize,
    refusal: Option<String>,
}

impl Manifest {
    /// The files, in the manifest's order, each path once, without date markers.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The dates that it states.
    pub fn best_before(&self) -> &[BestBefore] {
        &self.best_before
    }

    /// The date that has passed, if any has: all must hold.
    pub fn stale_since(&self, today: Date) -> Option<BestBefore> {
        self.best_before.iter().copied().filter(|date| date.is_past(today)).min()
    }

    /// What is wrong with it, at most [`WARNINGS_MAX`] of it.
    pub fn warnings(&self) -> &[ManifestWarning] {
        &self.warnings
    }

    /// How many more warnings there were.
    pub fn unlisted_warnings(&self) -> usize {
        self.unlisted_warnings
    }

    /// Whether systemd 262 accepts it; the error is its message.
    pub fn strict(&self) -> Result<(), &str> {
        self.refusal.as_deref().map_or(Ok(()), Err)
    }

    fn warn(&mut self, line: usize, message: &'static str) {
        if self.warnings.len() < WARNINGS_MAX {
            self.warnings.push(ManifestWarning { line, message });
        } else {
            self.unlisted_warnings += 1;
        }
    }

    fn refuse(&mut self, message: impl FnOnce() -> String) {
        if self.refusal.is_none() {
            self.refusal = Some(message());
        }
    }
}

/// Reads a manifest in one go, linear in its size.
pub fn parse(bytes: &[u8]) -> Result<Manifest, ManifestError> {
    if bytes.len() > MANIFEST_BYTES_MAX {
        return Err(ManifestError::TooLarge);
    }
    let mut manifest = Manifest::default();
    if bytes.contains(&0) {
        manifest.refuse(|| "Manifest file has embedded NUL byte, refusing.".to_owned());
    } else if std::str::from_utf8(bytes).is_err() {
        manifest.refuse(|| "Manifest file is not valid UTF-8, refusing.".to_owned());
    }
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let (mut rest, mut number) = (bytes, 0);
    while !rest.is_empty() {
        number += 1;
        if number > LINES_MAX {
            return Err(ManifestError::TooManyLines);
        }
        if let Err(fault) = strict_line(rest) {
            manifest.refuse(|| fault.message(number));
        }
        let end = rest.iter().position(|b| *b == b'\n');
        let (line, after) = rest.split_at_checked(end.unwrap_or(rest.len())).unwrap_or_default();
        rest = after.get(1..).unwrap_or_default();
        if end.is_none() {
            manifest.warn(number, "the last line has no line feed; the file may be cut off");
        }
        let Some((path, sha256)) = manifest.line(number, line) else { continue };
        if path.starts_with(MARKER) && manifest.marker(number, path, &sha256) {
            continue;
        }
        match seen.get(path).and_then(|index| manifest.entries.get(*index)) {
            None => {
                seen.insert(path, manifest.entries.len());
                manifest.entries.push(Entry { path: path.to_owned(), sha256 });
            }
            Some(first) if first.sha256 != sha256 => {
                manifest
                    .warn(number, "another digest for a file named before; the first one counts");
            }
            Some(_) => {}
        }
    }
    let wordless = manifest.entries.is_empty() && manifest.best_before.is_empty();
    if wordless && bytes.iter().any(|b| !b.is_ascii_whitespace()) {
        return Err(ManifestError::Nothing { lines: number });
    }
    Ok(manifest)
}

impl Manifest {
    /// Reads one line without its line feed, tolerantly.
    fn line<'a>(&mut self, number: usize, line: &'a [u8]) -> Option<(&'a str, Digest)> {
        let line = match line.strip_suffix(b"\r") {
            Some(line) => {
                self.warn(number, "the line ends in a carriage return; it was dropped");
                line
            }
            None => line,
        };
        match line.iter().find(|b| !b.is_ascii_whitespace()) {
            None => {
                self.warn(number, "the line is empty; it was passed over");
                return None;
            }
            Some(b'#') => {
                self.warn(number, "the line is a comment; it was passed over");
                return None;
            }
            Some(_) => {}
        }
        let read = std::str::from_utf8(line).ok().and_then(|line| {
            let (hex, rest) = line.split_at_checked(HEX_LENGTH)?;
            Some((Digest::from_hex(Algorithm::Sha256, hex)?, rest.strip_prefix([' ', '\t'])?))
        });
        let Some((sha256, rest)) = read else {
            self.warn(
                number,
                "the line does not begin with a SHA-256 and a blank; it was passed over",
            );
            return None;
        };
        let path = rest.strip_prefix([' ', '*']).unwrap_or_else(|| {
            self.warn(
                number,
                "one blank instead of two separates digest and path; it was accepted",
            );
            rest
        });
        let path = path.strip_prefix("./").map_or(path, |bare| {
            self.warn(number, "the path begins with `./`; that was dropped");
            bare
        });
        if !is_confined(path) || path.contains('%') || path.chars().any(char::is_control) {
            self.warn(
                number,
                "the path is not a plain one below the manifest; the line was passed over",
            );
            return None;
        }
        Some((path, sha256))
    }

    /// Takes a date marker; false for other files that are merely called like one.
    fn marker(&mut self, number: usize, path: &str, sha256: &Digest) -> bool {
        if sha256.hex() != EMPTY {
            self.warn(number, "the best-before marker is not the digest of an empty file");
        }
        let date = path.strip_prefix(MARKER).and_then(calendar_date);
        match date {
            Some(date) => self.best_before.push(BestBefore(date)),
            None => self.warn(number, "the best-before marker has an invalid date; it is ignored"),
        }
        date.is_some()
    }
}

/// `YYYY-MM-DD`; systemd also takes months and days of one digit.
fn calendar_date(text: &str) -> Option<Date> {
    let (year, rest) = text.split_once('-')?;
    let (month, day) = rest.split_once('-')?;
    let number = |digits: &str| {
        let plain = digits.len() <= 4 && digits.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| digits.parse::<i16>().ok()).flatten()
    };
    let small = |digits: &str| i8::try_from(number(digits)?).ok();
    Date::new(number(year)?, small(month)?, small(day)?).ok()
}

/// True for relative paths whose components are all names.
fn is_confined(path: &str) -> bool {
    path.len() <= PATH_BYTES_MAX && path.split('/').all(|name| !matches!(name, "" | "." | ".."))
}

/// What systemd 262 finds wrong with a line, in the order in which it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Corrupt,
    Escapes,
    Digest,
    ShortDigest(usize),
    Separator,
    Marker,
    Truncated,
    EmptyName,
    InvalidName,
    ControlCharacters,
}

impl Fault {
    fn message(self, line: usize) -> String {
        let at = format!("at manifest line {line}, refusing.");
        match self {
            Self::Corrupt => format!("Corrupt manifest at line {line}, refusing."),
            Self::Escapes => format!(
                "File names with escapes not supported in manifest at line {line}, refusing."
            ),
            Self::Digest => format!("Failed to parse digest {at}"),
            Self::ShortDigest(bytes) => {
                format!("Manifest hash at line {line} decoded to {bytes} bytes, refusing.")
            }
            Self::Separator => format!("Missing space separator {at}"),
            Self::Marker => format!("Missing binary/text input marker {at}"),
            Self::Truncated => format!("Truncated manifest file at line {line}, refusing."),
            Self::EmptyName => format!("Empty filename specified {at}"),
            Self::InvalidName => format!("Invalid filename specified {at}"),
            Self::ControlCharacters => format!("Filename contains control characters {at}"),
        }
    }
}

/// Looks at the line at the start of what is left, as systemd does.
fn strict_line(left: &[u8]) -> Result<(), Fault> {
    if left.len() < STRICT_BYTES_MIN {
        return Err(Fault::Corrupt);
    }
    if left.first() == Some(&b'\\') {
        return Err(Fault::Escapes);
    }
    let (hex, rest) = left.split_at_checked(HEX_LENGTH).ok_or(Fault::Corrupt)?;
    // Blanks between the digits are passed over, and then missing at the end.
    let digits = hex.iter().filter(|b| !b" \t\r\n".contains(b)).count();
    if digits % 2 == 1 || !hex.iter().all(|b| b.is_ascii_hexdigit() || b" \t\r\n".contains(b)) {
        return Err(Fault::Digest);
    }
    if digits != HEX_LENGTH {
        return Err(Fault::ShortDigest(digits / 2));
    }
    let rest = rest.strip_prefix(b" ").ok_or(Fault::Separator)?;
    let (marker, rest) = rest.split_first().ok_or(Fault::Marker)?;
    if !b"* ".contains(marker) {
        return Err(Fault::Marker);
    }
    let end = rest.iter().position(|b| *b == b'\n').ok_or(Fault::Truncated)?;
    let name = rest.get(..end).unwrap_or_default();
    if name.is_empty() {
        return Err(Fault::EmptyName);
    }
    let name = std::str::from_utf8(name).map_err(|_| Fault::InvalidName)?;
    // A slash at the very end is no fault to systemd, and names no file here.
    let bare = name.trim_end_matches('/');
    if !is_confined(bare) || name.contains("//") || name.contains('%') {
        return Err(Fault::InvalidName);
    }
    if name.bytes().any(|b| b.is_ascii_control()) {
        return Err(Fault::ControlCharacters);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
