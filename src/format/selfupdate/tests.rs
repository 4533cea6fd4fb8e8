//! Manifests and addresses of go-selfupdate, good and bad.

use super::*;
use crate::model::facts::Arch;

const MANIFEST: &str = "{\n    \"Version\": \"1.2\",\n    \"Sha256\": \"n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=\"\n}";
const HEX: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

fn version(text: &str) -> Version {
    text.parse().unwrap()
}

fn linux() -> Platform {
    Platform::linux(Arch::X86_64)
}

#[test]
fn published_manifests_are_read_and_written_alike() {
    let manifest = Manifest::parse(MANIFEST.as_bytes()).unwrap();
    assert_eq!(manifest.version().as_str(), "1.2");
    assert_eq!(manifest.sha256().hex(), HEX);
    assert_eq!(manifest.render(), MANIFEST);
}

#[test]
fn members_match_in_any_case_and_others_are_passed_over() {
    let text = MANIFEST.replace("Version", "version").replace("Sha256", "SHA256");
    let text = text.replacen('{', "{\"Notes\": {\"Version\": 3},", 1);
    assert_eq!(Manifest::parse(text.as_bytes()).unwrap().render(), MANIFEST);
}

#[test]
fn version_text_is_kept_and_escaped_as_go_does() {
    let text = MANIFEST.replace("\"1.2\"", r#""1.10+a\u0026b""#);
    let manifest = Manifest::parse(text.as_bytes()).unwrap();
    assert_eq!(manifest.version().as_str(), "1.10+a&b");
    assert_eq!(manifest.render(), text);
}

#[test]
fn manifests_without_what_is_needed_are_refused() {
    for (from, to, wanted) in [
        ("n4bQ", "n4b", "Sha256"),
        ("n4bQgY", "n4b-gY", "Sha256"),
        ("Is0V", "", "Sha256"),
        ("gg=\"", "gg\"", "Sha256"),
        ("\"1.2\"", "1.2", "Member"),
        ("\"1.2\"", "\"\"", "Version"),
        ("\"1.2\"", "\"../../x\"", "Version"),
        ("\"1.2\"", "\"a/b\"", "Version"),
        ("\"1.2\"", "\"1.2\", \"version\": \"1.3\"", "Member"),
        ("\"Version\"", "\"Versions\"", "Member"),
        ("Sha256", "Sha512", "Member"),
    ] {
        let text = MANIFEST.replace(from, to);
        let error = format!("{:?}", Manifest::parse(text.as_bytes()).unwrap_err());
        assert!(error.starts_with(wanted), "{text}: {error}");
    }
    assert!(matches!(Manifest::parse(b"[]"), Err(SelfupdateError::NotAnObject)));
    assert!(matches!(Manifest::parse(b"404 page not found"), Err(SelfupdateError::Json(_))));
    let large = vec![b' '; MANIFEST_BYTES_MAX + 1];
    assert!(matches!(Manifest::parse(&large), Err(SelfupdateError::TooLarge)));
    let sha512 = Digest::new(Algorithm::Sha512, &[0; 64]).unwrap();
    assert!(Manifest::new(version("1"), sha512).is_err());
}

#[test]
fn addresses_are_form_encoded() {
    let places = Places::new("http://a/", "http://b/", "http://d/", "my app/x+y").unwrap();
    let (old, new) = (version("1.0+b"), version("1.1"));
    assert_eq!(places.manifest(&linux()), "http://a/my+app%2Fx%2By/linux-amd64.json");
    assert_eq!(places.whole(&new, &linux()), "http://b/my+app%2Fx%2By/1.1/linux-amd64.gz");
    let patch = places.patch(&old, &new, &linux());
    assert_eq!(patch, "http://d/my+app%2Fx%2By/1.0%2Bb/1.1/linux-amd64");
    assert!(Places::new("http://a", "http://b/", "http://d/", "x").is_err());
    assert!(Places::new("http://a/", "http://b/", "http://d/", "").is_err());
    assert!(Places::new("http://a/", "http://b/", "http://d/", &"x".repeat(5000)).is_err());
}

#[test]
fn installed_bytes_decide_and_not_the_version_they_are_said_to_have() {
    let manifest = Manifest::parse(MANIFEST.as_bytes()).unwrap();
    let same = Digest::from_hex(Algorithm::Sha256, HEX).unwrap();
    let other = Digest::new(Algorithm::Sha256, &[0; 32]).unwrap();
    let (old, new) = (version("1.1"), version("1.2"));
    for (version, sha256, choice) in [
        (Some(&old), &same, Choice::Nothing),
        (None, &same, Choice::Nothing),
        (Some(&new), &other, Choice::Whole),
        (Some(&old), &other, Choice::PatchThenWhole),
        (None, &other, Choice::Whole),
    ] {
        assert_eq!(manifest.choose(Some(&Installed { version, sha256 })), choice, "{version:?}");
    }
    assert_eq!(manifest.choose(None), Choice::Whole);
}

#[test]
fn manifest_is_published_last() {
    let paths = published(&version("1.2"), &[version("1.0"), version("1.1")], &linux());
    assert_eq!(
        paths,
        ["1.2/linux-amd64.gz", "1.0/1.2/linux-amd64", "1.1/1.2/linux-amd64", "linux-amd64.json"]
    );
}
