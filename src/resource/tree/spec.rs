//! The wish for one tree, as validated from the desired state.

use camino::{Utf8Path, Utf8PathBuf};
use serde::Serialize;

use crate::model::step::{
    AssembleLimits, DeleteMax, Existing, OfflineCopy, Ownership, Reuse, Special,
};
use crate::model::{Check, Constraint, Digest, Effect};
use crate::resource::SuspendWish;
use crate::resource::tree::layout::Layout;
use crate::trust::policy::Policy;

/// The wish for one tree: nothing in it can be invalid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TreeSpec {
    /// The directory kept equal to the source, absolute: `/srv/site`.
    pub path: Utf8PathBuf,
    /// Which version.
    pub version: TreeVersion,
    /// Where it comes from.
    pub source: CasyncSource,
    /// Removable media or another copy, used while the source cannot be reached.
    pub offline: Option<CasyncSource>,
    /// The offline copy, where it is kept up to what is installed. The index may hold `@v`.
    pub refreshed: Option<OfflineCopy>,
    /// What evidence is demanded of the index.
    pub verify: Policy,
    /// Whose the files are.
    pub owner: Ownership,
    /// Special files and bits that the archive may bring.
    pub allow: Vec<Special>,
    /// Glob patterns of paths that are nobody's but the host's: kept as they are.
    pub preserve: Vec<String>,
    /// A directory that is there already becomes ours.
    pub existing: Existing,
    /// Most paths that one update may remove.
    pub delete_max: DeleteMax,
    /// How unchanged files come into a new generation.
    pub reuse: Reuse,
    /// Stores and other directories on this machine whose chunks need not be fetched.
    pub seeds: Vec<Utf8PathBuf>,
    /// Programs run when certain paths changed.
    pub triggers: Vec<Trigger>,
    /// What a generation must show after an update.
    pub health: Option<Check>,
    /// Programs run by the first pass after each start of the host.
    pub on_start: Vec<Vec<String>>,
    /// Units restarted after every update.
    pub restart: Vec<String>,
    /// Programs run after every update, after restarts.
    pub run: Vec<Vec<String>>,
    /// Generations kept in all, the one in use included; at least 1.
    pub retain: u32,
    /// How the tree in use is replaced.
    pub layout: TreeLayout,
    /// Bounds on what an archive may hold.
    pub limits: AssembleLimits,
    /// Left alone while this holds.
    pub suspend: Option<SuspendWish>,
}

impl TreeSpec {
    /// Digest of everything that decides what a generation of one index holds.
    pub fn recipe(&self) -> Digest {
        Digest::of_json(&(&self.owner, &self.allow))
    }

    /// Whether a step may touch a path.
    pub fn owns(&self, path: &Utf8Path) -> bool {
        let copy = self.refreshed.as_ref();
        Layout::new(&self.path).covers(path)
            || copy.is_some_and(|copy| {
                path == copy.store || path.parent() == copy.index.parent() && path != self.path
            })
    }

    /// Whether the version can move without an edit.
    pub fn is_floating(&self) -> bool {
        match &self.version {
            TreeVersion::Constraint(constraint) => constraint.is_floating(),
            TreeVersion::Index(_) => false,
        }
    }

    /// Whether an effect is one that the wish asks for.
    pub fn wishes(&self, effect: &Effect) -> bool {
        match effect {
            Effect::Restart { unit } => self.restart.contains(unit),
            Effect::Confirm { .. } => self.health.is_some(),
            Effect::Refresh { .. } => false,
            Effect::Run { argv, .. } => {
                let mut triggers = self.triggers.iter();
                self.run.contains(argv)
                    || self.on_start.contains(argv)
                    || triggers.any(|trigger| trigger.run.contains(argv))
            }
        }
    }

    /// The version asked for, as it was written.
    pub fn requested(&self) -> String {
        match &self.version {
            TreeVersion::Constraint(constraint) => constraint.to_string(),
            TreeVersion::Index(digest) => digest.to_string(),
        }
    }
}

/// Which version of a tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TreeVersion {
    /// What the index now says, or the best of those whose names carry a version.
    Constraint(Constraint),
    /// The index with this SHA-256.
    Index(Digest),
}

/// A casync index and the stores with its chunks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CasyncSource {
    /// The index; its file name may hold `@v` for the version.
    pub index: Place,
    /// Stores, asked in this order for each chunk.
    pub stores: Vec<Place>,
}

/// Something on a web server or on this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// A URL, without a trailing slash.
    Web(String),
    /// An absolute path on this machine, not below `--root`.
    Local(Utf8PathBuf),
}

impl Place {
    /// As a URL.
    pub fn url(&self) -> String {
        match self {
            Self::Web(url) => url.clone(),
            Self::Local(path) => file_url(path),
        }
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        match self {
            Self::Web(url) => url,
            Self::Local(path) => path.as_str(),
        }
    }

    /// Its last component.
    pub fn file_name(&self) -> &str {
        self.text().rsplit('/').next().unwrap_or_default()
    }

    /// Its directory.
    #[must_use]
    pub fn parent(&self) -> Self {
        match self {
            Self::Web(url) => {
                Self::Web(url.rsplit_once('/').map_or(url.as_str(), |(parent, _)| parent).into())
            }
            Self::Local(path) => {
                Self::Local(path.parent().unwrap_or(Utf8Path::new("/")).to_owned())
            }
        }
    }

    /// Something below it.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        match self {
            Self::Web(url) => Self::Web(format!("{url}/{name}")),
            Self::Local(path) => Self::Local(path.join(name)),
        }
    }
}

/// The `file:` URL of an absolute path.
pub fn file_url(path: &Utf8Path) -> String {
    let made = reqwest::Url::from_file_path(path);
    made.map_or_else(|()| format!("file://{path}"), String::from)
}

/// Programs to run when something changed at or below certain paths.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trigger {
    /// Paths in the tree; `.` is all of it.
    pub paths: Vec<String>,
    /// Programs with their arguments, in order.
    pub run: Vec<Vec<String>>,
}

/// How the tree in use is replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TreeLayout {
    /// The path is a directory, exchanged with the new one in one act.
    #[default]
    Exchange,
    /// The path is a symbolic link to the generation.
    Link,
    /// The path is a directory whose files are replaced one by one.
    InPlace,
}
