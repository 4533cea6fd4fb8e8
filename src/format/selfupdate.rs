//! Releases of rackerlabs/go-selfupdate (and sanbornm's): a manifest, whole programs and patches.
//!
//! ```text
//! {api}{cmd}/{goos}-{goarch}.json                     {"Version": "1.2", "Sha256": "<base64>"}
//! {bin}{cmd}/{new version}/{goos}-{goarch}.gz         the program, gzip
//! {diff}{cmd}/{version}/{new version}/{goos}-{goarch} a patch, `BSDIFF40`
//! ```
//!
//! Source: go-selfupdate's `selfupdate.go` and `cmd/go-selfupdate`, as published. The three base URLs end in `/` and
//! may be one. Command and versions are form-encoded: `+` is `%2B`, a space is `+`. `Sha256` is of the *unpacked
//! new* program, in padded standard base64, for both ways to get it. Only the newest version has a manifest; nothing
//! is signed. Names of members match in any case, unknown ones are passed over.

use data_encoding::BASE64;
use serde_json::Value;

use super::go::{self, Platform, json_string, query_escape};
use crate::model::{Algorithm, Digest, Version};

/// Largest manifest, in bytes: several hundred times what is published.
pub const MANIFEST_BYTES_MAX: usize = 64 << 10;

/// Longest base URL or command, in bytes.
const PLACE_BYTES_MAX: usize = 4096;

/// What a manifest says: the newest release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    version: Version,
    sha256: Digest,
}

/// Why a manifest or a place was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum SelfupdateError {
    /// Larger than [`MANIFEST_BYTES_MAX`].
    #[error(
        "reading a go-selfupdate manifest: it is larger than {MANIFEST_BYTES_MAX} bytes; check the source's address"
    )]
    TooLarge,
    /// Not JSON.
    #[error("reading a go-selfupdate manifest: it is not valid JSON; check the source's address")]
    Json(#[source] serde_json::Error),
    /// JSON, and not an object.
    #[error("reading a go-selfupdate manifest: it is not an object; check the source's address")]
    NotAnObject,
    /// A member is missing or there twice, or is not text.
    #[error(
        "reading a go-selfupdate manifest: `{member}` must be there once, as text; publish the release again"
    )]
    Member {
        /// The member.
        member: &'static str,
    },
    /// The version is none.
    #[error("reading a go-selfupdate manifest: {why}; publish the release under another version")]
    Version {
        /// What is wrong with it.
        why: String,
    },
    /// `Sha256` is not a SHA-256 in base64.
    #[error(
        "reading a go-selfupdate manifest: `Sha256` is not 32 bytes in base64; publish the release again"
    )]
    Sha256,
    /// A base URL does not end in `/`, or a URL or command is empty or too long.
    #[error("addressing a go-selfupdate repository: {what}; correct the source")]
    Place {
        /// What is wrong.
        what: &'static str,
    },
}

impl Manifest {
    /// What the publisher writes.
    pub fn new(version: Version, sha256: Digest) -> Result<Self, SelfupdateError> {
        if sha256.algorithm() != Algorithm::Sha256 {
            return Err(SelfupdateError::Sha256);
        }
        // It becomes a directory of the publisher.
        if version.as_str() == "." || version.as_str().contains(['/', '\\']) {
            let why = format!("`{version}` cannot be one part of a path");
            return Err(SelfupdateError::Version { why });
        }
        Ok(Self { version, sha256 })
    }

    /// Reads a manifest.
    pub fn parse(manifest: &[u8]) -> Result<Self, SelfupdateError> {
        if manifest.len() > MANIFEST_BYTES_MAX {
            return Err(SelfupdateError::TooLarge);
        }
        let manifest: Value = serde_json::from_slice(manifest).map_err(SelfupdateError::Json)?;
        let object = manifest.as_object().ok_or(SelfupdateError::NotAnObject)?;
        let missing = |member| SelfupdateError::Member { member };
        let [version, sha256] = go::members(object, ["Version", "Sha256"]).map_err(missing)?;
        let version = version.and_then(Value::as_str).ok_or_else(|| missing("Version"))?;
        let sha256 = sha256.and_then(Value::as_str).ok_or_else(|| missing("Sha256"))?;
        let version = version.parse().map_err(|why| SelfupdateError::Version { why })?;
        let sha256 = BASE64.decode(sha256.as_bytes()).ok();
        let sha256 = sha256.and_then(|bytes| Digest::new(Algorithm::Sha256, &bytes));
        Self::new(version, sha256.ok_or(SelfupdateError::Sha256)?)
    }

