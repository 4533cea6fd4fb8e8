//! Trees from a casync store: installed, updated, left alone, repaired, rolled back, used offline.

use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use reconcile::format::casync::flags::Flags;

use crate::support::casync::Publisher;
use crate::support::server::{Reply, Server};
use crate::support::tree::{self, render, snapshot};
use crate::support::world::{Ran, World};

/// A world with a publisher whose tree has several files, directories and a link.
pub(crate) fn site() -> (World, Publisher) {
    let mut world = World::new();
    let publisher = Publisher::new(&world.temp().join("publisher"));
    tree::make(
        &publisher.source,
        "conf.d/main \"one\\n\"\nbin/run 0755 \"#!/bin/sh\\n\"\nlatest -> conf.d/main\nempty/\n",
    );
    for number in 0..40_u32 {
        let bytes: Vec<u8> = (0..number * 97).flat_map(|n| (n * number).to_le_bytes()).collect();
        tree::write(&publisher.source.join(format!("data/{number:02}")), &bytes);
    }
    publisher.publish();
    world.wish("desired", &publisher.wish(""));
    (world, publisher)
}

pub(crate) fn pass(world: &mut World) -> Ran {
    world.tick();
    world.run(&[]).exits(0)
}

#[track_caller]
pub(crate) fn is_published(world: &World, publisher: &Publisher) {
    let (here, there) = (snapshot(&world.path("/srv/site")), snapshot(&publisher.source));
    assert_eq!(render(&here), render(&there));
    assert_eq!(here, there, "times");
}

#[track_caller]
pub(crate) fn nothing_to_do(world: &mut World) {
    let ran = pass(world);
    assert!(ran.stdout.contains("No changes"), "{ran:#?}");
}

