//! Publishing: a directory of images as systemd-sysupdate, updex and this program read it.
//!
//! ```text
//! REPOSITORY/ext/index                    names of extensions, one a line
//! REPOSITORY/ext/NAME/NAME_VERSION.raw…   images; one that is there is never replaced
//! REPOSITORY/ext/NAME/SHA256SUMS          the list, replaced last, by a rename
//! REPOSITORY/ext/NAME/SHA256SUMS.gpg      its signature, by the program gpg
//! ```
//!
//! A list is signed as it was signed before, with one more line. The signature is there before its list, together with
//! that of the list before: whichever of both a client has, it finds one that holds.

use std::fs::File;
use std::io::{self, Read, Seek as _};
use std::path::PathBuf;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use crate::format::detached::{self, joined};
use crate::format::extension_release::{Class, Form, Host, Image, Scope, Verdict, judge};
use crate::format::image::{self, ImageError};
use crate::format::os_release::OsRelease;
use crate::format::sysupdate::manifest::{MANIFEST_BYTES_MAX, ManifestError, parse};
use crate::format::sysupdate::order::is_version;
use crate::host::facts;
use crate::model::Name;
use crate::model::outcome::chain;
use crate::publish::place::{self, New};
use crate::publish::signing::{SignError, Signer};
use crate::publish::{Existing, PublishError as Door};
use crate::unpack::{self, UnpackError};

/// Bytes copied and hashed at a time.
const PIECE_BYTES: usize = 256 << 10;

/// Longest file of signatures that is read, in bytes.
const SIGNATURE_BYTES_MAX: u64 = 1 << 20;

/// What image files may end with, and archives that become directories.
const ENDINGS: [&str; 10] = [
    ".raw", ".raw.xz", ".raw.gz", ".raw.zst", ".raw.bz2", ".tar", ".tar.xz", ".tar.gz", ".tar.zst",
    ".tar.bz2",
];

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
    /// How long another publisher is waited for.
    pub patience: Duration,
}

