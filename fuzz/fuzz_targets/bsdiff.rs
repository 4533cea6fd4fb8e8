//! Binary patches: whatever the bytes are, no more is made than allowed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reconcile::format::{bsdiff, zstd_delta};

/// Bytes that a patch may make.
const SIZE_MAX: u64 = 1 << 16;

fuzz_target!(|bytes: &[u8]| {
    let old = b"what was there before, and before that".repeat(10);
    let mut made = Vec::new();
    let _ = bsdiff::apply(&old[..], bytes, &mut made, SIZE_MAX);
    assert!(made.len() as u64 <= SIZE_MAX);
    made.clear();
    let _ = zstd_delta::apply(&old, bytes, &mut made, SIZE_MAX);
    assert!(made.len() as u64 <= SIZE_MAX);
});
