//! Chunks of casync: no more bytes than wanted, whatever the compressed form says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reconcile::format::casync::chunk::{ChunkId, DigestKind, Form, Wanted, open};

fuzz_target!(|bytes: &[u8]| {
    let id = ChunkId::new([0; 32]);
    let wanted = Wanted { id, digest: DigestKind::Sha256, length: 1 << 16 };
    assert!(open(&wanted, bytes, Form::Compressed).is_err());
});
