//! Another root: no link in it leads what is ours out of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::duo::{PASS, World, said};
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
