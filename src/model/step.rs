//! The closed set of acts. Planning writes them, `apply` performs them, nothing else changes a host.

mod kind;

use camino::Utf8PathBuf;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::contents::KeptForeign;
use crate::model::extension::{
    Announcement, ExtensionClass, ImageHead, ImageMove, LinkTo, PlaceRules,
};
use crate::model::manifest::Binary;
use crate::model::{Artifact, Check, Delta, Digest, Effect, Evidence, ResourceId, Version};

pub use kind::StepKind;

/// One atomic act. Steps of one change run in order; the change stops at the first failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "op", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Step {
    /// Bring an artifact into the content-addressed cache, hashing while it streams, and check it
    /// against its evidence. Nothing is transferred when the cache holds the bytes.
    Fetch {
        /// What to get.
        artifact: Artifact,
        /// What the bytes must be.
        evidence: Evidence,
        /// Refuse more bytes than this.
        size_max: u64,
        /// A shorter way, taken first; the artifact is then only what it says to fall back on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        delta: Option<Box<Delta>>,
    },
    /// Unpack the fetched artifact into a staging directory, look whether its programs can run here,
    /// and write the manifest.
    Unpack {
        /// The staging directory; anything left in it from an earlier attempt is removed first.
        #[schemars(with = "String")]
        into: Utf8PathBuf,
        /// How.
        rules: UnpackRules,
        /// What the manifest says about the release.
        release: ReleaseHead,
    },
    /// Turn the fetched artifact into an image, look whether systemd will merge it, and write its manifest.
    Place {
        /// The staged image; its manifest is staged beside it.
        #[schemars(with = "String")]
        into: Utf8PathBuf,
        /// How.
        rules: PlaceRules,
        /// What the manifest says about the image.
        image: ImageHead,
    },
    /// Make the fetched index a generation of a tree: its nodes are written to a staging directory, with bytes
    /// from what is there and from the stores.
    Assemble {
        /// The staging directory; anything left in it from an earlier attempt is removed first.
        #[schemars(with = "String")]
        into: Utf8PathBuf,
        /// How, and where bytes come from.
        rules: Box<AssembleRules>,
        /// What the generation's head says.
        release: ReleaseHead,
    },
    /// Move a complete staging directory to its place. The commit point of a release's *presence*.
    Promote {
        /// The staging directory.
        #[schemars(with = "String")]
        from: Utf8PathBuf,
        /// The release directory.
        #[schemars(with = "String")]
        to: Utf8PathBuf,
        /// A damaged directory of ours stands there and is exchanged; otherwise nothing may be there.
        replaces: bool,
    },
    /// Make a directory immutable, where the file system can.
    Seal {
        /// The directory, in its place.
        #[schemars(with = "String")]
        path: Utf8PathBuf,
    },
    /// Note in systemd-sysupdate's list what is installed where, so that its cleanup knows it.
    Enlist {
        /// The directory of the list.
        #[schemars(with = "String")]
        list: Utf8PathBuf,
        /// Texts of the entries.
        entries: Vec<String>,
    },
    /// Tell whoever listens for updates of systemd-sysupdate what was installed. Who does not listen is not waited
    /// for, and nothing depends on the answers.
    Announce {
        /// What is told.
        announcement: Announcement,
    },
    /// Journal an effect if anything at or below certain paths is another in the assembled generation.
    OweIfChanged {
        /// Paths in the tree; `.` is all of it.
        paths: Vec<String>,
        /// The effect.
        effect: Effect,
    },
    /// Exchange a whole tree with the one in use. The commit point of a generation's *use*.
    Exchange {
        /// The new tree; the path itself may be a symbolic link that is made anew to point to it.
        #[schemars(with = "String")]
        tree: Utf8PathBuf,
        /// The path in use.
        #[schemars(with = "String")]
        path: Utf8PathBuf,
        /// Where the tree that was in use goes; where files are replaced in place, the generation in use.
        #[schemars(with = "Option<String>")]
        old: Option<Utf8PathBuf>,
        /// What is in use now; the step refuses to run when the host has moved on since.
        expects: Expected,
        /// Glob patterns of paths that are carried along.
        preserve: Vec<String>,
        /// Whether directories are exchanged or a link is.
        by: ExchangeBy,
        /// Where what somebody else has in the tree in use is kept for good.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        keeps: Option<Box<KeptForeign>>,
    },
    /// Journal an effect that could not be observed as missing later. Always before the switch.
    Owe {
        /// The effect.
        effect: Effect,
    },
    /// Make every link of `bin` at once. The commit point of a release's *use*.
    Switch {
        /// The directory of links.
        #[schemars(with = "String")]
        bin: Utf8PathBuf,
        /// Where the new one is made before the two are exchanged.
        #[schemars(with = "String")]
        beside: Utf8PathBuf,
        /// The release directory whose programs are linked.
        #[schemars(with = "String")]
        release: Utf8PathBuf,
        /// The links, when the release is there already; otherwise those of its manifest.
        links: Option<Vec<Binary>>,
        /// The links there now; the step refuses to run when the host has moved on since. Absent: every
        /// link into `releases`, as when a switch is undone.
        expects: Option<Vec<(String, String)>>,
    },
    /// Replace one file by the program of a release: written beside, then renamed over it, so that there is
    /// always one. The commit point of a release's *use* where an app is one file in place.
    Install {
        /// The file; where the wish names a link, what it leads to.
        #[schemars(with = "String")]
        file: Utf8PathBuf,
        /// Where the new one is written before it is renamed.
        #[schemars(with = "String")]
        beside: Utf8PathBuf,
        /// The release directory.
        #[schemars(with = "String")]
        release: Utf8PathBuf,
        /// The program inside it. Absent before the release is unpacked: then its only one, or the one that is
        /// named as the file of the wish.
        program: Option<String>,
        /// The file that the wish names.
        #[schemars(with = "String")]
        wished: Utf8PathBuf,
        /// What is there now; the step refuses to run when somebody has been faster.
        expects: Expected,
        /// Where what is there now is kept as a release, when it was there before us.
        keeps: Option<Box<Kept>>,
        /// Where what is there is kept; nowhere when there is nothing, or when the step undoes another.
        backup: Option<KeptAs>,
    },
    /// Run the program of a release before it takes the place of the running agent: it must end well with each list
    /// of arguments.
    Try {
        /// The release directory, in its place or still staged.
        #[schemars(with = "String")]
        release: Utf8PathBuf,
        /// The file that the wish names.
        #[schemars(with = "String")]
        wished: Utf8PathBuf,
        /// Lists of arguments.
        trials: Vec<Vec<String>>,
    },
    /// Make links lead to images, each by one rename. The commit point of an image's *use*.
    Point {
        /// The release that is in use from then on.
        slot: String,
        /// The links, in order.
        links: Vec<LinkTo>,
    },
    /// Show images to systemd, then hide others from it, each by one rename, where it picks the newest by itself. The
    /// commit point of such an image's *use*.
    Pick {
        /// The release that is in use from then on.
        slot: String,
        /// Images that come into its sight.
        shows: Vec<ImageMove>,
        /// Images that go out of it.
        hides: Vec<ImageMove>,
    },
    /// Look whether systemd merged what it should. When it did not, the change's `undo` is performed.
    Merged {
        /// What the extension extends.
        class: ExtensionClass,
        /// Its names as systemd may write them: one of each group must be merged.
        names: Vec<Vec<String>>,
        /// The journaled effect that this strikes out.
        effect: Effect,
    },
    /// Perform an owed effect and strike it out.
    Settle {
        /// The effect.
        effect: Effect,
    },
    /// Strike an effect out without performing it.
    Forgive {
        /// The effect.
        effect: Effect,
        /// Why it is not needed any more.
        why: String,
    },
    /// Wait until the release has shown that it works. When it does not, the change's `undo` is performed.
    Confirm {
        /// What is looked at.
        check: Check,
        /// The journaled effect that this confirmation strikes out.
        effect: Effect,
    },
    /// Bring another copy of the source up to the generation in use: verified chunks first, the index last.
    Refresh {
        /// The generation in use.
        #[schemars(with = "String")]
        generation: Utf8PathBuf,
        /// Its tree.
        #[schemars(with = "String")]
        tree: Utf8PathBuf,
        /// The copy, on this machine and not below `--root`.
        copy: OfflineCopy,
        /// The signature of the index, where one is demanded.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signature: Option<IndexSignature>,
        /// Stores for chunks that the tree does not have any more.
        stores: Vec<String>,
        /// When the index was published, as far as its source says.
        published: Option<Timestamp>,
    },
    /// Remove something of ours: renamed away first, so that it is there whole or not at all.
    Remove {
        /// What.
        #[schemars(with = "String")]
        path: Utf8PathBuf,
        /// Where it is renamed to first; absent for what nothing uses.
        #[schemars(with = "Option<String>")]
        aside: Option<Utf8PathBuf>,
        /// The text of the link that it is; absent for everything else. A link that leads elsewhere by then is somebody
        /// else's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expects: Option<String>,
        /// The slot that it belongs to, which stays as long as that may be gone back to; absent for what is of none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        slot: Option<String>,
    },
    /// Remove a directory if nobody keeps anything in it.
    RemoveEmpty {
        /// The directory.
        #[schemars(with = "String")]
        path: Utf8PathBuf,
    },
}

