//! One release of an extension as it can be had: its files, and what their bytes must be.

use crate::model::ledger::{AcceptedImage, Trust};
use crate::model::{Artifact, BlockedReason, Constraint, Digest, Evidence, Level, Subject};
use crate::resolve::extension::Extension;
use crate::resolve::listing::{Candidate, ListedFile};
use crate::resource::decision::{Problem, SlotState};
use crate::resource::extension::observe::ImageSeen;
use crate::resource::extension::spec::Transfer;
use crate::resource::extension::wanted::{FileOffer, WantedSet};

/// Who says what bytes must be, where the desired state does.
const PINNED_BY: &str = "the desired state";

impl Extension<'_> {
    /// How to get what is missing of a candidate.
    pub(super) fn offer(&self, candidate: &Candidate) -> Result<WantedSet, Problem> {
        let slot = candidate.version.as_str();
        let mut offers = Vec::new();
        let images = self.spec.transfers.iter().zip(self.observed.images(slot));
        for ((transfer, image), file) in images.zip(&candidate.files) {
            let state = self.state(slot, transfer, image);
            let made = self.made_of(slot, (transfer, image));
            let listed = file.sha256.as_ref();
            let other =
                made.zip(listed).is_some_and(|(image, listed)| image.made.digest != *listed);
            if !state.must_be_made() && !other {
                offers.push(None);
                continue;
            }
            let evidence = self.evidence(slot, file)?;
            if other && evidence.level < Level::Signature && self.is_bound(slot, &state) {
                return Err(self.other_bytes(slot, file));
            }
            let cached = evidence.digests.first().is_some_and(|digest| self.is_cached(digest));
            offers.push(Some(FileOffer {
                artifact: Artifact {
                    name: file.name.clone(),
                    urls: file.url.iter().cloned().collect(),
                    size: file.size,
                    digest: None,
                    content: None,
                },
                evidence,
                cached,
                fields: file.fields.clone(),
            }));
        }
        let (version, slot) = (candidate.version.clone(), slot.to_owned());
        Ok(WantedSet { version, slot, offers, rolled_back: None })
    }

    /// What the bytes of a file must be.
    fn evidence(&self, slot: &str, file: &ListedFile) -> Result<Evidence, Problem> {
        let of = Subject::Artifact;
        let Some(pinned) = &self.spec.verify.digest else {
            let lock_key = Trust::lock_key(self.id, slot, &file.name);
            let locked = self.question.ledger.trust.locks.get(&lock_key);
            let digests = file.sha256.as_ref().or(locked).into_iter().cloned().collect();
            let stated_by = file.stated_by.clone();
            return Ok(Evidence { level: file.level, digests, stated_by, signer: None, of });
        };
        if let Some(listed) = file.sha256.as_ref().filter(|listed| *listed != pinned) {
            return Err(Problem {
                reason: BlockedReason::Tampered,
                message: format!(
                    "{} lists {listed} for {}, but the desired state demands {pinned}",
                    file.stated_by, file.name
                ),
                until: None,
            });
        }
        let (digests, stated_by) = (vec![pinned.clone()], PINNED_BY.to_owned());
        Ok(Evidence { level: Level::Digest, digests, stated_by, signer: None, of })
    }

    /// Whether an image is made of the bytes that it was made of before, and of no others: one that is damaged or lost, too.
    /// More may be demanded now than was then, and what did not work here binds nobody.
    fn is_bound(&self, slot: &str, state: &SlotState) -> bool {
        let asked = match &self.spec.version {
            Constraint::Exact(exact) => self.spec.follows.is_some() && exact.as_str() == slot,
            _ => false,
        };
        let asked_again = asked && *state == SlotState::Missing;
        !asked_again && !matches!(state, SlotState::Outdated(_)) && self.works(slot)
    }

    fn other_bytes(&self, slot: &str, file: &ListedFile) -> Problem {
        let way_out = match &self.spec.follows {
            None => "write the new digest in the desired state: `verify: { digest: \"sha256:…\" }`"
                .to_owned(),
            Some(_) => format!("remove the image and run `reconcile sysupdate update {slot}`"),
        };
        Problem {
            reason: BlockedReason::Tampered,
            message: format!(
                "the source now lists other bytes for {} than those that were installed as {slot}, and no signature vouches \
                 for them; a published version must not change. If the publisher confirms it, {way_out}",
                file.name
            ),
            until: None,
        }
    }

    /// What an image was made of: as it says itself, else as is remembered of the release in use.
    fn made_of(
        &self,
        slot: &str,
        (transfer, image): (&Transfer, Option<&ImageSeen>),
    ) -> Option<AcceptedImage> {
        if let Some(manifest) = image.and_then(|image| image.manifest.as_deref()) {
            return Some(AcceptedImage::of(manifest));
        }
        let is_its = |image: &&AcceptedImage| {
            let file = image.path.strip_prefix(&transfer.directory).ok();
            let fields = file.and_then(|file| transfer.image(file.as_str()).fields);
            image.made.slot == slot && fields.is_some_and(|fields| fields.version == slot)
        };
        let known = self.question.ledger.trust.accepted_images.get(self.id)?;
        let known = known.iter().find(is_its)?;
        let is_as_wished = || known.made.recipe == self.spec.recipe();
        (self.owned().is_some() && is_as_wished()).then(|| known.clone())
    }

    /// What an image was made of, where the cache has it still.
    pub(super) fn cached_copy(
        &self,
        slot: &str,
        (transfer, image): (&Transfer, Option<&ImageSeen>),
    ) -> Option<FileOffer> {
        let AcceptedImage { path, made } = self.made_of(slot, (transfer, image))?;
        let file = match image {
            Some(image) => image.file.as_str(),
            None => path.strip_prefix(&transfer.directory).ok()?.as_str(),
        };
        let fields = transfer.image(file).fields?;
        let is_enough = self.spec.accepts(transfer, (&made.digest, made.evidence.level)).is_ok();
        (is_enough && self.is_cached(&made.digest)).then(|| {
            let (artifact, evidence) = made.from_cache();
            FileOffer { artifact, evidence, cached: true, fields }
        })
    }

    fn is_cached(&self, digest: &Digest) -> bool {
        self.question.cache.blob(digest).exists()
    }
}
