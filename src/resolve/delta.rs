//! Shorter ways to a release than its whole artifact: the program may be here already, or one patch away.

use camino::Utf8PathBuf;

use crate::model::outcome::chain;
use crate::model::{Algorithm, Delta, Digest, EntryKind, Evidence, Fallback, Release, Subject, Version};
use crate::resolve::App;
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

/// The shortest way to the program that `evidence` is of. What keeps a patch from being used is noted.
pub(super) async fn find(
    app: &App<'_>,
    release: &Release,
    evidence: &Evidence,
    notes: &mut Vec<String>,
) -> Option<Delta> {
    if evidence.of != Subject::Program {
        return None;
    }
    let makes = evidence.digests.iter().find(|d| d.algorithm() == Algorithm::Sha256)?;
    if let Some(program) = already_here(app, makes) {
        return Some(program.makes(makes, Fallback::Full));
    }
    let DeltaWish::Used(fallback) = app.spec.delta else { return None };
    let (version, base) = in_use(app)?;
    if base.bytes > BASE_BYTES_MAX || version == release.version {
        return None;
    }
    let from = source::From { version: &version, sha256: &base.sha256 };
    match source::patch(&app.spec.source, from, release, app.facts().arch, app.reader).await {
        Ok(patch) => Some(Delta { patch: Some(patch?), ..base.makes(makes, fallback) }),
        Err(error) => {
            notes.push(format!("{} is taken whole: {}", release.tag, chain(&error)));
            None
        }
    }
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
