//! Indexes of casync: what is read is written back to the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reconcile::format::casync::index::Index;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(index) = Index::read(bytes) {
        let mut written = Vec::new();
        assert!(index.write(&mut written).is_ok());
        assert_eq!(written, bytes);
    }
});
