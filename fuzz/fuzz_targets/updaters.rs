//! Documents of Choria's go-updater and of go-selfupdate: what is read is written and read alike.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reconcile::format::{choria, selfupdate};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(release) = choria::Release::parse(bytes) {
        let again = choria::Release::parse(release.render().as_bytes());
        assert!(again.is_ok_and(|again| again == release));
    }
    if let Ok(manifest) = selfupdate::Manifest::parse(bytes) {
        let again = selfupdate::Manifest::parse(manifest.render().as_bytes());
        assert!(again.is_ok_and(|again| again == manifest));
    }
});
