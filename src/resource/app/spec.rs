//! The wish for one app, as validated from the desired state.

use camino::Utf8PathBuf;
use jiff::SignedDuration;
use serde::Serialize;

use crate::model::step::{Binaries, Strip, UnpackLimits};
use crate::model::version::Prereleases;
use crate::model::{Check, Constraint, Digest, Fallback, Version};
use crate::resource::SuspendWish;
use crate::source::spec::{Origin, SourceSpec};
use crate::trust::policy::Policy;

/// The wish for one app: nothing in it can be invalid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AppSpec {
    /// Where releases come from.
    pub source: SourceSpec,
    /// Which versions.
    pub version: VersionWish,
    /// Which file of a release.
    pub asset: AssetWish,
    /// What evidence is demanded.
    pub verify: Policy,
    /// Whether patches are used.
    pub delta: DeltaWish,
    /// Leading directories of the archive to drop.
    pub strip: Strip,
    /// Which programs are linked.
    pub binaries: Binaries,
    /// The app's own directory, absolute: `/opt/ripgrep`.
    pub home: Utf8PathBuf,
    /// The one file that is replaced in place, instead of links in `bin`.
    pub file: Option<Utf8PathBuf>,
    /// The directory into which a link at `file` may lead, besides the link's own.
    pub follow: Option<Utf8PathBuf>,
    /// Releases kept in all, the one in use included; at least 1.
    pub retain: u32,
    /// Versions that retention never removes.
    pub protect: Vec<Version>,
    /// Units restarted after a switch.
    pub restart: Vec<String>,
    /// Programs run after a switch, in order, after restarts.
    pub run: Vec<Vec<String>>,
    /// What a release must show after a switch before it counts as working.
    pub health: Option<Check>,
    /// Bounds on archives and downloads.
    pub limits: UnpackLimits,
    /// Largest download accepted, in bytes.
    pub download_bytes_max: u64,
    /// Left alone while this holds.
    pub suspend: Option<SuspendWish>,
    /// The [`recipe`] of what is above.
    pub recipe: Digest,
}

/// Digest of everything that decides what a release directory of one version holds.
pub fn recipe(origin: &Origin, asset: &AssetWish, strip: Strip, binaries: &Binaries) -> Digest {
    Digest::of_json(&(origin, asset, strip, binaries))
}

/// Whether releases are made by patches where the source has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum DeltaWish {
    /// Never.
    Unused,
    /// Where there is one, and with this when it does not go well.
    Used(Fallback),
}

/// Which versions are acceptable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VersionWish {
    /// The constraint.
    pub want: Constraint,
    /// Whether prereleases are wanted.
    pub prereleases: Prereleases,
    /// How a tag carries its version.
    pub tag: TagPattern,
    /// How old a release must be; zero is no demand.
    pub min_age: SignedDuration,
    /// Whether `latest` and constraints may go back to a lower version.
    pub downgrade: Downgrade,
    /// Which of several acceptable releases is the newest.
    pub order: Order,
}

/// Whether a floating version may go back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Downgrade {
    /// Reported and not done.
    #[default]
    Refused,
    /// Done.
    Allowed,
}

/// Which of several releases is the newest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Order {
    /// The highest version.
    #[default]
    Version,
    /// The last published, as distronomicon does with prereleases.
    Published,
}

/// How a tag carries its version: `prefix{version}suffix`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum TagPattern {
    /// `1.2.3` or `v1.2.3`.
    Plain,
    /// `cli/v{version}`: both parts must match exactly.
    Around {
        /// Before the version.
        prefix: String,
        /// After it.
        suffix: String,
    },
}

impl TagPattern {
    /// The version that a tag carries; `None` when the tag is not one of ours.
    pub fn version(&self, tag: &str) -> Option<Version> {
        match self {
            Self::Plain => {
                let bare = tag
                    .strip_prefix(['v', 'V'])
                    .filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
                bare.unwrap_or(tag).parse().ok()
            }
            Self::Around { prefix, suffix } => {
                tag.strip_prefix(prefix.as_str())?.strip_suffix(suffix.as_str())?.parse().ok()
            }
        }
    }

    /// Tags under which `version` may have been published, likeliest first.
    pub fn tags(&self, version: &Version) -> Vec<String> {
        match self {
            Self::Plain => vec![format!("v{version}"), version.to_string()],
            Self::Around { prefix, suffix } => vec![format!("{prefix}{version}{suffix}")],
        }
    }
}

/// Which file of a release is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum AssetWish {
    /// Chosen by operating system, architecture and C library; refused when several fit.
    Auto(Narrow),
    /// Exactly this name, after `{version} {tag} {os} {arch} {libc}` were filled in.
    Exact(String),
    /// The first in the source's order whose name matches, as distronomicon chooses.
    FirstMatch(String),
}

/// What narrows the automatic choice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Narrow {
    /// Names must contain this, ignoring ASCII case.
    pub contains: Option<String>,
    /// Names must match this regular expression, unanchored.
    pub regex: Option<String>,
    /// Names must not match this regular expression, unanchored.
    pub exclude: Option<String>,
    /// The C library to prefer over the host's own: `gnu` or `musl`.
    pub libc: Option<crate::model::facts::Libc>,
}
