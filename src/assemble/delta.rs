//! A delta becomes chunks: patches applied to the installed generation, and what they make verified.

use std::path::Path;

use crate::assemble::keep::keep;
use crate::assemble::old::Old;
use crate::format::casync::chunk::{Form, verify};
use crate::format::casync::deltas::{DELTA_BYTES_MAX, PATCH_BYTES, Patch, read};
use crate::format::casync::index::Index;
use crate::format::zstd_delta;

/// Puts the chunks that a delta makes of a generation into the cache, uncompressed. What cannot be made of it is left to
/// be fetched: the delta may be damaged, or somebody changed a file.
pub(super) fn unpack(delta: &[u8], old: &Old, index: &Index, cache: &Path) {
    if delta.len() as u64 > DELTA_BYTES_MAX {
        return;
    }
    for patch in read(delta).unwrap_or_default() {
        // The next one may do.
        let _ = apply(&patch, old, index, cache);
    }
}

fn apply(patch: &Patch, old: &Old, index: &Index, cache: &Path) -> Option<()> {
    let first = usize::try_from(patch.first).ok()?;
    let end = first.checked_add(usize::try_from(patch.chunks).ok()?)?;
    let chunks = index.chunks.get(first..end)?;
    let length = chunks.last()?.end - index.start(first)?;
    if chunks.len() > 1 && length > PATCH_BYTES {
        return None;
    }
    let base = old.bytes(patch.old_from, u64::from(patch.old_length))?;
    let mut made = Vec::new();
    zstd_delta::apply(&base, &patch.bytes, &mut made, length).ok()?;
    let mut rest = made.as_slice();
    for number in first..end {
        let wanted = index.wanted(number)?;
        let (chunk, after) = rest.split_at_checked(usize::try_from(wanted.length).ok()?)?;
        rest = after;
        verify(&wanted, chunk).ok()?;
        keep(cache, &wanted.id.path(Form::Plain), chunk).ok()?;
    }
    Some(())
}
