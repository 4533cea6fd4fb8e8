//! Chunks of stores on this machine: opened some way ahead of the writer, or one at a time.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;

use crate::assemble::chunks::{OVERHEAD_BYTES_MAX, Stores};
use crate::assemble::crew::{Bench, Crew};
use crate::assemble::error::Refused;
use crate::format::casync::chunk::{ChunkId, Form, Wanted};

/// Chunks opened ahead at most: enough that no thread waits, few enough to stay in the processor's caches.
const AHEAD_MAX: usize = 32;

/// Their bytes at most, beside the one that is needed next.
const AHEAD_BYTES: u64 = 16 << 20;

/// A chunk that is being opened. Nothing comes where it was not to be had this way.
pub(super) type Slot = Receiver<Option<Vec<u8>>>;

/// Chunks in the order in which they are needed, opened by a crew.
pub(super) struct Ahead {
    stores: Arc<Stores>,
    crew: Arc<Crew>,
    /// Backwards.
    rest: Vec<Wanted>,
    opening: VecDeque<(Wanted, Slot)>,
    bytes: u64,
}

impl Ahead {
    pub(super) fn new(stores: Arc<Stores>, crew: Arc<Crew>, mut missing: Vec<Wanted>) -> Self {
        missing.reverse();
        Self { stores, crew, rest: missing, opening: VecDeque::new(), bytes: 0 }
    }

    /// The next chunk.
    pub(super) fn next(&mut self) -> Option<(ChunkId, Slot)> {
        while let Some(wanted) = self.rest.last().copied() {
            let fits = self.bytes.saturating_add(wanted.length) <= AHEAD_BYTES;
            if !self.opening.is_empty() && (self.opening.len() >= AHEAD_MAX || !fits) {
                break;
            }
            self.rest.pop();
            self.bytes = self.bytes.saturating_add(wanted.length);
            let stores = Arc::clone(&self.stores);
            let slot = self.crew.give(move |bench| stores.get_here(&wanted, bench));
            self.opening.push_back((wanted, slot));
        }
        let (wanted, slot) = self.opening.pop_front()?;
        self.bytes = self.bytes.saturating_sub(wanted.length);
        Some((wanted.id, slot))
    }
}

impl Stores {
    /// One chunk, verified, from the first place on this machine that has it whole.
    pub(super) fn get_here(&self, wanted: &Wanted, bench: &mut Bench) -> Option<Vec<u8>> {
        if let Some(bytes) = self.foreign.get(wanted) {
            return Some(bytes);
        }
        let cache = self.on_the_web().then(|| open_local(self.cache(), wanted, bench).ok());
        if let Some((bytes, _)) = cache.flatten() {
            return Some(bytes);
        }
        self.places.iter().filter_map(|place| place.local.as_deref()).find_map(|store| {
            let (bytes, stored) = open_local(store, wanted, bench).ok()?;
            self.fetched.fetch_add(stored, Ordering::Relaxed);
            Some(bytes)
        })
    }
}

/// A chunk of a store on this machine and how many bytes it has there.
pub(super) fn open_local(
    store: &Path,
    wanted: &Wanted,
    bench: &mut Bench,
) -> Result<(Vec<u8>, u64), Refused> {
    for form in [Form::Compressed, Form::Plain] {
        let path = store.join(wanted.id.path(form));
        let place = || path.display().to_string();
        let limit = wanted.length.saturating_add(OVERHEAD_BYTES_MAX);
        match read_file(&path, limit, &mut bench.buffer) {
            Ok(()) => {
                let opened = bench.opener.open(wanted, &bench.buffer, form);
                let opened = opened.map_err(|source| Refused::Wrong { place: place(), source })?;
                return Ok((opened, bench.buffer.len() as u64));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(Refused::Unreadable { place: place(), source }),
        }
    }
    Err(Refused::Missing { place: store.display().to_string() })
}

fn read_file(path: &Path, limit: u64, into: &mut Vec<u8>) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let mut file = File::options().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() > limit {
        return Err(io::ErrorKind::InvalidData.into());
    }
    into.resize(usize::try_from(metadata.len()).unwrap_or_default(), 0);
    file.read_exact(into)
}
