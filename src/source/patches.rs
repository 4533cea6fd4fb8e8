//! Patches that sources have from one release to another.

use reqwest::Url;

use crate::fetch::error::shown;
use crate::fetch::{FetchError, Reader};
use crate::format::deltas::Listed;
use crate::model::facts::Arch;
use crate::model::{Artifact, Digest, Patch, PatchFormat, Release, Version};
use crate::source::SourceError;
use crate::source::place::local_size;
use crate::source::selfupdate::Command;
use crate::source::spec::{Origin, SourceSpec};

/// A program that is here.
#[derive(Clone, Copy, Debug)]
pub struct From<'a> {
    /// Its version.
    pub version: &'a Version,
    /// Its SHA-256.
    pub sha256: &'a Digest,
}

/// The patch that the source has to the program of `release`, if it has one. What it makes is for the release to
/// say: a patch vouches for nothing.
pub async fn patch(
    source: &SourceSpec,
    from: From<'_>,
    release: &Release,
    arch: Arch,
    reader: &Reader,
) -> Result<Option<Patch>, SourceError> {
    let Origin::Selfupdate { platform, .. } = &source.origin else { return Ok(None) };
    let command = Command::new(&source.origin, platform.on(arch))?;
    let url = command.patch(from.version, &release.version)?;
    let bytes = if url.scheme() == "file" {
        match local_size(&url) {
            Some(size) => Some(size),
            None => return Ok(None),
        }
    } else {
        match reader.size(url.as_str()).await {
            Ok(size) => size,
            Err(FetchError::Status { status: 403 | 404 | 410, .. }) => return Ok(None),
            Err(error) => return Err(SourceError::fetch(&shown(&url), error)),
        }
    };
    let name = format!("patch {} to {}", from.version, release.version);
    let urls = vec![url.to_string()];
    let artifact = Artifact { name, urls, size: None, digest: None, content: None };
    Ok(Some(Patch { artifact, format: PatchFormat::Bsdiff, bytes }))
}

/// A patch of a release's own list, beside which it is.
pub fn listed_patch(list: &Artifact, listed: &Listed) -> Result<Patch, SourceError> {
    let url = list.urls.last().and_then(|url| Url::parse(url).ok()?.join(&listed.patch).ok());
    let url = url.ok_or_else(|| SourceError::Malformed {
        place: list.name.clone(),
        what: format!("`{}` is not below it", listed.patch),
    })?;
    let name = format!("patch from {}", listed.from);
    let (urls, size, digest) = (vec![url.into()], Some(listed.size), Some(listed.sha256.clone()));
    let artifact = Artifact { name, urls, size, digest, content: None };
    Ok(Patch { artifact, format: PatchFormat::Zstd, bytes: Some(listed.size) })
}
