//! Repositories of Choria's go-updater: one `release.json` for each version and platform.
//!
//! ```text
//! <root>/<version>/<GOOS>/<GOARCH>/release.json     {"binary":"choria-linux-amd64-0.7.0.bz2","hash":"<64 hex>"}
//! <root>/<version>/<GOOS>/<GOARCH>/<binary>         the program, packed with bzip2 (or not, without `.bz2`)
//! ```
//!
//! Source: go-updater's `spec.go` and `update-repo`, as published. `hash` is the SHA-256 of the *unpacked* program.
//! There is no index and no "latest": whoever asks must name a version. Nothing is signed. The members `uri` and
//! `signature` are defined there and unused; they are passed over like every unknown one.

use serde_json::Value;

use super::go::{self, Platform};
use super::packed::Packing;
use crate::model::{Algorithm, Digest, Version};

/// Largest document, in bytes: a hundred times what is published.
pub const DOCUMENT_BYTES_MAX: usize = 64 << 10;

/// Longest path of a program, in bytes.
const PATH_BYTES_MAX: usize = 1024;

/// Name of the document.
const DOCUMENT: &str = "release.json";

/// What a `release.json` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    binary: String,
    hash: Digest,
}

/// Why a document or a name was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ChoriaError {
    /// Larger than [`DOCUMENT_BYTES_MAX`].
    #[error(
        "reading a release.json: it is larger than {DOCUMENT_BYTES_MAX} bytes; check the repository's address"
    )]
    TooLarge,
    /// Not JSON.
    #[error("reading a release.json: it is not valid JSON; check the repository's address")]
    Json(#[source] serde_json::Error),
    /// JSON, and not an object.
    #[error("reading a release.json: it is not an object; check the repository's address")]
    NotAnObject,
    /// A member is missing or there twice, or is not text.
    #[error(
        "reading a release.json: `{member}` must be there once, as text; publish the release again"
    )]
    Member {
        /// The member.
        member: &'static str,
    },
    /// `hash` is not a SHA-256.
    #[error(
        "reading a release.json: `hash` is not 64 hexadecimal digits; publish the release again"
    )]
    Hash,
    /// `binary` leads elsewhere or is no path.
    #[error(
        "reading a release.json: `{binary}` is not a path below it ({why}); publish the release again with \
         `binary` being a plain file name"
    )]
    Binary {
        /// The path, escaped for printing.
        binary: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A version or name cannot be one part of a path.
    #[error(
        "naming a file in a Choria repository: `{part}` cannot be one part of a path; choose another name"
    )]
    Part {
        /// The version or name, escaped for printing.
        part: String,
    },
}

impl Release {
    /// What the publisher writes; `binary` is the path of the program beside the document.
    pub fn new(binary: &str, hash: Digest) -> Result<Self, ChoriaError> {
        path(binary)?;
        if hash.algorithm() != Algorithm::Sha256 {
            return Err(ChoriaError::Hash);
        }
        Ok(Self { binary: binary.to_owned(), hash })
    }

    /// Reads a document.
    pub fn parse(document: &[u8]) -> Result<Self, ChoriaError> {
        if document.len() > DOCUMENT_BYTES_MAX {
            return Err(ChoriaError::TooLarge);
        }
        let document: Value = serde_json::from_slice(document).map_err(ChoriaError::Json)?;
        let object = document.as_object().ok_or(ChoriaError::NotAnObject)?;
        let missing = |member| ChoriaError::Member { member };
        let [binary, hash] = go::members(object, ["binary", "hash"]).map_err(missing)?;
        let binary = binary.and_then(Value::as_str).ok_or_else(|| missing("binary"))?;
        let hash = hash.and_then(Value::as_str).ok_or_else(|| missing("hash"))?;
        let hash = Digest::from_hex(Algorithm::Sha256, hash).ok_or(ChoriaError::Hash)?;
        Self::new(binary, hash)
    }

    /// The document as `update-repo` writes it: compact, without an end of line.
    pub fn render(&self) -> String {
        let (binary, hash) = (go::json_string(&self.binary), go::json_string(&self.hash.hex()));
        format!("{{\"binary\":{binary},\"hash\":{hash}}}")
    }

    /// Path of the program, relative to the document's directory.
    pub fn binary(&self) -> &str {
        &self.binary
    }

    /// SHA-256 of the unpacked program.
    pub fn hash(&self) -> &Digest {
        &self.hash
    }

    /// How the program is packed, by its name.
    pub fn packing(&self) -> Packing {
        if self.binary.as_bytes().ends_with(b".bz2") { Packing::Bzip2 } else { Packing::None }
    }

    /// Whether the installed program is this one, so that nothing need be fetched.
    pub fn is(&self, installed: &Digest) -> bool {
        self.hash == *installed
    }
}

/// The directory of a version and platform, relative to the repository's root and without slashes at its ends.
pub fn directory(version: &Version, platform: &Platform) -> Result<String, ChoriaError> {
    let version = part(version.as_str())?;
    Ok(format!("{version}/{}/{}", platform.os(), platform.arch()))
}

/// The path of the document, relative to the repository's root.
pub fn document_path(version: &Version, platform: &Platform) -> Result<String, ChoriaError> {
    Ok(format!("{}/{DOCUMENT}", directory(version, platform)?))
}

/// The name under which `update-repo` publishes the program `base`; without packing it has no suffix.
pub fn published_name(
    base: &str,
    version: &Version,
    platform: &Platform,
    packing: Packing,
) -> Result<String, ChoriaError> {
    let (base, version) = (part(base)?, part(version.as_str())?);
    let suffix = packing.suffix();
    Ok(format!("{base}-{}-{}-{version}{suffix}", platform.os(), platform.arch()))
}

/// Accepts what is one part of a path, in a URL as well as on disk.
fn part(text: &str) -> Result<&str, ChoriaError> {
    let odd = |c: char| c.is_control() || c.is_whitespace() || "/\\?#%".contains(c);
    if matches!(text, "" | "." | "..") || text.contains(odd) || text.len() > PATH_BYTES_MAX {
        return Err(ChoriaError::Part { part: text.escape_debug().take(PATH_BYTES_MAX).collect() });
    }
    Ok(text)
}

/// Accepts a path that stays below the document's directory, on disk and when it is joined to a URL.
fn path(binary: &str) -> Result<(), ChoriaError> {
    let why = if binary.is_empty() {
        "it is empty"
    } else if binary.len() > PATH_BYTES_MAX {
        "it is too long"
    } else if binary.starts_with('/') {
        "it begins with `/`"
    } else if binary.contains(':') {
        "it has a scheme"
    } else if binary.contains(['?', '#', '%', '\\']) {
        "it has one of `?#%\\`"
    } else if binary.chars().any(|c| c.is_control() || c.is_whitespace()) {
        "it has a blank or a control character"
    } else if binary.split('/').any(|part| matches!(part, "" | "." | "..")) {
        "it has an empty part, `.` or `..`"
    } else {
        return Ok(());
    };
    let binary = binary.escape_debug().take(PATH_BYTES_MAX).collect();
    Err(ChoriaError::Binary { binary, why })
}

#[cfg(test)]
mod tests;
