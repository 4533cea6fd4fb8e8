//! Casync stores made by our own chunker and encoder.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use reconcile::format::casync::catar::{Content, Encoder, Metadata};
use reconcile::format::casync::chunk::{Form, compress};
use reconcile::format::casync::chunker::{ChunkSizes, boundaries, identify};
use reconcile::format::casync::flags::Flags;
use reconcile::format::casync::index::{ChunkRef, Header, Index};

/// Bytes that no chunk repeats, from a seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A publisher: the directory it publishes, its index and its store.
pub struct Publisher {
    pub source: PathBuf,
    pub index: PathBuf,
    pub store: PathBuf,
    pub flags: Flags,
}

impl Publisher {
    /// A publisher below `directory`, with an empty tree.
    pub fn new(directory: &Path) -> Self {
        let publisher = Self {
            source: directory.join("source"),
            index: directory.join("site.caidx"),
            store: directory.join("site.castr"),
            flags: Flags::PERMISSIONS
                .with(Flags::NSEC_TIME)
                .with(Flags::SYMLINKS)
                .with(Flags::FIFOS)
                .with(Flags::SHA512_256),
        };
        fs::create_dir_all(&publisher.source).unwrap();
        publisher
    }

    /// Publishes the source as it is now.
    pub fn publish(&self) {
        self.publish_as(&self.index);
    }

    /// The same under another name.
    pub fn publish_as(&self, index: &Path) {
        self.publish_stream(index, &self.stream());
    }

    /// The archive of the source as it is now.
    pub fn stream(&self) -> Vec<u8> {
        let flags = self.flags.normalised();
        let mut encoder = Encoder::new(Vec::new(), flags);
        add(&mut encoder, &self.source, b"", flags);
        encoder.finish().unwrap().0
    }

    /// Publishes any stream.
    pub fn publish_stream(&self, index: &Path, stream: &[u8]) {
        // Small chunks, so that small trees have several.
        let sizes = ChunkSizes::new(256, 1024, 4096).unwrap();
        let flags = self.flags.normalised();
        let ends = boundaries(sizes, stream, 1);
        let ids = identify(flags.digest(), stream, &ends, 1);
        let mut start = 0;
        for (&end, id) in ends.iter().zip(&ids) {
            let path = self.store.join(id.path(Form::Compressed));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, compress(&stream[start..end]).unwrap()).unwrap();
            start = end;
        }
        let chunks = ends.iter().zip(ids).map(|(&end, id)| ChunkRef { end: end as u64, id });
        let header = Header { flags, min: 256, avg: 1024, max: 4096 };
        let table = Index { header, chunks: chunks.collect() };
        let mut bytes = Vec::new();
        table.write(&mut bytes).unwrap();
        fs::write(index, bytes).unwrap();
    }

    /// Paths of all chunks in the store.
    pub fn chunks(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for directory in fs::read_dir(&self.store).unwrap() {
            for chunk in fs::read_dir(directory.unwrap().path()).unwrap() {
                found.push(chunk.unwrap().path());
            }
        }
        found.sort();
        found
    }

    /// The wish for this tree at `/srv/site`, with more lines.
    pub fn wish(&self, more: &str) -> String {
        format!(
            "trees:\n  site:\n    path: /srv/site\n    source: {{ casync: {{ index: {}, store: {} }} }}\n{more}",
            self.index.display(),
            self.store.display()
        )
    }
}

fn add(encoder: &mut Encoder<Vec<u8>>, path: &Path, name: &[u8], flags: Flags) {
    let about = path.symlink_metadata().unwrap();
    let kind = about.file_type();
    let content = if kind.is_dir() {
        Content::Directory
    } else if kind.is_symlink() {
        let target = fs::read_link(path).unwrap();
        Content::Symlink { target: target.as_os_str().as_bytes().to_vec() }
    } else if kind.is_fifo() {
        Content::Fifo
    } else {
        Content::File { size: about.len(), offset: 0 }
    };
    if !flags.contains(content.needs()) {
        return;
    }
    let nanoseconds = about.mtime_nsec().unsigned_abs();
    let metadata = Metadata {
        permissions: about.mode() & 0o7777,
        mtime: about.mtime().unsigned_abs() * 1_000_000_000 + nanoseconds,
        ..Metadata::default()
    };
    encoder.node(name, &metadata, &content).unwrap();
    match content {
        Content::File { .. } => encoder.payload(&fs::read(path).unwrap()).unwrap(),
        Content::Directory => {
            let entries = fs::read_dir(path).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            for name in names {
                add(encoder, &path.join(&name), name.as_bytes(), flags);
            }
            encoder.leave().unwrap();
        }
        _ => {}
    }
}
