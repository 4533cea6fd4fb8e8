//! What publishing a tree leaves behind, and what a collection removes.

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use camino::{Utf8DirEntry, Utf8Path, Utf8PathBuf};
use jiff::{SignedDuration, Timestamp};
use reconcile::format::casync::chunk::{self, ChunkId, DigestKind, Form};
use reconcile::format::casync::index::Index;
use reconcile::format::casync::packs::PackList;
use reconcile::format::casync::{cks, mtree};
use reconcile::publish::tree::gc::{Collected, Collection, Deed, collect};
use reconcile::publish::tree::{
    Packing, Profile, Publication, PublishError, Published, config, publish,
};

use crate::casync_tree::decode;
use crate::support::casync::noise;

/// A tree and room to publish it.
struct World {
    place: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        Self::of(1_500_000)
    }

    /// With a file of this many bytes.
    fn of(bytes: usize) -> Self {
        let world = Self { place: tempfile::tempdir().unwrap() };
        world.write("big", &noise(1, bytes));
        world.write("twice", &[noise(1, 1_000_000), noise(2, 100_000)].concat());
        world.write("empty", b"");
        world.write("deep/er/with blank", b"text");
        for number in 0..200 {
            world.write(&format!("many/{number}"), number.to_string().as_bytes());
        }
        symlink("big", world.path("tree/link")).unwrap();
        world
    }

    fn path(&self, name: &str) -> Utf8PathBuf {
        Utf8Path::from_path(self.place.path()).unwrap().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path("tree").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn wish(&self) -> Publication {
        Publication::new(&self.path("tree"), &self.path("t.caidx"), &self.path("t.castr"))
    }

    fn index(&self) -> Index {
        Index::read(std::fs::read(self.path("t.caidx")).unwrap().as_slice()).unwrap()
    }

    /// The stream, put together from the store.
    fn stream(&self) -> Vec<u8> {
        let index = self.index();
        let mut stream = Vec::new();
        for number in 0..index.chunks.len() {
            let wanted = index.wanted(number).unwrap();
            let path = self.path("t.castr").join(wanted.id.path(Form::Compressed));
            assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o444);
            let stored = std::fs::read(path).unwrap();
            stream.extend(chunk::open(&wanted, &stored, Form::Compressed).unwrap());
        }
        stream
    }

    fn collect(&self, hours: i64, deed: Deed) -> Collected {
        self.try_collect(hours, deed).unwrap()
    }

    /// A collection after some hours.
    fn try_collect(&self, hours: i64, deed: Deed) -> Result<Collected, PublishError> {
        let indexes = [self.path("t.caidx")];
        let grace = SignedDuration::from_hours(24);
        let store = self.path("t.castr");
        let patience = std::time::Duration::ZERO;
        let collection = Collection { store: &store, indexes: &indexes, grace, deed, patience };
        collect(&collection, later(hours))
    }

    /// All files of the store.
    fn stored(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for directory in self.path("t.castr").read_dir_utf8().unwrap().flatten() {
            if directory.file_type().unwrap().is_dir() {
                for file in directory.path().read_dir_utf8().unwrap().flatten() {
                    found.insert(format!("{}/{}", directory.file_name(), file.file_name()));
                }
            }
        }
        found
    }
}

fn later(hours: i64) -> Timestamp {
    Timestamp::now() + SignedDuration::from_hours(hours)
}

fn published(wish: &Publication) -> Published {
    publish(wish, later(1)).unwrap()
}

#[test]
fn nothing_is_written_through_what_lies_beside_an_index() {
    let world = World::new();
    let victim = world.path("victim");
    std::fs::write(&victim, "theirs").unwrap();
    for suffix in [".tmp", ".mtree.tmp", ".cks.tmp"] {
        symlink("victim", world.path(&format!("t.caidx{suffix}"))).unwrap();
    }
    published(&world.wish());
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "theirs");
    assert!(world.path("t.caidx").symlink_metadata().unwrap().is_file());
    assert!(!world.stream().is_empty());
}

