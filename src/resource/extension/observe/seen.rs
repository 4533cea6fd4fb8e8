//! What was seen of an extension: its images by transfer and version, its links, what is merged.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use crate::model::extension::ImageManifest;
use crate::model::ledger::Owned;
use crate::model::{Digest, Drift, ExtensionClass, ResourceId, Version};
use crate::resource::extension::layout::hidden;
use crate::resource::extension::observe::{Former, Namesake, Sealed};
use crate::resource::extension::spec::join;
use crate::resource::extension::wanted::digests_of;
use crate::resource::observe::by_digest;

/// What the host has of an extension.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtensionObserved {
    /// For each transfer of the wish, in its order.
    pub transfers: Vec<TransferObserved>,
    /// The same for each transfer that is switched off.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retired: Vec<TransferObserved>,
    /// Names of everything that systemd has merged of each class that the wish has images of.
    pub merged: BTreeMap<ExtensionClass, Vec<String>>,
    /// Ends of the paths of images that the kernel has open as block devices: what is merged, whatever links say by now.
    #[serde(skip)]
    pub mounted: Vec<Utf8PathBuf>,
    /// Directories of it that nobody can write to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sealed: Vec<Sealed>,
    /// What an earlier pass left.
    pub leftovers: Vec<Utf8PathBuf>,
    /// The version in use: the one that links lead to; without links the newest.
    pub current: Option<String>,
    /// Whether what is linked was not merged yet, as far as names and times tell.
    #[serde(skip)]
    pub pending: Pending,
    /// The operating system and systemd: an image that does not fit them may fit the next ones.
    pub os: String,
    /// The version of systemd, where one is found.
    #[serde(skip)]
    pub systemd: Option<u32>,
    /// systemd's keyrings, for wishes that rely on them.
    #[serde(skip)]
    pub keyrings: Keyrings,
}

/// Whether what is linked is merged, as far as names and times tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pending {
    /// It is.
    #[default]
    Nothing,
    /// Nothing of its name is merged.
    NotMerged,
    /// It was linked after the last merge.
    Relinked,
}

/// systemd's keyrings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keyrings {
    /// What is in them.
    pub contents: Vec<Vec<u8>>,
    /// The one that is an operator's to fill, which need not be there.
    pub own: Utf8PathBuf,
}

/// What the host has of one transfer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferObserved {
    /// Where its images are.
    pub directory: Utf8PathBuf,
    /// Where its link is.
    pub link: Option<Utf8PathBuf>,
    /// What is at the link's place.
    pub there: LinkSeen,
    /// Images by version.
    pub images: BTreeMap<String, ImageSeen>,
    /// Whether systemd-sysupdate says that what its patterns fit was installed by it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub enlisted: bool,
    /// What has the name of an image and is of another type.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub in_the_way: BTreeMap<String, Cow<'static, str>>,
    /// Extensions of somebody else that have its name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namesakes: Vec<Namesake>,
    /// What another layout left by its name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former: Vec<Former>,
}

/// What is at the place of a link.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LinkSeen {
    /// Nothing.
    #[default]
    Nothing,
    /// A link with this text.
    Text(String),
    /// Something else.
    Other(Cow<'static, str>),
}

impl LinkSeen {
    /// The text of a link.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Nothing | Self::Other(_) => None,
        }
    }
}

/// One image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageSeen {
    /// Its file's name.
    pub file: String,
    /// Whether it is kept under a name that systemd passes over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hidden: bool,
    /// Its manifest; `None` for an image that we did not make.
    #[serde(serialize_with = "by_digest", skip_deserializing)]
    pub manifest: Option<Box<ImageManifest>>,
    /// Where it differs from its manifest.
    pub drift: Vec<Drift>,
}

impl ImageSeen {
    /// The last part of its name.
    pub fn base(&self) -> &str {
        self.file.rsplit('/').next().unwrap_or(&self.file)
    }

    /// Whether it is of the version that a pattern finds in its name. Another pattern may find another one there, and
    /// what made the image knows which of them is right.
    pub(super) fn is_of_version(&self, version: &str) -> bool {
        self.manifest.as_ref().is_none_or(|manifest| manifest.head.version.as_str() == version)
    }

    /// Whether a link with this text may lead to it.
    pub fn is_named_by(&self, text: &str) -> bool {
        Utf8Path::new(text).ends_with(&self.file)
    }
}

impl TransferObserved {
    /// What another layout of an extension left by its name.
    pub(in crate::resource::extension) fn former_of(
        &self,
        id: &ResourceId,
    ) -> impl Iterator<Item = &Former> {
        self.former.iter().filter(move |former| former.resource == *id)
    }

