//! An index becomes a generation of a tree.
//!
//! Bytes come from what is there already and from chunk stores.
//!
//! Reading order: `old` is an installed generation as a place to take bytes from, `chunks` are the stores,
//! `stream` makes one archive of both, `write` turns its nodes into files, `changes` notes what is another than
//! before. One thread writes; a `crew` opens chunks ahead of it and copies whole files behind it. Chunks are
//! fetched many at once and used in the order of the archive; memory is bounded by constants and by the number of
//! nodes.
//!
//! Beside its head a generation keeps its index, the list of its nodes (80 bytes each, so that a stat walk of
//! 100,000 is all a pass costs), and the *skeleton*: the archive without the content of files. Together they make
//! any part of the archive readable from the installed files: an update needs no chunk that is anywhere in the
//! tree in use, and nothing is ever chunked on a host. A file is trusted as long as size, times (the change time too)
//! and inode are as they were when it was made; anything else comes from elsewhere and is verified.
//!
//! The list of packs is read while planning; chunks are grouped into batches of 4 MiB in the order of the stream, and
//! each batch is a few ranges. Whatever is wrong with a pack, its chunks are asked for one by one. The patches of a
//! delta are applied to ranges of the old archive and what they make is verified chunk by chunk, so that a delta needs
//! no trust. A listing beside an index (`.mtree`) only tells a plan which paths come, change and go. A refreshed
//! offline copy is written from verified chunks, after the tree has shown that it works, its index last.
//!
//! A directory of somebody else is encoded as its publisher would have done (`adopt`) and compared with the index:
//! one that is equal stays as it is, and the digest of its `stat`s in the inventory saves reading it again. A generation
//! that is kept is compared with its list before it comes into use again. What `preserve` names is carried before the
//! exchange and, as far as it was replaced meanwhile, once more after it. What a process that still stands in an old
//! tree writes there after the switch goes with that generation.

mod adopt;
mod attributes;
mod changes;
mod check;
mod chunks;
mod content;
mod copies;
mod crew;
mod delta;
mod error;
mod foreign;
mod here;
mod keep;
mod old;
mod packed;
mod refresh;
mod standing;
mod stream;
mod write;

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags};
use tokio::sync::{OwnedRwLockReadGuard, mpsc};

pub use adopt::{fingerprint, is_made_of};
pub use attributes::{Accounts, Me, Owner, Powers};
pub use changes::Changed;
pub use check::{damaged, usable};
pub use chunks::Stores;
pub use error::AssembleError;
pub use foreign::is_store;
pub use old::{SeedPlace, Trust};
pub use refresh::{Behind, Refreshed, refresh};

use crate::format::casync::catar::{Decoder, Event};
use crate::format::casync::index::Index;
use crate::model::snapshot::{Nodes, Unsaid};
use crate::model::step::{AssembleLimits, DeleteMax, Reuse};
use changes::Changes;
use copies::Copies;
use crew::Crew;
use foreign::Foreign;
use here::Ahead;
use old::Old;
use standing::Standing;
use stream::{Feed, Needs, Stream, Supply};
use write::{Bounds, Writer};

/// Name of the tree in a generation.
pub const TREE: &str = "tree";

/// File of a generation: what is known about it besides its nodes.
pub const HEAD: &str = "head.json";

/// File of a generation: the list of its nodes.
pub const NODES: &str = "nodes";

/// File of a generation: the index it was made from.
pub const INDEX: &str = "index.caidx";

/// File of a generation: everything of the archive that is not content of files, compressed.
pub const SKELETON: &str = "skeleton.zst";

/// Everything that decides what is made.
#[derive(Debug)]
pub struct Job {
    /// A delta from the generation in use.
    pub delta: Option<Vec<u8>>,
    /// The index file, verified.
    pub index: PathBuf,
    /// The directory of the generation, which must be there and empty.
    pub into: PathBuf,
    /// Generations to take bytes from; the first is the one in use.
    pub seeds: Vec<SeedPlace>,
    /// Directories of somebody else whose files may have chunks.
    pub foreign: Vec<PathBuf>,
    /// The path in use, a directory if there is anything.
    pub live: PathBuf,
    /// The first of the generations is in use, so that changes are told against it.
    pub in_use: InUse,
    /// What may be set.
    pub powers: Powers,
    /// How unchanged files come in.
    pub reuse: Reuse,
    /// Most paths that may go.
    pub delete_max: DeleteMax,
    /// Paths that do not count as removed.
    pub preserve: Vec<String>,
    /// Bounds on the archive.
    pub limits: AssembleLimits,
    /// Kept until nothing is written any more, also by a thread whose caller went away.
    pub writes: OwnedRwLockReadGuard<()>,
}

