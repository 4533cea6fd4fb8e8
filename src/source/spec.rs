//! Where releases come from, as validated from the desired state.

use camino::Utf8PathBuf;
use serde::Serialize;

use crate::format::go::Platform;
use crate::model::facts::Arch;

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
    /// A repository of Choria's go-updater: one program in every version, and no list of the versions.
    Choria {
        /// The repository's root, without a trailing slash.
        url: DirectoryUrl,
        /// What the names of the published files start with, where that is to be checked.
        name: Option<String>,
        /// GOOS and GOARCH; the host's own when absent.
        platform: GoPlatform,
    },
    /// Releases of go-selfupdate: the newest program, and patches from older ones.
    Selfupdate {
        /// Where manifests are, without a trailing slash.
        api: DirectoryUrl,
        /// Where whole programs are.
        bin: DirectoryUrl,
        /// Where patches are.
        diff: DirectoryUrl,
        /// The command, as in URLs before encoding.
        cmd: String,
        /// GOOS and GOARCH; the host's own when absent.
        platform: GoPlatform,
    },
}

/// What a publisher calls the operating system and the architecture; the host's own where nothing is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct GoPlatform {
    /// GOOS.
    pub os: Option<String>,
    /// GOARCH.
    pub arch: Option<String>,
}

impl GoPlatform {
    /// Names that Go may have; `None` for others.
    pub fn new(os: Option<&str>, arch: Option<&str>) -> Option<Self> {
        Platform::new(os.unwrap_or("linux"), arch.unwrap_or("amd64"))?;
        Some(Self { os: os.map(str::to_owned), arch: arch.map(str::to_owned) })
    }

    /// The platform for a host.
    pub fn on(&self, arch: Arch) -> Option<Platform> {
        let own = Platform::linux(arch);
        let os = self.os.as_deref().unwrap_or(own.os());
        Platform::new(os, self.arch.as_deref().unwrap_or(own.arch()))
    }
}

/// The place of a directory source.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DirectoryUrl {
    /// On a web server.
    Web(String),
    /// On this host, not below `--root`: an absolute path.
    Local(Utf8PathBuf),
}
