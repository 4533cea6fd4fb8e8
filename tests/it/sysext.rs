//! What systemd will pick among extensions is known.

use std::cmp::Ordering;

use reconcile::format::extension_release::{Class, Form};
use reconcile::format::sysext::{EntryKind, Wanted, image_name, pick};

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
