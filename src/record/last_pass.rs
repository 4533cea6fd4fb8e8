//! What the last pass came to: rebuilt by every pass, so it is written without waiting for the disk.

use std::collections::BTreeMap;
use std::io;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::host::{Change as Host, Look};
use crate::model::outcome::{End, Outcome};
use crate::model::{Blocked, Plan, ResourceId};

/// Far above what 10,000 resources need.
const LAST_PASS_BYTES_MAX: u64 = 16 << 20;

/// The message of a change that was not begun or not finished because the pass was asked to stop.
pub const INTERRUPTED: &str = "interrupted";

const NAME: &str = "last-pass.json";

/// What the last pass came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastPass {
    /// When it was.
    pub at: Timestamp,
    /// The last one after which everything wished was there.
    pub converged_at: Option<Timestamp>,
    /// Digest of the desired state.
    pub desired: String,
    /// Wishes that were not carried out.
    pub blocked: Vec<Blocked>,
    /// Messages of changes that failed.
    pub failed: BTreeMap<ResourceId, String>,
}

/// Remembers a pass.
pub fn save(
    host: &Host,
    desired: &str,
    plan: &Plan,
    outcome: &Outcome,
    now: Timestamp,
) -> io::Result<()> {
    let failed: BTreeMap<ResourceId, String> = outcome
        .results
        .iter()
        .filter_map(|result| {
            let message = match (&result.end, result.end.failure()) {
                (End::Done, _) => return None,
                (_, Some(failure)) => failure.message.clone(),
                (_, None) => INTERRUPTED.to_owned(),
            };
            Some((result.resource.clone(), message))
        })
        .collect();
    let converged = failed.is_empty() && plan.blocked.is_empty();
    let earlier = load(host)?.and_then(|last| last.converged_at);
    let last = LastPass {
        at: now,
        converged_at: if converged { Some(now) } else { earlier },
        desired: desired.to_owned(),
        blocked: plan.blocked.clone(),
        failed,
    };
    let bytes = serde_json::to_vec(&last).map_err(io::Error::other)?;
    host.write_without_sync(host.places().state.join(NAME), &bytes)
}

/// The last pass; `None` when there was none or its record is damaged.
pub fn load(host: &Look) -> io::Result<Option<LastPass>> {
    // However it is damaged, the next pass writes it anew.
    let bytes = host.read(host.places().state.join(NAME), LAST_PASS_BYTES_MAX).ok().flatten();
    Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}
