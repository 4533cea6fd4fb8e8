//! What systemd-sysext sees: names in search directories and in versioned directories.
//!
//! Sources: systemd-sysext(8), systemd.v(7), and systemd 252, 257 and 262 as measured. The names were measured
//! along with the verdicts in `tests/golden/images/verdicts.json`.

use std::cmp::Ordering;

use crate::format::extension_release::{Class, Form};

/// Since this version a class may stand before `.raw`, and directories ending in `.v` are looked into.
pub const VERSIONED_SINCE: u32 = 256;

/// Since this version files that systemd-sysupdate is still writing are passed over.
const PARTIAL_HIDDEN_SINCE: u32 = 262;

/// Characters of a file's name: Linux allows no more (`NAME_MAX`).
const NAME_BYTES_MAX: usize = 255;

/// What an entry of a search directory is, links followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory or subvolume.
    Directory,
    /// A regular file.
    File,
    /// Something else, a link to nothing included.
    Other,
}

/// An entry of a search directory that systemd takes for an extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found<'a> {
    /// The extension's name: that of the entry, not that of what a link leads to.
    pub name: &'a str,
    /// How it lies there.
    pub form: Form,
    /// For a directory to pick from: the suffix that the names in it have. See [`pick`].
    pub versioned: Option<&'static str>,
}

/// What systemd of this version makes of an entry of a search directory; none if it passes it over.
pub fn image_name(class: Class, entry: &str, kind: EntryKind, systemd: u32) -> Option<Found<'_>> {
    let partial = systemd >= PARTIAL_HIDDEN_SINCE && entry.starts_with(".sysupdate.");
    if partial || !is_name(entry) {
        return None;
    }
    let found = match kind {
        EntryKind::Other => return None,
        EntryKind::File => {
            let (name, _) = strip_raw(class, entry, systemd)?;
            Found { name, form: Form::Raw, versioned: None }
        }
        EntryKind::Directory => {
            let stem = entry.strip_suffix(".v").filter(|_| systemd >= VERSIONED_SINCE);
            match stem.map(|stem| (stem, strip_raw(class, stem, systemd))) {
                None => Found { name: entry, form: Form::Directory, versioned: None },
                Some((_, Some((name, suffix)))) => {
                    Found { name, form: Form::Raw, versioned: Some(suffix) }
                }
                Some((name, None)) => Found { name, form: Form::Directory, versioned: Some("") },
            }
        }
    };
    is_name(found.name).then_some(found)
}

/// Names that begin with `.#` belong to files being written; other hidden names count.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && !name.starts_with(".#")
        && !matches!(name, "." | "..")
        && !name.chars().any(|char| char == '/' || char.is_ascii_control())
}

fn strip_raw(class: Class, entry: &str, systemd: u32) -> Option<(&str, &'static str)> {
    let own = match class {
        Class::Sysext => ".sysext.raw",
        Class::Confext => ".confext.raw",
    };
    let stripped = entry.strip_suffix(own).filter(|_| systemd >= VERSIONED_SINCE);
    stripped.map(|name| (name, own)).or_else(|| Some((entry.strip_suffix(".raw")?, ".raw")))
}

/// Architectures in systemd's words; others in a name are chopped off and ignored.
const ARCHITECTURES: [&str; 33] = [
    "x86",
    "x86-64",
    "ppc",
    "ppc-le",
    "ppc64",
    "ppc64-le",
    "ia64",
    "parisc",
    "parisc64",
    "s390",
    "s390x",
    "sparc",
    "sparc64",
    "mips",
    "mips-le",
    "mips64",
    "mips64-le",
    "alpha",
    "arm",
    "arm-be",
    "arm64",
    "arm64-be",
    "sh",
    "sh64",
    "loongarch64",
    "m68k",
    "tilegx",
    "cris",
    "arc",
    "arc-be",
    "nios2",
    "riscv32",
    "riscv64",
];

/// What is picked in a versioned directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picked<'a> {
    /// The whole name of the entry.
    pub entry: &'a str,
    /// Its version.
    pub version: &'a str,
    /// Its architecture, where the name says one.
    pub architecture: Option<&'a str>,
    /// Boots left to be tried, where the name counts.
    pub left: Option<u64>,
    /// Boots tried, where the name counts.
    pub done: Option<u64>,
}

/// What names must look like to be picked.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// What stands before the first `_`.
    pub name: &'a str,
    /// What the name ends with; empty for directories.
    pub suffix: &'a str,
    /// The host's architecture in systemd's words.
    pub architecture: &'a str,
}

/// The entry that systemd picks in `NAME.raw.v/` or `NAME.v/` among entries of the right kind. `compare` is the
/// order of versions that systemd uses (UAPI.10). Names with tries left, or without counters, go before exhausted
/// ones; then the higher version, more tries left, fewer done, the higher name.
pub fn pick<'a>(
    entries: impl IntoIterator<Item = &'a str>,
    wanted: Wanted<'_>,
    compare: impl Fn(&str, &str) -> Ordering,
) -> Option<Picked<'a>> {
    let candidates = entries.into_iter().filter_map(|entry| parse_picked(entry, wanted));
    candidates.max_by(|a, b| {
        let usable = |picked: &Picked<'_>| picked.left != Some(0);
        (usable(a).cmp(&usable(b)))
            .then_with(|| compare(a.version, b.version))
            .then_with(|| a.left.unwrap_or(u64::MAX).cmp(&b.left.unwrap_or(u64::MAX)))
            .then_with(|| b.done.unwrap_or(0).cmp(&a.done.unwrap_or(0)))
            .then_with(|| compare(a.entry, b.entry))
    })
}

fn parse_picked<'a>(entry: &'a str, wanted: Wanted<'_>) -> Option<Picked<'a>> {
    let rest = entry.strip_prefix(wanted.name)?.strip_prefix('_')?.strip_suffix(wanted.suffix)?;
    let (rest, left, done) = counters(rest);
    let (version, architecture) = match rest.rsplit_once('_') {
        Some((version, word)) => (version, Some(word).filter(|word| ARCHITECTURES.contains(word))),
        None => (rest, None),
    };
    let fits = architecture.is_none_or(|has| has == wanted.architecture);
    let valid = |char: char| char.is_ascii_alphanumeric() || "-.~^".contains(char);
    (fits && !version.is_empty() && version.chars().all(valid)).then_some(Picked {
        entry,
        version,
        architecture,
        left,
        done,
    })
}

/// Cuts `+LEFT` or `+LEFT-DONE` off the end; what is no counter stays.
fn counters(rest: &str) -> (&str, Option<u64>, Option<u64>) {
    let number = |text: &str| {
        text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten()
    };
    let Some((stem, tail)) = rest.rsplit_once('+') else { return (rest, None, None) };
    match tail.split_once('-') {
        None => number(tail).map_or((rest, None, None), |left| (stem, Some(left), None)),
        Some((left, done)) => match (number(left), number(done)) {
            (Some(left), Some(done)) => (stem, Some(left), Some(done)),
            _ => (rest, None, None),
        },
    }
}
