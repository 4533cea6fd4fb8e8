//! Patches as `zstd --patch-from` makes and applies them.
//!
//! Such a patch is one ordinary frame of RFC 8878 whose matches may reach back into the old file, as if that came
//! before the new one. Nothing in the frame says so or names the old file: with a wrong one, the checksum of the
//! frame fails, when it has one. The window covers both files, so memory grows with them.

use std::io::{self, Read, Write};

use zstd::zstd_safe;

/// Largest window, as a power of two of bytes: what zstd takes on 64-bit hosts, 2 GiB.
const WINDOW_LOG_MAX: u32 = 31;

/// Smallest window, as a power of two of bytes.
const WINDOW_LOG_MIN: u32 = 10;

/// Windows up to this power of two of bytes are taken whatever the files' sizes: RFC 8878, section 3.1.1.1.2, asks for
/// 8 MiB, and levels up to 19 go that far by themselves.
const WINDOW_LOG_ALWAYS: u32 = 23;

/// Highest level of compression: those above need more memory than they are worth.
const LEVEL_MAX: i32 = 19;

/// Windows above this power of two need `--long` of who applies the patch with the tool.
const LONG_FROM_LOG: u32 = 27;

/// How many times the old file the new one may be for its patch to have a window over both. A patch says itself how much
/// memory it takes: that of a program that grows more is not worth it.
const GROWTH_MAX: u64 = 4;

/// Bytes of the new file that are written at a time.
const PIECE_BYTES: usize = 128 << 10;