/// Why nothing was published. The list is as it was.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The version cannot be part of a name.
    #[error("publishing `{0}`: a version has letters, digits and `. - ~ ^ _ +`")]
    Version(String),
    /// The file is not named like an image.
    #[error(
        "publishing {0}: an image ends in `.raw`, an archive of one in `.tar`; `.xz`, `.gz`, `.zst` or `.bz2` may follow"
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
    /// Nobody could merge it.
    #[error("publishing {path}: no host would merge it as {name}: {why}")]
    Useless {
        /// The image.
        path: Utf8PathBuf,
        /// The extension.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// The list is signed, and no key was named.
    #[error(
        "publishing: {0} is signed, and without --sign nobody could trust it any more; name the key"
    )]
    Unsigned(Utf8PathBuf),
    /// Nobody signed the list so far.
    #[error(
        "publishing: {list} is there and nobody signed it, and what somebody else may have written there is not signed \
         along; look through it and sign it: gpg --output {signature} --local-user {key} --detach-sign {list}"
    )]
    NeverSigned {
        /// The list.
        list: Utf8PathBuf,
        /// Where its signature would be.
        signature: Utf8PathBuf,
        /// The key.
        key: String,
    },
    /// The list has no signature by the key that vouches for what is in it.
    #[error(
        "publishing: {list} is not what its signature by {key} is of, and what somebody else may have written there is \
         not signed along; put the right list back, or look through it and sign it: gpg --output {signature} \
         --local-user {key} --detach-sign {list}"
    )]
    Unvouched {
        /// The list.
        list: Utf8PathBuf,
        /// Where its signature is.
        signature: Utf8PathBuf,
        /// The key.
        key: String,
    },
    /// The repository or the image cannot be read or written.
    #[error(transparent)]
    Door(#[from] Door),
    /// The list cannot be read.
    #[error("reading the list of {0}; repair it or move it away")]
    List(Utf8PathBuf, #[source] ManifestError),
    /// gpg failed.
    #[error("signing the list; nothing was published")]
    Sign(#[from] SignError),
}

/// What was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// Where the image is.
    pub image: Utf8PathBuf,
    /// Every path that was written, in that order; none where all was there already.
    pub written: Vec<PathBuf>,
}

/// Puts an image into the repository: everything is made and signed before the image gets its name, then the index of
/// extensions, the signature and the list theirs. The same image again does what a publisher who was killed has not
/// done. Publishers of one repository wait for each other.
pub async fn extension(release: &ExtensionRelease<'_>) -> Result<Extension, PublishError> {
    let ExtensionRelease { repository, image, name, version, .. } = *release;
    if !is_version(version) {
        return Err(PublishError::Version(version.to_owned()));
    }
    let ending = ENDINGS.iter().rev().find(|ending| image.as_str().ends_with(**ending));
    let ending = ending.ok_or_else(|| PublishError::Ending(image.to_owned()))?;
    let source = place::open(image.as_std_path())?;
    look_into((&source, ending), release)?;
    let all = repository.join("ext");
    let _alone = place::lock(all.as_std_path(), release.patience)?;
    let directory = all.join(name.as_str());
    let place = directory.join(format!("{name}_{version}{ending}"));
    let mut new = New::begin(place.as_std_path().to_owned())?;
    let written = match copy((source, image), &mut new) {
        Ok(sha256) => publish(release, (&place, new), &sha256).await,
        Err(error) => {
            drop(new);
            Err(error.into())
        }
    };
    if written.is_err() {
        // Only one that was made for this has nothing in it.
        let _ = std::fs::remove_dir(&directory);
    }
    Ok(Extension { image: place, written: written? })
}

async fn publish(
    release: &ExtensionRelease<'_>,
    (place, image): (&Utf8Path, New),
    sha256: &str,
) -> Result<Vec<PathBuf>, PublishError> {
    let ExtensionRelease { repository, name, version, key, .. } = *release;
    let file = place.file_name().unwrap_or_default();
    let list = place.with_file_name("SHA256SUMS");
    let before = read(&list)?;
    let listed = parse(before.as_bytes()).map_err(|e| PublishError::List(list.clone(), e))?;
    let stem = format!("{name}_{version}");
    let taken = |file: &str| ENDINGS.iter().any(|ending| file == format!("{stem}{ending}"));
    let entry = listed.entries().iter().find(|entry| taken(&entry.path));
    let line = format!("{sha256}  {file}\n");
    let text = match entry {
        None if before.is_empty() || before.ends_with('\n') => before.clone() + &line,
        None => format!("{before}\n{line}"),
        Some(entry) if entry.path == file && entry.sha256.hex() == sha256 => before.clone(),
        Some(entry) => return Err(PublishError::Exists(entry.path.clone())),
    };
    // A list that nobody could read is no list.
    parse(text.as_bytes()).map_err(|e| PublishError::List(list.clone(), e))?;
    let mut new = New::begin(list.clone().into_std_path_buf())?;
    new.write(text.as_bytes())?;
    let signature = place.with_file_name("SHA256SUMS.gpg");
    let signed = Signed::of((&list, &new), (&before, &text, &line), (&signature, key)).await?;
    let mut written = Vec::new();
    written.extend(place_image(image, place, sha256)?);
    written.extend(index(&repository.join("ext/index"), name)?);
    let sign = |bytes: Option<Vec<u8>>| {
        let path = signature.as_std_path().to_owned();
        let signed = bytes.map(|bytes| place::write(path, &bytes, Existing::Replaced));
        signed.transpose()
    };
    sign(signed.with_the_one_before)?;
    if text != before {
        written.push(new.place(Existing::Replaced)?);
    }
    written.extend(sign(signed.alone)?);
    Ok(written)
}

/// Refuses what no host could unpack, and images that none would merge.
fn look_into(
    (source, ending): (&File, &str),
    release: &ExtensionRelease<'_>,
) -> Result<(), PublishError> {
    let path = release.image.as_std_path();
    let read = |source| Door::Read { path: path.to_owned(), source };
    let write = |source| Door::Write { path: std::env::temp_dir(), source };
    let useless = |error: UnpackError| PublishError::Useless {
        path: release.image.to_owned(),
        name: release.name.to_string(),
        why: chain(&error),
    };
    if ending == ".raw" {
        return refuse_useless(source, release);
    }
    let name = release.image.file_name().unwrap_or_default();
    let packed = source.try_clone().map_err(read)?;
    if ending.starts_with(".tar") {
        unpack::inflated(packed, name, (&mut io::sink(), path)).map_err(useless)?;
    } else {
        let mut image = tempfile::tempfile().map_err(write)?;
        unpack::inflated(packed, name, (&mut image, path)).map_err(useless)?;
        refuse_useless(&image, release)?;
    }
    // Both are one open file, which is read again to be copied.
    let mut source = source;
    source.rewind().map_err(read)?;
    Ok(())
}

/// Refuses what systemd would merge nowhere, of whichever class it is. What cannot be looked into is its publisher's to
/// know.
fn refuse_useless(image: &File, release: &ExtensionRelease<'_>) -> Result<(), PublishError> {
    let path = || release.image.to_owned();
    let name = release.name.as_str();
    let useless = |why: String| PublishError::Useless { path: path(), name: name.to_owned(), why };
    let read = |source| Door::Read { path: path().into_std_path_buf(), source };
    let size = image.metadata().map_err(read)?.len();
    let looked = image::open(image, size).and_then(|opened| image::contents(&*opened.files));
    let contents = match looked {
        Ok(contents) => contents,
        Err(ImageError::Unreadable { .. }) => return Ok(()),
        Err(error) => return Err(useless(chain(&error))),
    };
    let release = OsRelease::parse(b"ID=unknown\n").unwrap_or_default();
    let (systemd, architecture) = (facts::SYSTEMD_ASSUMED, "");
    let host = Host { systemd, release: &release, architecture, scope: Scope::System };
    let mut why = None;
    for class in [Class::Sysext, Class::Confext] {
        match judge(Image { class, name, form: Form::Raw }, host, &contents) {
            Verdict::Ignored(reason) | Verdict::Breaks(reason) if reason.is_of_any_host() => {
                why.get_or_insert(reason);
            }
            _ => return Ok(()),
        }
    }
    why.map_or(Ok(()), |reason| Err(useless(reason.to_string())))
}

/// What becomes of the signature of a list, where anything does.
#[derive(Debug, Default)]
struct Signed {
    /// What is there while the list is replaced.
    with_the_one_before: Option<Vec<u8>>,
    /// What is there from then on.
    alone: Option<Vec<u8>>,
}

impl Signed {
    /// Has a new list signed, if the one before it was, or there was none but what this makes.
    async fn of(
        (list, new): (&Utf8Path, &New),
        (before, text, line): (&str, &str, &str),
        (signature, key): (&Utf8Path, Option<&str>),
    ) -> Result<Self, PublishError> {
        let there = signature.symlink_metadata().is_ok();
        let Some(key) = key else {
            let unsigned = Self::default();
            return if there { Err(PublishError::Unsigned(list.to_owned())) } else { Ok(unsigned) };
        };
        let signer = Signer::new(key).await?;
        let mut old = Vec::new();
        if there {
            old = place::read(signature.as_std_path(), SIGNATURE_BYTES_MAX)?;
        }
        let vouched = if there {
            signer.holds(&old, before.as_bytes()) || signer.holds(&old, text.as_bytes())
        } else {
            text == line
        };
        if !vouched {
            let (list, signature) = (list.to_owned(), signature.to_owned());
            let key = key.to_owned();
            return Err(if there {
                PublishError::Unvouched { list, signature, key }
            } else {
                PublishError::NeverSigned { list, signature, key }
            });
        }
        if signer.holds_alone(&old, text.as_bytes()) {
            return Ok(Self::default());
        }
        let armour = signer.sign((new.beside(), text.as_bytes()), None).await?;
        let alone = detached::binary(&armour).unwrap_or_default();
        let with_the_one_before = (before != text).then(|| joined(&alone, &old));
        Ok(Self { with_the_one_before, alone: Some(alone) })
    }
}

/// Gives an image its name. One that is there without being listed is what a publisher left who was killed: it
/// must be the same.
fn place_image(
    image: New,
    place: &Utf8Path,
    sha256: &str,
) -> Result<Option<PathBuf>, PublishError> {
    match image.place(Existing::Kept) {
        Ok(path) => Ok(Some(path)),
        Err(Door::Exists { path }) => {
            let same = each_piece((place::open(&path)?, place), |_| Ok(()))? == sha256;
            let name = place.file_name().unwrap_or_default().to_owned();
            if same { Ok(None) } else { Err(PublishError::Occupied(name)) }
        }
        Err(error) => Err(error.into()),
    }
}

/// Adds a name to the index, sorted.
fn index(path: &Utf8Path, name: &Name) -> Result<Option<PathBuf>, PublishError> {
    let before = read(path)?;
    let mut names: Vec<&str> = before.lines().collect();
    if names.contains(&name.as_str()) {
        return Ok(None);
    }
    names.push(name.as_str());
    names.sort_unstable();
    let (path, text) = (path.as_std_path().to_owned(), names.join("\n") + "\n");
    Ok(Some(place::write(path, text.as_bytes(), Existing::Replaced)?))
}

/// A text; nothing where there is none.
fn read(path: &Utf8Path) -> Result<String, PublishError> {
    // One byte more than there may be, so that a list that is too long is told as such.
    let bytes = match place::read(path.as_std_path(), MANIFEST_BYTES_MAX as u64 + 1) {
        Err(Door::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            Vec::new()
        }
        read => read?,
    };
    let text = String::from_utf8(bytes).map_err(|error| Door::Read {
        path: path.as_std_path().to_owned(),
        source: std::io::Error::new(std::io::ErrorKind::InvalidData, error),
    })?;
    Ok(text)
}

/// Copies an image; its SHA-256 in hexadecimal.
fn copy(from: (File, &Utf8Path), to: &mut New) -> Result<String, Door> {
    each_piece(from, |bytes| to.write(bytes))
}

fn each_piece(
    (mut source, path): (File, &Utf8Path),
    mut with: impl FnMut(&[u8]) -> Result<(), Door>,
) -> Result<String, Door> {
    let failed = |source| Door::Read { path: path.as_std_path().to_owned(), source };
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        let count = source.read(&mut buffer).map_err(failed)?;
        let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else { break };
        hasher.update(bytes);
        with(bytes)?;
    }
    Ok(HEXLOWER.encode(&hasher.finalize()))
}
