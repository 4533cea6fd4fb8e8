//! Repositories of Choria's go-updater, which say what a version is and not which there are.

use std::path::PathBuf;

use reqwest::Url;

use crate::fetch::Reader;
use crate::fetch::error::shown;
use crate::format::choria::{self, ChoriaError, DOCUMENT_BYTES_MAX};
use crate::format::go::Platform;
use crate::model::outcome::chain;
use crate::model::{Artifact, Constraint, Release, Version};
use crate::resource::app::spec::{TagPattern, VersionWish};
use crate::source::listing::Directory;
use crate::source::place::{base, below, everywhere, local_size};
use crate::source::spec::DirectoryUrl;
use crate::source::{Class, SourceError, read_url};

/// Versions of a repository on this host that are read, the highest first.
const RELEASES_MAX: usize = 1000;

/// A repository as it is described.
pub(super) struct Repository<'a> {
    url: &'a DirectoryUrl,
    base: Url,
    name: Option<&'a str>,
    platform: Platform,
}

impl<'a> Repository<'a> {
    pub(super) fn new(
        url: &'a DirectoryUrl,
        name: Option<&'a str>,
        platform: Option<Platform>,
    ) -> Result<Self, SourceError> {
        let base = base(url)?;
        let what = "`os` or `arch` is no name that Go uses".to_owned();
        let platform =
            platform.ok_or_else(|| SourceError::Malformed { place: shown(&base), what })?;
        Ok(Self { url, base, name, platform })
    }

    /// The wanted release; on this host all that are there.
    pub(super) async fn releases(
        &self,
        wish: &VersionWish,
        reader: &Reader,
        mirrors: &[String],
    ) -> Result<Vec<Release>, SourceError> {
        let versions = match (&wish.want, self.url) {
            (Constraint::Exact(version), _) => candidates(version, &wish.tag),
            (_, DirectoryUrl::Local(path)) => self.listed(&wish.tag, path.into(), reader).await?,
            (_, DirectoryUrl::Web(_)) => {
                return Err(SourceError::NoIndex { place: shown(&self.base) });
            }
        };
        let mut releases = Vec::new();
        for (version, tag) in versions.into_iter().take(RELEASES_MAX) {
            match self.release(version, &tag, reader, mirrors).await {
                Ok(release) => releases.push(release),
                // Another way to write the version, or a version for other platforms.
                Err(error) if error.class() == Class::NotFound => {}
                Err(error) => return Err(error),
            }
            if matches!(wish.want, Constraint::Exact(_)) && !releases.is_empty() {
                break;
            }
        }
        if releases.is_empty() {
            let platform = format!("{}/{}", self.platform.os(), self.platform.arch());
            let what = format!("{} for {platform} in {}", wish.want, shown(&self.base));
            return Err(SourceError::NotFound { what });
        }
        Ok(releases)
    }

    /// The directories of a repository on this host that bear a version, the highest first.
    async fn listed(
        &self,
        tags: &TagPattern,
        path: PathBuf,
        reader: &Reader,
    ) -> Result<Vec<(Version, String)>, SourceError> {
        let gone = |source| SourceError::Gone { path: path.clone(), source };
        let root = std::fs::canonicalize(&path).map_err(gone)?;
        let listing = Directory::Local { path, root }.list(reader, |_| true).await?;
        let versions = listing.directories.into_iter();
        let mut versions: Vec<(Version, String)> =
            versions.filter_map(|name| Some((tags.version(&name)?, name))).collect();
        versions.sort_by(|a, b| b.cmp(a));
        Ok(versions)
    }

    async fn release(
        &self,
        version: Version,
        tag: &str,
        reader: &Reader,
        mirrors: &[String],
    ) -> Result<Release, SourceError> {
        let unusable = |error: ChoriaError| SourceError::Malformed {
            place: format!("{} {tag}", shown(&self.base)),
            what: chain(&error),
        };
        let directory: Version = tag
            .parse()
            .map_err(|what| SourceError::Malformed { place: shown(&self.base), what })?;
        let path = choria::document_path(&directory, &self.platform).map_err(unusable)?;
        let url = below(&self.base, &path)?;
        let document =
            read_url(&shown(&url), url.as_str(), reader, DOCUMENT_BYTES_MAX as u64).await?;
        let release = choria::Release::parse(&document).map_err(unusable)?;
        let (_, name) = release.binary().rsplit_once('/').unwrap_or(("", release.binary()));
        if let Some(wanted) = self.name.filter(|wanted| !name.starts_with(wanted)) {
            let what = format!("its program is `{name}`, not one of `{wanted}`");
            return Err(SourceError::Malformed { place: shown(&url), what });
        }
        let directory = choria::directory(&directory, &self.platform).map_err(unusable)?;
        let file = below(&self.base, &format!("{directory}/{}", release.binary()))?;
        let artifact = Artifact {
            name: name.to_owned(),
            urls: everywhere(&file, &self.base, mirrors),
            size: local_size(&file),
            digest: None,
            content: Some(release.hash().clone()),
        };
        let (tag, artifacts) = (tag.to_owned(), vec![artifact]);
        Ok(Release { version, tag, prerelease: false, published: None, artifacts })
    }
}

/// What the directory of a version may be called.
fn candidates(version: &Version, tags: &TagPattern) -> Vec<(Version, String)> {
    let mut tags = tags.tags(version);
    // Choria's publisher takes the version as it is given, which mostly is without a `v`.
    tags.sort_by_key(|tag| tag != version.as_str());
    tags.into_iter().map(|tag| (version.clone(), tag)).collect()
}