#[test]
fn memory_that_is_a_link_is_refused_unless_its_place_was_named() {
    let world = World::new();
    let victim = world.path("victim");
    std::fs::write(&victim, "theirs").unwrap();
    symlink("victim", world.path("t.caidx.cache")).unwrap();
    let refused = publish(&world.wish(), later(1)).unwrap_err();
    assert!(refused.to_string().contains("t.caidx.cache"), "{refused}");
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "theirs");
    std::fs::remove_file(world.path("t.caidx.cache")).unwrap();
    symlink("real", world.path("named")).unwrap();
    published(&Publication { cache: Some(world.path("named")), ..world.wish() });
    assert!(world.path("real").is_file());
}

#[test]
fn directories_of_a_store_that_are_links_lead_nobody_out_of_it() {
    let world = World::new();
    published(&world.wish());
    let store = world.path("t.castr");
    let directory = store.read_dir_utf8().unwrap().flatten().find(|d| d.path().is_dir()).unwrap();
    let outside = world.path("outside");
    std::fs::rename(directory.path(), &outside).unwrap();
    symlink(&outside, directory.path()).unwrap();
    let seen = || {
        let entry =
            |file: Utf8DirEntry| (file.file_name().to_owned(), file.metadata().unwrap().mtime());
        let mut seen: Vec<_> = outside.read_dir_utf8().unwrap().flatten().map(entry).collect();
        seen.sort();
        seen
    };
    let past = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1);
    for file in outside.read_dir_utf8().unwrap().flatten() {
        let file = std::fs::File::open(file.path()).unwrap();
        file.set_modified(past).unwrap();
    }
    let before = seen();
    std::fs::remove_file(world.path("t.caidx.cache")).unwrap();
    let refused = publish(&world.wish(), later(1)).unwrap_err();
    assert!(refused.to_string().contains(directory.file_name()), "{refused}");
    assert_eq!(seen(), before, "nothing is written, nor made young");
}

#[test]
fn index_gets_a_directory_and_is_never_published_with_its_tree() {
    let world = World::new();
    let index = world.path("new/place/t.caidx");
    let store = world.path("new/store/t.castr");
    publish(&Publication::new(&world.path("tree"), &index, &store), Timestamp::now()).unwrap();
    assert!(index.is_file() && store.is_dir());
    for (index, store) in [("tree/t.caidx", "t.castr"), ("t.caidx", "tree/deep/new/t.castr")] {
        let wish = Publication::new(&world.path("tree"), &world.path(index), &world.path(store));
        let refused = publish(&wish, Timestamp::now()).unwrap_err();
        assert!(matches!(refused, PublishError::Inside { .. }), "{refused}");
        assert!(!world.path("tree/deep/new").exists() && !world.path("tree/t.caidx").exists());
    }
}

#[test]
fn chunks_digest_and_listing_tell_the_same_tree() {
    let world = World::new();
    let told = published(&world.wish());
    let stream = world.stream();
    assert_eq!(stream.len() as u64, told.bytes);
    assert_eq!(world.index().length(), told.bytes);
    let digest = DigestKind::Sha256.of(&stream);
    assert_eq!(told.digest, digest.to_string());
    assert_eq!(cks::read(&std::fs::read(world.path("t.caidx.cks")).unwrap()), Ok(digest));

    let (nodes, searchable) = decode(&stream).unwrap();
    assert!(searchable);
    let listing = std::fs::read(world.path("t.caidx.mtree")).unwrap();
    let lines = mtree::read(&listing).unwrap();
    assert_eq!(lines.len(), nodes.len());
    let flags = world.index().header.flags;
    assert!(mtree::fits(&lines, flags, told.bytes) && !mtree::fits(&lines, flags, told.bytes / 2));
    for (line, (path, node, bytes)) in lines.iter().zip(&nodes) {
        assert_eq!(line.path, *path);
        assert_eq!(line.mode, Some(node.metadata.permissions));
        if line.kind.as_deref() == Some("file") {
            let content =
                std::fs::read(world.path("tree").join(String::from_utf8_lossy(path).as_ref()));
            assert_eq!(*bytes, content.unwrap());
            assert_eq!(line.digest, Some((DigestKind::Sha256, DigestKind::Sha256.of(bytes))));
        }
    }
    let unique: BTreeSet<ChunkId> = world.index().chunks.iter().map(|c| c.id).collect();
    assert_eq!(world.stored().len(), unique.len());
    assert!((unique.len() as u64) < told.chunks, "the tree has the same content twice");
}

