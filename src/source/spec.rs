//! Where releases come from, as validated from the desired state.

use camino::Utf8PathBuf;
use serde::Serialize;

/// A source and its mirrors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SourceSpec {
    /// The origin: the only place that vouches for anything.
    pub origin: Origin,
    /// URL prefixes tried before the origin, in order. Each replaces the origin's own prefix: for a
    /// directory its `url`, for GitHub everything before `/OWNER/REPO/`. A mirror transports bytes and
    /// never raises their level.
    pub mirrors: Vec<String>,
}

/// One kind of source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Releases of a GitHub repository.
    Github {
        /// `OWNER/REPO`.
        repo: String,
        /// API base without a trailing slash: `https://api.github.com` or
        /// `https://ghe.example/api/v3`.
        api: String,
    },
    /// A directory on a web server or on this host whose file names carry the version.
    Directory {
        /// `https:`, `http:` or `file:` URL, without a trailing slash; may hold `{version}` when
        /// `versions` says which there are.
        url: DirectoryUrl,
        /// File name pattern with `{version}`, and `{os}`, `{arch}`, `{libc}` as far as wanted:
        /// `tool-{version}-linux-{arch}.tar.gz`. Absent: every file whose name holds a version, the
        /// files of one version being one release.
        pattern: Option<String>,
        /// The host's architecture as this publisher writes it, for `{arch}`.
        arch_names: Vec<(String, String)>,
    },
}

/// The place of a directory source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DirectoryUrl {
    /// On a web server.
    Web(String),
    /// On this host, not below `--root`: an absolute path.
    Local(Utf8PathBuf),
}
