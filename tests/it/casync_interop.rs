//! The real casync and this crate make the same of the same trees.
#![cfg(feature = "interop")]

use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use reconcile::format::casync::catar::{Content, Encoder, Metadata};
use reconcile::format::casync::chunk::{self, ChunkId, DigestKind, Form};
use reconcile::format::casync::chunker::{ChunkSizes, boundaries, identify};
use reconcile::format::casync::flags::Flags;
use reconcile::format::casync::index::{ChunkRef, Header, Index};
use reconcile::format::casync::mtree;

use crate::casync_tree::{decode, encode_again};

/// Runs `command` with a shell in `dir`: its standard output.
fn shell(dir: &Path, command: &str) -> String {
    let output = Command::new("sh").args(["-ec", command]).current_dir(dir).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A tree with every type of node that an unprivileged user can make, and odd names.
const TREE: &str = r#"
mkdir -p tree/deep/er/est tree/empty-directory tree/many
cd tree
: > empty
printf text > 'with blank'
printf text > "$(printf 'line\nbreak')"
printf text > "$(printf 'not-utf8-\377')"
printf text > 'back\slash#hash'
head -c 3000000 /dev/urandom > big
head -c 70000 /dev/zero > zeros
cat big big > twice
printf x > deep/er/est/file
chmod 4755 deep/er/est/file
chmod 0500 deep/er
ln -s nowhere/at\ all link
mkfifo fifo
perl -MSocket -e 'socket(S, PF_UNIX, SOCK_STREAM, 0); bind(S, sockaddr_un("socket"))'
for i in $(seq 300); do printf $i > many/$i; done
touch -d '2001-02-03 04:05:07.123456789 UTC' deep empty
"#;

/// Flags on casync's command line and as they are.
const WITH: [(&str, u64); 6] = [
    ("--without=all", 0xb000_0000_0000_0000),
    ("--with=unix", 0xb000_0000_0000_1f09),
    ("--with=unix --digest=sha256", 0x9000_0000_0000_1f09),
    ("--with=2sec-time", 0xb000_0000_0000_0040),
    (
        "--with=32bit-uids --with=user-names --with=usec-time --with=permissions --with=symlinks",
        0xb000_0000_0000_0316,
    ),
    ("--with=32bit-uids --with=nsec-time --with=read-only --with=fifos", 0xb000_0000_0000_08a2),
];

struct World {
    place: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let world = Self { place: tempfile::tempdir().unwrap() };
        shell(world.path(), TREE);
        world
    }

    fn path(&self) -> &Path {
        self.place.path()
    }

    fn tree(&self) -> PathBuf {
        self.path().join("tree")
    }
}

/// Names that casync stores beside the numbers: none for root.
fn names(path: &Path, metadata: &mut Metadata) {
    let name = |list: &str, id: u32| {
        let text = std::fs::read_to_string(list).unwrap();
        let found = text.lines().find(|line| line.split(':').nth(2) == Some(&id.to_string()))?;
        (id != 0).then(|| found.split(':').next().unwrap().as_bytes().to_vec())
    };
    assert!(path.symlink_metadata().is_ok());
    metadata.user = name("/etc/passwd", metadata.uid);
    metadata.group = name("/etc/group", metadata.gid);
}

/// The metadata and content of a path, without lists and attributes.
fn look(path: &Path) -> (Metadata, Content) {
    let about = std::fs::symlink_metadata(path).unwrap();
    let kind = about.file_type();
    let number = |value: u64| u32::try_from(value).unwrap();
    let device = (
        number(about.rdev() >> 8 & 0xfff | about.rdev() >> 32 & !0xfff),
        number(about.rdev() & 0xff | about.rdev() >> 12 & 0xff_ff00),
    );
    let content = if kind.is_dir() {
        Content::Directory
    } else if kind.is_file() {
        Content::File { size: about.len(), offset: 0 }
    } else if kind.is_symlink() {
        let target = std::fs::read_link(path).unwrap();
        Content::Symlink { target: target.as_os_str().as_bytes().to_vec() }
    } else if kind.is_block_device() {
        Content::Block { device }
    } else if kind.is_char_device() {
        Content::Character { device }
    } else if kind.is_fifo() {
        Content::Fifo
    } else {
        Content::Socket
    };
    let mtime = about.mtime().unsigned_abs() * 1_000_000_000 + about.mtime_nsec().unsigned_abs();
    let metadata = Metadata {
        permissions: about.mode() & 0o7777,
        uid: about.uid(),
        gid: about.gid(),
        mtime,
        ..Metadata::default()
    };
    (metadata, content)
}

/// Adds what [`look`] does not see.
type More<'a> = &'a dyn Fn(&Path, &mut Metadata);

