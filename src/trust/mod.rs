//! What makes bytes acceptable: the only maker of `Verified`.

pub mod policy;

use crate::model::{Blob, Digest, Evidence};

/// Something whose bytes were checked against their evidence. Only this module makes one.
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
    /// A digest is not what it must be.
    #[error("the bytes do not have the digest {expected}, as {stated_by} says: do not use them")]
    Digest {
        /// What it must be.
        expected: Digest,
        /// Who says so.
        stated_by: String,
    },
}

/// Accepts a blob that has every digest of its evidence.
pub fn verify(blob: Blob, evidence: &Evidence) -> Result<Verified<Blob>, Refusal> {
    match evidence.digests.iter().find(|digest| !blob.digests.contains(digest)) {
        Some(expected) => Err(Refusal::Digest {
            expected: expected.clone(),
            stated_by: evidence.stated_by.clone(),
        }),
        None => Ok(Verified(blob)),
    }
}
