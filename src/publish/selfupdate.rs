//! Publishing as go-selfupdate's own tool does, with patches from the newest versions only.

use std::cmp::Ordering;
use std::path::Path;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::format::bsdiff;
use crate::format::go::Platform;
use crate::format::packed::Packing;
use crate::format::selfupdate::{MANIFEST_BYTES_MAX, Manifest, published};
use crate::model::{Algorithm, Digest, Version};
use crate::publish::choria::{holds, packed, unpacked};
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
    /// The directory of the command, for manifests.
    pub out: &'a Path,
    /// The same for whole programs, where they are published elsewhere.
    pub bin: &'a Path,
    /// The same for patches.
    pub diff: &'a Path,
    /// Patches are made from so many versions, the highest.
    pub patches: usize,
    /// What happens to a version that is there already.
    pub existing: Existing,
    /// How long another publisher is waited for.
    pub patience: Duration,
}

/// Writes whole programs and patches to them, then the manifests. The same program as the same version again changes
/// nothing, or does what a publisher who was killed has not done.
pub fn selfupdate(wish: &Selfupdate<'_>) -> Result<Published, PublishError> {
    let _alone = place::lock_all(&[wish.out, wish.bin, wish.diff], wish.patience)?;
    if !wish.program.is_dir() {
        return one(wish, wish.program, wish.platform);
    }
    let mut programs = Vec::new();
    for name in place::names(wish.program)? {
        let platform = name.split_once('-').and_then(|(os, arch)| Platform::new(os, arch));
        let platform = platform.ok_or_else(|| PublishError::Name {
            name: name.escape_debug().to_string(),
            what: "a platform such as `linux-amd64`",
        })?;
        programs.push((wish.program.join(name), platform));
    }
    if programs.is_empty() {
        return Err(PublishError::Nothing { path: wish.program.to_owned() });
    }
    let mut published = Published::default();
    for (program, platform) in &programs {
        let mut one = one(wish, program, platform)?;
        published.written.append(&mut one.written);
        published.notes.append(&mut one.notes);
    }
    Ok(published)
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
    let mut lower = others(wish.bin, version, platform)?;
    lower.retain(|other| other < version);
    lower.sort_by(|a, b| b.cmp(a));
    lower.truncate(wish.patches);
    let paths = published(version, &lower, platform);
    let [whole, between @ .., pointer] = paths.as_slice() else {
        return Ok(Published::default());
    };
    let (whole, pointer) = (wish.bin.join(whole), out.join(pointer));
    let there = holds(Packing::Gzip, &whole, &bytes);
    match existing {
        Existing::Kept => match stands(&manifest, (&whole, there), &pointer)? {
            Stands::Newest | Stands::New => {}
            Stands::Older => return Ok(Published::default()),
        },
        Existing::Replaced if !there => remove_stale(wish.diff, version, platform)?,
        Existing::Replaced => {}
    }
    let mut written = Vec::new();
    let packed = packed(Packing::Gzip, &bytes, program)?;
    if !there {
        written.push(place::write(whole, &packed, Existing::Replaced)?);
    }
    let patches = lower.iter().zip(between.iter().map(|path| wish.diff.join(path)));
    let missing: Vec<_> = patches.filter(|(_, path)| !(there && path.is_file())).collect();
    let made = patches::each(&missing, |(old, _)| {
        let path = wish.bin.join(format!("{old}/{}.gz", name(platform)));
        let old = unpacked(Packing::Gzip, &path)?;
        bsdiff::make(&old, &bytes).map_err(|source| PublishError::Bsdiff { path, source })
    })?;
    // Clients take the whole where there is no patch: one that is no shorter would only cost them more.
    let shorter = missing.into_iter().zip(made).filter(|(_, patch)| patch.len() < packed.len());
    for ((_, path), patch) in shorter {
        written.push(place::write(path, &patch, Existing::Replaced)?);
    }
    let mut notes = Vec::new();
    match newest(&pointer)? {
        Some(newest) if newest == manifest => {}
        // Who forces an old version means its bytes, not that every client goes back to it.
        Some(newest) if newest.version() > version => {
            let path = pointer.display();
            let newest = newest.version();
            notes.push(format!("{path} still names {newest}, which is newer than {version}"));
        }
        _ => {
            let manifest = manifest.render();
            written.push(place::write(pointer, manifest.as_bytes(), Existing::Replaced)?);
        }
    }
    Ok(Published { written, notes })
}

/// What a version is among those that are published.
enum Stands {
    /// Nobody was told of it yet.
    New,
    /// It is the one that clients are told.
    Newest,
    /// It is there, and another one came after it.
    Older,
}

/// Refuses to replace what is published, and to lead clients back to an older version; `there` is whether the whole
/// program is there already.
fn stands(
    manifest: &Manifest,
    (whole, there): (&Path, bool),
    pointer: &Path,
) -> Result<Stands, PublishError> {
    if whole.exists() && !there {
        return Err(PublishError::Exists { path: whole.to_owned() });
    }
    let Some(newest) = newest(pointer)? else { return Ok(Stands::New) };
    match newest.version().cmp(manifest.version()) {
        Ordering::Greater if there => Ok(Stands::Older),
        Ordering::Greater => Err(PublishError::Older {
            version: manifest.version().to_string(),
            newest: newest.version().to_string(),
        }),
        Ordering::Equal if newest != *manifest => {
            Err(PublishError::Exists { path: pointer.to_owned() })
        }
        Ordering::Equal => Ok(Stands::Newest),
        Ordering::Less => Ok(Stands::New),
    }
}

/// What clients are told is the newest.
fn newest(pointer: &Path) -> Result<Option<Manifest>, PublishError> {
    if !pointer.exists() {
        return Ok(None);
    }
    Ok(Some(Manifest::parse(&place::read(pointer, MANIFEST_BYTES_MAX as u64)?)?))
}

/// Other versions that are published for a platform.
fn others(
    bin: &Path,
    version: &Version,
    platform: &Platform,
) -> Result<Vec<Version>, PublishError> {
    let versions = place::names(bin)?.into_iter().filter_map(|name| name.parse().ok());
    let there = |other: &Version| {
        other != version && bin.join(format!("{other}/{}.gz", name(platform))).is_file()
    };
    Ok(versions.filter(there).collect())
}

/// Removes patches to and from a version that gets other bytes.
fn remove_stale(diff: &Path, version: &Version, platform: &Platform) -> Result<(), PublishError> {
    let name = name(platform);
    for other in place::names(diff)? {
        place::remove(&diff.join(&other).join(version.as_str()).join(&name))?;
        place::remove(&diff.join(version.as_str()).join(&other).join(&name))?;
    }
    Ok(())
}

fn name(platform: &Platform) -> String {
    format!("{}-{}", platform.os(), platform.arch())
}
