//! The dialect, line by line.

use proptest::prelude::*;

use super::*;

fn read(text: &[u8]) -> (Vec<(String, String, usize)>, Vec<String>) {
    let mut warnings = Vec::new();
    let found = parse("x.transfer", text, &["Source", "Target"], &mut warnings).unwrap();
    let found = found.into_iter();
    (
        found.map(|a| (format!("{}.{}", a.section, a.key), a.value, a.place.line)).collect(),
        warnings.iter().map(ToString::to_string).collect(),
    )
}

fn entry(name: &str, value: &str, line: usize) -> (String, String, usize) {
    (name.to_owned(), value.to_owned(), line)
}

#[test]
fn keys_repeat_in_order_with_their_places() {
    let (found, warnings) =
        read(b"\xef\xbb\xbf[Source]\r\n Type = url-file\r\n\n[Target]\nA=1\nA=\nA=2=3");
    assert_eq!(
        found,
        [
            entry("Source.Type", "url-file", 2),
            entry("Target.A", "1", 5),
            entry("Target.A", "", 6),
            entry("Target.A", "2=3", 7)
        ]
    );
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[test]
fn lines_continue_over_comments() {
    let (found, _) =
        read(b"[Source]\nMatchPattern=a_@v.raw \\\n# why\n  b_@v.raw\\\r\n; no\n c\nX=1");
    assert_eq!(
        found,
        [entry("Source.MatchPattern", "a_@v.raw    b_@v.raw  c", 2), entry("Source.X", "1", 7)]
    );
    let (found, _) = read(b"[Source]\nA=x\\\\\nB=1\\");
    assert_eq!(found, [entry("Source.A", "x\\\\", 2), entry("Source.B", "1", 3)]);
}

#[test]
fn what_systemd_ignores_is_ignored_with_its_words() {
    let (found, warnings) = read(
        b"Early=1\n[Other]\nA=1\n[X-Ours]\nB=2\n[Target]\nnothing\n=x\nC=\xff\n#D=4\n;E=5\nF=6\n",
    );
    assert_eq!(found, [entry("Target.F", "6", 12)]);
    assert_eq!(
        warnings,
        [
            "x.transfer:1: Assignment outside of section. Ignoring.",
            "x.transfer:2: Unknown section 'Other'. Ignoring.",
            "x.transfer:7: Missing '=', ignoring line.",
            "x.transfer:8: Missing key name before '=', ignoring line.",
            "x.transfer:9: String is not UTF-8 clean, ignoring assignment.",
        ]
    );
}

#[test]
fn a_header_without_its_end_is_refused() {
    let error = parse("x", b"\n[Source\nA=1", &["Source"], &mut Vec::new()).unwrap_err();
    assert_eq!(error.to_string(), "reading x:2: invalid section header `[Source`; end it with `]`");
}

#[test]
fn files_have_bounds() {
    let large = vec![b' '; FILE_BYTES_MAX + 1];
    assert!(matches!(parse("x", &large, &[], &mut Vec::new()), Err(IniError::TooLarge { .. })));
    let long = vec![b'\n'; LINES_MAX + 1];
    assert!(matches!(parse("x", &long, &[], &mut Vec::new()), Err(IniError::TooManyLines { .. })));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse("x", &bytes, &["Source"], &mut Vec::new());
    }

    #[test]
    fn any_lines_are_read_or_refused(text in "(\\[Source\\]|[A=\\\\#; \r\n]){0,40}") {
        let _ = parse("x", text.as_bytes(), &["Source"], &mut Vec::new());
    }
}
