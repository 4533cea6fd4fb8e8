//! Indexes, chunks, names and places that are not what they seem.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use reconcile::format::casync::chunk::compress;
use reconcile::format::casync::index::Index;

use crate::support::casync::{Publisher, noise};
use crate::support::server::{Reply, Server};
use crate::support::tree;
use crate::support::world::{Ran, World};

fn published(files: &str) -> (World, Publisher) {
    let world = World::new();
    let publisher = Publisher::new(&world.temp().join("publisher"));
    tree::make(&publisher.source, files);
    tree::write(&publisher.source.join("data"), &noise(7, 40_000));
    publisher.publish();
    (world, publisher)
}

#[track_caller]
fn refused(world: &mut World) -> Ran {
    world.tick();
    let ran = world.run(&[]);
    assert_ne!(ran.code, 0, "{ran:#?}");
    ran
}

#[test]
fn chunk_of_another_length_than_its_index_says_is_refused() {
    let (mut world, publisher) = published("a \"a\"\n");
    world.wish("desired", &publisher.wish(""));
    let whole = fs::read(&publisher.index).unwrap();
    let count = Index::read(whole.as_slice()).unwrap().chunks.len();
    assert!(count > 5, "{count}");
    for by in [-1_i64, 1] {
        for at in [0, count / 2, count - 1] {
            let mut index = Index::read(whole.as_slice()).unwrap();
            // The next one then is as much shorter or longer, but for the last.
            let end = &mut index.chunks[at].end;
            *end = end.checked_add_signed(by).unwrap();
            let id = index.chunks[at].id.to_string();
            let mut bytes = Vec::new();
            index.write(&mut bytes).unwrap();
            fs::write(&publisher.index, bytes).unwrap();
            let ran = refused(&mut world);
            assert!(ran.stdout.contains(&id), "{at} {by}: {ran:#?}");
            assert!(!world.path("/srv/site").exists());
        }
    }
    fs::write(&publisher.index, whole).unwrap();
    world.pass();
    world.nothing_to_do();
}

#[test]
fn chunk_that_unpacks_to_far_more_than_its_index_says_is_refused() {
    let (mut world, publisher) = published("a \"a\"\n");
    world.wish("desired", &publisher.wish(""));
    let chunk = publisher.chunks().remove(2);
    let whole = fs::read(&chunk).unwrap();
    fs::write(&chunk, compress(&vec![0; 100 << 20]).unwrap()).unwrap();
    let ran = refused(&mut world);
    let id = chunk.file_stem().unwrap().to_str().unwrap();
    assert!(ran.stdout.contains(id), "{ran:#?}");
    assert!(!world.path("/srv/site").exists());
    fs::write(&chunk, whole).unwrap();
    world.pass();
}

#[test]
fn names_of_indexes_that_lead_elsewhere_are_not_followed() {
    let (mut world, publisher) = published("a \"a\"\n");
    let root = publisher.index.parent().unwrap().to_owned();
    let server = Server::start();
    server.handle(move |request| {
        let names = [
            "site_1.0.caidx",
            "site_9.0%2F..%2F..%2Fx.caidx",
            "site_..%2F9.0.caidx",
            "..%2Fsite_9.1.caidx",
            "../site_9.2.caidx",
            "/elsewhere/site_9.3.caidx",
            "/d/../site_9.7.caidx",
            "http://127.0.0.1:1/site_9.4.caidx",
            "site_9.5%00.caidx",
            "site_9.6%0A.caidx",
            "site_...caidx",
        ];
        let path = request.bare_path();
        if path == "/d/" {
            let links: Vec<String> =
                names.iter().map(|name| format!("<a href=\"{name}\">x</a>\n")).collect();
            return Some(Reply::file(links.concat()).header("Content-Type", "text/html"));
        }
        let path = path.trim_start_matches('/');
        // Whatever is asked for would be there.
        let path = if path.ends_with(".caidx") { "site.caidx" } else { path };
        fs::read(root.join(path)).ok().map(Reply::file)
    });
    let stick = world.temp().join("sticks/stick");
    fs::create_dir_all(&stick).unwrap();
    world.wish(
        "desired",
        &format!(
            "trees:\n  site:\n    path: /srv/site\n    verify: {{ min: none }}\n    source: {{ casync: {{ index: \
             \"{}\", store: [\"{}\"] }} }}\n    offline: {{ casync: {{ index: \"{2}/site_@v.caidx\", store: {2}/s, \
             refresh: true }} }}\n",
            server.url("/d/site_@v.caidx"),
            server.url("/site.castr"),
            stick.display()
        ),
    );
    let ran = world.pass();
    assert!(ran.stdout.contains("1.0"), "{ran:#?}");
    let names = |path: &Path| {
        let entries = fs::read_dir(path).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&stick), ["s", "site_1.0.caidx"]);
    assert_eq!(names(&world.temp().join("sticks")), ["stick"]);
    let asked = server.paths();
    assert!(!asked.iter().any(|path| path.contains("site_9") || path.contains("..")), "{asked:?}");
}

