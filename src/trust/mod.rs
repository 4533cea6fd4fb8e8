//! What makes bytes acceptable: the only maker of `Verified`.
//!
//! Two decisions, both pure: before a download, [`evidence::decide`] settles what the bytes must be and
//! whether that is vouched for well enough; after it, [`verify`] compares.

pub mod evidence;
pub mod openpgp;
pub mod policy;

use crate::model::{Blob, Digest, Evidence, Level};

/// Something whose bytes were checked against their evidence. Only [`verify`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified<T>(T);

impl<T> Verified<T> {
    /// What was verified.
    pub fn get(&self) -> &T {
        &self.0
    }
}

/// Why bytes were not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The bytes have another digest.
    #[error(
        "checking the downloaded bytes: {stated_by} says {expected}, but they are {got}; they were damaged \
         or replaced and are not used, so ask the publisher before you pin the digest that they have"
    )]
    Digest {
        /// What it must be.
        expected: Digest,
        /// What it is.
        got: Digest,
        /// Who says what it must be.
        stated_by: String,
    },
    /// A digest of this algorithm was not computed while the bytes were fetched.
    #[error(
        "checking the downloaded bytes: {stated_by} says {expected}, but no digest of that algorithm was \
         computed; this is a defect of this program, so report it"
    )]
    NotComputed {
        /// What it must be.
        expected: Digest,
        /// Who says what it must be.
        stated_by: String,
    },
    /// A level that rests on a digest, without one.
    #[error(
        "checking the downloaded bytes: the level {} needs a digest, but none was stated; resolve again",
        level.name()
    )]
    NoDigest {
        /// The level claimed.
        level: Level,
    },
}

/// Accepts a blob that has every digest of its evidence.
///
/// Evidence of the levels `none`, `tls` and the first `lock` has no digest and demands nothing.
pub fn verify(blob: Blob, evidence: &Evidence) -> Result<Verified<Blob>, Refusal> {
    if evidence.digests.is_empty() && evidence.level > Level::Lock {
        return Err(Refusal::NoDigest { level: evidence.level });
    }
    for expected in &evidence.digests {
        let stated_by = || evidence.stated_by.clone();
        let of_algorithm = |d: &&Digest| d.algorithm() == expected.algorithm();
        let Some(got) = blob.digests.iter().find(of_algorithm) else {
            return Err(Refusal::NotComputed {
                expected: expected.clone(),
                stated_by: stated_by(),
            });
        };
        if blob.digests.iter().filter(of_algorithm).any(|digest| digest != expected) {
            let (expected, got) = (expected.clone(), got.clone());
            return Err(Refusal::Digest { expected, got, stated_by: stated_by() });
        }
    }
    Ok(Verified(blob))
}

#[cfg(test)]
mod tests;
