//! What a change makes of the paths inside a tree, told before it is made.

use camino::Utf8PathBuf;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Paths listed for one tree; what is beyond is only counted.
pub const PATHS_MAX: usize = 1_000;

/// Paths that a change adds, changes or removes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Contents {
    /// Paths that come.
    pub added: Sum,
    /// Paths that become others.
    pub changed: Sum,
    /// Paths that go.
    pub removed: Sum,
    /// Files of which it could not be told cheaply whether their content changes; they count as nothing else.
    pub undecided: u64,
    /// The first of them, sorted by path.
    pub paths: Vec<PathChange>,
    /// The publisher's listing says so, and nothing binds that to the index: what the index says is what is done.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unchecked: bool,
    /// A path where something else comes than a directory, and a directory with preserved files is.
    #[serde(skip)]
    pub hidden: Option<String>,
}

/// How many paths, and the bytes of the files among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sum {
    /// How many.
    pub paths: u64,
    /// Bytes of files as they will be; of those that go, as they are.
    pub bytes: u64,
}

/// What becomes of one path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PathChange {
    /// The path below the tree.
    pub path: String,
    /// What becomes of it.
    pub kind: PathChangeKind,
    /// Bytes of a file as it will be; of one that goes, as it is.
    pub bytes: u64,
}

/// What becomes of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PathChangeKind {
    /// It comes.
    Added,
    /// It becomes another.
    Changed,
    /// It goes.
    Removed,
}

/// Why a tree cannot give way: what is preserved in it would have no place in the next one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "preserved files are below {path}, where the release has something else than a directory; move them away, or \
     name {path} itself in `preserve` to keep all of it"
)]
pub struct Hidden {
    /// Where both are.
    pub path: Utf8PathBuf,
}

impl Contents {
    /// Notes one path; the listed ones are sorted by [`Contents::finish`].
    pub fn note(&mut self, path: &[u8], kind: PathChangeKind, bytes: u64) {
        let sum = match kind {
            PathChangeKind::Added => &mut self.added,
            PathChangeKind::Changed => &mut self.changed,
            PathChangeKind::Removed => &mut self.removed,
        };
        sum.paths += 1;
        sum.bytes = sum.bytes.saturating_add(bytes);
        if self.paths.len() < PATHS_MAX {
            let path = String::from_utf8_lossy(path).into_owned();
            self.paths.push(PathChange { path, kind, bytes });
        }
    }

    /// All that was noted, in order.
    #[must_use]
    pub fn finish(mut self) -> Self {
        self.paths.sort_by(|a, b| a.path.cmp(&b.path));
        self
    }

    /// Whether anything listed at or below a path is another; `.` is all of it.
    pub fn touches(&self, path: &str) -> bool {
        let below = |rest: &str| rest.is_empty() || rest.starts_with('/');
        path == "." && !self.paths.is_empty()
            || self.paths.iter().any(|one| one.path.strip_prefix(path).is_some_and(below))
    }

    /// How many paths are not listed.
    pub fn unlisted(&self) -> u64 {
        let all = self.added.paths + self.changed.paths + self.removed.paths;
        all.saturating_sub(self.paths.len() as u64)
    }
}

/// What somebody else has in a tree of ours that gives way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeptForeign {
    /// The tree.
    #[schemars(with = "String")]
    pub tree: Utf8PathBuf,
    /// Its generation, which lists what is ours.
    #[schemars(with = "String")]
    pub generation: Utf8PathBuf,
    /// The directory where everything else gets a second name; made when there is anything.
    #[schemars(with = "String")]
    pub into: Utf8PathBuf,
    /// Paths that were seen when this was planned; what is there by then is kept, too.
    pub paths: Vec<String>,
}
