//! Names of the files beside an image.

use camino::{Utf8Path, Utf8PathBuf};

use crate::model::ExtensionClass;

/// Every half-done file of ours starts with this. systemd of every version passes over what starts with `.#`.
pub const STAGING_PREFIX: &str = ".#reconcile.";

/// An image that is kept where systemd would pick it, and shall not, starts with this: systemd of every version passes
/// over what starts with `.#`.
const HIDDEN_PREFIX: &str = ".#hidden.reconcile.";

/// End of the names of manifests.
const MANIFEST_END: &str = ".reconcile.json";

/// Where systemd looks for extensions, and what it then takes them for.
const SEARCHED: [(&str, ExtensionClass); 7] = [
    ("/etc/extensions", ExtensionClass::Sysext),
    ("/run/extensions", ExtensionClass::Sysext),
    ("/var/lib/extensions", ExtensionClass::Sysext),
    ("/run/confexts", ExtensionClass::Confext),
    ("/var/lib/confexts", ExtensionClass::Confext),
    ("/usr/local/lib/confexts", ExtensionClass::Confext),
    ("/usr/lib/confexts", ExtensionClass::Confext),
];

/// Where systemd before version 254 looked for extensions, too.
const SEARCHED_ONCE: [(&str, ExtensionClass); 2] = [
    ("/usr/local/lib/extensions", ExtensionClass::Sysext),
    ("/usr/lib/extensions", ExtensionClass::Sysext),
];

/// The first version of systemd that does not look below `/usr` for what extends it.
const USR_NOT_SEARCHED_SINCE: u32 = 254;

/// Where systemd looks for extensions of a class. An unknown version looks wherever any does.
pub fn searched(class: ExtensionClass, systemd: Option<u32>) -> impl Iterator<Item = &'static str> {
    let once = systemd.is_none_or(|version| version < USR_NOT_SEARCHED_SINCE);
    let once = SEARCHED_ONCE.iter().filter(move |_| once);
    let places = SEARCHED.iter().chain(once).filter(move |(_, of)| *of == class);
    places.map(|(place, _)| *place)
}

/// What systemd takes for extensions in a directory, if it looks for any there.
pub fn class_of(directory: &Utf8Path) -> Option<ExtensionClass> {
    SEARCHED.iter().find(|(place, _)| directory == *place).map(|(_, class)| *class)
}

/// The same for a link or, without one, for a directory of images: one whose name ends in `.v` is itself looked for.
pub fn class_at(directory: &Utf8Path, link: Option<&Utf8Path>) -> Option<ExtensionClass> {
    let place = link.and_then(Utf8Path::parent).unwrap_or(directory);
    let place = match place.extension() {
        Some("v") => place.parent().unwrap_or(place),
        _ => place,
    };
    class_of(place)
}

/// The manifest of an image; `file` may be below directories of its own.
pub fn manifest(directory: &Utf8Path, file: &str) -> Utf8PathBuf {
    let image = directory.join(file);
    image.with_file_name(format!(".{}{MANIFEST_END}", image.file_name().unwrap_or_default()))
}

/// The image that a manifest is about, by the manifest's name.
pub fn image_of(name: &str) -> Option<&str> {
    let file = name.strip_prefix('.')?.strip_suffix(MANIFEST_END)?;
    (!file.is_empty()).then_some(file)
}

/// Where an image is made before it is moved to its place.
pub fn staged(directory: &Utf8Path, file: &str) -> Utf8PathBuf {
    beside(&directory.join(file))
}

/// Where the manifest of a staged image is made.
pub fn staged_manifest(staged: &Utf8Path) -> Utf8PathBuf {
    Utf8PathBuf::from(format!("{staged}{MANIFEST_END}"))
}

/// Where an image is kept that systemd shall not pick; its manifest stays where it is.
pub fn hidden(directory: &Utf8Path, file: &str) -> Utf8PathBuf {
    let image = directory.join(file);
    image.with_file_name(format!("{HIDDEN_PREFIX}{}", image.file_name().unwrap_or_default()))
}

/// The image that is hidden under a name.
pub fn hidden_image(name: &str) -> Option<&str> {
    name.strip_prefix(HIDDEN_PREFIX).filter(|file| !file.is_empty())
}

/// Directories of an image's own below `directory`, the innermost first.
pub fn own_directories(directory: &Utf8Path, file: &str) -> Vec<Utf8PathBuf> {
    let above = Utf8Path::new(file).ancestors().skip(1).filter(|above| !above.as_str().is_empty());
    above.map(|above| directory.join(above)).collect()
}

/// Where a link is made before it is renamed to its place.
pub fn beside(link: &Utf8Path) -> Utf8PathBuf {
    link.with_file_name(format!("{STAGING_PREFIX}{}", link.file_name().unwrap_or_default()))
}
