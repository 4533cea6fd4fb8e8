//! Releases of a GitHub repository, over the REST API.
//!
//! <https://docs.github.com/en/rest/releases/releases>

use jiff::Timestamp;
use reqwest::Url;
use serde::Deserialize;

use crate::fetch::error::shown;
use crate::fetch::record::DOCUMENT_BYTES_MAX;
use crate::fetch::{Document, FetchError, Reader};
use crate::model::{Algorithm, Artifact, Constraint, Digest, Prereleases, Release};
use crate::resource::app::spec::{TagPattern, VersionWish};
use crate::source::{SourceError, TAG_BYTES_MAX, is_file_name};

/// Media type of the API's answers.
const ACCEPT: &str = "application/vnd.github+json";

/// Pages of a list that are read.
const PAGES_MAX: usize = 5;

/// Releases per page: the most GitHub gives, and fewer for projects with so many files that such a page
/// is too large.
const PAGE_SIZES: [usize; 2] = [100, 20];

/// A repository.
#[derive(Clone, Copy, Debug)]
pub(super) struct Repository<'a> {
    /// `OWNER/REPO`.
    pub(super) repo: &'a str,
    /// Base of the API.
    pub(super) api: &'a str,
    /// Prefixes that replace everything before `/OWNER/REPO/`.
    pub(super) mirrors: &'a [String],
}

impl Repository<'_> {
    /// The releases that may matter: the one marked latest, the one with the wanted tag, or all.
    pub(super) async fn releases(
        &self,
        wish: &VersionWish,
        reader: &Reader,
    ) -> Result<Vec<Release>, SourceError> {
        let published = match &wish.want {
            Constraint::Exact(version) => {
                self.tagged(wish.tag.tags(version), reader).await.map(|release| vec![release])
            }
            Constraint::Latest if latest_is_enough(wish) => self.latest(reader).await,
            _ => self.all(reader).await,
        }?;
        let route = if reader.client().has_token(self.api) { Route::Api } else { Route::Browser };
        published
            .into_iter()
            .filter_map(|r| self.release(r, &wish.tag, route).transpose())
            .collect()
    }

    async fn latest(&self, reader: &Reader) -> Result<Vec<PublishedRelease>, SourceError> {
        let url = self.url(&["latest"])?;
        let document = self.ask(url.as_str(), reader).await;
        let document = document.map_err(|error| self.failed("latest release", error))?;
        Ok(vec![parse(&url, &document)?])
    }

    /// The release with one of `tags`. One that was there before is asked for first: a wrong guess
    /// costs a request that counts against the limit.
    async fn tagged(
        &self,
        mut tags: Vec<String>,
        reader: &Reader,
    ) -> Result<PublishedRelease, SourceError> {
        let url = |tag: &str| self.url(&["tags", tag]);
        tags.sort_by_key(|tag| !url(tag).is_ok_and(|url| reader.remembers(url.as_str(), ACCEPT)));
        for tag in &tags {
            let url = url(tag)?;
            match self.ask(url.as_str(), reader).await {
                Ok(document) => return parse(&url, &document),
                Err(FetchError::Status { status: 404, .. }) => {}
                Err(error) => return Err(self.failed(&format!("release {tag}"), error)),
            }
        }
        let what = format!("release {} of {}", tags.join(" or "), self.name());
        Err(SourceError::NotFound { what })
    }

    async fn all(&self, reader: &Reader) -> Result<Vec<PublishedRelease>, SourceError> {
        let mut outcome = Ok(Vec::new());
        for size in PAGE_SIZES {
            outcome = self.pages(size, reader).await;
            let too_large = matches!(&outcome, Err(PageError::Fetch(FetchError::TooLarge { .. })));
            if !too_large {
                break;
            }
        }
        outcome.map_err(|error| match error {
            PageError::Fetch(error) => self.failed("releases", error),
            PageError::Malformed(error) => error,
        })
    }

    async fn pages(
        &self,
        size: usize,
        reader: &Reader,
    ) -> Result<Vec<PublishedRelease>, PageError> {
        let mut url = self.url(&[]).map_err(PageError::Malformed)?;
        url.set_query(Some(&format!("per_page={size}")));
        let mut next = Some(url.to_string());
        let mut releases = Vec::new();
        for _ in 0..PAGES_MAX {
            let Some(page) = next else { break };
            let document = self.ask(&page, reader).await.map_err(PageError::Fetch)?;
            let listed: Vec<PublishedRelease> =
                parse(&url, &document).map_err(PageError::Malformed)?;
            releases.extend(listed);
            next = document.next;
        }
        Ok(releases)
    }

    async fn ask(&self, url: &str, reader: &Reader) -> Result<Document, FetchError> {
        reader.document(url, ACCEPT, DOCUMENT_BYTES_MAX).await
    }

    /// For people.
    fn name(&self) -> String {
        let api = Url::parse(self.api).map_or_else(|_| self.api.to_owned(), |api| shown(&api));
        format!("{} at {}", self.repo, api.trim_end_matches('/'))
    }

    fn failed(&self, what: &str, error: FetchError) -> SourceError {
        SourceError::fetch(&format!("{what} of {}", self.name()), error)
    }

    /// `{api}/repos/{owner}/{repo}/releases/…`, every part percent-encoded: tags may hold `/`.
    fn url(&self, parts: &[&str]) -> Result<Url, SourceError> {
        below(self.api, ["repos"].into_iter().chain(self.repo.split('/')), "releases", parts)
            .ok_or_else(|| SourceError::Malformed {
                place: self.api.to_owned(),
                what: "it is not a complete http or https URL".to_owned(),
            })
    }

    /// The release in our words; `None` when it is a draft or its tag is not one of ours.
    fn release(
        &self,
        published: PublishedRelease,
        tags: &TagPattern,
        route: Route,
    ) -> Result<Option<Release>, SourceError> {
        let tag = published.tag_name;
        if published.draft || tag.len() > TAG_BYTES_MAX || tag.chars().any(char::is_control) {
            return Ok(None);
        }
        let Some(version) = tags.version(&tag) else { return Ok(None) };
        let date = published.published_at.or(published.created_at);
        let assets = published.assets.unwrap_or_default();
        let artifacts =
            assets.into_iter().filter_map(|a| self.artifact(&tag, a, route).transpose());
        Ok(Some(Release {
            version,
            prerelease: published.prerelease,
            published: date.and_then(|date| date.parse::<Timestamp>().ok()),
            artifacts: artifacts.collect::<Result<_, _>>()?,
            tag,
        }))
    }

    /// A file that is completely uploaded.
    fn artifact(
        &self,
        tag: &str,
        asset: PublishedAsset,
        route: Route,
    ) -> Result<Option<Artifact>, SourceError> {
        let uploaded = asset.state.as_deref().is_none_or(|state| state == "uploaded");
        if !uploaded || !is_file_name(&asset.name) {
            return Ok(None);
        }
        let mirrored = self.mirrors.iter().filter_map(|mirror| {
            let parts = ["download", tag, asset.name.as_str()];
            below(mirror, self.repo.split('/'), "releases", &parts).map(String::from)
        });
        let (api, browser) = (asset.url, asset.browser_download_url);
        // A file of this host is nothing that an answer from elsewhere may name.
        let on_the_web = |url: &String| {
            Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
        };
        let (api, browser) = (api.filter(on_the_web), browser.filter(on_the_web));
        let origin = match route {
            Route::Api => api.or(browser),
            Route::Browser => browser.or(api),
        };
        let Some(origin) = origin else { return Ok(None) };
        Ok(Some(Artifact {
            content: None,
            urls: mirrored.chain([origin]).collect(),
            size: asset.size,
            digest: self.digest(tag, &asset.name, asset.digest.as_deref())?,
            name: asset.name,
        }))
    }

    /// The digest that is stated of a file. An algorithm that is not known is as good as none; half a digest is not.
    fn digest(
        &self,
        tag: &str,
        name: &str,
        stated: Option<&str>,
    ) -> Result<Option<Digest>, SourceError> {
        let stated = stated.map(str::to_ascii_lowercase).filter(|stated| !stated.is_empty());
        let Some(stated) = stated else { return Ok(None) };
        let algorithm = stated.split_once(':').map(|(algorithm, _)| algorithm);
        if algorithm.is_some_and(|algorithm| Algorithm::named(algorithm).is_none()) {
            return Ok(None);
        }
        stated.parse().map(Some).map_err(|error: String| SourceError::Malformed {
            place: self.name(),
            what: format!("the digest of `{name}` of {tag} is none: {error}"),
        })
    }
}

