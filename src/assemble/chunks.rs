//! Chunks from wherever they are: the cache, stores on this machine, stores on the web.
//!
//! Whatever was fetched stays in the cache, a chunk store like any other, until the tree is complete: the next
//! attempt goes on where this one stopped.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use futures_util::StreamExt;
use tokio::sync::{mpsc, oneshot};

use crate::assemble::error::{AssembleError, Refused};
use crate::assemble::foreign::Foreign;
use crate::assemble::packed::{BATCHES_MAX, Stored};
use crate::fetch::{Client, FetchError, Line, piece_by};
use crate::format::casync::chunk::{self, ChunkId, Form, Wanted};
use crate::format::casync::packs::{Batch, PackList, batches};

/// Chunks asked for at once on the web: with 20 ms to a server, 3,200 in a second.
const IN_FLIGHT_MAX: usize = 64;

/// Connections to a store until it has shown that it keeps them. A simple server lets five wait (`listen(5)`, as
/// Python's does); those beyond are not answered, and asked again after a second.
const IN_FLIGHT_FIRST: usize = 6;

/// Chunks read at once on this machine: more than cores, because some wait for disks.
const LOCAL_MAX: usize = 8;

/// Memory for chunks that are under way or wait for their turn, in bytes.
const WINDOW_BYTES: u64 = 48 << 20;

/// What a chunk may have beyond its length in a store: compression that did not help.
const OVERHEAD_BYTES_MAX: u64 = 64 << 10;

/// Chunks that a place may fail to give before others are asked first.
const FAILURES_MAX: u32 = 3;

/// A chunk that is asked for, and where it goes.
pub(super) type Ask = (Wanted, oneshot::Sender<Result<Vec<u8>, AssembleError>>);

/// All places of chunks.
#[derive(Debug)]
pub struct Stores {
    pub(super) client: Client,
    cache: PathBuf,
    pub(super) places: Vec<Place>,
    packs: Option<PackList>,
    foreign: Foreign,
    pub(super) fetched: AtomicU64,
}

#[derive(Debug)]
pub(super) struct Place {
    pub(super) url: String,
    pub(super) local: Option<PathBuf>,
    /// It could not be reached, or failed time and again: it is not asked again while others can be.
    pub(super) dead: AtomicBool,
    /// Chunks that it did not give although it seems to have them.
    failures: AtomicU32,
    /// It keeps connections, so that many requests are no load.
    keeps: AtomicBool,
    /// It did not give a part of a pack: it is not asked for another.
    pub(super) packless: AtomicBool,
}

impl Stores {
    /// Stores at `urls`, asked in that order after `seeds` on this machine; `cache` keeps what was fetched.
    pub fn new(client: &Client, cache: PathBuf, seeds: &[PathBuf], urls: &[String]) -> Self {
        let local = |path: &PathBuf| Place::new(&path.display().to_string(), Some(path.clone()));
        let seeds = seeds.iter().map(local);
        let stores = urls.iter().map(|url| {
            let parsed = reqwest::Url::parse(url).ok().filter(|url| url.scheme() == "file");
            Place::new(url, parsed.and_then(|url| url.to_file_path().ok()))
        });
        let places = seeds.chain(stores).collect();
        Self {
            client: client.clone(),
            cache,
            places,
            packs: None,
            foreign: Foreign::default(),
            fetched: AtomicU64::new(0),
        }
    }

    /// The same stores, of which those on the web may have their chunks in packs, too.
    #[must_use]
    pub fn with_packs(self, packs: Option<PackList>) -> Self {
        Self { packs, ..self }
    }

    /// The same stores, asked only for what was not found elsewhere on this machine.
    #[must_use]
    pub(super) fn with_foreign(self, foreign: Foreign) -> Self {
        Self { foreign, ..self }
    }

