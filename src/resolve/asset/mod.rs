//! The choice of one file out of the names of a release.
//!
//! A wrong file is worse than none, so the automatic choice works by exclusion and refuses where the
//! names leave more than one answer:
//!
//! 1. names that the wish excludes are dropped, then files that are no programs ([`Reason`]);
//! 2. every word of a name is read: system, processor, C library, or *left over*;
//! 3. names for other systems and processors are dropped, and those that say less about the platform
//!    than the best do;
//! 4. the rest is ranked, and the best is taken only if its left-over words are among those of every
//!    other one: `tool` is preferred to `tool-extras`, while `tool-a` and `tool-b` are two tools.
//!
//! Names cannot tell everything: whether a program can run here is looked at once it is there, and then
//! the next of the same build ([`Verdict::Chosen`]) may be tried.

mod file;
mod pattern;
mod rank;
mod reading;
mod specific;
mod words;

use std::fmt;

pub use pattern::{PatternError, REGEX_BYTES_MAX, check_template, fill, regex};

use crate::model::facts::{Arch, HostFacts, Libc};
use crate::model::{Release, Version};
use crate::resource::app::spec::AssetWish;

/// The files of one release and what to look for among them.
///
/// Files that are empty or still being uploaded are left out by the source.
#[derive(Clone, Debug)]
pub struct Listing<'a> {
    /// File names in the source's order.
    pub names: Vec<&'a str>,
    /// Names that the program may go by, likeliest first: listed programs, app, repository.
    pub wanted: Vec<&'a str>,
    /// The release's tag.
    pub tag: &'a str,
    /// The release's version.
    pub version: &'a Version,
}

impl<'a> Listing<'a> {
    /// The listing of a release; indexes into it are indexes of `release.artifacts`.
    pub fn of(release: &'a Release, wanted: Vec<&'a str>) -> Self {
        Self {
            names: release.artifacts.iter().map(|artifact| artifact.name.as_str()).collect(),
            wanted,
            tag: &release.tag,
            version: &release.version,
        }
    }
}

/// The system a file must run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its processor.
    pub arch: Arch,
    /// Its C library.
    pub libc: Libc,
}

impl Target {
    /// The target that a host is.
    pub fn of(facts: &HostFacts) -> Self {
        Self { arch: facts.arch, libc: facts.libc }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let libc = match self.libc {
            Libc::Gnu => "gnu",
            Libc::Musl => "musl",
        };
        write!(f, "linux {} {libc}", self.arch.name())
    }
}

/// The outcome for one listing.
#[derive(Debug)]
pub struct Selection {
    /// Which file, or why none.
    pub verdict: Verdict,
    /// Every name that was not chosen, in the listing's order.
    pub rejected: Vec<Rejected>,
}

/// Which file, or why none.
#[derive(Debug)]
pub enum Verdict {
    /// One file.
    Chosen {
        /// Its index in the listing.
        index: usize,
        /// Other builds of the same program in order of preference, for when this one cannot run here:
        /// the other C library, another container. Empty unless the choice was automatic.
        runners_up: Vec<usize>,
    },
    /// None.
    Refused(Refusal),
}

/// A name that was not chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Its index in the listing.
    pub index: usize,
    /// Why.
    pub reason: Reason,
}

/// Why a name was not chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The wish does not match it.
    NotWished,
    /// A checksum, a signature or the like.
    Sidecar,
    /// Documentation, data, a list.
    Document,
    /// A package, an image, a library, or an archive type that is not unpacked.
    Package,
    /// A script: taken only when its name is given.
    Script,
    /// Source code, by this word.
    Source(String),
    /// For another operating system, by this word.
    OtherSystem(String),
    /// For another processor, by this word.
    OtherProcessor(String),
    /// Needs a newer processor than the architecture's first, by this word.
    ProcessorLevel(String),
    /// Linked against GNU libc, which is not here.
    NeedsGnu,
    /// Ends with something that is no known file type.
    UnknownType(String),
    /// Says less about its platform than other names do.
    LessSpecific,
    /// Not for one platform: these words mark something other than the program.
    NotTheProgram(String),
    /// Another name fits better.
    Outranked,
    /// Fits as well as others do.
    Ambiguous,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotWished => f.write_str("does not match what `asset` says"),
            Self::Sidecar => f.write_str("a checksum or signature"),
            Self::Document => f.write_str("a document or data"),
            Self::Package => f.write_str("a package, image or library"),
            Self::Script => f.write_str("a script, taken only by its exact name"),
            Self::Source(word) => write!(f, "source code (`{word}`)"),
            Self::OtherSystem(word) => write!(f, "for another system (`{word}`)"),
            Self::OtherProcessor(word) => write!(f, "for another processor (`{word}`)"),
            Self::ProcessorLevel(word) => write!(f, "needs a newer processor (`{word}`)"),
            Self::NeedsGnu => f.write_str("needs GNU libc"),
            Self::UnknownType(end) => write!(f, "`.{end}` is not a known file type"),
            Self::LessSpecific => f.write_str("says less about its platform than others"),
            Self::NotTheProgram(word) => write!(f, "not the program itself (`{word}`)"),
            Self::Outranked => f.write_str("another file fits better"),
            Self::Ambiguous => f.write_str("fits as well as another file"),
        }
    }
}

