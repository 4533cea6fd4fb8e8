//! Checksum files.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reconcile::format::checksums::parse;

fuzz_target!(|bytes: &[u8]| {
    for name in ["SHA256SUMS", "tool.tar.gz.sha256", "dist-manifest.json"] {
        if let Ok(checksums) = parse(name, bytes) {
            let _ = checksums.lookup("tool.tar.gz");
        }
    }
});
