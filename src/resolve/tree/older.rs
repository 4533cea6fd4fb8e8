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
        let floor = self.floor()?;
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

    /// The highest version that was in use.
    fn floor(&self) -> Option<Version> {
        let floor = self.question.ledger.trust.floors.get(self.id).cloned();
        let current = self.observed.current_head().map(|head| head.version.clone());
        floor.into_iter().chain(current.filter(|v| !v.is_opaque())).max()
    }

    /// Most signatures are of bytes and not of names, so who has the source in hand can give an old index the name of a newer
    /// version. One that was in use here as an older version stays that version, which the note says: it brings nothing
    /// new, and where another took its place since, it would take the tree back.
    pub(super) fn as_taken_before(&self, found: &mut Found<'_>) -> Result<Option<String>, Problem> {
        let TreeVersion::Constraint(want) = &self.spec.version else { return Ok(None) };
        let open = found.signed.is_some() && !found.version.is_opaque() && !found.is_bound();
        if !open || !want.is_floating() {
            return Ok(None);
        }
        let index = &found.file.sha256;
        let remembered = self.question.ledger.trust.taken_as(self.id, index);
        let heads = self.observed.slots().filter_map(|slot| self.observed.head(slot));
        let kept = heads.filter(|head| &head.index == index && head.evidence.signer.is_some());
        let known = remembered.chain(kept.map(|head| head.version.clone()));
        let known = known.filter(|version| !version.is_opaque()).max();
        let Some(known) = known.filter(|known| known < &found.version) else { return Ok(None) };
        let in_use = self.observed.current_head().is_some_and(|head| &head.index == index);
        let newer = self.floor().filter(|floor| floor > &known);
        if in_use || newer.is_none() && want.accepts(&known, Prereleases::Refused) {
            let name = &found.file.artifact.name;
            let note = format!("{name} is {known} by another name, and goes on to count as that");
            found.version = known;
            return Ok(Some(note));
        }
        let newer = newer.map(|newer| format!(", and {newer} was in use since"));
        Err(Problem {
            reason: BlockedReason::Downgrade,
            message: format!(
                "{} is {known} by another name{}; what was in use as an older version never becomes a newer one. To \
                 follow it all the same, write the exact version, {}",
                found.file.artifact.name,
                newer.unwrap_or_default(),
                found.version
            ),
            until: None,
        })
    }

    /// An index that was signed before the one in use and does not say to be older: somebody put an old one back who need
    /// not be its publisher.
    pub(super) fn signed_earlier(&self, found: &Found<'_>) -> Option<Problem> {
        let signed = found.signed.as_ref()?;
        let head = self.observed.current_head()?;
        let mine = head.published.filter(|_| head.evidence.signer.is_some())?;
        let ordered = !found.version.is_opaque() && !head.version.is_opaque();
        let admits = ordered && found.version < head.version;
        // Who signs names may sign what is older as a newer version, or two series by turns.
        let admits = admits || ordered && found.is_bound() && found.version > head.version;
        let other = self.spec.is_floating() && head.index != found.file.sha256 && !admits;
        let pin = if found.version.is_opaque() {
            format!("`version: {}`", found.file.sha256)
        } else {
            format!("the exact version, {}", found.version)
        };
        (other && signed.at < mine).then(|| Problem {
            reason: BlockedReason::Downgrade,
            message: format!(
                "{} was signed at {}, and the one in use later, at {mine}: an old one was put back. Its publisher goes \
                 back by signing it again; to follow it all the same, write {pin}",
                found.file.artifact.name, signed.at
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
