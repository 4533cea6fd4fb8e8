//! Trees and what else is on the host: offline copies, foreign seeds, holes, starts of the host.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use reconcile::format::casync::flags::Flags;

use crate::support::casync::Publisher;
use crate::support::tree::{link, remove, write};
use crate::support::world::World;
use crate::tree::{is_published, nothing_to_do, pass, site};

/// A wish with an offline copy on a stick, and the stick.
fn with_stick(world: &mut World, publisher: &Publisher) -> PathBuf {
    let stick = world.temp().join("stick");
    fs::create_dir_all(&stick).unwrap();
    let offline = format!(
        "    offline: {{ casync: {{ index: {0}/site.caidx, store: {0}/site.castr, refresh: true }} }}\n",
        stick.display()
    );
    world.wish("desired", &publisher.wish(&offline));
    stick
}

fn chunks_of(store: &Path) -> Vec<PathBuf> {
    let directories = fs::read_dir(store).unwrap().map(|entry| entry.unwrap().path());
    directories.flat_map(|d| fs::read_dir(d).unwrap().map(|e| e.unwrap().path())).collect()
}

/// What `status` says of the copy on a stick is what a pass could use there.
#[test]
fn stick_is_judged_by_what_it_has() {
    let (mut world, publisher) = site();
    let stick = with_stick(&mut world, &publisher);
    pass(&mut world);
    let is_told = |world: &World, what: &str| {
        let told = world.run(&["status", "site"]).exits(0).stdout;
        let copy = format!("offline copy {}/site.caidx {what}\n", stick.display());
        assert!(told.contains(&copy), "{what}: {told}");
    };
    fs::rename(stick.join("site.caidx"), stick.join("site-1.caidx")).unwrap();
    link(&stick.join("site.caidx"), "site-1.caidx");
    is_told(&world, "has what is installed");
    remove(&stick.join("site.castr"));
    is_told(
        &world,
        &format!("lists what is installed, but {}/site.castr is not there", stick.display()),
    );
    remove(&stick.join("site-1.caidx"));
    is_told(&world, "is not there");
}

#[test]
fn offline_copy_is_brought_up_to_what_is_installed_and_installs_without_network() {
    let (mut world, publisher) = site();
    let stick = with_stick(&mut world, &publisher);
    let plan = world.run(&["--dry-run"]).exits(0);
    assert!(plan.stdout.contains("the offline copy, by verified chunks"), "{}", plan.stdout);
    assert_eq!(fs::read_dir(&stick).unwrap().count(), 0);
    pass(&mut world);
    assert_eq!(fs::read(stick.join("site.caidx")).unwrap(), fs::read(&publisher.index).unwrap());
    nothing_to_do(&mut world);
    write(&publisher.source.join("conf.d/main"), b"two\n");
    publisher.publish();
    pass(&mut world);
    nothing_to_do(&mut world);
    // The stick was away for an update, and comes back behind.
    let aside = world.temp().join("aside");
    fs::rename(&stick, &aside).unwrap();
    write(&publisher.source.join("conf.d/main"), b"three\n");
    publisher.publish();
    pass(&mut world);
    nothing_to_do(&mut world);
    let is_told = |world: &World, what: &str| {
        let told = world.run(&["status", "site"]).exits(0).stdout;
        let copy = format!("offline copy {}/site.caidx {what}\n", stick.display());
        assert!(told.contains(&copy), "{what}: {told}");
    };
    is_told(&world, "is not there");
    fs::rename(&aside, &stick).unwrap();
    is_told(&world, "has another release than what is installed");
    let ran = pass(&mut world);
    assert!(ran.stdout.contains("copy-behind"), "{}", ran.stdout);
    is_told(&world, "has what is installed");
    nothing_to_do(&mut world);
    // Another host without network has nothing but the stick.
    let mut other = World::new();
    let wish = publisher.wish(&format!(
        "    offline: {{ casync: {{ index: {0}/site.caidx, store: {0}/site.castr }} }}\n",
        stick.display()
    ));
    other.wish("desired", &wish);
    let index = fs::read(&publisher.index).unwrap();
    remove(&publisher.index);
    remove(&publisher.store);
    pass(&mut other);
    is_published(&other, &publisher);
    fs::write(&publisher.index, index).unwrap();
}

