//! Data of somebody else in a tree: it outlives every change, or the change is refused.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::support::casync::Publisher;
use crate::support::tree;
use crate::support::world::World;

/// A world and a publisher whose first tree is described by a text; nothing is installed yet.
fn published(files: &str, more: &str) -> (World, Publisher) {
    let mut world = World::new();
    let publisher = Publisher::new(&world.temp().join("publisher"));
    publish(&publisher, files);
    world.wish("desired", &publisher.wish(more));
    (world, publisher)
}

fn publish(publisher: &Publisher, files: &str) {
    tree::remove(&publisher.source);
    fs::create_dir(&publisher.source).unwrap();
    tree::make(&publisher.source, files);
    publisher.publish();
}

/// Every file below the root with this content.
fn found(world: &World, content: &str) -> Vec<PathBuf> {
    fn walk(directory: &Path, content: &[u8], found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let kind = path.symlink_metadata().unwrap().file_type();
            if kind.is_dir() {
                walk(&path, content, found);
            } else if kind.is_file() && fs::read(&path).unwrap() == content {
                found.push(path);
            }
        }
    }
    let mut paths = Vec::new();
    walk(&world.root(), content.as_bytes(), &mut paths);
    paths.sort();
    paths
}

#[test]
fn directory_that_becomes_a_tree_in_place_is_kept_beside_it() {
    let more = "    layout: in-place\n    existing: adopted\n    preserve: [own.log]\n";
    let (mut world, publisher) = published("a \"a\"\n", more);
    tree::write(&world.path("/srv/site/mine"), b"precious");
    tree::write(&world.path("/srv/site/sub/other"), b"precious");
    tree::write(&world.path("/srv/site/own.log"), b"log");
    world.pass();
    let kept = world.path("/srv/.site.reconcile/generations/adopted/tree");
    assert_eq!(found(&world, "precious"), [kept.join("mine"), kept.join("sub/other")]);
    assert_eq!(fs::read(world.path("/srv/site/a")).unwrap(), b"a");
    assert_eq!(fs::read(world.path("/srv/site/own.log")).unwrap(), b"log");
    world.nothing_to_do();
    publish(&publisher, "a \"2\"\n");
    world.pass();
    assert_eq!(found(&world, "precious").len(), 2);
    world.nothing_to_do();
}

#[test]
fn adoption_in_place_that_was_cut_off_after_the_exchange_loses_nothing() {
    let (mut world, _) = published("a \"a\"\n", "    layout: in-place\n    existing: adopted\n");
    tree::write(&world.path("/srv/site/mine"), b"precious");
    world.pass();
    // What was there stands where the new tree had been made.
    let generations = world.path("/srv/.site.reconcile/generations");
    let slot = fs::read_dir(&generations).unwrap().map(|entry| entry.unwrap().path());
    let slot = slot.into_iter().find(|path| !path.ends_with("adopted")).unwrap();
    fs::rename(generations.join("adopted/tree"), slot.join("tree")).unwrap();
    fs::remove_dir(generations.join("adopted")).unwrap();
    world.pass();
    assert_eq!(found(&world, "precious"), [generations.join("adopted/tree/mine")]);
    world.nothing_to_do();
}

#[test]
fn empty_directory_stays_the_same_one_where_files_are_replaced_in_place() {
    let (mut world, _) = published("a \"a\"\n", "    layout: in-place\n");
    fs::create_dir_all(world.path("/srv/site")).unwrap();
    let inode = world.path("/srv/site").metadata().unwrap().ino();
    world.pass();
    assert_eq!(world.path("/srv/site").metadata().unwrap().ino(), inode);
    world.nothing_to_do();
}

#[test]
fn link_that_is_preserved_stays_where_a_release_has_a_directory() {
    let more = "    layout: in-place\n    preserve: [local]\n";
    let (mut world, publisher) = published("a \"1\"\n", more);
    world.pass();
    tree::link(&world.path("/srv/site/local"), "/x");
    tree::write(&world.path("/srv/site/notes"), b"precious");
    publish(&publisher, "a \"1\"\nlocal/c \"c\"\nlocal/deep/d \"d\"\n");
    world.pass();
    assert!(world.path("/srv/site/local").is_symlink());
    let kept = found(&world, "precious");
    assert!(kept.len() == 1 && kept[0].ends_with("notes"), "{kept:?}");
    world.nothing_to_do();
    // Where it is not there the release's own comes, with what it is listed with.
    tree::remove(&world.path("/srv/site/local"));
    publish(&publisher, "a \"2\"\nlocal 0700\nlocal/c \"c\"\nlocal/deep/d \"d\"\n");
    world.pass();
    assert_eq!(fs::read(world.path("/srv/site/local/deep/d")).unwrap(), b"d");
    assert_eq!(world.path("/srv/site/local").metadata().unwrap().mode() & 0o7777, 0o700);
    world.nothing_to_do();
}

