//! Images that are linked and that systemd has not merged; pure.
//!
//! After a start of the host nothing is merged unless a unit of systemd did it, and anybody may unmerge. Merging again is
//! due then, with everything that follows a switch: units of an image could not start before it was there.

use crate::model::{BlockedReason, Digest, Drift, DriftKind, Effect, ExtensionClass, HostFacts};
use crate::resource::decision::Problem;
use crate::resource::extension::ExtensionObserved;
use crate::resource::extension::observe::Pending;
use crate::resource::extension::plan::{Situation, names};
use crate::resource::extension::spec::{Activate, Upkeep};

impl Situation<'_> {
    /// What of a slot in use is not merged, although the wish is that a pass merges it.
    pub(super) fn not_merged(&self, slot: &str) -> Vec<(ExtensionClass, Drift)> {
        let in_use = self.observed.current.as_deref() == Some(slot);
        if !in_use || !self.is_looked_at() || self.spec.upkeep != Upkeep::Full {
            return Vec::new();
        }
        let pairs = self.spec.transfers.iter().zip(&self.observed.transfers);
        let left_out = pairs.filter_map(|(transfer, seen)| {
            let (class, image) = (transfer.class?, seen.images.get(slot)?);
            if self.observed.is_merged(class, &names(transfer, &image.file)) {
                return None;
            }
            let path = transfer.link.clone().unwrap_or_else(|| seen.directory.join(&image.file));
            let drift = Drift {
                path: path.to_string(),
                kind: DriftKind::NotMerged,
                expected: "merged".to_owned(),
                found: "not merged".to_owned(),
            };
            Some((class, drift))
        });
        left_out.collect()
    }

    /// What is to be merged again; an obstacle when systemd left it out before and nothing is another since.
    pub(super) fn merge_again(&self, slot: &str) -> Result<Vec<Drift>, Problem> {
        let owed = self
            .debts
            .iter()
            .any(|debt| matches!(debt.effect, Effect::Refresh { .. } | Effect::Confirm { .. }));
        let left_out = if owed { Vec::new() } else { self.not_merged(slot) };
        let refused = self.owned.and_then(|owned| owned.left_out.as_ref());
        let first = left_out.first().map(|(class, _)| class.program());
        let Some(program) = first.filter(|_| refused == Some(&self.observed.merge_key(self.facts)))
        else {
            return Ok(left_out.into_iter().map(|(_, drift)| drift).collect());
        };
        Err(Problem {
            reason: BlockedReason::Stalled,
            message: format!(
                "{slot} is linked, but {program} left it out since the host started; `{program} merge` says \
                 why; it is tried again when the image or the system is another, or after the next start"
            ),
            until: None,
        })
    }
}

/// What brings into effect what is in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InEffectBy {
    /// The next pass.
    NextPass,
    /// The next start of the host, or whoever has systemd look again before.
    NextStart,
}

impl ExtensionObserved {
    /// What brings into effect what is in place, where it is not yet.
    pub fn in_effect_by(&self, activate: Activate) -> Option<InEffectBy> {
        match (self.pending, activate) {
            (Pending::Nothing, _) => None,
            (Pending::NotMerged, Activate::Now) => Some(InEffectBy::NextPass),
            (Pending::NotMerged | Pending::Relinked, _) => Some(InEffectBy::NextStart),
        }
    }

    /// What decides whether systemd merges what is in use: as long as it is the same, a refresh ends the same.
    pub fn merge_key(&self, facts: &HostFacts) -> Digest {
        let images: Vec<_> = self.current.iter().flat_map(|slot| self.images(slot)).collect();
        Digest::of_json(&(&self.current, images, &self.os, &facts.started))
    }
}
