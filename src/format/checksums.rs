//! Checksum files: one parser for the forms that publishers use.
//!
//! Per line: coreutils' `HEX  NAME`, `HEX *NAME` and `\HEX  ESCAPED`, Perl shasum's modes, BSD's and
//! signify's `SHA256 (NAME) = HEX`, OpenSSL's `SHA2-256(NAME)= HEX`, the table of PowerShell's
//! Get-FileHash, and a lone digest in a file that is named after the artifact. Instead of `HEX` there may
//! be `sha256:HEX` or `sha256-BASE64` (W3C Subresource Integrity). A file that starts with `{` or `[` is
//! JSON: names as keys, or objects with a name and a digest (as in cargo-dist's dist-manifest.json).
//! Lines of other kinds (comments, headers, signatures) are passed over: they cannot vouch for anything.

mod json;
mod line;
mod names;

use std::collections::BTreeMap;

pub use names::candidates;

use crate::model::{Algorithm, Digest};

/// Largest checksum file, in bytes: about 10,000 lines, a hundred times the largest recorded.
pub const FILE_BYTES_MAX: usize = 1 << 20;
/// Longest line, in bytes: a 255-byte file name with every byte escaped, twice over.
pub const LINE_BYTES_MAX: usize = 4096;
/// Most lines.
pub const LINES_MAX: usize = 20_000;

/// The hash function of one statement.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Function {
    /// One that counts as evidence.
    Strong(Algorithm),
    /// MD5, SHA-1, or one that is not computed here.
    Other(String),
}

/// One digest of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Statement {
    function: Function,
    bytes: Vec<u8>,
}

/// What a checksum file states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checksums {
    /// The checksum file's own name.
    file_name: String,
    /// Statements by base name.
    named: BTreeMap<String, Vec<Statement>>,
    /// A digest without a name.
    lone: Option<Statement>,
}

/// What a checksum file states about one artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// These digests, at most one for each algorithm.
    Found(Vec<Digest>),
    /// Nothing: the file does not name the artifact.
    NotListed,
    /// Only digests that are no evidence.
    OnlyWeak {
        /// Their hash functions.
        functions: Vec<String>,
    },
    /// Two different digests of one algorithm.
    Conflict {
        /// The one stated first.
        first: Digest,
        /// The other.
        second: Digest,
    },
}

/// Why a checksum file was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ChecksumError {
    /// Larger than [`FILE_BYTES_MAX`].
    #[error(
        "reading the checksum file {file}: it is larger than {FILE_BYTES_MAX} bytes; name the right file \
         with `checksums`"
    )]
    TooLarge {
        /// The checksum file.
        file: String,
    },
    /// More lines than [`LINES_MAX`].
    #[error(
        "reading the checksum file {file}: it has more than {LINES_MAX} lines; name the right file with \
         `checksums`"
    )]
    TooManyLines {
        /// The checksum file.
        file: String,
    },
    /// A line longer than [`LINE_BYTES_MAX`].
    #[error(
        "reading line {line} of the checksum file {file}: it is longer than {LINE_BYTES_MAX} bytes; name \
         the right file with `checksums`"
    )]
    LineTooLong {
        /// The checksum file.
        file: String,
        /// Counted from 1.
        line: usize,
    },
    /// Not UTF-8.
    #[error(
        "reading line {line} of the checksum file {file}: it is not UTF-8 text; name the right file with \
         `checksums`"
    )]
    NotText {
        /// The checksum file.
        file: String,
        /// Counted from 1.
        line: usize,
    },
    /// A line in a known form whose digest has the wrong length or digits.
    #[error(
        "reading line {line} of the checksum file {file}: the digest does not fit its algorithm; the file \
         is damaged, so ask its publisher or pin a digest"
    )]
    BadDigest {
        /// The checksum file.
        file: String,
        /// Counted from 1.
        line: usize,
    },
    /// Starts like JSON and is not.
    #[error(
        "reading the checksum file {file}: it is not valid JSON; the file is damaged, so ask its \
         publisher or pin a digest"
    )]
    Json {
        /// The checksum file.
        file: String,
        /// Where and what.
        #[source]
        source: serde_json::Error,
    },
    /// No line of a file that is not JSON states a digest.
    #[error(
        "reading the checksum file {file}: none of its {lines} lines states a digest; name the right file \
         with `checksums`"
    )]
    Nothing {
        /// The checksum file.
        file: String,
        /// How many lines it has.
        lines: usize,
    },
}

