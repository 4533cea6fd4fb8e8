//! Verified bytes become files in a staging directory.
//!
//! Reading order: `container` says what the bytes are, `inflate` and `pipe` turn them into one stream,
//! `tar` and `zip` find the entries in it, `tree` takes them in by the rules of `path`, `limits` and
//! `nodes`, and `stage` is the only one that writes, confined to the staging directory.

mod binaries;
mod can_run;
mod container;
mod error;
mod image;
mod inflate;
mod inflated;
mod limits;
mod nodes;
mod patch;
mod path;
mod pax;
mod pipe;
mod sparse;
mod stage;
mod tar;
mod tree;
mod writing;
mod zip;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

pub use can_run::{CannotRun, can_run};
pub use error::{BinariesError, Refused, UnpackError};
pub use image::{Placed, place};
pub use inflated::inflated;
pub use patch::{Here, PATCH_BYTES_MAX, patch};

use crate::format::elf::Elf;
use crate::model::manifest::{Binary, Entry};
use crate::model::step::UnpackRules;
use crate::model::{Algorithm, Blob, Digest};
use crate::trust::Verified;
use container::{Container, HEAD_BYTES, Inner};
use limits::StreamBound;
use pipe::Chunks;
use stage::Stage;
use tree::{Executable, FileHead, Length, Tree};

/// A release in its staging directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unpacked {
    /// Every file, directory and link, sorted by path.
    pub entries: Vec<Entry>,
    /// Links to make, sorted by name.
    pub binaries: Vec<Binary>,
    /// Those programs among them that are ELF; scripts are not.
    pub programs: Vec<Program>,
    /// What people should know: dropped mode bits, names that differ only in case.
    pub notes: Vec<String>,
}

/// A program that will be linked, as [`can_run()`] judges it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its path in the release.
    pub path: String,
    /// What it needs.
    pub elf: Elf,
}

/// Unpacks `blob`, whose published name is `artifact_name`, into the new directory `into`.
///
/// `into` must not be there; its parent must. While unpacking only the owner may enter it; on failure
/// it is removed. Files keep the archive's times, but none before 1980 nor after the time of the
/// artifact's own file in the cache. Nothing is synced: the caller does that once. Blocks, and uses one
/// more thread.
///
/// Where the evidence is of the program inside, the blob holds nothing else: no archive is looked for in bytes that
/// nobody vouches for, and a program with another digest is removed again.
pub fn unpack(
    blob: &Verified<Blob>,
    artifact_name: &str,
    into: &Path,
    rules: &UnpackRules,
) -> Result<Unpacked, UnpackError> {
    let program = blob.program();
    let blob = blob.get();
    let unreadable = |source| UnpackError::Blob { path: blob.path.clone(), source };
    let mut file = File::open(&blob.path).map_err(unreadable)?;
    let about = file.metadata().map_err(unreadable)?;
    let head = head(&mut file).map_err(unreadable)?;
    let container = container::recognise(artifact_name, &head)?;
    if container == Container::Zip && program.is_some() {
        let name = artifact_name.to_owned();
        return Err(UnpackError::Unknown { name, found: "a zip archive".to_owned() });
    }
    let bound = StreamBound::new(&rules.limits, about.len());
    let mut tree = Tree::new(Stage::create(into)?, rules.limits, about.mtime());
    match container {
        Container::Zip => zip::unpack(file, bound, &rules.limits, &mut tree)?,
        Container::Stream(coding) => {
            let mut source = coding.reader(file).map_err(unreadable)?;
            let failed = move |source| UnpackError::Stream { coding: coding.name(), source };
            let bare = Bare { artifact_name, program: &rules.bare_name, mtime: about.mtime() };
            pipe::overlap(
                bound,
                move |filler| filler.pump(&mut *source, failed).map(drop),
                |chunks| match program {
                    Some(expected) => {
                        unpack_program(chunks, &bare, &mut tree)?;
                        check_program(&tree, &bare, expected)
                    }
                    None => unpack_stream(chunks, &bare, &mut tree),
                },
            )?;
        }
    }
    tree.finish(rules)
}

/// What is needed when the stream holds no archive.
struct Bare<'a> {
    artifact_name: &'a str,
    program: &'a str,
    mtime: i64,
}

fn unpack_stream(chunks: &mut Chunks, bare: &Bare<'_>, tree: &mut Tree) -> Result<(), UnpackError> {
    let start = chunks.peek()?;
    let start = start.get(..HEAD_BYTES).unwrap_or(start);
    match container::recognise_inner(bare.artifact_name, start)? {
        Inner::Tar => tar::unpack(chunks, tree),
        Inner::Program => unpack_program(chunks, bare, tree),
    }
}

/// The whole stream is one program.
fn unpack_program(
    chunks: &mut Chunks,
    bare: &Bare<'_>,
    tree: &mut Tree,
) -> Result<(), UnpackError> {
    let path =
        path::clean(bare.program.as_bytes()).map_err(|why| tree::refused(bare.program, why))?;
    tree.count_entry()?;
    let (length, executable) = (Length::ToTheEnd, Executable::Yes);
    tree.add_file(&FileHead { path, length, executable, mtime: bare.mtime }, chunks)
}

/// Compares the program that was written with what it must be.
fn check_program(tree: &Tree, bare: &Bare<'_>, expected: &Digest) -> Result<(), UnpackError> {
    let got = tree.sha256(bare.program).and_then(|hex| Digest::from_hex(Algorithm::Sha256, hex));
    match got {
        Some(got) if got != *expected => {
            Err(UnpackError::Program { expected: expected.clone(), got })
        }
        Some(_) => Ok(()),
        None => Err(tree::refused(bare.program, Refused::EmptyPath)),
    }
}

/// The first bytes of a file, which is left at its start.
fn head(file: &mut File) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(HEAD_BYTES);
    Read::by_ref(file).take(HEAD_BYTES as u64).read_to_end(&mut head)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(head)
}
