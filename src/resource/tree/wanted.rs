//! What resolving came to: the generation a tree is to be on.

use jiff::Timestamp;

use crate::model::contents::Contents;
use crate::model::step::{IndexSignature, OfflineCopy, PackSource};
use crate::model::{Artifact, Digest, Evidence, Version};
use crate::resource::tree::observe::Live;
use crate::resource::tree::spec::TreeLayout;
use crate::resource::tree::{TreeObserved, TreeSpec};

/// Largest index accepted: as large as any document that is remembered.
pub(super) const INDEX_BYTES_MAX: u64 = 16 << 20;

/// Who states what an index is, where that is the offline copy.
pub const OFFLINE: &str = "the offline copy";

/// The same, where that is a path.
pub const HERE: &str = "a path on this machine";

/// The generation to be on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts about one generation, each asked by itself"
)]
pub struct Wanted {
    /// Its version.
    pub version: Version,
    /// SHA-256 of its index.
    pub index: Digest,
    /// The generation with it that is there, whole or not.
    pub slot: Option<String>,
    /// How to make it; `None` when it is there already, or cannot be had.
    pub offer: Option<Box<Offer>>,
    /// How to give the generation in use a tree of its own first, where files are replaced one by one and a release must
    /// show that it works.
    pub way_back: Option<Box<Offer>>,
    /// What it makes of each path in use, where that is known.
    pub contents: Option<Box<Contents>>,
    /// The offline copy, where it is to have this index or its signature and has not.
    pub refresh: Option<Behind>,
    /// The directory that somebody else put there is it already.
    pub there: bool,
    /// It is there, and nobody whose signature counts now is known to have signed it.
    pub unvouched: bool,
    /// An operator went back to it.
    pub rolled_back: Option<String>,
    /// It is in use and only kept whole until something else can be had or may be: an edit of how releases are made is
    /// about the next one.
    pub as_is: bool,
}

/// An offline copy that is behind, and the signature that it is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behind {
    /// The copy.
    pub copy: OfflineCopy,
    /// The signature, where one is demanded.
    pub signature: Option<IndexSignature>,
}

/// How to make a generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The index.
    pub artifact: Artifact,
    /// What its bytes must be.
    pub evidence: Evidence,
    /// Stores with its chunks, in the order in which they are asked.
    pub stores: Vec<String>,
    /// Packs that the stores on the web have.
    pub packs: Option<PackSource>,
    /// URL of a delta from the generation in use.
    pub delta: Option<String>,
    /// When it was published, as far as its source says.
    pub published: Option<Timestamp>,
    /// Where its bytes come from, as far as is known before anything is fetched.
    pub ways: Ways,
    /// It comes from the offline source.
    pub offline: bool,
    /// The index is that of a generation that is or was here.
    pub own: bool,
}

impl Offer {
    /// Most bytes of the index that are fetched: none of one that a generation has.
    pub fn index_bytes(&self) -> u64 {
        if self.own { 0 } else { self.artifact.size.unwrap_or(INDEX_BYTES_MAX) }
    }
}

/// Where the bytes of a generation come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ways {
    /// Bytes of the whole archive.
    pub bytes: u64,
    /// Bytes that are in the tree in use.
    pub reused_bytes: u64,
    /// Further bytes that are in a generation that is kept.
    pub kept_bytes: u64,
    /// Different chunks that are in the cache.
    pub cached_chunks: u64,
    /// Different chunks that must be fetched.
    pub fetched_chunks: u64,
    /// Their bytes: as they lie in packs, else at most as many as they would take uncompressed.
    pub fetched_bytes: u64,
    /// How many of them are read from packs.
    pub packed_chunks: u64,
    /// In how many requests.
    pub pack_requests: u64,
    /// Bytes of a delta that makes them of the tree in use, which is then what is fetched.
    pub delta_bytes: Option<u64>,
}

/// How a tree stands to the wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It is in use and as it was made.
    InUse,
    /// It is there and not in use.
    Kept(String),
    /// It is in use and somebody changed it.
    Damaged,
    /// It is there and must be made again, for this reason.
    Outdated(String),
    /// There is none.
    Missing,
}

/// The generation of an index that serves best: the one in use, else one that is kept.
pub fn slot_of(spec: &TreeSpec, observed: &TreeObserved, index: &Digest) -> Option<String> {
    let recipe = spec.recipe();
    let made_from = |slot: &str| observed.head(slot).is_some_and(|head| &head.index == index);
    let by_recipe = |slot: &str| observed.head(slot).is_some_and(|head| head.recipe == recipe);
    let current = observed.current.clone().filter(|slot| made_from(slot));
    let kept = || {
        let mut kept: Vec<&String> = observed
            .generations
            .keys()
            .filter(|slot| made_from(slot) && can_be_used(spec, observed, slot))
            .collect();
        kept.sort_by_key(|slot| !by_recipe(slot));
        kept.first().map(|slot| (*slot).clone())
    };
    match current {
        Some(current) if by_recipe(&current) => Some(current),
        current => kept().filter(|slot| by_recipe(slot)).or(current),
    }
}

/// Whether a generation that is there could be brought into use.
fn can_be_used(spec: &TreeSpec, observed: &TreeObserved, slot: &str) -> bool {
    let goes_on = || spec.layout == TreeLayout::InPlace && observed.goes_on(slot);
    observed.is_kept(slot) || goes_on()
}

impl Wanted {
    /// A release of which nothing is here, as far as is known.
    pub fn of(version: Version, index: Digest) -> Self {
        Self {
            version,
            index,
            slot: None,
            offer: None,
            way_back: None,
            contents: None,
            refresh: None,
            there: false,
            unvouched: false,
            rolled_back: None,
            as_is: false,
        }
    }
}

/// Judges a generation.
pub fn state(spec: &TreeSpec, observed: &TreeObserved, wanted: &Wanted) -> State {
    let Some(slot) = wanted.slot.as_deref() else { return State::Missing };
    let Some(head) = observed.head(slot) else { return State::Missing };
    let pinned = wanted.as_is || wanted.rolled_back.is_some();
    if head.recipe != spec.recipe() && !pinned {
        return State::Outdated("owner or allow were edited".to_owned());
    }
    if let Some(min) = spec.verify.min.filter(|min| head.evidence.level < *min && !pinned) {
        let level = head.evidence.level.name();
        return State::Outdated(format!(
            "it was verified by {level}, now {} is demanded",
            min.name()
        ));
    }
    if wanted.unvouched && !pinned {
        return State::Outdated("no key of the keyring is known to have signed it".to_owned());
    }
    if observed.current.as_deref() == Some(slot) {
        let through_link = matches!(observed.live, Live::Link { .. });
        if through_link != (spec.layout == TreeLayout::Link) && !pinned {
            return State::Outdated("the layout was edited".to_owned());
        }
        return if observed.drift.is_empty() { State::InUse } else { State::Damaged };
    }
    if can_be_used(spec, observed, slot) { State::Kept(slot.to_owned()) } else { State::Missing }
}
