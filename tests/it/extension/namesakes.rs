//! Extensions of somebody else that have the name of one that is wished.
//!
//! systemd merges one of them only.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

use super::{Host, image};

/// How somebody else's extension lies where systemd looks.
#[derive(Clone, Copy, Debug)]
enum Theirs {
    Image,
    Directory,
    Link,
    Versioned,
}

fn put(host: &Host, place: &str, theirs: Theirs) -> PathBuf {
    let place = host.world.path(place);
    fs::create_dir_all(&place).unwrap();
    match theirs {
        Theirs::Image => {
            fs::write(place.join("demo.raw"), image("theirs")).unwrap();
            place.join("demo.raw")
        }
        Theirs::Directory => {
            fs::create_dir(place.join("demo")).unwrap();
            place.join("demo")
        }
        Theirs::Link => {
            let srv = host.world.path("srv");
            fs::create_dir_all(&srv).unwrap();
            fs::write(srv.join("theirs.raw"), image("theirs")).unwrap();
            symlink("/srv/theirs.raw", place.join("demo.raw")).unwrap();
            place.join("demo.raw")
        }
        Theirs::Versioned => {
            let versions = place.join("demo.raw.v");
            fs::create_dir(&versions).unwrap();
            fs::write(versions.join("demo_9.raw"), "theirs").unwrap();
            versions
        }
    }
}

/// Plans and passes: both refuse and name both, and nothing is another than before.
#[track_caller]
fn is_refused(host: &mut Host, theirs: &str, ours: &str) {
    let ran = host.world.run(&["--dry-run"]);
    assert!(
        ran.stdout.contains(&format!("/{theirs} is an extension of the same name as /{ours}")),
        "{ran:#?}"
    );
    let ran = host.pass();
    assert_eq!(ran.code, 1, "{ran:#?}");
    assert!(!host.world.path(ours).is_symlink(), "{ran:#?}");
    assert!(!host.world.path("var/lib/extensions.d").exists(), "nothing was even fetched");
    assert_eq!(host.refreshes(), 0);
}

#[test]
fn name_that_a_foreign_extension_has_is_refused_before_anything_is_fetched() {
    for (place, theirs, name) in [
        ("run/extensions", Theirs::Image, "demo.raw"),
        ("var/lib/extensions", Theirs::Directory, "demo"),
        ("usr/lib/extensions", Theirs::Image, "demo.raw"),
        ("usr/local/lib/extensions", Theirs::Directory, "demo"),
        ("etc/extensions", Theirs::Directory, "demo"),
        ("run/extensions", Theirs::Link, "demo.raw"),
        ("var/lib/extensions", Theirs::Versioned, "demo.raw.v"),
    ] {
        let mut host = Host::new();
        host.publish("demo_1.0.0.raw", "one");
        host.wish(&[("demo", "")]);
        let there = put(&host, place, theirs);
        if matches!(theirs, Theirs::Versioned) {
            let library = host.world.path("usr/lib/systemd");
            fs::create_dir_all(&library).unwrap();
            fs::write(library.join("libsystemd-shared-262.so"), "").unwrap();
        }
        is_refused(&mut host, &format!("{place}/{name}"), "var/lib/extensions/demo.raw");
        if there.is_dir() {
            fs::remove_dir_all(&there).unwrap();
        } else {
            fs::remove_file(&there).unwrap();
        }
        host.converges();
        assert_eq!(host.version("demo").as_deref(), Some("1.0.0"), "{place} {theirs:?}");
    }
}

#[test]
fn name_that_a_foreign_confext_has_is_refused_and_a_sysext_of_that_name_is_another() {
    for place in ["run/confexts", "usr/lib/confexts", "usr/local/lib/confexts", "var/lib/confexts"]
    {
        let mut host = Host::new();
        host.publish("demo_1.0.0.raw", "one");
        host.wish(&[("demo", "    class: confext\n")]);
        put(&host, "run/extensions", Theirs::Image);
        put(&host, place, Theirs::Directory);
        is_refused(&mut host, &format!("{place}/demo"), "var/lib/confexts/demo.raw");
    }
}

