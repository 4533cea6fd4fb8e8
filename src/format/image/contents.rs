//! What of an extension's files matters to systemd.

use crate::format::extension_release::{
    Class, Contents, Presence, RELEASE_PREFIX, ReleaseFile, STRICT_ATTRIBUTE, boolean,
};
use crate::format::image::{ImageError, ImageFiles, Kind};
use crate::format::os_release::RELEASE_BYTES_MAX;

/// Entries of one class that are looked at: an image has one, with fallbacks a few.
const RELEASE_FILES_MAX: usize = 64;

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
