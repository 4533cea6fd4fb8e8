//! Formats of systemd-sysupdate: definitions, patterns and manifests.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reconcile::format::sysupdate::definition::{DefinitionText, component, feature, transfer};
use reconcile::format::sysupdate::manifest;
use reconcile::format::sysupdate::pattern::{Match, Pattern};
use reconcile::format::sysupdate::specifier::Specifiers;

fuzz_target!(|parts: (&[u8], &str, &str)| {
    let (bytes, pattern, name) = parts;
    let main = DefinitionText { path: "x".to_owned(), bytes: bytes.to_vec() };
    let host = Specifiers::default();
    let _ = transfer("x", &main, std::slice::from_ref(&main), &host);
    let _ = feature("x", &main, &[], &host);
    let _ = component("x", std::slice::from_ref(&main), &host);
    if let Ok(manifest) = manifest::parse(bytes) {
        for entry in manifest.entries() {
            assert!(
                !entry.path.starts_with('/') && !entry.path.split('/').any(|part| part == "..")
            );
        }
    }
    if let Ok(pattern) = Pattern::parse(pattern)
        && let Match::Yes(fields) = pattern.compare(name)
    {
        let written = pattern.name(&fields).expect("every field was read");
        if !pattern.any_directory() {
            assert!(matches!(pattern.compare(&written), Match::Yes(_)));
        }
    }
});
