//! Programs, looked at before they are linked.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = reconcile::format::elf::inspect(bytes);
});
