//! Releases in a directory on a web server or on this host.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::PathBuf;

use futures_util::future::join_all;
use reqwest::Url;

use crate::fetch::Reader;
use crate::model::{Artifact, Constraint, Release, Version};
use crate::resource::app::spec::{TagPattern, VersionWish};
use crate::source::layout::{Layout, NamePattern, fill, is_side_file};
use crate::source::listing::{Directory, File, Listing};
use crate::source::name::version_in;
use crate::source::spec::DirectoryUrl;
use crate::source::{Class, SourceError};

/// Releases of one directory that are told, the highest versions first.
const RELEASES_MAX: usize = 1000;

/// Directories of versions on a web server that are listed, the highest versions first: each costs a
/// request.
const VERSION_DIRECTORIES_MAX: usize = 10;

/// Files without a version (`SHA256SUMS`) that are told with each release beside them.
const SHARED_FILES_MAX: usize = 32;

/// Why a pattern finds nothing in what `publish release` writes.
const VERSIONS_ARE_DIRECTORIES: &str = "its versions are directories, as `publish release` writes them, and `pattern` \
                                        is for files of one directory; leave `pattern` out and, where several files \
                                        fit, name one with `asset`";

/// Why a pattern finds nothing.
const NO_NAME_FITS: &str =
    "the name of no file there fits `pattern`; compare it with what is there";

/// The place of a source and how it names versions.
#[derive(Clone, Debug)]
pub(super) struct Place {
    root: Directory,
    base_url: String,
    layout: Layout,
}

impl Place {
    /// A directory source as it is described.
    pub(super) fn new(
        url: &DirectoryUrl,
        pattern: Option<&str>,
        arch_names: &[(String, String)],
    ) -> Result<Self, SourceError> {
        let text = match url {
            DirectoryUrl::Web(url) => url.as_str(),
            DirectoryUrl::Local(path) => path.as_str(),
        };
        let layout = Layout::new(text, pattern, arch_names)?;
        let unusable = || SourceError::Malformed {
            place: text.to_owned(),
            what: "it is neither a complete http or https URL nor an absolute path".to_owned(),
        };
        let (root, base_url) = match url {
            DirectoryUrl::Web(_) => {
                let base = Url::parse(&format!("{}/", layout.base)).map_err(|_| unusable())?;
                (Directory::Web(base.clone()), base)
            }
            DirectoryUrl::Local(_) => {
                let path = PathBuf::from(&layout.base);
                let real = fs::canonicalize(&path)
                    .map_err(|source| SourceError::Gone { path: path.clone(), source })?;
                let base = Url::from_directory_path(&path).map_err(|()| unusable())?;
                (Directory::Local { path, root: real }, base)
            }
        };
        Ok(Self { root, base_url: base_url.into(), layout })
    }

    /// The releases there, highest version first.
    pub(super) async fn releases(
        &self,
        wish: &VersionWish,
        reader: &Reader,
        mirrors: &[String],
    ) -> Result<Vec<Release>, SourceError> {
        let home = self.layout.fixed.iter().try_fold(self.root.clone(), |d, name| d.join(name));
        let home = home.ok_or_else(|| self.nothing())?;
        let mut releases = match &self.layout.version_directory {
            Some(pattern) => self.in_directories(&home, pattern, wish, reader).await?,
            None => self.flat(&home, wish, reader).await?,
        };
        releases.sort_by(|a, b| b.version.cmp(&a.version).then_with(|| a.tag.cmp(&b.tag)));
        releases.truncate(RELEASES_MAX);
        for artifact in releases.iter_mut().flat_map(|release| &mut release.artifacts) {
            self.add_mirrors(artifact, mirrors);
        }
        Ok(releases)
    }

    fn nothing(&self) -> SourceError {
        SourceError::NotFound { what: format!("releases in {}", self.root.name()) }
    }

    /// A mirror's prefix replaces that of the origin.
    fn add_mirrors(&self, artifact: &mut Artifact, mirrors: &[String]) {
        let Some(origin) = artifact.urls.pop() else { return };
        if let Some(rest) = origin.strip_prefix(&self.base_url) {
            let mirrored =
                mirrors.iter().map(|mirror| format!("{}/{rest}", mirror.trim_end_matches('/')));
            artifact.urls.extend(mirrored);
        }
        artifact.urls.push(origin);
    }