/// Why no file was chosen, and what to write to choose one.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// No name is acceptable. For a fresh release this can mean that files are still missing.
    #[error(
        "choosing a file of release {tag} for {target}: none of its {count} files fits; name one with \
         `asset`"
    )]
    NothingFits {
        /// The release's tag.
        tag: String,
        /// For which system.
        target: Target,
        /// How many files the release has.
        count: usize,
    },
    /// Several are, and nothing tells which is meant.
    #[error(
        "choosing a file of release {tag} for {target}: {} fit equally; say which with `asset.contains` or \
         an exact name", quoted(.candidates)
    )]
    Ambiguous {
        /// The release's tag.
        tag: String,
        /// For which system.
        target: Target,
        /// Their names, best first.
        candidates: Vec<String>,
    },
    /// The plain program exists for other platforms only; these are something else.
    #[error(
        "choosing a file of release {tag} for {target}: {} may be another program, because `{plain}` has \
         no counterpart here; name one with `asset`", quoted(.candidates)
    )]
    ElsewhereOnly {
        /// The release's tag.
        tag: String,
        /// For which system.
        target: Target,
        /// What would be taken, best first.
        candidates: Vec<String>,
        /// The file for another platform.
        plain: String,
    },
    /// No file has the name that the wish gives.
    #[error("choosing a file of release {tag}: there is no {}; correct `asset`", quoted(.names))]
    NoSuchName {
        /// The release's tag.
        tag: String,
        /// The names looked for.
        names: Vec<String>,
    },
    /// The wish holds a pattern that cannot be used.
    #[error("choosing a file of release {tag}: the pattern in `asset` cannot be used")]
    BadPattern {
        /// The release's tag.
        tag: String,
        /// What is wrong with it.
        #[source]
        source: PatternError,
    },
}

/// Most names in one message.
const NAMES_SHOWN_MAX: usize = 5;

fn quoted(names: &[String]) -> String {
    let shown: Vec<String> =
        names.iter().take(NAMES_SHOWN_MAX).map(|n| format!("`{}`", n.escape_debug())).collect();
    let more = names.len().saturating_sub(shown.len());
    let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{tail}", shown.join(", "))
}

/// Chooses one file of a listing.
pub fn select(listing: &Listing<'_>, wish: &AssetWish, target: &Target) -> Selection {
    let chosen = match wish {
        AssetWish::Auto(narrow) => return rank::automatic(listing, narrow, *target),
        AssetWish::Exact(template) => exact(listing, template, *target),
        AssetWish::FirstMatch(text) => first_match(listing, text, *target),
    };
    let index = chosen.as_ref().ok().copied();
    let rejected = (0..listing.names.len())
        .filter(|other| Some(*other) != index)
        .map(|index| Rejected { index, reason: Reason::NotWished })
        .collect();
    let verdict = match chosen {
        Ok(index) => Verdict::Chosen { index, runners_up: Vec::new() },
        Err(refusal) => Verdict::Refused(refusal),
    };
    Selection { verdict, rejected }
}

fn exact(listing: &Listing<'_>, template: &str, target: Target) -> Result<usize, Refusal> {
    let tag = listing.tag;
    let names = pattern::fill(template, (listing.version.as_str(), tag), target)
        .map_err(|source| Refusal::BadPattern { tag: tag.to_owned(), source })?;
    names
        .iter()
        .find_map(|name| listing.names.iter().position(|published| published == name))
        .ok_or_else(|| Refusal::NoSuchName { tag: tag.to_owned(), names })
}

fn first_match(listing: &Listing<'_>, text: &str, target: Target) -> Result<usize, Refusal> {
    let tag = listing.tag;
    let regex =
        regex(text).map_err(|source| Refusal::BadPattern { tag: tag.to_owned(), source })?;
    listing.names.iter().position(|name| regex.is_match(name)).ok_or_else(|| Refusal::NothingFits {
        tag: tag.to_owned(),
        target,
        count: listing.names.len(),
    })
}
