//! Documents that systemd-sysupdate prints and writes.
//!
//! Source: measured with systemd 262.1. Every document is one JSON object; keys are in the order in
//! which systemd writes them. `null` appears where systemd prints it, other keys without a value
//! are left out.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::sets::{Flag, UpdateSet, UpdateSets};

/// The file that `enable-feature` and `enable-component` write below `/etc`.
pub const ENABLING_FILE: &str = "50-systemd-sysupdate-enabled.conf";

/// `list`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    /// The newest installed version.
    pub current: Option<String>,
    /// Whether that is pending, which the key says.
    pub is_pending: bool,
    /// Every version, newest first.
    pub all: Vec<String>,
    /// `AppStream=` of transfers and features.
    pub app_stream_urls: Vec<String>,
}

impl List {
    /// The document of update sets.
    pub fn of(sets: &UpdateSets, app_stream_urls: Vec<String>) -> Self {
        let current = sets.current();
        Self {
            current: current.map(|set| set.version.clone()),
            is_pending: current.is_some_and(|set| set.flags.has(Flag::Pending)),
            all: sets.all().iter().map(|set| set.version.clone()).collect(),
            app_stream_urls,
        }
    }
}

impl Serialize for List {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        let key = if self.is_pending { "current+pending" } else { "current" };
        map.serialize_entry(key, &self.current)?;
        map.serialize_entry("all", &self.all)?;
        map.serialize_entry("appstreamUrls", &self.app_stream_urls)?;
        map.end()
    }
}

/// One instance of a version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// `Type=` of the resource that it is in.
    pub kind: String,
    /// URL or absolute path.
    pub path: String,
    /// UUID of the partition.
    pub ptuuid: Option<String>,
    /// Flags of the partition.
    pub ptflags: Option<u64>,
    /// Microseconds since 1970.
    pub mtime: Option<u64>,
    /// Access mode, as a number.
    pub mode: Option<u32>,
    /// Bytes.
    pub size: Option<u64>,
    /// Boot attempts done.
    pub tries_done: Option<u64>,
    /// Boot attempts left.
    pub tries_left: Option<u64>,
    /// No-auto flag of the partition.
    pub noauto: Option<bool>,
    /// Read-only flag.
    pub ro: Option<bool>,
    /// Grow-file-system flag of the partition.
    pub growfs: Option<bool>,
    /// SHA-256 in hexadecimal.
    pub sha256: Option<String>,
}

impl Content {
    /// What is known of it besides its type and path, in systemd's order.
    fn values(&self) -> [(&'static str, Option<Value>); 11] {
        [
            ("ptuuid", self.ptuuid.clone().map(Value::from)),
            ("ptflags", self.ptflags.map(Value::from)),
            ("mtime", self.mtime.map(Value::from)),
            ("mode", self.mode.map(Value::from)),
            ("size", self.size.map(Value::from)),
            ("tries-done", self.tries_done.map(Value::from)),
            ("tries-left", self.tries_left.map(Value::from)),
            ("noauto", self.noauto.map(Value::from)),
            ("ro", self.ro.map(Value::from)),
            ("growfs", self.growfs.map(Value::from)),
            ("sha256", self.sha256.clone().map(Value::from)),
        ]
    }

    /// What is known of it under a key.
    pub fn value(&self, key: &str) -> Option<Value> {
        self.values().into_iter().find(|(known, _)| *known == key)?.1
    }

    /// The keys that at least one of several has: the others say `null` there.
    pub fn keys(contents: &[Self]) -> Vec<&'static str> {
        let mut keys: Vec<&'static str> =
            Self::default().values().into_iter().map(|(key, _)| key).collect();
        keys.retain(|key| contents.iter().any(|content| content.value(key).is_some()));
        keys
    }
}

