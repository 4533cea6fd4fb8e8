//! systemd's verdict on an extension image, foretold from its release files.
//!
//! The rules are those of systemd-sysext(8) and os-release(5) as systemd 252 and 262 were measured to follow
//! them (`tests/golden/images/verdicts.json`). An image that does not fit is ignored; one that cannot be an
//! extension at all breaks the merge of *every* extension, which is why it is worth knowing beforehand.
//! Where 253 to 261 are not known, the worse verdict is given.

use crate::format::os_release::{OsRelease, OsReleaseError};
use crate::model::ExtensionClass;

/// Before this version only an exact name counts; since then the image's name up to its version does too.
const BASE_NAME_SINCE: u32 = 254;

/// Since this version there are configuration extensions.
pub const CONFEXT_SINCE: u32 = 254;

/// Since this version `ID_LIKE=` of the host counts.
const ID_LIKE_SINCE: u32 = 258;

/// Since this version a disk image with `usr/lib/os-release` is ignored and breaks nothing.
const FORBIDDEN_IMAGE_IGNORED_SINCE: u32 = 262;

/// What every name of a release file begins with.
pub const RELEASE_PREFIX: &str = "extension-release.";

/// The extended attribute that, when false, allows a release file of any name.
pub const STRICT_ATTRIBUTE: &str = "user.extension-release.strict";

/// What an extension extends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// `/usr` and `/opt`.
    Sysext,
    /// `/etc`.
    Confext,
}

impl From<ExtensionClass> for Class {
    fn from(class: ExtensionClass) -> Self {
        match class {
            ExtensionClass::Sysext => Self::Sysext,
            ExtensionClass::Confext => Self::Confext,
        }
    }
}

impl Class {
    /// Where its release files are inside the image.
    pub fn release_directory(self) -> &'static str {
        match self {
            Self::Sysext => "usr/lib/extension-release.d",
            Self::Confext => "etc/extension-release.d",
        }
    }

    fn level_key(self) -> &'static str {
        match self {
            Self::Sysext => "SYSEXT_LEVEL",
            Self::Confext => "CONFEXT_LEVEL",
        }
    }

    fn scope_key(self) -> &'static str {
        match self {
            Self::Sysext => "SYSEXT_SCOPE",
            Self::Confext => "CONFEXT_SCOPE",
        }
    }
}

/// How an extension lies on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// An unpacked directory or subvolume.
    Directory,
    /// A disk image.
    Raw,
}

/// Where extensions are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The host system.
    System,
    /// The initial RAM disk.
    Initrd,
}

/// The host an extension is judged for.
#[derive(Clone, Copy, Debug)]
pub struct Host<'a> {
    /// Version of systemd, such as 252.
    pub systemd: u32,
    /// The host's os-release.
    pub release: &'a OsRelease,
    /// Architecture in systemd's words, such as `x86-64` and `arm64`.
    pub architecture: &'a str,
    /// Where it is merged.
    pub scope: Scope,
}

/// An extension as systemd discovers it.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    /// The class whose search directories it is in.
    pub class: Class,
    /// Its name without suffix, see [`super::sysext::image_name`].
    pub name: &'a str,
    /// How it lies there.
    pub form: Form,
}

/// A file in a directory of release files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReleaseFile {
    /// What follows `extension-release.` in its name.
    pub name: String,
    /// Whether it is a symbolic link: it is then found under its exact name only.
    pub link: bool,
    /// Value of [`STRICT_ATTRIBUTE`] where it is a boolean.
    pub strict: Option<bool>,
    /// What it holds.
    pub bytes: Vec<u8>,
}

/// What is at a path where a file would matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Presence {
    /// Nothing, or a link to nothing.
    #[default]
    Absent,
    /// A regular file, or a link to one.
    File,
    /// Something else.
    Other,
}

/// What an image holds, as far as it matters for the verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Release files of a system extension: regular files, and links that lead to one.
    pub sysext: Vec<ReleaseFile>,
    /// Release files of a configuration extension, likewise.
    pub confext: Vec<ReleaseFile>,
    /// `usr/lib/os-release`, which would replace the host's.
    pub usr_os_release: Presence,
    /// `etc/os-release`, which makes a disk image an operating system's tree.
    pub etc_os_release: Presence,
}

impl Contents {
    fn release_files(&self, class: Class) -> &[ReleaseFile] {
        match class {
            Class::Sysext => &self.sysext,
            Class::Confext => &self.confext,
        }
    }
}

/// What systemd will do with an extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Merge it.
    Compatible(Declared),
    /// Leave it out and merge the others.
    Ignored(Reason),
    /// Merge nothing, neither this one nor any other.
    Breaks(Reason),
}

