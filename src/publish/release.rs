//! Publishing a directory of artifacts as a source that our own `http` and `file` sources read.
//!
//! ```text
//! <root>/SHA256SUMS                              every version's files: the list of versions, written last
//! <root>/<version>/<artifact>…                   as given
//! <root>/<version>/SHA256SUMS, SHA256SUMS.asc    of these, and of the list of patches
//! <root>/<version>/deltas.json                   patches to this version
//! <root>/<version>/deltas/<old>/<artifact>.zst   one of them
//! ```

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::format::deltas::{self, Deltas, Listed};
use crate::format::packed::Packing;
use crate::format::zstd_delta;
use crate::model::{Algorithm, Digest, Version};
use crate::publish::signing::{SignError, Signer};
use crate::publish::{Existing, PROGRAM_BYTES_MAX, PublishError, Published, patches, place};

/// Name of the checksum files.
pub const SUMS: &str = "SHA256SUMS";

/// Name of the directory of patches.
const DELTAS: &str = "deltas";

/// End of the name of a signature.
const SIGNATURE: &str = ".asc";

/// zstd's level for patches: the highest that needs no more memory than the files themselves ask for.
const LEVEL: i32 = 19;

/// Largest patch worth having, in hundredths of the artifact.
const WORTH_PERCENT: usize = 60;

/// Largest checksum file read, in bytes.
const SUMS_BYTES_MAX: u64 = 16 << 20;

/// What to publish.
#[derive(Clone, Copy, Debug)]
pub struct Release<'a> {
    /// The directory of artifacts; directories in it are left out.
    pub artifacts: &'a Path,
    /// Its version.
    pub version: &'a Version,
    /// The repository's root.
    pub root: &'a Path,
    /// The key that gpg signs the checksums with.
    pub key: Option<&'a str>,
    /// Patches are made from so many versions, the highest.
    pub patches: usize,
    /// What happens to a version that is there already.
    pub existing: Existing,
    /// How long another publisher is waited for.
    pub patience: Duration,
}

/// Makes the directory of a version complete before it appears, then lists it. The same artifacts again change nothing,
/// or do what a publisher who was killed has not done. In a repository that is signed nothing is published unsigned.
pub async fn release(wish: &Release<'_>) -> Result<Published, PublishError> {
    let named = part(wish.version)?;
    let _alone = place::lock(wish.root, wish.patience)?;
    // `v1.1` and `1.1` are one version.
    let there = versions(wish.root)?.into_iter().find(|(there, _)| *there == plain(wish.version));
    let home = wish.root.join(there.as_ref().map_or(named, |(_, name)| name));
    let sums = home.join(SUMS);
    let (artifacts, notes) = artifacts(wish.artifacts)?;
    let signer = match wish.key {
        Some(key) => Some(Signer::new(key).await.map_err(|error| unsigned(&sums, error))?),
        None => {
            refuse_where_signed(wish.root)?;
            None
        }
    };
    if wish.existing == Existing::Replaced || !home.exists() {
        let written = anew(wish, (&home, &artifacts), signer.as_ref()).await?;
        return Ok(Published { written, notes });
    }
    let there = place::read(&sums, SUMS_BYTES_MAX)?;
    refuse_other_bytes((&home, &artifacts), &there)?;
    // What is not as we signed it may be anything: it is made again of what was given now.
    if let Some(signer) = &signer
        && !place::read(&signature_of(&sums), SUMS_BYTES_MAX)
            .is_ok_and(|signature| signer.holds(&signature, &there))
    {
        let wish = Release { existing: Existing::Replaced, ..*wish };
        let written = anew(&wish, (&home, &artifacts), Some(signer)).await?;
        return Ok(Published { written, notes });
    }
    Ok(Published { written: write_index(wish.root)?.into_iter().collect(), notes })
}

/// Makes the directory of a version and lists it.
async fn anew(
    wish: &Release<'_>,
    (home, artifacts): (&Path, &[Artifact]),
    signer: Option<&Signer>,
) -> Result<Vec<PathBuf>, PublishError> {
    let staged = place::stage(home)?;
    let written = fill(wish, (&staged, artifacts), signer).await;
    let moved = written.and_then(|written| {
        place::promote(&staged, home, wish.existing)?;
        Ok(written)
    });
    let written = match moved {
        Ok(written) => written,
        Err(error) => {
            // The error to tell is the first one.
            let _ = place::remove(&staged);
            return Err(error);
        }
    };
    let inside = |path: PathBuf| path.strip_prefix(&staged).map(|p| home.join(p)).unwrap_or(path);
    let mut published: Vec<PathBuf> = written.into_iter().map(inside).collect();
    published.extend(write_index(wish.root)?);
    Ok(published)
}

