//! What a directory holds: read from checksum files, HTML indexes and local directories.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use reqwest::Url;

use crate::fetch::error::shown;
use crate::fetch::record::DOCUMENT_BYTES_MAX;
use crate::fetch::{FetchError, Reader};
use crate::source::{SourceError, is_file_name};

/// Entries of one directory that are read: nightly builds for decades.
pub(super) const ENTRIES_MAX: usize = 100_000;

/// Files that say what a directory on the web holds; the empty name is its index.
const INDEXES: [&str; 3] = ["SHA256SUMS", "SHA512SUMS", ""];

/// A directory on a web server (with a final slash) or on this host.
#[derive(Clone, Debug)]
pub(super) enum Directory {
    Web(Url),
    /// A directory and the real path of the source: nothing outside of that is listed.
    Local {
        path: PathBuf,
        root: PathBuf,
    },
}

/// A file: its URL, and its size where that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    pub(super) url: String,
    pub(super) size: Option<u64>,
}

/// What a directory holds, by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Listing {
    pub(super) files: BTreeMap<String, File>,
    pub(super) directories: Vec<String>,
}

impl Directory {
    /// The directory `name` in this one.
    pub(super) fn join(&self, name: &str) -> Option<Self> {
        match self {
            Self::Web(url) => web_child(url, &[name, ""]).map(Self::Web),
            Self::Local { path, root } => {
                let usable = is_file_name(name);
                usable.then(|| Self::Local { path: path.join(name), root: root.clone() })
            }
        }
    }

    /// The URL of the file `name` in this directory.
    pub(super) fn file_url(&self, name: &str) -> Option<String> {
        match self {
            Self::Web(url) => web_child(url, &[name]).map(String::from),
            Self::Local { path, .. } => Url::from_file_path(path.join(name)).ok().map(String::from),
        }
    }

    /// For people.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Web(url) => shown(url),
            Self::Local { path, .. } => path.display().to_string(),
        }
    }

    /// What it holds. Of several lists on the web the first that is `useful` counts; not found when
    /// there is none.
    pub(super) async fn list(
        &self,
        reader: &Reader,
        useful: impl Fn(&Listing) -> bool,
    ) -> Result<Listing, SourceError> {
        let found = match self {
            Self::Local { path, root } => {
                let listing = read_directory(path, root)?;
                if !useful(&listing) {
                    let what = "no file or directory there bears a version; write a `pattern` that says where it is";
                    return Err(SourceError::Nothing { path: path.clone(), what });
                }
                Some(listing)
            }
            Self::Web(url) => self.read_indexes(url, reader, &useful).await?,
        };
        found
            .filter(useful)
            .ok_or_else(|| SourceError::NotFound { what: format!("releases in {}", self.name()) })
    }

    async fn read_indexes(
        &self,
        url: &Url,
        reader: &Reader,
        useful: &impl Fn(&Listing) -> bool,
    ) -> Result<Option<Listing>, SourceError> {
        let mut indexes: Vec<_> =
            INDEXES.iter().filter_map(|name| Some((*name, url.join(name).ok()?))).collect();
        // What was there before saves asking for what was not.
        indexes.sort_by_key(|(_, index)| !reader.remembers(index.as_str(), "*/*"));
        for (name, index) in indexes {
            let document = match reader.document(index.as_str(), "*/*", DOCUMENT_BYTES_MAX).await {
                Ok(document) => document,
                Err(FetchError::Status { status: 403 | 404 | 410, .. }) => continue,
                Err(error) => return Err(SourceError::fetch(&shown(&index), error)),
            };
            let text = String::from_utf8_lossy(&document.body);
            let mut names = if name.is_empty() { hrefs(url, &text) } else { sums(&text) };
            if !name.is_empty() && !names.is_empty() {
                names.push(name.to_owned());
            }
            let listing = self.listing(names)?;
            if useful(&listing) {
                return Ok(Some(listing));
            }
        }
        Ok(None)
    }

    /// Sorts names into files and directories: those with something below, and those ending in `/`.
    fn listing(&self, names: Vec<String>) -> Result<Listing, SourceError> {
        if names.len() > ENTRIES_MAX {
            return Err(too_many(self.name()));
        }
        let mut listing = Listing::default();
        for name in names {
            match name.split_once('/') {
                Some((directory, _)) if is_file_name(directory) => {
                    listing.directories.push(directory.to_owned());
                }
                None if is_file_name(&name) => {
                    if let Some(url) = self.file_url(&name) {
                        listing.files.insert(name, File { url, size: None });
                    }
                }
                _ => {}
            }
        }
        listing.directories.sort();
        listing.directories.dedup();
        Ok(listing)
    }
}

fn web_child(directory: &Url, parts: &[&str]) -> Option<Url> {
    let mut url = directory.clone();
    url.path_segments_mut().ok()?.pop_if_empty().extend(parts);
    Some(url)
}

