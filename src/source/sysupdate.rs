//! Directories as systemd-sysupdate reads them: files, and a list of them with their digests.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use camino::Utf8Path;
use reqwest::Url;

use crate::fetch::Reader;
use crate::fetch::record::DOCUMENT_BYTES_MAX;
use crate::model::Artifact;
use crate::source::spec::DirectoryUrl;
use crate::source::{Class, SMALL_FILE, SourceError, is_file_name, read_small};

/// What follows the name of a manifest in that of its signature; what publishers use most comes first.
const SIGNATURE_ENDS: [&str; 4] = [".gpg", ".asc", ".sha256.gpg", ".sha256.asc"];

/// Largest signature read, in bytes: what systemd reads.
const SIGNATURE_BYTES_MAX: u64 = 1 << 20;

/// Most files of a local directory without a manifest.
const FILES_MAX: usize = 100_000;

/// Most directories that are looked into.
const DIRECTORIES_MAX: usize = 4096;

/// Permission bits that an image inherits from the file that it was made from.
const INHERITED_MODE: u32 = 0o775;

/// The list of files of a directory.
pub async fn manifest(
    from: &DirectoryUrl,
    name: &str,
    reader: &Reader,
) -> Result<Vec<u8>, SourceError> {
    read(from, name, reader, DOCUMENT_BYTES_MAX).await
}

/// The signature of the list, and its name.
pub async fn signature(
    from: &DirectoryUrl,
    name: &str,
    reader: &Reader,
) -> Result<(String, Vec<u8>), SourceError> {
    let mut names: Vec<String> = SIGNATURE_ENDS.iter().map(|end| format!("{name}{end}")).collect();
    // What was there before saves asking for what was not.
    names.sort_by_key(|name| {
        let url = file_url(from, name).unwrap_or_default();
        !reader.remembers(&url, SMALL_FILE)
    });
    for name in names {
        match read(from, &name, reader, SIGNATURE_BYTES_MAX).await {
            Ok(bytes) => return Ok((name, bytes)),
            Err(error) if error.class() == Class::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Err(absent(from, format!("a signature of {name} (`{name}.gpg`) in {}", shown(from))))
}

/// Reads the list and its signatures anew the next time, as they cannot belong together. Whether anything of them was
/// remembered.
pub fn forget(from: &DirectoryUrl, name: &str, reader: &Reader) -> bool {
    let signatures = SIGNATURE_ENDS.iter().map(|end| format!("{name}{end}"));
    let urls = [name.to_owned()].into_iter().chain(signatures);
    let urls = urls.filter_map(|name| file_url(from, &name));
    let web = matches!(from, DirectoryUrl::Web(_));
    let forgotten: Vec<bool> =
        urls.filter(|_| web).map(|url| reader.forget(&url, SMALL_FILE)).collect();
    forgotten.contains(&true)
}

/// A small document, of at most `limit` bytes.
pub async fn document(url: &str, reader: &Reader, limit: u64) -> Result<Vec<u8>, SourceError> {
    let name = url.rsplit('/').next().unwrap_or(url).to_owned();
    let urls = vec![url.to_owned()];
    let artifact = Artifact { name, urls, size: None, digest: None, content: None };
    read_small(&artifact, reader, limit).await
}

async fn read(
    from: &DirectoryUrl,
    name: &str,
    reader: &Reader,
    limit: u64,
) -> Result<Vec<u8>, SourceError> {
    let urls = file_url(from, name).into_iter().collect();
    let artifact =
        Artifact { name: name.to_owned(), urls, size: None, digest: None, content: None };
    match read_small(&artifact, reader, limit).await {
        Err(SourceError::Local { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            Err(match from {
                DirectoryUrl::Local(path) if !path.exists() => {
                    SourceError::Gone { path: path.as_std_path().to_owned(), source }
                }
                _ => absent(from, format!("{name} in {}", shown(from))),
            })
        }
        Err(SourceError::NotFound { .. }) => {
            Err(absent(from, format!("{name} in {}", shown(from))))
        }
        read => read,
    }
}

/// What a directory has not.
fn absent(from: &DirectoryUrl, what: String) -> SourceError {
    match from {
        DirectoryUrl::Web(_) => SourceError::NotFound { what },
        DirectoryUrl::Local(_) => SourceError::Absent { what },
    }
}

/// For people.
pub fn shown(from: &DirectoryUrl) -> &str {
    match from {
        DirectoryUrl::Web(url) => url,
        DirectoryUrl::Local(path) => path.as_str(),
    }
}

/// The URL of a file of a directory; its path was checked by whoever read the manifest.
pub fn file_url(from: &DirectoryUrl, path: &str) -> Option<String> {
    match from {
        DirectoryUrl::Web(url) => {
            let mut url = Url::parse(&format!("{url}/")).ok()?;
            url.path_segments_mut().ok()?.pop_if_empty().extend(path.split('/'));
            Some(url.into())
        }
        DirectoryUrl::Local(directory) => {
            Url::from_file_path(directory.join(path)).ok().map(String::from)
        }
    }
}

/// The URL of a directory of a directory on this machine: it ends with a slash.
pub fn directory_url(from: &DirectoryUrl, path: &str) -> Option<String> {
    let DirectoryUrl::Local(directory) = from else { return None };
    Url::from_directory_path(directory.join(path)).ok().map(String::from)
}

/// One file or directory of a local directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// Its path below the directory.
    pub path: String,
    /// Bytes of a file.
    pub size: Option<u64>,
    /// Permission bits.
    pub mode: u32,
    /// Modification time in microseconds since 1970, unless it was before.
    pub modified_us: Option<u64>,
}

/// Files or directories of a local directory, sorted by path; links are passed over. Directories that `descend` names
/// are looked into as well.
pub fn found(
    directory: &Utf8Path,
    directories: Directories,
    descend: &dyn Fn(&str) -> bool,
) -> Result<Vec<Found>, SourceError> {
    let mut found = Vec::new();
    let mut pending = vec![String::new()];
    let mut looked_at = 0;
    while let Some(place) = pending.pop().filter(|_| looked_at < DIRECTORIES_MAX) {
        looked_at += 1;
        let path = directory.join(&place);
        let failed = |source| SourceError::Local { path: path.as_std_path().to_owned(), source };
        for entry in path.read_dir_utf8().map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Ok(metadata) = entry.metadata() else { continue };
            let name = entry.file_name();
            if !is_file_name(name) || found.len() >= FILES_MAX {
                continue;
            }
            let path = if place.is_empty() { name.to_owned() } else { format!("{place}/{name}") };
            let wanted = match directories {
                Directories::Wanted => metadata.is_dir(),
                Directories::PassedOver => metadata.is_file(),
            };
            if metadata.is_dir() && descend(&path) {
                pending.push(path.clone());
            }
            if wanted {
                found.push(Found {
                    path,
                    size: metadata.is_file().then_some(metadata.len()),
                    mode: metadata.mode() & INHERITED_MODE,
                    modified_us: modified_us(&metadata),
                });
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Whether directories are what is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directories {
    /// They are.
    Wanted,
    /// Files are.
    PassedOver,
}

fn modified_us(metadata: &Metadata) -> Option<u64> {
    let seconds = u64::try_from(metadata.mtime()).ok()?;
    let rest = u64::try_from(metadata.mtime_nsec() / 1000).ok()?;
    seconds.checked_mul(1_000_000)?.checked_add(rest)
}
