//! Sources of single programs, and patches, as they are written.

use schemars::{JsonSchema, Schema, json_schema};
use serde::Deserialize;

use crate::desired::field::{Field, Shorthand};

/// A repository of Choria's go-updater. It states the digest of the program itself: `verify.digest` is then of that.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["url"]))]
pub struct ChoriaDocument {
    /// The repository's root: an `https:` or `http:` URL, or a path on this machine, where a relative one starts where
    /// this file is. Plain `http:` needs `verify.min` to be stated.
    pub url: Field<String>,
    /// What the name of the published file must start with, so that no other program is taken. Not looked at by
    /// default.
    pub name: Field<String>,
    /// The operating system as Go calls it. Default `linux`.
    pub os: Field<String>,
    /// The architecture as Go calls it. Default: the host's, `amd64` or `arm64`.
    pub arch: Field<String>,
}

impl Shorthand for ChoriaDocument {
    fn text() -> Schema {
        json_schema!({
            "type": "string",
            "minLength": 1,
            "description": "URL or path of the repository's root.",
        })
    }
}

/// Releases of go-selfupdate. The manifest states the digest of the program itself: `verify.digest` is then of that.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["api", "cmd"]))]
pub struct SelfupdateDocument {
    /// Where manifests are, `ApiURL`: an `https:` or `http:` URL, or a path on this machine, where a relative one
    /// starts where this file is. Plain `http:` needs `verify.min` to be stated.
    pub api: Field<String>,
    /// Where whole programs are, `BinURL`. Default: `api`.
    pub bin: Field<String>,
    /// Where patches are, `DiffURL`. Default: `bin`.
    pub diff: Field<String>,
    /// The command, `CmdName`.
    pub cmd: Field<String>,
    /// Operating system and architecture as Go calls them, such as `linux-amd64`. Default: the host's.
    pub platform: Field<String>,
}

/// How patches are used.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DeltaDocument {
    /// What to do when a patch cannot be had, does not apply or makes other bytes: `full` (the default) gets the whole
    /// artifact, `limit:10MiB` only one of at most that size, `fail` gives up.
    #[schemars(extend("pattern" = "^(full|fail|limit: ?[0-9]+ ?(B|kB|MB|GB|TB|KiB|MiB|GiB|TiB)?)$"))]
    pub fallback: Field<String>,
}

impl Shorthand for DeltaDocument {
    fn text() -> Schema {
        json_schema!({ "enum": ["auto", "none"] })
    }
}