/// Names of the generations beside the tree, and what is left in staging.
fn beside(world: &World) -> (Vec<String>, Vec<String>) {
    let names = |path: &str| {
        let entries = fs::read_dir(world.path(path)).into_iter().flatten();
        let mut names: Vec<String> =
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    (names("/srv/.site.reconcile/generations"), names("/srv/.site.reconcile/staging"))
}

#[test]
fn tree_is_installed_updated_and_then_left_alone() {
    let (mut world, publisher) = site();
    let plan = world.run(&["--dry-run"]).exits(0);
    assert!(plan.stdout.contains("install index-"), "{}", plan.stdout);
    assert!(plan.stdout.contains("it comes from a path on this machine"), "{}", plan.stdout);
    assert!(!world.path("/srv").exists(), "a dry run makes nothing");
    pass(&mut world);
    is_published(&world, &publisher);
    nothing_to_do(&mut world);
    let inode = |world: &World| world.path("/srv/site").symlink_metadata().unwrap().ino();
    let root = inode(&world);
    tree::write(&publisher.source.join("conf.d/main"), b"two\n");
    tree::write(&publisher.source.join("conf.d/new"), b"new\n");
    tree::remove(&publisher.source.join("data/07"));
    tree::remove(&publisher.source.join("empty"));
    publisher.publish();
    world.tick();
    let ran = world.run(&[]).exits(0);
    assert!(ran.stdout.contains("from the tree in use"), "{}", ran.stdout);
    is_published(&world, &publisher);
    assert_ne!(inode(&world), root, "another directory stands there");
    nothing_to_do(&mut world);
    let (generations, staging) = beside(&world);
    assert_eq!((generations.len(), staging.len()), (2, 0), "{generations:?} {staging:?}");
}

#[test]
fn update_reads_no_chunk_that_is_in_the_tree_in_use() {
    let (mut world, publisher) = site();
    pass(&mut world);
    let old = publisher.chunks();
    tree::write(&publisher.source.join("conf.d/main"), b"two\n");
    publisher.publish();
    for chunk in &old {
        fs::remove_file(chunk).unwrap();
    }
    assert!(!publisher.chunks().is_empty());
    pass(&mut world);
    is_published(&world, &publisher);
}

#[test]
fn what_somebody_put_among_generations_is_neither_counted_nor_removed() {
    let (mut world, publisher) = site();
    pass(&mut world);
    let theirs = world.path("/srv/.site.reconcile/generations/theirs/tree/file");
    tree::write(&theirs, b"theirs");
    for text in ["two\n", "three\n", "four\n"] {
        tree::write(&publisher.source.join("conf.d/main"), text.as_bytes());
        publisher.publish();
        pass(&mut world);
        assert!(theirs.exists(), "{text}");
        assert_eq!(beside(&world).0.len(), 3, "one before the one in use is kept, {text}");
    }
    world.wish("desired", "trees: {}\n");
    world.tick();
    world.run(&["--confirm-removals"]).exits(0);
    assert!(!world.path("/srv/site").exists() && theirs.exists());
    assert_eq!(beside(&world).0, ["theirs"]);
}

#[test]
fn drift_is_told_to_the_file_and_repaired_from_older_generations() {
    let (mut world, publisher) = site();
    pass(&mut world);
    tree::write(&publisher.source.join("conf.d/main"), b"two\n");
    publisher.publish();
    pass(&mut world);
    tree::remove(&publisher.store);
    let site = world.path("/srv/site");
    tree::write(&site.join("data/30"), b"mine");
    tree::write(&site.join("data/extra"), b"mine");
    tree::remove(&site.join("data/31"));
    fs::set_permissions(site.join("bin/run"), fs::Permissions::from_mode(0o600)).unwrap();
    tree::link(&site.join("latest"), "elsewhere");
    let told = world.run(&["--dry-run", "-o", "json"]).exits(0).json();
    let drift = told["spec"]["changes"][0]["drift"].as_array().unwrap().clone();
    let kinds: Vec<String> = drift
        .iter()
        .map(|d| format!("{} {}", d["path"].as_str().unwrap(), d["kind"].as_str().unwrap()))
        .collect();
    assert_eq!(
        kinds,
        [
            "/srv/site/bin/run mode-changed",
            "/srv/site/data/30 modified",
            "/srv/site/data/31 missing",
            "/srv/site/data/extra extra",
            "/srv/site/latest retargeted",
        ]
    );
    pass(&mut world);
    is_published(&world, &publisher);
    nothing_to_do(&mut world);
}

#[test]
fn content_that_rotted_unseen_is_found_by_a_deep_look_and_repaired() {
    let (mut world, publisher) = site();
    pass(&mut world);
    let file = world.path("/srv/site/data/30");
    let metadata = file.metadata().unwrap();
    let mut bytes = fs::read(&file).unwrap();
    bytes[1000] ^= 1;
    fs::write(&file, bytes).unwrap();
    fs::File::options()
        .append(true)
        .open(&file)
        .unwrap()
        .set_modified(metadata.modified().unwrap())
        .unwrap();
    nothing_to_do(&mut world);
    world.tick();
    let told = world.run(&["--deep"]).exits(0);
    assert!(told.stdout.contains("/srv/site/data/30"), "{told:#?}");
    is_published(&world, &publisher);
    world.tick();
    let again = world.run(&["--deep"]).exits(0);
    assert!(again.stdout.contains("No changes"), "{again:#?}");
}

#[test]
fn tree_somebody_emptied_or_moved_away_is_made_again() {
    let (mut world, publisher) = site();
    pass(&mut world);
    let site = world.path("/srv/site");
    tree::remove(&site);
    pass(&mut world);
    is_published(&world, &publisher);
    for entry in fs::read_dir(&site).unwrap() {
        tree::remove(&entry.unwrap().path());
    }
    pass(&mut world);
    is_published(&world, &publisher);
    nothing_to_do(&mut world);
}

#[test]
fn host_restored_from_a_backup_is_as_desired_and_updates_without_fetching_all() {
    let (mut world, publisher) = site();
    pass(&mut world);
    let backup = world.temp().join("backup");
    let copy = |from: &Path, to: &Path| {
        tree::remove(to);
        let copied = std::process::Command::new("cp").arg("-a").args([from, to]).status().unwrap();
        assert!(copied.success());
    };
    copy(&world.root(), &backup);
    copy(&backup, &world.root());
    nothing_to_do(&mut world);
    let old = publisher.chunks();
    tree::write(&publisher.source.join("conf.d/main"), b"two\n");
    publisher.publish();
    for chunk in &old {
        fs::remove_file(chunk).unwrap();
    }
    pass(&mut world);
    is_published(&world, &publisher);
    nothing_to_do(&mut world);
}

#[test]
fn operator_goes_back_and_forth_without_the_source_in_every_layout() {
    for layout in ["exchange", "link"] {
        goes_back_and_forth(layout);
    }
}

fn goes_back_and_forth(layout: &str) {
    let (mut world, publisher) = site();
    world.wish("desired", &publisher.wish(&format!("    layout: {layout}\n")));
    pass(&mut world);
    assert_eq!(world.path("/srv/site").is_symlink(), layout == "link");
    let first = render(&snapshot(&world.path("/srv/site")));
    tree::write(&publisher.source.join("conf.d/main"), b"two\n");
    publisher.publish();
    pass(&mut world);
    tree::remove(&publisher.store);
    world.tick();
    world.run(&["rollback", "tree/site", "--reason", "broken"]).exits(0);
    assert_eq!(render(&snapshot(&world.path("/srv/site"))), first, "{layout}");
    assert_eq!(world.path("/srv/site").is_symlink(), layout == "link");
    nothing_to_do(&mut world);
    world.run(&["resume", "tree/site"]).exits(0);
    pass(&mut world);
    is_published(&world, &publisher);
    nothing_to_do(&mut world);
}

#[test]
fn directory_of_somebody_else_is_refused_or_kept_as_the_previous_generation() {
    let (mut world, publisher) = site();
    tree::write(&world.path("/srv/site/theirs"), b"theirs");
    world.tick();
    let refused = world.run(&[]).exits(1);
    assert!(refused.stdout.contains("existing: adopted"), "{refused:#?}");
    assert_eq!(fs::read(world.path("/srv/site/theirs")).unwrap(), b"theirs");
    world.wish("desired", &publisher.wish("    existing: adopted\n"));
    pass(&mut world);
    is_published(&world, &publisher);
    let kept = world.path("/srv/.site.reconcile/generations/adopted/tree/theirs");
    assert_eq!(fs::read(kept).unwrap(), b"theirs");
    nothing_to_do(&mut world);
}

#[test]
fn however_much_a_directory_of_somebody_else_holds_it_is_not_read_to_give_way() {
    let (mut world, publisher) = site();
    let huge = world.path("/srv/site/theirs");
    tree::write(&huge, b"");
    File::options().write(true).open(&huge).unwrap().set_len(1 << 42).unwrap();
    world.wish("desired", &publisher.wish("    existing: adopted\n"));
    pass(&mut world);
    is_published(&world, &publisher);
    let kept = world.path("/srv/.site.reconcile/generations/adopted/tree/theirs");
    assert_eq!(kept.metadata().unwrap().len(), 1 << 42);
    nothing_to_do(&mut world);
}

#[test]
fn directory_of_somebody_else_gives_way_to_a_link_where_that_is_wished() {
    let (mut world, publisher) = site();
    tree::write(&world.path("/srv/site/theirs"), b"theirs");
    tree::write(&world.path("/srv/site/kept.log"), b"log");
    let link = "    layout: link\n    preserve: [\"*.log\"]\n";
    world.wish("desired", &publisher.wish(link));
    world.tick();
    let refused = world.run(&[]).exits(1);
    assert!(refused.stdout.contains("existing: adopted"), "{refused:#?}");
    world.wish("desired", &publisher.wish(&format!("{link}    existing: adopted\n")));
    pass(&mut world);
    assert!(world.path("/srv/site").is_symlink());
    assert_eq!(fs::read(world.path("/srv/site/conf.d/main")).unwrap(), b"one\n");
    assert_eq!(fs::read(world.path("/srv/site/kept.log")).unwrap(), b"log");
    let kept = world.path("/srv/.site.reconcile/generations/adopted/tree");
    assert!(kept.symlink_metadata().unwrap().is_dir());
    assert_eq!(fs::read(kept.join("theirs")).unwrap(), b"theirs");
    nothing_to_do(&mut world);
}

#[test]
fn edited_layout_turns_a_directory_of_ours_or_an_empty_one_into_a_link() {
    let (mut world, publisher) = site();
    pass(&mut world);
    world.wish("desired", &publisher.wish("    layout: link\n"));
    pass(&mut world);
    assert!(world.path("/srv/site").is_symlink());
    is_published(&world, &publisher);
    nothing_to_do(&mut world);
    let (mut world, publisher) = site();
    fs::create_dir_all(world.path("/srv/site")).unwrap();
    world.wish("desired", &publisher.wish("    layout: link\n"));
    pass(&mut world);
    is_published(&world, &publisher);
    nothing_to_do(&mut world);
}

#[test]
fn directory_that_casync_updater_keeps_is_taken_over_as_it_is() {
    let (mut world, mut publisher) = site();
    publisher.flags = Flags::UPDATER;
    tree::remove(&publisher.source.join("latest"));
    publisher.publish();
    let server = on_the_web(&publisher);
    let config = world.temp().join("updater.json");
    let url = |name: &str| server.url(&format!("/{name}"));
    let entry = serde_json::json!([{
        "interval": 60000, "srcIndex": url("site.caidx"), "srcStore": url("site.castr"), "dstPath": "/srv/site",
        "triggers": [{ "paths": ["."], "actions": ["touch /nowhere/at/all"] }],
    }]);
    tree::write(&config, entry.to_string().as_bytes());
    let imported =
        world.run(&["import", "casync-updater", config.to_str().unwrap()]).exits(0).stdout;
    world.wish("desired", &imported);
    pass(&mut world);
    // As it is on a host that never had anything but casync-updater.
    tree::remove(&world.path("/srv/.site.reconcile"));
    tree::remove(&world.path("/var/lib/reconcile"));
    let root = world.path("/srv/site").metadata().unwrap().ino();
    for _ in 0..2 {
        world.tick();
        let plan = world.run(&["--dry-run"]).exits(0).stdout;
        assert!(plan.contains("No changes"), "{plan}");
        nothing_to_do(&mut world);
    }
    assert_eq!(world.path("/srv/site").metadata().unwrap().ino(), root);
    let status = world.run(&["status", "-o", "json"]).json();
    assert_eq!(status["resources"][0]["state"], "Current", "{status:#}");
    // One byte makes another directory of it.
    let file = world.path("/srv/site/conf.d/main");
    tree::write(&file, b"One\n");
    world.tick();
    let plan = world.run(&["--dry-run"]).exits(0).stdout;
    assert!(plan.contains("what is at /srv/site is not index-"), "{plan}");
    tree::write(&publisher.source.join("conf.d/main"), b"two\n");
    publisher.publish();
    pass(&mut world);
    assert_eq!(fs::read(&file).unwrap(), b"two\n");
    let kept = world.path("/srv/.site.reconcile/generations/adopted/tree/conf.d/main");
    assert_eq!(fs::read(kept).unwrap(), b"One\n");
    nothing_to_do(&mut world);
}

#[test]
fn preserved_paths_stay_the_same_files() {
    let (mut world, publisher) = site();
    world.wish("desired", &publisher.wish("    preserve: [\"*.log\", local]\n"));
    pass(&mut world);
    let site = world.path("/srv/site");
    tree::write(&site.join("deep/er/x.log"), b"log");
    tree::write(&site.join("local/a/b"), b"mine");
    let inode = site.join("local/a/b").metadata().unwrap().ino();
    nothing_to_do(&mut world);
    tree::write(&publisher.source.join("conf.d/main"), b"two\n");
    publisher.publish();
    // The directories of the log are somebody else's and go, but for what is preserved in them.
    pass(&mut world);
    assert_eq!(fs::read(site.join("deep/er/x.log")).unwrap(), b"log");
    assert_eq!(site.join("local/a/b").metadata().unwrap().ino(), inode);
    assert_eq!(fs::read(site.join("conf.d/main")).unwrap(), b"two\n");
}

#[test]
fn update_that_would_remove_most_of_the_tree_is_refused() {
    let (mut world, publisher) = site();
    world.wish("desired", &publisher.wish("    max_delete: 5\n"));
    pass(&mut world);
    let before = render(&snapshot(&world.path("/srv/site")));
    tree::remove(&publisher.source.join("data"));
    publisher.publish();
    world.tick();
    let refused = world.run(&[]).exits(1);
    assert!(refused.stdout.contains("max_delete"), "{refused:#?}");
    assert_eq!(render(&snapshot(&world.path("/srv/site"))), before);
    world.wish("desired", &publisher.wish("    max_delete: unlimited\n"));
    pass(&mut world);
    is_published(&world, &publisher);
}

#[test]
fn missing_corrupt_and_truncated_chunks_change_nothing_and_are_named() {
    let (mut world, publisher) = site();
    let chunk = publisher.chunks().remove(3);
    let id = chunk.file_stem().unwrap().to_str().unwrap().to_owned();
    let whole = fs::read(&chunk).unwrap();
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for damage in [None, Some(&flipped[..]), Some(&whole[..whole.len() / 2]), Some(&b""[..])] {
        match damage {
            None => fs::remove_file(&chunk).unwrap(),
            Some(bytes) => fs::write(&chunk, bytes).unwrap(),
        }
        world.tick();
        let failed = world.run(&[]);
        assert_ne!(failed.code, 0);
        assert!(failed.stdout.contains(&id), "{failed:#?}");
        assert!(!world.path("/srv/site").exists());
        assert_eq!(beside(&world), (Vec::new(), Vec::new()));
    }
    fs::write(&chunk, whole).unwrap();
    pass(&mut world);
    is_published(&world, &publisher);
}

#[test]
fn hostile_archive_writes_nothing_outside() {
    let (mut world, publisher) = site();
    let stream = publisher.stream();
    for (from, to) in [
        (&b"conf.d\0"[..], &b"../abc\0"[..]),
        (b"latest\0", b"bin/xx\0"),
        (b"latest\0", b"data\0\0\0"),
        (b"main\0", b".\0in\0"),
    ] {
        let mut hostile = stream.clone();
        let at = hostile.windows(from.len()).position(|w| w == from).unwrap();
        hostile[at..at + to.len()].copy_from_slice(to);
        publisher.publish_stream(&publisher.index, &hostile);
        world.tick();
        let refused = world.run(&[]);
        assert_ne!(refused.code, 0, "{}", to.escape_ascii());
        assert!(refused.stdout.contains("archive"), "{refused:#?}");
        assert!(!world.path("/srv/site").exists() && !world.path("/srv/abc").exists());
        assert_eq!(beside(&world), (Vec::new(), Vec::new()));
    }
}

#[test]
fn index_that_is_cut_short_or_too_long_is_refused_and_the_tree_stays() {
    let (mut world, publisher) = site();
    pass(&mut world);
    tree::write(&publisher.source.join("conf.d/main"), b"two\n");
    publisher.publish();
    let index = fs::read(&publisher.index).unwrap();
    let mut longer = index.clone();
    longer.push(0);
    for bytes in [&index[..index.len() - 8], &index[..70], &longer[..], b""] {
        fs::write(&publisher.index, bytes).unwrap();
        world.tick();
        let blocked = world.run(&[]);
        assert!(blocked.stdout.contains("the index"), "{blocked:#?}");
        assert_eq!(fs::read(world.path("/srv/site/conf.d/main")).unwrap(), b"one\n");
    }
}

#[test]
fn triggers_fire_for_the_paths_that_changed_and_nothing_else() {
    let (mut world, publisher) = site();
    let log = world.temp().join("log");
    let note = |word: &str| format!("[[sh, -c, \"echo {word} >> {}\"]]", log.display());
    let wish = publisher.wish(&format!(
        "    triggers:\n      - {{ paths: [conf.d], run: {} }}\n      - {{ paths: [data/05, bin/run], run: {} }}\n      \
         - {{ paths: [.], run: {} }}\n    run: {}\n",
        note("conf"),
        note("data"),
        note("all"),
        note("run")
    ));
    world.wish("desired", &wish);
    world.options = vec!["--effects".to_owned(), "run".to_owned()];
    let fired = |world: &mut World| {
        pass(world);
        let fired = fs::read_to_string(&log).unwrap_or_default();
        tree::remove(&log);
        fired.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(fired(&mut world), ["conf", "data", "all", "run"], "everything is new");
    assert!(fired(&mut world).is_empty());
    tree::write(&publisher.source.join("conf.d/deep/er"), b"x");
    publisher.publish();
    assert_eq!(fired(&mut world), ["conf", "all", "run"]);
    tree::remove(&publisher.source.join("data/05"));
    publisher.publish();
    assert_eq!(fired(&mut world), ["data", "all", "run"]);
    // Drift is a change too: what was there is another now.
    tree::write(&world.path("/srv/site/conf.d/main"), b"mine");
    assert_eq!(fired(&mut world), ["conf", "all", "run"]);
    // Only times are another.
    let touched = fs::File::options().append(true).open(publisher.source.join("bin/run")).unwrap();
    touched.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(9)).unwrap();
    publisher.publish();
    assert_eq!(fired(&mut world), ["run"]);
}

#[test]
fn archive_without_modes_keeps_those_of_the_host() {
    let (mut world, mut publisher) = site();
    publisher.flags = Flags::UPDATER;
    tree::remove(&publisher.source.join("latest"));
    publisher.publish();
    pass(&mut world);
    let mode = |world: &World, path: &str| world.path(path).metadata().unwrap().mode() & 0o7777;
    assert_eq!(mode(&world, "/srv/site/bin/run"), 0o644, "the archive says nothing");
    assert_eq!(mode(&world, "/srv/site/bin"), 0o755);
    let run = world.path("/srv/site/bin/run");
    fs::set_permissions(&run, fs::Permissions::from_mode(0o750)).unwrap();
    tree::write(&publisher.source.join("bin/other"), b"x");
    publisher.publish();
    pass(&mut world);
    assert_eq!(mode(&world, "/srv/site/bin/run"), 0o750);
    nothing_to_do(&mut world);
}

#[test]
fn adopted_tree_keeps_its_modes_where_the_archive_says_nothing() {
    let (mut world, mut publisher) = site();
    publisher.flags = Flags::UPDATER;
    publisher.publish();
    tree::make(&world.path("/srv/site"), "bin/run 0755 \"old\"\nconf.d/main 0600 \"old\"\n");
    world.wish("desired", &publisher.wish("    existing: adopted\n"));
    pass(&mut world);
    let mode = |path: &str| world.path(path).metadata().unwrap().mode() & 0o7777;
    assert_eq!(fs::read(world.path("/srv/site/bin/run")).unwrap(), b"#!/bin/sh\n");
    assert_eq!(mode("/srv/site/bin/run"), 0o755);
    assert_eq!(mode("/srv/site/conf.d/main"), 0o600);
    assert_eq!(mode("/srv/site/data/09"), 0o644);
    nothing_to_do(&mut world);
}

#[test]
fn version_is_chosen_by_the_name_of_the_index() {
    let (mut world, publisher) = site();
    let indexes = publisher.index.parent().unwrap().to_owned();
    for version in ["1.0", "1.2", "2.0"] {
        tree::write(&publisher.source.join("conf.d/main"), version.as_bytes());
        publisher.publish_as(&indexes.join(format!("site_{version}.caidx")));
    }
    let wish = |version: &str| {
        let index = indexes.join("site_@v.caidx");
        publisher
            .wish(&format!("    version: \"{version}\"\n"))
            .replace(&publisher.index.display().to_string(), &index.display().to_string())
    };
    let main = |world: &World| fs::read_to_string(world.path("/srv/site/conf.d/main")).unwrap();
    for (version, expected) in [("<2", "1.2"), ("latest", "2.0"), ("1.0", "1.0")] {
        world.wish("desired", &wish(version));
        pass(&mut world);
        assert_eq!(main(&world), expected);
        nothing_to_do(&mut world);
    }
}

#[test]
fn index_pinned_by_its_digest_is_the_only_one_taken() {
    let (mut world, publisher) = site();
    let hash = |path: &Path| {
        use sha2::Digest;
        data_encoding::HEXLOWER.encode(&sha2::Sha256::digest(fs::read(path).unwrap()))
    };
    let pinned = publisher.wish(&format!("    version: sha256:{}\n", hash(&publisher.index)));
    world.wish("desired", &pinned);
    pass(&mut world);
    is_published(&world, &publisher);
    tree::write(&publisher.source.join("conf.d/main"), b"two\n");
    publisher.publish();
    nothing_to_do(&mut world);
    world.wish("desired", &publisher.wish(&format!("    version: sha256:{}\n", "0".repeat(64))));
    world.tick();
    let blocked = world.run(&[]).exits(1);
    assert!(blocked.stdout.contains("is wished"), "{blocked:#?}");
}

#[test]
fn tree_through_a_link_is_switched_by_replacing_the_link() {
    let (mut world, publisher) = site();
    world.wish("desired", &publisher.wish("    layout: link\n"));
    pass(&mut world);
    assert!(world.path("/srv/site").is_symlink());
    is_published(&world, &publisher);
    nothing_to_do(&mut world);
    tree::write(&publisher.source.join("conf.d/main"), b"two\n");
    publisher.publish();
    pass(&mut world);
    is_published(&world, &publisher);
    nothing_to_do(&mut world);
    assert_eq!(beside(&world).0.len(), 2);
}

#[test]
fn tree_that_is_not_wished_any_more_goes_but_not_with_files_of_others() {
    for theirs in [false, true] {
        let (mut world, _) = site();
        pass(&mut world);
        if theirs {
            tree::write(&world.path("/srv/site/theirs"), b"x");
        }
        world.wish("desired", "trees: {}\n");
        world.tick();
        world.run(&["--confirm-removals"]).exits(0);
        assert_eq!(world.path("/srv/site/theirs").exists(), theirs);
        assert_eq!(world.path("/srv/site").exists(), theirs);
        assert!(!world.path("/srv/.site.reconcile").exists());
    }
}

/// The publisher's files on a web server.
fn on_the_web(publisher: &Publisher) -> Server {
    let server = Server::start();
    let root = publisher.index.parent().unwrap().to_owned();
    server.handle(move |request| {
        let path = root.join(request.bare_path().trim_start_matches('/'));
        fs::read(path).ok().map(Reply::file)
    });
    server
}

fn web_wish(server: &Server, more: &str) -> String {
    format!(
        "trees:\n  site:\n    path: /srv/site\n    verify: {{ min: none }}\n    source: {{ casync: {{ index: \
         \"{}\", store: [\"{}\"] }} }}\n{more}",
        server.url("/site.caidx"),
        server.url("/site.castr")
    )
}

#[test]
fn each_missing_chunk_is_fetched_once_and_an_interrupted_install_goes_on() {
    let (mut world, publisher) = site();
    // The same content twice in the stream is one chunk.
    let twice = fs::read(publisher.source.join("data/39")).unwrap();
    tree::write(&publisher.source.join("data/39b"), &twice);
    publisher.publish();
    let server = on_the_web(&publisher);
    world.wish("desired", &web_wish(&server, ""));
    let chunks = publisher.chunks();
    let last = chunks.last().unwrap();
    let withheld = fs::read(last).unwrap();
    fs::remove_file(last).unwrap();
    world.tick();
    world.run(&[]).exits(1);
    fs::write(last, withheld).unwrap();
    let first: Vec<String> = server.take_requests().into_iter().map(|r| r.path).collect();
    pass(&mut world);
    is_published(&world, &publisher);
    let second: Vec<String> = server.paths();
    let of_chunks = |paths: &[String]| {
        let mut paths: Vec<String> =
            paths.iter().filter(|p| p.contains(".castr/")).cloned().collect();
        paths.sort();
        paths
    };
    let (first, second) = (of_chunks(&first), of_chunks(&second));
    let mut once = second.clone();
    once.dedup();
    assert_eq!(once, second, "no chunk is asked for twice");
    let repeated: Vec<&String> = second.iter().filter(|path| first.contains(path)).collect();
    assert!(repeated.len() <= 1, "only the one that was missing: {repeated:?}");
    assert!(!world.path("/var/cache/reconcile/chunks").exists(), "the cache is swept");
    server.take_requests();
    nothing_to_do(&mut world);
    let asked = server.requests();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!(asked[0].status, 304);
}

#[test]
fn chunk_that_one_mirror_lacks_or_spoils_comes_from_the_next() {
    let (mut world, publisher) = site();
    let server = on_the_web(&publisher);
    let chunks = publisher.chunks();
    let name = |path: &Path| {
        let parts: Vec<_> = path.iter().rev().take(2).map(|p| p.to_str().unwrap()).collect();
        format!("/bad.castr/{}/{}", parts[1], parts[0])
    };
    server.serve(&name(&chunks[0]), Reply::file(b"nonsense".to_vec()));
    server.serve(&name(&chunks[1]), Reply::file(fs::read(&chunks[2]).unwrap()));
    server.serve(&name(&chunks[2]), Reply::file(fs::read(&chunks[2]).unwrap()));
    let wish = web_wish(&server, "")
        .replace("store: [", &format!("store: [\"{}\", ", server.url("/bad.castr")));
    world.wish("desired", &wish);
    pass(&mut world);
    is_published(&world, &publisher);
    assert!(server.paths().contains(&name(&chunks[2])));
}

#[test]
fn offline_copy_is_used_without_network_but_never_to_go_back() {
    let (mut world, publisher) = site();
    let stick = world.temp().join("stick");
    let copy_stick = || {
        fs::create_dir_all(&stick).unwrap();
        fs::copy(&publisher.index, stick.join("site.caidx")).unwrap();
        for chunk in publisher.chunks() {
            let inner = chunk.strip_prefix(&publisher.store).unwrap();
            let to = stick.join("site.castr").join(inner);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(&chunk, to).unwrap();
        }
    };
    let date = |path: &Path, seconds: u64| {
        let file = fs::File::options().append(true).open(path).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds)).unwrap();
    };
    let offline = format!(
        "    offline: {{ casync: {{ index: {0}/site.caidx, store: {0}/site.castr }} }}\n",
        stick.display()
    );
    world.wish("desired", &publisher.wish(&offline));
    let main = |world: &World| fs::read_to_string(world.path("/srv/site/conf.d/main")).unwrap();
    // Nothing at the source: the stick installs.
    copy_stick();
    date(&stick.join("site.caidx"), 1_000_000);
    tree::remove(&publisher.index);
    pass(&mut world);
    assert_eq!(main(&world), "one\n");
    // The source has something newer.
    tree::write(&publisher.source.join("conf.d/main"), b"two\n");
    publisher.publish();
    date(&publisher.index, 2_000_000);
    pass(&mut world);
    assert_eq!(main(&world), "two\n");
    // Without it the old stick is not used.
    tree::remove(&publisher.index);
    world.tick();
    let blocked = world.run(&[]).exits(1);
    assert!(blocked.stdout.contains("never used to go back"), "{blocked:#?}");
    assert_eq!(main(&world), "two\n");
    // A newer stick is.
    tree::write(&publisher.source.join("conf.d/main"), b"three\n");
    publisher.publish();
    copy_stick();
    date(&stick.join("site.caidx"), 3_000_000);
    tree::remove(&publisher.index);
    tree::remove(&publisher.store);
    pass(&mut world);
    assert_eq!(main(&world), "three\n");
    let status = world.run(&["status", "-o", "json"]).json();
    assert!(status.to_string().contains("LocalSource"), "{status:#}");
    // The source is back with what it had: it decides, and the plan says what that means.
    tree::write(&publisher.source.join("conf.d/main"), b"two\n");
    publisher.publish();
    date(&publisher.index, 2_000_000);
    let ran = pass(&mut world);
    assert!(ran.stdout.contains("from the offline copy, which is in use"), "{ran:#?}");
    assert_eq!(main(&world), "two\n");
}

#[test]
fn named_pipes_and_links_are_made_and_devices_are_left_out() {
    let (mut world, mut publisher) = site();
    publisher.flags = publisher.flags.with(Flags::FIFOS).with(Flags::DEVICE_NODES);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        publisher.source.join("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o640),
        0,
    )
    .unwrap();
    publisher.publish();
    pass(&mut world);
    let pipe = world.path("/srv/site/pipe").symlink_metadata().unwrap();
    assert!(pipe.file_type().is_fifo());
    assert_eq!(world.path("/srv/site/latest").read_link().unwrap(), Path::new("conf.d/main"));
    nothing_to_do(&mut world);
}
