//! Manifests as servers write them, and as they should not.

use proptest::prelude::*;

use super::*;

const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const B: &str = "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB";

fn read(text: &str) -> Manifest {
    parse(text.as_bytes()).unwrap()
}

fn paths(manifest: &Manifest) -> Vec<&str> {
    manifest.entries().iter().map(|e| e.path.as_str()).collect()
}

fn strict(text: &str) -> String {
    match parse(text.as_bytes()) {
        Ok(manifest) => manifest.strict().err().unwrap_or("accepted").to_owned(),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn plain_manifests_are_accepted_by_both() {
    let manifest = read(&format!("{A}  a_1.raw\n{B} *sub/a 2.raw\n{A}  a_1.raw\n"));
    assert_eq!(paths(&manifest), ["a_1.raw", "sub/a 2.raw"]);
    assert_eq!(manifest.entries()[1].sha256.hex(), B.to_lowercase());
    assert_eq!(manifest.strict(), Ok(()));
    assert!(manifest.warnings().is_empty());
    assert_eq!(read(""), Manifest::default());
}

#[test]
fn what_systemd_refuses_is_told_in_its_words() {
    let cases = [
        (format!("{A}  a_1.raw"), "Truncated manifest file at line 1, refusing."),
        (
            format!("{A} a_1.raw\n"),
            "Missing binary/text input marker at manifest line 1, refusing.",
        ),
        (format!("{A}\ta_1.raw\n"), "Missing space separator at manifest line 1, refusing."),
        (format!("{A}  ./a\n"), "Invalid filename specified at manifest line 1, refusing."),
        (
            format!("{A}  a\r\n"),
            "Filename contains control characters at manifest line 1, refusing.",
        ),
        (format!("\n{A}  a\n"), "Failed to parse digest at manifest line 1, refusing."),
        (format!("# note\n{A}  a\n"), "Failed to parse digest at manifest line 1, refusing."),
        (format!("{A}  a\n\n"), "Corrupt manifest at line 2, refusing."),
        (
            format!("{A}  b\n\\{A}  a\\nb\n"),
            "File names with escapes not supported in manifest at line 2, refusing.",
        ),
        (
            format!("{}\t\t  a\n{A}  b\n", &A[..62]),
            "Manifest hash at line 1 decoded to 31 bytes, refusing.",
        ),
        (format!("{A}  b\n{A}  a\0b\n"), "Manifest file has embedded NUL byte, refusing."),
    ];
    for (text, message) in cases {
        assert_eq!(strict(&text), message, "{text:?}");
        assert!(!read(&text).entries().is_empty(), "{text:?} still says something");
        assert!(!read(&text).warnings().is_empty(), "{text:?} is warned about");
    }
    let latin = [format!("{A}  b\n{A}  ").as_bytes(), b"\xe9\n"].concat();
    let manifest = parse(&latin).unwrap();
    assert_eq!(manifest.strict(), Err("Manifest file is not valid UTF-8, refusing."));
    assert_eq!(paths(&manifest), ["b"]);
}

#[test]
fn no_path_leads_out_of_the_manifest() {
    for path in
        ["../a", "a/../b", "/etc/x", "a//b", "a/./b", "a%2e", "%2e%2e/a", "..", "a/", "a\tb"]
    {
        let manifest = read(&format!("{A}  ok\n{B}  {path}\n"));
        assert_eq!(paths(&manifest), ["ok"], "{path}");
        assert_eq!(manifest.warnings().len(), 1, "{path}");
    }
}

#[test]
fn the_first_of_two_digests_counts() {
    let manifest = read(&format!("{A}  a\n{B}  a\n"));
    assert_eq!(manifest.entries()[0].sha256.hex(), A);
    assert_eq!(manifest.warnings()[0].line, 2);
    assert_eq!(manifest.strict(), Ok(()));
}

#[test]
fn every_date_marker_must_hold() {
    let text = format!(
        "{EMPTY}  BEST-BEFORE-2026-03-01\n{EMPTY}  BEST-BEFORE-2027-01-01\n{A}  a\n\
         {EMPTY}  sub/BEST-BEFORE-2020-01-01\n"
    );
    let manifest = read(&text);
    assert_eq!(paths(&manifest), ["a", "sub/BEST-BEFORE-2020-01-01"]);
    let day = |text: &str| text.parse::<Date>().unwrap();
    assert_eq!(manifest.stale_since(day("2026-02-28")), None);
    assert_eq!(manifest.stale_since(day("2026-03-01")), Some(BestBefore(day("2026-03-01"))));
    assert_eq!(manifest.strict(), Ok(()));

    let short = read(&format!("{EMPTY}  BEST-BEFORE-2027-1-9\n"));
    assert_eq!(short.best_before(), [BestBefore(day("2027-01-09"))]);
    assert!(short.entries().is_empty());

    let odd = read(&format!("{A}  BEST-BEFORE-2027-01-01\n{EMPTY}  BEST-BEFORE-2027-02-31\n"));
    assert_eq!(odd.best_before().len(), 1, "an unexpected digest is only warned about");
    assert_eq!(paths(&odd), ["BEST-BEFORE-2027-02-31"], "an invalid date is a name like any other");
    assert_eq!(odd.warnings().len(), 2);
}

#[test]
fn a_page_that_is_no_manifest_is_refused() {
    let error = parse(b"<html>\n<body>Not Found</body>\n").unwrap_err();
    assert_eq!(
        error.to_string(),
        "reading SHA256SUMS: none of its 2 lines names a file with its digest; check the URL in `Path=`"
    );
    let tabs = format!("{}\t\t  a_1.raw\n", &A[..62]);
    assert!(matches!(parse(tabs.as_bytes()), Err(ManifestError::Nothing { .. })));
}

#[test]
fn manifests_have_bounds() {
    let many = "\n".repeat(LINES_MAX + 1);
    assert!(matches!(parse(many.as_bytes()), Err(ManifestError::TooManyLines)));
    let noisy = format!("{A}  a\n{}", "x\n".repeat(WARNINGS_MAX + 7));
    let manifest = read(&noisy);
    assert_eq!((manifest.warnings().len(), manifest.unlisted_warnings()), (WARNINGS_MAX, 7));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn mutated_manifests_never_name_a_path_outside(
        at in 0..150_usize,
        with in "[./% *\r\n#\\\\a]{1,3}",
    ) {
        let mut text = format!("{A}  sub/a_1.raw\n{B} *b_1.raw\n");
        let at = at.min(text.len());
        text.insert_str(at, &with);
        if let Ok(manifest) = parse(text.as_bytes()) {
            for entry in manifest.entries() {
                prop_assert!(is_confined(&entry.path), "{}", entry.path);
            }
        }
    }
}
