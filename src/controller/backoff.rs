//! How long to wait before trying again: doubling, capped, with full jitter.

use jiff::SignedDuration;

/// Doublings after which any cap is reached.
const DOUBLINGS_MAX: u32 = 30;

/// How long to wait between attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The most that is waited after the first failure.
    pub first: SignedDuration,
    /// The most that is ever waited.
    pub most: SignedDuration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: SignedDuration::from_secs(1), most: SignedDuration::from_mins(5) }
    }
}

impl Backoff {
    /// The most that is waited after so many failures in a row.
    pub fn ceiling(&self, failures: u32) -> SignedDuration {
        let doublings = failures.saturating_sub(1).min(DOUBLINGS_MAX);
        let factor = 1_i32 << doublings.min(DOUBLINGS_MAX);
        self.first.checked_mul(factor).unwrap_or(self.most).min(self.most)
    }

    /// Somewhere up to the ceiling, but never nothing. Full jitter keeps hosts that failed together from
    /// coming back together.
    pub fn wait(&self, failures: u32, dice: &mut Dice) -> SignedDuration {
        let ceiling = self.ceiling(failures).as_millis().max(1).unsigned_abs();
        let roll = u128::from(dice.roll()) % ceiling;
        SignedDuration::from_millis(i64::try_from(roll + 1).unwrap_or(i64::MAX))
    }
}

/// A source of unpredictable enough numbers (splitmix64): equal seeds give equal rolls, for tests.
#[derive(Clone, Copy, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Dice that start here.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
