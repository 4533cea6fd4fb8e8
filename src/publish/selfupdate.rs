//! Publishing as go-selfupdate's own tool does, with patches from the newest versions only.

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::format::bsdiff;
use crate::format::go::Platform;
use crate::format::packed::Packing;
use crate::format::selfupdate::{MANIFEST_BYTES_MAX, Manifest, published};
use crate::model::{Algorithm, Digest, Version};
use crate::publish::choria::{packed, unpacked};
use crate::publish::{Existing, PROGRAM_BYTES_MAX, PublishError, Published, patches, place};

/// What to publish.
#[derive(Clone, Copy, Debug)]
pub struct Selfupdate<'a> {
    /// The program, or a directory of programs each named by its platform.
    pub program: &'a Path,
    /// Its version.
    pub version: &'a Version,
    /// The platform of a single program.
    pub platform: &'a Platform,
    /// The directory of the command.
    pub out: &'a Path,
    /// Patches are made from so many versions, the highest.
    pub patches: usize,
    /// What happens to a version that is there already.
    pub existing: Existing,
}

/// Writes whole programs and patches to them, then the manifests.
pub fn selfupdate(wish: &Selfupdate<'_>) -> Result<Published, PublishError> {
    if !wish.program.is_dir() {
        return one(wish, wish.program, wish.platform);
    }
    let mut paths = Vec::new();
    for name in place::names(wish.program)? {
        let platform = name.split_once('-').and_then(|(os, arch)| Platform::new(os, arch));
        let platform = platform.ok_or_else(|| PublishError::Name {
            name: name.escape_debug().to_string(),
            what: "a platform such as `linux-amd64`",
        })?;
        paths.extend(one(wish, &wish.program.join(&name), &platform)?);
    }
    if paths.is_empty() {
        return Err(PublishError::Nothing { path: wish.program.to_owned() });
    }
    Ok(paths)
}

fn one(
    wish: &Selfupdate<'_>,
    program: &Path,
    platform: &Platform,
) -> Result<Published, PublishError> {
    let Selfupdate { version, out, existing, .. } = *wish;
    let bytes = place::read(program, PROGRAM_BYTES_MAX)?;
    let sha256 = Digest::new(Algorithm::Sha256, &Sha256::digest(&bytes));
    let sha256 = sha256.unwrap_or_else(|| unreachable!("SHA-256 has 32 bytes"));
    let manifest = Manifest::new(version.clone(), sha256)?;
    let older = others(out, version, platform)?;
    if existing == Existing::Kept {
        refuse(wish, platform)?;
    } else {
        remove_stale(out, version, platform)?;
    }
    let mut lower: Vec<Version> = older.into_iter().filter(|other| other < version).collect();
    lower.sort_by(|a, b| b.cmp(a));
    lower.truncate(wish.patches);
    let paths = published(version, &lower, platform);
    let [whole, between @ .., pointer] = paths.as_slice() else { return Ok(Vec::new()) };
    let mut written =
        vec![place::write(out.join(whole), &packed(Packing::Gzip, &bytes, program)?, existing)?];
    let made = patches::each(&lower, |old| {
        let path = out.join(format!("{old}/{}.gz", name(platform)));
        let old = unpacked(Packing::Gzip, &path)?;
        bsdiff::make(&old, &bytes).map_err(|source| PublishError::Bsdiff { path, source })
    })?;
    for (path, patch) in between.iter().zip(made) {
        written.push(place::write(out.join(path), &patch, Existing::Replaced)?);
    }
    let manifest = manifest.render();
    written.push(place::write(out.join(pointer), manifest.as_bytes(), Existing::Replaced)?);
    Ok(written)
}

/// Refuses to replace what is published, and to lead clients back to an older version.
fn refuse(wish: &Selfupdate<'_>, platform: &Platform) -> Result<(), PublishError> {
    let Selfupdate { version, out, .. } = *wish;
    let whole: PathBuf = out.join(format!("{version}/{}.gz", name(platform)));
    if whole.exists() {
        return Err(PublishError::Exists { path: whole });
    }
    let pointer = out.join(format!("{}.json", name(platform)));
    if pointer.exists() {
        let newest = Manifest::parse(&place::read(&pointer, MANIFEST_BYTES_MAX as u64)?)?;
        if newest.version() > version {
            let (version, newest) = (version.to_string(), newest.version().to_string());
            return Err(PublishError::Older { version, newest });
        }
    }
    Ok(())
}

/// Other versions that are published for a platform.
fn others(
    out: &Path,
    version: &Version,
    platform: &Platform,
) -> Result<Vec<Version>, PublishError> {
    let versions = place::names(out)?.into_iter().filter_map(|name| name.parse().ok());
    let there = |other: &Version| {
        other != version && out.join(format!("{other}/{}.gz", name(platform))).is_file()
    };
    Ok(versions.filter(there).collect())
}

/// Removes patches to and from a version that gets other bytes.
fn remove_stale(out: &Path, version: &Version, platform: &Platform) -> Result<(), PublishError> {
    let name = name(platform);
    for other in place::names(out)? {
        place::remove(&out.join(&other).join(version.as_str()).join(&name))?;
        place::remove(&out.join(version.as_str()).join(&other).join(&name))?;
    }
    Ok(())
}

fn name(platform: &Platform) -> String {
    format!("{}-{}", platform.os(), platform.arch())
}
