//! Publishing: a directory of images as systemd-sysupdate, updex and this program read it.
//!
//! ```text
//! REPOSITORY/ext/index                    names of extensions, one a line
//! REPOSITORY/ext/NAME/NAME_VERSION.raw…   images; one that is there is never replaced
//! REPOSITORY/ext/NAME/SHA256SUMS          the list, replaced last, by a rename
//! REPOSITORY/ext/NAME/SHA256SUMS.gpg      its signature, by the program gpg
//! ```

use std::fs::File;
use std::io::{self, Read, Write};

use camino::{Utf8Path, Utf8PathBuf};
use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use crate::format::sysupdate::manifest::{MANIFEST_BYTES_MAX, ManifestError, parse};
use crate::format::sysupdate::order::is_version;
use crate::host::runner::{RunError, run};
use crate::model::Name;

/// Bytes copied and hashed at a time.
const PIECE_BYTES: usize = 256 << 10;

/// What image files may end with.
const ENDINGS: [&str; 5] = [".raw", ".raw.xz", ".raw.gz", ".raw.zst", ".raw.bz2"];

/// What is published.
#[derive(Clone, Copy, Debug)]
pub struct ExtensionRelease<'a> {
    /// The repository's directory.
    pub repository: &'a Utf8Path,
    /// The image as it is to be served.
    pub image: &'a Utf8Path,
    /// The extension's name.
    pub name: &'a Name,
    /// Its version.
    pub version: &'a str,
    /// The key of gpg to sign with; without one the list is not signed.
    pub key: Option<&'a str>,
}

/// Why nothing was published. The list is as it was.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The version cannot be part of a name.
    #[error("publishing `{0}`: a version has letters, digits and `. - ~ ^ _ +`")]
    Version(String),
    /// The file is not named like an image.
    #[error(
        "publishing {0}: an image ends in `.raw`, or `.raw.xz`, `.raw.gz`, `.raw.zst` or `.raw.bz2`"
    )]
    Ending(Utf8PathBuf),
    /// The version is there, compressed in whatever way.
    #[error(
        "publishing {0}: it is listed already, and what was published is never replaced; take another version"
    )]
    Exists(String),
    /// The list cannot be read.
    #[error("reading the list of {0}; repair it or move it away")]
    List(Utf8PathBuf, #[source] ManifestError),
    /// The system said no.
    #[error("publishing: cannot {action} {path}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// gpg failed.
    #[error("signing the list; nothing was published")]
    Sign(#[source] RunError),
}

fn failed(action: &'static str, path: &Utf8Path) -> impl FnOnce(io::Error) -> PublishError {
    let path = path.to_owned();
    move |source| PublishError::Io { action, path, source }
}

/// Puts an image into the repository: the image first, then the signature, then the list.
#[expect(
    clippy::disallowed_methods,
    reason = "a directory the operator named, not the managed host"
)]
pub async fn extension(release: &ExtensionRelease<'_>) -> Result<Utf8PathBuf, PublishError> {
    let ExtensionRelease { repository, image, name, version, key } = *release;
    if !is_version(version) {
        return Err(PublishError::Version(version.to_owned()));
    }
    let ending = ENDINGS.iter().rev().find(|ending| image.as_str().ends_with(**ending));
    let ending = ending.ok_or_else(|| PublishError::Ending(image.to_owned()))?;
    let stem = format!("{name}_{version}");
    let directory = repository.join("ext").join(name.as_str());
    std::fs::create_dir_all(&directory).map_err(failed("make", &directory))?;
    let list = directory.join("SHA256SUMS");
    let before = read(&list)?;
    let listed = parse(before.as_bytes()).map_err(|e| PublishError::List(list.clone(), e))?;
    let taken = |file: &str| ENDINGS.iter().any(|ending| file == format!("{stem}{ending}"));
    if let Some(entry) = listed.entries().iter().find(|entry| taken(&entry.path)) {
        return Err(PublishError::Exists(entry.path.clone()));
    }
    let file = format!("{stem}{ending}");
    let place = directory.join(&file);
    let sha256 = copy(image, &place)?;
    let mut lines: Vec<String> = before.lines().map(str::to_owned).collect();
    lines.push(format!("{sha256}  {file}"));
    let text = lines.join("\n") + "\n";
    let new = directory.join(".SHA256SUMS.new");
    write(&new, text.as_bytes())?;
    if let Some(key) = key {
        let signed = directory.join(".SHA256SUMS.gpg.new");
        let argv = ["gpg", "--batch", "--yes", "--local-user", key, "--detach-sign", "--output"];
        let paths = [signed.to_string(), new.to_string()];
        let argv: Vec<String> = argv.map(str::to_owned).into_iter().chain(paths).collect();
        run(&argv, &[]).await.map_err(PublishError::Sign)?;
        let signature = directory.join("SHA256SUMS.gpg");
        std::fs::rename(&signed, &signature).map_err(failed("rename", &signed))?;
    }
    std::fs::rename(&new, &list).map_err(failed("rename", &new))?;
    index(&repository.join("ext/index"), name)?;
    Ok(place)
}

/// Adds a name to the index, sorted.
#[expect(
    clippy::disallowed_methods,
    reason = "a directory the operator named, not the managed host"
)]
fn index(path: &Utf8Path, name: &Name) -> Result<(), PublishError> {
    let before = read(path)?;
    let mut names: Vec<&str> = before.lines().collect();
    if names.contains(&name.as_str()) {
        return Ok(());
    }
    names.push(name.as_str());
    names.sort_unstable();
    let new = path.with_file_name(".index.new");
    write(&new, (names.join("\n") + "\n").as_bytes())?;
    std::fs::rename(&new, path).map_err(failed("rename", &new))
}

/// A text; nothing where there is none.
fn read(path: &Utf8Path) -> Result<String, PublishError> {
    let mut text = String::new();
    let limit = MANIFEST_BYTES_MAX as u64;
    match File::open(path).and_then(|file| file.take(limit).read_to_string(&mut text)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(failed("read", path)(error)),
        Ok(_) => Ok(text),
    }
}

fn write(path: &Utf8Path, bytes: &[u8]) -> Result<(), PublishError> {
    let made = File::create(path);
    let written = made.and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(failed("write", path))
}

/// Copies an image beside its place and renames it there; its SHA-256 in hexadecimal.
#[expect(
    clippy::disallowed_methods,
    reason = "a directory the operator named, not the managed host"
)]
fn copy(from: &Utf8Path, to: &Utf8Path) -> Result<String, PublishError> {
    let beside = to.with_file_name(format!(".{}.new", to.file_name().unwrap_or_default()));
    let mut source = File::open(from).map_err(failed("read", from))?;
    let mut target = File::create(&beside).map_err(failed("write", &beside))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        let count = source.read(&mut buffer).map_err(failed("read", from))?;
        let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else { break };
        hasher.update(bytes);
        target.write_all(bytes).map_err(failed("write", &beside))?;
    }
    target.sync_all().map_err(failed("write", &beside))?;
    std::fs::rename(&beside, to).map_err(failed("rename", &beside))?;
    Ok(HEXLOWER.encode(&hasher.finalize()))
}