#[test]
fn arguments_of_triggers_are_passed_as_they_are_written() {
    let (mut world, publisher) = published("conf.d/main \"a\"\n");
    let (script, log) = (world.temp().join("note"), world.temp().join("log"));
    let text = format!("#!/bin/sh\nprintf '%s\\n' \"$#\" \"$@\" >> '{}'\n", log.display());
    tree::write(&script, text.as_bytes());
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let words = ["a b", "$(touch x)", "`id`", "*", ";", "{version}", "-n", ""];
    let argv = serde_json::to_string(&words).unwrap();
    let argv = argv.replacen('[', &format!("[\"{}\", ", script.display()), 1);
    let more = format!("    triggers:\n      - {{ paths: [conf.d], run: [{argv}] }}\n");
    world.wish("desired", &publisher.wish(&more));
    world.options = vec!["--effects".to_owned(), "run".to_owned()];
    world.pass();
    let expected = format!("{}\n{}\n", words.len(), words.join("\n"));
    assert_eq!(fs::read_to_string(&log).unwrap(), expected);
    assert!(!world.temp().join("x").exists());
}

#[test]
fn kept_generation_that_somebody_edited_is_made_anew_when_its_version_is_wished_again() {
    let edits: [fn(&Path); 4] = [
        |kept| {
            // As long as before, and at the same time.
            let time = kept.join("a").metadata().unwrap().modified().unwrap();
            fs::write(kept.join("a"), b"EVIL").unwrap();
            let file = fs::File::options().append(true).open(kept.join("a")).unwrap();
            file.set_modified(time).unwrap();
        },
        |kept| tree::write(&kept.join("sub/more"), b"EVIL"),
        |kept| fs::set_permissions(kept.join("a"), fs::Permissions::from_mode(0o777)).unwrap(),
        |kept| {
            tree::remove(&kept.join("sub"));
            symlink("/etc", kept.join("sub")).unwrap();
        },
    ];
    for layout in ["exchange", "link"] {
        for (number, edit) in edits.iter().enumerate() {
            let (mut world, publisher) = published("a \"good\"\nsub/b \"b\"\n");
            let indexes = publisher.index.parent().unwrap().to_owned();
            publisher.publish_as(&indexes.join("site_1.0.caidx"));
            tree::write(&publisher.source.join("a"), b"next");
            publisher.publish_as(&indexes.join("site_2.0.caidx"));
            let go_to = |world: &mut World, version: &str| {
                let more = format!("    layout: {layout}\n    version: \"{version}\"\n");
                let index = publisher.index.display().to_string();
                let named = indexes.join("site_@v.caidx").display().to_string();
                world.wish("desired", &publisher.wish(&more).replace(&index, &named));
                world.pass();
            };
            go_to(&mut world, "1.0");
            go_to(&mut world, "2.0");
            let generations = fs::read_dir(world.path("/srv/.site.reconcile/generations")).unwrap();
            let mut trees = generations.map(|entry| entry.unwrap().path().join("tree"));
            let is_old = |tree: &PathBuf| fs::read(tree.join("a")).is_ok_and(|a| a == b"good");
            edit(&trees.find(is_old).unwrap());
            go_to(&mut world, "1.0");
            let site = world.path("/srv/site");
            assert_eq!(fs::read(site.join("a")).unwrap(), b"good", "{layout} {number}");
            let mode = site.join("a").metadata().unwrap().permissions().mode() & 0o7777;
            assert_eq!(mode, 0o644, "{layout} {number}");
            assert!(!site.join("sub").is_symlink() && !site.join("sub/more").exists());
            world.nothing_to_do();
        }
    }
}

