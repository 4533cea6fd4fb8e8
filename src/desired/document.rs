//! The file format of the desired state, field by field.
//!
//! Every doc comment of a field is what an operator reads in an editor: it becomes the description in
//! `schema/desired-state.v1.json`. Choices are maps with one key; a text stands for the usual form where
//! there is one.

mod deliver;
mod health;
mod selection;
pub mod tree;

use schemars::{JsonSchema, Schema, json_schema};
use serde::Deserialize;

use crate::desired::field::{Field, Short, Shorthand, Table};
use crate::model::window::document::WindowDocument;

mod extension;

pub use extension::{
    ActivateDocument, ClassDocument, ExtensionDocument, ExtensionSourceDocument, FollowAsDocument,
    FollowDocument, GpgDocument, ImageLayoutDocument, ImageLimitsDocument, ImageMinDocument,
    ImageVerifyDocument, MatchList, SysupdateDocument, VersionOrderDocument,
};

pub use deliver::{ChoriaDocument, DeltaDocument, SelfupdateDocument};
pub use health::{HealthDocument, HttpProbeDocument, OnFailureDocument};
pub use selection::{ArchDocument, MatchDocument, TextList};

/// What a host should run. Several files merge into one wish; the same app twice is an error.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DesiredDocument {
    /// Which hosts the whole document is for. Default: all.
    #[serde(rename = "match")]
    pub hosts: Field<MatchDocument>,
    /// Released programs, by name. A name starts with a letter or digit and holds letters, digits and
    /// `. _ - +`.
    pub apps: Field<Table<AppDocument>>,
    /// Images that systemd merges into `/usr`, `/opt` or `/etc`, by name: the name under which systemd finds
    /// the image, which is also that of its `extension-release` file.
    pub extensions: Field<Table<ExtensionDocument>>,
    /// Follows this host's own definitions in `sysupdate.d` and `sysupdate.COMPONENT.d`.
    pub sysupdate: Field<FollowDocument>,
    /// Directories kept equal to a casync store, by name.
    pub trees: Field<Table<tree::TreeDocument>>,
    /// Where the token for a host comes from, by host name (`api.github.com`, `git.example.net:8443`).
    /// Tokens themselves are never written here.
    pub auth: Field<Table<CredentialDocument>>,
}

/// One released program.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["source"]))]
pub struct AppDocument {
    /// Which hosts it is for. Default: all. A host that is not meant any more removes it.
    #[serde(rename = "match")]
    pub hosts: Field<MatchDocument>,
    /// Which version. `latest` (the default), an exact version such as `14.1.1`, or a constraint such as
    /// `>=14, <15`, `^1.2`, `~1.4` or `1.x`; or a map with more wishes.
    pub version: Field<Short<VersionDocument>>,
    /// Where releases come from.
    pub source: Field<SourceDocument>,
    /// URL prefixes tried before the source itself, in order. Each replaces the source's own prefix: for
    /// a directory its URL, for GitHub everything before `/OWNER/REPO/`. A mirror never vouches for
    /// anything. None by default.
    pub mirrors: Field<Vec<Field<String>>>,
    /// Which file of a release. `auto` (the default) chooses by operating system, architecture and C
    /// library and refuses to guess; any other text is an exact name, in which `{version}`, `{tag}`,
    /// `{os}`, `{arch}` and `{libc}` are filled in; a map narrows the choice.
    pub asset: Field<Short<AssetDocument>>,
    /// What evidence is demanded before anything is unpacked.
    pub verify: Field<VerifyDocument>,
    /// Whether a release is made by a patch from the one in use, where the source has one. `auto` (the default) does so
    /// and gets the whole artifact when that does not go well; `none` never does; a map says more.
    pub delta: Field<Short<DeltaDocument>>,
    /// Leading directories of the archive to drop. `auto` (the default) drops one top directory when the
    /// archive has exactly one and no file beside it; `none` drops nothing.
    pub strip: Field<StripDocument>,
    /// Which programs are linked into `bin`. `auto` (the default) links executables that are ELF programs
    /// or scripts; `any-executable` every file with an execute bit; a list names them.
    pub binaries: Field<Short<BinaryList>>,
    /// The app's own directory, an absolute path. Default: `/opt/` and the app's name.
    pub home: Field<String>,
    /// How the app comes into use. By default its programs are linked in `bin` of its home;
    /// `{ file: /usr/local/bin/tool }` replaces that one file instead, keeping mode and owner, and keeps the one
    /// before as `tool.backup`.
    pub layout: Field<LayoutDocument>,
    /// How many releases are kept, the one in use included. Default 3, at least 1, at most 1000.
    #[schemars(range(min = 1, max = 1000))]
    pub retain: Field<u32>,
    /// Versions that are never removed, whatever `retain` says. None by default.
    pub protect: Field<Vec<Field<VersionText>>>,
    /// Units that systemd restarts after the version changed. None by default.
    pub restart: Field<Vec<Field<String>>>,
    /// Programs run after the version changed, in order, after all restarts: each a list of program and
    /// arguments, without a shell. They may run more than once and must be idempotent. None by default.
    #[schemars(with = "Vec<Argv>")]
    pub run: Field<Vec<Field<Short<Argv>>>>,
    /// What a release must show after a switch before it counts as working; where it does not, the release
    /// before is used again. Nothing by default.
    pub health: Field<HealthDocument>,
    /// Bounds on downloads and archives.
    pub limits: Field<LimitsDocument>,
    /// How often its source is asked while nothing else calls for it, 1 s to 7 days, such as `1h`. Default: as the agent
    /// asks all sources (`sources` in agent.yaml).
    pub every: Field<String>,
    /// When what is in use may be replaced, by name, for this one alone: instead of the `allow` windows of agent.yaml, and
    /// beside its `deny` windows. Default: as there.
    pub windows: Field<Table<WindowDocument>>,
    /// Leaves the app alone for a while.
    pub suspend: Field<SuspendDocument>,
}

