//! casync's formats beside files that casync and desync made, and beside broken ones.

use proptest::prelude::*;
use reconcile::format::casync::catar::{
    Acl, AclEntry, CatarError, Content, DefaultAcl, Metadata, Node, Xattr,
};
use reconcile::format::casync::chunk::{self, ChunkId, DigestKind, Form};
use reconcile::format::casync::chunker::{ChunkSizes, boundaries, identify};
use reconcile::format::casync::flags::Flags;
use reconcile::format::casync::index::{ChunkRef, Header, Index, IndexError};
use reconcile::format::casync::{cks, mtree};

use crate::casync_tree::{Decoded, decode, encode_again};

fn golden(name: &str) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/casync");
    std::fs::read(path.join(name)).unwrap()
}

/// The file behind `numbers.caibx`: what `seq 3000` prints.
fn numbers() -> Vec<u8> {
    (1..=3000).flat_map(|number| format!("{number}\n").into_bytes()).collect()
}

fn written(index: &Index) -> Vec<u8> {
    let mut bytes = Vec::new();
    index.write(&mut bytes).unwrap();
    bytes
}

/// The index of a stream with the header of another.
fn index_of(stream: &[u8], header: Header) -> Index {
    let sizes = ChunkSizes::new(header.min, header.avg, header.max).unwrap();
    let ends = boundaries(sizes, stream, 2);
    let ids = identify(header.flags.digest(), stream, &ends, 2);
    let chunks = ends.iter().zip(ids).map(|(&end, id)| ChunkRef { end: end as u64, id });
    Index { header, chunks: chunks.collect() }
}

fn listing(nodes: &[Decoded], flags: Flags) -> String {
    let line = |(path, node, bytes): &Decoded| {
        let file = matches!(node.content, Content::File { .. });
        let digest = file.then(|| flags.digest().of(bytes));
        mtree::line(path, &node.metadata, &node.content, flags, digest.as_ref()) + "\n"
    };
    nodes.iter().map(line).collect()
}

#[test]
fn stream_of_casync_is_decoded_and_encoded_to_the_same_bytes() {
    let stream = golden("tree.catar");
    let (nodes, searchable) = decode(&stream).unwrap();
    assert!(searchable);
    assert!(encode_again(&nodes, Flags::DEFAULT) == stream);
    assert_eq!(DigestKind::Sha512_256.of(&stream), cks::read(&golden("tree.cks")).unwrap());
    assert_eq!(listing(&nodes, Flags::DEFAULT).into_bytes(), golden("tree.mtree"));
    let node = |name: &str| {
        nodes.iter().find(|(path, ..)| path == name.as_bytes()).map(|(_, node, _)| node).unwrap()
    };
    assert_eq!(node("null").content, Content::Character { device: (1, 3) });
    assert_eq!(node("fifo").content, Content::Fifo);
    assert_eq!(node("dir/sub/link").content, Content::Symlink { target: b"../numbers".to_vec() });
    assert_eq!(node("dir/3").metadata.permissions, 0o4755);
    assert_eq!(node("dir/4").metadata.user.as_deref(), Some(b"daemon".as_slice()));
    assert_eq!((node("dir/5").metadata.uid, node("dir/5").metadata.gid), (60000, 60001));
    assert_eq!(node("dir/1").metadata.acl.users.len(), 1);
    assert_eq!(node("dir").metadata.default_acl.as_ref().map(|acl| acl.groups.len()), Some(1));
    assert_eq!(node("dir/2").metadata.fcaps.as_ref().map(Vec::len), Some(20));
    assert_eq!(node("numbers").metadata.xattrs[1].value, b"v\0w");
    assert!(nodes.iter().any(|(_, node, _)| node.name == b"odd-\xff"));
}

#[test]
fn stream_cut_by_us_has_the_index_casync_made() {
    let theirs = golden("tree.caidx");
    let index = Index::read(theirs.as_slice()).unwrap();
    assert!(written(&index_of(&golden("tree.catar"), index.header)) == theirs);
    for (name, maker) in [("numbers.caibx", 0xb), ("desync.caibx", 0xa)] {
        let theirs = golden(name);
        let index = Index::read(theirs.as_slice()).unwrap();
        assert_eq!(index.header.flags.bits() >> 60, maker);
        let header = Header { max: index.header.max, ..index.header };
        assert!(written(&index_of(&numbers(), header)) == theirs, "{name}");
    }
}

