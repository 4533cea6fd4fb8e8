//! The real casync makes the same of a tree, and extracts what is published here.
#![cfg(feature = "interop")]

use std::path::Path;
use std::process::Command;

use camino::{Utf8Path, Utf8PathBuf};
use jiff::{SignedDuration, Timestamp};
use reconcile::format::casync::chunk::DigestKind;
use reconcile::format::casync::index::Index;
use reconcile::publish::tree::{Packing, Profile, Publication, publish};

/// Runs `command` with a shell in `dir`: its standard output.
fn shell(dir: &Path, command: &str) -> String {
    let output = Command::new("sh").args(["-ec", command]).current_dir(dir).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A tree with every type of node, odd names, lists, attributes and exclusions.
const TREE: &str = r#"
mkdir -p tree/deep/er/est tree/empty-directory tree/many tree/out
cd tree
: > empty
printf text > 'with blank'
printf text > "$(printf 'line\nbreak')"
printf text > "$(printf 'not-utf8-\377')"
printf text > 'back\slash#hash'
head -c 3000000 /dev/urandom > big
head -c 700000 /dev/zero > zeros
cat big big > twice
printf x > deep/er/est/file
chmod 0500 deep/er
ln -s nowhere/at\ all link
mkfifo fifo
perl -MSocket -e 'socket(S, PF_UNIX, SOCK_STREAM, 0); bind(S, sockaddr_un("socket"))'
for i in $(seq 300); do printf $i > many/$i; done
for name in a.o .b.o keep.o many/c.o out/x deep/out; do printf out > $name; done
printf '# comment\n*.o\n!keep.o\n/out/\n  deep/o[t-v]t  \n' > .caexclude
printf '!c.o\n' > many/.caexclude
perl -e 'sub set { my ($file, $name, $value) = @_;
    syscall(188, $file, $name, $value, length $value, 0) == 0 or die "$name: $!" }
  set("big", "user.b", "value\0with zero"); set("big", "user.a", "")'
if [ "$(id -u)" = 0 ]; then
  mknod char c 1 3; mknod block b 259 70000; setcap cap_net_raw+ep twice
  chown 1:2 zeros; chown 60000:60001 empty
  perl -e 'sub set { my ($file, $name, $value) = @_;
      syscall(188, $file, $name, $value, length $value, 0) == 0 or die "$name: $!" }
    sub acl { pack("L(SSl)*", 2, @_) }
    my $user = acl(1, 7, -1, 2, 5, 1, 4, 5, -1, 16, 7, -1, 32, 4, -1);
    my $group = acl(1, 7, -1, 4, 5, -1, 8, 1, 60003, 16, 7, -1, 32, 4, -1);
    my ($one, $other) = map "system.posix_acl_$_", "access", "default";
    set("twice", $one, $user); set("many", $one, $group); set("many", $other, $user)'
fi
touch -d '2001-02-03 04:05:07.123456789 UTC' deep empty
chattr +d many/7 2>/dev/null || :
"#;

struct World {
    place: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let world = Self { place: tempfile::tempdir().unwrap() };
        shell(world.place.path(), TREE);
        world
    }

    fn dir(&self) -> &Path {
        self.place.path()
    }

    fn path(&self, name: &str) -> Utf8PathBuf {
        Utf8Path::from_path(self.dir()).unwrap().join(name)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    fn publish(&self, profile: Profile, digest: Option<DigestKind>) {
        let (tree, index, store) = (self.path("tree"), self.path("o.caidx"), self.path("o.castr"));
        let packing = Packing::ChunksAndPacks;
        let wish = Publication::new(&tree, &index, &store);
        let now = Timestamp::now() + SignedDuration::from_hours(1);
        publish(&Publication { profile, digest, packing, ..wish }, now).unwrap();
    }
}

/// casync's names of what a profile publishes.
const PROFILES: [(Profile, Option<DigestKind>, &str); 5] = [
    (Profile::CasyncUpdater, None, "--with=2sec-time"),
    (Profile::CasyncUpdater, Some(DigestKind::Sha256), "--with=2sec-time --digest=sha256"),
    (
        Profile::Full,
        Some(DigestKind::Sha512_256),
        "--with=best --without=fat-attrs --without=quota-projid",
    ),
    (Profile::Full, None, "--with=best --without=fat-attrs --without=quota-projid --digest=sha256"),
    (
        Profile::Reproducible,
        None,
        "--with=permissions --with=symlinks --with=fifos --with=fcaps --digest=sha256",
    ),
];

#[test]
fn casync_makes_the_same_index_chunks_and_digest_of_the_same_tree() {
    let world = World::new();
    for (profile, digest, with) in PROFILES {
        shell(world.dir(), "rm -rf o.* t.*");
        world.publish(profile, digest);
        let made = shell(world.dir(), &format!("casync make {with} --store=t.castr t.caidx tree"));
        assert!(world.read("o.caidx") == world.read("t.caidx"), "{with}: the indexes differ");
        assert_eq!(made.trim().as_bytes(), world.read("o.caidx.cks"), "{with}");
        let names =
            |store: &str| shell(world.dir(), &format!("cd {store}; find . -name '*.cacnk' | sort"));
        assert_eq!(names("o.castr"), names("t.castr"), "{with}");
    }
}

#[test]
fn casync_lists_what_is_published_for_casync_updater_as_it_is_listed_here() {
    let world = World::new();
    world.publish(Profile::CasyncUpdater, None);
    let theirs = shell(world.dir(), "casync mtree --with=2sec-time tree");
    assert_eq!(String::from_utf8(world.read("o.caidx.mtree")).unwrap(), theirs);
    let theirs = shell(world.dir(), "casync mtree --store=o.castr o.caidx");
    assert_eq!(String::from_utf8(world.read("o.caidx.mtree")).unwrap(), theirs);
}

#[test]
fn casync_extracts_what_is_published_here() {
    let world = World::new();
    for (profile, digest, with) in PROFILES {
        // Users without a name are what casync itself cannot extract.
        let with_names = matches!(profile, Profile::Full);
        if with_names && shell(world.dir(), "id -u").trim() != "0" {
            continue;
        }
        shell(world.dir(), "rm -rf o.* out");
        world.publish(profile, digest);
        shell(world.dir(), "casync extract --store=o.castr o.caidx out");
        let again = shell(world.dir(), &format!("casync digest {with} out"));
        assert_eq!(again.trim().as_bytes(), world.read("o.caidx.cks"), "{with}");
    }
}

#[test]
fn what_casync_published_before_is_not_stored_again() {
    let world = World::new();
    shell(world.dir(), "casync make --with=2sec-time --store=o.castr t.caidx tree");
    let before = shell(world.dir(), "find o.castr -name '*.cacnk' | sort");
    world.publish(Profile::CasyncUpdater, None);
    assert_eq!(shell(world.dir(), "find o.castr -name '*.cacnk' | sort"), before);
    let index = Index::read(world.read("o.caidx").as_slice()).unwrap();
    assert!(index.chunks.len() > 100);
}
