//! Documents of Choria repositories, good and bad.

use super::*;
use crate::model::facts::Arch;

const HASH: &str = "12a61f4e173fb3a11c05d6471f74728f76231b4a5fcd9667cef3af87a3ae4dc2";

fn document(binary: &str) -> String {
    format!(r#"{{"binary":"{binary}","hash":"{HASH}"}}"#)
}

fn version(text: &str) -> Version {
    text.parse().unwrap()
}

fn linux() -> Platform {
    Platform::linux(Arch::X86_64)
}

#[test]
fn published_documents_are_read_and_written_alike() {
    let document = document("choria.bz2");
    let release = Release::parse(document.as_bytes()).unwrap();
    assert_eq!(release.binary(), "choria.bz2");
    assert_eq!(release.hash().hex(), HASH);
    assert_eq!(release.packing(), Packing::Bzip2);
    assert_eq!(release.render(), document);
}

#[test]
fn hash_matches_in_either_case() {
    let upper = document("x").replace(HASH, &HASH.to_uppercase());
    assert_eq!(Release::parse(upper.as_bytes()).unwrap().hash().hex(), HASH);
}

#[test]
fn unknown_and_unused_members_are_passed_over() {
    let text = format!(
        r#"{{"uri":"http://elsewhere.example","signature":"x","new":[1],"Binary":"a/b","HASH":"{HASH}"}}"#
    );
    let release = Release::parse(text.as_bytes()).unwrap();
    assert_eq!((release.binary(), release.packing()), ("a/b", Packing::None));
}

#[test]
fn paths_that_lead_elsewhere_are_refused() {
    for binary in [
        "",
        "/etc/passwd",
        "../x",
        "a/../../x",
        "a//b",
        "a/",
        ".",
        "http://evil.example/x",
        "x?y",
        "x#y",
        "%2e%2e/x",
        "a\\\\b",
        "a b",
        "a\\nb",
        &"x".repeat(2000),
    ] {
        let error = Release::parse(document(binary).as_bytes()).unwrap_err();
        assert!(matches!(error, ChoriaError::Binary { .. }), "{binary}: {error}");
        assert!(error.to_string().len() < 2000);
    }
}

#[test]
fn documents_without_what_is_needed_are_refused() {
    let digest = format!(r#"{{"binary":"x","hash":"{}"}}"#, &HASH[1..]);
    assert!(matches!(Release::parse(digest.as_bytes()), Err(ChoriaError::Hash)));
    let sha512 = Digest::new(Algorithm::Sha512, &[0; 64]).unwrap();
    assert!(matches!(Release::new("x", sha512), Err(ChoriaError::Hash)));
    for (text, member) in [
        (format!(r#"{{"hash":"{HASH}"}}"#), "binary"),
        (r#"{"binary":"x"}"#.to_owned(), "hash"),
        (format!(r#"{{"binary":1,"hash":"{HASH}"}}"#), "binary"),
        (r#"{"binary":"x","hash":null}"#.to_owned(), "hash"),
        (format!(r#"{{"binary":"x","Binary":"y","hash":"{HASH}"}}"#), "binary"),
    ] {
        let error = Release::parse(text.as_bytes()).unwrap_err();
        assert!(
            matches!(error, ChoriaError::Member { member: m } if m == member),
            "{text}: {error}"
        );
    }
    assert!(matches!(Release::parse(b"[]"), Err(ChoriaError::NotAnObject)));
    assert!(matches!(Release::parse(b"<html>"), Err(ChoriaError::Json(_))));
    assert!(matches!(Release::parse(b"{} {}"), Err(ChoriaError::Json(_))));
    assert!(matches!(
        Release::parse(&vec![b' '; DOCUMENT_BYTES_MAX + 1]),
        Err(ChoriaError::TooLarge)
    ));
}

#[test]
fn paths_and_names_are_those_of_update_repo() {
    let version = version("0.7.0");
    assert_eq!(document_path(&version, &linux()).unwrap(), "0.7.0/linux/amd64/release.json");
    let name = published_name("choria", &version, &linux(), Packing::Bzip2);
    assert_eq!(name.unwrap(), "choria-linux-amd64-0.7.0.bz2");
    let name = published_name("choria", &version, &linux(), Packing::None);
    assert_eq!(name.unwrap(), "choria-linux-amd64-0.7.0");
    for odd in ["a/b", ".", "a?b", "a#b", "a%2fb"] {
        assert!(document_path(&super::tests::version(odd), &linux()).is_err(), "{odd}");
        assert!(published_name(odd, &version, &linux(), Packing::None).is_err(), "{odd}");
    }
}

#[test]
fn installed_program_with_the_published_digest_needs_nothing() {
    let release = Release::parse(document("x").as_bytes()).unwrap();
    assert!(release.is(&Digest::from_hex(Algorithm::Sha256, HASH).unwrap()));
    assert!(!release.is(&Digest::new(Algorithm::Sha256, &[0; 32]).unwrap()));
}
