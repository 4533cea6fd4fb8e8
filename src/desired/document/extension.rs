//! The section `extensions` of the desired state, field by field.

use schemars::{JsonSchema, Schema, json_schema};
use serde::Deserialize;

use crate::desired::document::{
    Argv, HealthDocument, MatchDocument, SizeText, SuspendDocument, VersionText,
};
use crate::desired::field::{Field, Short, Shorthand, Table};
use crate::model::window::document::WindowDocument;

/// One image that systemd merges.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["source"]))]
pub struct ExtensionDocument {
    /// Which hosts it is for. Default: all. A host that is not meant any more removes it.
    #[serde(rename = "match")]
    pub hosts: Field<MatchDocument>,
    /// Which version. `latest` (the default), an exact version, or a constraint such as `>=29, <30`. Versions
    /// that say of themselves that they are prereleases are passed over unless named.
    pub version: Field<VersionText>,
    /// Which of several versions is the newest. `auto` (the default) is SemVer where every version of the
    /// source is one, else systemd's order (UAPI.10).
    pub order: Field<VersionOrderDocument>,
    /// Where images come from.
    pub source: Field<ExtensionSourceDocument>,
    /// What it extends: `sysext` (the default) `/usr` and `/opt`, `confext` `/etc`.
    pub class: Field<ClassDocument>,
    /// What evidence is demanded before an image becomes visible to systemd. Default: a signature of the list
    /// of files by a key of systemd's own keyrings, for what comes over the network.
    pub verify: Field<ImageVerifyDocument>,
    /// How many images are kept, the one in use included. Default 2, at least 1, at most 1000.
    #[schemars(range(min = 1, max = 1000))]
    pub retain: Field<u32>,
    /// Versions that are never removed, whatever `retain` says. None by default.
    pub protect: Field<Vec<Field<VersionText>>>,
    /// Older versions are never chosen. Default: no demand.
    pub min_version: Field<VersionText>,
    /// Features of the host's own sysupdate.d that the extension is there for: one of them must be on, else the
    /// extension is not wished. Default: no demand.
    pub features: Field<Vec<Field<String>>>,
    /// The same, all of which must be on. Default: no demand.
    pub requisite_features: Field<Vec<Field<String>>>,
    /// When a new image is merged: `now` (the default) by the pass that links it, `boot` by the next boot.
    pub activate: Field<ActivateDocument>,
    /// How systemd finds the image. `link` (the default) keeps images outside of its directories and puts one
    /// link there; `versioned` keeps them in a directory `NAME.raw.v` that systemd 256 and later picks the
    /// newest image from, where newer ones than the one to be on get a name that it passes over; `directory`
    /// unpacks archives and links the directory.
    pub layout: Field<ImageLayoutDocument>,
    /// The directory of the images, an absolute path; for `versioned` alone one in which systemd looks for extensions.
    /// Default: `/var/lib/extensions.d/` and the name; for `versioned` `/var/lib/extensions/NAME.raw.v`.
    pub home: Field<String>,
    /// What an image must show after it was merged, else the one before is in use again. Nothing by default.
    pub health: Field<HealthDocument>,
    /// Units that systemd restarts after another image was merged. None by default.
    pub restart: Field<Vec<Field<String>>>,
    /// Programs run after another image was merged, in order, after all restarts: each a list of program and
    /// arguments, without a shell. They may run more than once and must be idempotent. None by default.
    #[schemars(with = "Vec<Argv>")]
    pub run: Field<Vec<Field<Short<Argv>>>>,
    /// Bounds on downloads and images.
    pub limits: Field<ImageLimitsDocument>,
    /// How often its source is asked while nothing else calls for it, 1 s to 7 days, such as `1h`. Default: as the agent
    /// asks all sources (`sources` in agent.yaml).
    pub every: Field<String>,
    /// When what is in use may be replaced, by name, for this one alone: instead of the `allow` windows of agent.yaml, and
    /// beside its `deny` windows. Default: as there.
    pub windows: Field<Table<WindowDocument>>,
    /// Leaves the extension alone for a while.
    pub suspend: Field<SuspendDocument>,
}

/// Which of several versions is the newest.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum VersionOrderDocument {
    /// SemVer where every version of the source is one, else UAPI.10.
    Auto,
    /// SemVer: `1.0.0-rc1` is older than `1.0.0`.
    Semver,
    /// UAPI.10, systemd's order: `1.0.0-rc1` is newer than `1.0.0`.
    Uapi,
}

