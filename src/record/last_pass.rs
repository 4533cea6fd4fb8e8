//! What the last pass came to: rebuilt by every pass, so it is written without waiting for the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use camino::Utf8PathBuf;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::desired::DesiredState;
use crate::host::{Change as Host, Look};
use crate::model::followed::Followed;
use crate::model::outcome::{End, Outcome};
use crate::model::{Blocked, Digest, ResourceId};
use crate::record::commit::Pass;
use crate::resource::Spec;

/// Far above what 10,000 resources need.
const LAST_PASS_BYTES_MAX: u64 = 16 << 20;

/// How old what is remembered of a pass may become while passes come to the same, again and again: one that looks each
/// second need not write each second.
pub const SAME_FOR: SignedDuration = SignedDuration::from_mins(1);

/// The message of a change that was not begun or not finished because the pass was asked to stop.
pub const INTERRUPTED: &str = "interrupted";

/// The message of a change that was staged when its maintenance window closed.
pub const WINDOW_CLOSED: &str = "its maintenance window closed before it came into use";

const NAME: &str = "last-pass.json";

/// What the last pass came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastPass {
    /// When it was.
    pub at: Timestamp,
    /// The last one over everything after which everything wished was there.
    pub converged_at: Option<Timestamp>,
    /// Digest of the desired state.
    pub desired: String,
    /// Wishes that were not carried out.
    pub blocked: Vec<Blocked>,
    /// Messages of changes that failed.
    pub failed: BTreeMap<ResourceId, String>,
    /// The wishes that were blocked or failed, by their digests: of another wish that says nothing.
    #[serde(default)]
    pub wishes: BTreeMap<ResourceId, Digest>,
    /// Where the wish was read.
    #[serde(default)]
    pub followed: Followed,
    /// What an operator resumed since, and no pass has looked at.
    #[serde(default)]
    pub resumed: BTreeSet<ResourceId>,
}

impl LastPass {
    /// What is known after a pass. One over some resources only says nothing about the others: what was known of
    /// them stays.
    pub fn after(
        earlier: Option<&Self>,
        pass: &Pass<'_>,
        outcome: &Outcome,
        only: Option<&BTreeSet<ResourceId>>,
    ) -> Self {
        let failed = outcome.results.iter().filter_map(|result| {
            let message = match (&result.end, result.end.failure()) {
                (End::Done, _) => return None,
                (_, Some(failure)) => failure.message.clone(),
                (End::Deferred, _) => WINDOW_CLOSED.to_owned(),
                (_, None) => INTERRUPTED.to_owned(),
            };
            Some((result.resource.clone(), message))
        });
        let mut last = Self {
            at: pass.now,
            converged_at: None,
            desired: pass.desired.digest.to_string(),
            blocked: pass.plan.blocked.clone(),
            failed: failed.collect(),
            wishes: BTreeMap::new(),
            followed: followed(pass.desired),
            resumed: BTreeSet::new(),
        };
        let stuck = last.blocked.iter().map(|blocked| &blocked.resource).chain(last.failed.keys());
        let wish = |id: &ResourceId| {
            let declared = pass.desired.resources.get(id)?;
            Some((id.clone(), Digest::of_json(&declared.spec)))
        };
        last.wishes = stuck.filter_map(wish).collect();
        // What stays in effect meanwhile is not what is wished.
        let trouble = pass.desired.revision.as_ref().and_then(|r| r.trouble.as_ref());
        let is_wish = pass.desired.refused.is_none() && trouble.is_none();
        let converged = is_wish && outcome.converged(pass.plan) && only.is_none();
        let earlier_at = earlier.and_then(|earlier| earlier.converged_at);
        last.converged_at = if converged { Some(pass.now) } else { earlier_at };
        if let Some((only, earlier)) = only.zip(earlier) {
            let blocked = earlier.blocked.iter().filter(|b| !only.contains(&b.resource));
            last.blocked.extend(blocked.cloned());
            let failed = earlier.failed.iter().filter(|(id, _)| !only.contains(*id));
            last.failed.extend(failed.map(|(id, message)| (id.clone(), message.clone())));
            let wishes = earlier.wishes.iter().filter(|(id, _)| !only.contains(*id));
            last.wishes.extend(wishes.map(|(id, digest)| (id.clone(), digest.clone())));
            last.resumed.extend(earlier.resumed.difference(only).cloned());
        }
        last
    }

    /// Notes that an operator resumed a resource: what kept it back then says nothing any more.
    pub fn resume(&mut self, id: &ResourceId) {
        self.blocked.retain(|blocked| blocked.resource != *id);
        self.failed.remove(id);
        self.resumed.insert(id.clone());
    }

    /// Whether what is remembered of a resource is about this wish.
    pub fn is_about(&self, id: &ResourceId, spec: &Spec) -> bool {
        self.wishes.get(id).is_none_or(|known| *known == Digest::of_json(spec))
    }

    /// Whether another pass came to the same not long before.
    fn says_as_much(&self, earlier: &Self) -> bool {
        let again = |now: Timestamp, before: Timestamp| {
            before <= now && now.duration_since(before) < SAME_FOR
        };
        let converged = match (self.converged_at, earlier.converged_at) {
            (Some(now), Some(before)) => again(now, before),
            (None, None) => true,
            _ => false,
        };
        let what = (&self.desired, &self.blocked, &self.failed);
        let aside = (&self.followed, &self.resumed);
        converged
            && again(self.at, earlier.at)
            && what == (&earlier.desired, &earlier.blocked, &earlier.failed)
            && aside == (&earlier.followed, &earlier.resumed)
    }
}

/// Where a wish was read.
fn followed(desired: &DesiredState) -> Followed {
    let repository = desired.repository.clone();
    let paths = desired.roots.iter().filter(|_| repository.is_none()).map(Utf8PathBuf::from);
    Followed { desired: paths.collect(), repository }
}

/// Remembers a pass, unless what is remembered says as much.
pub fn save(host: &Host, last: &LastPass, earlier: Option<&LastPass>) -> io::Result<()> {
    if earlier.is_some_and(|earlier| last.says_as_much(earlier)) {
        return Ok(());
    }
    let bytes = serde_json::to_vec(last).map_err(io::Error::other)?;
    host.write_without_sync(host.places().state.join(NAME), &bytes)
}

/// The last pass; `None` when there was none or its record is damaged.
pub fn load(host: &Look) -> Option<LastPass> {
    // However it is damaged, the next pass writes it anew.
    let bytes = host.read(host.places().state.join(NAME), LAST_PASS_BYTES_MAX).ok().flatten();
    serde_json::from_slice(&bytes?).ok()
}