/// The stream of a tree. `more` adds what [`look`] does not see.
fn encode(root: &Path, flags: Flags, more: More) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new(), flags);
    add(&mut encoder, root, b"", (flags, more));
    encoder.finish().unwrap().0
}

fn add(encoder: &mut Encoder<Vec<u8>>, path: &Path, name: &[u8], how: (Flags, More)) {
    let (mut metadata, content) = look(path);
    if !how.0.contains(content.needs()) {
        return;
    }
    how.1(path, &mut metadata);
    encoder.node(name, &metadata, &content).unwrap();
    match content {
        Content::File { .. } => {
            let mut file = std::fs::File::open(path).unwrap();
            let mut piece = vec![0; 100_000];
            loop {
                let count = file.read(&mut piece).unwrap();
                if count == 0 {
                    break;
                }
                encoder.payload(&piece[..count]).unwrap();
            }
        }
        Content::Directory => {
            let mut entries: Vec<PathBuf> =
                std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
            entries.sort_by(|a, b| a.file_name().unwrap().cmp(b.file_name().unwrap()));
            for entry in entries {
                add(encoder, &entry, entry.file_name().unwrap().as_bytes(), how);
            }
            encoder.leave().unwrap();
        }
        _ => {}
    }
}

fn index_of(stream: &[u8], flags: Flags, sizes: ChunkSizes) -> Index {
    let ends = boundaries(sizes, stream, 3);
    let ids = identify(flags.digest(), stream, &ends, 3);
    let chunks = ends.iter().zip(ids).map(|(&end, id)| ChunkRef { end: end as u64, id });
    let [min, avg, max] = [sizes.min(), sizes.avg(), sizes.max()].map(|size| size as u64);
    Index { header: Header { flags, min, avg, max }, chunks: chunks.collect() }
}

fn listing(stream: &[u8], flags: Flags) -> String {
    let (nodes, searchable) = decode(stream).unwrap();
    assert!(searchable);
    let mut text = String::new();
    for (path, node, bytes) in nodes {
        let file = matches!(node.content, Content::File { .. });
        let digest = file.then(|| flags.digest().of(&bytes));
        text += &mtree::line(&path, &node.metadata, &node.content, flags, digest.as_ref());
        text.push('\n');
    }
    text
}

fn assert_same_lines(ours: &str, theirs: &str) {
    for (ours, theirs) in ours.lines().zip(theirs.lines()) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(ours.len(), theirs.len());
}

#[test]
fn encoder_chunker_digest_and_listing_equal_those_of_casync() {
    let world = World::new();
    for (with, bits) in WITH {
        let flags = Flags::from_file(bits).unwrap();
        let made = shell(world.path(), &format!("casync make {with} t.catar tree"));
        let theirs = std::fs::read(world.path().join("t.catar")).unwrap();
        let ours = encode(&world.tree(), flags, &names);
        assert!(ours == theirs, "{with}: the streams differ");
        let digest = flags.digest().of(&ours);
        assert_eq!(made.trim(), digest.to_string(), "{with}");
        assert_eq!(shell(world.path(), &format!("casync digest {with} tree")).trim(), made.trim());
        // Not of the stream: casync 2 cannot read what it writes with `usec-time`.
        let theirs = shell(world.path(), &format!("casync mtree {with} tree"));
        assert_same_lines(&listing(&ours, flags), &theirs);
        assert_eq!(mtree::read(theirs.as_bytes()).unwrap().len(), theirs.lines().count());

        let all_sizes =
            ["16384:65536:262144", "4096:16384:65536", "65536:65536:65536", "1:600:900"];
        let sizes_tried = if with.contains("unix") { 4 } else { 1 };
        for sizes in all_sizes.into_iter().take(sizes_tried) {
            let command = format!(
                "rm -rf store; casync make {with} --chunk-size={sizes} --store=store t.caidx tree"
            );
            shell(world.path(), &command);
            let theirs = std::fs::read(world.path().join("t.caidx")).unwrap();
            let parsed = Index::read(theirs.as_slice()).unwrap();
            let Header { min, avg, max, .. } = parsed.header;
            let index = index_of(&ours, flags, ChunkSizes::new(min, avg, max).unwrap());
            assert_eq!(index.header, parsed.header);
            assert_eq!(index.chunks.len(), parsed.chunks.len(), "{with} {sizes}");
            let mut written = Vec::new();
            index.write(&mut written).unwrap();
            assert!(written == theirs, "{with} {sizes}: the indexes differ");
            for number in (0..index.chunks.len()).step_by(17) {
                let wanted = index.wanted(number).unwrap();
                let stored = world.path().join("store").join(wanted.id.path(Form::Compressed));
                let stored = std::fs::read(stored).unwrap();
                let chunk = chunk::open(&wanted, &stored, Form::Compressed).unwrap();
                let start = usize::try_from(index.start(number).unwrap()).unwrap();
                assert!(ours[start..start + chunk.len()] == chunk);
            }
        }
    }
}

