//! Publishing: a directory of images as systemd-sysupdate, updex and this program read it.
//!
//! ```text
//! REPOSITORY/ext/index                    names of extensions, one a line
//! REPOSITORY/ext/NAME/NAME_VERSION.raw…   images; one that is there is never replaced
//! REPOSITORY/ext/NAME/.reconcile-new/     what is being made
//! REPOSITORY/ext/NAME/SHA256SUMS          the list, replaced last, by a rename
//! REPOSITORY/ext/NAME/SHA256SUMS.gpg      its signature, by the program gpg
//! ```

use std::fs::File;
use std::io::{self, Read, Write};

use camino::{Utf8Path, Utf8PathBuf};
use data_encoding::HEXLOWER;
use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use crate::format::sysupdate::manifest::{MANIFEST_BYTES_MAX, ManifestError, parse};
use crate::format::sysupdate::order::is_version;
use crate::host::runner::RunError;
use crate::model::Name;
use crate::publish::place;
use crate::publish::signing::{Form, sign};

/// Bytes copied and hashed at a time.
const PIECE_BYTES: usize = 256 << 10;

/// Directory in which a version is made beside its place.
const STAGING: &str = ".reconcile-new";

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
    /// A file of that name is there, with other bytes.
    #[error(
        "publishing {0}: another file of this name is there, and what may have been published is never \
         replaced; take another version, or remove it"
    )]
    Occupied(String),
    /// The list is signed, and no key was named.
    #[error(
        "publishing: {0} is signed, and without --key nobody could trust it any more; name the key"
    )]
    Unsigned(Utf8PathBuf),
    /// The repository cannot be written.
    #[error(transparent)]
    Lock(super::PublishError),
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

/// Puts an image into the repository: everything is made and signed beside its place, then the image gets its
/// name, then the signature, then the list. Publishers of one repository wait for each other.
#[expect(
    clippy::disallowed_methods,
    reason = "a directory the operator named, not the managed host"
)]
pub async fn extension(release: &ExtensionRelease<'_>) -> Result<Utf8PathBuf, PublishError> {
    let ExtensionRelease { repository, image, name, version, .. } = *release;
    if !is_version(version) {
        return Err(PublishError::Version(version.to_owned()));
    }
    let ending = ENDINGS.iter().rev().find(|ending| image.as_str().ends_with(**ending));
    let ending = ending.ok_or_else(|| PublishError::Ending(image.to_owned()))?;
    let seen = image.metadata().map_err(failed("read", image))?;
    if !seen.is_file() {
        return Err(failed("read", image)(io::Error::other("it is not a regular file")));
    }
    let all = repository.join("ext");
    let _alone = place::lock(all.as_std_path()).map_err(PublishError::Lock)?;
    let directory = all.join(name.as_str());
    std::fs::create_dir_all(&directory).map_err(failed("make", &directory))?;
    let staging = directory.join(STAGING);
    remove(&staging)?;
    std::fs::create_dir(&staging).map_err(failed("make", &staging))?;
    let file = format!("{name}_{version}{ending}");
    let published = publish(release, &directory, &file).await;
    // What cannot be removed is in nobody's way, and the next publisher removes it.
    let _ = remove(&staging);
    if published.is_err() {
        // Only one that was made for this has nothing in it.
        let _ = std::fs::remove_dir(&directory);
    }
    published?;
    Ok(directory.join(file))
}

