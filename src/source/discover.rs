//! What a repository of extensions has: its index, and the versions of each extension.
//!
//! ```text
//! URL/ext/index                names, one a line; `#` begins a comment
//! URL/ext/NAME/SHA256SUMS      the files of one extension
//! ```
//!
//! Source: updex 1, `publish extension`. A catalog of updex 2 has no index: its names are the directories that the
//! contents API of GitHub lists, and extensions are right below its site.

use futures_util::StreamExt;
use serde::{Deserialize, Serialize};

use crate::fetch::Reader;
use crate::format::sysupdate::manifest;
use crate::format::sysupdate::order::is_version;
use crate::model::Name;
use crate::model::outcome::chain;
use crate::resource::extension::order::{Order, OrderWish};
use crate::source::spec::DirectoryUrl;
use crate::source::{SourceError, sysupdate};

/// Largest index, in bytes: 10,000 names.
const INDEX_BYTES_MAX: u64 = 1 << 20;

/// Most extensions of a repository that are looked at.
const EXTENSIONS_MAX: usize = 10_000;

/// Lists asked for at once.
const AT_ONCE: usize = 8;

/// What image files end with.
const ENDINGS: [&str; 5] = [".raw", ".raw.xz", ".raw.gz", ".raw.zst", ".raw.bz2"];

/// One extension of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Discovered {
    /// Its name.
    pub name: String,
    /// Its versions, newest first.
    pub versions: Vec<String>,
    /// Why they are not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Everything that the index of a repository names, in its order.
///
/// # Errors
/// The index cannot be had. What is wrong with one extension is said with it.
pub async fn repository(
    from: &DirectoryUrl,
    reader: &Reader,
) -> Result<Vec<Discovered>, SourceError> {
    let place = below(from, "ext");
    let url = sysupdate::file_url(&place, "index").unwrap_or_default();
    let index = sysupdate::document(&url, reader, INDEX_BYTES_MAX).await?;
    Ok(look(&place, names(&String::from_utf8_lossy(&index)), reader).await)
}

/// Everything that a catalog lists: `list` answers as the contents API of GitHub does.
///
/// # Errors
/// The list cannot be had or read.
pub async fn catalog(
    site: &DirectoryUrl,
    list: &str,
    reader: &Reader,
) -> Result<Vec<Discovered>, SourceError> {
    let listed = sysupdate::document(list, reader, INDEX_BYTES_MAX).await?;
    let entries: Vec<ContentsEntry> = serde_json::from_slice(&listed).map_err(|_| {
        let what = "a list of directories, as the contents API of GitHub gives it,".to_owned();
        SourceError::NotFound { what }
    })?;
    let directories = entries.into_iter().filter(|entry| entry.kind == "dir");
    let names = directories.filter_map(|entry| entry.name.parse().ok()).take(EXTENSIONS_MAX);
    Ok(look(site, names.collect(), reader).await)
}

/// What is used of an entry of the contents API.
#[derive(Debug, Deserialize)]
struct ContentsEntry {
    name: String,
    #[serde(rename = "type")]
    kind: String,
}

fn names(index: &str) -> Vec<Name> {
    let lines = index.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    lines.filter_map(|name| name.parse().ok()).take(EXTENSIONS_MAX).collect()
}

async fn look(place: &DirectoryUrl, names: Vec<Name>, reader: &Reader) -> Vec<Discovered> {
    let one = async |name: Name| {
        let from = below(place, name.as_str());
        let (versions, error) = match sysupdate::manifest(&from, "SHA256SUMS", reader).await {
            Err(error) => (Vec::new(), Some(chain(&error))),
            Ok(bytes) => match manifest::parse(&bytes) {
                Err(error) => (Vec::new(), Some(chain(&error))),
                Ok(list) => {
                    (versions(name.as_str(), list.entries().iter().map(|e| e.path.as_str())), None)
                }
            },
        };
        Discovered { name: name.to_string(), versions, error }
    };
    futures_util::stream::iter(names).map(one).buffered(AT_ONCE).collect().await
}

/// Versions by names of files: `NAME_VERSION`, and what publishers put after another `_`. Where the first `_` is a
/// `-`, a digit must follow: `docker-compose` is another extension than `docker`.
fn versions<'f>(name: &str, files: impl Iterator<Item = &'f str>) -> Vec<String> {
    let version = |file: &'f str| {
        let rest = file.strip_prefix(name)?;
        let dashed =
            rest.strip_prefix('-').filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        let rest = rest.strip_prefix('_').or(dashed)?;
        let stem = ENDINGS.iter().find_map(|ending| rest.strip_suffix(ending))?;
        let version = stem.split('_').next()?;
        is_version(version).then(|| version.to_owned())
    };
    let mut versions: Vec<String> = files.filter_map(version).collect();
    let order = Order::of(OrderWish::Auto, versions.iter().map(String::as_str));
    versions.sort_by(|a, b| order.compare(b, a));
    versions.dedup();
    versions
}

fn below(from: &DirectoryUrl, name: &str) -> DirectoryUrl {
    match from {
        DirectoryUrl::Web(url) => {
            DirectoryUrl::Web(format!("{}/{name}", url.trim_end_matches('/')))
        }
        DirectoryUrl::Local(path) => DirectoryUrl::Local(path.join(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_the_names_that_publishers_give() {
        let files = [
            "docker_27.1.0.raw",
            "docker_27.1.0.raw.xz",
            "docker_27.10.0_12_x86-64.raw.zst",
            "docker-compose_9.raw",
            "docker_.raw",
            "docker.transfer",
        ];
        assert_eq!(versions("docker", files.into_iter()), ["27.10.0", "27.1.0"]);
    }

    #[test]
    fn names_of_an_index_are_names_of_extensions() {
        assert_eq!(names("docker\n# comment\n\n../x\nvscode # good\n").len(), 2);
    }
}
