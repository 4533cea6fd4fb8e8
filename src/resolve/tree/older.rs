//! Whether an index would take a tree back.

use jiff::{SignedDuration, Timestamp};

use super::{Found, Tree};
use crate::model::{BlockedReason, Prereleases, Version};
use crate::resource::decision::Problem;
use crate::resource::tree::layout::base;
use crate::resource::tree::spec::TreeVersion;

impl Tree<'_> {
    /// A floating version never goes below what was in use.
    pub(super) fn below_floor(&self, to: &Version) -> Option<Problem> {
        if !self.spec.is_floating() || to.is_opaque() {
            return None;
        }
        let floor = self.question.ledger.trust.floors.get(self.id).cloned();
        let current = self.observed.current_head().map(|head| head.version.clone());
        let floor = floor.into_iter().chain(current.filter(|v| !v.is_opaque())).max()?;
        let accepted = match &self.spec.version {
            TreeVersion::Constraint(want) => want.accepts(&floor, Prereleases::Refused),
            TreeVersion::Index(_) => false,
        };
        (to < &floor && accepted).then(|| Problem {
            reason: BlockedReason::Downgrade,
            message: format!(
                "the source offers {to} at most, but {floor} was in use already; to go back, write the \
                 exact version"
            ),
            until: None,
        })
    }

    /// An index under a name without a version that was signed before the one in use: somebody put an old one back who
    /// need not be its publisher.
    pub(super) fn signed_earlier(&self, found: &Found<'_>) -> Option<Problem> {
        let signed = found.signed.as_ref()?;
        let head = self.observed.current_head()?;
        let mine = head.published.filter(|_| head.evidence.signer.is_some())?;
        let other = self.spec.is_floating() && found.version.is_opaque();
        let other = other && head.index != found.file.sha256;
        (other && signed.at < mine).then(|| Problem {
            reason: BlockedReason::Downgrade,
            message: format!(
                "{} was signed at {}, and the one in use later, at {mine}: an old one was put back. Its publisher goes \
                 back by signing it again; to follow it all the same, write `version: {}`",
                found.file.artifact.name, signed.at, found.file.sha256
            ),
            until: None,
        })
    }

    /// An offline copy is used to go forward only: it is older than what is installed when that was seen
    /// before, has a higher version, or was published later.
    pub(super) fn goes_back(&self, found: &Found<'_>) -> Option<Problem> {
        if !self.spec.is_floating() {
            return None;
        }
        if let Some(problem) = self.below_floor(&found.version) {
            return Some(problem);
        }
        let head = self.observed.current_head()?;
        if head.index == found.file.sha256 || !found.version.is_opaque() {
            return None;
        }
        let digest = found.file.sha256.hex();
        let start = digest.get(..12).unwrap_or_default();
        let mut activated = self.owned().into_iter().flat_map(|owned| &owned.activated);
        let known = activated.any(|slot| base(slot) == start);
        // Media formatted with FAT round times to two seconds; signatures have their own.
        let both_signed = found.signed.is_some() && head.evidence.signer.is_some();
        let grain = SignedDuration::from_secs(if both_signed { 0 } else { 2 });
        let newer = |(mine, theirs): (Timestamp, Timestamp)| theirs.duration_since(mine) > grain;
        let newer = head.published.zip(found.file.published).is_some_and(newer);
        (known || !newer).then(|| Problem {
            reason: BlockedReason::Downgrade,
            message: format!(
                "{} is not newer than what is installed, and an offline copy is never used to go back",
                found.file.artifact.name
            ),
            until: None,
        })
    }
}
