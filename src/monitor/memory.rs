//! What was told last, so that nothing is told twice: rebuilt by every pass that is watched.

use std::collections::BTreeMap;
use std::io;

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

use crate::host::{Change as Host, Look};
use crate::monitor::tally::Tally;
use crate::status::HostStatus;

/// Far above what 10,000 resources need, in bytes.
const MEMORY_BYTES_MAX: u64 = 64 << 20;

const NAME: &str = "reported.json";

/// What was told last.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Memory {
    /// The state of the host.
    pub status: Option<HostStatus>,
    /// What was counted.
    pub tally: Tally,
    /// Bytes that are kept, by class, when something was done last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored: Option<BTreeMap<String, u64>>,
}

impl Memory {
    /// Whether losing this and having `other` instead would lose no more than counts and the time of the last pass.
    pub(super) fn tells_the_same(&self, other: &Self) -> bool {
        let timeless = |status: &HostStatus| HostStatus {
            last_pass_at: None,
            last_converged_at: None,
            ..status.clone()
        };
        self.stored == other.stored
            && self.status.as_ref().map(timeless) == other.status.as_ref().map(timeless)
    }
}

/// Where it is.
pub(super) fn place(host: &Look) -> Utf8PathBuf {
    host.places().state.join(NAME)
}

/// What was told last; nothing when it cannot be read. Losing it costs counters and a repeated notification.
pub fn load(host: &Look) -> Memory {
    let bytes = host.read(place(host), MEMORY_BYTES_MAX).ok().flatten();
    let memory = bytes.and_then(|bytes| serde_json::from_slice::<Memory>(&bytes).ok());
    let memory = memory.unwrap_or_default();
    Memory { tally: memory.tally.checked(), ..memory }
}

/// Remembers what was told.
pub fn save(host: &Host, memory: &Memory) -> io::Result<()> {
    let bytes = serde_json::to_vec(memory).map_err(io::Error::other)?;
    host.write_without_sync(place(host), &bytes)
}