#[test]
fn view_of_casync_updater_is_reached_from_the_full_stream() {
    let flags = Flags::UPDATER;
    let (nodes, _) = decode(&golden("tree.catar")).unwrap();
    let kept: Vec<Decoded> =
        nodes.into_iter().filter(|(_, node, _)| flags.contains(node.content.needs())).collect();
    let stream = encode_again(&kept, flags);
    assert_eq!(flags.digest().of(&stream), cks::read(&golden("updater.cks")).unwrap());
    assert_eq!(listing(&kept, flags).into_bytes(), golden("updater.mtree"));
    let theirs = golden("updater.caidx");
    let header = Index::read(theirs.as_slice()).unwrap().header;
    assert!(written(&index_of(&stream, header)) == theirs);
    assert_eq!(mtree::read(&golden("updater.mtree")).unwrap().len(), kept.len());
}

#[test]
fn chunk_of_casync_opens_without_a_content_size() {
    let index = Index::read(golden("numbers.caibx").as_slice()).unwrap();
    let (wanted, stored) = (index.wanted(0).unwrap(), golden("first.cacnk"));
    let chunk = chunk::open(&wanted, &stored, Form::Compressed).unwrap();
    assert!(numbers().starts_with(&chunk));
    for cut in 0..stored.len() {
        assert!(chunk::open(&wanted, &stored[..cut], Form::Compressed).is_err());
    }
}

#[test]
fn stream_of_desync_is_decoded() {
    let (nodes, _) = decode(&golden("desync.catar")).unwrap();
    let file = nodes.iter().find(|(path, ..)| path == b"numbers").unwrap();
    assert!(file.2 == numbers());
}

#[test]
fn every_cut_and_every_addition_is_refused() {
    for name in ["tree.caidx", "numbers.caibx"] {
        let mut bytes = golden(name);
        for cut in 0..bytes.len() {
            let error = Index::read(&bytes[..cut]).unwrap_err();
            assert!(matches!(error, IndexError::Truncated { at, .. } if at == cut as u64));
        }
        bytes.push(0);
        let error = Index::read(bytes.as_slice()).unwrap_err();
        assert!(matches!(error, IndexError::TrailingBytes { at } if at + 1 == bytes.len() as u64));
    }
    let mut stream = golden("tree.catar");
    for cut in 0..stream.len() {
        let error = decode(&stream[..cut]).unwrap_err();
        assert!(matches!(error, CatarError::Truncated { at, .. } if at == cut as u64), "{error}");
    }
    stream.push(0);
    assert!(matches!(decode(&stream).unwrap_err(), CatarError::TrailingBytes { .. }));
}

/// `bytes` with the number at `at` replaced.
fn with(mut bytes: Vec<u8>, at: usize, number: u64) -> Vec<u8> {
    bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
    bytes
}

#[test]
fn every_fault_of_an_index_has_its_own_error() {
    let bytes = golden("tree.caidx");
    let refused = |at, number| Index::read(with(bytes.clone(), at, number).as_slice()).unwrap_err();
    let end = bytes.len();
    let first = u64::from_le_bytes(bytes[64..72].try_into().unwrap());
    assert!(matches!(refused(0, 49), IndexError::NotAnIndex { at: 0, .. }));
    assert!(matches!(refused(8, 1), IndexError::NotAnIndex { at: 8, .. }));
    assert!(matches!(refused(16, 1 << 40), IndexError::Flags { at: 16, .. }));
    assert!(matches!(refused(16, 0x18), IndexError::Flags { at: 16, .. }));
    assert!(matches!(refused(24, 0), IndexError::ChunkSizes { min: 0, .. }));
    assert!(matches!(refused(40, 1 << 28), IndexError::ChunkSizes { .. }));
    assert!(matches!(refused(48, 16), IndexError::NotAnIndex { at: 48, .. }));
    assert!(matches!(refused(56, 0), IndexError::NotAnIndex { at: 56, .. }));
    assert!(matches!(refused(64, 0), IndexError::NotIncreasing { chunk: 0, .. }));
    assert!(matches!(refused(104, first), IndexError::NotIncreasing { at: 104, chunk: 1, .. }));
    assert!(matches!(refused(104, u64::MAX), IndexError::ChunkTooLong { chunk: 1, .. }));
    assert!(matches!(refused(end - 32, 1), IndexError::Tail { field: "second zero", .. }));
    assert!(matches!(refused(end - 24, 47), IndexError::Tail { .. }));
    assert!(matches!(refused(end - 16, 16), IndexError::Tail { field: "table size", .. }));
    assert!(matches!(refused(end - 8, 0), IndexError::Tail { field: "marker", .. }));
}

