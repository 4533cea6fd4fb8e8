//! What of an extension's files matters to systemd.

use crate::format::extension_release::{
    Class, Contents, Presence, RELEASE_PREFIX, ReleaseFile, STRICT_ATTRIBUTE, boolean,
};
use crate::format::image::{ImageError, ImageFiles, Kind};
use crate::format::os_release::RELEASE_BYTES_MAX;

/// Entries of one class that are looked at: an image has one, with fallbacks a few.
const RELEASE_FILES_MAX: usize = 64;

/// Where the programs of a host and what they are made of are. An entry of another type in an image hides the host's with
/// all that is in it: then nothing runs any more, not even what would take the image away.
pub const NEEDED: [&str; 9] = [
    "usr/bin",
    "usr/sbin",
    "usr/lib",
    "usr/lib32",
    "usr/lib64",
    "usr/libexec",
    "usr/lib/systemd",
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
];

/// The first of these places of a host that an image has as something else.
pub fn hidden<'a>(
    files: &dyn ImageFiles,
    host: &'a [(&'a str, Kind)],
) -> Result<Option<&'a str>, ImageError> {
    for (place, kind) in host {
        let (parent, name) = place.rsplit_once('/').unwrap_or(("", place));
        let entries = files.list(parent)?;
        if entries.iter().any(|entry| entry.name == name && entry.kind != *kind) {
            return Ok(Some(place));
        }
    }
    Ok(None)
}

/// Collects the release files and looks for the files that must not be there.
pub fn contents(files: &dyn ImageFiles) -> Result<Contents, ImageError> {
    Ok(Contents {
        sysext: release_files(files, Class::Sysext)?,
        confext: release_files(files, Class::Confext)?,
        usr_os_release: presence(files, "usr/lib/os-release")?,
        etc_os_release: presence(files, "etc/os-release")?,
    })
}

fn presence(files: &dyn ImageFiles, path: &str) -> Result<Presence, ImageError> {
    Ok(match files.kind(path)? {
        None => Presence::Absent,
        Some(Kind::File) => Presence::File,
        Some(_) => Presence::Other,
    })
}

fn release_files(files: &dyn ImageFiles, class: Class) -> Result<Vec<ReleaseFile>, ImageError> {
    let directory = class.release_directory();
    let mut found = Vec::new();
    let entries = files.list(directory)?;
    let named =
        entries.iter().filter_map(|entry| Some((entry, entry.name.strip_prefix(RELEASE_PREFIX)?)));
    for (entry, name) in named.take(RELEASE_FILES_MAX) {
        let path = format!("{directory}/{}", entry.name);
        // One byte more than is allowed, so that a file that is too long shows as such.
        let Some(bytes) = files.read(&path, RELEASE_BYTES_MAX + 1)? else { continue };
        let strict = files.attribute(&path, STRICT_ATTRIBUTE)?;
        let strict = strict.and_then(|value| boolean(std::str::from_utf8(&value).ok()?));
        let link = entry.kind == Kind::Link;
        found.push(ReleaseFile { name: name.to_owned(), link, strict, bytes });
    }
    Ok(found)
}
