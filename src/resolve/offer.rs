//! One release as it can be had: the file for this host, what its bytes must be, who says so.

use crate::model::ledger::Trust;
use crate::model::outcome::chain;
use crate::model::slot::slot_name;
use crate::model::step::Binaries;
use crate::model::{
    Algorithm, Artifact, BlockedReason, Digest, Evidence, Level, Release, ResourceId, Subject,
};
use crate::resolve::asset::{Listing, Refusal, Target, Verdict, select};
use crate::resolve::policy::{fresh, recheck_after};
use crate::resolve::sums::{read_checksums, tampered};
use crate::resolve::{App, delta};
use crate::resource::app::AppSpec;
use crate::resource::app::wanted::{Offer, Wanted};
use crate::resource::decision::{Problem, SlotState};
use crate::source::spec::Origin;
use crate::trust::evidence::{self, EvidenceFacts, Transport, Unverified};

/// How much of an opaque release's digest tells it from another of the same tag.
const SLOT_DIGEST_DIGITS: usize = 12;

/// What one release came to.
#[derive(Debug)]
pub enum Offered {
    /// It can be had, with remarks.
    Wanted(Box<Wanted>, Vec<String>),
    /// It is fresh and not complete yet.
    Waiting(Problem),
    /// It cannot be had.
    Refused(Problem),
}

/// Finds the file of `release` for this host and the evidence for it: the next one of the same build when an earlier
/// one could not run here.
pub async fn offer(app: &App<'_>, release: &Release) -> Offered {
    let candidates = match candidates(app, release) {
        Ok(candidates) => candidates,
        Err(offered) => return offered,
    };
    for artifact in candidates {
        let lock_key = Trust::lock_key(app.id, &release.tag, &artifact.name);
        let evidence = match evidence_for(app, release, (artifact, &lock_key)).await {
            Ok(evidence) => evidence,
            Err(unverified) => return incomplete(app, release, refusal(&unverified)),
        };
        if !app.question.ledger.trust.is_unsuitable(&lock_key, &evidence.digests) {
            return offer_of(app, release, (artifact, evidence)).await;
        }
    }
    Offered::Refused(Problem {
        reason: BlockedReason::CannotRun,
        message: format!(
            "no build of {} can run on this host (`reconcile history` says what each lacked); choose another with \
             `asset`, or an older version; `reconcile resume {}` has them tried again",
            release.tag, app.id
        ),
        until: None,
    })
}

/// What the bytes of a file must be.
async fn evidence_for(
    app: &App<'_>,
    release: &Release,
    (artifact, lock_key): (&Artifact, &str),
) -> Result<Evidence, Unverified> {
    let stated = read_checksums(app, release, artifact).await;
    evidence::decide(
        &app.spec.verify,
        &EvidenceFacts {
            artifact: &artifact.name,
            arch: app.facts().arch,
            program: stated_program(app, artifact),
            forge: artifact.digest.as_ref().map(|digest| (digest, "the forge's API")),
            checksums: stated.fact(),
            locked: app.question.ledger.trust.locks.get(lock_key),
            transport: transport(artifact),
            floor: default_floor(&app.spec.source.origin),
        },
    )
}

async fn offer_of(
    app: &App<'_>,
    release: &Release,
    (artifact, evidence): (&Artifact, Evidence),
) -> Offered {
    let mut notes = Vec::new();
    if evidence.level <= Level::Tls {
        notes.push(format!("VERIFICATION IS OFF: {} is accepted unchecked", artifact.name));
    } else if evidence.level == Level::Lock && evidence.digests.is_empty() {
        notes.push(format!(
            "nobody vouches for {}: its digest is recorded at this first use",
            artifact.name
        ));
    }
    let sha256 = evidence.digests.iter().find(|d| d.algorithm() == Algorithm::Sha256).cloned();
    let slot = known_build(app, release, sha256.as_ref())
        .unwrap_or_else(|| slot_of(release, sha256.as_ref().or(evidence.digests.first())));
    let changed = changed_under_tag(app, release, &slot, &evidence.digests);
    let worked = app.has_worked(&slot);
    // Whoever writes a digest down takes the bytes that have it.
    let pinned = evidence.level == Level::Digest;
    if let Some(problem) = changed.as_ref().filter(|_| worked && !pinned) {
        return Offered::Refused(problem.clone());
    }
    let why = if worked { "is pinned" } else { "did not work" };
    let anew = changed.map(|_| format!("{} {why} and has other bytes now", release.tag));
    let state = app.state(&slot);
    let whole = evidence.of == Subject::Artifact;
    let cached = whole && sha256.as_ref().is_some_and(|digest| app.is_cached(digest));
    let there = matches!(state, SlotState::Whole | SlotState::Adopted) && anew.is_none();
    let delta = if there || cached {
        None
    } else {
        delta::find(app, release, (artifact, &evidence), &mut notes).await.map(Box::new)
    };
    let artifact = artifact.clone();
    let offer = (!there).then_some(Offer { artifact, evidence, cached, delta });
    Offered::Wanted(
        Box::new(Wanted {
            version: release.version.clone(),
            tag: release.tag.clone(),
            slot,
            offer,
            rolled_back: None,
            as_is: false,
            anew,
        }),
        notes,
    )
}

fn refusal(unverified: &Unverified) -> Problem {
    let reason = match unverified {
        Unverified::Contradiction(_) => BlockedReason::Tampered,
        _ => BlockedReason::Unverified,
    };
    Problem { reason, message: chain(unverified), until: None }
}