impl Step {
    /// Removes something of ours that nothing uses.
    pub fn remove(path: Utf8PathBuf) -> Self {
        Self::Remove { path, aside: None, expects: None, slot: None }
    }

    /// Removes a link of ours.
    pub fn remove_link(link: Utf8PathBuf, text: &str) -> Self {
        Self::Remove { path: link, aside: None, expects: Some(text.to_owned()), slot: None }
    }
}

/// Where a program is kept that was there before us, so that there is something to go back to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Kept {
    /// Where the release is made.
    #[schemars(with = "String")]
    pub staged: Utf8PathBuf,
    /// Its place.
    #[schemars(with = "String")]
    pub release: Utf8PathBuf,
    /// Whether that of an earlier program of somebody else is there already.
    pub replaces: bool,
    /// What its manifest says.
    pub head: ReleaseHead,
}

/// Where a file is kept that another takes the place of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeptAs {
    /// Where.
    #[schemars(with = "String")]
    pub path: Utf8PathBuf,
    /// An earlier backup of ours is there and gives way.
    pub replaces: bool,
}

/// What a step expects where it puts something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Expected {
    /// Whatever is there is replaced, as when a switch is undone.
    Anything,
    /// Nothing.
    Nothing,
    /// A regular file of this size and modification time.
    File {
        /// Bytes.
        size: u64,
        /// Seconds since 1970.
        mtime: i64,
    },
    /// This directory.
    Directory {
        /// Its inode.
        inode: u64,
    },
}

