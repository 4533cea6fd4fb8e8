//! What systemd says about extensions is read, and what it will pick is known.

use std::cmp::Ordering;

use reconcile::format::extension_release::{Class, Form};
use reconcile::format::sysext::{
    ANSWER_BYTES_MAX, AnswerError, EntryKind, Wanted, image_name, parse_list, parse_status,
    parse_version, pick,
};

#[test]
fn status_is_read_in_all_shapes() {
    let merged = br#"[{"hierarchy":"/usr","extensions":["a","b"],"since":1700000000000000}]"#;
    let status = parse_status(merged).unwrap();
    assert_eq!(status[0].path, "/usr");
    assert_eq!(status[0].extensions, ["a", "b"]);
    assert_eq!(status[0].since, Some(1_700_000_000_000_000));
    for unmerged in [
        r#"[{"hierarchy":"/opt","extensions":"none","since":null},{"hierarchy":"/usr","extensions":"none","since":null}]"#,
        r#"[{"hierarchy":"/opt","extensions":null,"since":null},{"hierarchy":"/usr","extensions":[],"since":null}]"#,
        r#"[{"hierarchy":"/opt"},{"hierarchy":"/usr"}]"#,
    ] {
        let status = parse_status(unmerged.as_bytes()).unwrap();
        assert_eq!(status.len(), 2);
        assert!(status.iter().all(|row| row.extensions.is_empty() && row.since.is_none()));
    }
    assert_eq!(parse_status(b"[]\n").unwrap(), []);
    assert_eq!(parse_status(b"").unwrap(), []);
}

#[test]
fn answers_that_are_none_are_errors() {
    for answer in ["{}", "[{}]", "[{\"hierarchy\":1}]", "[", "No extensions"] {
        assert!(matches!(parse_status(answer.as_bytes()), Err(AnswerError::Json(_))), "{answer}");
    }
    let long = vec![b' '; ANSWER_BYTES_MAX + 1];
    assert!(matches!(parse_list(&long), Err(AnswerError::TooLong)));
}

#[test]
fn list_is_read() {
    let list = parse_list(
        br#"[{"name":"foo","type":"raw","path":"/etc/extensions/foo.raw","time":1},{"name":"d","type":"directory","path":"/run/extensions/d","time":null}]"#,
    )
    .unwrap();
    assert_eq!(
        (list[0].name.as_str(), list[0].kind.as_str(), list[0].time),
        ("foo", "raw", Some(1))
    );
    assert_eq!((list[1].path.as_str(), list[1].time), ("/run/extensions/d", None));
}

#[test]
fn versions_of_systemd_are_read() {
    for (text, version) in [
        ("systemd 252 (252.38-1~deb12u1)\n+PAM +AUDIT\n", Some(252)),
        ("systemd 262 (262.1-2)\n", Some(262)),
        ("systemd 257.9\n", Some(257)),
        ("systemd 260~rc2 (x)", Some(260)),
        ("systemd v252", None),
        ("systemd ", None),
        ("systemd-sysext 252", None),
        ("systemd 99999999999", None),
        ("", None),
    ] {
        assert_eq!(parse_version(text), version, "{text:?}");
    }
}

#[test]
fn names_in_search_directories_are_told_apart() {
    use EntryKind::{Directory, File, Other};
    let raw = |name, versioned| Some((name, Form::Raw, versioned));
    let directory = |name, versioned| Some((name, Form::Directory, versioned));
    for (class, entry, kind, on_252, on_262) in [
        (Class::Sysext, "a.raw", File, raw("a", None), raw("a", None)),
        (Class::Sysext, "a.sysext.raw", File, raw("a.sysext", None), raw("a", None)),
        (Class::Confext, "a.confext.raw", File, raw("a.confext", None), raw("a", None)),
        (Class::Sysext, "a.confext.raw", File, raw("a.confext", None), raw("a.confext", None)),
        (Class::Sysext, "a", Directory, directory("a", None), directory("a", None)),
        (Class::Sysext, "a.raw", Directory, directory("a.raw", None), directory("a.raw", None)),
        (Class::Sysext, "a.v", Directory, directory("a.v", None), directory("a", Some(""))),
        (Class::Sysext, "a.raw.v", Directory, directory("a.raw.v", None), raw("a", Some(".raw"))),
        (Class::Sysext, "a", File, None, None),
        (Class::Sysext, "a.raw.xz", File, None, None),
        (Class::Sysext, "a.raw", Other, None, None),
        (Class::Sysext, ".#a.raw", File, None, None),
        (Class::Sysext, ".raw", File, None, None),
        (Class::Sysext, "a\n.raw", File, None, None),
        (Class::Sysext, ".sysupdate.a.raw", File, raw(".sysupdate.a", None), None),
        (Class::Sysext, ".a.raw", File, raw(".a", None), raw(".a", None)),
    ] {
        for (systemd, expected) in [(252, on_252), (262, on_262)] {
            let found = image_name(class, entry, kind, systemd);
            let found = found.map(|found| (found.name, found.form, found.versioned));
            assert_eq!(found, expected, "{entry} on {systemd}");
        }
    }
}

/// Numbers as numbers and text as text: enough for these vectors.
fn compare(a: &str, b: &str) -> Ordering {
    let parts = |text: &str| -> Vec<Result<u64, String>> {
        text.split(['.', '_']).map(|part| part.parse().map_err(|_| part.to_owned())).collect()
    };
    parts(a).cmp(&parts(b))
}

fn picked(suffix: &str, entries: &[&str]) -> Option<String> {
    let wanted = Wanted { name: "foo", suffix, architecture: "x86-64" };
    pick(entries.iter().copied(), wanted, compare).map(|picked| picked.entry.to_owned())
}

#[test]
fn the_version_that_systemd_picks_is_known() {
    for (entries, expected) in [
        (vec!["foo_1.9.raw", "foo_1.10.raw"], Some("foo_1.10.raw")),
        (vec!["foo_1.9.raw", "foo_1.10.raw", "foo_1.11+0-3.raw"], Some("foo_1.10.raw")),
        (vec!["foo_1.11+0-3.raw", "foo_1.10+0.raw"], Some("foo_1.11+0-3.raw")),
        (vec!["foo_1.9.raw", "foo_1.11+1-3.raw"], Some("foo_1.11+1-3.raw")),
        (vec!["foo_2+1-2.raw", "foo_2+2-1.raw"], Some("foo_2+2-1.raw")),
        (vec!["foo_2+2-2.raw", "foo_2+2-1.raw"], Some("foo_2+2-1.raw")),
        (vec!["foo_2+3.raw", "foo_2.raw"], Some("foo_2.raw")),
        (vec!["foo_1_x86-64.raw", "foo_2_arm64.raw"], Some("foo_1_x86-64.raw")),
        (vec!["foo_1_x86-64.raw", "foo_2_strange.raw"], Some("foo_2_strange.raw")),
        (vec!["foo_1_x86-64+3-1.raw"], Some("foo_1_x86-64+3-1.raw")),
        (vec!["foo_1_2_x86-64.raw"], None),
        (vec!["foo_.raw", "foo.raw", "bar_1.raw", "foo_1.img", "foo_1+x.raw", "foo_1"], None),
        (vec!["foo_1~rc1.raw"], Some("foo_1~rc1.raw")),
        (vec![], None),
    ] {
        assert_eq!(picked(".raw", &entries).as_deref(), expected, "{entries:?}");
    }
    assert_eq!(picked("", &["foo_1", "foo_2"]).as_deref(), Some("foo_2"));
}