/// Where images come from: exactly one of these.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename = "$choice", rename_all = "kebab-case")]
#[schemars(rename = "ExtensionSourceDocument")]
pub enum ExtensionSourceDocument {
    /// A directory with a list `SHA256SUMS`, as systemd-sysupdate reads it.
    Sysupdate(Field<SysupdateDocument>),
}

/// A directory of images.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["match"], "oneOf" = [
    { "required": ["url"] },
    { "required": ["path"] },
]))]
pub struct SysupdateDocument {
    /// URL of the directory, `https:` or `http:`.
    pub url: Field<String>,
    /// Path of the directory on this machine; a relative one starts where this file is.
    pub path: Field<String>,
    /// What names of images look like, as in `MatchPattern=` of sysupdate.d(5): `docker_@v.raw.xz`. `@v` is the
    /// version. Specifiers stand for facts of the host, as in systemd: `%a` is its architecture, `%w` the
    /// `VERSION_ID` of os-release, `%A` `%B` `%M` `%o` `%W` more of it, `%m` `%b` `%v` `%H` `%l` `%q` the machine.
    /// Of several patterns the first that matches counts.
    #[serde(rename = "match")]
    pub pattern: Field<Short<MatchList>>,
    /// Name of the list of files. Default `SHA256SUMS`.
    pub manifest: Field<String>,
}

/// Several patterns.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("minItems" = 1))]
pub struct MatchList(pub Vec<Field<String>>);

impl Shorthand for MatchList {
    fn text() -> Schema {
        json_schema!({ "type": "string", "pattern": "@v", "description": "One pattern with `@v`." })
    }
}

/// What an extension extends.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ClassDocument {
    /// `/usr` and `/opt`.
    Sysext,
    /// `/etc`; needs systemd 254.
    Confext,
}

/// What evidence is demanded of images.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ImageVerifyDocument {
    /// The weakest acceptable evidence. Default: `signature` for what comes over the network or where a keyring
    /// is named.
    pub min: Field<ImageMinDocument>,
    /// The digest that the file at the source must have: `sha256:` and 64 hexadecimal digits. Where one is written, no
    /// signature is demanded unless `min` or `gpg` does.
    pub digest: Field<String>,
    /// Whose signatures count. Default: those of systemd's own keyrings.
    pub gpg: Field<GpgDocument>,
}

/// Levels of evidence for images, weakest first.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ImageMinDocument {
    /// The bytes are those seen the first time. Every plan says so.
    Lock,
    /// The list of files states the digest, and nobody signed it. Every plan says so.
    Checksum,
    /// The list of files is signed.
    Signature,
}

/// OpenPGP keys.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["keyring"]))]
pub struct GpgDocument {
    /// Path of a keyring on this machine, binary or armoured, as `gpg --export` writes it; a relative one starts
    /// where this file is.
    pub keyring: Field<String>,
}

/// When a new image is merged.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ActivateDocument {
    /// By the pass that links it.
    Now,
    /// By the next boot.
    Boot,
}

/// How systemd finds an image.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ImageLayoutDocument {
    /// By one link.
    Link,
    /// In a directory that it picks the newest image from.
    Versioned,
    /// By one link to a directory that an archive was unpacked into.
    Directory,
}

/// Bounds on downloads and images. Sizes are bytes, or numbers with a unit such as `4GiB`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ImageLimitsDocument {
    /// Largest download. Default `2GiB`.
    pub download: Field<SizeText>,
    /// Largest image. Default `8GiB`.
    pub image: Field<SizeText>,
}

/// How the host's own definitions are followed.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["as"]))]
pub struct FollowDocument {
    /// As which program would carry them out.
    #[serde(rename = "as")]
    pub as_what: Field<FollowAsDocument>,
    /// When a new image is merged: `now` (the default) by the pass that links it, `boot` by the next boot.
    pub activate: Field<ActivateDocument>,
}

/// As which program.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FollowAsDocument {
    /// As systemd-sysupdate: the transfers of one component are one release, named like the component.
    Sysupdate,
    /// As updex: each transfer on its own, linked into `/var/lib/extensions`.
    Updex,
}