#[test]
fn unchanged_tree_is_only_looked_at_and_a_changed_one_stores_what_is_new() {
    let world = World::new();
    let first = published(&world.wish());
    assert!(!first.unchanged && first.new_chunks > 15);
    let again = published(&world.wish());
    assert!(again.unchanged);
    assert_eq!(
        (&again.digest, again.bytes, again.chunks),
        (&first.digest, first.bytes, first.chunks)
    );
    let index = std::fs::read(world.path("t.caidx")).unwrap();

    world.write("added", &noise(3, 100_000));
    let changed = published(&world.wish());
    assert!(!changed.unchanged);
    assert!((1..10).contains(&changed.new_chunks), "{changed:?}");
    assert_ne!(std::fs::read(world.path("t.caidx")).unwrap(), index);
    assert!(published(&world.wish()).unchanged);
}

#[test]
fn what_is_missing_or_newer_than_its_clock_is_published_again() {
    let world = World::new();
    // The tree was made just now: the next change may leave the same times on it.
    publish(&world.wish(), Timestamp::now()).unwrap();
    assert!(!published(&world.wish()).unchanged);
    assert!(published(&world.wish()).unchanged);
    for name in ["t.caidx", "t.caidx.cks", "t.caidx.mtree"] {
        std::fs::remove_file(world.path(name)).unwrap();
        assert!(!published(&world.wish()).unchanged, "{name}");
        assert!(world.path(name).is_file());
    }
    let lost = world.path("t.castr").join(world.stored().first().unwrap());
    std::fs::remove_file(&lost).unwrap();
    let repaired = published(&world.wish());
    assert_eq!((repaired.unchanged, repaired.new_chunks), (false, 1));
    // What a loss of power leaves of a file that was never synced.
    std::fs::remove_file(&lost).unwrap();
    std::fs::write(&lost, b"").unwrap();
    assert_eq!(published(&world.wish()).new_chunks, 1);
    let other = Publication { profile: Profile::Reproducible, ..world.wish() };
    assert!(!published(&other).unchanged);
}

#[test]
fn chunk_and_pack_that_were_damaged_are_made_anew_when_the_tree_is_read() {
    let world = World::of(5_000_000);
    let wish = Publication { packing: Packing::ChunksAndPacks, ..world.wish() };
    published(&wish);
    let store = world.path("t.castr");
    let end = |name: &String, end: &str| name.ends_with(end).then(|| store.join(name));
    let chunks: Vec<_> = world.stored().iter().filter_map(|name| end(name, ".cacnk")).collect();
    let pack = store.join(world.stored().iter().find(|name| name.starts_with("packs/")).unwrap());
    let damage = |path: &Utf8Path, bytes: &[u8]| {
        std::fs::remove_file(path).unwrap();
        std::fs::write(path, bytes).unwrap();
        let mode = std::fs::Permissions::from_mode(0o444);
        std::fs::set_permissions(path, mode).unwrap();
    };
    let (one, other) = (std::fs::read(&chunks[0]).unwrap(), std::fs::read(&chunks[1]).unwrap());
    let mut changed = one.clone();
    *changed.last_mut().unwrap() ^= 1;
    let mut packed = std::fs::read(&pack).unwrap();
    packed[1000] ^= 1;
    damage(&chunks[0], &changed);
    damage(&chunks[1], &other[..3]);
    damage(&pack, &packed);
    world.write("added", b"something");
    published(&wish);
    assert!(std::fs::read(&chunks[0]).unwrap() == one);
    assert!(std::fs::read(&chunks[1]).unwrap() == other);
    let list = std::fs::read(world.path("t.caidx.packs")).unwrap();
    for pack in PackList::read(list.as_slice()).unwrap().packs() {
        let bytes = std::fs::read(store.join(pack.path())).unwrap();
        assert_eq!(DigestKind::Sha256.of(&bytes), ChunkId::new(pack.digest));
    }
    world.stream();
}