    /// One directory for each version: `{version}/tool-{arch}.tar.gz`.
    async fn in_directories(
        &self,
        home: &Directory,
        pattern: &NamePattern,
        wish: &VersionWish,
        reader: &Reader,
    ) -> Result<Vec<Release>, SourceError> {
        if let Constraint::Exact(version) = &wish.want {
            let tags = tags(version, &wish.tag).into_iter();
            let names = tags.filter_map(|tag| Some((pattern.fill(&tag)?, tag))).collect();
            return self.exact_directory(home, names, version, reader).await;
        }
        let versions = |listing: &Listing| -> Vec<(Version, String, String)> {
            let found = listing.directories.iter().filter_map(|name| {
                let text = pattern.version(name)?;
                Some((wish.tag.version(text)?, text.to_owned(), name.clone()))
            });
            found.collect()
        };
        let listing = home.list(reader, |listing| !versions(listing).is_empty()).await?;
        let found = versions(&listing);
        self.open_directories(home, found, wish, reader).await
    }

    /// Lists the directories of the highest acceptable versions.
    async fn open_directories(
        &self,
        home: &Directory,
        mut found: Vec<(Version, String, String)>,
        wish: &VersionWish,
        reader: &Reader,
    ) -> Result<Vec<Release>, SourceError> {
        found.sort_by(|a, b| b.cmp(a));
        let accepts = |version: &Version| wish.want.accepts(version, wish.prereleases);
        if found.iter().any(|(version, ..)| accepts(version)) {
            found.retain(|(version, ..)| accepts(version));
        } else {
            // The highest is enough to say why there is nothing to choose from.
            found.truncate(1);
        }
        found.truncate(match home {
            Directory::Web(_) => VERSION_DIRECTORIES_MAX,
            Directory::Local { .. } => RELEASES_MAX,
        });
        let opened = found.into_iter().map(|(version, tag, name)| async move {
            let directory = self.inside(home, &name, &tag)?;
            self.open_directory(&directory, version, &tag, reader).await
        });
        let mut releases = Vec::new();
        for outcome in join_all(opened).await {
            match outcome {
                Ok(release) => releases.push(release),
                Err(error) if error.class() == Class::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(releases)
    }

    /// The directory of a wanted version, found without listing all of them: the first there is of
    /// those that `names` (name, tag) says.
    async fn exact_directory(
        &self,
        home: &Directory,
        names: Vec<(String, String)>,
        version: &Version,
        reader: &Reader,
    ) -> Result<Vec<Release>, SourceError> {
        let mut guess = None;
        for (name, tag) in names {
            let directory = self.inside(home, &name, &tag)?;
            match self.open_directory(&directory, version.clone(), &tag, reader).await {
                Ok(release) => return Ok(vec![release]),
                Err(error) if error.class() == Class::NotFound => {
                    guess = guess.or_else(|| self.guess(&directory, version, &tag));
                }
                Err(error) => return Err(error),
            }
        }
        guess.map(|release| vec![release]).ok_or_else(|| self.nothing())
    }

    fn inside(&self, home: &Directory, name: &str, tag: &str) -> Result<Directory, SourceError> {
        let mut inner = self.layout.inner.iter();
        let directory = home.join(name);
        let inside = directory.and_then(|d| inner.try_fold(d, |d, part| d.join(&fill(part, tag))));
        inside.ok_or_else(|| self.nothing())
    }

    /// The release that a directory of its own holds.
    async fn open_directory(
        &self,
        directory: &Directory,
        version: Version,
        tag: &str,
        reader: &Reader,
    ) -> Result<Release, SourceError> {
        let ours = |name: &str| match &self.layout.file {
            Some(pattern) => {
                let text = pattern.version(name);
                pattern.fits(name) && text.is_none_or(|text| same_version(text, &version))
            }
            None => true,
        };
        let useful = |listing: &Listing| listing.files.keys().any(|name| ours(name));
        let listing = directory.list(reader, useful).await?;
        let files = listing.files.into_iter();
        let artifacts = files
            .filter(|(name, _)| ours(name) || is_side_file(name))
            .map(|(name, file)| artifact(name, file))
            .collect();
        Ok(release(version, tag, artifacts))
    }

    /// A release that nothing lists, where nothing but the version is open in its URL.
    fn guess(&self, directory: &Directory, version: &Version, tag: &str) -> Option<Release> {
        let Directory::Web(_) = directory else { return None };
        let name = self.layout.file.as_ref()?.fill(tag)?;
        let file = File { url: directory.file_url(&name)?, size: None };
        Some(release(version.clone(), tag, vec![artifact(name, file)]))
    }

    /// Whether a directory on the web has one for each version.
    async fn has_version_directories(
        &self,
        home: &Directory,
        wish: &VersionWish,
        reader: &Reader,
    ) -> bool {
        home.list(reader, |listing| names_versions(listing, wish)).await.is_ok()
    }

    /// All files in one directory; without a pattern, also one directory for each version.
    async fn flat(
        &self,
        home: &Directory,
        wish: &VersionWish,
        reader: &Reader,
    ) -> Result<Vec<Release>, SourceError> {
        let pattern = self.layout.file.as_ref();
        let directories = |listing: &Listing| -> Vec<(Version, String, String)> {
            let names = listing.directories.iter().filter(|_| pattern.is_none());
            let found = names.filter_map(|name| {
                let version = wish.tag.version(name).filter(|version| !version.is_opaque())?;
                Some((version, name.clone(), name.clone()))
            });
            found.collect()
        };
        let local = matches!(home, Directory::Local { .. });
        let useful = |listing: &Listing| {
            (local && pattern.is_some())
                || listing.files.keys().any(|name| version_text(pattern, name).is_some())
                || !directories(listing).is_empty()
        };
        let listed = home.list(reader, useful).await;
        if let (Err(error), Directory::Web(_), Some(_)) = (&listed, home, pattern)
            && error.class() == Class::NotFound
            && self.has_version_directories(home, wish, reader).await
        {
            return Err(SourceError::Nothing {
                path: home.name().into(),
                what: VERSIONS_ARE_DIRECTORIES,
            });
        }
        let listing = match (listed, &wish.want) {
            (Err(error), Constraint::Exact(version)) if error.class() == Class::NotFound => {
                let guess = self.guess(home, version, version.as_str());
                return guess.map(|release| vec![release]).ok_or(error);
            }
            (outcome, _) => outcome?,
        };
        if let (Directory::Local { path, .. }, Some(_)) = (home, pattern)
            && !listing.files.keys().any(|name| version_text(pattern, name).is_some())
        {
            let what = if names_versions(&listing, wish) {
                VERSIONS_ARE_DIRECTORIES
            } else {
                NO_NAME_FITS
            };
            return Err(SourceError::Nothing { path: path.clone(), what });
        }
        let found = directories(&listing);
        let mut releases = group(listing.files, pattern);
        releases.extend(self.open_directories(home, found, wish, reader).await?);
        Ok(releases)
    }
}

/// Whether directories bear versions.
fn names_versions(listing: &Listing, wish: &VersionWish) -> bool {
    let bears = |name: &String| wish.tag.version(name).is_some_and(|v| !v.is_opaque());
    listing.directories.iter().any(bears)
}

/// Names that the directory of a version may have.
fn tags(version: &Version, pattern: &TagPattern) -> Vec<String> {
    match pattern {
        TagPattern::Plain => vec![version.to_string(), format!("v{version}")],
        TagPattern::Around { .. } => pattern.tags(version),
    }
}

fn same_version(text: &str, version: &Version) -> bool {
    TagPattern::Plain.version(text).is_some_and(|found| found == *version)
}

fn version_text<'a>(pattern: Option<&NamePattern>, name: &'a str) -> Option<&'a str> {
    match pattern {
        Some(pattern) => pattern.version(name),
        None => version_in(name),
    }
}