/// One of several contents, with the keys that these have.
struct Row<'a>(&'a Content, &'a [&'static str]);

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(content, keys) = self;
        let mut map = serializer.serialize_map(Some(keys.len() + 2))?;
        map.serialize_entry("type", &content.kind)?;
        map.serialize_entry("path", &content.path)?;
        for key in *keys {
            map.serialize_entry(key, &content.value(key))?;
        }
        map.end()
    }
}

fn rows<S: Serializer>(contents: &[Content], serializer: S) -> Result<S::Ok, S::Error> {
    let keys = Content::keys(contents);
    serializer.collect_seq(contents.iter().map(|content| Row(content, &keys)))
}

/// `list VERSION`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "the document has them")]
pub struct VersionDetail {
    /// The version.
    pub version: String,
    /// [`Flag::Newest`].
    pub newest: bool,
    /// [`Flag::Available`].
    pub available: bool,
    /// [`Flag::Installed`].
    pub installed: bool,
    /// [`Flag::Partial`].
    pub partial: bool,
    /// [`Flag::Pending`].
    pub pending: bool,
    /// [`Flag::Obsolete`].
    pub obsolete: bool,
    /// [`Flag::Protected`].
    pub protected: bool,
    /// [`Flag::Incomplete`].
    pub incomplete: bool,
    /// `ChangeLog=` of all transfers, with the version in place of `@v`.
    pub changelog_urls: Vec<String>,
    /// One instance for each transfer that has one.
    #[serde(serialize_with = "rows")]
    pub contents: Vec<Content>,
}

impl VersionDetail {
    /// The document of one update set; `change_logs` are the `ChangeLog=` values of all transfers.
    pub fn of(set: &UpdateSet, change_logs: &[String], contents: Vec<Content>) -> Self {
        let has = |flag| set.flags.has(flag);
        Self {
            version: set.version.clone(),
            newest: has(Flag::Newest),
            available: has(Flag::Available),
            installed: has(Flag::Installed),
            partial: has(Flag::Partial),
            pending: has(Flag::Pending),
            obsolete: has(Flag::Obsolete),
            protected: has(Flag::Protected),
            incomplete: has(Flag::Incomplete),
            changelog_urls: change_logs.iter().map(|url| url.replace("@v", &set.version)).collect(),
            contents,
        }
    }
}

/// `check-new`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CheckNew {
    /// The candidate.
    pub available: Option<String>,
}

/// `vacuum`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Vacuum {
    /// Instances that were removed.
    pub removed: u64,
    /// Disabled transfers that were emptied.
    pub disabled_transfers: u64,
}

/// `features`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Features {
    /// Their ids.
    pub features: Vec<String>,
}

/// `features FEATURE`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FeatureDetail {
    /// The file's name without `.feature`.
    pub id: String,
    /// `Description=`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// `Documentation=`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub documentation: Vec<String>,
    /// `AppStream=`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_stream: Option<String>,
    /// `Enabled=`.
    pub enabled: bool,
    /// Whether it is suggested; `None` when a condition is malformed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggested: Option<bool>,
    /// The ids of the transfers that name it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub transfers: Vec<String>,
}

/// `components`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ComponentNames {
    /// Whether the host has definitions of its own.
    pub default: bool,
    /// The components' names.
    pub components: Vec<String>,
}

/// Whether something is being switched on or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// `enable-…`.
    On,
    /// `disable-…`.
    Off,
}

/// What is being switched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switched {
    /// A feature.
    Feature,
    /// A component.
    Component,
}

/// The text of [`ENABLING_FILE`].
pub fn enabling_text(what: Switched, to: Switch) -> String {
    let (verb, value) = match to {
        Switch::On => ("enable", "yes"),
        Switch::Off => ("disable", "no"),
    };
    let (noun, section) = match what {
        Switched::Feature => ("feature", "Feature"),
        Switched::Component => ("component", "Component"),
    };
    format!("# Generated via 'systemd-sysupdate {verb}-{noun}'\n\n[{section}]\nEnabled={value}\n")
}

#[cfg(test)]
mod tests;
