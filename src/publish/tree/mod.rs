//! Publishing a directory as a casync index and a store of chunks.
//!
//! One walk makes everything: the archive stream is encoded, cut, named, compressed and stored, summed up for the
//! `.cks` file and listed for the `.mtree` file while it passes by, on every core and in bounded memory.
//! Files are replaced by rename in the order in which clients may see them: chunks, packs, the list of packs, deltas, the
//! listing, then the index, and the `.cks` file last. casync-updater's clients look at the `.cks` file first, ours
//! at the index: neither ever sees a pointer to something that is not there yet. A signature is there before its index,
//! together with that of the index before: whichever of both a client has, it finds one that holds.

mod about;
mod cache;
pub mod config;
mod deltas;
mod error;
mod exclude;
mod files;
pub mod gc;
mod names;
mod packing;
mod pipeline;
mod profile;
mod signature;
mod store;
mod walk;

use std::io::Write;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use serde::Serialize;

use crate::format::casync::chunk::ChunkId;
use crate::format::casync::chunker::ChunkSizes;
use crate::format::casync::index::{ChunkRef, Header, Index};
use crate::format::casync::{cks, packs};
use crate::publish::signing::Signer;

pub use crate::format::casync::chunk::DigestKind;
pub use error::PublishError;
pub use profile::Profile;

use cache::{Cache, Seen};
use deltas::Known;
use files::{Replacement, beside, replace};
use pipeline::Streamed;
use signature::Signature;
use store::{Store, Using};

/// Level at which chunks are compressed unless told otherwise: zstd's and casync's default.
pub const LEVEL_DEFAULT: i32 = 3;

/// Levels that zstd knows, without those that need more memory than a chunk is worth.
pub const LEVELS: std::ops::RangeInclusive<i32> = 1..=19;

/// What to publish where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// The directory.
    pub tree: Utf8PathBuf,
    /// The index file, whose name the other files extend.
    pub index: Utf8PathBuf,
    /// The store of chunks; made when missing.
    pub store: Utf8PathBuf,
    /// Which properties of files are published.
    pub profile: Profile,
    /// The digest; that of the profile when not said.
    pub digest: Option<DigestKind>,
    /// zstd's level, within [`LEVELS`].
    pub level: i32,
    /// Whether packs are made, too.
    pub packing: Packing,
    /// Indexes of older versions that deltas are made from. The index itself may be among them: it is read before it is
    /// replaced.
    pub deltas_from: Vec<Utf8PathBuf>,
    /// Where it is remembered what the tree looked like; beside the index when not said.
    pub cache: Option<Utf8PathBuf>,
    /// How long somebody else is waited for who publishes the index or removes chunks.
    pub patience: Duration,
}

/// Whether chunks are also published in packs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// As single files only.
    Chunks,
    /// In packs as well.
    ChunksAndPacks,
}

impl Publication {
    /// The tree at this index and store, with all its properties and nothing special.
    pub fn new(tree: &Utf8Path, index: &Utf8Path, store: &Utf8Path) -> Self {
        Self {
            tree: tree.to_owned(),
            index: index.to_owned(),
            store: store.to_owned(),
            profile: Profile::Full,
            digest: None,
            level: LEVEL_DEFAULT,
            packing: Packing::Chunks,
            deltas_from: Vec::new(),
            cache: None,
            patience: Duration::ZERO,
        }
    }
}

/// What was published.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Published {
    /// Digest of the stream, as in the `.cks` file.
    pub digest: String,
    /// Whether the tree was known to be published already, so that only its files' states were looked at.
    pub unchanged: bool,
    /// Length of the stream in bytes.
    pub bytes: u64,
    /// Chunks of the index.
    pub chunks: u64,
    /// Chunks that were not in the store.
    pub new_chunks: u64,
    /// Bytes that the store grew by, without packs.
    pub stored_bytes: u64,
    /// Packs that were not in the store.
    pub new_packs: u64,
    /// Deltas that lead to it from the versions that were named.
    pub deltas: u64,
    /// What was wanted as well and could not be done.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Publishes a tree. `now` tells which files changed so lately that they may change again unnoticed.
pub fn publish(wish: &Publication, now: Timestamp) -> Result<Published, PublishError> {
    if let Some(signature) = signature::there(&wish.index) {
        let index = wish.index.clone();
        return Err(PublishError::Unsigned { index, signature });
    }
    match make(wish, now, None)? {
        Made::Before(published) => Ok(published),
        Made::Now(made) => made.place(None),
    }
}

/// The same, with a signature of the index by this key of gpg.
pub async fn publish_signed(
    wish: &Publication,
    key: &str,
    now: Timestamp,
) -> Result<Published, PublishError> {
    let signer = signature::signer(&wish.index, key).await?;
    match make(wish, now, Some(&signer))? {
        Made::Before(published) => Ok(published),
        Made::Now(made) => {
            let new = (made.file.temporary().as_std_path(), made.bytes.as_slice());
            let signature = Signature::make(&signer, new, &wish.index).await?;
            made.place(Some(&signature))
        }
    }
}

