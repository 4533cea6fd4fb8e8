//! Arbitrary bytes as a list of packs.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reconcile::format::casync::packs::PackList;

fuzz_target!(|bytes: &[u8]| {
    let _ = PackList::read(bytes);
});
