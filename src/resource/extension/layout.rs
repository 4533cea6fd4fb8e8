//! Names of the files beside an image.

use camino::{Utf8Path, Utf8PathBuf};

/// Every half-done file of ours starts with this. systemd of every version passes over what starts with `.#`.
pub const STAGING_PREFIX: &str = ".#reconcile.";

/// End of the names of manifests.
const MANIFEST_END: &str = ".reconcile.json";

/// The manifest of an image.
pub fn manifest(directory: &Utf8Path, file: &str) -> Utf8PathBuf {
    directory.join(format!(".{file}{MANIFEST_END}"))
}

/// The image that a manifest is about, by the manifest's name.
pub fn image_of(name: &str) -> Option<&str> {
    let file = name.strip_prefix('.')?.strip_suffix(MANIFEST_END)?;
    (!file.is_empty()).then_some(file)
}

/// Where an image is made before it is moved to its place.
pub fn staged(directory: &Utf8Path, file: &str) -> Utf8PathBuf {
    directory.join(format!("{STAGING_PREFIX}{file}"))
}

/// Where the manifest of a staged image is made.
pub fn staged_manifest(staged: &Utf8Path) -> Utf8PathBuf {
    Utf8PathBuf::from(format!("{staged}{MANIFEST_END}"))
}

/// Where a link is made before it is renamed to its place.
pub fn beside(link: &Utf8Path) -> Utf8PathBuf {
    link.with_file_name(format!("{STAGING_PREFIX}{}", link.file_name().unwrap_or_default()))
}