/// Whether a tree is in use now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InUse {
    /// The first seed is.
    First,
    /// None.
    None,
}

/// A generation that was made.
#[derive(Debug)]
pub struct Assembled {
    /// Inode of the root of its tree.
    pub inode: u64,
    /// How many nodes it has.
    pub nodes: u64,
    /// Bytes of its archive.
    pub bytes: u64,
    /// Bytes that came from stores.
    pub fetched_bytes: u64,
    /// What is another than in the tree in use.
    pub changed: Changed,
    /// What the archive says nothing about.
    pub unsaid: Unsaid,
    /// What people should know.
    pub notes: Vec<String>,
}

/// Makes a generation. Nothing is synced: the caller does that once.
pub async fn assemble(job: Job, stores: Stores) -> Result<Assembled, AssembleError> {
    let died = |error: tokio::task::JoinError| AssembleError::Died(error.to_string());
    let cache = stores.cache().to_owned();
    let prepared =
        tokio::task::spawn_blocking(move || prepare(job, &cache)).await.map_err(died)??;
    let (prepared, foreign) = prepared;
    let stores = Arc::new(stores.with_foreign(foreign));
    let crew = Arc::new(Crew::new());
    let missing = prepared.needs.missing.clone();
    // One chunk at a time is asked for beside those that are fed.
    let (ask, asked) = mpsc::channel(1);
    let (feed, supplying) = if stores.on_the_web() {
        let (to, feed) = mpsc::channel(chunks::waiting(&missing));
        let supplying = Arc::clone(&stores).feed(Arc::clone(&crew), missing, to);
        (Feed::Web(feed), Some(supplying))
    } else {
        (Feed::Here(Ahead::new(Arc::clone(&stores), Arc::clone(&crew), missing)), None)
    };
    let supply = Supply::new(ask, feed, &prepared.needs);
    let copies = Copies::new(crew);
    let writing = tokio::task::spawn_blocking(move || make(prepared, supply, copies));
    let supplying = async { if let Some(feeding) = supplying { feeding.await } else { Ok(()) } };
    let answering = Arc::clone(&stores).answer(asked);
    let (supplied, (), made) = tokio::join!(supplying, answering, writing);
    let made = made.map_err(died)?;
    // The writer asks again for what was not fed, so that its error says more.
    if made.is_ok() {
        supplied?;
    }
    Ok(Assembled { fetched_bytes: stores.fetched_bytes(), ..made? })
}

struct Prepared {
    job: Job,
    index: Arc<Index>,
    olds: Vec<Old>,
    needs: Needs,
    comparing: Comparing,
    standing: Option<Standing>,
}

/// What a new generation is compared with.
enum Comparing {
    /// The list of the one in use, and the paths that somebody touched.
    With(Arc<Nodes>, HashSet<Vec<u8>>),
    /// There is none.
    Nothing,
}

fn prepare(mut job: Job, cache: &Path) -> Result<(Prepared, Foreign), AssembleError> {
    let opened = File::open(&job.index).map_err(|e| generation("read", &job.index, e))?;
    let index = Index::read(opened).map_err(AssembleError::Index)?;
    let limit = job.limits.bytes;
    if index.length() > limit {
        return Err(AssembleError::TooMuch { what: "bytes", limit, setting: "unpacked" });
    }
    let seeds = std::mem::take(&mut job.seeds);
    let mut olds: Vec<Old> = seeds.iter().cloned().filter_map(Old::open).collect();
    let in_use = seeds.first().filter(|_| job.in_use == InUse::First);
    let standing = in_use.filter(|_| job.reuse == Reuse::Stays).and_then(Standing::open);
    let first = olds.first().filter(|old| in_use.is_some_and(|s| s.generation == old.place));
    let comparing = match (in_use, first) {
        (None, _) => Comparing::Nothing,
        (Some(_), Some(old)) => Comparing::With(Arc::clone(&old.nodes), old.touched.clone()),
        (Some(seed), None) => compared_with(seed, job.delete_max)?,
    };
    if first.is_none() && matches!(comparing, Comparing::With(..)) {
        // Whoever compares takes the first for the one in use.
        olds.clear();
    }
    if let (Some(delta), Some(old), InUse::First) = (job.delta.take(), olds.first(), job.in_use) {
        delta::unpack(&delta, old, &index, cache);
    }
    let needs = Needs::of(&index, &olds);
    let foreign = Foreign::find(&job.foreign, &index.header, &needs.missing);
    let index = Arc::new(index);
    Ok((Prepared { job, index, olds, needs, comparing, standing }, foreign))
}