impl Step {
    /// Staging steps touch nothing that is in use and may run for several resources at once.
    pub fn is_staging(&self) -> bool {
        matches!(
            self,
            Self::Fetch { .. }
                | Self::Unpack { .. }
                | Self::Place { .. }
                | Self::Assemble { .. }
                | Self::Try { .. }
        )
    }
}

/// What a manifest says about its release before anything is unpacked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseHead {
    /// The resource.
    pub resource: ResourceId,
    /// The version.
    pub version: Version,
    /// The tag as published.
    pub tag: String,
    /// Digest of everything in the desired state that decides what the directory holds.
    pub recipe: Digest,
}

/// How an artifact becomes a release directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnpackRules {
    /// Leading directories to drop.
    pub strip: Strip,
    /// Which programs are linked.
    pub binaries: Binaries,
    /// The name a bare or single compressed program gets: the resource's name.
    pub bare_name: String,
    /// Bounds on what an archive may hold.
    pub limits: UnpackLimits,
}

/// Leading directories of an archive to drop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Strip {
    /// One top directory, when the archive has exactly one and no file beside it (`bin` is kept).
    Auto,
    /// Nothing.
    None,
}

/// Which programs of a release are linked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Binaries {
    /// Every executable regular file that is ELF or starts with `#!`, no shared library, no dot file,
    /// at most three directories deep.
    Auto,
    /// Every file with an execute bit, as distronomicon links them.
    AnyExecutable,
    /// These: a path inside the release, or a base name that is found there once.
    Listed(Vec<Binary>),
}

/// Bounds on what an archive may hold. All inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnpackLimits {
    /// Entries of any type.
    pub entries: u64,
    /// Bytes of all files together.
    pub bytes: u64,
    /// Bytes of one file.
    pub file_bytes: u64,
    /// Unpacked bytes per packed byte, looked at once 64 MiB were unpacked.
    pub ratio: u64,
}

impl Default for UnpackLimits {
    /// Larger than any of 5,384 recorded release assets needs; see `unpack::limits`.
    fn default() -> Self {
        Self { entries: 200_000, bytes: 4 << 30, file_bytes: 2 << 30, ratio: 200 }
    }
}

/// How an index becomes a generation of a tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AssembleRules {
    /// Stores with the chunks, `https:`, `http:` or `file:` URLs, asked in this order for each chunk.
    pub stores: Vec<String>,
    /// Packs that stores on the web have: many chunks come by one request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packs: Option<PackSource>,
    /// URL of a delta from the generation in use: what it makes need not be fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delta: Option<String>,
    /// Generations whose bytes are used first; the first is the one in use.
    pub seeds: Vec<Seed>,
    /// The path in use: modes and owners that an archive says nothing about stay as they are there.
    #[schemars(with = "String")]
    pub path: Utf8PathBuf,
    /// Stores and other directories on this machine with bytes that may be of use.
    #[schemars(with = "Vec<String>")]
    pub seed_dirs: Vec<Utf8PathBuf>,
    /// Whose the files are.
    pub owner: Ownership,
    /// Special files and bits that the archive may bring.
    pub allow: Vec<Special>,
    /// How unchanged files come into the new generation.
    pub reuse: Reuse,
    /// Most paths of the one in use that may be missing in the new one.
    pub delete_max: DeleteMax,
    /// Glob patterns of paths that do not count as removed.
    pub preserve: Vec<String>,
    /// Bounds on what the archive may hold.
    pub limits: AssembleLimits,
    /// When the index was published, as far as its source says.
    pub published: Option<Timestamp>,
}