/// What became of a wish.
enum Made<'w> {
    /// It was published before, and everything is there.
    Before(Published),
    /// Everything is there but for what points to it.
    Now(Box<New<'w>>),
}

/// An index that is written and not yet in its place.
struct New<'w> {
    wish: &'w Publication,
    store: Store,
    cache: Cache<'w>,
    seen: Seen,
    now: Timestamp,
    older: Vec<Known>,
    listing: Replacement,
    file: Replacement,
    /// What is in that file.
    bytes: Vec<u8>,
    digest: ChunkId,
    published: Published,
}

fn make<'w>(
    wish: &'w Publication,
    now: Timestamp,
    signer: Option<&Signer>,
) -> Result<Made<'w>, PublishError> {
    let flags = wish.profile.flags(wish.digest);
    // Nothing is made for a tree that is not there.
    let tree = wish.tree.read_dir_utf8();
    tree.map_err(|source| PublishError::Read { path: wish.tree.to_string(), source })?;
    files::prepare(wish)?;
    let store = Store::open(&wish.store, Using::Shared, wish.patience)?;
    let cache = Cache::lock(wish, flags)?;
    let list = beside(&wish.index, packs::LIST_SUFFIX);
    if wish.packing == Packing::Chunks {
        // A list that nobody renews would keep its packs in the store for ever.
        files::remove(&list)?;
    }
    let seen = Seen::of(&wish.tree)?;
    let older = Known::wanted(wish)?;
    // What is remembered lies where the index does: it says nothing of who made that, as its signature does.
    if let Some(published) = cache.published(&seen, &store, &older)
        && signer.is_none_or(|signer| signature::holds(&wish.index, signer))
    {
        return Ok(Made::Before(published));
    }
    let listing = Replacement::new(&beside(&wish.index, ".mtree"))?;
    let sizes = ChunkSizes::default();
    let pipeline = pipeline::Settings { store: &store, flags, sizes, level: wish.level };
    let (streamed, listing) = pipeline.run(&wish.tree, listing)?;
    let Streamed { chunks, digest, bytes, new_chunks, stored_bytes } = streamed;
    let [min, avg, max] = [sizes.min(), sizes.avg(), sizes.max()].map(|size| size as u64);
    let index = Index { header: Header { flags, min, avg, max }, chunks };

    let mut published = Published {
        digest: digest.to_string(),
        bytes,
        chunks: index.chunks.len() as u64,
        new_chunks,
        stored_bytes,
        ..Published::default()
    };
    if wish.packing == Packing::ChunksAndPacks {
        published.new_packs = packing::pack(&store, &index.chunks, &list)?;
    }
    let mut file = Replacement::new(&wish.index)?;
    let mut bytes = Vec::new();
    index.write(&mut bytes).map_err(PublishError::Index)?;
    let written = file.file().write_all(&bytes);
    written.map_err(|source| file.failed(source))?;
    Ok(Made::Now(Box::new(New {
        wish,
        store,
        cache,
        seen,
        now,
        older,
        listing,
        file,
        bytes,
        digest,
        published,
    })))
}

impl New<'_> {
    /// Brings everything to its place, in the order in which clients may see it.
    fn place(self, signature: Option<&Signature>) -> Result<Published, PublishError> {
        let Self { wish, store, cache, mut published, .. } = self;
        // One call for thousands of files; after it no index can name a chunk that a power failure takes away.
        store.sync()?;
        let new = Known::of(&wish.index, &self.bytes).map_err(PublishError::Index)?;
        let mut made = deltas::make(&store, &new, &self.older);
        published.deltas = made.count;
        published.notes.append(&mut made.notes);
        self.listing.place()?;
        if let Some(signature) = signature {
            signature.place_with_the_one_before()?;
        }
        self.file.place()?;
        write_digest(wish, &self.digest)?;
        if let Some(signature) = signature {
            signature.place_alone()?;
        }
        deltas::remove_others(&wish.index, &new.digest)?;
        cache.remember(&self.seen, &published, (self.now, made.worthless))?;
        Ok(published)
    }
}

fn write_digest(wish: &Publication, digest: &ChunkId) -> Result<(), PublishError> {
    let path = beside(&wish.index, ".cks");
    replace(&path, |file| {
        let written = file.write_all(cks::write(digest).as_bytes());
        written.map_err(|source| PublishError::Write { path: path.clone(), source })
    })
}

/// The names of chunks, each once, in the order in which the stream has them first.
fn unique(chunks: &[ChunkRef]) -> Vec<ChunkId> {
    let mut seen = std::collections::HashSet::with_capacity(chunks.len());
    chunks.iter().map(|chunk| chunk.id).filter(|id| seen.insert(*id)).collect()
}
