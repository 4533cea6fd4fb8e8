//! Patches and documents of updaters: what real tools wrote, and what nobody should have written.

use std::path::Path;
use std::sync::LazyLock;

use proptest::prelude::*;
use reconcile::format::packed::Packing;
use reconcile::format::{bsdiff, choria, go::Platform, selfupdate, zstd_delta};
use reconcile::model::facts::Arch;
use reconcile::model::{Algorithm, Digest, Version};
use sha2::{Digest as _, Sha256};

/// A file of `tests/golden`.
fn golden(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)).unwrap()
}

fn sha256(bytes: &[u8]) -> Digest {
    Digest::new(Algorithm::Sha256, &Sha256::digest(bytes)).unwrap()
}

fn version(text: &str) -> Version {
    text.parse().unwrap()
}

fn patched(old: &[u8], patch: &[u8], size_max: u64) -> Result<Vec<u8>, bsdiff::ApplyError> {
    let mut made = Vec::new();
    bsdiff::apply(old, patch, &mut made, size_max).map(|_| made)
}

fn zstd_patched(old: &[u8], patch: &[u8], size_max: u64) -> Option<Vec<u8>> {
    let mut made = Vec::new();
    zstd_delta::apply(old, patch, &mut made, size_max).ok().map(|_| made)
}

#[test]
fn patch_of_debians_bsdiff_applies() {
    let (old, new) = (golden("bsdiff/old"), golden("bsdiff/new"));
    let patch = golden("bsdiff/new.bsdiff");
    assert_eq!(bsdiff::Header::read(&patch).unwrap().new_bytes, new.len() as u64);
    assert_eq!(patched(&old, &patch, new.len() as u64).unwrap(), new);
    let own = bsdiff::make(&old, &new).unwrap();
    assert!(own.len() * 100 <= patch.len() * 105, "{} bytes, bsdiff {}", own.len(), patch.len());
    assert_eq!(patched(&old, &own, new.len() as u64).unwrap(), new);
}

#[test]
fn patch_of_debians_zstd_applies() {
    let (old, new) = (golden("bsdiff/old"), golden("bsdiff/new"));
    let made = zstd_patched(&old, &golden("bsdiff/new.zst"), new.len() as u64);
    assert_eq!(made.unwrap(), new);
}

#[test]
fn choria_repository_is_read_from_document_to_program() {
    let path = choria::document_path(&version("0.7.0"), &Platform::linux(Arch::X86_64)).unwrap();
    let text = golden(&format!("choria/{path}"));
    let release = choria::Release::parse(&text).unwrap();
    assert_eq!(release.render().into_bytes(), text);
    let directory = path.strip_suffix("release.json").unwrap();
    for name in [release.binary(), "choria-in-two-streams.bz2"] {
        let mut program = Vec::new();
        let packed = golden(&format!("choria/{directory}{name}"));
        release.packing().unpack(&*packed, &mut program, 8).unwrap();
        assert_eq!(program, b"testing\n");
        assert!(release.is(&sha256(&program)));
    }
}

#[test]
fn selfupdate_repository_is_read_both_ways() {
    let (platform, old, new) = (Platform::linux(Arch::X86_64), version("1.0"), version("1.1"));
    let base = "selfupdate/";
    let places = selfupdate::Places::new(base, base, base, "tool").unwrap();
    let text = golden(&places.manifest(&platform));
    let manifest = selfupdate::Manifest::parse(&text).unwrap();
    assert_eq!(manifest.render().into_bytes(), text);
    assert_eq!(manifest.version().as_str(), "1.1");

    let mut whole = Vec::new();
    Packing::Gzip.unpack(&*golden(&places.whole(&new, &platform)), &mut whole, 1 << 20).unwrap();
    assert_eq!(&sha256(&whole), manifest.sha256());

    let installed = golden("bsdiff/old");
    let about = selfupdate::Installed { version: Some(&old), sha256: &sha256(&installed) };
    assert_eq!(manifest.choose(Some(&about)), selfupdate::Choice::PatchThenWhole);
    let patch = golden(&places.patch(&old, &new, &platform));
    assert_eq!(&sha256(&patched(&installed, &patch, 1 << 20).unwrap()), manifest.sha256());
}

