//! Where the bytes of a generation will come from, told before any of them is fetched.

use std::collections::HashSet;
use std::fs::File;
use std::io::BufReader;

use sha2::{Digest as _, Sha256};

use super::{INDEX, Tree};
use crate::format::casync::chunk::{ChunkId, Form, Wanted};
use crate::format::casync::deltas::{self, DELTA_BYTES_MAX};
use crate::format::casync::index::Index;
use crate::format::casync::packs::{LIST_SUFFIX, PackList, batches};
use crate::model::step::PackSource;
use crate::model::{Algorithm, Digest};
use crate::resource::tree::observe::takeable;
use crate::resource::tree::wanted::Ways;
use crate::source::casync::IndexFile;

/// Missing chunks from which on it is worth a request to ask for a list of packs.
const PACKS_WORTH: usize = 16;

/// How a chunk may lie in the cache.
const FORMS: [Form; 2] = [Form::Compressed, Form::Plain];

/// Longest list of packs read, in bytes: one of 380,000 chunks.
pub(super) const LIST_BYTES_MAX: u64 = 16 << 20;

/// The ways, and the packs that are a part of them.
pub(super) struct Found {
    pub(super) ways: Ways,
    pub(super) packs: Option<PackSource>,
    pub(super) delta: Option<String>,
}

/// What must be fetched.
pub(super) struct Missing {
    pub(super) ways: Ways,
    /// What the tree in use never had, in the order of the stream.
    chunks: Vec<Wanted>,
    /// Bytes of what somebody changed there: they come chunk by chunk, when they are needed.
    spoilt_bytes: u64,
}

impl Tree<'_> {
    /// Where the bytes of an index will come from, when they are taken from `stores`.
    pub(super) async fn ways(&self, file: &IndexFile, index: &Index, stores: &[String]) -> Found {
        let Missing { mut ways, chunks: missing, spoilt_bytes } =
            self.missing(index, &HashSet::new());
        let mut found = Found { ways, packs: None, delta: None };
        let on_the_web = stores.iter().any(|store| !store.starts_with("file:"));
        if !on_the_web || missing.len() < PACKS_WORTH {
            return found;
        }
        // What somebody changed cannot be patched.
        if spoilt_bytes == 0
            && let Some((url, bytes)) = self.delta(file, ways.fetched_bytes).await
        {
            found.delta = Some(url);
            found.ways.delta_bytes = Some(bytes);
            found.ways.fetched_bytes = bytes;
            return found;
        }
        let Some((source, list)) = self.packs(file).await else { return found };
        let batches = batches(&list, &missing, |_| false);
        let packed = batches.iter().flat_map(|batch| &batch.chunks);
        let packed = packed.filter(|(_, spot)| spot.is_some()).count() as u64;
        if packed == 0 {
            return found;
        }
        let reads = || batches.iter().flat_map(|batch| &batch.reads);
        let unpacked: u64 = batches
            .iter()
            .flat_map(|batch| &batch.chunks)
            .filter(|(_, spot)| spot.is_none())
            .map(|(wanted, _)| stored_at_most(wanted.length))
            .sum();
        let read: u64 = reads().map(|read| read.bytes.end - read.bytes.start).sum();
        ways.packed_chunks = packed;
        ways.pack_requests = reads().count() as u64;
        ways.fetched_bytes = read + unpacked + spoilt_bytes;
        found.ways = ways;
        found.packs = Some(source);
        found
    }

    /// What must be fetched, at most; `kept` are chunks that generations have besides.
    pub(super) fn missing(&self, index: &Index, kept: &HashSet<ChunkId>) -> Missing {
        let known = self.installed_chunks();
        let takeable = self.takeable_chunks();
        // A store like any other; it is there only while something was fetched that is not in use yet.
        let cache = Some(&self.question.cache.chunks).filter(|cache| cache.is_dir());
        let is_cached = |id: &ChunkId| {
            let has = |form: &Form| cache.as_ref().is_some_and(|c| c.join(id.path(*form)).exists());
            FORMS.iter().any(has)
        };
        let mut ways = Ways { bytes: index.length(), ..Ways::default() };
        let (mut seen, mut start, mut chunks, mut spoilt_bytes) =
            (HashSet::new(), 0, Vec::new(), 0);
        for (number, chunk) in index.chunks.iter().enumerate() {
            let length = chunk.end - start;
            start = chunk.end;
            let listed = known.contains(&chunk.id);
            if listed && takeable.as_ref().is_none_or(|takeable| takeable.contains(&chunk.id)) {
                ways.reused_bytes += length;
            } else if kept.contains(&chunk.id) {
                ways.kept_bytes += length;
            } else if !seen.insert(chunk.id) {
                // Once is enough.
            } else if is_cached(&chunk.id) {
                ways.cached_chunks += 1;
            } else {
                ways.fetched_chunks += 1;
                ways.fetched_bytes += stored_at_most(length);
                if listed {
                    spoilt_bytes += stored_at_most(length);
                } else {
                    chunks.extend(index.wanted(number));
                }
            }
        }
        Missing { ways, chunks, spoilt_bytes }
    }

    /// Chunks of the tree in use.
    fn installed_chunks(&self) -> HashSet<ChunkId> {
        let installed = self.observed.current.as_ref().and_then(|slot| {
            let path = self.observed.generations.get(slot)?.real.join(INDEX);
            Index::read(BufReader::new(File::open(path).ok()?)).ok()
        });
        installed.iter().flat_map(|index| &index.chunks).map(|chunk| chunk.id).collect()
    }

    /// Those of them that its files still have; `None` where nobody changed any.
    fn takeable_chunks(&self) -> Option<HashSet<ChunkId>> {
        if self.observed.drift.is_empty() && !self.observed.rotten {
            return None;
        }
        let path = &self.spec.path;
        let path = self.question.root.join(path.strip_prefix("/").unwrap_or(path));
        Some(takeable(self.observed, &path))
    }

    /// The delta from the tree in use that lies beside an index on the web, where it saves half or more.
    async fn delta(&self, file: &IndexFile, otherwise: u64) -> Option<(String, u64)> {
        let old = self.observed.current_head()?.index.hex();
        let url = file.beside(&deltas::suffix(&old, &file.sha256.hex()))?;
        if url.scheme() == "file" {
            return None;
        }
        let bytes = self.reader.size(url.as_str()).await.ok()??;
        (bytes <= DELTA_BYTES_MAX && bytes <= otherwise / 2).then(|| (url.into(), bytes))
    }

    /// The list of packs that lies beside an index on the web; none is as good as no answer.
    async fn packs(&self, file: &IndexFile) -> Option<(PackSource, PackList)> {
        let url = file.beside(LIST_SUFFIX).filter(|url| url.scheme() != "file")?;
        let list = self.reader.document(url.as_str(), "*/*", LIST_BYTES_MAX).await.ok()?;
        let hash: [u8; 32] = Sha256::digest(list.body.as_slice()).into();
        let digest = Digest::new(Algorithm::Sha256, &hash)?;
        let read = PackList::read(list.body.as_slice()).ok()?;
        Some((PackSource { list: url.into(), digest }, read))
    }
}

/// What a chunk of so many bytes takes in a store when nothing of it can be compressed: as zstd frames it (RFC 8878), with
/// 3 bytes for each block of 128 KiB, and a head and a checksum of at most 22.
fn stored_at_most(length: u64) -> u64 {
    length.saturating_add(32 + length / (32 << 10))
}
