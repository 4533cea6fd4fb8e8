//! Another copy of a source, such as removable media, brought up to what is installed.
//!
//! Every chunk is verified before it is written, wherever it comes from: the installed generation, else the stores.
//! So whatever happened to the tree in use, the copy has what its publisher published. Chunks come first and are
//! synced, the index replaces the one before by a rename: a copy that is pulled out is as it was. Whoever had the copy
//! in hand may have left links and pipes there: nothing is written through them.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::assemble::chunks::Stores;
use crate::assemble::error::AssembleError;
use crate::assemble::keep::keep;
use crate::assemble::old::Old;
use crate::assemble::{INDEX, SeedPlace};
use crate::format::casync::chunk::{self, Form, Wanted, verify};
use crate::format::casync::index::Index;
use crate::format::detached::{BYTES_MAX, joined};
use crate::host::{create_anew, read_regular};

/// A copy that is behind, and what it is brought up to.
#[derive(Debug)]
pub struct Behind {
    /// The installed generation.
    pub from: SeedPlace,
    /// The index of the copy.
    pub index: PathBuf,
    /// The store of the copy.
    pub store: PathBuf,
    /// The file with the signature of the index, where one is demanded, and its bytes.
    pub signature: Option<(PathBuf, Vec<u8>)>,
    /// When the index was published, which the copy's file then says.
    pub published: Option<SystemTime>,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refreshed {
    /// Chunks that the copy did not have.
    pub chunks: u64,
}

/// Brings a copy up to an installed generation.
pub async fn refresh(copy: &Behind, stores: Stores) -> Result<Refreshed, AssembleError> {
    let stores = Arc::new(stores);
    let bytes = fs::read(copy.from.generation.join(INDEX))
        .map_err(|e| failed("read", &copy.from.generation.join(INDEX), e))?;
    let index = Index::read(bytes.as_slice()).map_err(AssembleError::Index)?;
    let old = Old::open(copy.from.clone()).map(Arc::new);
    let mut refreshed = Refreshed::default();
    for number in 0..index.chunks.len() {
        let Some(wanted) = index.wanted(number) else { continue };
        let name = wanted.id.path(Form::Compressed);
        let path = copy.store.join(&name);
        // Empty files are what a loss of power leaves.
        if fs::metadata(&path).is_ok_and(|metadata| metadata.len() > 0) {
            continue;
        }
        let here = old.clone();
        let here = tokio::task::spawn_blocking(move || installed(here.as_deref()?, wanted)).await;
        let bytes = match here {
            Ok(Some(bytes)) => bytes,
            _ => stores.get(wanted).await?,
        };
        let packed = chunk::compress(&bytes);
        let added = packed.and_then(|packed| keep(&copy.store, &name, &packed));
        added.map_err(|e| failed("write", &path, e))?;
        refreshed.chunks += 1;
    }
    let placed = place(copy, &bytes);
    placed.map_err(|e| failed("write", &copy.index, e))?;
    Ok(refreshed)
}

/// A chunk put together from the installed files, if it is what it should be.
fn installed(old: &Old, wanted: Wanted) -> Option<Vec<u8>> {
    let bytes = old.chunk(old.find(&wanted.id, None)?, wanted.length)?;
    verify(&wanted, &bytes).is_ok().then_some(bytes)
}

#[expect(clippy::disallowed_methods, reason = "the copy is not below the managed root")]
fn place(copy: &Behind, index: &[u8]) -> io::Result<()> {
    fs::create_dir_all(&copy.store)?;
    rustix::fs::syncfs(File::open(&copy.store)?)?;
    let Some((path, signature)) = &copy.signature else {
        return replace(&copy.index, index, copy.published);
    };
    // Of both indexes until one is replaced by the other: whenever the copy is pulled out, it has a signature.
    // One that nobody could read is not worth keeping.
    let before = read_regular(path, BYTES_MAX);
    let both = joined(signature, &before.unwrap_or_default());
    replace(path, &both, None)?;
    replace(&copy.index, index, copy.published)?;
    replace(path, signature, None)
}

/// Replaces a file by a rename, durably.
fn replace(path: &Path, bytes: &[u8], modified: Option<SystemTime>) -> io::Result<()> {
    let mut staged = path.as_os_str().to_owned();
    staged.push(".new");
    let staged = PathBuf::from(staged);
    let mut file = create_anew(&staged)?;
    file.write_all(bytes)?;
    if let Some(modified) = modified {
        file.set_modified(modified)?;
    }
    file.sync_all()?;
    rustix::fs::rename(&staged, path)?;
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> AssembleError {
    AssembleError::Generation { action, path: path.to_owned(), source }
}