fn too_many(place: String) -> SourceError {
    SourceError::Malformed { place, what: format!("it holds more than {ENTRIES_MAX} entries") }
}

/// Reads a local directory, not its files. A link counts as what it leads to, unless that is outside
/// of `root`.
fn read_directory(path: &Path, root: &Path) -> Result<Listing, SourceError> {
    let failed = |source| SourceError::Local { path: path.to_owned(), source };
    let mut listing = Listing::default();
    let real = fs::canonicalize(path).map_err(failed)?;
    if !real.starts_with(root) {
        return Err(SourceError::NotFound { what: format!("{} in its source", path.display()) });
    }
    let mut entries = fs::read_dir(path).map_err(failed)?.enumerate().peekable();
    if entries.peek().is_none() && real == root {
        return Err(SourceError::Empty { path: path.to_owned() });
    }
    for (count, entry) in entries {
        if count >= ENTRIES_MAX {
            return Err(too_many(path.display().to_string()));
        }
        let entry = entry.map_err(failed)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        // A file that vanishes meanwhile is not there.
        let Ok(real) = fs::canonicalize(entry.path()) else { continue };
        let Some(metadata) = fs::metadata(&real).ok().filter(|_| real.starts_with(root)) else {
            continue;
        };
        if metadata.is_dir() {
            listing.directories.push(name);
        } else if metadata.is_file()
            && is_file_name(&name)
            && let Ok(url) = Url::from_file_path(entry.path())
        {
            listing.files.insert(name, File { url: url.into(), size: Some(metadata.len()) });
        }
    }
    listing.directories.sort();
    Ok(listing)
}

/// Names in a checksum file: `<hex>  name`, `<hex> *name` or `SHA256 (name) = <hex>`. Whatever else it
/// holds is skipped: the file is only a list here, it is judged where digests are.
fn sums(text: &str) -> Vec<String> {
    let name = |line: &str| {
        let (first, rest) = line.trim_end().split_once(' ')?;
        let name = match rest.strip_prefix('(') {
            Some(tagged) => tagged.rsplit_once(") = ")?.0,
            None if first.len() >= 64 && first.bytes().all(|b| b.is_ascii_hexdigit()) => {
                rest.strip_prefix([' ', '*']).unwrap_or(rest)
            }
            None => return None,
        };
        Some(name.strip_prefix("./").unwrap_or(name).to_owned())
    };
    text.lines().filter_map(name).take(ENTRIES_MAX + 1).collect()
}

/// Names that an HTML index links to and that lie in `directory` itself; directories end in `/`.
fn hrefs(directory: &Url, html: &str) -> Vec<String> {
    let base = directory.path();
    let name = |value: &str| {
        let target = directory.join(&value.replace("&amp;", "&")).ok()?;
        if target.origin() != directory.origin() {
            return None;
        }
        let name = target.path().strip_prefix(base)?;
        let below = name.split_once('/').is_some_and(|(_, rest)| !rest.is_empty());
        let name = percent_decode_str(name).decode_utf8().ok()?;
        (!name.is_empty() && !below).then(|| name.into_owned())
    };
    let lower = html.to_ascii_lowercase();
    let mut names: Vec<String> = lower
        .match_indices("href=")
        .filter_map(|(at, found)| quoted(html.get(at + found.len()..)?))
        .filter_map(name)
        .take(ENTRIES_MAX + 1)
        .collect();
    names.sort();
    names.dedup();
    names
}

/// The text in the quotation marks that `text` starts with.
fn quoted(text: &str) -> Option<&str> {
    let mark = text.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    text.get(1..)?.split_once(mark).map(|(value, _)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_gives_only_names_of_its_own_directory() {
        let base = Url::parse("https://a.example/dl/").unwrap();
        let html = r#"<a href="?C=N;O=D">Name</a> <a href="/">Up</a> <a href="../">Up</a>
            <A HREF='tool-1.0.tar.gz'>x</A> <a href="/dl/tool%2B1.1.tar.gz">x</a>
            <a href="https://a.example/dl/1.2/">x</a> <a href="1.2/deep/file">x</a>
            <a href="https://b.example/dl/evil">x</a> <a href="a&amp;b.zip">x</a>
            <a href="..%2Fevil">x</a> <a href=unquoted> <a href="#;
        let mut names = hrefs(&base, html);
        names.retain(|name| is_file_name(name.trim_end_matches('/')));
        assert_eq!(names, ["1.2/", "a&b.zip", "tool+1.1.tar.gz", "tool-1.0.tar.gz"]);
    }

    #[test]
    fn checksum_file_gives_its_names() {
        let hex = "0".repeat(64);
        let text = format!(
            "# comment\n{hex}  a.tar.gz\r\n{hex} *b with blank.zip\nSHA256 (c.gz) = {hex}\n\
             nonsense\n{hex}  ./d\n{hex}  1.0/e\n"
        );
        assert_eq!(sums(&text), ["a.tar.gz", "b with blank.zip", "c.gz", "d", "1.0/e"]);
    }
}