/// How an app comes into use.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["file"]))]
pub struct LayoutDocument {
    /// The absolute path of the one file that is replaced in place. Where a symbolic link is there, the file behind it
    /// is replaced if it is in the link's own directory.
    pub file: Field<String>,
    /// The absolute path of another directory into which a link at `file` may lead. None by default.
    pub follow: Field<String>,
}

/// A version as text; unquoted numbers keep their digits.
#[derive(Debug, Deserialize)]
pub struct VersionText(pub String);

impl JsonSchema for VersionText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "VersionText".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "number"] })
    }
}

/// Which version, with everything that can be said about it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct VersionDocument {
    /// `latest` (the default), an exact version or a constraint.
    pub want: Field<VersionText>,
    /// Whether prereleases are as welcome as releases. Default `false`: only a constraint that names a
    /// prerelease accepts any.
    pub prereleases: Field<bool>,
    /// How a tag carries its version, such as `cli/v{version}`: both parts around `{version}` must match
    /// exactly. Default: `1.2.3` and `v1.2.3` are both understood.
    pub tag: Field<String>,
    /// How old a release must be before it is installed, such as `72h` or `3d`. Default: no demand.
    pub min_age: Field<String>,
    /// Whether `latest` and constraints may go back below a version that was in use and is still
    /// acceptable. Default `false`: it is reported and not done.
    pub allow_downgrade: Field<bool>,
    /// Which of several acceptable releases is the newest. Default `version`.
    pub order: Field<OrderDocument>,
}

impl Shorthand for VersionDocument {
    fn text() -> Schema {
        json_schema!({
            "type": ["string", "number"],
            "description": "`latest`, a version, or a constraint such as `>=14, <15`.",
        })
    }
}

/// Which of several releases is the newest.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OrderDocument {
    /// The highest version.
    Version,
    /// The one published last.
    Published,
}

/// Where releases come from: exactly one of these.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename = "$choice", rename_all = "kebab-case")]
#[schemars(rename = "SourceDocument")]
pub enum SourceDocument {
    /// Releases of a GitHub repository: `OWNER/REPO`, or a map.
    Github(Field<Short<GithubDocument>>),
    /// A directory on a web server whose file names carry the version: its URL, or a map.
    Http(Field<Short<HttpDocument>>),
    /// A directory on this host whose file names carry the version: its path, or a map.
    File(Field<Short<FileDocument>>),
    /// A repository of Choria's go-updater: the URL or path of its root, or a map. On the web it needs an exact
    /// `version`.
    Choria(Field<Short<ChoriaDocument>>),
    /// Releases of go-selfupdate.
    Selfupdate(Field<SelfupdateDocument>),
}