#[test]
fn what_systemd_passes_over_is_in_nobodys_way() {
    let mut host = Host::new();
    host.publish("demo_1.0.0.raw", "one");
    host.wish(&[("demo", "")]);
    let library = host.world.path("usr/lib/systemd");
    fs::create_dir_all(&library).unwrap();
    fs::write(library.join("libsystemd-shared-262.so"), "").unwrap();
    // This version does not look there any more.
    put(&host, "usr/lib/extensions", Theirs::Image);
    let run = host.world.path("run/extensions");
    fs::create_dir_all(run.join("demonstration")).unwrap();
    fs::write(run.join(".#demo.raw"), "half").unwrap();
    fs::write(run.join("demo"), "no image by its name").unwrap();
    symlink("/nowhere", run.join("demo.raw")).unwrap();
    host.converges();
    assert_eq!(host.version("demo").as_deref(), Some("1.0.0"));
}

#[test]
fn foreign_extension_that_comes_later_is_told_and_ours_stays() {
    let mut host = Host::new();
    host.publish("demo_1.0.0.raw", "one");
    host.wish(&[("demo", "")]);
    host.converges();
    put(&host, "run/extensions", Theirs::Image);
    host.publish("demo_1.1.0.raw", "two");
    let ran = host.pass();
    assert!(
        ran.stdout.contains("/run/extensions/demo.raw is an extension of the same name"),
        "{ran:#?}"
    );
    assert_eq!(host.version("demo").as_deref(), Some("1.0.0"));
    fs::remove_file(host.world.path("run/extensions/demo.raw")).unwrap();
    host.converges();
    assert_eq!(host.version("demo").as_deref(), Some("1.1.0"));
}

#[test]
fn two_extensions_of_one_name_are_both_refused() {
    let mut host = Host::new();
    host.publish("demo_1.0.0.raw", "one");
    let source = host.source().display().to_string();
    let definitions = host.world.path("usr/lib/sysupdate.d");
    fs::create_dir_all(&definitions).unwrap();
    let text = format!(
        "[Transfer]\nVerify=no\n[Source]\nType=url-file\nPath=file://{source}\nMatchPattern=demo_@v.raw\n[Target]\n\
         Type=regular-file\nPath=/var/lib/extensions.d\nCurrentSymlink=/etc/extensions/demo.raw\n"
    );
    fs::write(definitions.join("10-demo.transfer"), text).unwrap();
    let wish = format!(
        "sysupdate: {{ as: sysupdate }}\nextensions:\n  demo:\n    source: {{ sysupdate: {{ path: {source}, match: \
         \"demo_@v.raw\" }} }}\n"
    );
    host.world.wish("desired", &wish);
    let ran = host.pass();
    assert_eq!(ran.code, 1, "{ran:#?}");
    for said in [
        "/var/lib/extensions/demo.raw and /etc/extensions/demo.raw of extension/host",
        "/etc/extensions/demo.raw and /var/lib/extensions/demo.raw of extension/demo",
    ] {
        assert!(ran.stdout.contains(said), "{ran:#?}");
    }
    assert_eq!(host.link("demo"), None);
}

#[test]
fn directory_where_systemd_looks_is_listed_once_for_all_extensions() {
    let mut host = Host::new();
    let names: Vec<String> = (0..20).map(|n| format!("demo{n:02}")).collect();
    for name in &names {
        host.publish(&format!("{name}_1.raw"), "one");
    }
    host.wish(&names.iter().map(|name| (name.as_str(), "")).collect::<Vec<_>>());
    host.converges();
    let watch = inotify::init(CreateFlags::NONBLOCK).unwrap();
    // Two equal events in a row would be told as one.
    let flags = WatchFlags::OPEN | WatchFlags::CLOSE_NOWRITE | WatchFlags::ONLYDIR;
    inotify::add_watch(&watch, host.world.path("var/lib/extensions"), flags).unwrap();
    host.world.run(&["--dry-run"]).exits(0);
    let mut buffer = vec![std::mem::MaybeUninit::uninit(); 64 << 10];
    let mut events = inotify::Reader::new(&watch, &mut buffer);
    let mut opened = 0;
    while let Ok(event) = events.next() {
        let itself = event.file_name().is_none();
        opened += usize::from(itself && event.events().contains(ReadFlags::OPEN));
    }
    // Once to list it, and some times on the way to what is in it.
    assert!(0 < opened && opened < names.len(), "{opened}");
}
