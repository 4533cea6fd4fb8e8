//! Another root: no link in it leads what is ours out of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use camino::{Utf8Path, Utf8PathBuf};
use reconcile::host::{Look, Places};

use crate::support::duo::{PASS, World, said, web};
use crate::support::tree;

/// The files outside of the root that a foreign image would have us write over, and what is in them.
fn outside(world: &World) -> BTreeMap<PathBuf, Vec<u8>> {
    fn walk(directory: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else {
                found.insert(path.clone(), fs::read(path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(&world.path("victim"), &mut found);
    found
}

#[test]
fn directories_of_ours_that_are_links_stay_inside_of_the_root() {
    for of_ours in ["var/lib/reconcile", "var/cache/reconcile"] {
        for absolute in [false, true] {
            let world = World::new();
            world.wish("2.0", 3);
            for name in ["passwd.new", "trust.json.new"] {
                tree::write(&world.path("victim").join(name), b"precious");
            }
            let link = world.host(of_ours);
            let target = world.path("victim").display().to_string();
            let target = if absolute { target } else { "../../../victim".to_owned() };
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            tree::link(&link, &target);
            let before = outside(&world);
            for _ in 0..2 {
                let passed = world.agent(&PASS);
                assert!(passed.status.success(), "{of_ours} -> {target}: {}", said(&passed));
            }
            assert_eq!(world.in_use(), Ok(Some("2.0".to_owned())));
            assert_eq!(outside(&world), before, "{of_ours} -> {target}");
            let inside = if absolute { target.as_str() } else { "victim" };
            let inside = world.names(inside.trim_start_matches('/'));
            assert!(!inside.is_empty(), "{of_ours} -> {target}");
        }
    }
}

#[test]
fn only_half_written_files_of_ours_are_swept_from_the_state_directory() {
    let world = World::new();
    world.wish("2.0", 3);
    world.pass();
    let state = world.host("var/lib/reconcile");
    for name in ["trust.json.new", "theirs.new"] {
        fs::write(state.join(name), "half").unwrap();
    }
    world.pass();
    assert!(state.join("theirs.new").exists() && !state.join("trust.json.new").exists());
}

/// What a link below the root says that means a place beside the root, told as an absolute path and by `..`.
fn ways_out(world: &World, link: &Path) -> [String; 2] {
    let root = world.path("root");
    let depth = link.parent().unwrap().strip_prefix(&root).unwrap().components().count();
    let target = world.path("victim");
    [target.display().to_string(), format!("{}victim", "../".repeat(depth + 1))]
}

#[test]
fn links_in_the_cache_stay_inside_of_the_root() {
    for name in ["blobs", "blobs/sha256", "partial", "http"] {
        for way in 0..2 {
            let world = World::new();
            let (_server, source) = web();
            world.wish_from(&source, "1.0", 3);
            tree::write(&world.path("victim/precious"), b"precious");
            let link = world.host("var/cache/reconcile").join(name);
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            let target = &ways_out(&world, &link)[way];
            tree::link(&link, target);
            let before = outside(&world);
            for version in ["1.0", "2.0"] {
                world.wish_from(&source, version, 3);
                let passed = world.agent(&PASS);
                assert!(passed.status.success(), "{name} -> {target}: {}", said(&passed));
                assert_eq!(outside(&world), before, "{name} -> {target}");
            }
            assert_eq!(world.in_use(), Ok(Some("2.0".to_owned())));
        }
    }
}

#[test]
fn documents_that_are_links_are_neither_read_nor_written_through() {
    let world = World::new();
    let (server, source) = web();
    world.wish_from(&source, "1.0", 3);
    world.pass();
    let documents = world.host("var/cache/reconcile/http");
    for name in world.names("var/cache/reconcile/http") {
        let elsewhere = world.path("victim").join(&name);
        tree::write(&elsewhere, &fs::read(documents.join(&name)).unwrap());
        fs::remove_file(documents.join(&name)).unwrap();
        tree::link(&documents.join(&name), elsewhere.to_str().unwrap());
        tree::link(&documents.join(format!("{name}.new")), elsewhere.to_str().unwrap());
    }
    let before = outside(&world);
    assert!(!before.is_empty());
    server.requests();
    world.wish_from(&source, "2.0", 3);
    world.pass();
    let asked = server.requests();
    assert!(asked.iter().all(|request| request.header("if-none-match").is_none()), "{asked:?}");
    assert_eq!(outside(&world), before);
    assert!(documents.join(before.keys().next().unwrap().file_name().unwrap()).is_file());
}

#[test]
fn links_in_the_state_directory_stay_inside_of_the_root() {
    for way in 0..2 {
        for beside in ["", ".new"] {
            let world = World::new();
            world.wish("1.0", 3);
            world.pass();
            let state = world.host("var/lib/reconcile");
            let names = world.names("var/lib/reconcile");
            for name in &names {
                let link = state.join(format!("{name}{beside}"));
                let target = format!("{}/{name}", ways_out(&world, &link)[way]);
                // What it means inside of the root is what is there.
                let inside = if way == 0 { &target[1..] } else { &format!("victim/{name}") };
                if beside.is_empty() {
                    tree::write(&world.host(inside), &fs::read(&link).unwrap());
                    fs::remove_file(&link).unwrap();
                }
                tree::write(&world.path("victim").join(name), b"precious");
                tree::link(&link, &target);
            }
            let before = outside(&world);
            world.wish("2.0", 3);
            let passed = world.agent(&PASS);
            assert!(passed.status.success(), "{way} {beside}: {}", said(&passed));
            assert_eq!(world.in_use(), Ok(Some("2.0".to_owned())));
            assert_eq!(outside(&world), before, "{way} {beside}");
        }
    }
}

#[test]
fn what_is_read_through_a_link_is_inside_of_the_root() {
    let world = World::new();
    let root = Utf8PathBuf::from_path_buf(world.path("root")).unwrap();
    let secret = world.path("victim/secret");
    tree::write(&secret, b"outside");
    let link = world.host("state/link");
    fs::create_dir_all(link.parent().unwrap()).unwrap();
    let looks = || {
        let anywhere = Look::new(root.clone(), Places::default());
        let near = anywhere.from_inside(Utf8Path::new("/state")).unwrap().unwrap();
        [anywhere, near]
    };
    let paths = ways_out(&world, &link).map(|way| format!("{way}/secret"));
    for target in paths.iter().map(String::as_str).chain(["../secret"]) {
        let _ = fs::remove_file(&link);
        tree::link(&link, target);
        for look in looks() {
            assert_eq!(look.read("/state/link", 64).unwrap(), None, "{target}");
        }
    }
    tree::write(&world.host(secret.to_str().unwrap().trim_start_matches('/')), b"inside");
    for relative in ["secret", "victim/secret"] {
        tree::write(&world.host(relative), b"inside");
    }
    for target in paths.iter().map(String::as_str).chain(["../secret"]) {
        fs::remove_file(&link).unwrap();
        tree::link(&link, target);
        for look in looks() {
            let read = look.read("/state/link", 64).unwrap();
            assert_eq!(read.as_deref(), Some(b"inside".as_slice()), "{target}");
        }
    }
    // A directory on the way.
    let (directory, target) = (world.host("state/inner"), world.path("victim"));
    tree::link(&directory, target.to_str().unwrap());
    tree::write(&world.path("victim/other"), b"outside");
    for look in looks() {
        assert_eq!(look.read("/state/inner/other", 64).unwrap(), None);
        assert_eq!(look.stat("/state/inner/other").unwrap(), None);
        assert!(look.sha256("/state/inner/other").is_err());
    }
}

#[test]
fn file_of_events_that_is_a_link_stays_inside_of_the_root() {
    for way in 0..2 {
        let world = World::new();
        world.wish("1.0", 3);
        tree::write(&world.path("victim/precious"), b"precious");
        let file = world.host("var/log/events.jsonl");
        let target = format!("{}/precious", ways_out(&world, &file)[way]);
        tree::write(
            &world.host("etc/reconcile/agent.yaml"),
            b"notify: { file: /var/log/events.jsonl }\n",
        );
        tree::link(&file, &target);
        let inside = if way == 0 { &target[1..] } else { "victim/precious" };
        fs::create_dir_all(world.host(inside).parent().unwrap()).unwrap();
        let before = outside(&world);
        let passed = world.agent(&["--effects", "run"]);
        assert!(passed.status.success(), "{target}: {}", said(&passed));
        assert_eq!(outside(&world), before, "{target}");
        let told = fs::read_to_string(world.host(inside)).unwrap();
        assert!(told.contains("ChangeApplied"), "{told}");
    }
}

#[test]
fn links_that_lead_in_a_circle_are_told_by_the_path_that_they_are_at() {
    let world = World::new();
    world.wish("1.0", 3);
    tree::link(&world.host("opt"), "/elsewhere");
    tree::link(&world.host("elsewhere"), "/opt");
    let told = said(&world.agent(&PASS));
    assert!(told.contains("Too many levels of symbolic links"), "{told}");
    assert!(told.contains("/opt/") && !told.contains("-----"), "{told}");
}