/// A GitHub repository.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["repo"]))]
pub struct GithubDocument {
    /// `OWNER/REPO`.
    pub repo: Field<String>,
    /// Base of the API. Default `https://api.github.com`; for GitHub Enterprise
    /// `https://HOST/api/v3`.
    pub api: Field<String>,
}

impl Shorthand for GithubDocument {
    fn text() -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[^/]+/[^/]+$",
            "description": "`OWNER/REPO` on github.com.",
        })
    }
}

/// A directory on a web server.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["url"]))]
pub struct HttpDocument {
    /// URL of the directory, `https:` or `http:`. Plain `http:` needs `verify.min` to be stated.
    pub url: Field<String>,
    /// What the names of wanted files look like: `tool-{version}-linux-{arch}.tar.gz`, with `{version}`
    /// and, as far as wanted, `{os}`, `{arch}` and `{libc}`. Default: every file whose name holds a
    /// version; files of one version are one release.
    pub pattern: Field<String>,
    /// How this publisher writes the architectures, for `{arch}`: `{ x86_64: amd64, aarch64: arm64 }`.
    #[schemars(extend("propertyNames" = { "enum": ["x86_64", "aarch64"] }))]
    pub arch: Field<Table<String>>,
}

impl Shorthand for HttpDocument {
    fn text() -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^https?://",
            "description": "URL of the directory.",
        })
    }
}

/// A directory on this host.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["path"]))]
pub struct FileDocument {
    /// Path of the directory on this machine; a relative one starts where this file is.
    pub path: Field<String>,
    /// What the names of wanted files look like; as for `http`.
    pub pattern: Field<String>,
    /// How this publisher writes the architectures; as for `http`.
    #[schemars(extend("propertyNames" = { "enum": ["x86_64", "aarch64"] }))]
    pub arch: Field<Table<String>>,
}

impl Shorthand for FileDocument {
    fn text() -> Schema {
        json_schema!({
            "type": "string",
            "minLength": 1,
            "description": "Path of the directory.",
        })
    }
}

/// What narrows the choice of a file. `first_match` stands alone.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("dependentSchemas" = { "first_match": { "maxProperties": 1 } }))]
pub struct AssetDocument {
    /// Names must contain this text, in any case.
    pub contains: Field<String>,
    /// Names must match this regular expression anywhere.
    pub regex: Field<String>,
    /// Names must not match this regular expression anywhere.
    pub exclude: Field<String>,
    /// The C library to prefer. Default: the host's own.
    pub libc: Field<LibcDocument>,
    /// Takes the first file, in the source's order, whose name matches this regular expression
    /// anywhere, as distronomicon does. Nothing else is looked at.
    pub first_match: Field<String>,
}

impl Shorthand for AssetDocument {
    fn text() -> Schema {
        json_schema!({
            "type": "string",
            "description": "`auto`, or an exact file name with `{version}`, `{tag}`, `{os}`, `{arch}`, \
                            `{libc}`.",
        })
    }
}

/// A C library.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LibcDocument {
    /// GNU libc.
    Gnu,
    /// musl.
    Musl,
}

/// What evidence is demanded.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct VerifyDocument {
    /// The weakest acceptable evidence. Default `auto`: what this kind of source can be expected to
    /// offer.
    pub min: Field<MinDocument>,
    /// The digest that the file, or for `choria` and `selfupdate` the program in it, must have: `sha256:` and 64 hexadecimal digits, or a map with one digest
    /// for each architecture.
    pub digest: Field<Short<ArchDigests>>,
    /// Where the release's checksum file is. `auto` (the default) knows the usual names; `none` looks for
    /// none; any other text is an exact name, in which `{version}`, `{tag}`, `{asset}` and `{arch}` are
    /// filled in.
    pub checksums: Field<Short<ChecksumsDocument>>,
    /// Whose signature the checksum file, or the index of a tree, must have: one of the keys of this keyring, beside the
    /// file as `.asc`, `.gpg` or `.sig`. Default: none is demanded. Only for `github`, `http`, `file` and `casync`.
    pub gpg: Field<GpgDocument>,
}

