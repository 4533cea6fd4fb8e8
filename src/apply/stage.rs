//! Fetching, verifying and unpacking: touches nothing that is in use, several changes at once.

use std::cell::{Cell, OnceCell};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use futures_util::StreamExt as _;
use jiff::Timestamp;
use tokio::sync::{OwnedRwLockReadGuard, RwLock, Semaphore, SemaphorePermit};

use crate::apply::obtain::{Got, NotMade, Way, Wish};
use crate::apply::rounds::Staging;
use crate::apply::trial::attempt;
use crate::apply::{Stop, tree};
use crate::assemble::Changed;
use crate::fetch::{Client, Progress};
use crate::host::{Change as Host, facts};
use crate::model::difference::Seen;
use crate::model::manifest::{MANIFEST_FORMAT, MANIFEST_NAME};
use crate::model::outcome::{End, Failure, FailureClass, FetchedArtifact, chain};
use crate::model::step::{ReleaseHead, UnpackRules};
use crate::model::{Artifact, Blob, Change, Evidence, HostFacts, Manifest, Step, StepKind};
use crate::trust::Verified;
use crate::unpack::{Here, UnpackError, Unpacked, can_run, patch, unpack};

/// Works staged at once, of one change or of several: enough to hide latency, few enough to keep memory and disk bounded.
const STAGED_AT_ONCE: usize = 4;

/// Works of one change staged at once: a set whose images come slowly leaves others a turn.
const STAGED_OF_ONE_CHANGE: usize = STAGED_AT_ONCE - 1;

/// Archives unpacked at once: each uses two cores.
const UNPACKED_AT_ONCE: usize = 1;

/// How long staging may take beside what its bytes need.
const STAGED_WITHIN: Duration = Duration::from_mins(10);

/// Slowest line on which a change is waited for, in bytes a second.
const RATE_MIN: u64 = 64 << 10;

/// Bytes for which there is time when nobody says how many there are.
const UNSTATED_BYTES: u64 = 256 << 20;

/// How long a change of so many bytes may take.
fn patience(fetch_bytes: Option<u64>) -> Duration {
    STAGED_WITHIN + Duration::from_secs(fetch_bytes.unwrap_or(UNSTATED_BYTES) / RATE_MIN)
}

/// What staging one change came to, also when it failed.
#[derive(Debug)]
pub(super) struct Staged {
    /// How it ended.
    pub end: End,
    /// Bytes transferred.
    pub fetched_bytes: u64,
    /// The artifact that was accepted.
    pub fetched: Option<FetchedArtifact>,
    /// Things an operator should know.
    pub notes: Vec<String>,
    /// Paths of a tree that are another than before.
    pub changed: Option<Changed>,
}

impl Staged {
    pub(super) fn ended(end: End) -> Self {
        Self { end, fetched_bytes: 0, fetched: None, notes: Vec::new(), changed: None }
    }

    /// Two works of one change: the first failure is the one to tell, with what it is about.
    fn and(mut self, other: Self) -> Self {
        if self.end == End::Done {
            self.end = other.end;
            self.fetched = other.fetched.or(self.fetched);
        }
        self.fetched_bytes += other.fetched_bytes;
        self.notes.extend(other.notes);
        self.changed = self.changed.or(other.changed);
        self
    }
}

/// The works of a change, which need nothing of one another: each begins with what it fetches.
fn works(steps: &[Step]) -> impl Iterator<Item = &[Step]> {
    let works = steps.chunk_by(|_, next| !matches!(next, Step::Fetch { .. }));
    works.filter(|work| work.iter().any(Step::is_staging))
}