/// What an extension asks for after it has been merged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    /// `EXTENSION_RELOAD_MANAGER=`: reload the service manager (systemd does it from 255 on).
    pub reload_manager: bool,
    /// `EXTENSION_RESTART_UNITS=`: units to restart (systemd does it from 262 on).
    pub restart_units: Vec<String>,
    /// `EXTENSION_RELOAD_OR_RESTART_UNITS=`: units to reload, or restart where they cannot be reloaded.
    pub reload_or_restart_units: Vec<String>,
}

/// Why an extension is not merged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Release files are there, but none that counts for this name.
    #[error(
        "it has no `{directory}/{RELEASE_PREFIX}{name}`; whoever builds it must put that file in, or name the \
         image as the release file it has"
    )]
    NoRelease {
        /// Directory the file should be in.
        directory: &'static str,
        /// Name of the image.
        name: String,
    },
    /// More than one release file counts.
    #[error("several files in `{0}` could be the one for this image; leave one")]
    Ambiguous(&'static str),
    /// The release file says nothing that can be read.
    #[error("its release file cannot be used")]
    Unusable(#[source] OsReleaseError),
    /// The release file has no assignment.
    #[error("its release file assigns nothing")]
    Empty,
    /// It would replace the host's identity.
    #[error(
        "it holds usr/lib/os-release, which would replace the host's; leave that file out of the image"
    )]
    HoldsOsRelease,
    /// Made for another place.
    #[error("{key}={value} leaves out {scope}")]
    Scope {
        /// `SYSEXT_SCOPE` or `CONFEXT_SCOPE`.
        key: &'static str,
        /// What it is.
        value: String,
        /// What it would have to contain.
        scope: &'static str,
    },
    /// Made for another field of the host.
    #[error("it is for {key}={wants}, the host is {key}={has}")]
    Differs {
        /// The field.
        key: &'static str,
        /// The extension's value.
        wants: String,
        /// The host's value.
        has: String,
    },
    /// Lacks a field that the host's demands.
    #[error("its release file lacks {0}, which the host's os-release makes necessary")]
    Lacks(&'static str),
    /// The host says not what it is: no extension at all can be merged.
    #[error("the host's os-release has no ID; add it")]
    HostHasNoId,
    /// The host's systemd has none.
    #[error("systemd {0} knows no configuration extensions; they came with {CONFEXT_SINCE}")]
    NoConfext(u32),
}

impl Reason {
    /// Whether an image is left out for what it is, wherever that may be.
    pub fn is_of_any_host(&self) -> bool {
        matches!(
            self,
            Self::NoRelease { .. }
                | Self::Ambiguous(_)
                | Self::Unusable(_)
                | Self::Empty
                | Self::HoldsOsRelease
        )
    }
}

/// What of a host decides whether it merges an image, in words: as long as that is the same, so is the verdict.
pub fn host_in_words(release: Option<&OsRelease>, systemd: u32) -> String {
    let keys = ["ID", "VERSION_ID", "SYSEXT_LEVEL", "CONFEXT_LEVEL", "ID_LIKE"];
    let facts: Vec<&str> = keys.iter().filter_map(|key| release?.get(key)).collect();
    format!("{} with systemd {systemd}", facts.join(" "))
}

/// Foretells what systemd will do.
pub fn judge(image: Image<'_>, host: Host<'_>, contents: &Contents) -> Verdict {
    if image.class == Class::Confext && host.systemd < CONFEXT_SINCE {
        return Verdict::Ignored(Reason::NoConfext(host.systemd));
    }
    if let Some(verdict) = refused_as_a_tree(image, host, contents) {
        return verdict;
    }
    let Some(host_id) = host.release.get("ID") else {
        return Verdict::Breaks(Reason::HostHasNoId);
    };
    let file = match find(image, host.systemd, contents.release_files(image.class)) {
        Ok(file) => file,
        Err(reason) => return Verdict::Ignored(reason),
    };
    match OsRelease::parse(&file.bytes).map_err(Reason::Unusable) {
        Ok(release) => match mismatch(image.class, host, host_id, &release) {
            Some(reason) => Verdict::Ignored(reason),
            None => Verdict::Compatible(declared(&release)),
        },
        Err(reason) => Verdict::Ignored(reason),
    }
}

