//! Extension images looked into, whole ones and broken ones.

mod broken;
mod golden;
mod verdicts;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use reconcile::format::image::{ImageError, ImageFiles, Opened, open};

/// Images that can be read, by name without endings.
pub(super) static IMAGES: LazyLock<BTreeMap<String, Vec<u8>>> = LazyLock::new(|| {
    let mut images = BTreeMap::new();
    for entry in std::fs::read_dir(golden_directory()).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if let Some(name) = name.strip_suffix(".raw.zst") {
            let packed = std::fs::read(entry.path()).unwrap();
            images.insert(name.to_owned(), zstd::decode_all(packed.as_slice()).unwrap());
        }
    }
    assert!(images.len() > 10);
    images
});

pub(super) fn golden_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/images")
}

/// Slices are read through a reference: a trait object needs a sized type.
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl reconcile::format::elf::ReadAt for Bytes<'_> {
    fn read_at(&self, into: &mut [u8], offset: u64) -> std::io::Result<usize> {
        self.0.read_at(into, offset)
    }
}

pub(super) fn open_bytes<'a>(bytes: &'a Bytes<'_>) -> Result<Opened<'a>, ImageError> {
    open(bytes, bytes.0.len() as u64)
}

/// Names in a directory, in order.
pub(super) fn names(files: &dyn ImageFiles, directory: &str) -> Vec<String> {
    let mut names: Vec<String> =
        files.list(directory).unwrap().into_iter().map(|entry| entry.name).collect();
    names.sort();
    names
}