/// Which of the two URLs of a file is used.
#[derive(Clone, Copy, Debug)]
enum Route {
    /// With a token, over the API: the only way for private repositories.
    Api,
    /// As a browser does, which counts against no limit.
    Browser,
}

enum PageError {
    Fetch(FetchError),
    Malformed(SourceError),
}

/// The release marked latest is the newest, unless prereleases count, other tags count, or it may be
/// too young.
fn latest_is_enough(wish: &VersionWish) -> bool {
    wish.prereleases == Prereleases::Refused
        && wish.tag == TagPattern::Plain
        && !wish.min_age.is_positive()
}

fn below<'a>(
    base: &str,
    path: impl Iterator<Item = &'a str>,
    middle: &str,
    rest: &[&str],
) -> Option<Url> {
    let mut url = Url::parse(base).ok().filter(|u| matches!(u.scheme(), "http" | "https"))?;
    url.path_segments_mut().ok()?.pop_if_empty().extend(path).push(middle).extend(rest);
    Some(url)
}

fn parse<T: for<'de> Deserialize<'de>>(url: &Url, document: &Document) -> Result<T, SourceError> {
    serde_json::from_slice(&document.body).map_err(|error| SourceError::Malformed {
        place: shown(url),
        what: format!("it is not the JSON of GitHub releases ({error})"),
    })
}

/// What of a release is looked at. Compatible forges leave out much.
#[derive(Debug, Deserialize)]
struct PublishedRelease {
    tag_name: String,
    #[serde(default)]
    draft: bool,
    #[serde(default)]
    prerelease: bool,
    published_at: Option<String>,
    created_at: Option<String>,
    assets: Option<Vec<PublishedAsset>>,
}

#[derive(Debug, Deserialize)]
struct PublishedAsset {
    name: String,
    state: Option<String>,
    url: Option<String>,
    browser_download_url: Option<String>,
    size: Option<u64>,
    digest: Option<String>,
}
