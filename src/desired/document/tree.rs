//! The section `trees` of the file format.

use schemars::{JsonSchema, Schema, json_schema};
use serde::Deserialize;

use crate::desired::document::{
    Argv, HealthDocument, MatchDocument, SizeText, SuspendDocument, VerifyDocument, VersionText,
};
use crate::desired::field::{Field, Short, Shorthand, Table};
use crate::model::window::document::WindowDocument;

/// One directory kept equal to a casync store.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["path", "source"]))]
pub struct TreeDocument {
    /// Which hosts it is for. Default: all. A host that is not meant any more removes it.
    #[serde(rename = "match")]
    pub hosts: Field<MatchDocument>,
    /// The directory, an absolute path. It is replaced as a whole; what else is needed stands beside it, in
    /// `.NAME.reconcile`.
    pub path: Field<String>,
    /// Which version. `latest` (the default) is what the index now says; `sha256:…` pins an index; with `@v`
    /// in the index's name also a version or a constraint such as `>=2, <3`.
    pub version: Field<VersionText>,
    /// Where the tree comes from.
    pub source: Field<TreeSourceDocument>,
    /// Where it comes from while `source` cannot be reached, such as removable media. Never used to go back; what
    /// `verify` demands holds for it, too.
    pub offline: Field<TreeSourceDocument>,
    /// What evidence is demanded of the index, wherever it comes from. Chunks are always verified by their names in it.
    pub verify: Field<VerifyDocument>,
    /// Whose the files are. Default: as the archive says, as far as it says so.
    pub owner: Field<OwnerDocument>,
    /// What an archive may bring only when it is asked for. None by default.
    pub allow: Field<Vec<Field<SpecialDocument>>>,
    /// Paths in the tree that belong to this host and are carried along, as glob patterns: `*.log`,
    /// `conf.d/local-*`, `data/**`. What is below a match belongs to it. None by default.
    pub preserve: Field<Vec<Field<String>>>,
    /// What happens to a directory that is there already and has entries. `refused` (the default) reports it;
    /// `adopted` replaces it and keeps it as the previous generation.
    pub existing: Field<ExistingDocument>,
    /// Most paths that one update may remove, or `unlimited`. Default: half of the tree, but at least 100.
    pub max_delete: Field<VersionText>,
    /// How unchanged files come into a new generation. `copy` (the default) shares their blocks where the file
    /// system can and copies them elsewhere; `hardlink` gives them a second name, for trees that nobody
    /// writes to.
    pub reuse: Field<ReuseDocument>,
    /// Stores on this machine whose chunks need not be fetched, and directories whose large files may have content
    /// of the tree. Everything taken from them is verified. None by default.
    pub seeds: Field<Vec<Field<String>>>,
    /// Programs run when certain paths changed.
    pub triggers: Field<Vec<Field<TriggerDocument>>>,
    /// What the tree must show after an update, else the generation before is used again. Nothing by default.
    pub health: Field<HealthDocument>,
    /// Programs run by the first pass after each start of the host and by the one that installs the tree, after what
    /// triggers run; what a trigger runs in the same pass is not run again.
    #[schemars(with = "Vec<Argv>")]
    pub on_start: Field<Vec<Field<Short<Argv>>>>,
    /// Units that systemd restarts after every update. None by default.
    pub restart: Field<Vec<Field<String>>>,
    /// Programs run after every update, in order, after all restarts and triggers: each a list of program
    /// and arguments, without a shell. They may run more than once and must be idempotent. None by default.
    #[schemars(with = "Vec<Argv>")]
    pub run: Field<Vec<Field<Short<Argv>>>>,
    /// How many generations are kept, the one in use included. Default 2, at least 1, at most 1000.
    #[schemars(range(min = 1, max = 1000))]
    pub retain: Field<u32>,
    /// How the tree in use is replaced. `exchange` (the default): the path is a directory and is exchanged
    /// with the new one in one act. `link`: the path is a symbolic link to the generation in use. `in-place`: the
    /// files of the directory are replaced one by one, for programs that keep it open; readers see a mixture
    /// meanwhile, and an interrupted update is finished by the next pass. Of earlier generations only their indexes are
    /// kept: going back to one fetches what is not here any more.
    pub layout: Field<TreeLayoutDocument>,
    /// Bounds on what an archive may hold.
    pub limits: Field<TreeLimitsDocument>,
    /// How often its source is asked while nothing else calls for it, 1 s to 7 days, such as `1h`. Default: as the agent
    /// asks all sources (`sources` in agent.yaml).
    pub every: Field<String>,
    /// When what is in use may be replaced, by name, for this one alone: instead of the `allow` windows of agent.yaml, and
    /// beside its `deny` windows. Default: as there.
    pub windows: Field<Table<WindowDocument>>,
    /// Leaves the tree alone for a while.
    pub suspend: Field<SuspendDocument>,
}