/// A directory of empty files with these names, names of equal length swapped in afterwards.
fn directory(names: [&[u8]; 2], instead: [&[u8]; 2]) -> Vec<u8> {
    let node = |name: &[u8], depth, content| {
        let metadata = Metadata::default();
        (name.to_vec(), Node { name: name.to_vec(), depth, metadata, content }, Vec::new())
    };
    let file = Content::File { size: 0, offset: 0 };
    let nodes = [
        node(b"", 0, Content::Directory),
        node(names[0], 1, file.clone()),
        node(names[1], 1, file),
    ];
    let mut stream = encode_again(&nodes, Flags::NONE);
    for (name, instead) in names.iter().zip(instead) {
        let at = stream.windows(name.len()).position(|window| window == *name).unwrap();
        stream[at..at + name.len()].copy_from_slice(instead);
    }
    stream
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let honest: [&[u8]; 2] = [b"NN", b"ZZ"];
    assert!(decode(&directory(honest, honest)).is_ok());
    for bad in [b"..", b"/x", b"x/"] {
        let error = decode(&directory(honest, [bad, b"ZZ"])).unwrap_err();
        assert!(matches!(error, CatarError::FileName { ref name, .. } if name == bad));
    }
    for bad in [b"N\0", b"\0N"] {
        let error = decode(&directory(honest, [bad, b"ZZ"])).unwrap_err();
        assert!(matches!(error, CatarError::Text { .. }));
    }
    for second in [b"NN", b"AA"] {
        let error = decode(&directory(honest, [b"NN", second])).unwrap_err();
        assert!(matches!(error, CatarError::NameOrder { .. }));
    }
    let error = decode(&directory(honest, [b"NN", b"YY"])).unwrap_err();
    assert!(matches!(error, CatarError::Goodbye { field: "list of entries", .. }));
    let error = decode(&directory([b"N", b"Z"], [b".", b"Z"])).unwrap_err();
    assert!(matches!(error, CatarError::FileName { .. }));
}

#[test]
fn directories_nest_as_deep_as_in_casync() {
    let nodes = |levels: usize| {
        let node = |depth| {
            let name = if depth == 0 { Vec::new() } else { b"d".to_vec() };
            let (metadata, content) = (Metadata::default(), Content::Directory);
            (Vec::new(), Node { name, depth, metadata, content }, Vec::new())
        };
        (0..levels).map(node).collect::<Vec<Decoded>>()
    };
    let stream = encode_again(&nodes(64), Flags::NONE);
    assert_eq!(decode(&stream).unwrap().0.len(), 64);
    // One more level: the innermost directory's node once more, inside itself.
    let entry = &stream[..64];
    let name = &stream[64..64 + 18];
    let deep = [entry, &[name, entry].concat().repeat(64)].concat();
    assert!(matches!(decode(&deep).unwrap_err(), CatarError::TooDeep { .. }));
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(1..=255_u8, 1..20)
}

fn acl_entries() -> impl Strategy<Value = Vec<AclEntry>> {
    let entry = (0..70_000_u32, prop::option::of(text()), 0..8_u8)
        .prop_map(|(id, name, permissions)| AclEntry { id, name, permissions });
    prop::collection::btree_set(entry, 0..3).prop_map(|set| set.into_iter().collect())
}

fn metadata() -> impl Strategy<Value = Metadata> {
    let numbers = (0..0o10000_u32, 0..70_000_u32, any::<u32>(), any::<u32>());
    let names = (prop::option::of(text()), prop::option::of(text()), prop::option::of(text()));
    let acl = (acl_entries(), acl_entries(), prop::option::of(0..8_u8));
    let xattrs =
        prop::collection::btree_map(text(), prop::collection::vec(any::<u8>(), 0..9), 0..3);
    let caps = prop::option::of(prop::collection::vec(any::<u8>(), 0..20));
    (numbers, names, acl, xattrs, caps, any::<bool>()).prop_map(
        |((permissions, uid, gid, time), (user, group, selinux), acl, xattrs, fcaps, some)| {
            let (users, groups, group_obj) = acl;
            let default_acl = some.then(|| DefaultAcl {
                user_obj: 7,
                group_obj: 5,
                other: 0,
                mask: group_obj,
                users: users.clone(),
                groups: groups.clone(),
            });
            Metadata {
                permissions,
                attributes: Flags::IMMUTABLE.with(Flags::HIDDEN).with(Flags::SUBVOLUME),
                uid,
                gid: gid % 70_000,
                mtime: u64::from(time) * 1_000_003,
                user,
                group,
                xattrs: xattrs.into_iter().map(|(name, value)| Xattr { name, value }).collect(),
                acl: Acl { users, groups, group_obj },
                default_acl,
                selinux,
                fcaps,
                quota_projid: some.then_some(gid),
            }
        },
    )
}

