//! Images of systemd extensions: what steps and manifests say about them.

use camino::Utf8PathBuf;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::manifest::Entry;
use crate::model::{Digest, Evidence, ResourceId, Version};

/// Version of the format of an image's manifest.
pub const IMAGE_MANIFEST_FORMAT: u32 = 1;

/// What an extension extends.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum ExtensionClass {
    /// `/usr` and `/opt`.
    #[default]
    Sysext,
    /// `/etc`.
    Confext,
}

/// All of them, in the order in which they are merged.
pub const CLASSES: [ExtensionClass; 2] = [ExtensionClass::Sysext, ExtensionClass::Confext];

impl ExtensionClass {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sysext => "sysext",
            Self::Confext => "confext",
        }
    }

    /// The program of systemd that merges extensions of this class.
    pub fn program(self) -> &'static str {
        match self {
            Self::Sysext => "systemd-sysext",
            Self::Confext => "systemd-confext",
        }
    }

    /// Where a link to an image is put so that systemd finds it: not below `/etc`, where systemd does not look for
    /// confexts, and where nothing can be changed once one is merged, since systemd mounts it read-only.
    pub fn search_directory(self) -> &'static str {
        match self {
            Self::Sysext => "/var/lib/extensions",
            Self::Confext => "/var/lib/confexts",
        }
    }

    /// What systemd mounts read-only where anything of this class is merged.
    pub fn hierarchy(self) -> &'static str {
        match self {
            Self::Sysext => "/usr",
            Self::Confext => "/etc",
        }
    }

    /// The files in which systemd says what is merged, one for each hierarchy.
    pub fn markers(self) -> &'static [&'static str] {
        match self {
            Self::Sysext => &["/usr/.systemd-sysext/extensions", "/opt/.systemd-sysext/extensions"],
            Self::Confext => &["/etc/.systemd-confext/confexts"],
        }
    }
}

/// What stands at the place of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// A file.
    #[default]
    Image,
    /// A directory with what an archive holds.
    Directory,
}

/// How an artifact becomes an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlaceRules {
    /// What it extends.
    pub class: ExtensionClass,
    /// The name by which systemd will find it: that of the link or file, without `.raw`.
    pub name: String,
    /// Whether it is written as a file or unpacked.
    #[serde(default)]
    pub shape: Shape,
    /// Permission bits.
    pub mode: u32,
    /// Modification time in microseconds since 1970, where the source states one.
    pub modified_us: Option<u64>,
    /// Refuse an image of more bytes than this.
    pub bytes_max: u64,
    /// Whether systemd will look at it: what is not in a search directory is not judged.
    pub judged: bool,
}

/// What stands for an image that systemd will not merge: its bytes, what it is to be, and the host decide.
pub fn unsuitable_name(
    (artifact, digest): (&str, Option<&Digest>),
    (class, name): (ExtensionClass, &str),
    host: &str,
) -> String {
    let (digest, program) = (digest.map(Digest::short).unwrap_or_default(), class.program());
    format!("{artifact} {digest} as {name} for {program} on {host}")
}

/// What the manifest says about an image before it is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageHead {
    /// The resource.
    pub resource: ResourceId,
    /// The version.
    pub version: Version,
    /// Where it will be.
    #[schemars(with = "String")]
    pub path: Utf8PathBuf,
    /// The link that makes it the one in use, if there is one.
    #[schemars(with = "Option<String>")]
    pub link: Option<Utf8PathBuf>,
    /// Digest of everything in the wish that decides what the image holds.
    pub recipe: Digest,
}

/// One image as it was placed: a file beside it, and what marks it as ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageManifest {
    /// [`IMAGE_MANIFEST_FORMAT`].
    pub format: u32,
    /// What was known before it was made.
    #[serde(flatten)]
    pub head: ImageHead,
    /// What it extends.
    pub class: ExtensionClass,
    /// The artifact's file name.
    pub artifact: String,
    /// SHA-256 of the artifact as it was served.
    pub digest: Digest,
    /// Bytes of the artifact.
    pub artifact_size: u64,
    /// Why it was accepted.
    pub evidence: Evidence,
    /// SHA-256 of the image; of a directory that of its entries.
    pub image: Digest,
    /// Everything in a directory; empty for an image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entries: Vec<Entry>,
    /// Bytes of the image, of all files of a directory.
    pub size: u64,
    /// Permission bits of the image.
    pub mode: u32,
    /// Modification time of the image in seconds since 1970.
    pub mtime: i64,
    /// When it was staged.
    pub staged_at: Timestamp,
}

impl AsRef<Digest> for ImageManifest {
    fn as_ref(&self) -> &Digest {
        &self.image
    }
}

/// What systemd-sysupdate tells everybody who wants to know of an update, as the parameters of its method
/// `io.systemd.SysUpdate.Notify.OnCompletedUpdate`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Announcement {
    /// The component; absent for definitions that belong to none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    /// The version that is there now.
    pub version: String,
    /// What was installed of it.
    pub resources: Vec<Installed>,
}

/// One thing that was installed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Installed {
    /// The name of its definition.
    pub transfer: String,
    /// Where it is.
    pub path: String,
}

/// One link that leads to a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LinkTo {
    /// The link.
    #[schemars(with = "String")]
    pub link: Utf8PathBuf,
    /// Its text; absent when there is to be no link.
    pub text: Option<String>,
    /// Its text now; the step refuses to run when the host has moved on since. Absent: whatever link or
    /// nothing, as when a switch is undone.
    pub expects: Option<Option<String>>,
}

/// One image that comes into systemd's sight or goes out of it, by one rename.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageMove {
    /// Where it is.
    #[schemars(with = "String")]
    pub from: Utf8PathBuf,
    /// Where it will be.
    #[schemars(with = "String")]
    pub to: Utf8PathBuf,
}