/// Where trees come from: exactly one of these.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename = "$choice", rename_all = "kebab-case")]
#[schemars(rename = "TreeSourceDocument")]
pub enum TreeSourceDocument {
    /// A casync index and its chunk store: the URL or path of the index, or a map.
    Casync(Field<Short<CasyncDocument>>),
}

/// A casync index and its chunk stores.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["index"]))]
pub struct CasyncDocument {
    /// The `.caidx` file: a URL, or a path on this machine. Its name may hold `@v` for a version:
    /// `site_@v.caidx`.
    pub index: Field<String>,
    /// The chunk store, or several that are asked in this order for each chunk. Default: `default.castr` beside
    /// the index.
    pub store: Field<Short<StoreList>>,
    /// Only below `offline`, where index and store are on this machine: after each update the copy is brought up to
    /// what is installed, while it is there. Default `false`.
    pub refresh: Field<bool>,
}

impl Shorthand for CasyncDocument {
    fn text() -> Schema {
        json_schema!({
            "type": "string",
            "description": "URL or path of the index; the store is `default.castr` beside it.",
        })
    }
}

/// Chunk stores in the order in which they are asked.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("minItems" = 1))]
pub struct StoreList(pub Vec<Field<String>>);

impl Shorthand for StoreList {
    fn text() -> Schema {
        json_schema!({ "type": "string", "description": "URL or path of the store." })
    }
}

/// One user and one group for all files.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["user"]))]
pub struct OwnerDocument {
    /// The user, by name or number.
    pub user: Field<VersionText>,
    /// The group, by name or number. Default: of the same name or number as the user.
    pub group: Field<VersionText>,
}

/// What an archive brings only when it is asked for.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SpecialDocument {
    /// Device nodes.
    Devices,
    /// Set-user-id and set-group-id bits of files.
    Setid,
    /// File capabilities.
    Capabilities,
}

/// What happens to a directory that is there already.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ExistingDocument {
    /// It is reported and left alone.
    Refused,
    /// It is replaced and kept as the previous generation.
    Adopted,
}

/// How unchanged files come into a new generation.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ReuseDocument {
    /// Shared blocks, else a copy.
    Copy,
    /// A second name.
    Hardlink,
}

/// How the tree in use is replaced.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TreeLayoutDocument {
    /// Two directories are exchanged.
    Exchange,
    /// A symbolic link is replaced.
    Link,
    /// Files are replaced one by one.
    InPlace,
}

/// Programs to run when something changed.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["paths", "run"]))]
pub struct TriggerDocument {
    /// Files or directories in the tree; a directory stands for all that is below it, `.` for everything.
    #[schemars(extend("minItems" = 1))]
    pub paths: Field<Vec<Field<String>>>,
    /// Programs run in order, each a list of program and arguments, without a shell.
    #[schemars(with = "Vec<Argv>", extend("minItems" = 1))]
    pub run: Field<Vec<Field<Short<Argv>>>>,
}

/// Bounds on archives of trees.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TreeLimitsDocument {
    /// Largest archive, uncompressed. Default `64GiB`.
    pub unpacked: Field<SizeText>,
    /// Most files, directories and links. Default 1000000.
    #[schemars(range(min = 1, max = 4_000_000))]
    pub entries: Field<u64>,
}