#[test]
fn index_by_another_name_of_the_tree_is_never_published_with_it() {
    let place = tempfile::tempdir().unwrap();
    tree::make(&place.path().join("tree"), "sub/a \"a\"\n");
    tree::link(&place.path().join("alias"), "tree");
    tree::link(&place.path().join("deep"), "tree/sub");
    for (directory, index, store) in [
        ("tree", "alias/t.caidx", "t.castr"),
        ("tree", "deep/t.caidx", "t.castr"),
        ("alias", "tree/t.caidx", "t.castr"),
        ("tree", "t.caidx", "deep/t.castr"),
        ("alias", "t.caidx", "alias/new/t.castr"),
    ] {
        let ran = Command::new(env!("CARGO_BIN_EXE_reconcile"))
            .args(["publish", "tree", directory, "--index", index, "--store", store])
            .current_dir(place.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ran.stderr);
        assert!(!ran.status.success() && said.contains("is inside"), "{index} {store}: {said}");
        assert_eq!(tree::snapshot(&place.path().join("tree")).len(), 2, "{index} {store}");
    }
}

#[test]
fn live_tree_by_another_name_may_be_a_seed_of_itself() {
    let (mut world, publisher) = published("a \"a\"\n");
    fs::create_dir_all(world.path("/srv")).unwrap();
    tree::link(&world.path("/alias"), "srv");
    let more = format!("    seeds: [{}]\n", world.path("/alias/site").display());
    world.wish("desired", &publisher.wish(&more));
    world.pass();
    world.nothing_to_do();
    tree::write(&publisher.source.join("a"), b"2");
    publisher.publish();
    world.pass();
    assert_eq!(fs::read(world.path("/srv/site/a")).unwrap(), b"2");
    assert_eq!(fs::read(world.path("/srv/site/data")).unwrap(), noise(7, 40_000));
    world.nothing_to_do();
}

#[test]
fn file_that_a_release_has_and_the_host_preserves_stays_the_hosts() {
    for layout in ["exchange", "link", "in-place"] {
        let (mut world, publisher) = published("own.conf \"theirs\"\nsub/x.log \"theirs\"\n");
        let more = format!("    layout: {layout}\n    preserve: [own.conf, \"*.log\"]\n");
        world.wish("desired", &publisher.wish(&more));
        world.pass();
        let read = |world: &World, name: &str| {
            fs::read_to_string(world.path("/srv/site").join(name)).unwrap()
        };
        for name in ["own.conf", "sub/x.log"] {
            assert_eq!(read(&world, name), "theirs", "{layout}: what is not there comes");
            fs::write(world.path("/srv/site").join(name), "mine").unwrap();
        }
        world.nothing_to_do();
        for (round, text) in ["2", "3"].iter().enumerate() {
            tree::write(&publisher.source.join("own.conf"), text.as_bytes());
            tree::write(&publisher.source.join("sub/x.log"), text.as_bytes());
            tree::write(&publisher.source.join("other"), text.as_bytes());
            publisher.publish();
            world.pass();
            assert_eq!(read(&world, "other"), *text, "{layout} {round}");
            for name in ["own.conf", "sub/x.log"] {
                assert_eq!(read(&world, name), "mine", "{layout} {round} {name}");
            }
            world.nothing_to_do();
        }
    }
}
