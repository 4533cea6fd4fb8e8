//! Where releases come from: one file for each kind of source.
//!
//! A source answers one question: which releases are there, and where are their files. It decides
//! nothing and writes nothing. The listing always comes from the origin; mirrors only carry files.

pub mod spec;
pub mod error;
pub mod casync;
mod choria;
mod github;
mod directory;
pub mod discover;
mod layout;
mod listing;
mod name;
mod patches;
pub mod place;
mod selfupdate;
pub mod sysupdate;

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use reqwest::Url;
use rustix::fs::OFlags;

pub use crate::source::error::{Class, SourceError};
pub use crate::source::patches::{From, listed_patch, patch};

use crate::fetch::Reader;
use crate::format::detached;
use crate::model::facts::Arch;
use crate::model::{Artifact, Release};
use crate::resource::app::spec::VersionWish;
use crate::source::spec::{DirectoryUrl, Origin, SourceSpec};

/// Longest tag accepted, in bytes: that of a Git reference on common file systems.
pub const TAG_BYTES_MAX: usize = 256;

/// Longest file name accepted, in bytes: `NAME_MAX` of Linux.
pub const FILE_NAME_BYTES_MAX: usize = 255;

/// The releases that `source` offers, as far as `wish` can be about them. Which of them is wanted is
/// decided elsewhere; `wish` only keeps from asking for what cannot matter. `arch` is the host's: some sources publish
/// for each by itself.
pub async fn releases(
    source: &SourceSpec,
    wish: &VersionWish,
    arch: Arch,
    reader: &Reader,
) -> Result<Vec<Release>, SourceError> {
    match &source.origin {
        Origin::Github { repo, api } => {
            let repository = github::Repository { repo, api, mirrors: &source.mirrors };
            repository.releases(wish, reader).await
        }
        Origin::Directory { url, pattern, arch_names } => {
            let place = directory::Place::new(url, pattern.as_deref(), arch_names)?;
            place.releases(wish, reader, &source.mirrors).await
        }
        Origin::Choria { url, name, platform } => {
            let repository = choria::Repository::new(url, name.as_deref(), platform.on(arch))?;
            repository.releases(wish, reader, &source.mirrors).await
        }
        Origin::Selfupdate { platform, .. } => {
            let command = selfupdate::Command::new(&source.origin, platform.on(arch))?;
            command.releases(reader, &source.mirrors).await
        }
    }
}

/// Where the signature of a file of a release may be. A release lists its own; the lists of directories on the web need
/// not name it, so there the usual names are tried.
pub fn signatures(file: &Artifact, release: &Release, origin: &Origin) -> Vec<Artifact> {
    let named = |end: &&str| {
        let name = format!("{}{end}", file.name);
        let listed = release.artifacts.iter().find(|artifact| artifact.name == name).cloned();
        listed.or_else(|| beside(file, end, name, origin))
    };
    detached::ENDS.iter().filter_map(named).collect()
}

fn beside(file: &Artifact, end: &str, name: String, origin: &Origin) -> Option<Artifact> {
    let Origin::Directory { url: DirectoryUrl::Web(_), .. } = origin else { return None };
    let mut url = Url::parse(file.urls.last()?).ok()?;
    let path = format!("{}{end}", url.path());
    url.set_path(&path);
    Some(Artifact { name, urls: vec![url.into()], size: None, digest: None, content: None })
}

/// Reads a small file anew the next time. Whether anything of it was remembered.
pub fn forget(url: &str, reader: &Reader) -> bool {
    !url.starts_with("file:") && reader.forget(url, SMALL_FILE)
}

/// The media type that small files are asked for by.
const SMALL_FILE: &str = "application/octet-stream";

/// The bytes of a small file of a release, such as its checksums. They vouch for other files, so they
/// come from the origin, which is the last of the URLs, and never from a mirror.
pub async fn read_small(
    artifact: &Artifact,
    reader: &Reader,
    limit_bytes: u64,
) -> Result<Vec<u8>, SourceError> {
    let absent = || SourceError::NotFound { what: artifact.name.clone() };
    read_url(&artifact.name, artifact.urls.last().ok_or_else(absent)?, reader, limit_bytes).await
}

/// The bytes of a small file, wherever it is; `name` is for people.
async fn read_url(
    name: &str,
    url: &str,
    reader: &Reader,
    limit_bytes: u64,
) -> Result<Vec<u8>, SourceError> {
    if !url.starts_with("file:") {
        let document = reader.document(url, SMALL_FILE, limit_bytes).await;
        let document = document.map_err(|error| SourceError::fetch(name, error))?;
        return Ok(document.body.to_vec());
    }
    let path = Url::parse(url).ok().and_then(|url| url.to_file_path().ok());
    read_local(path.ok_or_else(|| SourceError::NotFound { what: name.to_owned() })?, limit_bytes)
}

/// Reads a regular file of at most `limit` bytes, without waiting for a writer if it is a pipe.
pub(crate) fn read_local(path: PathBuf, limit: u64) -> Result<Vec<u8>, SourceError> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let mut bytes = Vec::new();
    let read = OpenOptions::new().read(true).custom_flags(flags).open(&path).and_then(|file| {
        let is_file = file.metadata()?.is_file();
        if is_file {
            file.take(limit + 1).read_to_end(&mut bytes)?;
        }
        Ok(is_file)
    });
    let what = match read {
        Err(source) => return Err(SourceError::Local { path, source }),
        Ok(false) => "it is not a regular file".to_owned(),
        Ok(true) if bytes.len() as u64 > limit => {
            format!("it has more than the allowed {limit} bytes")
        }
        Ok(true) => return Ok(bytes),
    };
    Err(SourceError::Malformed { place: path.display().to_string(), what })
}

/// Whether a name from a source can be that of a file in a directory.
fn is_file_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= FILE_NAME_BYTES_MAX
        && name != "."
        && name != ".."
        && !name.contains('/')
        && !name.chars().any(char::is_control)
}