    /// Counts bytes that came another way.
    pub fn count(&self, bytes: u64) {
        self.fetched.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn cache(&self) -> &Path {
        &self.cache
    }

    /// Bytes that came over the network or from another place than the cache, as they are stored.
    pub fn fetched_bytes(&self) -> u64 {
        self.fetched.load(Ordering::Relaxed)
    }

    /// Whether anything is asked on the web.
    fn on_the_web(&self) -> bool {
        self.places.iter().any(|place| place.local.is_none())
    }

    /// One chunk, verified, from the first place that has it.
    pub async fn get(self: &Arc<Self>, wanted: Wanted) -> Result<Vec<u8>, AssembleError> {
        let mut tried = Vec::new();
        if self.foreign.has(&wanted.id) {
            let stores = Arc::clone(self);
            let found = tokio::task::spawn_blocking(move || stores.foreign.get(&wanted)).await;
            if let Ok(Some(bytes)) = found {
                return Ok(bytes);
            }
        }
        if self.on_the_web() {
            match read_local(self.cache.clone(), wanted).await {
                Ok((bytes, _)) => return Ok(bytes),
                Err(Refused::Missing { .. }) => {}
                Err(damaged) => tried.push(damaged),
            }
        }
        for round in [Round::Living, Round::Dead] {
            for place in &self.places {
                if (round == Round::Dead) != place.dead.load(Ordering::Relaxed) {
                    continue;
                }
                match self.get_from(place, wanted).await {
                    Ok(bytes) => return Ok(bytes),
                    Err(refused) => tried.push(refused),
                }
            }
            if self.places.iter().all(|place| !place.dead.load(Ordering::Relaxed)) {
                break;
            }
        }
        Err(AssembleError::Chunk { id: wanted.id, tried })
    }

    async fn get_from(self: &Arc<Self>, place: &Place, wanted: Wanted) -> Result<Vec<u8>, Refused> {
        if let Some(local) = &place.local {
            let (bytes, stored) = read_local(local.clone(), wanted).await?;
            self.fetched.fetch_add(stored, Ordering::Relaxed);
            return Ok(bytes);
        }
        let missing = || Refused::Missing { place: place.url.clone() };
        let fetched = match self.fetch(place, wanted, Form::Compressed).await {
            Err(Refused::Missing { .. }) => {
                (self.fetch(place, wanted, Form::Plain).await?, Form::Plain)
            }
            fetched => (fetched?, Form::Compressed),
        };
        let (stored, form) = fetched;
        self.fetched.fetch_add(stored.len() as u64, Ordering::Relaxed);
        let (url, cache) = (place.url.clone(), self.cache.clone());
        let opened = tokio::task::spawn_blocking(move || {
            let opened = open_and_keep(&cache, wanted, &stored, form);
            opened.map_err(|source| Refused::Wrong { place: url, source })
        });
        let opened = opened.await.unwrap_or_else(|_| Err(missing()));
        opened.inspect_err(|_| place.failed())
    }

    /// One chunk that was read from a pack, if it was; whatever is wrong with it, it is asked for by its name then.
    async fn get_read(
        self: &Arc<Self>,
        wanted: Wanted,
        stored: Option<Stored>,
    ) -> Result<Vec<u8>, AssembleError> {
        if let Some(stored) = stored {
            let cache = self.cache.clone();
            let opened = tokio::task::spawn_blocking(move || {
                open_and_keep(&cache, wanted, stored.bytes(), Form::Compressed).ok()
            });
            if let Ok(Some(bytes)) = opened.await {
                return Ok(bytes);
            }
        }
        self.get(wanted).await
    }

    /// The chunks in the order in which they are wanted, grouped by the requests that bring them.
    async fn batches(self: &Arc<Self>, missing: Vec<Wanted>) -> Vec<Batch> {
        let stores = Arc::clone(self);
        let grouped = tokio::task::spawn_blocking(move || {
            let packs = stores.packs.clone().unwrap_or_default();
            batches(&packs, &missing, |wanted| stores.is_here(wanted))
        });
        grouped.await.unwrap_or_default()
    }

    /// Whether a chunk is on this machine, in a place that is asked before any on the web.
    fn is_here(&self, wanted: &Wanted) -> bool {
        let names = [Form::Compressed, Form::Plain].map(|form| wanted.id.path(form));
        let seeds = self.places.iter().map_while(|place| place.local.as_ref());
        self.foreign.has(&wanted.id)
            || seeds
                .chain([&self.cache])
                .any(|store| names.iter().any(|name| store.join(name).exists()))
    }

    async fn fetch(&self, place: &Place, wanted: Wanted, form: Form) -> Result<Vec<u8>, Refused> {
        let url = format!("{}/{}", place.url, wanted.id.path(form));
        let limit = wanted.length.saturating_add(OVERHEAD_BYTES_MAX);
        match piece_by(&self.client, &url, limit).await {
            Ok((bytes, line)) => {
                place.used(line);
                Ok(bytes)
            }
            Err(FetchError::Status { status: 404 | 410, .. }) => {
                Err(Refused::Missing { place: place.url.clone() })
            }
            Err(error) => {
                match error {
                    FetchError::Unreachable { .. }
                    | FetchError::Tls { .. }
                    | FetchError::TooSlow { .. } => place.dead.store(true, Ordering::Relaxed),
                    _ => place.failed(),
                }
                Err(error.into())
            }
        }
    }

    /// Gets chunks for whoever asks, one after the other, until nobody can ask any more.
    pub(super) async fn answer(self: Arc<Self>, mut asked: mpsc::Receiver<Ask>) {
        while let Some((wanted, answer)) = asked.recv().await {
            // Whoever asked may have given up.
            let _ = answer.send(self.get(wanted).await);
        }
    }

    /// Gets chunks in this order, several at once, and hands them out in the same order. Ends early when
    /// nobody takes them any more.
    pub async fn feed(
        self: Arc<Self>,
        missing: Vec<Wanted>,
        to: mpsc::Sender<(ChunkId, Vec<u8>)>,
    ) -> Result<(), AssembleError> {
        let longest = missing.iter().map(|wanted| wanted.length).max().unwrap_or(1).max(1);
        // Compressed and uncompressed, at the same time.
        let fitting = usize::try_from(WINDOW_BYTES / (2 * longest)).unwrap_or(1).max(1);
        if !self.on_the_web() {
            return self.feed_some(missing, &to, LOCAL_MAX.min(fitting)).await.map(drop);
        }
        if self.packs.is_some() {
            // Whoever has packs is a server for many, and what is read from them belongs together.
            return self.feed_some(missing, &to, IN_FLIGHT_MAX.min(fitting)).await.map(drop);
        }
        // The first ones tell how many connections the store can take.
        let mut first = missing;
        let rest = first.split_off(first.len().min(2 * IN_FLIGHT_FIRST));
        if self.feed_some(first, &to, IN_FLIGHT_FIRST.min(fitting)).await? == Fed::Stopped {
            return Ok(());
        }
        let keeps = self.places.iter().any(|place| place.keeps.load(Ordering::Relaxed));
        let most = if keeps { IN_FLIGHT_MAX } else { IN_FLIGHT_FIRST };
        self.feed_some(rest, &to, most.min(fitting)).await.map(drop)
    }

    /// The same for some of them, at most so many at once.
    async fn feed_some(
        self: &Arc<Self>,
        missing: Vec<Wanted>,
        to: &mpsc::Sender<(ChunkId, Vec<u8>)>,
        most: usize,
    ) -> Result<Fed, AssembleError> {
        let (stores, stopped) = (self, &Cell::new(false));
        let batches = self.batches(missing).await;
        let mut got = futures_util::stream::iter(batches)
            .take_while(|_| std::future::ready(!stopped.get()))
            .map(|batch| stores.read(batch))
            .buffered(BATCHES_MAX)
            .flat_map(futures_util::stream::iter)
            .take_while(|_| std::future::ready(!stopped.get()))
            .map(|(wanted, read)| async move { (wanted.id, stores.get_read(wanted, read).await) })
            .buffered(most);
        let mut outcome = Ok(Fed::All);
        while let Some((id, bytes)) = got.next().await {
            match bytes {
                // What is under way already is waited for, so that the cache has it for the next attempt.
                _ if stopped.get() => {}
                Ok(bytes) => {
                    if to.send((id, bytes)).await.is_err() {
                        outcome = Ok(Fed::Stopped);
                        stopped.set(true);
                    }
                }
                Err(error) => {
                    outcome = Err(error);
                    stopped.set(true);
                }
            }
        }
        outcome
    }
}

impl Place {
    /// Learns what the store does with connections.
    pub(super) fn used(&self, line: Line) {
        self.keeps.store(line == Line::Kept, Ordering::Relaxed);
    }