async fn publish(
    release: &ExtensionRelease<'_>,
    directory: &Utf8Path,
    file: &str,
) -> Result<(), PublishError> {
    let ExtensionRelease { repository, image, name, version, key } = *release;
    let (list, signature) = (directory.join("SHA256SUMS"), directory.join("SHA256SUMS.gpg"));
    if key.is_none() && signature.symlink_metadata().is_ok() {
        return Err(PublishError::Unsigned(list));
    }
    let before = read(&list)?;
    let listed = parse(before.as_bytes()).map_err(|e| PublishError::List(list.clone(), e))?;
    let stem = format!("{name}_{version}");
    let taken = |file: &str| ENDINGS.iter().any(|ending| file == format!("{stem}{ending}"));
    if let Some(entry) = listed.entries().iter().find(|entry| taken(&entry.path)) {
        return Err(PublishError::Exists(entry.path.clone()));
    }
    let staging = directory.join(STAGING);
    let sha256 = copy(image, &staging.join(file))?;
    let mut lines: Vec<String> = before.lines().map(str::to_owned).collect();
    lines.push(format!("{sha256}  {file}"));
    let text = lines.join("\n") + "\n";
    // A list that nobody could read is no list.
    parse(text.as_bytes()).map_err(|e| PublishError::List(list.clone(), e))?;
    let new = staging.join("SHA256SUMS");
    write(&new, text.as_bytes())?;
    let signed = staging.join("SHA256SUMS.gpg");
    if let Some(key) = key {
        let to = (signed.as_std_path(), Form::Binary);
        sign(new.as_std_path(), key, to).await.map_err(PublishError::Sign)?;
    }
    place_image(&staging.join(file), &directory.join(file), &sha256)?;
    if key.is_some() {
        rename(&signed, &signature)?;
    }
    rename(&new, &list)?;
    index(&repository.join("ext/index"), &staging.join("index"), name)
}

/// Gives an image its name. One that is there without being listed is what a publisher left who was killed: it
/// must be the same.
fn place_image(staged: &Utf8Path, place: &Utf8Path, sha256: &str) -> Result<(), PublishError> {
    let (from, to) = (staged.as_std_path(), place.as_std_path());
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) => {
            let there = place.symlink_metadata().map_err(failed("read", place))?;
            let same = there.is_file() && hash(place)? == sha256;
            let name = place.file_name().unwrap_or_default().to_owned();
            if same { Ok(()) } else { Err(PublishError::Occupied(name)) }
        }
        Err(errno) => Err(failed("rename", staged)(errno.into())),
    }
}

/// Adds a name to the index, sorted.
fn index(path: &Utf8Path, new: &Utf8Path, name: &Name) -> Result<(), PublishError> {
    let before = read(path)?;
    let mut names: Vec<&str> = before.lines().collect();
    if names.contains(&name.as_str()) {
        return Ok(());
    }
    names.push(name.as_str());
    names.sort_unstable();
    write(new, (names.join("\n") + "\n").as_bytes())?;
    rename(new, path)
}

fn rename(from: &Utf8Path, to: &Utf8Path) -> Result<(), PublishError> {
    rustix::fs::rename(from.as_std_path(), to.as_std_path())
        .map_err(|errno| failed("rename", from)(errno.into()))
}

/// Removes what a publisher left who was killed.
fn remove(staging: &Utf8Path) -> Result<(), PublishError> {
    place::remove(staging.as_std_path()).map_err(PublishError::Lock)
}

/// A text; nothing where there is none.
fn read(path: &Utf8Path) -> Result<String, PublishError> {
    let mut text = String::new();
    // One byte more than there may be, so that a list is never cut short.
    let limit = MANIFEST_BYTES_MAX as u64 + 1;
    match File::open(path).and_then(|file| file.take(limit).read_to_string(&mut text)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(failed("read", path)(error)),
        Ok(_) => Ok(text),
    }
}

fn write(path: &Utf8Path, bytes: &[u8]) -> Result<(), PublishError> {
    let made = File::create_new(path);
    let written = made.and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(failed("write", path))
}

/// Copies an image; its SHA-256 in hexadecimal.
fn copy(from: &Utf8Path, to: &Utf8Path) -> Result<String, PublishError> {
    let mut target = File::create_new(to).map_err(failed("write", to))?;
    let sha256 = each_piece(from, |bytes| target.write_all(bytes).map_err(failed("write", to)))?;
    target.sync_all().map_err(failed("write", to))?;
    Ok(sha256)
}

/// The SHA-256 of a file in hexadecimal.
fn hash(path: &Utf8Path) -> Result<String, PublishError> {
    each_piece(path, |_| Ok(()))
}

fn each_piece(
    path: &Utf8Path,
    mut with: impl FnMut(&[u8]) -> Result<(), PublishError>,
) -> Result<String, PublishError> {
    let mut source = File::open(path).map_err(failed("read", path))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        let count = source.read(&mut buffer).map_err(failed("read", path))?;
        let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else { break };
        hasher.update(bytes);
        with(bytes)?;
    }
    Ok(HEXLOWER.encode(&hasher.finalize()))
}