static PAIR: LazyLock<[Vec<u8>; 4]> = LazyLock::new(|| {
    ["bsdiff/old", "bsdiff/new.bsdiff", "bsdiff/new.zst", "choria/0.7.0/linux/amd64/release.json"]
        .map(golden)
});

/// Bytes with some replaced, and cut.
fn broken(bytes: &[u8], edits: &[(prop::sample::Index, u8)], cut: prop::sample::Index) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (at, value) in edits {
        let at = at.index(bytes.len());
        bytes[at] = *value;
    }
    bytes.truncate(bytes.len() - cut.index(bytes.len()) / 8);
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn broken_patches_never_make_more_than_allowed(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
        size_max in 0_u64..6_000,
    ) {
        let [old, bsdiff, zstd, _] = &*PAIR;
        if let Ok(made) = patched(old, &broken(bsdiff, &edits, cut), size_max) {
            prop_assert!(made.len() as u64 <= size_max);
        }
        if let Some(made) = zstd_patched(old, &broken(zstd, &edits, cut), size_max) {
            prop_assert!(made.len() as u64 <= size_max);
        }
    }

    #[test]
    fn arbitrary_and_broken_documents_are_read_or_refused(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
        noise in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        for bytes in [noise, broken(&PAIR[3], &edits, cut)] {
            if let Ok(release) = choria::Release::parse(&bytes) {
                prop_assert_eq!(&choria::Release::parse(release.render().as_bytes()).unwrap(), &release);
            }
            if let Ok(manifest) = selfupdate::Manifest::parse(&bytes) {
                let again = selfupdate::Manifest::parse(manifest.render().as_bytes()).unwrap();
                prop_assert_eq!(&again, &manifest);
            }
        }
    }
}

proptest! {
    // Each case packs three streams with 8 MiB of tables.
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn any_pair_survives_the_round(
        old in prop::collection::vec(0_u8..4, 0..600),
        pieces in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let mut new = Vec::new();
        for (from, to, between) in pieces {
            let (from, to) = (from.index(old.len() + 1), to.index(old.len() + 1));
            new.extend(&old[from.min(to)..from.max(to)]);
            new.push(between);
        }
        let size = new.len() as u64;
        let patch = bsdiff::make(&old, &new).unwrap();
        prop_assert_eq!(&patched(&old, &patch, size).unwrap(), &new);
        let patch = zstd_delta::make(&old, &new, 3).unwrap();
        prop_assert_eq!(&zstd_patched(&old, &patch, size).unwrap(), &new);
    }
}

#[test]
fn what_a_patch_makes_of_another_base_is_told_to_be_that() {
    use reconcile::model::PatchFormat;
    use reconcile::model::step::{Binaries, Strip, UnpackLimits, UnpackRules};
    use reconcile::unpack::{Here, UnpackError, patch};

    let temp = tempfile::tempdir().unwrap();
    let (base, file) = (temp.path().join("base"), temp.path().join("patch"));
    std::fs::write(&file, golden("bsdiff/new.bsdiff")).unwrap();
    let rules = UnpackRules {
        strip: Strip::Auto,
        binaries: Binaries::AnyExecutable,
        bare_name: "tool".to_owned(),
        limits: UnpackLimits::default(),
    };
    let (base_digest, makes) = (sha256(&golden("bsdiff/old")), sha256(&golden("bsdiff/new")));
    let mut edited = golden("bsdiff/old");
    edited[100] ^= 1;
    for (bytes, into) in [(edited, "edited"), (golden("bsdiff/new"), "shorter")] {
        std::fs::write(&base, bytes).unwrap();
        let here = Here {
            base: &base,
            base_digest: &base_digest,
            patch: Some((&file, PatchFormat::Bsdiff)),
            makes: &makes,
            made_at: 1_700_000_000,
        };
        let error = patch(&here, &temp.path().join(into), &rules).unwrap_err();
        assert!(matches!(error, UnpackError::OtherBase { .. }), "{error:?}");
    }
}
