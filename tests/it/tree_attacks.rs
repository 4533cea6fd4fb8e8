//! Trees whose publisher is hostile, and trees in which somebody else keeps things.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

use reconcile::format::casync::catar::{Content, Encoder, Metadata};
use reconcile::format::casync::flags::Flags;

use crate::support::casync::Publisher;
use crate::support::server::{Reply, Server};
use crate::support::tree;
use crate::support::world::World;

/// A world with a publisher whose tree was installed, with more lines in the wish.
fn installed(files: &str, more: &str) -> (World, Publisher) {
    let mut world = World::new();
    let publisher = Publisher::new(&world.temp().join("publisher"));
    tree::make(&publisher.source, files);
    publisher.publish();
    world.wish("desired", &publisher.wish(more));
    world.pass();
    (world, publisher)
}

fn generations(world: &World) -> Vec<PathBuf> {
    let entries = fs::read_dir(world.path("/srv/.site.reconcile/generations")).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn preserved_paths_are_never_carried_through_a_link_of_the_archive() {
    let (mut world, publisher) = installed("a/b/k \"k\"\n", "    preserve: [\"**/*.log\"]\n");
    let outside = world.temp().join("outside");
    tree::write(&outside.join("b/d.log/precious"), b"precious");
    tree::write(&world.path("/srv/site/a/b/d.log"), b"mine");
    tree::remove(&publisher.source.join("a"));
    symlink(&outside, publisher.source.join("a")).unwrap();
    publisher.publish();
    world.tick();
    let refused = world.run(&[]).exits(1);
    assert!(refused.stdout.contains("preserved files are below /srv/site/a"), "{refused:#?}");
    assert_eq!(fs::read(outside.join("b/d.log/precious")).unwrap(), b"precious");
    assert_eq!(fs::read_dir(outside.join("b")).unwrap().count(), 1);
    assert_eq!(fs::read(world.path("/srv/site/a/b/d.log")).unwrap(), b"mine");
    assert!(!world.path("/srv/site/a").is_symlink(), "what is preserved needs its directories");
}

#[test]
fn preserved_paths_at_the_depth_limit_of_the_system_are_carried() {
    let (mut world, publisher) = installed("k \"k\"\n", "    preserve: [own]\n");
    let name = "d".repeat(250);
    let mut directory = rustix::fs::open(
        world.path("/srv/site"),
        rustix::fs::OFlags::PATH,
        rustix::fs::Mode::empty(),
    )
    .unwrap();
    // 20 levels of 250 bytes are more than any path may have.
    for name in std::iter::once("own").chain(std::iter::repeat_n(name.as_str(), 20)) {
        rustix::fs::mkdirat(&directory, name, rustix::fs::Mode::RWXU).unwrap();
        let flags = rustix::fs::OFlags::PATH;
        directory = rustix::fs::openat(&directory, name, flags, rustix::fs::Mode::empty()).unwrap();
    }
    tree::write(&publisher.source.join("k"), b"other");
    publisher.publish();
    world.pass();
    assert!(world.path("/srv/site/own").join(&name).join(&name).is_dir());
    tree::write(&publisher.source.join("k"), b"third");
    publisher.publish();
    world.pass();
    assert_eq!(generations(&world).len(), 2, "what is not kept any more could be removed");
}

#[test]
fn archive_with_paths_longer_than_any_is_refused_and_the_tree_lives_on() {
    let (mut world, publisher) = installed("k \"k\"\n", "");
    let flags = Flags::PERMISSIONS.with(Flags::NSEC_TIME).with(Flags::SHA512_256).normalised();
    let mut encoder = Encoder::new(Vec::new(), flags);
    let metadata = Metadata { permissions: 0o755, ..Metadata::default() };
    encoder.node(b"", &metadata, &Content::Directory).unwrap();
    for _ in 0..20 {
        encoder.node("d".repeat(250).as_bytes(), &metadata, &Content::Directory).unwrap();
    }
    for _ in 0..21 {
        encoder.leave().unwrap();
    }
    publisher.publish_stream(&publisher.index, &encoder.finish().unwrap().0);
    world.tick();
    let refused = world.run(&[]).exits(77);
    assert!(refused.stdout.contains("4096 bytes"), "{refused:#?}");
    let staging = fs::read_dir(world.path("/srv/.site.reconcile/staging")).unwrap();
    assert_eq!(staging.count(), 0);
    tree::write(&publisher.source.join("k"), b"other");
    publisher.publish();
    world.pass();
    assert_eq!(fs::read(world.path("/srv/site/k")).unwrap(), b"other");
}

#[test]
fn file_among_a_thousand_changed_ones_keeps_the_tree_that_is_not_wished() {
    let mut files = String::new();
    for number in 0..1100 {
        files.push_str(&format!("a{number} \"x\"\n"));
    }
    let (mut world, _) = installed(&files, "");
    let site = world.path("/srv/site");
    for number in 0..1100 {
        let path = site.join(format!("a{number}"));
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    tree::write(&site.join("zzz"), b"mine");
    world.wish("desired", "trees: {}\n");
    world.tick();
    let ran = world.run(&["--confirm-removals"]).exits(0);
    assert!(ran.stdout.contains("the tree stays"), "{ran:#?}");
    assert_eq!(fs::read(site.join("zzz")).unwrap(), b"mine");
}

#[test]
fn upload_is_seen_although_the_time_of_its_directory_was_put_back() {
    let (mut world, _) = installed("up/a \"a\"\n", "");
    let directory = world.path("/srv/site/up");
    let before = directory.metadata().unwrap();
    tree::write(&directory.join("upload"), b"mine");
    let times = fs::FileTimes::new().set_modified(before.modified().unwrap());
    fs::File::open(&directory).unwrap().set_times(times).unwrap();
    assert_eq!(directory.metadata().unwrap().mtime_nsec(), before.mtime_nsec());
    world.wish("desired", "trees: {}\n");
    world.tick();
    world.run(&["--confirm-removals"]).exits(0);
    assert_eq!(fs::read(directory.join("upload")).unwrap(), b"mine");
}

#[test]
fn repaired_tree_with_files_of_others_is_kept_and_the_plan_says_so() {
    let (mut world, publisher) = installed("a \"a\"\nb \"b\"\n", "    retain: 1\n");
    let site = world.path("/srv/site");
    tree::write(&site.join("one"), b"mine");
    tree::write(&site.join("two/three"), b"mine");
    tree::remove(&site.join("a"));
    let plan = world.run(&["--dry-run"]).exits(0);
    assert!(plan.stdout.contains("2 paths of somebody else"), "{plan:#?}");
    world.pass();
    assert!(!site.join("one").exists() && site.join("a").exists());
    let kept = world.path("/srv/.site.reconcile/generations/adopted/tree");
    assert_eq!(fs::read(kept.join("two/three")).unwrap(), b"mine");
    // Retention is about releases.
    for text in ["2", "3", "4"] {
        tree::write(&publisher.source.join("a"), text.as_bytes());
        publisher.publish();
        world.pass();
    }
    assert_eq!(generations(&world).len(), 2);
    assert_eq!(fs::read(kept.join("one")).unwrap(), b"mine");
    world.wish("desired", "trees: {}\n");
    world.tick();
    world.run(&["--confirm-removals"]).exits(0);
    assert!(!site.exists());
    assert_eq!(fs::read(kept.join("one")).unwrap(), b"mine");
}

#[test]
fn files_of_others_that_come_back_each_time_are_not_put_away_for_ever() {
    let (mut world, publisher) = installed("a \"a\"\n", "    retain: 1\n");
    let (theirs, kept) = (world.path("/srv/site/uploads"), world.path("/srv/.site.reconcile/kept"));
    for round in 1..=4 {
        tree::write(&theirs, b"theirs");
        tree::write(&publisher.source.join("a"), format!("{round}").as_bytes());
        publisher.publish();
        world.tick();
        let ran = world.run(&[]);
        if round <= 3 {
            assert_eq!((ran.code, fs::read_dir(&kept).unwrap().count()), (0, round), "{ran:#?}");
        } else {
            assert!(
                ran.code != 0 && ran.stdout.contains("name what is to stay in the tree"),
                "{ran:#?}"
            );
        }
    }
    assert_eq!(fs::read(&theirs).unwrap(), b"theirs");
    assert_eq!(fs::read(world.path("/srv/site/a")).unwrap(), b"3");
    tree::remove(&kept);
    world.pass();
    assert_eq!(fs::read(world.path("/srv/site/a")).unwrap(), b"4");
}

#[test]
fn update_keeps_files_of_others_for_good_and_says_where() {
    for layout in ["exchange", "link", "in-place"] {
        let more = format!("    retain: 1\n    layout: {layout}\n    preserve: [\"*.log\"]\n");
        let (mut world, publisher) = installed("a \"a\"\nsub/b \"b\"\n", &more);
        let site = world.path("/srv/site");
        tree::write(&site.join("precious.db"), b"precious");
        tree::write(&site.join("sub/mine/deep"), b"deep");
        tree::write(&site.join("sub/x.log"), b"log");
        tree::write(&publisher.source.join("a"), b"2");
        publisher.publish();
        let plan = world.run(&["--dry-run"]).exits(0);
        let said = "keeps what somebody else has there: precious.db, sub/mine";
        assert!(plan.stdout.contains(said), "{layout}: {plan:#?}");
        let done = world.pass();
        assert!(done.stdout.contains("2 paths of somebody else are kept in"), "{done:#?}");
        let kept = fs::read_dir(world.path("/srv/.site.reconcile/kept")).unwrap().next();
        let kept = kept.unwrap().unwrap().path();
        for text in ["3", "4"] {
            tree::write(&publisher.source.join("a"), text.as_bytes());
            publisher.publish();
            let noted = world.pass();
            assert!(noted.stdout.contains("files of somebody else"), "{layout}: {noted:#?}");
        }
        assert_eq!(fs::read(site.join("a")).unwrap(), b"4");
        assert!(!site.join("precious.db").exists());
        assert_eq!(fs::read(kept.join("precious.db")).unwrap(), b"precious", "{layout}");
        assert_eq!(fs::read(kept.join("sub/mine/deep")).unwrap(), b"deep", "{layout}");
        assert!(!kept.join("sub/x.log").exists() && site.join("sub/x.log").exists());
        assert_eq!(generations(&world).len(), 1, "{layout}");
        assert_eq!(kept.parent().unwrap().read_dir().unwrap().count(), 1, "{layout}");
        world.wish("desired", "trees: {}\n");
        world.tick();
        world.run(&["--confirm-removals"]).exits(0);
        assert_eq!(fs::read(kept.join("precious.db")).unwrap(), b"precious", "{layout}");
    }
}

#[test]
fn repairs_do_not_fill_the_disk_with_files_of_others() {
    let (mut world, _) = installed("a \"a\"\n", "");
    let site = world.path("/srv/site");
    for _ in 0..3 {
        tree::write(&site.join("one"), b"mine");
        world.pass();
    }
    tree::write(&site.join("one"), b"mine");
    world.tick();
    let refused = world.run(&[]).exits(1);
    assert!(refused.stdout.contains("preserve"), "{refused:#?}");
    assert_eq!(fs::read(site.join("one")).unwrap(), b"mine");
}

#[test]
fn update_is_refused_when_nobody_can_say_what_it_removes() {
    let (mut world, publisher) = installed("a \"a\"\nb \"b\"\n", "    max_delete: 1\n");
    let nodes = generations(&world).remove(0).join("nodes");
    fs::write(&nodes, b"rotten").unwrap();
    tree::write(&publisher.source.join("a"), b"other");
    publisher.publish();
    world.tick();
    let refused = world.run(&[]).exits(1);
    assert!(refused.stdout.contains("max_delete: unlimited"), "{refused:#?}");
    assert_eq!(fs::read(world.path("/srv/site/a")).unwrap(), b"a");
    world.wish("desired", &publisher.wish("    max_delete: unlimited\n"));
    world.pass();
    assert_eq!(fs::read(world.path("/srv/site/a")).unwrap(), b"other");
}

#[test]
fn tree_without_its_list_is_repaired_and_what_was_there_is_kept() {
    let (mut world, _) = installed("a \"a\"\nb \"b\"\n", "");
    let nodes = generations(&world).remove(0).join("nodes");
    fs::write(&nodes, b"rotten").unwrap();
    tree::write(&world.path("/srv/site/mine"), b"mine");
    world.pass();
    let kept = world.path("/srv/.site.reconcile/generations/adopted/tree/mine");
    assert_eq!(fs::read(kept).unwrap(), b"mine");
    let quiet = world.pass();
    assert!(quiet.stdout.contains("No changes"), "{quiet:#?}");
}

#[test]
fn permissions_of_a_link_never_become_those_of_a_file() {
    let mut world = World::new();
    let mut publisher = Publisher::new(&world.temp().join("publisher"));
    // An archive that says nothing about modes, as casync-updater makes them.
    publisher.flags = Flags::NSEC_TIME.with(Flags::SYMLINKS).with(Flags::SHA512_256);
    tree::make(&publisher.source, "real \"x\"\nprog -> real\n");
    publisher.publish();
    world.wish("desired", &publisher.wish(""));
    world.pass();
    let site = world.path("/srv/site");
    tree::remove(&publisher.source.join("prog"));
    tree::write(&publisher.source.join("prog"), b"program");
    publisher.publish();
    tree::link(&site.join("real"), "prog");
    world.pass();
    for name in ["prog", "real"] {
        let mode = site.join(name).symlink_metadata().unwrap().mode();
        assert_eq!(mode & 0o7777, 0o644, "{name}");
    }
    fs::set_permissions(site.join("real"), fs::Permissions::from_mode(0o4755)).unwrap();
    tree::write(&publisher.source.join("real"), b"other");
    publisher.publish();
    world.pass();
    assert_eq!(site.join("real").metadata().unwrap().mode() & 0o7777, 0o755);
}

#[test]
fn directory_of_ours_that_is_a_link_is_refused() {
    let (mut world, publisher) = installed("a \"a\"\n", "");
    let (beside, moved) = (world.path("/srv/.site.reconcile"), world.temp().join("moved"));
    fs::rename(&beside, &moved).unwrap();
    symlink(&moved, &beside).unwrap();
    tree::write(&publisher.source.join("a"), b"other");
    publisher.publish();
    world.tick();
    let refused = world.run(&[]).exits(1);
    assert!(refused.stdout.contains("is a symbolic link"), "{refused:#?}");
    assert_eq!(fs::read_dir(moved.join("generations")).unwrap().count(), 1);
}

#[test]
fn tree_never_swallows_the_files_of_this_program_or_of_another_tree() {
    let (mut world, publisher) = installed("a \"a\"\n", "");
    for path in ["/var/lib", "/var/lib/reconcile/x", "/var/cache/reconcile"] {
        let wish = publisher.wish("    existing: adopted\n").replace("/srv/site", path);
        world.wish("desired", &wish.replace("site:", "other:"));
        world.tick();
        let refused = world.run(&["--only", "tree/other"]).exits(65);
        assert!(refused.stderr.contains("is where reconcile keeps"), "{refused:#?}");
    }
    let inside = publisher.wish("    existing: adopted\n");
    let inside = inside.replace("trees:\n", "").replace("/srv/site", "/srv/.site.reconcile");
    let both = publisher.wish("") + &inside.replace("  site:", "  other:");
    world.wish("desired", &both);
    world.run(&["--dry-run"]).exits(65);
}

#[test]
fn store_that_fails_time_and_again_is_asked_last() {
    let mut world = World::new();
    let publisher = Publisher::new(&world.temp().join("publisher"));
    for number in 0..60_u32 {
        let bytes: Vec<u8> = (0..2000_u32).flat_map(|n| (n * number).to_le_bytes()).collect();
        tree::write(&publisher.source.join(format!("{number}")), &bytes);
    }
    publisher.publish();
    let chunks = publisher.chunks().len();
    assert!(chunks > 200, "{chunks}");
    let server = Server::start();
    let root = publisher.index.parent().unwrap().to_owned();
    server.handle(move |request| {
        let path = root.join(request.bare_path().trim_start_matches('/'));
        let bad = request.bare_path().starts_with("/bad.castr");
        if bad {
            Some(Reply::file(b"garbage".to_vec()))
        } else {
            fs::read(path).ok().map(Reply::file)
        }
    });
    world.wish(
        "desired",
        &format!(
            "trees:\n  site:\n    path: /srv/site\n    verify: {{ min: none }}\n    source: {{ casync: {{ \
             index: \"{}\", store: [\"{}\", \"{}\"] }} }}\n",
            server.url("/site.caidx"),
            server.url("/bad.castr"),
            server.url("/site.castr")
        ),
    );
    world.pass();
    let bad = server.paths().iter().filter(|path| path.starts_with("/bad.castr")).count();
    assert!(bad < chunks, "{bad} of {chunks}");
    assert!(bad <= 70, "only what was under way already: {bad}");
}

/// Needs root; runs with `--features interop`.
#[cfg(feature = "interop")]
#[test]
fn what_is_mounted_in_a_tree_is_never_touched() {
    use std::process::Command;
    struct Mounted(PathBuf);
    impl Drop for Mounted {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
        }
    }
    let (mut world, publisher) = installed("data/a \"a\"\nf \"f\"\n", "    retain: 1\n");
    let elsewhere = world.temp().join("elsewhere");
    tree::write(&elsewhere.join("precious"), b"precious");
    let place = world.path("/srv/site/data");
    let mounted = Command::new("mount").arg("--bind").args([&elsewhere, &place]).status().unwrap();
    assert!(mounted.success());
    let guard = Mounted(place.clone());
    tree::write(&publisher.source.join("f"), b"other");
    publisher.publish();
    world.tick();
    let refused = world.run(&[]).exits(1);
    assert!(refused.stdout.contains("mounted at /srv/site/data"), "{refused:#?}");
    assert_eq!(fs::read(world.path("/srv/site/f")).unwrap(), b"f");
    world.wish("desired", "trees: {}\n");
    world.tick();
    world.run(&["--confirm-removals"]).exits(0);
    assert_eq!(fs::read(elsewhere.join("precious")).unwrap(), b"precious");
    assert_eq!(fs::read(world.path("/srv/site/f")).unwrap(), b"f");
    drop(guard);
    assert!(place.join("a").exists());
}