#[test]
fn what_was_tampered_with_on_the_host_never_gets_onto_the_stick() {
    let (mut world, publisher) = site();
    let stick = with_stick(&mut world, &publisher);
    let aside = world.temp().join("aside");
    fs::rename(&stick, &aside).unwrap();
    pass(&mut world);
    fs::rename(&aside, &stick).unwrap();
    // Same size, same time: only reading it tells.
    let file = world.path("/srv/site/data/30");
    let modified = file.metadata().unwrap().modified().unwrap();
    let mut bytes = fs::read(&file).unwrap();
    bytes[2000] ^= 1;
    fs::write(&file, bytes).unwrap();
    fs::File::options().append(true).open(&file).unwrap().set_modified(modified).unwrap();
    pass(&mut world);
    let mut theirs: Vec<PathBuf> = chunks_of(&stick.join("site.castr"));
    theirs.sort();
    assert_eq!(theirs.len(), publisher.chunks().len());
    let mut other = World::new();
    let wish = publisher.wish("").replace(
        &publisher.store.display().to_string(),
        &stick.join("site.castr").display().to_string(),
    );
    other.wish("desired", &wish);
    pass(&mut other);
    is_published(&other, &publisher);
}

#[test]
fn tampered_stick_costs_time_and_changes_nothing() {
    let (mut world, publisher) = site();
    let stick = with_stick(&mut world, &publisher);
    pass(&mut world);
    for chunk in chunks_of(&stick.join("site.castr")) {
        fs::write(&chunk, b"nonsense").unwrap();
    }
    let inside = |world: &World| fs::read(world.path("/srv/site/conf.d/main")).unwrap();
    // Asked first, and every answer is wrong: the publisher's store has the chunks.
    let wish = publisher.wish(&format!("    seeds: [{}/site.castr]\n", stick.display()));
    world.wish("desired", &wish);
    write(&publisher.source.join("conf.d/main"), b"two\n");
    publisher.publish();
    pass(&mut world);
    is_published(&world, &publisher);
    // Without network the stick alone cannot help, and nothing becomes worse.
    let mut other = World::new();
    let wish = publisher.wish(&format!(
        "    offline: {{ casync: {{ index: {0}/site.caidx, store: {0}/site.castr }} }}\n",
        stick.display()
    ));
    other.wish("desired", &wish);
    remove(&publisher.index);
    remove(&publisher.store);
    other.tick();
    let failed = other.run(&[]);
    assert_ne!(failed.code, 0, "{failed:#?}");
    assert!(!other.path("/srv/site").exists());
    assert_eq!(inside(&world), b"two\n");
}

#[test]
fn nothing_is_written_through_what_lies_on_an_offline_copy() {
    let (mut world, publisher) = site();
    let stick = with_stick(&mut world, &publisher);
    let victims = world.temp().join("victims");
    write(&victims.join("file"), b"theirs\n");
    let link = |to: &Path, at: &Path| std::os::unix::fs::symlink(to, at).unwrap();
    link(&victims.join("file"), &stick.join("site.caidx.new"));
    let store = stick.join("site.castr");
    for chunk in chunks_of(&publisher.store) {
        let directory = store.join(chunk.parent().unwrap().file_name().unwrap());
        fs::create_dir_all(&directory).unwrap();
        let staged = directory.join(chunk.file_name().unwrap()).with_extension("new");
        link(&victims.join("file"), &staged);
    }
    pass(&mut world);
    assert_eq!(fs::read(victims.join("file")).unwrap(), b"theirs\n");
    assert_eq!(fs::read(stick.join("site.caidx")).unwrap(), fs::read(&publisher.index).unwrap());
    nothing_to_do(&mut world);
}