    /// The image that the link leads to, and its version. One of the same name elsewhere is somebody else's.
    pub fn linked_image(&self) -> Option<(&str, &ImageSeen)> {
        let leads_to = join(self.link.as_ref()?.parent()?, self.there.text()?);
        let mut images = self.images.iter();
        let linked = images.find(|(_, image)| self.path_of(image) == leads_to);
        linked.map(|(version, image)| (version.as_str(), image))
    }

    /// Where one of its images is.
    pub fn path_of(&self, image: &ImageSeen) -> Utf8PathBuf {
        if image.hidden {
            hidden(&self.directory, &image.file)
        } else {
            self.directory.join(&image.file)
        }
    }

    /// Enters an image. One in its place goes before a hidden one of its version, and else the first by name: two files of
    /// one version differ in counters only. The path of a hidden one that is not entered.
    pub(super) fn enter(&mut self, version: String, image: ImageSeen) -> Option<Utf8PathBuf> {
        let other = match self.images.entry(version) {
            Entry::Vacant(vacant) => {
                vacant.insert(image);
                return None;
            }
            Entry::Occupied(mut there) if there.get().hidden && !image.hidden => {
                there.insert(image)
            }
            Entry::Occupied(_) => image,
        };
        other.hidden.then(|| self.path_of(&other))
    }
}

impl ExtensionObserved {
    /// The images of a version, one for each transfer.
    pub fn images<'a>(&'a self, version: &str) -> impl Iterator<Item = Option<&'a ImageSeen>> {
        self.transfers.iter().map(move |transfer| transfer.images.get(version))
    }

    /// The manifest of the first image of a version.
    pub fn manifest(&self, version: &str) -> Option<&ImageManifest> {
        self.images(version).flatten().find_map(|image| image.manifest.as_deref())
    }

    /// What names the bytes of a version, as [`digests_of`] says.
    pub fn digests(&self, version: &str) -> Vec<Digest> {
        let manifests = self.images(version).map(|image| image?.manifest.as_ref());
        digests_of(manifests.map(|manifest| Some(manifest?.digest.clone())))
    }

    /// The version that is in use as far as anything is linked: a transfer of which nothing was put there says nothing.
    pub fn linked(&self) -> Option<&str> {
        let linked = self.transfers.iter().filter(|seen| seen.there != LinkSeen::Nothing);
        let mut versions = linked.map(|seen| seen.linked_image().map(|(version, _)| version));
        let first = versions.next()??;
        versions.all(|other| other == Some(first)).then_some(first)
    }

    /// Every version of which there is an image.
    pub fn versions(&self) -> Vec<&str> {
        let mut versions: Vec<&str> =
            self.transfers.iter().flat_map(|t| t.images.keys().map(String::as_str)).collect();
        versions.sort_unstable();
        versions.dedup();
        versions
    }

    /// The version of a slot.
    pub fn version_of(&self, slot: &str) -> Option<Version> {
        self.manifest(slot).map(|m| m.head.version.clone()).or_else(|| slot.parse().ok())
    }

    /// Images of another updater that become ours: only at the first sight of them, and only when one of them
    /// is in use or that updater says that they are its.
    pub fn adopted(&self, owned: Option<&Owned>) -> Vec<String> {
        if let Some(owned) = owned {
            return owned.adopted.clone();
        }
        let mut versions = self.versions();
        versions.extend(self.retired.iter().flat_map(|t| t.images.keys().map(String::as_str)));
        versions.sort_unstable();
        versions.dedup();
        let made_by_us = versions.iter().any(|version| self.manifest(version).is_some());
        let in_use = self.current.as_deref().is_some_and(|current| versions.contains(&current));
        if made_by_us || !(in_use || self.is_enlisted()) {
            return Vec::new();
        }
        versions.into_iter().map(str::to_owned).collect()
    }

    /// Whether systemd-sysupdate says that all images are its.
    pub fn is_enlisted(&self) -> bool {
        !self.transfers.is_empty() && self.transfers.iter().all(|transfer| transfer.enlisted)
    }

    /// Whether the kernel has an image open: it is merged, whatever links lead to by now.
    pub fn has_open(&self, image: &Utf8Path) -> bool {
        self.mounted.iter().any(|end| image.ends_with(end))
    }

    /// Whether a link leads to an image of a release that is here: it is in use, in part at least.
    pub fn is_linked(&self, slot: &str) -> bool {
        self.transfers.iter().any(|seen| {
            let there = seen.there.text().map(Utf8Path::new).zip(seen.images.get(slot));
            there.is_some_and(|(link, image)| link.ends_with(&image.file))
        })
    }

    /// Whether systemd has merged an extension that may be written in one of these ways.
    pub fn is_merged(&self, class: ExtensionClass, names: &[String]) -> bool {
        let merged = self.merged.get(&class);
        merged.is_some_and(|merged| names.iter().any(|name| merged.contains(name)))
    }
}
