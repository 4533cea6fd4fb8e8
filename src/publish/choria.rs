//! Publishing as go-updater's `update-repo` does.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::format::choria::{
    DOCUMENT_BYTES_MAX, Release, directory, document_path, published_name,
};
use crate::format::go::Platform;
use crate::format::packed::Packing;
use crate::model::{Algorithm, Digest, Version};
use crate::publish::{Existing, PROGRAM_BYTES_MAX, PublishError, Published, place};

/// What to publish.
#[derive(Clone, Copy, Debug)]
pub struct Choria<'a> {
    /// The program; its file name becomes the first part of the published one.
    pub program: &'a Path,
    /// Its version.
    pub version: &'a Version,
    /// What it is for.
    pub platform: &'a Platform,
    /// The repository's root.
    pub repository: &'a Path,
    /// What happens to a version that is there already.
    pub existing: Existing,
    /// Puts the program as it is beside the packed one.
    pub uncompressed: bool,
    /// How long another publisher is waited for.
    pub patience: Duration,
}

/// Writes the packed program, then the document that names it. A version is published when its document is: the same
/// program under the same name again changes nothing, and what no document names is made anew.
pub fn choria(wish: &Choria<'_>) -> Result<Published, PublishError> {
    let Choria { version, platform, existing, .. } = *wish;
    let base = wish.program.file_name().and_then(|name| name.to_str());
    let base = base.ok_or_else(|| PublishError::Name {
        name: wish.program.display().to_string(),
        what: "a program's file name",
    })?;
    let program = place::read(wish.program, PROGRAM_BYTES_MAX)?;
    let home = wish.repository.join(directory(version, platform)?);
    let name = |packing| published_name(base, version, platform, packing);
    let packed_name = name(Packing::Bzip2)?;
    let pointer: PathBuf = wish.repository.join(document_path(version, platform)?);
    let hash = Digest::new(Algorithm::Sha256, &Sha256::digest(&program));
    let hash = hash.unwrap_or_else(|| unreachable!("SHA-256 has 32 bytes"));
    let document = Release::new(&packed_name, hash)?;
    let _alone = place::lock(wish.repository, wish.patience)?;
    let there = match place::read(&pointer, DOCUMENT_BYTES_MAX as u64) {
        Ok(bytes) => Some(Release::parse(&bytes)),
        Err(_) if !pointer.exists() => None,
        Err(error) => return Err(error),
    };
    let is_there = matches!(&there, Some(Ok(there)) if *there == document);
    // The document names one program: another one under another name would replace the version as well.
    if there.is_some() && !is_there && existing == Existing::Kept {
        return Err(PublishError::Exists { path: pointer });
    }
    let mut published = Vec::new();
    let mut put = |name: &str, packing| {
        let path = home.join(name);
        if !(is_there && holds(packing, &path, &program)) {
            let bytes = packed(packing, &program, wish.program)?;
            published.push(place::write(path, &bytes, Existing::Replaced)?);
        }
        Ok::<(), PublishError>(())
    };
    put(&packed_name, Packing::Bzip2)?;
    if wish.uncompressed {
        put(&name(Packing::None)?, Packing::None)?;
    }
    if !is_there {
        let document = document.render();
        published.push(place::write(pointer, document.as_bytes(), Existing::Replaced)?);
    }
    Ok(published.into())
}

/// Whether a file is a program in a packing.
pub(super) fn holds(packing: Packing, path: &Path, program: &[u8]) -> bool {
    path.is_file() && unpacked(packing, path).is_ok_and(|there| there == program)
}

/// A program in a packing; `path` is for errors.
pub(super) fn packed(
    packing: Packing,
    program: &[u8],
    path: &Path,
) -> Result<Vec<u8>, PublishError> {
    let mut packed = Vec::new();
    let done = packing.pack(&mut &*program, &mut packed);
    done.map_err(|source| PublishError::Packed { path: path.to_owned(), source })?;
    Ok(packed)
}

/// A program out of its packing; `path` is where it is.
pub(super) fn unpacked(packing: Packing, path: &Path) -> Result<Vec<u8>, PublishError> {
    let bytes = place::read(path, PROGRAM_BYTES_MAX)?;
    let mut program = Vec::new();
    let done = packing.unpack(&*bytes, &mut program, PROGRAM_BYTES_MAX);
    done.map_err(|source| PublishError::Packed { path: path.to_owned(), source })?;
    Ok(program)
}