#[test]
fn only_an_offline_copy_on_this_machine_can_be_refreshed() {
    let (mut world, publisher) = site();
    let wish = publisher.wish("").replace("store:", "refresh: true, store:");
    world.wish("desired", &wish);
    let refused = world.run(&["--dry-run"]).exits(65);
    assert!(refused.stderr.contains("only an offline copy is refreshed"), "{refused:#?}");
    let wish = publisher
        .wish("    offline: { casync: { index: \"https://x.example/a.caidx\", refresh: true } }\n");
    world.wish("desired", &wish);
    let refused = world.run(&["--dry-run"]).exits(65);
    assert!(refused.stderr.contains("only a copy on this machine"), "{refused:#?}");
}

#[test]
fn large_files_of_a_foreign_directory_save_their_chunks() {
    let (mut world, publisher) = site();
    let theirs = world.temp().join("theirs");
    let bytes: Vec<u8> =
        (0..200_000_u32).flat_map(|n| (n.wrapping_mul(n) ^ n >> 3).to_le_bytes()).collect();
    write(&publisher.source.join("big"), &bytes);
    publisher.publish();
    // Something before and after it, another name, and a bit of it changed.
    let mut copy = [b"before".as_slice(), &bytes, b"after"].concat();
    copy[500_000] ^= 1;
    write(&theirs.join("deep/elsewhere"), &copy);
    let wish = publisher.wish(&format!("    seeds: [{}]\n", theirs.display()));
    world.wish("desired", &wish);
    let ran = pass(&mut world);
    is_published(&world, &publisher);
    let mut other = World::new();
    other.wish("desired", &publisher.wish(""));
    let plain = pass(&mut other);
    let fetched = |text: &str| {
        let at = text.find(" fetched").unwrap();
        let words: Vec<&str> = text[..at].rsplit(' ').take(2).collect();
        let number: f64 = words[1].parse().unwrap();
        if words[0].starts_with("MiB") { number * 1024.0 } else { number }
    };
    let (seeded, bare) = (fetched(&ran.stdout), fetched(&plain.stdout));
    assert!(seeded + 400.0 < bare, "{seeded} KiB with seeds, {bare} KiB without");
}

#[test]
fn zeros_become_holes_and_stay_holes_in_the_next_generation() {
    let (mut world, publisher) = site();
    let zeros = 8 << 20;
    let mut bytes = vec![0; zeros];
    bytes[3 << 20] = 1;
    write(&publisher.source.join("sparse"), &bytes);
    write(&publisher.source.join("hole"), &vec![0; zeros]);
    publisher.publish();
    let taken = |world: &World, name: &str| {
        let metadata = world.path(&format!("/srv/site/{name}")).metadata().unwrap();
        assert_eq!(metadata.len(), zeros as u64);
        metadata.blocks() * 512
    };
    pass(&mut world);
    is_published(&world, &publisher);
    assert!(taken(&world, "sparse") < 1 << 20 && taken(&world, "hole") < 1 << 20);
    nothing_to_do(&mut world);
    // Copied whole, and in parts.
    bytes[5 << 20] = 1;
    write(&publisher.source.join("sparse"), &bytes);
    publisher.publish();
    pass(&mut world);
    is_published(&world, &publisher);
    assert!(taken(&world, "sparse") < 1 << 20 && taken(&world, "hole") < 1 << 20);
    world.tick();
    let deep = world.run(&["--deep"]).exits(0);
    assert!(deep.stdout.contains("No changes"), "{deep:#?}");
}

