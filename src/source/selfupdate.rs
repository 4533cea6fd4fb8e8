//! Releases of go-selfupdate: one manifest says what is newest, patches lead there from older versions.

use reqwest::Url;

use crate::fetch::Reader;
use crate::fetch::error::shown;
use crate::format::go::Platform;
use crate::format::selfupdate::{MANIFEST_BYTES_MAX, Manifest, Places};
use crate::model::outcome::chain;
use crate::model::{Artifact, Release, Version};
use crate::source::place::{address, base, everywhere, local_size};
use crate::source::spec::Origin;
use crate::source::{SourceError, read_url};

/// One command as it is described.
pub(super) struct Command {
    places: Places,
    bin: Url,
    platform: Platform,
}

impl Command {
    /// The command of a source that is one of go-selfupdate.
    pub(super) fn new(origin: &Origin, platform: Option<Platform>) -> Result<Self, SourceError> {
        let Origin::Selfupdate { api, bin, diff, cmd, .. } = origin else {
            let (place, what) = ("the source".to_owned(), "it is another kind".to_owned());
            return Err(SourceError::Malformed { place, what });
        };
        // Patches are never needed, nor is a place that has none yet.
        let (api, bin, diff) = (base(api)?, base(bin)?, address(diff)?);
        let unusable = |what: String| SourceError::Malformed { place: shown(&api), what };
        let platform = platform.ok_or_else(|| {
            unusable("`platform` is not made of two names that Go uses".to_owned())
        })?;
        let places = Places::new(api.as_str(), bin.as_str(), diff.as_str(), cmd);
        let places = places.map_err(|error| unusable(chain(&error)))?;
        Ok(Self { places, bin, platform })
    }

    /// The newest release: the only one that a repository tells.
    pub(super) async fn releases(
        &self,
        reader: &Reader,
        mirrors: &[String],
    ) -> Result<Vec<Release>, SourceError> {
        let url = self.places.manifest(&self.platform);
        let parsed = parse(&url)?;
        let document = read_url(&shown(&parsed), &url, reader, MANIFEST_BYTES_MAX as u64).await?;
        let manifest = Manifest::parse(&document).map_err(|error| SourceError::Malformed {
            place: shown(&parsed),
            what: chain(&error),
        })?;
        let version = manifest.version().clone();
        let file = parse(&self.places.whole(&version, &self.platform))?;
        let artifact = Artifact {
            name: format!("{}-{}.gz", self.platform.os(), self.platform.arch()),
            urls: everywhere(&file, &self.bin, mirrors),
            size: local_size(&file),
            digest: None,
            content: Some(manifest.sha256().clone()),
        };
        let (tag, artifacts) = (version.to_string(), vec![artifact]);
        Ok(vec![Release { version, tag, prerelease: false, published: None, artifacts }])
    }

    /// Where the patch from one version to another is, if there is one.
    pub(super) fn patch(&self, old: &Version, new: &Version) -> Result<Url, SourceError> {
        parse(&self.places.patch(old, new, &self.platform))
    }
}

fn parse(url: &str) -> Result<Url, SourceError> {
    Url::parse(url).map_err(|_| SourceError::Malformed {
        place: url.to_owned(),
        what: "it is not a complete URL".to_owned(),
    })
}
