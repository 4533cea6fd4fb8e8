//! Content digests, written `sha256:<hex>`.

use std::fmt;
use std::str::FromStr;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A hash function strong enough to count as evidence. MD5 and SHA-1 never do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// SHA-256, computed for every artifact.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    /// Length of the digest in bytes.
    pub fn bytes(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// The algorithm of a name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Sha256, Self::Sha384, Self::Sha512].into_iter().find(|one| one.name() == name)
    }

    /// The name used in text form.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }
}

/// A digest with its algorithm.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest {
    algorithm: Algorithm,
    bytes: Vec<u8>,
}

impl Digest {
    /// A digest from raw bytes; `None` when the length does not fit the algorithm.
    pub fn new(algorithm: Algorithm, bytes: &[u8]) -> Option<Self> {
        (bytes.len() == algorithm.bytes()).then(|| Self { algorithm, bytes: bytes.to_vec() })
    }

    /// A digest from hexadecimal text in either case.
    pub fn from_hex(algorithm: Algorithm, hex: &str) -> Option<Self> {
        Self::new(algorithm, &HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok()?)
    }

    /// SHA-256 of the compact JSON of a value: a fingerprint for comparing, never evidence.
    pub fn of_json(value: &impl Serialize) -> Self {
        let json = serde_json::to_vec(value).unwrap_or_default();
        let bytes: [u8; 32] = Sha256::digest(&json).into();
        Self { algorithm: Algorithm::Sha256, bytes: bytes.to_vec() }
    }

    /// The algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Lower-case hexadecimal without the algorithm.
    pub fn hex(&self) -> String {
        HEXLOWER.encode(&self.bytes)
    }

    /// The first twelve hexadecimal digits, for people.
    pub fn short(&self) -> String {
        self.hex().chars().take(12).collect()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, hex) = text.split_once(':').ok_or_else(|| {
            format!("`{}` is not a digest: write `sha256:<64 hex digits>`", text.escape_debug())
        })?;
        let algorithm = Algorithm::named(name).ok_or_else(|| {
            format!(
                "`{}` is not an accepted digest algorithm: use sha256, sha384 or sha512",
                name.escape_debug()
            )
        })?;
        Self::from_hex(algorithm, hex).ok_or_else(|| {
            format!("a {name} digest has {} hexadecimal digits", algorithm.bytes() * 2)
        })
    }
}

impl TryFrom<String> for Digest {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}