/// Names that the program may go by, likeliest first: listed programs, the app, the repository.
pub fn names<'a>(id: &'a ResourceId, spec: &'a AppSpec) -> Vec<&'a str> {
    let listed = match &spec.binaries {
        Binaries::Listed(listed) => listed.as_slice(),
        Binaries::Auto | Binaries::AnyExecutable => &[],
    };
    let repo = match &spec.source.origin {
        Origin::Github { repo, .. } => repo.rsplit_once('/').map(|(_, name)| name),
        Origin::Selfupdate { cmd, .. } => Some(cmd.as_str()),
        Origin::Choria { name, .. } => name.as_deref(),
        Origin::Directory { .. } => None,
    };
    let listed = listed.iter().map(|binary| binary.name.as_str());
    listed.chain([id.name.as_str()]).chain(repo).collect()
}

/// The files for this host, likeliest first.
fn candidates<'a>(app: &App<'_>, release: &'a Release) -> Result<Vec<&'a Artifact>, Offered> {
    if let [only] = release.artifacts.as_slice()
        && only.content.is_some()
    {
        return Ok(vec![only]);
    }
    let listing = Listing::of(release, names(app.id, app.spec));
    let selection = select(&listing, &app.spec.asset, &Target::of(app.facts()));
    let (index, runners_up) = match selection.verdict {
        Verdict::Chosen { index, runners_up } => (index, runners_up),
        Verdict::Refused(refusal) => {
            let reason = match &refusal {
                Refusal::Ambiguous { .. } => BlockedReason::Ambiguous,
                _ => BlockedReason::NoAsset,
            };
            let problem = Problem { reason, message: chain(&refusal), until: None };
            return Err(incomplete(app, release, problem));
        }
    };
    let candidates = std::iter::once(index).chain(runners_up);
    Ok(candidates.filter_map(|i| release.artifacts.get(i)).collect())
}

/// What the source's own document says about the program inside, and what that document is called.
fn stated_program<'a>(app: &App<'_>, artifact: &'a Artifact) -> Option<(&'a Digest, &'a str)> {
    let document = match &app.spec.source.origin {
        Origin::Choria { .. } => "release.json",
        _ => "the manifest",
    };
    artifact.content.as_ref().map(|digest| (digest, document))
}

/// Whether the first bytes come from who they seem to come from.
fn transport(artifact: &Artifact) -> Transport {
    let plain = artifact.urls.iter().any(|url| url.starts_with("http:"));
    if plain { Transport::Plain } else { Transport::Authenticated }
}

/// A fresh release may still be uploading: wait, with a time to look again, instead of failing.
fn incomplete(app: &App<'_>, release: &Release, problem: Problem) -> Offered {
    let may_come = matches!(problem.reason, BlockedReason::NoAsset | BlockedReason::Unverified);
    if !may_come || !fresh(release, app.now()) {
        return Offered::Refused(problem);
    }
    let until = recheck_after(release, app.now()).and_then(|wait| app.now().checked_add(wait).ok());
    Offered::Waiting(Problem {
        reason: BlockedReason::Waiting,
        message: format!(
            "{} was published recently and is not complete: {}",
            release.tag, problem.message
        ),
        until,
    })
}

/// The weakest evidence accepted where the desired state does not say. A forge at least authenticates
/// who uploads; a directory of files vouches for nothing.
fn default_floor(origin: &Origin) -> Level {
    match origin {
        Origin::Github { .. } => Level::Lock,
        Origin::Directory { .. } | Origin::Choria { .. } | Origin::Selfupdate { .. } => {
            Level::Checksum
        }
    }
}

/// A version that has an order never changes its bytes; one that has none (`nightly`) does, and each of
/// its builds gets a directory of its own.
fn slot_of(release: &Release, digest: Option<&Digest>) -> String {
    let slot = slot_name(&release.tag);
    match digest.filter(|_| release.version.is_opaque()) {
        Some(digest) => {
            let hex: String = digest.hex().chars().take(SLOT_DIGEST_DIGITS).collect();
            format!("{slot}@{hex}")
        }
        None => slot,
    }
}

/// The directory that was made of these very bytes before anybody stated their digest.
fn known_build(app: &App<'_>, release: &Release, sha256: Option<&Digest>) -> Option<String> {
    let made = app.observed.slots.iter().find(|(_, slot)| {
        let manifest = slot.manifest.as_ref();
        manifest.is_some_and(|m| m.tag == release.tag && Some(&m.digest) == sha256)
    });
    made.map(|(name, _)| name.clone())
}

/// The same tag with other bytes than those that were installed from it.
fn changed_under_tag(
    app: &App<'_>,
    release: &Release,
    slot: &str,
    digests: &[Digest],
) -> Option<Problem> {
    let made = app.made_of(slot)?;
    let comparable = |d: &&Digest| made.digests().any(|known| known.algorithm() == d.algorithm());
    let known = |d: &&Digest| made.digests().any(|known| known == *d);
    let now = digests.iter().filter(comparable).find(|d| !known(d))?;
    // One that is lost is not made anew of another file of that version either.
    let lost = !app.observed.slots.contains_key(slot);
    let same_file =
        release.artifacts.iter().any(|a| a.name == made.artifact || a.content.is_some());
    ((same_file || lost) && made.recipe == app.spec.recipe)
        .then(|| tampered(&format!("the bytes of {} from {} to {now}", release.tag, made.digest)))
}