#[test]
fn reproducible_profile_does_not_depend_on_times() {
    let world = World::new();
    let wish = Publication { profile: Profile::Reproducible, ..world.wish() };
    let first = published(&wish);
    let file = std::fs::File::open(world.path("tree/big")).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    let second = published(&wish);
    assert!(!second.unchanged);
    assert_eq!((second.digest, second.new_chunks), (first.digest, 0));
}

#[test]
fn excluded_files_are_left_out_and_the_list_of_them_is_not() {
    let world = World::new();
    world.write(".caexclude", b"*.o\n/deep/er/\n!keep.o\n");
    for name in ["a.o", "keep.o", "many/b.o"] {
        world.write(name, b"object");
    }
    published(&world.wish());
    let (nodes, _) = decode(&world.stream()).unwrap();
    let paths: BTreeSet<_> =
        nodes.iter().map(|(path, ..)| String::from_utf8_lossy(path).into_owned()).collect();
    let has = |path: &str| paths.contains(path);
    assert!(has(".caexclude") && has("keep.o") && has("deep") && has("many/7"));
    assert!(!has("a.o") && !has("many/b.o") && !has("deep/er"));
}

#[test]
fn a_directory_that_cannot_be_read_changes_nothing() {
    let world = World::new();
    published(&world.wish());
    let before = std::fs::read(world.path("t.caidx")).unwrap();
    world.write(".caexclude", b"a/../b\n");
    let error = publish(&world.wish(), later(1)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "line 1 of ./.caexclude is no pattern: use `name`, `a/b`, `dir/` or `!name`"
    );
    assert_eq!(std::fs::read(world.path("t.caidx")).unwrap(), before);
    let names: Vec<_> = world.place.path().read_dir().unwrap().flatten().collect();
    assert!(names.iter().all(|name| !name.file_name().to_string_lossy().ends_with(".tmp")));
    let missing = Publication { tree: world.path("missing"), ..world.wish() };
    assert!(matches!(publish(&missing, later(1)), Err(PublishError::Read { .. })));
}

#[test]
fn packs_hold_every_chunk_once_and_are_kept_over_versions() {
    let world = World::of(5_000_000);
    let wish = Publication { packing: Packing::ChunksAndPacks, ..world.wish() };
    let first = published(&wish);
    assert!(first.new_packs >= 2);
    let list = || PackList::read(std::fs::read(world.path("t.caidx.packs")).unwrap().as_slice());
    let check = || {
        let (list, store) = (list().unwrap(), world.path("t.castr"));
        for chunk in &world.index().chunks {
            let place = list.find(&chunk.id).unwrap();
            let pack = std::fs::read(store.join(list.packs()[place.pack as usize].path())).unwrap();
            let stored = std::fs::read(store.join(chunk.id.path(Form::Compressed))).unwrap();
            let from = place.offset as usize;
            assert!(pack[from..from + place.length as usize] == stored);
        }
        list
    };
    let before = check();
    assert!(published(&wish).unchanged);
    world.write("added", &noise(3, 100_000));
    let second = published(&wish);
    assert_eq!(second.new_packs, 1);
    let after = check();
    assert_eq!(before.packs()[0], after.packs()[0]);
    // A pack that is lost is made again.
    std::fs::remove_file(world.path("t.castr").join(after.packs()[0].path())).unwrap();
    assert!(!published(&wish).unchanged);
    check();
    // Whoever stops making packs leaves no list of old ones.
    assert!(published(&world.wish()).unchanged);
    assert!(!world.path("t.caidx.packs").exists());
}

