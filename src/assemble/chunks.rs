//! Chunks from wherever they are: the cache, stores on this machine, stores on the web.
//!
//! Whatever was fetched stays in the cache, a chunk store like any other, until the tree is complete: the next
//! attempt goes on where this one stopped.

use std::cell::Cell;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use futures_util::StreamExt;
use tokio::sync::{mpsc, oneshot};

use crate::assemble::crew::{Bench, Crew};
use crate::assemble::error::{AssembleError, Refused};
use crate::assemble::foreign::Foreign;
use crate::assemble::here::{Slot, open_local};
use crate::assemble::keep::keep;
use crate::assemble::packed::{BATCHES_MAX, Stored};
use crate::fetch::{Client, FetchError, Line, piece_by};
use crate::format::casync::chunk::{ChunkError, ChunkId, Form, Wanted};
use crate::format::casync::packs::{Batch, PackList, batches};

/// Chunks asked for at once on the web: with 20 ms to a server, 3,200 in a second.
const IN_FLIGHT_MAX: usize = 64;

/// Connections to a store until it has shown that it keeps them. A simple server lets five wait (`listen(5)`, as
/// Python's does); those beyond are not answered, and asked again after a second.
const IN_FLIGHT_FIRST: usize = 6;

/// Memory for chunks that are under way, in bytes.
const WINDOW_BYTES: u64 = 48 << 20;

/// Chunks that wait for the writer at most, while they are opened.
const WAITING_MAX: usize = 32;

/// What a chunk may have beyond its length in a store: compression that did not help.
pub(super) const OVERHEAD_BYTES_MAX: u64 = 64 << 10;

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
    pub(super) foreign: Foreign,
    /// Chunks of packs that were not what the list says.
    pack_failures: AtomicU32,
    pub(super) fetched: AtomicU64,
}

/// What was got of a chunk.
#[derive(Debug)]
enum Brought {
    /// Nothing: it is in a place on this machine.
    Here,
    /// Its stored form, as a part of a pack.
    Packed(Stored),
    /// Its stored form, from the place with that number.
    Stored { stored: Vec<u8>, form: Form, place: usize },
    /// All of it, verified.
    Opened(Vec<u8>),
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
            pack_failures: AtomicU32::new(0),
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
    pub(super) fn on_the_web(&self) -> bool {
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
        self.get_from_any(wanted, tried, None).await
    }