#[test]
fn programs_of_a_start_run_once_after_each_start_of_the_host() {
    let (mut world, publisher) = site();
    let log = world.temp().join("log");
    let note = |word: &str| format!("[sh, -c, \"echo {word} >> {}\"]", log.display());
    let wish = publisher.wish(&format!(
        "    triggers: [{{ paths: [conf.d], run: [{}] }}]\n    on_start: [{}, {}]\n",
        note("both"),
        note("start"),
        note("both")
    ));
    world.wish("desired", &wish);
    let ran = |world: &mut World, effects: &str| {
        world.options = vec!["--effects".to_owned(), effects.to_owned()];
        pass(world);
        let ran = fs::read_to_string(&log).unwrap_or_default();
        remove(&log);
        ran.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(ran(&mut world, "run"), ["both", "start"], "what a trigger ran is not run again");
    assert!(ran(&mut world, "run").is_empty());
    // Another start of the host.
    let inventory = world.path("/var/lib/reconcile/inventory.json");
    let text = fs::read_to_string(&inventory).unwrap();
    let start = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    assert!(text.contains(start.trim()), "{text}");
    fs::write(&inventory, text.replace(start.trim(), "another")).unwrap();
    assert!(ran(&mut world, "skip").is_empty(), "not on another root");
    assert_eq!(ran(&mut world, "run"), ["start", "both"]);
    assert!(ran(&mut world, "run").is_empty());
}

#[test]
fn archive_of_old_clients_is_installed_sparse_too() {
    let (mut world, mut publisher) = site();
    publisher.flags = Flags::UPDATER;
    write(&publisher.source.join("hole"), &vec![0; 1 << 20]);
    remove(&publisher.source.join("latest"));
    publisher.publish();
    pass(&mut world);
    let metadata = world.path("/srv/site/hole").metadata().unwrap();
    assert_eq!((metadata.len(), metadata.blocks() < 64), (1 << 20, true));
    nothing_to_do(&mut world);
}

#[test]
fn files_are_replaced_one_by_one_in_a_directory_that_stays_the_same() {
    let (mut world, publisher) = site();
    let more = "    layout: in-place\n    preserve: [\"*.log\"]\n";
    world.wish("desired", &publisher.wish(more));
    pass(&mut world);
    is_published(&world, &publisher);
    nothing_to_do(&mut world);
    let inode = |world: &World, path: &str| world.path(path).symlink_metadata().unwrap().ino();
    let (root, kept) = (inode(&world, "/srv/site"), inode(&world, "/srv/site/data/30"));
    write(&world.path("/srv/site/data/own.log"), b"mine");
    write(&publisher.source.join("conf.d/main"), b"two\n");
    write(&publisher.source.join("new/deep/er"), b"new\n");
    // A file becomes a directory, and a directory a file.
    remove(&publisher.source.join("data/31"));
    write(&publisher.source.join("data/31/inside"), b"x");
    remove(&publisher.source.join("empty"));
    write(&publisher.source.join("empty"), b"full");
    remove(&publisher.source.join("data/07"));
    publisher.publish();
    let plan = world.run(&["--dry-run"]).exits(0);
    assert!(plan.stdout.contains("file by file"), "{}", plan.stdout);
    pass(&mut world);
    assert_eq!(fs::read(world.path("/srv/site/data/own.log")).unwrap(), b"mine");
    remove(&world.path("/srv/site/data/own.log"));
    assert_eq!((inode(&world, "/srv/site"), inode(&world, "/srv/site/data/30")), (root, kept));
    assert!(!world.path("/srv/site/data/07").exists());
    nothing_to_do(&mut world);
    // Repaired, and updated again without any chunk that is there.
    write(&world.path("/srv/site/data/30"), b"mine");
    write(&world.path("/srv/site/extra"), b"mine");
    pass(&mut world);
    is_published(&world, &publisher);
    nothing_to_do(&mut world);
    write(&publisher.source.join("conf.d/main"), b"three\n");
    let old = publisher.chunks();
    publisher.publish();
    for chunk in old {
        fs::remove_file(chunk).unwrap();
    }
    pass(&mut world);
    is_published(&world, &publisher);
    let generations = fs::read_dir(world.path("/srv/.site.reconcile/generations")).unwrap();
    assert_eq!(generations.count(), 1);
}
