//! Shorter ways to a release than its whole artifact: its program here, or one patch away.

use camino::Utf8PathBuf;
use sha2::{Digest as _, Sha256};

use crate::format::deltas::{self, Deltas};
use crate::model::outcome::chain;
use crate::model::{
    Algorithm, Artifact, Delta, Digest, EntryKind, Evidence, Fallback, Level, Patch, Release,
    Subject, Version,
};
use crate::resolve::App;
use crate::resolve::sums::stated_digests;
use crate::resource::app::layout::Layout;
use crate::resource::app::spec::DeltaWish;
use crate::source;

/// Largest program that a patch is applied to, in bytes: applying takes memory, and some formats as much as that.
const BASE_BYTES_MAX: u64 = 512 << 20;

/// A whole program of this host.
struct Program {
    path: Utf8PathBuf,
    sha256: Digest,
    bytes: u64,
}

impl Program {
    fn makes(self, makes: &Digest, fallback: Fallback) -> Delta {
        Delta {
            base: self.path,
            base_digest: self.sha256,
            base_bytes: self.bytes,
            patch: None,
            makes: makes.clone(),
            fallback,
        }
    }
}

/// The shortest way to a release. What keeps a patch from being used is noted.
pub(super) async fn find(
    app: &App<'_>,
    release: &Release,
    (artifact, evidence): (&Artifact, &Evidence),
    notes: &mut Vec<String>,
) -> Option<Delta> {
    if evidence.of == Subject::Program {
        let makes = evidence.digests.iter().find(|d| d.algorithm() == Algorithm::Sha256)?;
        if let Some(program) = already_here(app, makes) {
            return Some(program.makes(makes, Fallback::Full));
        }
    }
    let DeltaWish::Used(fallback) = app.spec.delta else { return None };
    let (version, base) = in_use(app)?;
    if base.bytes > BASE_BYTES_MAX || version == release.version {
        return None;
    }
    let found = match evidence.of {
        Subject::Program => {
            let from = source::From { version: &version, sha256: &base.sha256 };
            let arch = app.facts().arch;
            let patch = source::patch(&app.spec.source, from, release, arch, app.reader).await;
            let makes = evidence.digests.first().cloned();
            patch.map(|patch| patch.zip(makes)).map_err(|error| chain(&error))
        }
        Subject::Artifact => listed(app, release, (artifact, evidence), &base.sha256).await,
    };
    match found {
        Ok(found) => {
            let (patch, makes) = found?;
            // Where it is known to save nothing, the whole is simpler.
            if patch.bytes.zip(artifact.size).is_some_and(|(patch, whole)| patch >= whole) {
                return None;
            }
            Some(Delta { patch: Some(patch), ..base.makes(&makes, fallback) })
        }
        Err(why) => {
            notes.push(format!("{} {} is taken whole: {why}", app.id, release.tag));
            None
        }
    }
}

/// The patch that the release's own list has, and what it makes. The checksums that vouch for the artifact must vouch
/// for the list; where something better than those is demanded, the artifact itself is.
async fn listed(
    app: &App<'_>,
    release: &Release,
    (artifact, evidence): (&Artifact, &Evidence),
    base: &Digest,
) -> Result<Option<(Patch, Digest)>, String> {
    let list = release.artifacts.iter().find(|artifact| artifact.name == deltas::NAME);
    let sha256 = evidence.digests.iter().any(|digest| digest.algorithm() == Algorithm::Sha256);
    let by_checksums = matches!(evidence.level, Level::Checksum | Level::Signature);
    let Some(list) = list.filter(|_| sha256 && by_checksums) else {
        return Ok(None);
    };
    let bytes = source::read_small(list, app.reader, deltas::BYTES_MAX as u64).await;
    let bytes = bytes.map_err(|error| chain(&error))?;
    let found = Digest::new(Algorithm::Sha256, &Sha256::digest(&bytes));
    let stated = stated_digests(app, release, list).await;
    if !stated.iter().any(|stated| Some(stated) == found.as_ref()) {
        return Err(format!("no checksum file vouches for {}", deltas::NAME));
    }
    let deltas = Deltas::parse(&bytes).map_err(|error| chain(&error))?;
    let Some(listed) = deltas.find(&artifact.name, base) else { return Ok(None) };
    let patch = source::listed_patch(list, listed).map_err(|error| chain(&error))?;
    Ok(Some((patch, listed.program.clone())))
}

/// The very program, under whatever version it is known or by whomever it was put there.
fn already_here(app: &App<'_>, sha256: &Digest) -> Option<Program> {
    let in_slots = app.observed.slots.keys().filter_map(|slot| program(app, slot));
    let in_place = app.observed.file.as_ref().and_then(|file| {
        let sha256 = Digest::from_hex(Algorithm::Sha256, file.sha256.as_deref()?)?;
        Some(Program { path: file.path.clone(), sha256, bytes: file.stat?.0 })
    });
    in_slots.chain(in_place).find(|program| program.sha256 == *sha256)
}

/// The release in use, when it is whole and one program.
fn in_use(app: &App<'_>) -> Option<(Version, Program)> {
    let slot = app.observed.current()?;
    let manifest = app.observed.slots.get(slot)?.manifest.as_ref()?;
    Some((manifest.version.clone(), program(app, slot)?))
}

/// The only program of a release that nobody changed.
fn program(app: &App<'_>, slot: &str) -> Option<Program> {
    let found = app.observed.slots.get(slot).filter(|found| found.drift.is_empty())?;
    let manifest = found.manifest.as_ref()?;
    let [binary] = manifest.binaries.as_slice() else { return None };
    let entry = manifest.entries.iter().find(|entry| entry.path == binary.path)?;
    let EntryKind::File { size, sha256, .. } = &entry.kind else { return None };
    let path = Layout::new(&app.spec.home).slot(slot).join(&binary.path);
    let sha256 = Digest::from_hex(Algorithm::Sha256, sha256)?;
    Some(Program { path, sha256, bytes: *size })
}