fn artifact(name: String, file: File) -> Artifact {
    Artifact { name, urls: vec![file.url], size: file.size, digest: None, content: None }
}

fn release(version: Version, tag: &str, artifacts: Vec<Artifact>) -> Release {
    Release { version, tag: tag.to_owned(), prerelease: false, published: None, artifacts }
}

/// Files of one directory, those of one version being one release. Checksums and signatures go with the
/// file or version they name, or with every release.
fn group(files: BTreeMap<String, File>, pattern: Option<&NamePattern>) -> Vec<Release> {
    let mut releases: BTreeMap<String, Vec<Artifact>> = BTreeMap::new();
    let mut owners: HashMap<String, String> = HashMap::new();
    let (mut aside, mut shared) = (Vec::new(), Vec::new());
    for (name, file) in files {
        if let Some(text) = version_text(pattern, &name) {
            let tag = text.to_owned();
            owners.insert(name.clone(), tag.clone());
            releases.entry(tag).or_default().push(artifact(name, file));
        } else if is_side_file(&name) {
            aside.push((name, file));
        }
    }
    for (name, file) in aside {
        let mut stems =
            name.match_indices('.').rev().take(3).filter_map(|(dot, _)| name.get(..dot));
        let owner = stems.find_map(|stem| owners.get(stem));
        let tag = owner.map(String::as_str).or_else(|| version_in(&name));
        match tag.and_then(|tag| releases.get_mut(tag)) {
            Some(artifacts) => artifacts.push(artifact(name, file)),
            None if tag.is_none() => shared.push(artifact(name, file)),
            None => {}
        }
    }
    shared.truncate(SHARED_FILES_MAX);
    let mut found: Vec<Release> = releases
        .into_iter()
        .filter_map(|(tag, artifacts)| {
            Some(release(TagPattern::Plain.version(&tag)?, &tag, artifacts))
        })
        .collect();
    found.sort_by(|a, b| b.version.cmp(&a.version));
    found.truncate(RELEASES_MAX);
    for release in &mut found {
        release.artifacts.extend(shared.iter().cloned());
    }
    found
}