/// Refuses a version that is there with other artifacts than those given.
fn refuse_other_bytes(
    (home, artifacts): (&Path, &[Artifact]),
    sums: &[u8],
) -> Result<(), PublishError> {
    let sums = String::from_utf8_lossy(sums);
    let of_patches = |line: &&str| line.ends_with(&format!("  {}", deltas::NAME));
    let there: BTreeSet<&str> = sums.lines().filter(|line| !of_patches(line)).collect();
    let mut given = BTreeSet::new();
    for (name, path) in artifacts {
        let bytes = place::read(path, PROGRAM_BYTES_MAX)?;
        if place::read(&home.join(name), PROGRAM_BYTES_MAX).ok().as_ref() != Some(&bytes) {
            return Err(PublishError::Exists { path: home.to_owned() });
        }
        given.insert(line(&bytes, name));
    }
    if given.iter().map(|line| line.trim_end()).eq(there) {
        return Ok(());
    }
    Err(PublishError::Exists { path: home.to_owned() })
}

/// Clients that ask for signatures would refuse all of a repository in which one version has none.
fn refuse_where_signed(root: &Path) -> Result<(), PublishError> {
    let mut signatures =
        versions(root)?.into_iter().map(|(_, name)| signature_of(&root.join(name).join(SUMS)));
    match signatures.find(|path| path.symlink_metadata().is_ok()) {
        Some(path) => Err(PublishError::Unsigned { path }),
        None => Ok(()),
    }
}

/// The name of an artifact, and where it is.
type Artifact = (String, PathBuf);

/// The files of a directory that are artifacts, and what else is in it.
fn artifacts(directory: &Path) -> Result<(Vec<Artifact>, Vec<String>), PublishError> {
    let place::Listing { names, odd: mut left } = place::list(directory)?;
    let mut artifacts = Vec::new();
    for name in names {
        let from = directory.join(&name);
        if is_ours(&name) {
            continue;
        }
        if !from.is_file() {
            left.push(name);
            continue;
        }
        // Lists of checksums have meanings for some characters, and patches are in a directory of their own.
        let odd = name.chars().any(|c| c.is_control() || c == '\\') || name.starts_with(' ');
        if odd || name == DELTAS {
            let name = name.escape_debug().to_string();
            return Err(PublishError::Name { name, what: "an artifact's name" });
        }
        artifacts.push((name, from));
    }
    if artifacts.is_empty() {
        return Err(PublishError::Nothing { path: directory.to_owned() });
    }
    let note = |name| format!("{name} is left out: a release has files with plain names only");
    Ok((artifacts, left.into_iter().map(note).collect()))
}

/// Writes the list of versions anew where it is another: what the versions' own checksum files say, one after the
/// other.
pub fn write_index(root: &Path) -> Result<Option<PathBuf>, PublishError> {
    let mut index = String::new();
    for (_, name) in versions(root)? {
        let sums = place::read(&root.join(&name).join(SUMS), SUMS_BYTES_MAX)?;
        for line in String::from_utf8_lossy(&sums).lines() {
            if let Some((digest, file)) = line.split_once("  ") {
                index.extend([digest, "  ", &name, "/", file, "\n"]);
            }
        }
    }
    let path = root.join(SUMS);
    if place::read(&path, SUMS_BYTES_MAX).is_ok_and(|there| there == index.as_bytes()) {
        return Ok(None);
    }
    place::write(path, index.as_bytes(), Existing::Replaced).map(Some)
}

/// Writes everything of a version into its staging directory.
async fn fill(
    wish: &Release<'_>,
    (staged, artifacts): (&Path, &[Artifact]),
    signer: Option<&Signer>,
) -> Result<Vec<PathBuf>, PublishError> {
    let mut written = Vec::new();
    let mut sums = String::new();
    let mut programs = Vec::new();
    for (name, from) in artifacts {
        let bytes = place::read(from, PROGRAM_BYTES_MAX)?;
        sums.push_str(&line(&bytes, name));
        written.push(place::write(staged.join(name), &bytes, Existing::Kept)?);
        programs.extend(program(name, bytes));
    }
    let list = make_patches(wish, staged, &programs, &mut written)?;
    if !list.0.is_empty() {
        let list = list.render();
        sums.push_str(&line(list.as_bytes(), deltas::NAME));
        let path = staged.join(deltas::NAME);
        written.push(place::write(path, list.as_bytes(), Existing::Kept)?);
    }
    let path = place::write(staged.join(SUMS), sums.as_bytes(), Existing::Kept)?;
    written.push(path.clone());
    if let Some(signer) = signer {
        let signature = signer.sign((&path, sums.as_bytes()), None).await;
        let signature = signature.map_err(|error| unsigned(&path, error))?;
        let path = signature_of(&path);
        written.push(place::write(path, signature.as_bytes(), Existing::Kept)?);
    }
    Ok(written)
}

/// What this writes by itself and so does not take from a directory of artifacts.
fn is_ours(name: &str) -> bool {
    name == deltas::NAME
        || name.strip_prefix(SUMS).is_some_and(|rest| matches!(rest, "" | SIGNATURE))
}

fn line(bytes: &[u8], name: &str) -> String {
    format!("{}  {name}\n", sha256(bytes).hex())
}