/// The list of the generation in use. Without it nobody can say how much an update would remove.
fn compared_with(seed: &SeedPlace, most: DeleteMax) -> Result<Comparing, AssembleError> {
    let place = seed.generation.join(NODES);
    let listed = std::fs::read(&place).ok().and_then(|bytes| Nodes::decode(&bytes).ok());
    match listed {
        Some(nodes) => Ok(Comparing::With(Arc::new(nodes), seed.touched.clone())),
        None if most == DeleteMax::Unlimited => Ok(Comparing::Nothing),
        None => Err(AssembleError::Unlisted { path: place }),
    }
}

fn make(prepared: Prepared, supply: Supply, copies: Copies) -> Result<Assembled, AssembleError> {
    let Prepared { job, index, olds, needs, comparing, standing } = prepared;
    let (nodes, touched) = match comparing {
        Comparing::With(nodes, touched) => (Some(nodes), touched),
        Comparing::Nothing => (None, HashSet::new()),
    };
    let comparing = Changes::new(nodes.as_deref(), &touched, &job.preserve);
    let (powers, flags) = (&job.powers, index.header.flags);
    let unsaid = powers.unsaid(flags);
    let live = open_live(&job.live).filter(|_| unsaid != Unsaid::default());
    let bounds = Bounds { reuse: job.reuse, nodes_max: job.limits.nodes };
    let mut writer = Writer::new(powers, bounds, comparing, copies, (live, standing));
    let length = index.length();
    let stream = Stream::new(Arc::clone(&index), olds, needs, supply)
        .map_err(|e| generation("compress", &job.into.join(SKELETON), e))?;
    let mut decoder = Decoder::unbuffered(stream);
    let root = make_root(&job.into.join(TREE))?;
    if let Err(error) = write_nodes(&mut decoder, &mut writer, root) {
        // An I/O error of the stream is one of a chunk.
        return Err(decoder.source().failed.take().unwrap_or(error));
    }
    let (list, compared, noted) = writer.finish()?;
    let changed = compared.finish(job.delete_max)?;
    let skeleton = decoder.into_source().into_skeleton();
    let skeleton = skeleton.map_err(|e| generation("compress", &job.into.join(SKELETON), e))?;
    save(&job.into.join(SKELETON), &skeleton)?;
    save(&job.into.join(NODES), &list.encode())?;
    let bytes = std::fs::read(&job.index).map_err(|e| generation("read", &job.index, e))?;
    save(&job.into.join(INDEX), &bytes)?;
    let inode = list.stat(0).map_or(0, |root| root.inode);
    let count = list.count() as u64;
    Ok(Assembled {
        inode,
        nodes: count,
        bytes: length,
        fetched_bytes: 0,
        changed,
        unsaid,
        notes: noted,
    })
}

fn write_nodes(
    decoder: &mut Decoder<Stream>,
    writer: &mut Writer<'_>,
    root: OwnedFd,
) -> Result<(), AssembleError> {
    let mut root = Some(root);
    while let Some(event) = decoder.next_event().map_err(AssembleError::Archive)? {
        let flags = decoder.flags().unwrap_or_default();
        match (event, root.take()) {
            (Event::Node(node), Some(place)) => writer.root(place, *node, flags)?,
            (Event::Node(node), None) => writer.node(*node, flags, decoder)?,
            (Event::Leave { .. }, _) => writer.leave(flags)?,
        }
    }
    Ok(())
}

/// The tree in use, if it is a directory.
fn open_live(path: &Path) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty()).ok()
}

fn make_root(place: &Path) -> Result<OwnedFd, AssembleError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::mkdir(place, Mode::RWXU)
        .and_then(|()| rustix::fs::openat(CWD, place, flags, Mode::empty()))
        .map_err(|errno| generation("make", place, errno.into()))
}

fn save(path: &Path, bytes: &[u8]) -> Result<(), AssembleError> {
    let made = File::options().create_new(true).write(true).open(path);
    made.and_then(|mut file| file.write_all(bytes)).map_err(|e| generation("write", path, e))
}

fn generation(action: &'static str, path: &Path, source: io::Error) -> AssembleError {
    AssembleError::Generation { action, path: path.to_owned(), source }
}
