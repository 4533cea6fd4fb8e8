//! What a decision may depend on about the host itself.

use camino::Utf8PathBuf;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Processor architecture, by its Rust and kernel name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Arch {
    /// 64-bit x86, ELF machine 62.
    X86_64,
    /// 64-bit ARM, ELF machine 183.
    Aarch64,
}

impl Arch {
    /// The name used in `{arch}` templates unless a source maps it otherwise.
    pub fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// The name that systemd has for it.
    pub fn in_systemd(self) -> &'static str {
        match self {
            Self::X86_64 => "x86-64",
            Self::Aarch64 => "arm64",
        }
    }
}

/// The C library programs are linked against here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Libc {
    /// GNU libc.
    Gnu,
    /// musl.
    Musl,
}

/// The program that makes the pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Agent {
    /// Its file, links followed.
    #[schemars(with = "String")]
    pub file: Utf8PathBuf,
    /// Arguments with which another program must end well before it takes the place of this one.
    pub trials: Vec<Vec<String>>,
}

/// Facts observed once per pass. Where a fact is unknown (an empty `--root`), checks that need it are
/// not made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostFacts {
    /// Host name, for people.
    pub hostname: String,
    /// Architecture of the running system.
    pub arch: Arch,
    /// The preferred C library.
    pub libc: Libc,
    /// GNU libc version as (major, minor), when it could be read.
    pub glibc: Option<(u32, u32)>,
    /// Program interpreters (`/lib64/ld-linux-x86-64.so.2`, …) that exist here.
    pub loaders: Vec<String>,
    /// This program itself, where it is a file of this host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<Agent>,
    /// Which start of the host this is; known where `live` is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<String>,
    /// False when a `--root` other than `/` is managed: restarts and hooks are then not run.
    pub live: bool,
}
