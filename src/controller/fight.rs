//! Noticing that somebody else keeps changing back what is corrected.

use std::collections::{BTreeMap, VecDeque};

use jiff::{SignedDuration, Timestamp};

use crate::model::{Change, Digest, ResourceId};
use crate::plan::hold::Fight;

/// Most corrections remembered of one resource.
const TIMES_MAX: u32 = 100;

/// When corrections count as a fight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FightRule {
    /// So many times the same correction…
    pub times: u32,
    /// …within this time.
    pub within: SignedDuration,
}

impl Default for FightRule {
    fn default() -> Self {
        Self { times: 5, within: SignedDuration::from_hours(1) }
    }
}

/// The same thing put right again and again.
#[derive(Clone, Debug)]
struct Corrections {
    /// What was put right.
    what: Digest,
    /// What was wished of the resource.
    wish: Option<Digest>,
    /// One of the paths, for people.
    path: String,
    /// When, oldest first.
    at: VecDeque<Timestamp>,
}

/// Corrections of late.
#[derive(Clone, Debug, Default)]
pub struct Fights {
    by_resource: BTreeMap<ResourceId, Corrections>,
}

impl Fights {
    /// Notes that drift was corrected. Another drift of the same resource, or another wish, starts anew.
    pub fn corrected(&mut self, change: &Change, wish: Option<&Digest>, now: Timestamp) {
        let places: Vec<_> = change.drift.iter().map(|drift| (&drift.path, drift.kind)).collect();
        let what = Digest::of_json(&places);
        let path = change.drift.first().map(|drift| drift.path.clone()).unwrap_or_default();
        let wish = wish.cloned();
        let known = self.by_resource.remove(&change.resource);
        let known = known.filter(|known| (&known.what, &known.wish) == (&what, &wish));
        let mut known = known.unwrap_or(Corrections { what, wish, path, at: VecDeque::new() });
        known.at.push_back(now);
        while known.at.len() > TIMES_MAX as usize {
            known.at.pop_front();
        }
        self.by_resource.insert(change.resource.clone(), known);
    }

    /// Resources that are fought over, and what to say about it. It is over when nothing was corrected for
    /// as long as the rule says.
    pub fn going_on(&self, rule: FightRule, now: Timestamp) -> BTreeMap<ResourceId, Fight> {
        let fights = self.by_resource.iter().filter_map(|(id, known)| {
            let last = known.at.back()?;
            let times = usize::try_from(rule.times.clamp(1, TIMES_MAX)).ok()?;
            let first = known.at.len().checked_sub(times).and_then(|n| known.at.get(n))?;
            let fast = last.duration_since(*first) <= rule.within;
            let late = now.duration_since(*last) < rule.within;
            (fast && late).then(|| {
                let message = format!(
                    "{} was corrected {times} times within {:#} and is changed again each time; \
                     find out who does that, or `reconcile suspend {id}`; it is left as it is until {}",
                    known.path,
                    rule.within,
                    last.saturating_add(rule.within).unwrap_or(*last),
                );
                (id.clone(), Fight { wish: known.wish.clone(), message })
            })
        });
        fights.collect()
    }

    /// Forgets what was noted about some resources.
    pub fn forget(&mut self, mut which: impl FnMut(&ResourceId) -> bool) {
        self.by_resource.retain(|id, _| !which(id));
    }
}