    /// One chunk from any place, but for that which was `asked` already.
    async fn get_from_any(
        self: &Arc<Self>,
        wanted: Wanted,
        mut tried: Vec<Refused>,
        asked: Option<usize>,
    ) -> Result<Vec<u8>, AssembleError> {
        for round in [Round::Living, Round::Dead] {
            for (number, place) in self.places.iter().enumerate() {
                let again = round == Round::Living && asked == Some(number);
                if again || (round == Round::Dead) != place.dead.load(Ordering::Relaxed) {
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
        let (stored, form) = self.fetch(place, wanted).await?;
        let missing = || Refused::Missing { place: place.url.clone() };
        let (url, cache) = (place.url.clone(), self.cache.clone());
        let opened = tokio::task::spawn_blocking(move || {
            let opened = open_and_keep((&cache, form), &wanted, &stored, &mut Bench::default());
            opened.map_err(|source| Refused::Wrong { place: url, source })
        });
        let opened = opened.await.unwrap_or_else(|_| Err(missing()));
        opened.inspect_err(|_| place.failed())
    }

    /// One chunk as it is stored, unverified, from the first place on the web; from all others only if that fails.
    async fn bring(
        self: &Arc<Self>,
        wanted: Wanted,
        read: Option<Stored>,
        here: &HashSet<ChunkId>,
    ) -> Result<Brought, AssembleError> {
        if let Some(stored) = read {
            return Ok(Brought::Packed(stored));
        }
        if here.contains(&wanted.id) {
            return Ok(Brought::Here);
        }
        let mut places = self.places.iter().enumerate();
        let living =
            places.find(|(_, place)| place.local.is_none() && !place.dead.load(Ordering::Relaxed));
        let (mut tried, mut asked) = (Vec::new(), None);
        if let Some((number, place)) = living {
            match self.fetch(place, wanted).await {
                Ok((stored, form)) => return Ok(Brought::Stored { stored, form, place: number }),
                Err(refused) => tried.push(refused),
            }
            asked = Some(number);
        }
        self.get_from_any(wanted, tried, asked).await.map(Brought::Opened)
    }

    /// Has a chunk verified. It is kept as it came even if nobody needs it any more.
    fn open(self: &Arc<Self>, crew: &Crew, wanted: Wanted, brought: Brought) -> Slot {
        let stores = Arc::clone(self);
        crew.give(move |bench| match brought {
            Brought::Opened(bytes) => Some(bytes),
            Brought::Here => stores.get_here(&wanted, bench),
            Brought::Packed(range) => {
                let place = (stores.cache(), Form::Compressed);
                let opened = open_and_keep(place, &wanted, range.bytes(), bench);
                opened.inspect_err(|_| stores.pack_failed()).ok()
            }
            Brought::Stored { stored, form, place } => {
                let opened = open_and_keep((stores.cache(), form), &wanted, &stored, bench);
                let failed = |_: &_| stores.places.get(place).map_or((), Place::failed);
                opened.inspect_err(failed).ok()
            }
        })
    }

    /// The chunks in the order in which they are wanted, grouped by the requests that bring them, and those that are
    /// on this machine.
    async fn batches(self: &Arc<Self>, missing: Vec<Wanted>) -> (Vec<Batch>, HashSet<ChunkId>) {
        let stores = Arc::clone(self);
        let grouped = tokio::task::spawn_blocking(move || {
            let seeds = stores.places.iter().map_while(|place| place.local.as_deref());
            let near: Vec<&Path> =
                seeds.chain([stores.cache()]).filter(|store| store.is_dir()).collect();
            let is_here = |wanted: &&Wanted| stores.is_here(wanted, &near);
            let here: HashSet<ChunkId> =
                missing.iter().filter(is_here).map(|wanted| wanted.id).collect();
            let packs = stores.packs.clone().unwrap_or_default();
            (batches(&packs, &missing, |wanted| here.contains(&wanted.id)), here)
        });
        grouped.await.unwrap_or_default()
    }

    /// Whether a chunk is on this machine, in a place that is asked before any on the web.
    fn is_here(&self, wanted: &Wanted, near: &[&Path]) -> bool {
        let has = |store: &&Path| {
            let mut forms = [Form::Compressed, Form::Plain].into_iter();
            forms.any(|form| store.join(wanted.id.path(form)).exists())
        };
        self.foreign.has(&wanted.id) || near.iter().any(has)
    }

    /// The stored bytes of one chunk from a place on the web, and their form.
    async fn fetch(&self, place: &Place, wanted: Wanted) -> Result<(Vec<u8>, Form), Refused> {
        let fetched = match self.fetch_as(place, wanted, Form::Compressed).await {
            Err(Refused::Missing { .. }) => {
                (self.fetch_as(place, wanted, Form::Plain).await?, Form::Plain)
            }
            fetched => (fetched?, Form::Compressed),
        };
        self.fetched.fetch_add(fetched.0.len() as u64, Ordering::Relaxed);
        Ok(fetched)
    }

    async fn fetch_as(
        &self,
        place: &Place,
        wanted: Wanted,
        form: Form,
    ) -> Result<Vec<u8>, Refused> {
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

    /// Gets chunks in this order from the web, many at once, and hands them out in the same order while they are being
    /// opened. Ends early when nobody takes them any more.
    pub(super) async fn feed(
        self: Arc<Self>,
        crew: Arc<Crew>,
        missing: Vec<Wanted>,
        to: mpsc::Sender<(ChunkId, Slot)>,
    ) -> Result<(), AssembleError> {
        let fitting = fitting(&missing);
        if self.packs.is_some() {
            // Whoever has packs is a server for many, and what is read from them belongs together.
            return self.feed_some(&crew, missing, &to, IN_FLIGHT_MAX.min(fitting)).await.map(drop);
        }
        // The first ones tell how many connections the store can take.
        let mut first = missing;
        let rest = first.split_off(first.len().min(2 * IN_FLIGHT_FIRST));
        if self.feed_some(&crew, first, &to, IN_FLIGHT_FIRST.min(fitting)).await? == Fed::Stopped {
            return Ok(());
        }
        let keeps = self.places.iter().any(|place| place.keeps.load(Ordering::Relaxed));
        let most = if keeps { IN_FLIGHT_MAX } else { IN_FLIGHT_FIRST };
        self.feed_some(&crew, rest, &to, most.min(fitting)).await.map(drop)
    }

    /// The same for some of them, at most so many at once.
    async fn feed_some(
        self: &Arc<Self>,
        crew: &Crew,
        missing: Vec<Wanted>,
        to: &mpsc::Sender<(ChunkId, Slot)>,
        most: usize,
    ) -> Result<Fed, AssembleError> {
        let (stores, stopped) = (self, &Cell::new(false));
        let (batches, here) = self.batches(missing).await;
        let here = &here;
        let mut got = futures_util::stream::iter(batches)
            .take_while(|_| std::future::ready(!stopped.get()))
            .map(|batch| stores.read(batch))
            .buffered(BATCHES_MAX)
            .flat_map(futures_util::stream::iter)
            .take_while(|_| std::future::ready(!stopped.get()))
            .map(|(wanted, read)| async move { (wanted, stores.bring(wanted, read, here).await) })
            .buffered(most);
        let mut outcome = Ok(Fed::All);
        while let Some((wanted, brought)) = got.next().await {
            match brought {
                Ok(brought) => {
                    // What is under way already is opened in any case, so that the cache has it for the next attempt.
                    let slot = self.open(crew, wanted, brought);
                    if !stopped.get() && to.send((wanted.id, slot)).await.is_err() {
                        outcome = Ok(Fed::Stopped);
                        stopped.set(true);
                    }
                }
                Err(_) if stopped.get() => {}
                Err(error) => {
                    outcome = Err(error);
                    stopped.set(true);
                }
            }
        }
        outcome
    }

    /// Notes that a pack did not hold what its list says.
    fn pack_failed(&self) {
        if self.pack_failures.fetch_add(1, Ordering::Relaxed) + 1 >= FAILURES_MAX {
            for place in &self.places {
                place.packless.store(true, Ordering::Relaxed);
            }
        }
    }
}

/// How many of these chunks may be under way at once.
fn fitting(missing: &[Wanted]) -> usize {
    let longest = missing.iter().map(|wanted| wanted.length).max().unwrap_or(1).max(1);
    // Compressed and uncompressed, at the same time.
    usize::try_from(WINDOW_BYTES / (2 * longest)).unwrap_or(1).max(1)
}

/// How many chunks may wait for the writer while they are opened.
pub(super) fn waiting(missing: &[Wanted]) -> usize {
    (fitting(missing) / 2).clamp(1, WAITING_MAX)
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
    let read = move || open_local(&store, &wanted, &mut Bench::default());
    let read = tokio::task::spawn_blocking(read).await;
    read.unwrap_or(Err(Refused::Missing { place }))
}

/// Verifies a chunk that came from elsewhere and keeps it as it came.
fn open_and_keep(
    (cache, form): (&Path, Form),
    wanted: &Wanted,
    stored: &[u8],
    bench: &mut Bench,
) -> Result<Vec<u8>, ChunkError> {
    let bytes = bench.opener.open(wanted, stored, form)?;
    // The cache only saves transfers: failing to keep something is no failure.
    let _ = keep(cache, &wanted.id.path(form), stored);
    Ok(bytes)
}
