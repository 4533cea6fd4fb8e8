//! Looking at one resource of any kind.

use std::io;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Serialize, Serializer};

use crate::host::Look;
use crate::model::difference::Seen;
use crate::model::ledger::Owned;
use crate::model::{Digest, Kind, ResourceId};
use crate::resource::app::in_place::observe::Wished;
use crate::resource::extension::observe::Listings;
use crate::resource::{Found, Spec, app, extension, tree};

/// How closely files are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Type, mode, size and modification time.
    Quick,
    /// Content as well.
    Deep,
}

/// Where to look.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Which resource.
    pub id: &'a ResourceId,
    /// The path that belongs to it alone.
    pub home: &'a Utf8Path,
    /// The wish; absent for what is ours and not wished any more.
    pub spec: Option<&'a Spec>,
    /// What the inventory says.
    pub owned: Option<&'a Owned>,
}

/// For fingerprints: a manifest is known by the digest of what it is about.
#[expect(clippy::ref_option, reason = "the signature serde calls")]
pub(super) fn by_digest<M: AsRef<Digest>, S: Serializer>(
    manifest: &Option<Box<M>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    manifest.as_deref().map(AsRef::as_ref).serialize(serializer)
}

impl Found {
    /// What looking at every node of a tree came to.
    pub fn seen(&self) -> Option<Arc<Seen>> {
        match self {
            Self::Tree(found) => found.seen.clone(),
            Self::App(_) | Self::Extension(_) => None,
        }
    }
}

/// Looks at one resource. What was listed for one of them is not listed again for another.
pub fn observe(
    (host, listings): (&Look, &Listings),
    place: &Place<'_>,
    depth: Depth,
) -> io::Result<Found> {
    let Place { id, home, .. } = *place;
    match (id.kind, place.spec) {
        (_, Some(Spec::Extension(spec))) => {
            extension::observe::observe((host, listings), spec, depth).map(Found::Extension)
        }
        (Kind::Extension, None) => {
            let directories = place.owned.map_or(&[][..], |owned| &owned.directories);
            let found = extension::observe::observe_ours((host, id), (home, directories), depth);
            found.map(Found::Extension)
        }
        (_, Some(Spec::Tree(spec))) => {
            tree::observe::observe(host, home, &spec.preserve, depth).map(Found::Tree)
        }
        (Kind::Tree, None) => tree::observe::observe(host, home, &[], depth).map(Found::Tree),
        (_, Some(Spec::App(_)) | None) => {
            let (file, follow, owned) = match place.spec {
                Some(Spec::App(spec)) => {
                    let file = spec.file.as_deref();
                    // What is known of another file says nothing about this one.
                    let known = |owned: &&Owned| {
                        owned.in_place.as_ref().map(|known| known.file.as_path()) == file
                    };
                    let owned = place.owned.filter(known);
                    (file, spec.follow.as_deref(), owned)
                }
                // Only what was put there is looked at, to be removed.
                _ => {
                    let placed = place.owned.and_then(|o| o.in_place.as_ref()?.placed.as_deref());
                    (placed, None, place.owned)
                }
            };
            let wished = file.map(|file| Wished { file, follow, owned });
            let mut found = app::observe::observe(host, home, wished.as_ref(), depth)?;
            let known = place.owned.filter(|owned| owned.home == home);
            let left = match place.spec {
                Some(spec) => known.map(|owned| owned.left(spec.file())),
                None => known.map(|owned| owned.left.clone()),
            };
            for placed in left.iter().flat_map(|left| &left.files).filter_map(|f| f.placed.as_ref())
            {
                let wished = Wished { file: placed, follow: None, owned: known };
                let slots = (&found.slots, depth);
                found.left.push(app::in_place::observe::observe(host, &wished, slots)?);
            }
            Ok(Found::App(found))
        }
    }
}

impl Found {
    /// Names of the slots that can be in use: what somebody else had at the place of a tree is only put aside.
    pub fn usable(&self) -> Vec<&str> {
        let mut slots = self.slots();
        if let Self::Tree(found) = self {
            slots.retain(|slot| found.head(slot).is_some());
        }
        slots
    }

    /// The file that is one app, where there is one.
    pub fn file_in_place(&self) -> Option<&Utf8Path> {
        let Self::App(found) = self else { return None };
        let file = found.file.as_ref().filter(|file| file.stat.is_some())?;
        Some(&file.path)
    }

    /// Where files of somebody else are kept that were in the place of a tree.
    pub fn set_aside(&self, spec: &Spec) -> Vec<Utf8PathBuf> {
        match (self, spec) {
            (Self::Tree(found), Spec::Tree(spec)) => tree::layout::set_aside(&spec.path, found),
            _ => Vec::new(),
        }
    }
}