#[test]
fn release_with_a_file_where_preserved_files_are_is_refused_in_every_layout() {
    for layout in ["exchange", "in-place", "link"] {
        let more = format!("    layout: {layout}\n    preserve: [\"*.log\"]\n");
        let (mut world, publisher) = published("a \"1\"\ndata/s \"s\"\n", &more);
        world.pass();
        tree::write(&world.path("/srv/site/data/x.log"), b"precious");
        let inode = world.path("/srv/site/data/x.log").metadata().unwrap().ino();
        publish(&publisher, "a \"22\"\ndata \"f\"\n");
        world.tick();
        let refused = world.run(&[]).exits(1);
        assert!(refused.stdout.contains("preserved files are below"), "{layout}: {refused:#?}");
        assert_eq!(fs::read(world.path("/srv/site/a")).unwrap(), b"1", "{layout}");
        let log = world.path("/srv/site/data/x.log");
        assert_eq!(log.metadata().unwrap().ino(), inode, "{layout}");
        // What the operator is told to do helps.
        tree::remove(&log);
        world.pass();
        assert_eq!(fs::read(world.path("/srv/site/data")).unwrap(), b"f", "{layout}");
        world.nothing_to_do();
    }
}

#[test]
fn listing_beside_an_index_never_keeps_an_update_out_and_is_told_where_it_fits() {
    let (mut world, publisher) =
        published("a \"1\"\ndata/s \"s\"\n", "    preserve: [\"*.log\"]\n");
    world.pass();
    tree::write(&world.path("/srv/site/data/x.log"), b"precious");
    publish(&publisher, "a \"22\"\ndata/s \"s\"\n");
    // With a file of 147 bytes an archive is as long as with a directory and a file of one byte in it.
    for (size, told) in [(1, false), (147, true)] {
        let listing = format!(
            "#mtree\n. type=dir mode=0755\na type=file mode=0644 size=2\ndata type=file mode=0644 size={size}\n"
        );
        fs::write(publisher.index.with_extension("caidx.mtree"), listing).unwrap();
        world.tick();
        let plan = world.run(&["--dry-run"]).exits(0).stdout;
        assert_eq!(plan.contains("- data/s"), told, "{plan}");
        assert_eq!(
            plan.contains("as the listing beside the index says, unchecked"),
            told,
            "{plan}"
        );
    }
    world.pass();
    assert_eq!(fs::read(world.path("/srv/site/a")).unwrap(), b"22");
    assert_eq!(fs::read(world.path("/srv/site/data/x.log")).unwrap(), b"precious");
    world.nothing_to_do();
}

#[test]
fn plan_tells_of_content_that_changed_although_size_and_time_did_not() {
    let (mut world, publisher) = published("c \"port=8001\"\nd \"same\"\n", "");
    let old = |publisher: &Publisher| {
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_hours(438_288);
        for name in ["c", "d", ""] {
            let file = fs::File::open(publisher.source.join(name)).unwrap();
            file.set_times(fs::FileTimes::new().set_modified(time)).unwrap();
        }
        publisher.publish();
    };
    old(&publisher);
    world.pass();
    tree::write(&publisher.source.join("c"), b"port=8002");
    old(&publisher);
    let line = |name: &str, content: &str| {
        use sha2::{Digest, Sha256};
        let digest = data_encoding::HEXLOWER.encode(&Sha256::digest(content));
        let size = content.len();
        format!(
            "{name} type=file mode=0644 size={size} time=1577836800.000000000 sha256digest={digest}\n"
        )
    };
    let listing = ["#mtree\n. type=dir mode=0755\n", &line("c", "port=8002"), &line("d", "same")];
    fs::write(publisher.index.with_extension("caidx.mtree"), listing.concat()).unwrap();
    let plan = world.run(&["--dry-run"]).exits(0);
    assert!(plan.stdout.contains("~ c") && !plan.stdout.contains("~ d"), "{plan:#?}");
    assert!(plan.stdout.contains("1 changed"), "{plan:#?}");
}

#[test]
fn generation_that_somebody_changed_is_made_anew_before_it_is_used_again() {
    let (mut world, publisher) = published("b \"good\"\nc \"c\"\n", "");
    world.pass();
    publish(&publisher, "b \"other\"\nc \"c\"\n");
    world.pass();
    let generations = fs::read_dir(world.path("/srv/.site.reconcile/generations")).unwrap();
    let mut trees = generations.map(|entry| entry.unwrap().path().join("tree"));
    let kept = trees.find(|tree| tree.exists()).unwrap();
    // As long as before, and at the same time.
    let time = kept.join("b").metadata().unwrap().modified().unwrap();
    fs::write(kept.join("b"), b"EVIL").unwrap();
    let file = fs::File::options().append(true).open(kept.join("b")).unwrap();
    file.set_modified(time).unwrap();
    world.tick();
    let ran = world.run(&["rollback", "tree/site", "--reason", "x"]).exits(0);
    assert!(ran.stdout.contains(".2/tree"), "made anew: {ran:#?}");
    assert_eq!(fs::read(world.path("/srv/site/b")).unwrap(), b"good");
    world.nothing_to_do();
}

#[test]
fn pipe_in_the_place_of_the_lock_is_refused() {
    let (world, _) = published("a \"a\"\n", "");
    let lock = world.path("/var/lib/reconcile/lock");
    fs::create_dir_all(lock.parent().unwrap()).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &lock,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    let refused = world.run(&[]);
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("not a regular file"), "{refused:#?}");
}
