//! A program made from one that is here, by a patch or as it is.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::format::{bsdiff, zstd_delta};
use crate::model::step::UnpackRules;
use crate::model::{Algorithm, Digest, PatchFormat};
use crate::unpack::error::UnpackError;
use crate::unpack::limits::StreamBound;
use crate::unpack::pipe::{self, Filler, Stop};
use crate::unpack::stage::Stage;
use crate::unpack::tree::Tree;
use crate::unpack::{Bare, Unpacked, check_program, unpack_program};

/// Largest patch applied, in bytes: it is held in memory.
pub const PATCH_BYTES_MAX: u64 = 256 << 20;

/// Largest program that a zstd patch may start from, in bytes: it is held in memory.
const ZSTD_BASE_BYTES_MAX: u64 = 512 << 20;

/// Bytes of the program that are read at a time.
const READ_BYTES: usize = 256 << 10;

/// What there is to make a program from.
#[derive(Clone, Copy, Debug)]
pub struct Here<'a> {
    /// The program that is here, on this machine.
    pub base: &'a Path,
    /// Its SHA-256.
    pub base_digest: &'a Digest,
    /// The patch to it; without one it is the wanted program itself.
    pub patch: Option<(&'a Path, PatchFormat)>,
    /// SHA-256 of the wanted program.
    pub makes: &'a Digest,
    /// The time that it gets, in seconds since 1970: with that of the base it would look like the base.
    pub made_at: i64,
}

/// Makes a program in the new directory `into`, as [`unpack`](crate::unpack::unpack()) does.
///
/// The base is checked while the program is made of it, and what was made is checked too before it is kept: a patch
/// needs no evidence of its own. Memory: what [`bsdiff::apply`] or [`zstd_delta::apply`] says, and the patch.
pub fn patch(here: &Here<'_>, into: &Path, rules: &UnpackRules) -> Result<Unpacked, UnpackError> {
    let unreadable = |source| UnpackError::Base { path: here.base.to_owned(), source };
    let base = File::open(here.base).map_err(unreadable)?;
    let about = base.metadata().map_err(unreadable)?;
    if !about.is_file() {
        return Err(unreadable(io::ErrorKind::InvalidInput.into()));
    }
    let mut packed = about.len();
    let patch = match here.patch {
        Some((patch, format)) => {
            let bytes = read_all(patch, PATCH_BYTES_MAX)?;
            packed = packed.saturating_add(bytes.len() as u64);
            Some((bytes, format))
        }
        None => None,
    };
    let bound = StreamBound::new(&rules.limits, packed);
    let mut tree = Tree::new(Stage::create(into)?, rules.limits, here.made_at);
    let size_max = rules.limits.file_bytes.min(rules.limits.bytes);
    let made = Bare { artifact_name: "", program: &rules.bare_name, mtime: here.made_at };
    pipe::overlap(
        bound,
        move |filler| match patch {
            None => filler.pump(&mut &base, unreadable).map(drop),
            Some((patch, format)) => std::thread::scope(|scope| {
                let checking = scope.spawn(|| check_base(&base, here));
                let applied = apply(filler, here, (&base, &patch, format), size_max);
                // Of another base nothing else is worth saying.
                checking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
                applied
            }),
        },
        |chunks| {
            unpack_program(chunks, &made, &mut tree)?;
            check_program(&tree, &made, here.makes)
        },
    )?;
    tree.finish(rules)
}

fn apply(
    filler: &mut Filler,
    here: &Here<'_>,
    (base, patch, format): (&File, &[u8], PatchFormat),
    size_max: u64,
) -> Result<(), Stop> {
    let mut sink = Sink { filler, stopped: None };
    let failed = match format {
        PatchFormat::Bsdiff => {
            bsdiff::apply(base, patch, &mut sink, size_max).err().map(UnpackError::Bsdiff)
        }
        PatchFormat::Zstd => {
            let base = read_all(here.base, ZSTD_BASE_BYTES_MAX)?;
            zstd_delta::apply(&base, patch, &mut sink, size_max).err().map(UnpackError::Zstd)
        }
    };
    match (sink.stopped, failed) {
        (Some(stop), _) => Err(stop),
        (None, Some(error)) => Err(Stop::Failed(error)),
        (None, None) => Ok(()),
    }
}

fn check_base(mut base: &File, here: &Here<'_>) -> Result<(), UnpackError> {
    let mut hash = Sha256::new();
    let mut piece = vec![0; READ_BYTES];
    loop {
        let count = base.read(&mut piece);
        let count =
            count.map_err(|source| UnpackError::Base { path: here.base.to_owned(), source })?;
        match piece.get(..count) {
            Some(bytes) if !bytes.is_empty() => hash.update(bytes),
            _ => break,
        }
    }
    match Digest::new(Algorithm::Sha256, &hash.finalize()) {
        Some(got) if got != *here.base_digest => Err(UnpackError::OtherBase {
            path: here.base.to_owned(),
            expected: here.base_digest.clone(),
            got,
        }),
        _ => Ok(()),
    }
}

fn read_all(path: &Path, bytes_max: u64) -> Result<Vec<u8>, UnpackError> {
    let unreadable = |source| UnpackError::Base { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(unreadable)?;
    let size = file.metadata().map_err(unreadable)?.len();
    if size > bytes_max {
        return Err(unreadable(io::ErrorKind::FileTooLarge.into()));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
    Read::by_ref(&mut file).take(bytes_max).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

/// Where a patch writes: why it could not go on is kept, because a writer can only say that.
struct Sink<'a> {
    filler: &'a mut Filler,
    stopped: Option<Stop>,
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.filler.push(bytes).map_err(|stop| {
            self.stopped = Some(stop);
            io::Error::from(io::ErrorKind::BrokenPipe)
        })?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
