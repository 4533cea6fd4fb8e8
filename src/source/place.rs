//! The base of a source that is addressed by paths, on a web server or on this host.

use std::fs;
use std::path::{Path, PathBuf};

use reqwest::Url;

use crate::fetch::error::shown;
use crate::source::SourceError;
use crate::source::spec::DirectoryUrl;

/// The URL of a place, with a final slash; `file:` for one on this host, which must be there.
pub(super) fn base(place: &DirectoryUrl) -> Result<Url, SourceError> {
    if let DirectoryUrl::Local(path) = place {
        let path = PathBuf::from(path);
        fs::metadata(&path).map_err(|source| SourceError::Gone { path, source })?;
    }
    address(place)
}

/// Looks whether a directory of this host is there and holds anything: what is not mounted is not there, or empty.
pub fn is_mounted(path: &Path) -> Result<(), SourceError> {
    let gone = |source| SourceError::Gone { path: path.to_owned(), source };
    match fs::read_dir(path).map_err(gone)?.next() {
        Some(_) => Ok(()),
        None => Err(SourceError::Empty { path: path.to_owned() }),
    }
}

/// The URL of a place that need not be there.
pub(super) fn address(place: &DirectoryUrl) -> Result<Url, SourceError> {
    let unusable = |place: &str| SourceError::Malformed {
        place: place.to_owned(),
        what: "it is neither a complete http or https URL nor an absolute path".to_owned(),
    };
    match place {
        DirectoryUrl::Web(url) => Url::parse(&format!("{url}/")).map_err(|_| unusable(url)),
        DirectoryUrl::Local(path) => {
            Url::from_directory_path(path).map_err(|()| unusable(path.as_str()))
        }
    }
}

/// What is at `path`, whose parts are separated by slashes, below a base.
pub(super) fn below(base: &Url, path: &str) -> Result<Url, SourceError> {
    let mut url = base.clone();
    let extended = url.path_segments_mut().map(|mut segments| {
        segments.pop_if_empty().extend(path.split('/'));
    });
    extended.map(|()| url).map_err(|()| SourceError::Malformed {
        place: shown(base),
        what: "nothing can be below it".to_owned(),
    })
}

/// Where a file is: at mirrors, whose prefix replaces that of the base, and at its origin.
pub(super) fn everywhere(url: &Url, base: &Url, mirrors: &[String]) -> Vec<String> {
    let rest = url.as_str().strip_prefix(base.as_str());
    let mirrored = rest.into_iter().flat_map(|rest| {
        mirrors.iter().map(move |mirror| format!("{}/{rest}", mirror.trim_end_matches('/')))
    });
    mirrored.chain([url.to_string()]).collect()
}

/// The size of a file on this host; nothing is known of one on the web before it is asked for.
pub(super) fn local_size(url: &Url) -> Option<u64> {
    let path = (url.scheme() == "file").then(|| url.to_file_path().ok()).flatten()?;
    fs::metadata(path).ok().filter(fs::Metadata::is_file).map(|metadata| metadata.len())
}
