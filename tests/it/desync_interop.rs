//! desync installs what is published here, and what it publishes is installed here.
//!
//! Needs desync 1.0.4 or newer, in the path or as `target/peers/bin/desync`, and root; runs with `--features interop`.
//! Few distributions have desync: where it is missing, nothing is compared. Pipes and sockets are left out, of which it
//! makes broken archives.
#![cfg(feature = "interop")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use camino::Utf8PathBuf;
use jiff::{SignedDuration, Timestamp};
use reconcile::format::casync::chunk::DigestKind;
use reconcile::format::casync::chunker::{ChunkSizes, boundaries, identify};
use reconcile::format::casync::index::Index;
use reconcile::publish::tree::{Packing, Profile, Publication, publish};

use crate::support::tree;
use crate::support::world::World;

/// The program, if it is anywhere.
fn desync() -> Option<PathBuf> {
    let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).chain([peers]);
    places.find_map(|place| Some(place.join("desync")).filter(|program| program.is_file()))
}

/// Runs a line with a shell in a directory, in which `$desync` is the program: its standard output.
fn shell(dir: &Path, program: &Path, line: &str) -> String {
    let mut command = Command::new("timeout");
    let command = command.args(["60", "sh", "-ec", line]).current_dir(dir).env("desync", program);
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// A tree of all that desync archives as it is.
fn corpus(root: &Path) {
    tree::make(
        root,
        "plain \"x\"\nempty \"\"\nbin/run 0755 \"#!\"\nlink -> bin/run\ndangling -> no/where\nvoid/\n\
         bin/deep/er/file \"text\"\n",
    );
    let big: Vec<u8> = (0..1_500_000_u32).flat_map(|n| n.wrapping_pow(3).to_le_bytes()).collect();
    tree::write(&root.join("big"), &big);
    tree::write(&root.join("zeros"), &vec![0; 3_000_000]);
    for number in 0..300 {
        tree::write(&root.join(format!("file{number}")), number.to_string().as_bytes());
    }
    std::os::unix::fs::lchown(root.join("plain"), Some(1234), Some(4321)).unwrap();
    std::os::unix::fs::lchown(root.join("bin"), Some(1234), Some(4321)).unwrap();
}

/// Path, type, mode, owner, time and target of everything in `tree`, and the digest of every file. desync gives links no
/// time.
fn listing(dir: &Path, program: &Path, tree: &str) -> String {
    let line = "cd \"$0\"; \
        find . -type l -printf '%P l %U:%G %l\\n' -o -printf '%P %y %m %U:%G %T@\\n' | LC_ALL=C sort; \
        find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum";
    shell(dir, program, &line.replace("$0", tree))
}

fn utf8(path: PathBuf) -> Utf8PathBuf {
    Utf8PathBuf::from_path_buf(path).unwrap()
}

#[test]
fn desync_extracts_what_is_published_here() {
    let Some(program) = desync() else { return };
    let world = World::new();
    let dir = world.temp();
    corpus(&dir.join("tree"));
    let there = listing(dir, &program, "tree");
    let at = |name: &str| utf8(dir.join(name));
    let now = Timestamp::now() + SignedDuration::from_hours(1);
    for (digest, option) in [(DigestKind::Sha512_256, "sha512-256"), (DigestKind::Sha256, "sha256")]
    {
        let (tree, index, store) = (at("tree"), at(&format!("{option}.caidx")), at(option));
        let (profile, packing) = (Profile::Full, Packing::Chunks);
        let wish = Publication::new(&tree, &index, &store);
        publish(&Publication { profile, digest: Some(digest), packing, ..wish }, now).unwrap();
        let line = format!(
            "rm -rf out; mkdir out; $desync --digest {option} verify -s {option}; \
             $desync --digest {option} untar -i -s {option} {option}.caidx out"
        );
        shell(dir, &program, &line);
        let found = listing(dir, &program, "out");
        // It leaves the root itself as it was made, which is the first line.
        let other = found.lines().zip(there.lines()).skip(1).find(|(found, there)| found != there);
        assert_eq!(other, None, "{option}");
        assert_eq!(found.lines().count(), there.lines().count(), "{option}");
    }
}

#[test]
fn what_desync_publishes_is_installed_here() {
    let Some(program) = desync() else { return };
    let mut world = World::new();
    let dir = world.temp().to_owned();
    corpus(&dir.join("tree"));
    shell(&dir, &program, "mkdir store; $desync tar -i -s store site.caidx tree");
    let (index, store) = (dir.join("site.caidx"), dir.join("store"));
    world.wish(
        "desired",
        &format!(
            "trees:\n  site:\n    path: /srv/site\n    source: {{ casync: {{ index: {}, store: {} }} }}\n",
            index.display(),
            store.display()
        ),
    );
    world.run(&[]).exits(0);
    let site = world.path("/srv/site").display().to_string();
    let (found, there) = (listing(&dir, &program, &site), listing(&dir, &program, "tree"));
    assert_eq!(found.lines().zip(there.lines()).find(|(found, there)| found != there), None);
    assert_eq!(found.lines().count(), there.lines().count());
    let again = world.run(&[]).exits(0);
    assert!(again.stdout.contains("No changes"), "{}", again.stdout);
}

#[test]
fn desync_cuts_a_file_and_names_its_chunks_as_is_done_here() {
    let Some(program) = desync() else { return };
    let world = World::new();
    let dir = world.temp();
    corpus(&dir.join("tree"));
    let data = fs::read(dir.join("tree/big")).unwrap();
    for (option, sizes) in [
        ("16:64:256", ChunkSizes::of_average(64 << 10).unwrap()),
        ("4:16:64", ChunkSizes::of_average(16 << 10).unwrap()),
    ] {
        let line = format!("rm -rf s; mkdir s; $desync make -m {option} -s s big.caibx tree/big");
        shell(dir, &program, &line);
        let index = Index::read(fs::read(dir.join("big.caibx")).unwrap().as_slice()).unwrap();
        let ends = boundaries(sizes, &data, 2);
        let theirs: Vec<usize> =
            index.chunks.iter().map(|chunk| usize::try_from(chunk.end).unwrap()).collect();
        assert_eq!(ends, theirs, "{option}");
        let names = identify(DigestKind::Sha512_256, &data, &ends, 2);
        let theirs: Vec<_> = index.chunks.iter().map(|chunk| chunk.id).collect();
        assert!(names == theirs && names.len() > 20, "{option}");
    }
}
