//! Indexes of casync: one file that says what a tree now is, or several with versions in their names.

use std::fs;
use std::sync::Arc;
use std::time::SystemTime;

use jiff::Timestamp;
use reqwest::Url;
use sha2::{Digest as _, Sha256};

use crate::fetch::Reader;
use crate::fetch::record::DOCUMENT_BYTES_MAX;
use crate::model::{Algorithm, Artifact, Digest, Level, Release};
use crate::resource::app::spec::VersionWish;
use crate::resource::tree::spec::Place;
use crate::source::spec::DirectoryUrl;
use crate::source::{SourceError, directory, read_local};

/// Stands for the version in the name of an index, as in patterns of systemd-sysupdate.
const VERSION: &str = "@v";

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
    let (bytes, published) = if parsed.scheme() == "file" {
        let path = parsed.to_file_path().map_err(|()| absent())?;
        let modified = fs::metadata(&path).and_then(|metadata| metadata.modified());
        let published = modified.ok().and_then(|time: SystemTime| Timestamp::try_from(time).ok());
        (Arc::new(read_local(path, DOCUMENT_BYTES_MAX)?), published)
    } else {
        let document = reader.document(url, "application/octet-stream", DOCUMENT_BYTES_MAX).await;
        let document = document.map_err(|error| SourceError::fetch(&name, error))?;
        (document.body, document.modified)
    };
    let hash: [u8; 32] = Sha256::digest(bytes.as_slice()).into();
    let sha256 = Digest::new(Algorithm::Sha256, &hash).ok_or_else(absent)?;
    let size = Some(bytes.len() as u64);
    let level = if parsed.scheme() == "http" { Level::None } else { Level::Tls };
    let artifact = Artifact { name, urls: vec![url.to_owned()], size, digest: None };
    Ok(IndexFile { bytes, artifact, sha256, published, level })
}