fn sha256(bytes: &[u8]) -> Digest {
    let digest = Digest::new(Algorithm::Sha256, &Sha256::digest(bytes));
    digest.unwrap_or_else(|| unreachable!("SHA-256 has 32 bytes"))
}

/// An artifact that is one program, and that program.
struct Program {
    artifact: String,
    artifact_bytes: usize,
    bytes: Vec<u8>,
}

/// The program in an artifact, when it is one and nothing else. Archives have no patches: what is installed of them is
/// not their bytes.
fn program(name: &str, bytes: Vec<u8>) -> Option<Program> {
    let packing = [Packing::Gzip, Packing::Bzip2].into_iter();
    let packing = packing.into_iter().find(|packing| name.ends_with(packing.suffix()));
    let artifact_bytes = bytes.len();
    let program = match packing {
        None => bytes,
        Some(packing) => {
            let mut program = Vec::new();
            // What cannot be unpacked is published all the same: it is not ours to judge.
            packing.unpack(&*bytes, &mut program, PROGRAM_BYTES_MAX).ok()?;
            program
        }
    };
    let is_program = program.starts_with(b"\x7fELF") || program.starts_with(b"#!");
    is_program.then(|| Program { artifact: name.to_owned(), artifact_bytes, bytes: program })
}

/// One patch to make.
struct Pair<'a> {
    new: &'a Program,
    old: PathBuf,
    from: &'a Version,
    directory: &'a str,
}

/// Makes the patches that are worth having, and their list.
fn make_patches(
    wish: &Release<'_>,
    staged: &Path,
    programs: &[Program],
    written: &mut Vec<PathBuf>,
) -> Result<Deltas, PublishError> {
    let mut older = versions(wish.root)?;
    let new = plain(wish.version);
    older.retain(|(version, _)| *version < new);
    older.sort_by(|a, b| b.cmp(a));
    older.truncate(wish.patches);
    let mut pairs = Vec::new();
    for (from, directory) in &older {
        for new in programs {
            // Names may carry the version.
            let named = new.artifact.replace(wish.version.as_str(), from.as_str());
            let old = wish.root.join(directory).join(named);
            if old.is_file() {
                pairs.push(Pair { new, old, from, directory });
            }
        }
    }
    let made = patches::each(&pairs, |pair| {
        let name = pair.old.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(old) = program(&name, place::read(&pair.old, PROGRAM_BYTES_MAX)?) else {
            return Ok::<_, PublishError>(None);
        };
        let patch = zstd_delta::make(&old.bytes, &pair.new.bytes, LEVEL);
        let patch =
            patch.map_err(|source| PublishError::Zstd { path: pair.old.clone(), source })?;
        let worth = patch.len() * 100 <= pair.new.artifact_bytes * WORTH_PERCENT;
        Ok(worth.then(|| (sha256(&old.bytes), patch)))
    })?;
    let mut list = Deltas::default();
    for (pair, made) in pairs.iter().zip(made) {
        let Some((base, patch)) = made else { continue };
        let artifact = pair.new.artifact.clone();
        let relative = format!("{DELTAS}/{}/{artifact}.zst", pair.directory);
        written.push(place::write(staged.join(&relative), &patch, Existing::Kept)?);
        list.0.push(Listed {
            artifact,
            program: sha256(&pair.new.bytes),
            from: pair.from.clone(),
            base,
            patch: relative,
            size: patch.len() as u64,
            sha256: sha256(&patch),
        });
    }
    Ok(list)
}

/// Versions that are published, with the names of their directories.
fn versions(root: &Path) -> Result<Vec<(Version, String)>, PublishError> {
    let names = place::names(root)?.into_iter();
    let complete = |name: &String| root.join(name).join(SUMS).is_file();
    let read = |name: String| Some((plain(&name.parse().ok()?), name));
    Ok(names.filter(complete).filter_map(read).collect())
}

/// A version without the letter that some put before its number, as clients read it.
pub fn plain(version: &Version) -> Version {
    let number = version.as_str().strip_prefix('v').and_then(|text| text.parse().ok());
    number.filter(|number: &Version| !number.is_opaque()).unwrap_or_else(|| version.clone())
}

/// A version as the name of a directory.
fn part(version: &Version) -> Result<&str, PublishError> {
    let text = version.as_str();
    let odd = |c: char| c.is_control() || c.is_whitespace() || "/\\?#%".contains(c);
    if text.is_empty() || text.starts_with('.') || text.contains(odd) {
        let name = text.escape_debug().to_string();
        return Err(PublishError::Name { name, what: "the name of a directory" });
    }
    Ok(text)
}

fn unsigned(file: &Path, error: SignError) -> PublishError {
    PublishError::Sign { path: file.to_owned(), source: Box::new(error) }
}

fn signature_of(file: &Path) -> PathBuf {
    let mut signature = file.as_os_str().to_owned();
    signature.push(SIGNATURE);
    PathBuf::from(signature)
}
