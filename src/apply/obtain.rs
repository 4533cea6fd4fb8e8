//! What a release is made from: its artifact, or a program that is here and a patch.

use std::path::PathBuf;

use camino::Utf8PathBuf;

use crate::apply::stage::{Bench, Stager};
use crate::fetch::error::Fault;
use crate::fetch::{BlobRequest, FetchError, download};
use crate::model::ledger::Trust;
use crate::model::outcome::{Failure, FailureClass, FetchedArtifact, chain};
use crate::model::{
    Algorithm, Artifact, Blob, Change, Delta, Digest, Evidence, Fallback, StepKind, Subject,
};
use crate::trust::{Verified, verify};
use crate::unpack::PATCH_BYTES_MAX;

/// What a step asks for.
pub(super) struct Wish {
    pub(super) artifact: Artifact,
    pub(super) evidence: Evidence,
    pub(super) size_max: u64,
}

impl Wish {
    /// SHA-256 of what the evidence is of.
    fn stated(&self) -> Option<&Digest> {
        self.evidence.digests.iter().find(|digest| digest.algorithm() == Algorithm::Sha256)
    }
}

/// What was got for it.
pub(super) struct Got {
    pub(super) wish: Wish,
    pub(super) way: Way,
}

/// What a release is made from.
pub(super) enum Way {
    /// Its artifact.
    Whole(Verified<Blob>),
    /// A program of this host, and a patch where one is needed: both on this machine.
    Here { delta: Box<Delta>, base: Utf8PathBuf, patch: Option<PathBuf> },
}

impl Way {
    /// What may be done when it does not lead there.
    pub(super) fn fallback(&self) -> Option<Fallback> {
        match self {
            Self::Whole(_) => None,
            Self::Here { delta, .. } => Some(delta.fallback),
        }
    }
}

/// Why no release was made.
pub(super) enum NotMade {
    /// The shorter way did not lead there; the whole artifact may.
    Shortcut(Fallback, Failure),
    /// It cannot be made.
    Release(Failure),
}

impl NotMade {
    pub(super) fn into_failure(self) -> Failure {
        match self {
            Self::Shortcut(_, failure) | Self::Release(failure) => failure,
        }
    }
}