    /// The manifest as the publisher's tool writes it: indented by four, without an end of line.
    pub fn render(&self) -> String {
        let version = json_string(self.version.as_str());
        let sha256 = json_string(&BASE64.encode(self.sha256.as_bytes()));
        format!("{{\n    \"Version\": {version},\n    \"Sha256\": {sha256}\n}}")
    }

    /// The newest version.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// SHA-256 of its unpacked program.
    pub fn sha256(&self) -> &Digest {
        &self.sha256
    }

    /// What to fetch.
    pub fn choose(&self, installed: Option<&Installed<'_>>) -> Choice {
        let Some(installed) = installed else { return Choice::Whole };
        if *installed.sha256 == self.sha256 {
            return Choice::Nothing;
        }
        match installed.version {
            // Two spellings of one version are two places for patches, so texts are compared.
            Some(version) if version.as_str() == self.version.as_str() => Choice::Whole,
            Some(_) => Choice::PatchThenWhole,
            None => Choice::Whole,
        }
    }
}

/// The program that is there.
#[derive(Clone, Copy, Debug)]
pub struct Installed<'a> {
    /// Its version, where that is known: a repository tells only the newest.
    pub version: Option<&'a Version>,
    /// SHA-256 of the file.
    pub sha256: &'a Digest,
}

/// What to fetch for the newest release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The installed program is the newest, whatever version it is said to be.
    Nothing,
    /// The patch; and where it is missing, does not apply or makes other bytes, the whole program.
    PatchThenWhole,
    /// The whole program: no base for a patch is known.
    Whole,
}

/// Where the releases of one command are: URLs, or directories of a publisher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// Base of manifests.
    pub api: String,
    /// Base of whole programs.
    pub bin: String,
    /// Base of patches.
    pub diff: String,
    /// The command, as it is called in URLs before encoding.
    pub cmd: String,
}

impl Places {
    /// Accepts bases that end in `/` and a command.
    pub fn new(api: &str, bin: &str, diff: &str, cmd: &str) -> Result<Self, SelfupdateError> {
        let wrong = |what| Err(SelfupdateError::Place { what });
        if [api, bin, diff].iter().any(|base| !base.ends_with('/')) {
            return wrong("a base URL does not end in `/`");
        }
        if cmd.is_empty() {
            return wrong("the command is empty");
        }
        if [api, bin, diff, cmd].iter().any(|text| text.len() > PLACE_BYTES_MAX) {
            return wrong("a base URL or the command is too long");
        }
        let owned = str::to_owned;
        Ok(Self { api: owned(api), bin: owned(bin), diff: owned(diff), cmd: owned(cmd) })
    }

    /// URL of the manifest.
    pub fn manifest(&self, platform: &Platform) -> String {
        format!("{}{}/{}.json", self.api, query_escape(&self.cmd), platform_name(platform))
    }

    /// URL of a whole program, packed with gzip.
    pub fn whole(&self, version: &Version, platform: &Platform) -> String {
        let (cmd, version) = (query_escape(&self.cmd), query_escape(version.as_str()));
        format!("{}{cmd}/{version}/{}.gz", self.bin, platform_name(platform))
    }

    /// URL of the patch from `old` to `new`.
    pub fn patch(&self, old: &Version, new: &Version, platform: &Platform) -> String {
        let (old, new) = (query_escape(old.as_str()), query_escape(new.as_str()));
        let cmd = query_escape(&self.cmd);
        format!("{}{cmd}/{old}/{new}/{}", self.diff, platform_name(platform))
    }
}

/// Paths that a publisher writes, relative to the directory of the command and in the order to write them: whoever
/// sees the manifest finds what it promises.
pub fn published(version: &Version, older: &[Version], platform: &Platform) -> Vec<String> {
    let name = platform_name(platform);
    let mut paths = vec![format!("{version}/{name}.gz")];
    paths.extend(older.iter().map(|old| format!("{old}/{version}/{name}")));
    paths.push(format!("{name}.json"));
    paths
}

fn platform_name(platform: &Platform) -> String {
    format!("{}-{}", platform.os(), platform.arch())
}

#[cfg(test)]
mod tests;
