//! What the checksum files of a release state, as far as they are to be believed.

use crate::format::checksums::{self, Lookup};
use crate::model::outcome::chain;
use crate::model::slot::slot_name;
use crate::model::{Artifact, BlockedReason, Digest, Evidence, Level, Release, Subject};
use crate::resolve::App;
use crate::resolve::asset::{PatternError, Target, fill, regex};
use crate::resolve::signed::Signatures;
use crate::resource::decision::Problem;
use crate::source;
use crate::source::spec::{DirectoryUrl, Origin};
use crate::trust::evidence::ChecksumFact;
use crate::trust::policy::Checksums;

/// Checksum files read for one artifact: publishers have one, or one for each algorithm.
const CHECKSUM_FILES_MAX: usize = 8;

impl App<'_> {
    /// Why an installed release is not what a directory on this machine has under its name now. What a pass does
    /// not fetch it does not hash, so the checksum file or the size must tell.
    pub(super) async fn republished(&self, release: &Release) -> Option<Problem> {
        let Origin::Directory { url: DirectoryUrl::Local(_), .. } = self.spec.source.origin else {
            return None;
        };
        let slot = slot_name(&release.tag);
        if !self.has_worked(&slot) {
            return None;
        }
        let manifest = self.observed.slots.get(&slot)?.manifest.as_ref()?;
        let named = |artifact: &&Artifact| artifact.name == manifest.artifact;
        let artifact = release.artifacts.iter().find(named)?;
        let Evidence { level, digests, of, .. } = &manifest.evidence;
        let stated = stated_digests(self, release, artifact).await;
        let comparable =
            |d: &&Digest| digests.iter().any(|known| known.algorithm() == d.algorithm());
        let mut other = stated.iter().filter(comparable).filter(|d| !digests.contains(d));
        let what = match (other.next(), artifact.size) {
            (Some(digest), _) if *of == Subject::Artifact => format!("to {digest}"),
            (_, Some(size)) if *level <= Level::Lock && size != manifest.size => {
                format!("from {} to {size} bytes", manifest.size)
            }
            _ => return None,
        };
        let what = format!("{} of {} {what}", artifact.name, release.tag);
        Some(tampered(&what))
    }
}

/// The source changed what was installed from it.
pub(super) fn tampered(what: &str) -> Problem {
    Problem {
        reason: BlockedReason::Tampered,
        message: format!(
            "the source changed {what}; a published version must not change. If the publisher confirms it, write the new \
             digest in the desired state: `verify: {{ digest: \"sha256:…\" }}`"
        ),
        until: None,
    }
}

/// What became of looking for the release's checksum file.
#[derive(Debug)]
pub(super) enum Stated {
    Absent,
    Read { file: String, lookup: Lookup, signer: Option<String> },
    Unusable { file: String, why: String },
    Unsigned { why: String },
}

impl Stated {
    pub(super) fn fact(&self) -> ChecksumFact<'_> {
        match self {
            Self::Absent => ChecksumFact::Absent,
            Self::Read { file, lookup, signer } => {
                ChecksumFact::Read { file, lookup, signer: signer.as_deref() }
            }
            Self::Unusable { file, why } => ChecksumFact::Unusable { file, why: why.clone() },
            Self::Unsigned { why } => ChecksumFact::Unsigned { why: why.clone() },
        }
    }
}

/// The digests that the release's checksum files state of one of its files; none where they say nothing clear.
pub(super) async fn stated_digests(
    app: &App<'_>,
    release: &Release,
    file: &Artifact,
) -> Vec<Digest> {
    match read_checksums(app, release, file).await {
        Stated::Read { lookup: Lookup::Found(digests), .. } => digests,
        _ => Vec::new(),
    }
}

/// Reads checksum files of the release until one says something about the artifact. Where a keyring is named, only
/// what one of its keys signed says anything.
pub(super) async fn read_checksums(
    app: &App<'_>,
    release: &Release,
    artifact: &Artifact,
) -> Stated {
    let signatures = match Signatures::of(app, release) {
        Ok(signatures) => signatures,
        Err(why) => return Stated::Unsigned { why },
    };
    let mut stated = match &signatures {
        Some(_) => Stated::Unsigned { why: "no checksum file was found".to_owned() },
        None => Stated::Absent,
    };
    let names: Vec<&str> = release.artifacts.iter().map(|a| a.name.as_str()).collect();
    let files = match checksum_files(app, release, artifact, &names) {
        Ok(files) => files,
        Err(error) => {
            return Stated::Unusable { file: "checksums".to_owned(), why: chain(&error) };
        }
    };
    for name in files.into_iter().take(CHECKSUM_FILES_MAX) {
        let Some(file) = release.artifacts.iter().find(|a| a.name == name) else { continue };
        let (lookup, signer) = match look_up(app, file, &artifact.name, signatures.as_ref()).await {
            Ok(found) => found,
            Err(other) => {
                stated = other;
                continue;
            }
        };
        let listed = !matches!(lookup, Lookup::NotListed);
        if listed || !matches!(stated, Stated::Read { .. } | Stated::Unusable { .. }) {
            stated = Stated::Read { file: name.to_owned(), lookup, signer };
        }
        if listed {
            break;
        }
    }
    stated
}

/// What one checksum file says about an artifact, and who signed it where that is demanded.
async fn look_up(
    app: &App<'_>,
    file: &Artifact,
    artifact: &str,
    signatures: Option<&Signatures<'_>>,
) -> Result<(Lookup, Option<String>), Stated> {
    let unusable = |why: String| Stated::Unusable { file: file.name.clone(), why };
    let mut bytes = read(app, file).await.map_err(unusable)?;
    let signer = match signatures {
        None => None,
        Some(signatures) => {
            let signer = signatures.signer(file, &mut bytes).await;
            Some(signer.map_err(|why| Stated::Unsigned { why })?)
        }
    };
    let parsed = checksums::parse(&file.name, &bytes).map_err(|error| unusable(chain(&error)))?;
    Ok((parsed.lookup(artifact), signer))
}

/// The bytes of a checksum file.
pub(super) async fn read(app: &App<'_>, file: &Artifact) -> Result<Vec<u8>, String> {
    let limit = checksums::FILE_BYTES_MAX as u64;
    source::read_small(file, app.reader, limit).await.map_err(|error| chain(&error))
}

/// The release's checksum files worth reading, likeliest first.
fn checksum_files<'a>(
    app: &App<'_>,
    release: &Release,
    artifact: &Artifact,
    names: &[&'a str],
) -> Result<Vec<&'a str>, PatternError> {
    Ok(match &app.spec.verify.checksums {
        Checksums::None => Vec::new(),
        Checksums::Auto => checksums::candidates(&artifact.name, names),
        Checksums::Named(template) => {
            let template = template.replace("{asset}", &artifact.name);
            let version = (release.version.as_str(), release.tag.as_str());
            let filled = fill(&template, version, Target::of(app.facts()))?;
            names.iter().filter(|n| filled.iter().any(|f| f == *n)).copied().collect()
        }
        Checksums::Matching(pattern) => {
            let regex = regex(pattern)?;
            names.iter().find(|name| regex.is_match(name)).copied().into_iter().collect()
        }
    })
}
