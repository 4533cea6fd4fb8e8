//! Packs of a store: the chunks of an index, some MiB side by side in one file.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::BufReader;

use camino::Utf8Path;
use sha2::{Digest as _, Sha256};

use super::files::replace;
use super::store::Store;
use super::{PublishError, unique};
use crate::format::casync::chunk::ChunkId;
use crate::format::casync::index::ChunkRef;
use crate::format::casync::packs::{Pack, PackList, Place};

/// Bytes of a full pack: long enough that a request for it hardly counts, short enough to be kept when versions
/// change.
const PACK_BYTES: usize = 4 << 20;

/// Bytes below which a pack is not kept but joined with its successors.
const PACK_BYTES_MIN: u32 = 1 << 20;

/// Packs the chunks of an index and writes their list: how many packs are new. Packs of the list before are kept
/// while half of what is in them is still wanted, so that the store does not grow by every version as a whole.
pub(super) fn pack(
    store: &Store,
    chunks: &[ChunkRef],
    list: &Utf8Path,
) -> Result<u64, PublishError> {
    let failed = |source| PublishError::PackList { path: list.to_owned(), source };
    let wanted = unique(chunks);
    let mut packing = Packing { store, packs: Vec::new(), places: Vec::new(), new: 0 };
    let mut missing: HashSet<ChunkId> = wanted.iter().copied().collect();
    // A list that cannot be read is made anew.
    let old = File::open(list).ok().and_then(|file| PackList::read(BufReader::new(file)).ok());
    packing.keep(&old.unwrap_or_default(), &mut missing);
    let (mut bytes, mut inside) = (Vec::new(), Vec::new());
    for id in wanted.iter().filter(|id| missing.contains(*id)) {
        let stored = store.read(id)?;
        if bytes.len() + stored.len() > PACK_BYTES {
            packing.close(&mut bytes, &mut inside)?;
        }
        inside.push((*id, stored.len()));
        bytes.extend_from_slice(&stored);
    }
    packing.close(&mut bytes, &mut inside)?;
    let new = PackList::new(packing.packs, packing.places).map_err(failed)?;
    // The list names packs that must survive what it survives.
    store.sync()?;
    replace(list, |file| new.write(file).map_err(failed))?;
    Ok(packing.new)
}

#[derive(Debug)]
struct Packing<'s> {
    store: &'s Store,
    packs: Vec<Pack>,
    places: Vec<Place>,
    new: u64,
}

impl Packing<'_> {
    /// Takes over the packs that are worth it, and takes their chunks off what is missing.
    fn keep(&mut self, old: &PackList, missing: &mut HashSet<ChunkId>) {
        let mut used = vec![0_u64; old.packs().len()];
        for place in old.places().iter().filter(|place| missing.contains(&place.id)) {
            if let Some(used) = used.get_mut(place.pack as usize) {
                *used += u64::from(place.length);
            }
        }
        let mut numbers = HashMap::new();
        for ((number, pack), used) in (0..).zip(old.packs()).zip(used) {
            let length = u64::from(pack.length);
            let worth = pack.length >= PACK_BYTES_MIN && used * 2 >= length;
            if worth && self.is_whole(pack) {
                numbers.insert(number, self.number());
                self.packs.push(*pack);
            }
        }
        for place in old.places() {
            if let Some(&pack) = numbers.get(&place.pack)
                && missing.remove(&place.id)
            {
                self.places.push(Place { pack, ..*place });
            }
        }
    }

    /// Whether a pack is there, and is what its name says.
    fn is_whole(&self, pack: &Pack) -> bool {
        let bytes = self.store.read_named(&pack.path()).unwrap_or_default();
        <[u8; 32]>::from(Sha256::digest(&bytes)) == pack.digest
    }

    /// Number of the next pack.
    fn number(&self) -> u32 {
        // What no list can hold is refused when the list is made.
        u32::try_from(self.packs.len()).unwrap_or(u32::MAX)
    }

    /// Writes a pack with these chunks, if there are any.
    fn close(
        &mut self,
        bytes: &mut Vec<u8>,
        inside: &mut Vec<(ChunkId, usize)>,
    ) -> Result<(), PublishError> {
        if bytes.is_empty() {
            return Ok(());
        }
        // Chunks have at most 128 MiB, and full packs far less.
        let short = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let number = self.number();
        let mut offset = 0;
        for (id, length) in inside.drain(..) {
            self.places.push(Place { id, pack: number, offset, length: short(length) });
            offset = offset.saturating_add(short(length));
        }
        let digest = Sha256::digest(&*bytes).into();
        let pack = Pack { digest, length: short(bytes.len()) };
        if !self.is_whole(&pack) {
            self.store.add(&pack.path(), bytes)?;
            self.new += 1;
        }
        self.packs.push(pack);
        bytes.clear();
        Ok(())
    }
}