/// Levels of evidence, weakest first after `auto`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MinDocument {
    /// What this kind of source can be expected to offer.
    Auto,
    /// Nothing is checked. Every plan says so.
    None,
    /// The server was authenticated.
    Tls,
    /// The bytes are those seen the first time.
    Lock,
    /// A checksum file of the release states the digest.
    Checksum,
    /// The forge's own API states the digest.
    ForgeDigest,
    /// A checksum file states the digest, and a key of `gpg` signed it; of a tree, it signed the index.
    Signature,
    /// This document states the digest.
    Digest,
}

/// One digest for each architecture.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("propertyNames" = { "enum": ["x86_64", "aarch64"] }))]
pub struct ArchDigests(pub Table<String>);

impl Shorthand for ArchDigests {
    fn text() -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^(sha256:[0-9a-fA-F]{64}|sha384:[0-9a-fA-F]{96}|sha512:[0-9a-fA-F]{128})$",
            "description": "`sha256:` and 64 hexadecimal digits.",
        })
    }
}

/// How to recognise the checksum file.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["matching"]))]
pub struct ChecksumsDocument {
    /// The first file of the release whose name matches this regular expression anywhere.
    pub matching: Field<String>,
}

impl Shorthand for ChecksumsDocument {
    fn text() -> Schema {
        json_schema!({
            "type": "string",
            "description": "`auto`, `none`, or an exact file name with `{version}`, `{tag}`, `{asset}`, \
                            `{arch}`.",
        })
    }
}

/// What is dropped of an archive's leading directories.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StripDocument {
    /// One top directory, when it stands alone.
    Auto,
    /// Nothing.
    None,
}

/// The programs to link, one by one.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("minItems" = 1))]
pub struct BinaryList(pub Vec<Field<Short<BinaryDocument>>>);

impl Shorthand for BinaryList {
    fn text() -> Schema {
        json_schema!({ "enum": ["auto", "any-executable"] })
    }
}

/// One program to link.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["path"]))]
pub struct BinaryDocument {
    /// Path inside the release, or a file name that occurs there once.
    pub path: Field<String>,
    /// Name of the link in `bin`. Default: the last part of the path.
    pub name: Field<String>,
}

impl Shorthand for BinaryDocument {
    fn text() -> Schema {
        json_schema!({
            "type": "string",
            "description": "Path inside the release, or a file name that occurs there once.",
        })
    }
}

/// A program and its arguments.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("minItems" = 1))]
pub struct Argv(pub Vec<Field<String>>);

/// Bounds on downloads and archives. Sizes are bytes, or numbers with a unit such as `4GiB`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsDocument {
    /// Largest download. Default `2GiB`.
    pub download: Field<SizeText>,
    /// Largest sum of all unpacked files. Default `4GiB`.
    pub unpacked: Field<SizeText>,
    /// Largest single unpacked file. Default `2GiB`.
    pub file: Field<SizeText>,
    /// Most files, directories and links of an archive. Default 200000.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub entries: Field<u64>,
    /// Most unpacked bytes for each packed byte, looked at once 64 MiB were unpacked. Default 200.
    #[schemars(range(min = 1, max = 100_000))]
    pub ratio: Field<u64>,
}

/// A number of bytes, with or without a unit.
#[derive(Debug, Deserialize)]
pub struct SizeText(pub String);

impl JsonSchema for SizeText {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            "pattern": "^[0-9]+ ?(B|kB|MB|GB|TB|KiB|MiB|GiB|TiB)?$",
            "description": "A number of bytes: `4GiB`, `500 MB` or `1048576`.",
        })
    }
}

/// Leaves a resource alone for a while.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["reason"]))]
pub struct SuspendDocument {
    /// Why; shown in every plan and status.
    pub reason: Field<String>,
    /// Until when: a time such as `2026-12-24T18:00:00Z`, or a date, which means its first moment in
    /// UTC. Default: until this entry is removed.
    pub until: Field<String>,
}

/// Where a token comes from: exactly one of these.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename = "$choice", rename_all = "kebab-case")]
#[schemars(rename = "CredentialDocument")]
pub enum CredentialDocument {
    /// Name of a systemd credential (`LoadCredential=`).
    Credential(Field<String>),
    /// Absolute path of a file that holds nothing but the token.
    File(Field<String>),
    /// Name of an environment variable.
    Env(Field<String>),
}
