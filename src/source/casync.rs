//! Indexes of casync: one file that says what a tree now is, or several with versions in their names.

use std::fs;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::SystemTime;

use jiff::Timestamp;
use reqwest::Url;
use sha2::{Digest as _, Sha256};

use crate::fetch::Reader;
use crate::fetch::record::DOCUMENT_BYTES_MAX;
use crate::format::detached;
use crate::model::{Algorithm, Artifact, Digest, Level, Release};
use crate::resource::app::spec::VersionWish;
use crate::resource::tree::spec::Place;
use crate::source::spec::DirectoryUrl;
use crate::source::{Class, SourceError, directory, place, read_local};

/// Stands for the version in the name of an index, as in patterns of systemd-sysupdate.
const VERSION: &str = "@v";

/// The media type that indexes and their signatures are asked for by.
const MEDIA_TYPE: &str = "application/octet-stream";

/// An index as a source has it now.
#[derive(Clone, Debug)]
pub struct IndexFile {
    /// Its bytes.
    pub bytes: Arc<Vec<u8>>,
    /// The file.
    pub artifact: Artifact,
    /// SHA-256 of the bytes.
    pub sha256: Digest,
    /// When it was published, as far as its source says.
    pub published: Option<Timestamp>,
    /// How well the way it came is protected.
    pub level: Level,
}

impl IndexFile {
    /// The URL of what an index has beside it, by what follows its own name.
    pub fn beside(&self, end: &str) -> Option<Url> {
        let mut url = Url::parse(self.artifact.urls.last()?).ok()?;
        let path = format!("{}{end}", url.path());
        url.set_path(&path);
        Some(url)
    }
}

/// A file with detached signatures.
#[derive(Clone, Debug)]
pub struct SignatureFile {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// When it was published, as far as its source says.
    pub published: Option<Timestamp>,
}

/// Whether the name of an index stands for several with versions.
pub fn has_versions(index: &Place) -> bool {
    index.file_name().contains(VERSION)
}

/// The versions for which there is an index, each with that one file.
pub async fn releases(
    index: &Place,
    wish: &VersionWish,
    reader: &Reader,
) -> Result<Vec<Release>, SourceError> {
    let pattern = index.file_name().replacen(VERSION, "{version}", 1);
    let url = match index.parent() {
        Place::Web(url) => DirectoryUrl::Web(url),
        Place::Local(path) => DirectoryUrl::Local(path),
    };
    let place = directory::Place::new(&url, Some(&pattern), &[])?;
    place.releases(wish, reader, &[]).await
}

/// The index at a URL as it is now: one conditional request, or none while it is fresh.
pub async fn read(url: &str, reader: &Reader) -> Result<IndexFile, SourceError> {
    let absent = || SourceError::NotFound { what: url.to_owned() };
    let parsed = Url::parse(url).map_err(|_| absent())?;
    let name = parsed.path_segments().and_then(|mut s| s.next_back().map(str::to_owned));
    let name = name.filter(|name| !name.is_empty()).ok_or_else(absent)?;
    let (bytes, published) = file(&parsed, &name, reader, DOCUMENT_BYTES_MAX).await?;
    let hash: [u8; 32] = Sha256::digest(bytes.as_slice()).into();
    let sha256 = Digest::new(Algorithm::Sha256, &hash).ok_or_else(absent)?;
    let size = Some(bytes.len() as u64);
    let level = if parsed.scheme() == "http" { Level::None } else { Level::Tls };
    let artifact = Artifact { name, urls: vec![url.to_owned()], size, digest: None, content: None };
    Ok(IndexFile { bytes, artifact, sha256, published, level })
}

/// Reads an index and then its signatures anew, although that was done in this pass: they do not belong together. `None`
/// for one on this machine, of which nothing is remembered.
pub async fn read_anew(
    index: &IndexFile,
    reader: &Reader,
) -> Option<Result<IndexFile, SourceError>> {
    let url = index.artifact.urls.last().filter(|url| !url.starts_with("file:"))?;
    let signatures = detached::ENDS.iter().filter_map(|end| index.beside(end));
    for url in signatures.map(String::from).chain([url.clone()]) {
        reader.discard(&url, MEDIA_TYPE);
    }
    Some(read(url, reader).await)
}

/// The detached signature of an index whose name has this end more; `None` where there is no such file.
pub async fn signature(
    index: &IndexFile,
    end: &str,
    reader: &Reader,
) -> Result<Option<SignatureFile>, SourceError> {
    let Some(url) = index.beside(end) else { return Ok(None) };
    let name = format!("{}{end}", index.artifact.name);
    match file(&url, &name, reader, detached::BYTES_MAX).await {
        Ok((bytes, published)) => Ok(Some(SignatureFile { bytes: bytes.to_vec(), published })),
        Err(error) if error.class() == Class::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Why a file is not there: its directory may be on something, or be where something is mounted, that is not there now.
fn away(error: SourceError) -> SourceError {
    let SourceError::Local { path, source } = &error else { return error };
    let Some(directory) = path.parent().filter(|_| source.kind() == ErrorKind::NotFound) else {
        return error;
    };
    place::is_mounted(directory).err().unwrap_or(error)
}

/// A file with its date.
async fn file(
    url: &Url,
    name: &str,
    reader: &Reader,
    limit: u64,
) -> Result<(Arc<Vec<u8>>, Option<Timestamp>), SourceError> {
    if url.scheme() == "file" {
        let absent = |()| SourceError::NotFound { what: url.to_string() };
        let path = url.to_file_path().map_err(absent)?;
        let modified = fs::metadata(&path).and_then(|metadata| metadata.modified());
        let published = modified.ok().and_then(|time: SystemTime| Timestamp::try_from(time).ok());
        return Ok((Arc::new(read_local(path, limit).map_err(away)?), published));
    }
    let document = reader.document(url.as_str(), MEDIA_TYPE, limit).await;
    let document = document.map_err(|error| SourceError::fetch(name, error))?;
    Ok((document.body, document.modified))
}
