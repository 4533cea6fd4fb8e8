//! What makes bytes acceptable: the only maker of `Verified`.
//!
//! Two decisions, both pure: before a download, [`evidence::decide`] settles what the bytes must be and
//! whether that is vouched for well enough; after it, [`verify`] compares.

pub mod evidence;
pub mod openpgp;
pub mod policy;
pub mod ssh;

use crate::model::{Algorithm, Blob, Digest, Evidence, Level, Subject};

/// Something whose bytes were checked against their evidence, or carry along what must be checked. Only [`verify`]
/// makes one.
///
/// Evidence is mostly of the bytes themselves. Where it is of the program inside ([`Subject::Program`]), nobody knows
/// yet whether that is right: [`Verified::program`] is what it must be, `unpack` compares it with what it wrote
/// into the staging directory, and only what agrees leaves that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified<T> {
    what: T,
    program: Option<Digest>,
}

impl<T> Verified<T> {
    /// What was verified.
    pub fn get(&self) -> &T {
        &self.what
    }

    /// SHA-256 that the program inside must have, where that is what is vouched for.
    pub fn program(&self) -> Option<&Digest> {
        self.program.as_ref()
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
    if evidence.of == Subject::Program {
        return owing(blob, evidence);
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
    Ok(Verified { what: blob, program: None })
}

/// Accepts a blob whose program is still to be compared: its digest goes with it.
fn owing(blob: Blob, evidence: &Evidence) -> Result<Verified<Blob>, Refusal> {
    let (same, other): (Vec<&Digest>, Vec<&Digest>) =
        evidence.digests.iter().partition(|digest| digest.algorithm() == Algorithm::Sha256);
    if let Some(expected) = other.into_iter().next() {
        let (expected, stated_by) = (expected.clone(), evidence.stated_by.clone());
        return Err(Refusal::NotComputed { expected, stated_by });
    }
    let program = same.first().map(|digest| (*digest).clone());
    if program.is_none() {
        return Err(Refusal::NoDigest { level: evidence.level });
    }
    Ok(Verified { what: blob, program })
}

#[cfg(test)]
mod tests;
