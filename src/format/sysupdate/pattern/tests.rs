//! Patterns against names: the rules' consequences as tables.

use proptest::prelude::*;

use super::*;

fn pattern(text: &str) -> Pattern {
    Pattern::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn fields(text: &str, name: &str) -> Fields {
    match pattern(text).compare(name) {
        Match::Yes(fields) => *fields,
        other => panic!("{text} on {name}: {other:?}"),
    }
}

/// `Ok(version)`, or what else was found.
fn found(text: &str, name: &str) -> Result<String, Match> {
    match pattern(text).compare(name) {
        Match::Yes(fields) => Ok(fields.version),
        other => Err(other),
    }
}

#[test]
fn matching_never_goes_back() {
    let cases = [
        ("linux-@v.erofs", "linux-1.erofs", Ok("1")),
        ("linux-@v.erofs", "linux-1.erofs.caibx", Err(Match::No)),
        ("linux-@v.erofs.caibx", "linux-1.erofs.caibx", Ok("1")),
        ("linux-@v.erofs.caibx", "linux-1.erofs", Err(Match::No)),
        ("@v.raw", "a.raw.raw", Err(Match::No)),
        ("@v.raw", ".raw", Err(Match::No)),
        ("foo_@v.raw", "foo_1.0_2.raw", Ok("1.0_2")),
        ("foo_@v_@s.raw", "foo_1_2_3.raw", Err(Match::No)),
        ("foo_@v_@s.raw", "foo_1_23.raw", Ok("1")),
        ("foo_@v", "foo_1.2", Ok("1.2")),
        ("foo_@v", "bar_1.2", Err(Match::No)),
        ("a@@b-@v", "a@b-7", Ok("7")),
        ("uki_@v.efi", "uki_1 2.efi", Err(Match::No)),
        ("uki_@v.efi", "uki_1:2.efi", Err(Match::No)),
        ("uki_@v.efi", "uki_é.efi", Err(Match::No)),
        ("uki_@v.efi", "uki_.1.efi", Ok(".1")),
        ("uki_@v.efi", "uki_-1.efi", Ok("-1")),
    ];
    for (text, name, expected) in cases {
        assert_eq!(found(text, name), expected.map(str::to_owned), "{text} on {name}");
    }
}

#[test]
fn directories_are_descended_into() {
    let cases = [
        ("dir-@v/app.raw", "dir-1", Err(Match::Descend)),
        ("dir-@v/app.raw", "dir-1/app.raw", Ok("1")),
        ("dir-@v/app.raw", "dir-1/other.raw", Err(Match::No)),
        ("dir-@v/app.raw", "dir-1/", Err(Match::No)),
        ("dir-@v/app.raw", "dir-", Err(Match::No)),
        ("dir-@v/app.raw", "dir-1 2", Err(Match::No)),
        ("sub/@v.raw", "sub", Err(Match::Descend)),
        ("sub/@v.raw", "subway", Err(Match::No)),
        ("sub/@v.raw", "sub/3.raw", Ok("3")),
        ("a/@v/b/x", "a/1/b", Err(Match::Descend)),
        ("a/@v/b/x", "a/1/b/x", Ok("1")),
        ("@v.raw", "sub/3.raw", Err(Match::No)),
        ("**/@v.raw", "sub/deep/3.raw", Ok("3")),
        ("**/@v.raw", "3.raw", Ok("3")),
        ("**/x_@v", "x_1/y", Err(Match::No)),
    ];
    for (text, name, expected) in cases {
        assert_eq!(found(text, name), expected.map(str::to_owned), "{text} on {name}");
    }
}

#[test]
fn several_patterns_name_and_descend_at_once() {
    let patterns = [pattern("x_@v/y"), pattern("x_@v"), pattern("@v")];
    let both = compare_all(&patterns, "x_1");
    assert_eq!(both.fields.map(|f| f.version).as_deref(), Some("1"), "the first match supplies");
    assert!(both.descend, "and another one may match below");
    assert!(!compare_all(&patterns, "z").descend);
    assert_eq!(compare_all(&patterns[..1], "z"), Comparison::default());
    assert!(compare_all(&[pattern("**/@v.raw")], "anything").descend);
}

#[test]
fn every_wildcard_is_read_and_written() {
    let all = "p_@v_@u_@f_@a_@g_@r_@t_@m_@s_@d_@l_@h.raw";
    let hash = "E3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let uuid = "f47ac10b-58cc-4372-a567-0e02b2c3d479";
    let name = format!("p_1.2_{uuid}_Ff_yes_0_OFF_1700000000000000_0644_12_3_4_{hash}.raw");
    let read = fields(all, &name);
    assert_eq!(read.version, "1.2");
    assert_eq!(read.partition_flags, Some(0xff));
    assert_eq!((read.no_auto, read.grow_file_system), (Some(true), Some(false)));
    assert_eq!((read.read_only, read.mode), (Some(false), Some(0o644)));
    assert_eq!(read.modified_us, Some(1_700_000_000_000_000));
    assert_eq!((read.size, read.tries_done, read.tries_left), (Some(12), Some(3), Some(4)));
    let written = pattern(all).name(&read).unwrap();
    let (bare, lower) = (uuid.replace('-', ""), hash.to_lowercase());
    assert_eq!(written, format!("p_1.2_{bare}_ff_1_0_0_1700000000000000_644_12_3_4_{lower}.raw"));
    assert_eq!(fields(all, &written), read);
}

#[test]
fn fields_that_do_not_parse_do_not_match() {
    let cases = [
        ("@v_@m", "1_0666"),
        ("@v_@m", "1_4755"),
        ("@v_@m", "1_"),
        ("@v_@m", "1_8"),
        ("@v_@s", "1_+7"),
        ("@v_@s", "1_18446744073709551615"),
        ("@v_@s", "1_99999999999999999999"),
        ("@v_@r", "1_maybe"),
        ("@v_@h", "1_e3b0"),
        ("@v_@f", "1_0xff"),
        ("@v_@u", "1_f47ac10b58cc-4372-a567-0e02b2c3d479"),
        ("@v_@u", "1_f47ac10b58cc4372a5670e02b2c3d47"),
    ];
    for (text, name) in cases {
        assert_eq!(pattern(text).compare(name), Match::No, "{text} on {name}");
    }
}

#[test]
fn bad_patterns_are_refused_with_their_reason() {
    let cases = [
        ("", PatternError::NoVersion),
        ("plain.raw", PatternError::NoVersion),
        ("@@v", PatternError::NoVersion),
        ("@v@", PatternError::TrailingAt),
        ("@v_@x", PatternError::UnknownWildcard('x')),
        ("@v_@v", PatternError::Twice(Wildcard::Version)),
        ("@v@s", PatternError::Adjacent(Wildcard::Size)),
        ("@v*", PatternError::Character('*')),
        ("@v é", PatternError::Character('é')),
        ("**/a/@v", PatternError::DirectoryAfterAny),
        ("a/**/@v", PatternError::Character('*')),
        ("x/../../out/a_@v.raw", PatternError::Component("..".to_owned())),
        ("./a_@v.raw", PatternError::Component(".".to_owned())),
        ("/a_@v.raw", PatternError::Component(String::new())),
        ("a//@v", PatternError::Component(String::new())),
        ("@v/", PatternError::Component(String::new())),
        ("**/..", PatternError::NoVersion),
        (&format!("@v{}", "a".repeat(4096)), PatternError::TooLong),
    ];
    for (text, expected) in cases {
        assert_eq!(Pattern::parse(text).unwrap_err(), expected, "{text}");
    }
    assert_eq!(PatternError::Twice(Wildcard::Mode).to_string(), "`@m` appears twice; remove one");
}

#[test]
fn a_name_needs_every_field() {
    let fields = Fields { version: "1".to_owned(), ..Fields::default() };
    assert_eq!(pattern("**/a@@_@v.raw").name(&fields).unwrap(), "a@_1.raw");
    assert_eq!(pattern("@v_@h").name(&fields), Err(MissingField(Wildcard::Sha256)));
    let up = Fields { version: "..".to_owned(), ..Fields::default() };
    assert_eq!(pattern("@v/a").name(&up), Err(MissingField(Wildcard::Version)));
}

proptest! {
    #[test]
    fn any_pattern_and_name_are_read_or_refused(
        text in "(@[vufagrtmsdlh@]|[a_./*é@-]){0,12}",
        name in "[0-9a-f_./é@-]{0,30}",
    ) {
        if let Ok(pattern) = Pattern::parse(&text) {
            let _ = pattern.compare(&name);
        }
    }

    #[test]
    fn a_written_name_is_read_back(version in "[0-9a-z][0-9a-z.~^+-]{0,11}", size in 0..u64::MAX) {
        let pattern = pattern("x_@v_@s.raw");
        let fields = Fields { version, size: Some(size), ..Fields::default() };
        let name = pattern.name(&fields).unwrap();
        prop_assert_eq!(pattern.compare(&name), Match::Yes(Box::new(fields)));
    }
}