/// What systemd refuses before it compares anything: disk images that are neither an extension nor an
/// operating system, and what would replace the host's os-release.
fn refused_as_a_tree(image: Image<'_>, host: Host<'_>, contents: &Contents) -> Option<Verdict> {
    let forbidden = contents.usr_os_release != Presence::Absent;
    if image.form == Form::Directory {
        let refused = forbidden && image.class == Class::Sysext;
        return refused.then_some(Verdict::Breaks(Reason::HoldsOsRelease));
    }
    let is_os_tree = [contents.etc_os_release, contents.usr_os_release].contains(&Presence::File);
    if forbidden {
        let ignored = is_os_tree && host.systemd >= FORBIDDEN_IMAGE_IGNORED_SINCE;
        let reason = Reason::HoldsOsRelease;
        return Some(if ignored { Verdict::Ignored(reason) } else { Verdict::Breaks(reason) });
    }
    if is_os_tree {
        return None;
    }
    let classes: &[Class] = match host.systemd {
        ..CONFEXT_SINCE => &[Class::Sysext],
        _ => &[Class::Sysext, Class::Confext],
    };
    let mut missing = None;
    for &class in classes {
        match find(Image { class, ..image }, host.systemd, contents.release_files(class)) {
            Ok(_) => return None,
            Err(reason @ Reason::Ambiguous(_)) => return Some(Verdict::Breaks(reason)),
            Err(reason) if class == image.class => missing = Some(reason),
            Err(_) => {}
        }
    }
    missing.map(Verdict::Breaks)
}

/// The release file that counts for an image of this name.
fn find<'a>(
    image: Image<'_>,
    systemd: u32,
    files: &'a [ReleaseFile],
) -> Result<&'a ReleaseFile, Reason> {
    if let Some(exact) = files.iter().find(|file| file.name == image.name) {
        return Ok(exact);
    }
    let base = (systemd >= BASE_NAME_SINCE).then(|| base_name(image.name));
    let mut candidates = files.iter().filter(|file| {
        !file.link && (base == Some(file.name.as_str()) || file.strict == Some(false))
    });
    let directory = image.class.release_directory();
    match (candidates.next(), candidates.next()) {
        (Some(file), None) => Ok(file),
        (Some(_), Some(_)) => Err(Reason::Ambiguous(directory)),
        (None, _) => Err(Reason::NoRelease { directory, name: image.name.to_owned() }),
    }
}

/// An image's name without suffix, version and counters: up to the first `_` or `+`.
pub fn base_name(name: &str) -> &str {
    let suffixes = [".sysext.raw", ".confext.raw", ".raw"];
    let name = suffixes.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
    name.split(['_', '+']).next().unwrap_or(name)
}

/// Why the release file does not fit the host.
fn mismatch(class: Class, host: Host<'_>, host_id: &str, release: &OsRelease) -> Option<Reason> {
    if release.is_empty() {
        return Some(Reason::Empty);
    }
    let (scope_key, scope) = (class.scope_key(), scope_word(host.scope));
    let fits = if release.assigns(scope_key) {
        release.words(scope_key).any(|word| word == scope)
    } else {
        host.scope == Scope::System
    };
    if !fits {
        let value = release.get(scope_key).unwrap_or_default().to_owned();
        return Some(Reason::Scope { key: scope_key, value, scope });
    }
    let architecture = release.get("ARCHITECTURE").unwrap_or("_any");
    if architecture != "_any" && architecture != host.architecture {
        return Some(differs("ARCHITECTURE", architecture, host.architecture));
    }
    let Some(id) = release.get("ID") else { return Some(Reason::Lacks("ID")) };
    if id == "_any" {
        return None;
    }
    let mut like = host.release.words("ID_LIKE").filter(|_| host.systemd >= ID_LIKE_SINCE);
    if id != host_id && !like.any(|word| word == id) {
        return Some(differs("ID", id, host_id));
    }
    version_mismatch(class, host.release, release)
}

/// Levels are compared where both have one, otherwise the host's version decides.
fn version_mismatch(class: Class, host: &OsRelease, release: &OsRelease) -> Option<Reason> {
    let level = class.level_key();
    if let (Some(has), Some(wants)) = (host.get(level), release.get(level)) {
        return (has != wants).then(|| differs(level, wants, has));
    }
    let has = host.get("VERSION_ID")?;
    match release.get("VERSION_ID") {
        None => Some(Reason::Lacks("VERSION_ID")),
        Some(wants) => (has != wants).then(|| differs("VERSION_ID", wants, has)),
    }
}

fn differs(key: &'static str, wants: &str, has: &str) -> Reason {
    Reason::Differs { key, wants: wants.to_owned(), has: has.to_owned() }
}

fn scope_word(scope: Scope) -> &'static str {
    match scope {
        Scope::System => "system",
        Scope::Initrd => "initrd",
    }
}

fn declared(release: &OsRelease) -> Declared {
    let units = |key| release.words(key).map(str::to_owned).collect();
    Declared {
        reload_manager: release.get("EXTENSION_RELOAD_MANAGER").and_then(boolean) == Some(true),
        restart_units: units("EXTENSION_RESTART_UNITS"),
        reload_or_restart_units: units("EXTENSION_RELOAD_OR_RESTART_UNITS"),
    }
}

/// A boolean as systemd writes it.
pub fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "y" | "true" | "t" | "on" => Some(true),
        "0" | "no" | "n" | "false" | "f" | "off" => Some(false),
        _ => None,
    }
}
