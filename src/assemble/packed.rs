//! Chunks by the packful: one request brings many, where a store on the web has packs.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::StreamExt;

use crate::assemble::chunks::Stores;
use crate::fetch::{FetchError, piece_of};
use crate::format::casync::chunk::Wanted;
use crate::format::casync::packs::{Batch, PackRead};

/// Batches that are read at once or wait for their turn, each of some 4 MiB.
pub(super) const BATCHES_MAX: usize = 4;

/// Requests of one batch at once.
const READS_MAX: usize = 8;

/// The stored form of a chunk within bytes that were read together.
#[derive(Debug)]
pub(super) struct Stored {
    read: Arc<Vec<u8>>,
    place: Range<usize>,
}

impl Stored {
    pub(super) fn bytes(&self) -> &[u8] {
        self.read.get(self.place.clone()).unwrap_or_default()
    }
}

impl Stores {
    /// Reads the packs of a batch. What cannot be read so is left to be asked for chunk by chunk.
    pub(super) async fn read(&self, batch: Batch) -> Vec<(Wanted, Option<Stored>)> {
        let reads = futures_util::stream::iter(&batch.reads).map(|read| self.read_pack(read));
        let reads: Vec<Option<Arc<Vec<u8>>>> = reads.buffered(READS_MAX).collect().await;
        let chunks = batch.chunks.into_iter().map(|(wanted, spot)| {
            let stored = spot.and_then(|spot| {
                let read = Arc::clone(reads.get(spot.read)?.as_ref()?);
                Some(Stored { read, place: spot.bytes })
            });
            (wanted, stored)
        });
        chunks.collect()
    }

    /// A range of a pack, from the first store on the web that gives it.
    async fn read_pack(&self, read: &PackRead) -> Option<Arc<Vec<u8>>> {
        for place in self.places.iter().filter(|place| place.local.is_none()) {
            if place.dead.load(Ordering::Relaxed) || place.packless.load(Ordering::Relaxed) {
                continue;
            }
            let url = format!("{}/{}", place.url, read.pack.path());
            match piece_of(&self.client, &url, read.bytes.clone()).await {
                Ok((bytes, line)) => {
                    place.used(line);
                    self.fetched.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    return Some(Arc::new(bytes));
                }
                Err(FetchError::Unreachable { .. } | FetchError::Tls { .. }) => {
                    place.dead.store(true, Ordering::Relaxed);
                }
                Err(_) => place.packless.store(true, Ordering::Relaxed),
            }
        }
        None
    }
}
