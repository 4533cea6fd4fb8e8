//! Detached OpenPGP signatures made by gpg, at a clock that stands still.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use jiff::Timestamp;
use proptest::prelude::*;
use reconcile::trust::openpgp::{
    EncodingError, Keyring, KeyringError, SIGNATURE_BYTES_MAX, SIGNATURES_MAX, SignatureError,
    Signed, Why, verify_detached,
};

/// One signature, the keyring it is checked with, and what becomes of it.
#[derive(Debug)]
pub struct Case {
    /// The keyring in tests/golden/openpgp.
    pub keyring: &'static str,
    /// The signature there.
    pub signature: &'static str,
    /// What is wrong with it: the name of a variant of [`Why`]; nothing when it is accepted.
    pub why: &'static str,
    /// What gpg says with `--status-fd`.
    pub gpg: &'static str,
}

const fn case(
    keyring: &'static str,
    signature: &'static str,
    why: &'static str,
    gpg: &'static str,
) -> Case {
    Case { keyring, signature, why, gpg }
}

/// Every case that gpg can make. Where gpg says `GOODSIG` and there is a `why`, this program is stricter.
pub const CASES: [Case; 33] = [
    case("good.pgp", "good.sig", "", "GOODSIG"),
    case("good.pgp", "good.sig.asc", "", "GOODSIG"),
    case("good.pgp", "text.sig", "", "GOODSIG"),
    case("good.pgp", "two.sig", "", "GOODSIG"),
    case("good.pgp", "two.sig.asc", "", "GOODSIG"),
    case("rsa.pgp", "two.sig", "", "GOODSIG"),
    case("rsa.pgp", "two.sig.asc", "", "GOODSIG"),
    case("rsa.pgp", "rsa.sig", "", "GOODSIG"),
    case("p256.pgp", "p256.sig", "", "GOODSIG"),
    case("extended.pgp", "extended.sig", "", "GOODSIG"),
    case("unrevoked.pgp", "revoked.sig", "", "GOODSIG"),
    case("good.pgp", "rsa.sig", "UnknownKey", "ERRSIG"),
    case("good.pgp", "revoked.sig", "UnknownKey", "ERRSIG"),
    case("rsa.pgp", "good.sig", "UnknownKey", "ERRSIG"),
    case("good.pgp", "brief.sig", "Expired", "EXPSIG"),
    case("good.pgp", "future.sig", "Future", "GOODSIG"),
    case("good.pgp", "notation.sig", "Critical", "BADSIG"),
    case("rsa.pgp", "sha1.sig", "WeakHash", "GOODSIG"),
    case("small.pgp", "small.sig", "WeakKey", "GOODSIG"),
    case("dsa.pgp", "dsa.sig", "WeakKey", "GOODSIG"),
    case("expired.pgp", "expired.sig", "KeyExpired", "EXPKEYSIG"),
    case("lapsed.pgp", "extended.sig", "KeyExpired", "EXPKEYSIG"),
    case("subexpired.pgp", "subexpired.sig", "KeyExpired", "EXPKEYSIG"),
    case("revoked.pgp", "revoked.sig", "KeyRevoked", "REVKEYSIG"),
    case("retired.pgp", "retired.sig", "KeyRevoked", "REVKEYSIG"),
    case("subrevoked.pgp", "subrevoked.sig", "KeyRevoked", "REVKEYSIG"),
    case("guarded.pgp", "ward.sig", "", "GOODSIG"),
    case("ward.pgp", "ward.sig", "KeyRevoked", "REVKEYSIG"),
    case("certifier.pgp", "certifier.sig", "NotForSigning", "ERRSIG"),
    case("expired.pgp", "good.sig", "UnknownKey", "ERRSIG"),
    case("p256.pgp", "dsa.sig", "UnknownKey", "ERRSIG"),
    case("subrevoked.pgp", "revoked.sig", "UnknownKey", "ERRSIG"),
    case("certifier.pgp", "good.sig.asc", "UnknownKey", "ERRSIG"),
];

/// The directory of the committed cases.
fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/openpgp")
}