/// Why a patch was not applied or made.
#[derive(Debug, thiserror::Error)]
pub enum ZstdDeltaError {
    /// The old and the new file are too large together.
    #[error(
        "patching with zstd: {bytes} bytes of old and new file are more than its window holds; use the full artifact"
    )]
    Window {
        /// Their size together.
        bytes: u64,
    },
    /// The patch makes more bytes than allowed.
    #[error(
        "applying a zstd patch: it makes more than the {size_max} bytes allowed; use the full artifact"
    )]
    TooLarge {
        /// Bytes that were allowed.
        size_max: u64,
    },
    /// The patch is damaged, or for another old file.
    #[error(
        "applying a zstd patch: at byte {at} of the result it is damaged or is for another old file; use the full artifact"
    )]
    Damaged {
        /// Bytes of the new file that were made before.
        at: u64,
        /// What zstd says.
        #[source]
        source: io::Error,
    },
    /// The new file cannot be written.
    #[error("applying a zstd patch: cannot write the new file")]
    New(#[source] io::Error),
    /// zstd failed.
    #[error("making a zstd patch: compressing failed; publish without a patch")]
    Compress(#[source] io::Error),
}

/// Writes the new file that `patch` makes of `old`, and says how many bytes it has: at most `size_max`.
///
/// Memory: the patch's window, which is at most the old file and a new one of `size_max` or four times as much together,
/// rounded up to a power of two, or 8 MiB.
/// The result is *unverified*: `into` should compute its digest.
pub fn apply(
    old: &[u8],
    patch: &[u8],
    into: &mut (impl Write + ?Sized),
    size_max: u64,
) -> Result<u64, ZstdDeltaError> {
    if zstd_safe::get_frame_content_size(patch).ok().flatten().is_some_and(|size| size > size_max) {
        return Err(ZstdDeltaError::TooLarge { size_max });
    }
    let old_bytes = old.len() as u64;
    let new_bytes = size_max.min(old_bytes.saturating_mul(GROWTH_MAX));
    let log = window_log(old_bytes.saturating_add(new_bytes));
    let log = log.clamp(WINDOW_LOG_ALWAYS, WINDOW_LOG_MAX);
    let damaged = |at| move |source| ZstdDeltaError::Damaged { at, source };
    let mut decoder =
        zstd::stream::read::Decoder::with_ref_prefix(patch, old).map_err(damaged(0))?;
    decoder.window_log_max(log).map_err(damaged(0))?;
    let mut decoder = decoder.single_frame();
    let mut piece = vec![0; PIECE_BYTES];
    let mut at = 0;
    loop {
        let count = decoder.read(&mut piece).map_err(damaged(at))?;
        let Some(made) = piece.get(..count).filter(|made| !made.is_empty()) else {
            into.flush().map_err(ZstdDeltaError::New)?;
            return Ok(at);
        };
        if count as u64 > size_max - at {
            return Err(ZstdDeltaError::TooLarge { size_max });
        }
        into.write_all(made).map_err(ZstdDeltaError::New)?;
        at += count as u64;
    }
}

/// A patch that makes `new` of `old`, for `zstd -d --patch-from` (with `--long=31` when [`needs_long`]).
///
/// `level` is zstd's, 1 to 19. Memory: about 5 times the larger file.
pub fn make(old: &[u8], new: &[u8], level: i32) -> Result<Vec<u8>, ZstdDeltaError> {
    let bytes = old.len() as u64 + new.len() as u64;
    let log = window_log(bytes);
    if log > WINDOW_LOG_MAX {
        return Err(ZstdDeltaError::Window { bytes });
    }
    let pack = || {
        let level = level.clamp(1, LEVEL_MAX);
        let mut encoder = zstd::stream::write::Encoder::with_ref_prefix(Vec::new(), level, old)?;
        encoder.window_log(log)?;
        encoder.long_distance_matching(true)?;
        encoder.include_checksum(true)?;
        encoder.include_contentsize(true)?;
        encoder.set_pledged_src_size(Some(new.len() as u64))?;
        encoder.write_all(new)?;
        encoder.finish()
    };
    pack().map_err(ZstdDeltaError::Compress)
}

/// Whether the tool refuses a patch between files of these sizes, in bytes, unless it is told `--long=31`.
pub fn needs_long(old_bytes: u64, new_bytes: u64) -> bool {
    window_log(old_bytes.saturating_add(new_bytes)) > LONG_FROM_LOG
}

/// The power of two that is at least `bytes`.
fn window_log(bytes: u64) -> u32 {
    (u64::BITS - bytes.saturating_sub(1).leading_zeros()).max(WINDOW_LOG_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn old_and_new() -> (Vec<u8>, Vec<u8>) {
        let mut state = 7_u32;
        let old: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .take(300_000)
        .collect();
        let new = [&old[100_000..], b"inserted", &old[..100_000]].concat();
        (old, new)
    }

    #[test]
    fn patches_are_small_and_make_the_new_file() {
        let (old, new) = old_and_new();
        for level in [1, 3, 19, 99] {
            let patch = make(&old, &new, level).unwrap();
            assert!(patch.len() < 1000, "{} bytes at level {level}", patch.len());
            let mut made = Vec::new();
            assert_eq!(apply(&old, &patch, &mut made, new.len() as u64).unwrap(), 300_008);
            assert_eq!(made, new);
        }
        let mut made = Vec::new();
        apply(b"", &make(b"", b"", 3).unwrap(), &mut made, 0).unwrap();
        assert_eq!(made, b"");
    }

    #[test]
    fn another_old_file_is_noticed() {
        let (old, new) = old_and_new();
        let patch = make(&old, &new, 3).unwrap();
        let mut other = old.clone();
        other[1000] ^= 1;
        for other in [&other[..], b""] {
            let error = apply(other, &patch, &mut Vec::new(), 1 << 20).unwrap_err();
            assert!(matches!(error, ZstdDeltaError::Damaged { .. }), "{error}");
        }
    }

    #[test]
    fn sizes_stay_within_the_limit_said_or_not() {
        let (old, new) = old_and_new();
        let told = make(&old, &new, 3).unwrap();
        // Without the new file's size in the frame.
        let mut silent =
            zstd::stream::write::Encoder::with_ref_prefix(Vec::new(), 3, &old).unwrap();
        silent.include_contentsize(false).unwrap();
        silent.write_all(&new).unwrap();
        let silent = silent.finish().unwrap();
        for patch in [told, silent] {
            let mut made = Vec::new();
            let error = apply(&old, &patch, &mut made, 299_999).unwrap_err();
            assert!(matches!(error, ZstdDeltaError::TooLarge { .. }), "{error}");
            assert!(made.len() < 300_000);
        }
    }
}
