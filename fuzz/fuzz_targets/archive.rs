//! Archives: whatever the bytes are, nothing appears outside the staging directory.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reconcile::model::step::{Binaries, Strip, UnpackLimits, UnpackRules};
use reconcile::model::{Blob, Evidence, Level, release::Subject};

fuzz_target!(|bytes: &[u8]| {
    let Ok(place) = tempfile::tempdir() else { return };
    let path = place.path().join("blob");
    if std::fs::write(&path, bytes).is_err() {
        return;
    }
    let blob = Blob { path, size: bytes.len() as u64, digests: Vec::new() };
    let evidence = Evidence {
        signer: None,
        level: Level::None,
        digests: Vec::new(),
        stated_by: "nobody".to_owned(),
        of: Subject::Artifact,
    };
    let Ok(verified) = reconcile::trust::verify(blob, &evidence) else { return };
    let rules = UnpackRules {
        strip: Strip::Auto,
        binaries: Binaries::Auto,
        bare_name: "tool".to_owned(),
        limits: UnpackLimits { entries: 1000, bytes: 1 << 24, file_bytes: 1 << 24, ratio: 200 },
    };
    let _ = reconcile::unpack::unpack(&verified, "tool", &place.path().join("into"), &rules);
    for entry in std::fs::read_dir(place.path()).into_iter().flatten().flatten() {
        assert!(matches!(entry.file_name().to_str(), Some("blob" | "into")));
    }
});
