//! 3. What could be installed: asks sources and settles on one release for each resource.
//!
//! A host that has what an exact version asks for is not asked about again; `latest` and constraints cost
//! one conditional request. Choosing ([`policy`], [`asset`]) is pure.

pub mod asset;
mod decided;
mod delta;
pub mod explain;
pub mod extension;
mod listing;
mod signed;
pub mod offer;
pub mod policy;
pub mod product;
pub mod stay;
mod sums;
mod tree;

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8Path;
use futures_util::StreamExt;
use jiff::Timestamp;

use crate::desired::{Declared, DesiredState};
use crate::fetch::Reader;
use crate::model::cached::Cache;
use crate::model::ledger::{Ledger, Owned};
use crate::model::outcome::chain;
use crate::model::slot::slot_name;
use crate::model::{BlockedReason, Constraint, HostFacts, Release, ResourceId, Version};
use crate::observe::Observed;
use crate::resolve::decided::suspended;
use crate::resolve::extension::Extension;
use crate::resolve::offer::{Offered, names, offer};
use crate::resource::app::spec::Downgrade;
use crate::resource::app::wanted::{Wanted, slot_state};
use crate::resource::app::{AppObserved, AppSpec};
use crate::resource::decision::{ADOPTED, Problem, Resolution, SlotState};
use crate::resource::{Found, Resolved, Spec};
use crate::source::spec::Origin;
use crate::source::{self, Class, SourceError};

/// Sources asked at once; the reader bounds this further for each host.
const ASKED_AT_ONCE: usize = 256;

/// Everything resolving depends on besides the sources.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The wish.
    pub desired: &'a DesiredState,
    /// The host.
    pub observed: &'a Observed,
    /// What is remembered.
    pub ledger: &'a Ledger,
    /// Only these.
    pub only: Option<&'a BTreeSet<ResourceId>>,
    /// Where `/` of the host is on this machine.
    pub root: &'a Utf8Path,
    /// Where artifacts are cached.
    pub cache: &'a Cache,
    /// The time of the pass.
    pub now: Timestamp,
}

/// What is looked at: what was asked for and could be observed.
fn looked_at<'a>(
    question: &Question<'a>,
) -> impl Iterator<Item = (&'a ResourceId, &'a Declared, &'a Found)> {
    let Question { desired, observed, only, .. } = *question;
    desired.resources.iter().filter_map(move |(id, declared)| {
        let wanted = only.is_none_or(|only| only.contains(id));
        let found = observed.resources.get(id)?.as_ref().ok()?;
        wanted.then_some((id, declared, found))
    })
}

/// What each resource has in use, to be kept whole while it waits for anything else. Nobody is asked.
pub fn in_use(question: &Question<'_>, reader: &Reader) -> BTreeMap<ResourceId, Resolved> {
    let resolved = looked_at(question).filter_map(|(id, declared, found)| {
        let resolved = match (&declared.spec, found) {
            (Spec::App(spec), Found::App(observed)) => {
                let app = App { question, id, spec, observed, reader };
                Resolved::App(Resolution { wanted: app.in_use(), ..Resolution::default() })
            }
            (Spec::Extension(spec), Found::Extension(observed)) => {
                let extension = Extension { question, id, spec, observed, reader };
                let wanted = extension.in_use();
                Resolved::Extension(Resolution { wanted, ..Resolution::default() })
            }
            (Spec::Tree(spec), Found::Tree(observed)) => {
                let tree = tree::Tree::new(question, id, (spec, observed), reader);
                Resolved::Tree(Resolution { wanted: tree.in_use(), ..Resolution::default() })
            }
            _ => return None,
        };
        Some((id.clone(), resolved))
    });
    resolved.collect()
}

/// Settles on one release for each resource.
pub async fn resolve(question: &Question<'_>, reader: &Reader) -> BTreeMap<ResourceId, Resolved> {
    futures_util::stream::iter(looked_at(question))
        .map(|(id, declared, found)| async move {
            let reader = &reader.every(declared.pace.every);
            let resolved = match (&declared.spec, found) {
                (Spec::App(spec), Found::App(observed)) => {
                    let app = App { question, id, spec, observed, reader };
                    Some(Resolved::App(app.resolve().await))
                }
                (Spec::Extension(spec), Found::Extension(observed)) => {
                    let extension = Extension { question, id, spec, observed, reader };
                    Some(Resolved::Extension(extension.resolve().await))
                }
                (Spec::Tree(spec), Found::Tree(observed)) => {
                    let tree = tree::Tree::new(question, id, (spec, observed), reader);
                    Some(Resolved::Tree(tree.resolve().await))
                }
                // What is found is of the kind of the wish.
                _ => None,
            };
            resolved.map(|resolved| (id.clone(), resolved))
        })
        .buffer_unordered(ASKED_AT_ONCE)
        .filter_map(async |resolved| resolved)
        .collect()
        .await
}