/// A list of packs as it was when the plan was made. When it is another by then, chunks come one by one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PackSource {
    /// URL of the list.
    pub list: String,
    /// SHA-256 of its bytes.
    pub digest: Digest,
}

/// An index and a store on this machine that are kept up to what is installed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OfflineCopy {
    /// The index.
    #[schemars(with = "String")]
    pub index: Utf8PathBuf,
    /// The store.
    #[schemars(with = "String")]
    pub store: Utf8PathBuf,
}

/// The file with the detached signature of an index, to be written beside a copy of that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IndexSignature {
    /// Its place.
    #[schemars(with = "String")]
    pub path: Utf8PathBuf,
    /// Its bytes in base64.
    pub content: String,
}

/// An installed generation as a place to take bytes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Seed {
    /// The directory with its list of nodes.
    #[schemars(with = "String")]
    pub generation: Utf8PathBuf,
    /// Its tree.
    #[schemars(with = "String")]
    pub tree: Utf8PathBuf,
    /// Whether it is the one in use.
    pub in_use: bool,
    /// Whether content was found to be damaged, so that all of it is verified.
    pub verify: bool,
}

/// Whose the files of a tree are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase", rename_all_fields = "camelCase")]
pub enum Ownership {
    /// As the archive says, as far as it says so.
    #[default]
    Archive,
    /// One user and one group, by name or number, for all of them.
    Fixed {
        /// The user.
        user: String,
        /// The group.
        group: String,
    },
}

/// What an archive brings only where it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Special {
    /// Device nodes.
    Devices,
    /// Set-user-id and set-group-id bits of files.
    Setid,
    /// File capabilities.
    Capabilities,
}

/// How unchanged files come into a new generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Reuse {
    /// Shared blocks where the file system can, else a copy inside the kernel.
    #[default]
    Copy,
    /// A second name for the same file where nothing about it changed: whoever writes to one generation writes
    /// to all.
    Hardlink,
    /// They are not in it: it has only what is another in the tree in use, into which it is moved.
    Stays,
}

/// Removed paths below which nobody needs to be asked.
const REMOVED_FREE: u64 = 100;

/// Most paths of the tree in use that may be missing in the new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DeleteMax {
    /// Half of all, but at least 100, and never all: an archive made of the wrong directory is noticed.
    #[default]
    Half,
    /// So many.
    Paths(u64),
    /// Any number.
    Unlimited,
}

impl DeleteMax {
    /// The most paths that may go, where `removed` of the `of` nodes in use are more than that and `added` come.
    pub fn exceeded(self, removed: u64, of: u64, added: u64) -> Option<u64> {
        let limit = match self {
            // What has nothing but its root was made of an empty directory.
            Self::Half if added == 0 && removed > 0 && removed.saturating_add(1) >= of => 0,
            Self::Half => (of / 2).max(REMOVED_FREE),
            Self::Paths(most) => most,
            Self::Unlimited => u64::MAX,
        };
        (removed > limit).then_some(limit)
    }
}

/// What happens to a directory that is there and was not made by us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Existing {
    /// It stands in the way, unless it is empty.
    #[default]
    Refused,
    /// It is replaced, and kept as long as retention keeps generations.
    Adopted,
}

/// How a tree comes into use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ExchangeBy {
    /// Two directories are exchanged.
    Directory,
    /// A symbolic link is replaced.
    Link,
    /// Files are replaced one by one: the tree is a mixture meanwhile.
    #[serde(rename = "in-place")]
    InPlace,
}

/// Bounds on what an archive may hold. All inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AssembleLimits {
    /// Nodes of any type.
    pub nodes: u64,
    /// Bytes of the archive.
    pub bytes: u64,
}

impl Default for AssembleLimits {
    /// A million files and 64 GiB: far above what signage, kiosks and edge software need.
    fn default() -> Self {
        Self { nodes: 1_000_000, bytes: 64 << 30 }
    }
}

/// The bytes of an artifact in the cache, hashed while they were written or read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Where they are on this machine (not below `--root`).
    pub path: std::path::PathBuf,
    /// How many.
    pub size: u64,
    /// SHA-256 and every other digest that was asked for.
    pub digests: Vec<Digest>,
}
