//! When a host looks at itself: the same slot in every interval, another one on every host.

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};

use crate::model::ResourceId;

/// Keeps this use of the machine's identity apart from every other.
const LABEL: &[u8] = b"reconcile schedule 1\0";

/// Slots of one host. They are counted from 1970, so neither a restart nor a reboot moves them, and a
/// thousand hosts with one interval ask their sources spread evenly over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    interval_ms: i64,
    offset_ms: i64,
    seed: u64,
}

impl Schedule {
    /// The schedule of the host with this identity (`/etc/machine-id`).
    pub fn new(interval: SignedDuration, identity: &[u8]) -> Self {
        let interval_ms = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX).max(1);
        let hash = Sha256::new().chain_update(LABEL).chain_update(identity).finalize();
        let seed = hash.iter().take(8).fold(0, |seed: u64, byte| (seed << 8) | u64::from(*byte));
        let offset_ms = (seed % interval_ms.unsigned_abs()).cast_signed();
        Self { interval_ms, offset_ms, seed }
    }

    /// The slots of one resource on the same host: others than those of the next resource.
    #[must_use]
    pub fn of(&self, id: &ResourceId, interval: SignedDuration) -> Self {
        let identity = [&self.seed.to_be_bytes(), id.to_string().as_bytes()].concat();
        Self::new(interval, &identity)
    }

    /// The first slot after a moment.
    pub fn next(&self, after: Timestamp) -> Timestamp {
        let since = (after.as_millisecond() - self.offset_ms).rem_euclid(self.interval_ms);
        after + SignedDuration::from_millis(self.interval_ms - since)
    }

    /// How far the slots are apart.
    pub fn interval(&self) -> SignedDuration {
        SignedDuration::from_millis(self.interval_ms)
    }
}