impl Stager<'_> {
    /// Gets what a release is to be made from, the shorter way first.
    pub(super) async fn fetch(
        &self,
        change: &Change,
        wish: Wish,
        delta: Option<&Delta>,
        bench: &mut Bench,
    ) -> Result<Got, Failure> {
        let way = match delta {
            None => Way::Whole(self.whole(change, &wish, wish.size_max, bench).await?),
            Some(delta) => match self.patch_for(delta, wish.size_max, bench).await {
                Ok(patch) => {
                    note_fetched(change, &wish, Some(&delta.makes), bench);
                    let base = self.host.real(&delta.base);
                    Way::Here { delta: Box::new(delta.clone()), base, patch }
                }
                Err(failure) => {
                    self.fall_back(change, &wish, (delta.fallback, failure), bench).await?
                }
            },
        };
        Ok(Got { wish, way })
    }

    /// Gets the whole artifact after all, as far as that is allowed.
    pub(super) async fn fall_back(
        &self,
        change: &Change,
        wish: &Wish,
        (fallback, failure): (Fallback, Failure),
        bench: &mut Bench,
    ) -> Result<Way, Failure> {
        let size_max = match fallback {
            Fallback::Full => wish.size_max,
            Fallback::Limit(bytes) => wish.size_max.min(bytes),
            Fallback::Fail => {
                let message = format!(
                    "{}; the whole artifact is not fetched because `delta.fallback` is `fail`",
                    failure.message
                );
                return Err(Failure { message, ..failure });
            }
        };
        bench.staged.notes.push(format!(
            "{} was fetched whole, the shorter way was of no use: {}",
            wish.artifact.name, failure.message
        ));
        self.whole(change, wish, size_max, bench).await.map(Way::Whole)
    }

    /// The patch as a file of this machine; `None` where none is needed.
    async fn patch_for(
        &self,
        delta: &Delta,
        size_max: u64,
        bench: &mut Bench,
    ) -> Result<Option<PathBuf>, Failure> {
        let Some(patch) = &delta.patch else { return Ok(None) };
        let artifact = &patch.artifact;
        let expect: Vec<Digest> = artifact.digest.iter().cloned().collect();
        let request = BlobRequest {
            urls: &artifact.urls,
            name: &artifact.name,
            size: artifact.size,
            expect: &expect,
            size_max: size_max.min(PATCH_BYTES_MAX),
        };
        let blob = self.download(&request).await?;
        bench.staged.fetched_bytes += blob.size;
        Ok(Some(blob.path))
    }

    async fn whole(
        &self,
        change: &Change,
        wish: &Wish,
        size_max: u64,
        bench: &mut Bench,
    ) -> Result<Verified<Blob>, Failure> {
        let Wish { artifact, evidence, .. } = wish;
        let of_artifact = evidence.of == Subject::Artifact;
        let request = BlobRequest {
            urls: &artifact.urls,
            name: &artifact.name,
            size: artifact.size,
            expect: if of_artifact { &evidence.digests } else { &[] },
            size_max,
        };
        let blob = self.download(&request).await?;
        let cached = change.fetch_bytes == Some(0) && of_artifact;
        bench.staged.fetched_bytes += if cached { 0 } else { blob.size };
        let sha256 = blob.digests.iter().find(|d| d.algorithm() == Algorithm::Sha256);
        note_fetched(change, wish, sha256, bench);
        verify(blob, evidence).map_err(|e| Failure {
            step: StepKind::Fetch,
            class: FailureClass::Verification,
            message: chain(&e),
        })
    }

    async fn download(&self, request: &BlobRequest<'_>) -> Result<Blob, Failure> {
        let fail = |class, message| Failure { step: StepKind::Fetch, class, message };
        let cache = self.host.cache();
        self.host
            .make_dirs_unsynced(&self.host.places().cache)
            .map_err(|e| fail(FailureClass::Transient, chain(&e)))?;
        download(self.client, request, &cache, self.progress)
            .await
            .map_err(|e| fail(class_of(&e), chain(&e)))
    }
}

/// Records what is accepted by: what is stated, else what was found.
fn note_fetched(change: &Change, wish: &Wish, found: Option<&Digest>, bench: &mut Bench) {
    let tag = change.after.as_ref().map_or("", |after| after.tag.as_str());
    bench.staged.fetched = wish.stated().or(found).map(|digest| FetchedArtifact {
        lock_key: Trust::lock_key(&change.resource, tag, &wish.artifact.name),
        digest: digest.clone(),
    });
}

/// Whether a later pass may try again by itself, which is more than whether the same request may be made again at once:
/// space comes free, a line gets faster, a certificate is renewed.
fn class_of(error: &FetchError) -> FailureClass {
    match (error, error.fault()) {
        (FetchError::WrongBytes { .. }, _) => FailureClass::Verification,
        (FetchError::Everywhere { failures, .. }, _) => {
            let passes = failures.iter().any(|e| class_of(e) == FailureClass::Transient);
            if passes { FailureClass::Transient } else { FailureClass::Permanent }
        }
        (
            FetchError::Cache { .. }
            | FetchError::Local { .. }
            | FetchError::GivenUp { .. }
            | FetchError::TooSlow { .. }
            | FetchError::Trickling { .. }
            | FetchError::Tls { .. }
            | FetchError::RateLimited { .. },
            _,
        )
        | (_, Fault::Transient(_)) => FailureClass::Transient,
        (_, Fault::Permanent) => FailureClass::Permanent,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn what_may_pass_by_itself_is_tried_again() {
        let cache = || FetchError::Cache {
            action: "write",
            path: "/cache".into(),
            source: io::ErrorKind::StorageFull.into(),
        };
        let refused = || FetchError::BadUrl { url: "x".to_owned() };
        let all = |failures| FetchError::Everywhere { name: "x".to_owned(), failures };
        assert_eq!(class_of(&cache()), FailureClass::Transient);
        assert_eq!(class_of(&refused()), FailureClass::Permanent);
        assert_eq!(class_of(&all(vec![refused(), cache()])), FailureClass::Transient);
        assert_eq!(class_of(&all(vec![refused()])), FailureClass::Permanent);
    }
}
