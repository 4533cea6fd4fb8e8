//! Assignments as systemd reads them.

use super::*;

fn value(text: &str) -> Option<String> {
    OsRelease::parse(text.as_bytes()).unwrap().get("ID").map(str::to_owned)
}

#[test]
fn values_are_unquoted_as_systemd_does() {
    let table = [
        ("ID=a", "a"),
        ("ID=a\n", "a"),
        ("ID=a\r\n", "a"),
        ("  ID = a b  \n", "a b"),
        ("ID=x\nID=a", "a"),
        ("ID='a b'\n", "a b"),
        ("ID=\"a b\"\n", "a b"),
        ("ID='a\\'\n", "a\\"),
        ("ID=\"a\\\"b\\$\\`\\\\\"\n", "a\"b$`\\"),
        ("ID=\"a\\-b\"\n", "a\\-b"),
        ("ID=\"a\"b'c'\n", "ab'c'"),
        ("ID=\"a\" 'b'\n", "ab"),
        ("ID=a\\ b\n", "a b"),
        ("ID=a\\\nb\n", "ab"),
        ("ID=\"a\\\nb\"\n", "ab"),
        ("ID=\"a\nb\"\n", "a\nb"),
        ("ID=a\"b\"\n", "a\"b\""),
        ("ID=\"a", "a"),
        ("ID='a  ", "a  "),
        ("ID=a\\", "a"),
        ("# ID=b\nID=a # c\n", "a # c"),
        ("; ID=b\nnonsense\n=\nID=a\n", "a"),
        ("# b \\\nID=a\n", "a"),
    ];
    for (text, expected) in table {
        assert_eq!(value(text).as_deref(), Some(expected), "{text:?}");
    }
}

#[test]
fn what_is_no_assignment_assigns_nothing() {
    for text in
        ["", "ID", "ID\n=a", "export ID=a", "\u{feff}ID=a", "#ID=a", "id=a", "ID=", "ID=\"\""]
    {
        assert_eq!(value(text), None, "{text:?}");
    }
    assert!(OsRelease::parse(b"# nothing\n").unwrap().is_empty());
    assert!(OsRelease::parse(b"ID=\n").unwrap().assigns("ID"));
}

#[test]
fn broken_files_are_refused_whole() {
    assert_eq!(OsRelease::parse(b"ID=a\nNAME=\xff\n"), Err(OsReleaseError::NotText));
    assert_eq!(OsRelease::parse(b"ID=a\nNAME=\0\n"), Err(OsReleaseError::Nul));
    assert_eq!(OsRelease::parse(&vec![b'#'; RELEASE_BYTES_MAX + 1]), Err(OsReleaseError::TooLong));
}

#[test]
fn words_of_a_list_are_split_at_blanks() {
    let release = OsRelease::parse(b"ID_LIKE=' ubuntu\tdebian '\n").unwrap();
    assert_eq!(release.words("ID_LIKE").collect::<Vec<_>>(), ["ubuntu", "debian"]);
}