/// Reads a checksum file; its name decides what digests without an algorithm are.
pub fn parse(file_name: &str, bytes: &[u8]) -> Result<Checksums, ChecksumError> {
    let file = || file_name.to_owned();
    if bytes.len() > FILE_BYTES_MAX {
        return Err(ChecksumError::TooLarge { file: file() });
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let valid = bytes.get(..error.valid_up_to()).unwrap_or(bytes);
        let line = valid.split(|b| *b == b'\n').count();
        ChecksumError::NotText { file: file(), line }
    })?;
    let mut checksums = Checksums { file_name: file(), named: BTreeMap::new(), lone: None };
    if text.trim_start().starts_with(['{', '[']) {
        let value = serde_json::from_str(text)
            .map_err(|source| ChecksumError::Json { file: file(), source })?;
        json::read(&value, &mut checksums);
        // A manifest may have other purposes and state no digest at all.
        return Ok(checksums);
    }
    read_lines(text, &mut checksums)?;
    if checksums.named.is_empty() && checksums.lone.is_none() {
        return Err(ChecksumError::Nothing { file: file(), lines: text.lines().count() });
    }
    Ok(checksums)
}

fn read_lines(text: &str, checksums: &mut Checksums) -> Result<(), ChecksumError> {
    let mut nameless = Vec::new();
    for (index, text) in text.lines().enumerate() {
        let file = || checksums.file_name.clone();
        let line = index + 1;
        if line > LINES_MAX {
            return Err(ChecksumError::TooManyLines { file: file() });
        }
        if text.len() > LINE_BYTES_MAX {
            return Err(ChecksumError::LineTooLong { file: file(), line });
        }
        // What follows in a clear-signed file is the signature.
        if text.starts_with("-----BEGIN PGP SIGNATURE-----") {
            break;
        }
        match line::read(text, &checksums.file_name) {
            line::Line::Named(statements) => {
                for (name, statement) in statements {
                    checksums.add(&name, statement);
                }
            }
            line::Line::Lone(statement) => nameless.push(statement),
            line::Line::Other => {}
            line::Line::Bad => return Err(ChecksumError::BadDigest { file: file(), line }),
        }
    }
    // Several digests without names are a list whose order nobody states.
    if let [only] = nameless.as_slice()
        && checksums.named.is_empty()
    {
        checksums.lone = Some(only.clone());
    }
    Ok(())
}

impl Checksums {
    fn add(&mut self, name: &str, statement: Statement) {
        self.named.entry(name.to_owned()).or_default().push(statement);
    }

    /// The checksum file's own name.
    pub fn file_name(&self) -> &str {
        &self.file_name
    }

    /// What is stated about an artifact. Names are compared exactly, without any directory; a digest
    /// without a name counts only in a file that is named after the artifact.
    pub fn lookup(&self, asset_name: &str) -> Lookup {
        let lone = self.lone.iter().filter(|_| names::is_sidecar(&self.file_name, asset_name));
        let stated = self.named.get(asset_name).into_iter().flatten().chain(lone);
        let mut digests: Vec<Digest> = Vec::new();
        let mut functions = Vec::new();
        for statement in stated {
            match &statement.function {
                Function::Strong(algorithm) => {
                    let Some(digest) = Digest::new(*algorithm, &statement.bytes) else { continue };
                    let same = digests.iter().find(|d| d.algorithm() == *algorithm);
                    match same {
                        Some(first) if *first != digest => {
                            return Lookup::Conflict { first: first.clone(), second: digest };
                        }
                        Some(_) => {}
                        None => digests.push(digest),
                    }
                }
                Function::Other(name) => functions.push(name.clone()),
            }
        }
        match (digests.is_empty(), functions.is_empty()) {
            (false, _) => Lookup::Found(digests),
            (true, false) => Lookup::OnlyWeak { functions },
            (true, true) => Lookup::NotListed,
        }
    }
}

#[cfg(test)]
mod tests;