/// One app while it is resolved.
#[derive(Clone, Copy, Debug)]
pub struct App<'a> {
    question: &'a Question<'a>,
    id: &'a ResourceId,
    spec: &'a AppSpec,
    observed: &'a AppObserved,
    reader: &'a Reader,
}

/// What a release that could be chosen comes to.
enum Verdict {
    /// It is to be on.
    Taken(Box<Wanted>, Vec<String>),
    /// It was here and did not work.
    KnownBad(Problem),
    /// Not all of it can be had yet.
    Waiting(Problem),
    /// Like all that follow, it would take the app back.
    Older(Problem),
    /// Nothing else is to be taken instead.
    Refused(Problem),
}

impl App<'_> {
    async fn resolve(&self) -> Resolution<Wanted> {
        if let Some(problem) = suspended(self.question, self.id, self.spec.suspend.as_ref()) {
            return Resolution { problem: Some(problem), ..Resolution::default() };
        }
        if let Some(resolution) = self.rolled_back().await {
            return resolution;
        }
        let mut quarantined = None;
        if let Some(wanted) = self.already_there() {
            quarantined = self.quarantined(&wanted);
            if quarantined.is_none() {
                return Resolution { wanted: Some(wanted), ..Resolution::default() };
            }
        }
        // What did not work may have other bytes by now; whatever goes wrong there, it is still what did not work.
        match self.ask().await {
            Ok(releases) => self.choose(&releases, quarantined).await,
            Err(problem) => self.stay(quarantined.unwrap_or(problem)),
        }
    }

    /// What the source offers of this product.
    async fn ask(&self) -> Result<Vec<Release>, Problem> {
        let wish = &self.spec.version;
        let arch = self.facts().arch;
        let releases = source::releases(&self.spec.source, wish, arch, self.reader).await;
        self.of_this_product(releases.map_err(|error| problem_of(&error))?)
    }

    async fn choose(
        &self,
        releases: &[Release],
        quarantined: Option<Problem>,
    ) -> Resolution<Wanted> {
        match policy::choose(releases, &self.spec.version, self.now()) {
            Ok(choices) => self.settle(&choices, quarantined).await,
            Err(no_choice) => self.stay(quarantined.unwrap_or_else(|| no_choice.into())),
        }
    }

    fn of_this_product(&self, releases: Vec<Release>) -> Result<Vec<Release>, Problem> {
        match &self.spec.source.origin {
            Origin::Directory { pattern: None, .. } => {
                product::only_wanted(releases, &names(self.id, self.spec))
            }
            _ => Ok(releases),
        }
    }

    /// Takes the best choice that can be had; waits for a better one rather than to go back.
    async fn settle(
        &self,
        choices: &[&Release],
        mut quarantined: Option<Problem>,
    ) -> Resolution<Wanted> {
        let mut waiting: Option<Problem> = None;
        for release in choices {
            match self.judge(release).await {
                Verdict::Taken(wanted, notes) => {
                    let mut resolution = taken(*wanted, waiting);
                    resolution.notes.extend(notes);
                    resolution.problem = quarantined;
                    return resolution;
                }
                Verdict::KnownBad(problem) => {
                    quarantined.get_or_insert(problem);
                }
                Verdict::Waiting(problem) => {
                    waiting.get_or_insert(problem);
                }
                Verdict::Older(problem) => {
                    return self.stay(quarantined.or(waiting).unwrap_or(problem));
                }
                Verdict::Refused(problem) => return self.stay(quarantined.unwrap_or(problem)),
            }
        }
        match quarantined.or(waiting) {
            Some(problem) => self.stay(problem),
            None => Resolution::default(),
        }
    }

    /// What one choice comes to.
    async fn judge(&self, release: &Release) -> Verdict {
        if let Some(problem) = self.goes_back(&release.version) {
            return Verdict::Older(problem);
        }
        let mut known_bad = None;
        if let Some(there) = self.installed(release) {
            if let Some(problem) = self.republished(release).await {
                return Verdict::Refused(problem);
            }
            known_bad = self.quarantined(&there);
            if known_bad.is_none() {
                return Verdict::Taken(Box::new(there), Vec::new());
            }
        }
        // What did not work may have other bytes by now.
        match (offer(self, release).await, known_bad) {
            (Offered::Wanted(wanted, notes), _) => match self.quarantined(&wanted) {
                Some(problem) => Verdict::KnownBad(problem),
                None => Verdict::Taken(wanted, notes),
            },
            (_, Some(problem)) => Verdict::KnownBad(problem),
            (Offered::Waiting(problem), None) => Verdict::Waiting(problem),
            (Offered::Refused(problem), None) => Verdict::Refused(problem),
        }
    }

    /// Why a release is not used again: it was, and it did not work.
    fn quarantined(&self, wanted: &Wanted) -> Option<Problem> {
        let digests = match &wanted.offer {
            Some(offer) => offer.evidence.digests.clone(),
            None => self.digests_of(&wanted.slot),
        };
        let trust = &self.question.ledger.trust;
        let found = trust.quarantine_of(self.id, &wanted.tag, &digests)?;
        Some(Problem {
            reason: BlockedReason::Quarantined,
            message: format!(
                "{}: {}. {}",
                self.what_became_of(wanted, found.since),
                found.reason,
                self.what_helps(wanted)
            ),
            until: None,
        })
    }

    fn what_became_of(&self, wanted: &Wanted, since: Timestamp) -> String {
        let (tag, since) = (&wanted.tag, since.round(jiff::Unit::Second).unwrap_or(since));
        if self.observed.current() == Some(&wanted.slot) {
            format!("{tag} failed its check at {since} and is in use still")
        } else {
            format!("{tag} failed its check and was switched back at {since}")
        }
    }

    /// What an operator can do about a release that failed.
    fn what_helps(&self, wanted: &Wanted) -> String {
        let (id, in_use) = (self.id, self.observed.current());
        if in_use != Some(&wanted.slot) {
            return format!(
                "It is not used again until its bytes change; `reconcile resume {id}` lifts that"
            );
        }
        let others = self.observed.slots.keys().any(|slot| in_use != Some(slot.as_str()));
        let back = format!("`reconcile rollback {id}` goes back to the release before, ");
        let back = if others { back.as_str() } else { "" };
        format!("{back}`reconcile resume {id}` has it looked at again")
    }

    /// Whether a release was in use without turning out not to work: its bytes then never change.
    pub(super) fn has_worked(&self, slot: &str) -> bool {
        let trust = &self.question.ledger.trust;
        let made = self.made_of(slot);
        let failed = made.as_ref().and_then(|made| {
            trust.quarantine_of(self.id, &made.tag, std::slice::from_ref(&made.digest))
        });
        let owned = self.owned();
        let was_in_use = owned.is_some_and(|owned| owned.activated.iter().any(|s| s == slot));
        failed.is_none() && (was_in_use || owned.is_none())
    }

    fn now(&self) -> Timestamp {
        self.question.now
    }

    fn facts(&self) -> &HostFacts {
        &self.question.observed.facts
    }

    fn owned(&self) -> Option<&Owned> {
        self.question.ledger.inventory.at(self.id, &self.spec.home)
    }

    fn state(&self, slot: &str) -> SlotState {
        slot_state(self.spec, self.observed, self.owned(), slot, self.facts().arch.name())
    }

    /// The installed release that an exact version asks for: nothing needs to be asked.
    fn already_there(&self) -> Option<Wanted> {
        let Constraint::Exact(version) = &self.spec.version.want else { return None };
        // The bytes of `nightly` move under their tag.
        if version.is_opaque() {
            return None;
        }
        let by_tag = self.spec.version.tag.tags(version);
        let by_tag = by_tag.iter().map(|tag| (slot_name(tag), tag.clone()));
        let by_manifest = self.observed.slots.iter().filter_map(|(slot, found)| {
            let manifest = found.manifest.as_ref().filter(|m| &m.version == version)?;
            // A copy that somebody made under another name is not the release.
            let own_place = slot_name(&manifest.tag) == *slot;
            own_place.then(|| (slot.clone(), manifest.tag.clone()))
        });
        let mut known = by_manifest.chain(by_tag);
        known.find_map(|(slot, tag)| {
            let offer = match self.state(&slot) {
                _ if !self.is_vouched_for(&slot) => return None,
                SlotState::Whole | SlotState::Adopted => None,
                SlotState::Damaged => Some(self.cached_copy(&slot)?),
                _ => return None,
            };
            Some(Wanted {
                version: version.clone(),
                tag,
                slot,
                offer,
                rolled_back: None,
                as_is: false,
                anew: None,
            })
        })
    }

    /// A release whose directory is there and whole, and whose bytes the source has not changed since.
    fn installed(&self, release: &Release) -> Option<Wanted> {
        if release.version.is_opaque() {
            return None;
        }
        let manifest = |slot: &str| self.observed.slots.get(slot)?.manifest.as_ref();
        // What was recognised as this release when it was there before us keeps its place where it is in use again.
        let adopted = self.observed.current().filter(|current| *current == ADOPTED);
        let is_it =
            |adopted: &&str| manifest(adopted).is_some_and(|m| m.version == release.version);
        let slot = adopted.filter(is_it).map_or_else(|| slot_name(&release.tag), str::to_owned);
        let there = matches!(self.state(&slot), SlotState::Whole | SlotState::Adopted);
        if !there || !self.is_vouched_for(&slot) {
            return None;
        }
        let manifest = manifest(&slot);
        let stated = manifest.and_then(|m| release.artifacts.iter().find(|a| a.name == m.artifact));
        let stated = stated.and_then(|artifact| artifact.digest.as_ref());
        let program = release.artifacts.iter().find_map(|artifact| artifact.content.as_ref());
        let stated = stated.or(program);
        if manifest
            .zip(stated)
            .is_some_and(|(m, d)| d.algorithm() == m.digest.algorithm() && d != &m.digest)
        {
            return None;
        }
        Some(Wanted {
            version: release.version.clone(),
            tag: release.tag.clone(),
            slot,
            offer: None,
            rolled_back: None,
            as_is: false,
            anew: None,
        })
    }

    /// `latest` never goes below what was in use, unless that is not wished any more or going back is
    /// allowed.
    fn goes_back(&self, to: &Version) -> Option<Problem> {
        let wish = &self.spec.version;
        if !wish.want.is_floating() || wish.downgrade == Downgrade::Allowed || to.is_opaque() {
            return None;
        }
        let floor = self.question.ledger.trust.floors.get(self.id);
        let floor = floor.cloned().into_iter().chain(self.working_version()).max()?;
        if to >= &floor || !wish.want.accepts(&floor, wish.prereleases) {
            return None;
        }
        Some(Problem {
            reason: BlockedReason::Downgrade,
            message: format!(
                "the source offers {to} at most, but {floor} was in use already; it was withdrawn, or \
                 the source is not to be trusted. To follow it, write `version: {{ want: \"{}\", \
                 allow_downgrade: true }}` or the exact version",
                wish.want
            ),
            until: None,
        })
    }
}

/// With an older release taken while a newer one is incomplete, that is only a note.
fn taken(wanted: Wanted, waiting: Option<Problem>) -> Resolution<Wanted> {
    let notes = waiting.into_iter().map(|problem| problem.message).collect();
    Resolution { wanted: Some(wanted), problem: None, notes }
}

fn problem_of(error: &SourceError) -> Problem {
    let reason = match error.class() {
        Class::RateLimited => BlockedReason::RateLimited,
        Class::NotFound => BlockedReason::NoVersion,
        Class::Unreachable | Class::Denied | Class::Malformed => BlockedReason::SourceUnavailable,
    };
    let until = match error {
        SourceError::RateLimited { until, .. } => Some(*until),
        _ => None,
    };
    Problem { reason, message: chain(error), until }
}

impl From<policy::NoChoice> for Problem {
    fn from(no_choice: policy::NoChoice) -> Self {
        let (reason, until) = match &no_choice {
            policy::NoChoice::TooYoung { at, .. } => (BlockedReason::TooYoung, Some(*at)),
            _ => (BlockedReason::NoVersion, None),
        };
        Self { reason, message: no_choice.to_string(), until }
    }
}