#[test]
fn collection_removes_what_was_unused_for_the_grace_period() {
    let world = World::new();
    let wish = Publication { packing: Packing::ChunksAndPacks, ..world.wish() };
    published(&wish);
    let old = world.stored();
    assert_eq!(world.collect(100, Deed::Remove).removed, 0);
    world.write("big", &noise(9, 1_500_000));
    published(&wish);
    let both = world.stored();
    // Long after they were written, but only now unused.
    let condemned = world.collect(100, Deed::Remove);
    assert_eq!((condemned.removed, world.stored()), (0, both.clone()));
    assert!(condemned.waiting > 3, "{condemned:?}");
    assert_eq!(world.collect(123, Deed::Remove).removed, 0);
    let due = world.collect(125, Deed::Look);
    assert_eq!((due.removed, due.waiting), (condemned.waiting, 0));
    assert_eq!(world.stored(), both);
    assert_eq!(world.collect(125, Deed::Remove), due);
    let left = world.stored();
    assert_eq!(left.len() as u64, both.len() as u64 - due.removed);
    assert!(left.iter().any(|name| old.contains(name)));
    world.stream();
    assert!(published(&wish).unchanged);
}

#[test]
fn a_chunk_that_is_used_again_is_no_longer_condemned() {
    let world = World::new();
    published(&world.wish());
    let before = world.stored();
    let content = std::fs::read(world.path("tree/big")).unwrap();
    world.write("big", b"");
    published(&world.wish());
    let unused = world.collect(100, Deed::Remove).waiting;
    world.write("big", &content);
    published(&world.wish());
    // Only what holds the times and sizes of before is of no use now.
    assert!(world.collect(110, Deed::Remove).waiting < unused);
    let names = world.index().chunks.into_iter().map(|chunk| chunk.id.path(Form::Compressed));
    let used: BTreeSet<String> = names.collect();
    world.write("big", b"");
    published(&world.wish());
    let used_again = used.intersection(&before).count();
    assert!(used_again > 3);
    world.collect(130, Deed::Remove);
    assert!(used.intersection(&before).all(|name| world.stored().contains(name)));
    world.collect(155, Deed::Remove);
    assert!(!used.is_subset(&world.stored()));
}

#[test]
fn collection_leaves_strangers_alone_and_removes_nothing_on_a_broken_index() {
    let world = World::new();
    published(&world.wish());
    let store = world.path("t.castr");
    let temporary = format!("abcd/{}.{}.tmp", "ab".repeat(32), "0".repeat(16));
    for name in ["abcd/notes", temporary.as_str(), "README"] {
        std::fs::create_dir_all(store.join("abcd")).unwrap();
        std::fs::write(store.join(name), b"x").unwrap();
    }
    assert_eq!(world.collect(0, Deed::Remove).removed, 0);
    assert_eq!(world.collect(2, Deed::Remove).removed, 1);
    assert!(store.join("abcd/notes").is_file() && store.join("README").is_file());
    assert!(!store.join(temporary).exists());

    let index = std::fs::read(world.path("t.caidx")).unwrap();
    std::fs::write(world.path("t.caidx"), &index[..index.len() - 1]).unwrap();
    let error = world.try_collect(1000, Deed::Remove).unwrap_err();
    assert!(matches!(error, PublishError::ReadIndex { .. }), "{error}");
    assert!(world.stored().iter().any(|name| name.contains(".cacnk")));
}

#[test]
fn counting_what_would_be_removed_writes_nothing_and_tells_of_other_indexes() {
    let world = World::new();
    published(&world.wish());
    let other = Publication { index: world.path("other.caidx"), ..world.wish() };
    published(&other);
    std::fs::remove_file(world.path("t.castr/.reconcile.lock")).unwrap();
    let counted = world.collect(100, Deed::Look);
    assert!(!world.path("t.castr/.reconcile.lock").exists());
    let unnamed: Vec<_> = counted.unnamed.iter().filter_map(|path| path.file_name()).collect();
    assert_eq!(unnamed, ["other.caidx"]);
}

