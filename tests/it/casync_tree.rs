//! Trees on disk read into nodes, to be archived and compared.

use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use reconcile::format::casync::catar::{Content, Decoder, Encoder, Event, Metadata, Node};
use reconcile::format::casync::flags::Flags;

/// The metadata and content of a path, without lists and attributes.
pub fn look(path: &Path) -> (Metadata, Content) {
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

/// The stream of a tree. `more` adds what [`look`] does not see.
pub fn encode(root: &Path, flags: Flags, more: &dyn Fn(&Path, &mut Metadata)) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new(), flags);
    add(&mut encoder, root, b"", (flags, more));
    encoder.finish().unwrap().0
}

fn add(
    encoder: &mut Encoder<Vec<u8>>,
    path: &Path,
    name: &[u8],
    how: (Flags, &dyn Fn(&Path, &mut Metadata)),
) {
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

/// One node of a decoded stream with its path and the bytes of a file.
pub type Decoded = (Vec<u8>, Node, Vec<u8>);

/// All nodes of a stream, and whether every table is searchable.
pub fn decode(
    stream: &[u8],
) -> Result<(Vec<Decoded>, bool), reconcile::format::casync::catar::CatarError> {
    let mut decoder = Decoder::new(stream);
    let (mut nodes, mut path, mut all_searchable) = (Vec::new(), Vec::<Vec<u8>>::new(), true);
    while let Some(event) = decoder.next_event()? {
        match event {
            Event::Node(node) => {
                path.truncate(node.depth.saturating_sub(1));
                if node.depth > 0 {
                    path.push(node.name.clone());
                }
                let mut bytes = Vec::new();
                let mut piece = [0; 5000];
                loop {
                    let count = decoder.read_payload(&mut piece)?;
                    if count == 0 {
                        break;
                    }
                    bytes.extend_from_slice(&piece[..count]);
                }
                nodes.push((path.join(&b'/'), *node, bytes));
            }
            Event::Leave { searchable } => all_searchable &= searchable,
        }
    }
    Ok((nodes, all_searchable))
}

/// The stream of decoded nodes.
pub fn encode_again(nodes: &[Decoded], flags: Flags) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new(), flags);
    let mut open = 0;
    for (_, node, bytes) in nodes {
        while open > node.depth {
            encoder.leave().unwrap();
            open -= 1;
        }
        encoder.node(&node.name, &node.metadata, &node.content).unwrap();
        encoder.payload(bytes).unwrap();
        open += usize::from(node.content == Content::Directory);
    }
    for _ in 0..open {
        encoder.leave().unwrap();
    }
    encoder.finish().unwrap().0
}