fn file(name: &str) -> Vec<u8> {
    std::fs::read(golden().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn keyring(name: &str) -> Keyring {
    Keyring::read(&file(name)).unwrap()
}

/// The clock of the tests.
fn now() -> Timestamp {
    "2025-01-01T12:00:00Z".parse().unwrap()
}

fn check(data: &[u8], signature: &[u8], keyring: &Keyring) -> Result<Signed, SignatureError> {
    verify_detached(data, signature, keyring, now())
}

/// What is wrong with each signature.
#[track_caller]
fn refused(result: Result<Signed, SignatureError>) -> Vec<Why> {
    match result {
        Err(SignatureError::Refused { problems }) => problems.into_iter().map(|p| p.why).collect(),
        other => panic!("{other:?}"),
    }
}

/// Whether each case below `directory` comes out as the table says.
pub fn assert_cases(directory: &Path) {
    for case in &CASES {
        let read = |name: &str| std::fs::read(directory.join(name)).unwrap();
        let keyring = Keyring::read(&read(case.keyring)).unwrap();
        let result = check(&read("SHA256SUMS"), &read(case.signature), &keyring);
        let why = match &result {
            Ok(_) => String::new(),
            Err(SignatureError::Refused { problems }) => format!("{:?}", problems[0].why),
            Err(other) => panic!("{case:?}: {other}"),
        };
        let variant = why.split(['(', ' ']).next().unwrap_or_default();
        assert_eq!(variant, case.why, "{case:?}: {result:?}");
    }
}

#[test]
fn signatures_of_gpg_come_out_as_the_table_says() {
    assert_cases(&golden());
}

#[test]
fn nothing_is_accepted_that_gpg_refuses() {
    let softer = CASES.iter().find(|case| case.why.is_empty() && case.gpg != "GOODSIG");
    assert!(softer.is_none(), "{softer:?}");
}

#[test]
fn a_signature_names_its_subkey_certificate_and_holder() {
    let keyring = keyring("good.pgp");
    let signed = check(&file("SHA256SUMS"), &file("good.sig"), &keyring).unwrap();
    assert_eq!(keyring.fingerprints(), std::slice::from_ref(&signed.primary));
    assert_eq!(signed.primary.len(), 40);
    assert_ne!(signed.key, signed.primary);
    assert_eq!(signed.user_id.as_deref(), Some("good <good@example.net>"));
    assert_eq!(signed.created, "2024-06-01T12:00:00Z".parse().unwrap());
}

#[test]
fn the_sample_of_version_6_in_the_standard_holds() {
    let list = "What we need from the grocery store:\n\n- tofu\n- vegetables\n- noodles\n";
    let (keyring, signature) = (keyring("rfc9580.asc"), file("rfc9580.sig.asc"));
    let signed = check(list.as_bytes(), &signature, &keyring).unwrap();
    assert_eq!(signed.primary, "CB186C4F0609A697E4D52DFA6C722B0C1F1E27C18A56708F6525EC27BAD9ACC9");
    assert_eq!((signed.primary, signed.user_id), (signed.key, None));
    let other = list.replace("tofu", "meat");
    assert_eq!(refused(check(other.as_bytes(), &signature, &keyring)), [Why::Altered]);
}

#[test]
fn an_armoured_keyring_is_the_same_keyring() {
    let armoured = keyring("good.asc");
    assert_eq!(armoured.fingerprints(), keyring("good.pgp").fingerprints());
    check(&file("SHA256SUMS"), &file("good.sig"), &armoured).unwrap();
}

#[test]
fn every_altered_byte_of_the_data_is_noticed() {
    let keyring = keyring("good.pgp");
    let data = file("SHA256SUMS");
    for signature in ["good.sig", "text.sig"] {
        let signature = file(signature);
        for index in 0..data.len() {
            let mut altered = data.clone();
            altered[index] ^= 1;
            assert_eq!(refused(check(&altered, &signature, &keyring)), [Why::Altered]);
        }
        for cut in 0..data.len() {
            assert_eq!(refused(check(&data[..cut], &signature, &keyring)), [Why::Altered]);
        }
    }
}

#[test]
fn a_text_signature_holds_whatever_the_line_ends_are() {
    let data = String::from_utf8(file("SHA256SUMS")).unwrap().replace('\n', "\r\n");
    let keyring = keyring("good.pgp");
    check(data.as_bytes(), &file("text.sig"), &keyring).unwrap();
    assert_eq!(refused(check(data.as_bytes(), &file("good.sig"), &keyring)), [Why::Altered]);
}

#[test]
fn an_altered_signature_never_vouches_for_other_data() {
    let keyring = keyring("good.pgp");
    let good = file("good.sig");
    for index in 0..good.len() {
        for bit in 0..8 {
            let mut altered = good.clone();
            altered[index] ^= 1 << bit;
            check(b"other data", &altered, &keyring).unwrap_err();
        }
    }
}

#[test]
fn a_truncated_signature_is_refused_wherever_it_ends() {
    let keyring = keyring("good.pgp");
    for (name, armoured) in [("good.sig", false), ("good.sig.asc", true)] {
        let whole = file(name);
        // Without the newline at its end the armour still says all that it has to.
        let end = if armoured { whole.trim_ascii_end().len() } else { whole.len() };
        for cut in 0..end {
            let result = check(&file("SHA256SUMS"), &whole[..cut], &keyring);
            assert!(result.is_err(), "{name} of {cut} bytes: {result:?}");
        }
    }
}

#[test]
fn a_bad_signature_beside_a_good_one_does_no_harm_and_is_told_beside_a_bad_one() {
    let (data, keyring) = (file("SHA256SUMS"), keyring("good.pgp"));
    let together = |names: [&str; 2]| names.map(file).concat();
    check(&data, &together(["rsa.sig", "good.sig"]), &keyring).unwrap();
    check(&data, &together(["future.sig", "good.sig"]), &keyring).unwrap();
    let blocks = together(["good.sig.asc", "two.sig.asc"]);
    check(&data, &blocks, &keyring).unwrap();
    let error = check(&data, &together(["rsa.sig", "brief.sig"]), &keyring).unwrap_err();
    let text = error.to_string();
    let rsa = self::keyring("rsa.pgp").fingerprints().remove(0);
    assert!(text.contains(&format!("the signature by key {rsa} of 2024-06-01")), "{text}");
    assert!(text.contains("add the key to the keyring"), "{text}");
    assert!(text.contains("held until 2024-07-01T12:00:00Z"), "{text}");
}

#[test]
fn more_signatures_than_are_tried_are_refused() {
    let many = file("rsa.sig").repeat(SIGNATURES_MAX + 1);
    let result = check(&file("SHA256SUMS"), &many, &keyring("rsa.pgp"));
    assert!(matches!(result, Err(SignatureError::TooMany)), "{result:?}");
    let long = vec![0; SIGNATURE_BYTES_MAX + 1];
    let result = check(&file("SHA256SUMS"), &long, &keyring("rsa.pgp"));
    assert!(matches!(result, Err(SignatureError::TooLong { .. })), "{result:?}");
}

#[test]
fn a_revocation_appended_to_a_keyring_revokes_the_key() {
    let (data, signature) = (file("SHA256SUMS"), file("revoked.sig"));
    let revocation = Keyring::read(&file("revoked.pgp")).unwrap();
    let joined = keyring("unrevoked.pgp").join(revocation);
    assert!(matches!(refused(check(&data, &signature, &joined))[..], [Why::KeyRevoked(_)]));
    // The bytes of the revocation certificate, behind another key.
    let armoured = [file("good.asc"), file("revocation.asc")].concat();
    let both = Keyring::read(&armoured).unwrap().join(keyring("unrevoked.pgp"));
    assert!(matches!(refused(check(&data, &signature, &both))[..], [Why::KeyRevoked(_)]));
    check(&data, &file("good.sig"), &both).unwrap();
}

#[test]
fn every_block_of_an_armoured_keyring_is_read() {
    let blocks = [file("good.asc"), b"\nThe revoked key:\n".to_vec(), file("revocation.asc")];
    let keyring = Keyring::read(&[blocks.concat(), file("good.asc")].concat()).unwrap();
    assert_eq!(keyring.fingerprints(), self::keyring("good.pgp").fingerprints());
    let text = String::from_utf8(file("good.asc")).unwrap();
    let unfinished = text.replace("-----END PGP PUBLIC KEY BLOCK-----", "") + &text;
    let result = Keyring::read(unfinished.as_bytes());
    let encoding = matches!(result, Err(KeyringError::Encoding(EncodingError::Unfinished)));
    assert!(encoding, "{result:?}");
}

#[test]
fn an_extended_key_replaces_the_lapsed_copy_beside_it() {
    for pair in [["lapsed.pgp", "extended.pgp"], ["extended.pgp", "lapsed.pgp"]] {
        let keyring = Keyring::read(&pair.map(file).concat()).unwrap();
        assert_eq!(keyring.fingerprints().len(), 1);
        check(&file("SHA256SUMS"), &file("extended.sig"), &keyring).unwrap();
    }
}

#[test]
fn a_keyring_of_many_certificates_finds_the_right_one() {
    let names = ["rsa.pgp", "good.pgp", "p256.pgp", "dsa.pgp", "expired.pgp"];
    let keyring = Keyring::read(&names.map(file).concat()).unwrap();
    assert_eq!(keyring.fingerprints().len(), names.len());
    for signature in ["rsa.sig", "good.sig", "p256.sig"] {
        check(&file("SHA256SUMS"), &file(signature), &keyring).unwrap();
    }
}

#[test]
fn what_is_no_keyring_is_refused_and_said() {
    let error = |bytes: &[u8]| Keyring::read(bytes).unwrap_err();
    let encoding = |bytes: &[u8]| match error(bytes) {
        KeyringError::Encoding(error) => error,
        other => panic!("{other:?}"),
    };
    assert!(matches!(encoding(b""), EncodingError::Empty));
    assert!(matches!(encoding(b"<html>not found</html>"), EncodingError::Foreign));
    assert!(matches!(encoding(&file("good.sig.asc")), EncodingError::Block { .. }));
    let good = file("good.pgp");
    assert!(matches!(encoding(&good[..good.len() - 10]), EncodingError::Packet { .. }));
    assert!(matches!(error(&file("good.sig")), KeyringError::NoCertificate));
    let keybox = [&[0, 0, 0, 32, 1, 1, 0, 2][..], b"KBXf", &[0; 20]].concat();
    assert!(matches!(error(&keybox), KeyringError::Keybox));
    assert!(matches!(error(&file("p256.pgp").repeat(1025)), KeyringError::TooMany));
}

#[test]
fn what_is_no_signature_is_refused_and_said() {
    let (data, keyring) = (file("SHA256SUMS"), keyring("good.pgp"));
    for (bytes, says) in [
        (&b""[..], "empty"),
        (b"<html>not found</html>", "neither binary nor armoured"),
        (&file("good.asc"), "PUBLIC KEY BLOCK"),
        (&file("good.pgp"), "a public key"),
        (&[0xff; 64], "damaged"),
    ] {
        let error = check(&data, bytes, &keyring).unwrap_err();
        let text = match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        assert!(text.contains(says), "{text}");
    }
}

/// Bytes of a committed file with some changed, and cut somewhere.
fn damaged(names: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    (prop::sample::select(names), changes, any::<prop::sample::Index>(), 0..4_u8).prop_map(
        |(name, changes, cut, whole)| {
            let mut bytes = file(name);
            for (index, byte) in changes {
                let at = index.index(bytes.len());
                bytes[at] = byte;
            }
            if whole == 0 {
                bytes.truncate(cut.index(bytes.len()));
            }
            bytes
        },
    )
}

/// Keys of three algorithms, read once: reading a DSA key takes long without optimisation.
static THREE: LazyLock<Keyring> =
    LazyLock::new(|| keyring("good.pgp").join(keyring("p256.pgp")).join(keyring("dsa.pgp")));

proptest! {
    #[test]
    fn no_bytes_make_a_signature_over_other_data(
        bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300),
            damaged(&["good.sig", "good.sig.asc", "two.sig", "dsa.sig", "p256.sig", "good.pgp"]),
        ]
    ) {
        prop_assert!(check(b"other data", &bytes, &THREE).is_err());
    }

    #[test]
    fn no_damaged_keyring_trusts_a_foreign_signature(
        bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300),
            damaged(&["good.pgp", "good.asc", "extended.pgp", "p256.pgp", "rsa.pgp"]),
        ]
    ) {
        if let Ok(keyring) = Keyring::read(&bytes) {
            for signature in ["revoked.sig", "expired.sig", "retired.sig", "small.sig"] {
                prop_assert!(check(&file("SHA256SUMS"), &file(signature), &keyring).is_err());
            }
            for signature in ["good.sig", "p256.sig", "rsa.sig"] {
                prop_assert!(check(b"other data", &file(signature), &keyring).is_err());
            }
        }
    }
}
