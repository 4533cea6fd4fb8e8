//! Bounds on what an artifact may cost, and the account kept against them.
//!
//! The bounds that an app may raise are [`UnpackLimits`]; those here are fixed. Of 5,384 recorded
//! release assets none comes near any of them.

use crate::model::step::UnpackLimits;
use crate::unpack::error::UnpackError;

/// Bytes in one component of a path: what Linux file systems store.
pub(super) const COMPONENT_BYTES_MAX: usize = 255;

/// Bytes in a path and in the target of a link: Linux's `PATH_MAX`.
pub(super) const PATH_BYTES_MAX: usize = 4096;

/// Components in a path: the deepest recorded asset has 23.
pub(super) const DEPTH_MAX: usize = 40;

/// Components in the target of a link: up from the deepest place and down to another.
pub(super) const TARGET_COMPONENTS_MAX: usize = 2 * DEPTH_MAX;

/// Links followed to find what a link leads to. Real archives need 3; the product of this, the
/// components of a target and the entries bounds the work.
pub(super) const LINK_HOPS_MAX: usize = 8;

/// Bytes in one extended tar header: 100 times what any recorded asset needs, held in memory.
pub(super) const EXTENDED_BYTES_MAX: u64 = 1 << 20;

/// Bytes read to list a zip archive: 200,000 entries with names of 200 bytes and more.
pub(super) const ZIP_DIRECTORY_BYTES_MAX: u64 = 64 << 20;

/// Unpacked bytes before the ratio is looked at: small archives of zeros are common and harmless.
pub(super) const RATIO_FREE_BYTES: u64 = 64 << 20;

/// Base-2 logarithm of the largest zstd window accepted, 128 MiB: what `zstd --long` writes.
pub(super) const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// Memory an xz stream may demand in bytes: `xz -9` needs 65 MiB.
pub(super) const XZ_MEMORY_MAX: u64 = 256 << 20;

/// Bytes of tar structure granted to each entry on top of its content: header, an extended header with
/// its own, and padding.
const TAR_BYTES_PER_ENTRY: u64 = 4 * 512;

/// Bytes granted to a stream on top of everything else: tar's last record and extended headers.
const STREAM_SLACK_BYTES: u64 = 16 << 20;

/// Largest number of bytes a packed stream may inflate to, and how fast it may grow.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamBound {
    /// Packed bytes.
    packed: u64,
    /// Unpacked bytes per packed byte.
    ratio: u64,
    /// Unpacked bytes in all.
    bytes: u64,
}

impl StreamBound {
    pub(super) fn new(limits: &UnpackLimits, packed: u64) -> Self {
        let structure = limits.entries.saturating_mul(TAR_BYTES_PER_ENTRY);
        let bytes = limits.bytes.saturating_add(structure).saturating_add(STREAM_SLACK_BYTES);
        Self { packed, ratio: limits.ratio, bytes }
    }

    /// Whether `unpacked` bytes are still acceptable.
    pub(super) fn check(&self, unpacked: u64) -> Result<(), UnpackError> {
        if unpacked > self.bytes {
            return Err(UnpackError::Limit { what: "bytes", max: self.bytes });
        }
        if unpacked > RATIO_FREE_BYTES && unpacked > self.packed.saturating_mul(self.ratio) {
            let what = "unpacked bytes for each packed byte";
            return Err(UnpackError::Limit { what, max: self.ratio });
        }
        Ok(())
    }
}

/// What was unpacked so far.
#[derive(Debug)]
pub(super) struct Account {
    limits: UnpackLimits,
    entries: u64,
    bytes: u64,
}

impl Account {
    pub(super) fn new(limits: UnpackLimits) -> Self {
        Self { limits, entries: 0, bytes: 0 }
    }

    /// One more entry of any type.
    pub(super) fn entry(&mut self) -> Result<(), UnpackError> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(UnpackError::Limit { what: "entries", max: self.limits.entries });
        }
        Ok(())
    }

    /// One more file of `bytes`, asked before any of them is written.
    pub(super) fn file(&mut self, bytes: u64) -> Result<(), UnpackError> {
        if bytes > self.limits.file_bytes {
            return Err(UnpackError::Limit {
                what: "bytes in one file",
                max: self.limits.file_bytes,
            });
        }
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.limits.bytes {
            return Err(UnpackError::Limit { what: "bytes", max: self.limits.bytes });
        }
        Ok(())
    }
}