    /// Notes that it did not give a chunk.
    fn failed(&self) {
        if self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= FAILURES_MAX {
            self.dead.store(true, Ordering::Relaxed);
        }
    }

    fn new(url: &str, local: Option<PathBuf>) -> Self {
        let url = url.trim_end_matches('/').to_owned();
        let no = || AtomicBool::new(false);
        Self { url, local, dead: no(), failures: AtomicU32::new(0), keeps: no(), packless: no() }
    }
}

/// Whether everything was handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fed {
    All,
    /// Nobody takes any more.
    Stopped,
}

/// Places that could not be reached are asked last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    Living,
    Dead,
}

/// A chunk of a store on this machine and how many bytes it has there.
async fn read_local(store: PathBuf, wanted: Wanted) -> Result<(Vec<u8>, u64), Refused> {
    let place = store.display().to_string();
    let read = tokio::task::spawn_blocking(move || open_local(&store, wanted));
    read.await.unwrap_or(Err(Refused::Missing { place }))
}

fn open_local(store: &Path, wanted: Wanted) -> Result<(Vec<u8>, u64), Refused> {
    for form in [Form::Compressed, Form::Plain] {
        let path = store.join(wanted.id.path(form));
        let place = || path.display().to_string();
        let limit = wanted.length.saturating_add(OVERHEAD_BYTES_MAX);
        match read_file(&path, limit) {
            Ok(stored) => {
                let opened = chunk::open(&wanted, &stored, form)
                    .map_err(|source| Refused::Wrong { place: place(), source })?;
                return Ok((opened, stored.len() as u64));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(Refused::Unreadable { place: place(), source }),
        }
    }
    Err(Refused::Missing { place: store.display().to_string() })
}

fn read_file(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    use std::os::unix::fs::OpenOptionsExt;
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() > limit {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let room = usize::try_from(metadata.len()).unwrap_or_default();
    let mut bytes = Vec::with_capacity(room + 1);
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Verifies a chunk that came from elsewhere and keeps it as it came.
fn open_and_keep(
    cache: &Path,
    wanted: Wanted,
    stored: &[u8],
    form: Form,
) -> Result<Vec<u8>, chunk::ChunkError> {
    let bytes = chunk::open(&wanted, stored, form)?;
    // The cache only saves transfers: failing to keep something is no failure.
    let _ = keep(cache, &wanted.id.path(form), stored);
    Ok(bytes)
}

/// Keeps a chunk in the cache. Not synced: one torn by a power failure fails its digest.
#[expect(clippy::disallowed_methods, reason = "the cache can be wiped")]
pub(super) fn keep(cache: &Path, name: &str, stored: &[u8]) -> io::Result<()> {
    let path = cache.join(name);
    let staged = path.with_extension("new");
    if let Err(error) = fs::write(&staged, stored) {
        let Some(directory) = path.parent().filter(|_| error.kind() == io::ErrorKind::NotFound)
        else {
            return Err(error);
        };
        fs::create_dir_all(directory)?;
        fs::write(&staged, stored)?;
    }
    fs::rename(&staged, &path)
}