#[test]
fn nobody_collects_while_somebody_publishes() {
    let world = World::new();
    published(&world.wish());
    let lock = std::fs::File::open(world.path("t.castr/.reconcile.lock")).unwrap();
    lock.lock_shared().unwrap();
    assert!(matches!(world.try_collect(0, Deed::Remove), Err(PublishError::Busy { .. })));
    assert!(published(&world.wish()).unchanged);
    lock.unlock().unwrap();
    lock.lock().unwrap();
    assert!(matches!(publish(&world.wish(), later(1)), Err(PublishError::Busy { .. })));
    lock.unlock().unwrap();
    let index = std::fs::File::open(world.path("t.caidx.cache")).unwrap();
    index.lock().unwrap();
    assert!(matches!(publish(&world.wish(), later(1)), Err(PublishError::Busy { .. })));
    // Wherever its memory is.
    let elsewhere = Publication { cache: Some(world.path("memory")), ..world.wish() };
    assert!(matches!(publish(&elsewhere, later(1)), Err(PublishError::Busy { .. })));
}

#[test]
fn configuration_of_casync_updater_publishes_with_its_profile() {
    let world = World::new();
    let path = world.path("server.json");
    let text = serde_json::json!({
        "index": world.path("t.caidx"), "store": world.path("t.castr"), "source": world.path("tree"),
    });
    std::fs::write(&path, text.to_string()).unwrap();
    let wishes = config::read(&path).unwrap();
    assert_eq!(wishes.len(), 1);
    published(&wishes[0]);
    assert_eq!(world.index().header.flags.bits(), 0xb000_0000_0000_0040);
    let (nodes, _) = decode(&world.stream()).unwrap();
    assert!(nodes.iter().all(|(path, ..)| path != b"link"));
    let listing = std::fs::read_to_string(world.path("t.caidx.mtree")).unwrap();
    assert!(listing.starts_with(". type=dir mode=0777 time="), "{listing}");
}

#[test]
fn published_files_can_be_read_by_everybody() {
    let world = World::new();
    published(&world.wish());
    for name in ["t.caidx", "t.caidx.cks", "t.caidx.mtree"] {
        let mode = Path::new(&world.path(name)).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o444, 0o444, "{name}");
    }
}

#[test]
fn command_line_publishes_and_a_dry_run_of_a_collection_removes_nothing() {
    let world = World::of(300_000);
    let run = |args: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_reconcile"));
        let output = command.args(args).current_dir(world.place.path()).output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code().unwrap(), text)
    };
    let publish = ["publish", "tree", "tree", "--index", "t.caidx", "--store", "t.castr"];
    let (code, text) = run(&publish);
    assert!(code == 0 && text.starts_with("Published tree as t.caidx: "), "{code} {text}");
    world.write("big", b"");
    let (code, text) = run(&[&publish[..], &["-o", "json", "--packs"]].concat());
    let told: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &told["unchanged"], &told["new_packs"]), (0, &false.into(), &1.into()));

    let before = world.stored();
    let gc = ["publish", "gc", "--store", "t.castr", "t.caidx", "--grace", "0s"];
    let (code, text) = run(&[&gc[..], &["--dry-run"]].concat());
    assert!(code == 0 && text.starts_with("Would remove "), "{code} {text}");
    assert_eq!(world.stored(), before);
    assert_eq!(run(&gc).0, 0);
    assert!(world.stored().len() < before.len());
    world.stream();

    let (code, text) = run(&["publish", "tree", "missing", "--index", "t.caidx", "--store", "s"]);
    assert!(code == 1 && text.contains("cannot read missing: No such file"), "{code} {text}");
    assert_eq!(run(&["publish", "tree", "tree"]).0, 64);
    let (code, text) = run(&["publish", "tree", "--config", "tree/empty"]);
    assert!(code == 78 && text.contains("tree/empty"), "{code} {text}");
}