fn content() -> impl Strategy<Value = (Content, Vec<u8>)> {
    let bytes = prop::collection::vec(any::<u8>(), 0..100);
    prop_oneof![
        bytes.prop_map(|b| (Content::File { size: b.len() as u64, offset: 0 }, b)),
        text().prop_map(|target| (Content::Symlink { target }, Vec::new())),
        any::<(u32, u32)>().prop_map(|device| (Content::Block { device }, Vec::new())),
        any::<(u32, u32)>().prop_map(|device| (Content::Character { device }, Vec::new())),
        Just((Content::Fifo, Vec::new())),
        Just((Content::Socket, Vec::new())),
        Just((Content::Directory, Vec::new())),
    ]
}

/// A root with nodes in it, each of which may be a directory with the same nodes in it.
fn tree() -> impl Strategy<Value = Vec<Decoded>> {
    let name = text()
        .prop_filter("a file name", |name| !name.contains(&b'/') && name != b"." && name != b"..");
    let nodes = prop::collection::btree_map(name, (metadata(), content()), 0..6);
    (metadata(), nodes).prop_map(|(metadata, nodes)| {
        let root = Node { name: Vec::new(), depth: 0, metadata, content: Content::Directory };
        let mut tree = vec![(Vec::new(), root, Vec::new())];
        for (name, (metadata, (content, bytes))) in nodes {
            let (path, node) = (name.clone(), Node { name, depth: 1, metadata, content });
            let inner = Node { depth: 2, content: Content::Fifo, ..node.clone() };
            let into = node.content == Content::Directory;
            let inner_path = [path.as_slice(), path.as_slice()].join(&b'/');
            tree.push((path, node, bytes));
            if into {
                tree.push((inner_path, inner, Vec::new()));
            }
        }
        tree
    })
}

fn index() -> impl Strategy<Value = Index> {
    let chunks = prop::collection::vec((1..=500_u64, any::<[u8; 32]>()), 0..20);
    chunks.prop_map(|lengths| {
        let mut end = 0;
        let chunks = lengths.into_iter().map(|(length, id)| {
            end += length;
            ChunkRef { end, id: ChunkId::new(id) }
        });
        let header = Header { flags: Flags::DEFAULT, min: 50, avg: 100, max: 500 };
        Index { header, chunks: chunks.collect() }
    })
}

proptest! {
    #[test]
    fn trees_survive_the_stream(tree in tree()) {
        let flags = Flags::DEFAULT;
        let stream = encode_again(&tree, flags);
        let (decoded, searchable) = decode(&stream).unwrap();
        prop_assert!(searchable);
        prop_assert_eq!(decoded.len(), tree.len());
        for ((path, node, bytes), (path_before, before, bytes_before)) in decoded.iter().zip(&tree) {
            prop_assert_eq!(path, path_before);
            prop_assert_eq!(bytes, bytes_before);
            prop_assert_eq!(&node.metadata, &before.metadata.seen_with(flags, &before.content));
        }
        prop_assert!(encode_again(&decoded, flags) == stream);
    }

    #[test]
    fn indexes_survive_their_file(index in index()) {
        let read = Index::read(written(&index).as_slice()).unwrap();
        prop_assert_eq!(&read, &index);
    }

    #[test]
    fn changed_bytes_are_read_or_refused(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        noise in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let wanted = Index::read(golden("numbers.caibx").as_slice()).unwrap().wanted(0).unwrap();
        for name in ["tree.catar", "tree.caidx", "tree.mtree", "first.cacnk"] {
            let mut bytes = golden(name);
            for (at, value) in &changes {
                let at = at.index(bytes.len());
                bytes[at] = *value;
            }
            for bytes in [&bytes, &noise] {
                let _ = decode(bytes);
                let _ = mtree::read(bytes);
                let _ = cks::read(bytes);
                if let Ok(index) = Index::read(bytes.as_slice()) {
                    prop_assert_eq!(&written(&index), bytes);
                }
                if let Ok(chunk) = chunk::open(&wanted, bytes, Form::Compressed) {
                    prop_assert_eq!(wanted.digest.of(&chunk), wanted.id);
                }
            }
        }
    }
}