/// Everything staging needs.
pub struct Stager<'a> {
    pub(super) host: &'a Host,
    pub(super) client: &'a Client,
    pub(super) progress: &'a dyn Progress,
    pub(super) facts: HostFacts,
    /// The host's C library, looked at when the first release is unpacked.
    glibc: OnceCell<Option<(u32, u32)>>,
    pub(super) now: Timestamp,
    pub(super) unpacking: Arc<Semaphore>,
    fetching: Semaphore,
    /// Shared by every thread that writes below the host. A change that is given up leaves its thread behind, which
    /// knows of nothing: only when nobody shares this does nobody write any more.
    writing: Arc<RwLock<()>>,
    /// What looking at trees came to in this pass.
    pub(super) seen: Vec<Arc<Seen>>,
}

impl fmt::Debug for Stager<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stager").field("host", &self.host).finish_non_exhaustive()
    }
}

/// One change while it is staged.
pub(super) struct Bench {
    /// Where the release will be promoted to.
    pub(super) slot: Option<Utf8PathBuf>,
    got: Option<Got>,
    pub(super) staged: Staged,
}

impl Bench {
    /// The artifact that was fetched as it is; `None` when nothing was.
    pub(super) fn take_whole(&mut self) -> Option<(Verified<Blob>, Artifact, Evidence)> {
        match self.got.take()? {
            Got { wish, way: Way::Whole(blob) } => Some((blob, wish.artifact, wish.evidence)),
            Got { way: Way::Here { .. }, .. } => None,
        }
    }
}

impl<'a> Stager<'a> {
    /// A stager for one pass.
    pub fn new(
        host: &'a Host,
        client: &'a Client,
        progress: &'a dyn Progress,
        facts: &HostFacts,
        now: Timestamp,
    ) -> Self {
        let unpacking = Arc::new(Semaphore::new(UNPACKED_AT_ONCE));
        Self {
            host,
            client,
            progress,
            facts: facts.clone(),
            glibc: OnceCell::new(),
            now,
            unpacking,
            fetching: Semaphore::new(STAGED_AT_ONCE),
            writing: Arc::default(),
            seen: Vec::new(),
        }
    }

    /// What a thread keeps for as long as it writes below the host.
    pub(super) async fn writes(&self) -> OwnedRwLockReadGuard<()> {
        Arc::clone(&self.writing).read_owned().await
    }

