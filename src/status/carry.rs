//! What stays from one look to the next: since when conditions have held.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::status::{Condition, HostStatus};

/// Takes over since when each condition has its status from the look before; what is new began `now`, or at a
/// time that nobody noted.
pub fn carry(before: Option<&HostStatus>, status: &mut HostStatus, now: Option<Timestamp>) {
    let nothing = Vec::new();
    let host = before.map_or(&nothing, |before| &before.conditions);
    carry_each(host, &mut status.conditions, now);
    let earlier: BTreeMap<_, _> = before
        .into_iter()
        .flat_map(|before| &before.resources)
        .map(|resource| (&resource.id, &resource.conditions))
        .collect();
    for resource in &mut status.resources {
        let earlier = earlier.get(&resource.id).copied().unwrap_or(&nothing);
        carry_each(earlier, &mut resource.conditions, now);
    }
}

fn carry_each(before: &[Condition], after: &mut [Condition], now: Option<Timestamp>) {
    for condition in after {
        let same = |c: &&Condition| c.kind == condition.kind && c.status == condition.status;
        let known = before.iter().find(same).and_then(|c| c.last_transition_time);
        condition.last_transition_time = known.or(now);
    }
}
