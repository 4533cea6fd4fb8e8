//! OpenPGP keyrings and signatures.
#![no_main]

use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use reconcile::trust::openpgp::{Keyring, verify_detached};

const DATA: &[u8] = include_bytes!("../../tests/golden/openpgp/SHA256SUMS");
const KEYRING: &[u8] = include_bytes!("../../tests/golden/openpgp/good.pgp");
const SIGNATURE: &[u8] = include_bytes!("../../tests/golden/openpgp/good.sig");

fuzz_target!(|bytes: &[u8]| {
    let now = Timestamp::constant(1_735_732_800, 0);
    if let Ok(keyring) = Keyring::read(KEYRING) {
        let _ = verify_detached(DATA, bytes, &keyring, now);
    }
    if let Ok(keyring) = Keyring::read(bytes) {
        let _ = verify_detached(DATA, SIGNATURE, &keyring, now);
    }
});