    /// Stages every change that has something to stage, and yields what came of each as soon as that is known, with its
    /// place in the list: a resource may have one change for later and one for now.
    pub(super) fn stage_each<'s>(&'s self, changes: &'s [Change], stop: &'s Stop) -> Staging<'s> {
        let to_stage = changes.iter().enumerate();
        let to_stage = to_stage.filter(|(_, c)| c.steps.iter().any(Step::is_staging));
        let staging = to_stage.map(move |(place, change)| async move {
            let staged = async {
                let turn = self.fetching.acquire().await;
                self.stage_in_time(change, turn.ok()).await
            };
            let staged = tokio::select! {
                biased;
                () = stop.wait() => Staged::ended(End::Interrupted),
                staged = staged => staged,
            };
            (place, staged)
        });
        futures_util::stream::iter(staging).buffer_unordered(STAGED_AT_ONCE).boxed_local()
    }

    /// Returns once nobody writes below the host any more. What was given up goes on in its thread, and the next pass
    /// may begin at once: it must not meet it. A program that is to end takes its threads along.
    pub(super) async fn let_go(&self, stop: &Stop) {
        tokio::select! {
            biased;
            () = stop.wait_for_end() => {}
            _ = self.writing.write() => {}
        }
    }

    /// Stages a change that has its first turn, but not for ever: what takes longer is left to the next pass, which goes
    /// on where this one stopped, so that one slow source never holds up what others have brought.
    async fn stage_in_time(&self, change: &Change, turn: Option<SemaphorePermit<'_>>) -> Staged {
        let patience = patience(change.fetch_bytes);
        tokio::time::timeout(patience, self.stage(change, turn)).await.unwrap_or_else(|_| {
            let message = format!(
                "it was not complete after {} s; the next pass goes on from there",
                patience.as_secs()
            );
            let class = FailureClass::Transient;
            Staged::ended(End::Failed(Failure { step: StepKind::Fetch, class, message }))
        })
    }

    async fn stage(&self, change: &Change, turn: Option<SemaphorePermit<'_>>) -> Staged {
        let slot = change.steps.iter().find_map(|step| match step {
            Step::Promote { to, .. } => Some(to.clone()),
            _ => None,
        });
        let (slot, failed, first) = (&slot, &Cell::new(false), &Cell::new(turn));
        let works = works(&change.steps).map(|steps| async move {
            let _turn = match first.take() {
                Some(turn) => Some(turn),
                None => self.fetching.acquire().await.ok(),
            };
            // What is done already is of no use without this; what is not even begun need not be.
            if failed.get() {
                return None;
            }
            let staged = Staged::ended(End::Done);
            let mut bench = Bench { slot: slot.clone(), got: None, staged };
            if let Err(failure) = self.perform((change, steps), &mut bench).await {
                failed.set(true);
                bench.staged.end = End::Failed(failure);
            }
            if tree::makes_way_back(change, steps) {
                // What the change is trusted and judged by are its own bytes.
                bench.staged.fetched = None;
            }
            Some(bench.staged)
        });
        let staged: Vec<_> = futures_util::stream::iter(works)
            .buffered(STAGED_OF_ONE_CHANGE)
            .filter_map(std::future::ready)
            .collect()
            .await;
        staged.into_iter().reduce(Staged::and).unwrap_or_else(|| Staged::ended(End::Done))
    }

    async fn perform(
        &self,
        (change, steps): (&Change, &[Step]),
        bench: &mut Bench,
    ) -> Result<(), Failure> {
        for step in steps {
            match step {
                Step::Fetch { artifact, evidence, size_max, delta } => {
                    let wish = Wish {
                        artifact: artifact.clone(),
                        evidence: evidence.clone(),
                        size_max: *size_max,
                    };
                    bench.got = Some(self.fetch(change, wish, delta.as_deref(), bench).await?);
                }
                Step::Unpack { into, rules, release } => {
                    let unpacked = self.unpack(change, (into, rules, release), bench).await;
                    if let Err(failure) = unpacked {
                        // Nothing half-done is left behind; what cannot be removed is swept later.
                        let _ = self.host.remove(into);
                        return Err(failure);
                    }
                }
                Step::Place { into, rules, image } => {
                    if let Err(failure) = self.place(into, rules, image, bench).await {
                        let _ = self.host.remove(into);
                        return Err(failure);
                    }
                }
                Step::Try { release, wished, trials } => {
                    if let Err(failure) = attempt(self.host, (release, wished), trials).await {
                        if bench.slot.as_ref().is_some_and(|slot| slot != release) {
                            let _ = self.host.remove(release);
                        }
                        return Err(failure);
                    }
                }
                Step::Assemble { into, rules, release } => {
                    let assembled = self.assemble((into, rules, release), bench).await;
                    if let Err(failure) = assembled {
                        // Nothing half-done is left behind; what cannot be removed is swept later.
                        let _ = self.host.remove(into);
                        return Err(failure);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    async fn unpack(
        &self,
        change: &Change,
        (into, rules, release): (&Utf8Path, &UnpackRules, &ReleaseHead),
        bench: &mut Bench,
    ) -> Result<(), Failure> {
        let fail = |class, message| Failure { step: StepKind::Unpack, class, message };
        let io = |e: std::io::Error| fail(FailureClass::Transient, chain(&e));
        let Some(got) = bench.got.take() else {
            return Err(fail(FailureClass::Permanent, "nothing was fetched".to_owned()));
        };
        // What is made here becomes durable together with the release, by one sync.
        self.host.make_dirs_unsynced(into.parent().unwrap_or(into)).map_err(io)?;
        if let Some(slot) = &bench.slot {
            self.host.make_dirs_unsynced(slot.parent().unwrap_or(slot)).map_err(io)?;
        }
        self.host.remove(into).map_err(io)?;
        let Got { wish, way } = got;
        let (unpacked, size) = match self.work(&wish, way, into, rules).await {
            Err(NotMade::Shortcut(fallback, failure)) => {
                let whole = self.fall_back(change, &wish, (fallback, failure), bench).await?;
                self.work(&wish, whole, into, rules).await
            }
            made => made,
        }
        .map_err(NotMade::into_failure)?;
        let Wish { artifact, evidence, .. } = wish;
        let facts = HostFacts { glibc: self.glibc(), ..self.facts.clone() };
        can_run(&unpacked.programs, &facts)
            .map_err(|e| fail(FailureClass::Unsuitable, chain(&e)))?;
        let digest = bench.staged.fetched.as_ref().map(|f| f.digest.clone());
        let manifest = Manifest {
            format: MANIFEST_FORMAT,
            resource: release.resource.to_string(),
            version: release.version.clone(),
            tag: release.tag.clone(),
            recipe: release.recipe.clone(),
            artifact: artifact.name,
            digest: digest.unwrap_or_else(|| release.recipe.clone()),
            size,
            evidence,
            staged_at: self.now,
            binaries: unpacked.binaries,
            entries: unpacked.entries,
        };
        bench.staged.notes.extend(unpacked.notes);
        let json = serde_json::to_vec(&manifest).map_err(|e| io(e.into()))?;
        self.host.write_unsynced(&into.join(MANIFEST_NAME), &json).map_err(io)
    }

    /// Makes the files of a release, and says how large what they were made from is.
    async fn work(
        &self,
        wish: &Wish,
        way: Way,
        into: &Utf8Path,
        rules: &UnpackRules,
    ) -> Result<(Unpacked, u64), NotMade> {
        let permit = self.unpacking.acquire().await;
        let writes = self.writes().await;
        let fallback = way.fallback();
        let real = self.host.real(into);
        let (name, place, rules) = (wish.artifact.name.clone(), real.clone(), rules.clone());
        let made_at = self.now.as_second();
        let worked = tokio::task::spawn_blocking(move || {
            let _writes = writes;
            match way {
                Way::Whole(blob) => {
                    unpack(&blob, &name, place.as_std_path(), &rules).map(|u| (u, blob.get().size))
                }
                Way::Here { delta, base, patch: file } => {
                    let format = delta.patch.as_ref().map(|patch| patch.format);
                    let here = Here {
                        base: base.as_std_path(),
                        base_digest: &delta.base_digest,
                        patch: file.as_deref().zip(format),
                        makes: &delta.makes,
                        made_at,
                    };
                    patch(&here, place.as_std_path(), &rules).map(|u| (u, delta.base_bytes))
                }
            }
        })
        .await;
        drop(permit);
        let fail = |class, message| Failure { step: StepKind::Unpack, class, message };
        let worked = worked.map_err(|e| {
            NotMade::Release(fail(FailureClass::Permanent, format!("unpacking died: {e}")))
        })?;
        worked.map_err(|e| match (&e, fallback) {
            (UnpackError::Stage { .. }, _) => {
                NotMade::Release(fail(FailureClass::Transient, format!("{real}: {}", chain(&e))))
            }
            (UnpackError::Program { .. }, None) => {
                NotMade::Release(fail(FailureClass::Verification, chain(&e)))
            }
            (_, None) => NotMade::Release(fail(FailureClass::Permanent, chain(&e))),
            (_, Some(fallback)) => {
                NotMade::Shortcut(fallback, fail(FailureClass::Permanent, chain(&e)))
            }
        })
    }

    fn glibc(&self) -> Option<(u32, u32)> {
        *self.glibc.get_or_init(|| facts::glibc(self.host))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn change_is_waited_for_as_long_as_its_bytes_take_on_a_slow_line_and_no_longer() {
        let minutes = |bytes| patience(bytes).as_secs() / 60;
        assert_eq!(minutes(Some(0)), 10);
        assert_eq!(minutes(Some(64 << 20)), 10 + 17);
        assert_eq!(minutes(None), minutes(Some(UNSTATED_BYTES)));
    }
}