#[test]
fn everything_casync_stores_decodes_and_encodes_to_the_same_bytes() {
    let world = World::new();
    shell(
        world.path(),
        r#"cd tree
perl -e 'sub set { my ($file, $name, $value) = @_;
    syscall(188, $file, $name, $value, length $value, 0) == 0 or die "$name: $!" }
  set("big", "user.b", "value\0with zero"); set("big", "user.a", "")'
chattr +A big 2>/dev/null || :
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
fi"#,
    );
    shell(world.path(), "casync make t.catar tree");
    let theirs = std::fs::read(world.path().join("t.catar")).unwrap();
    let (nodes, searchable) = decode(&theirs).unwrap();
    assert!(searchable);
    let flags = Flags::from_bits(u64::from_le_bytes(theirs[16..24].try_into().unwrap())).unwrap();
    assert!(encode_again(&nodes, flags) == theirs);
    assert_same_lines(&listing(&theirs, flags), &shell(world.path(), "casync mtree t.catar"));
    let node = |name: &str| &nodes.iter().find(|(path, ..)| path == name.as_bytes()).expect(name).1;
    let attributes: Vec<_> = node("big").metadata.xattrs.iter().map(|x| &x.name[..]).collect();
    assert_eq!(attributes, [b"user.a", b"user.b"]);
    assert_eq!(node("big").metadata.xattrs[1].value, b"value\0with zero");
    if shell(world.path(), "id -u").trim() == "0" {
        assert_eq!(node("block").content, Content::Block { device: (259, 70000) });
        assert!(node("twice").metadata.fcaps.as_ref().is_some_and(|caps| caps.len() == 20));
        assert_eq!(node("twice").metadata.acl.users.len(), 1);
        assert_eq!(node("many").metadata.acl.groups.len(), 1);
        assert_eq!(node("many").metadata.default_acl.as_ref().unwrap().users.len(), 1);
        assert_eq!(node("zeros").metadata.user.as_deref(), Some(b"daemon".as_slice()));
    }
    for (_, node, bytes) in &nodes {
        if let Content::File { size, offset } = node.content {
            let range = usize::try_from(offset).unwrap()..usize::try_from(offset + size).unwrap();
            assert!(theirs[range] == bytes[..]);
        }
    }
}

#[test]
fn casync_extracts_what_is_made_here() {
    let world = World::new();
    // casync itself loses the bit when it changes the owner afterwards.
    shell(&world.tree(), "chmod u-s deep/er/est/file");
    let flags = Flags::from_file(0xb000_0000_0000_1f09).unwrap();
    let stream = encode(&world.tree(), flags, &|_, _| ());
    let index = index_of(&stream, flags, ChunkSizes::default());
    let store = world.path().join("ours");
    let mut start = 0;
    for chunk in &index.chunks {
        let end = usize::try_from(chunk.end).unwrap();
        let path = store.join(chunk.id.path(Form::Compressed));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, chunk::compress(&stream[start..end]).unwrap()).unwrap();
        start = end;
    }
    index.write(std::fs::File::create(world.path().join("ours.caidx")).unwrap()).unwrap();
    std::fs::write(world.path().join("ours.catar"), &stream).unwrap();
    shell(world.path(), "casync extract --store=ours ours.caidx from-index");
    shell(world.path(), "casync extract ours.catar from-stream");
    let digest = flags.digest().of(&stream).to_string();
    for made in ["from-index", "from-stream"] {
        let theirs = shell(world.path(), &format!("casync mtree --with=unix {made}"));
        assert_same_lines(&listing(&stream, flags), &theirs);
        let made = shell(world.path(), &format!("casync digest --with=unix {made}"));
        assert_eq!(made.trim(), digest);
    }
}

#[test]
fn indexes_of_blobs_are_those_of_casync() {
    let world = World::new();
    for name in ["empty", "big"] {
        shell(world.path(), &format!("casync make --store=s f.caibx tree/{name}"));
        let theirs = std::fs::read(world.path().join("f.caibx")).unwrap();
        let blob = std::fs::read(world.tree().join(name)).unwrap();
        let flags = Flags::from_file(0xb000_0000_0000_0000).unwrap();
        let mut ours = Vec::new();
        index_of(&blob, flags, ChunkSizes::default()).write(&mut ours).unwrap();
        assert!(ours == theirs, "{name}");
        let digest: ChunkId =
            shell(world.path(), "casync digest --store=s f.caibx").trim().parse().unwrap();
        assert_eq!(digest, DigestKind::Sha512_256.of(&blob));
    }
}
