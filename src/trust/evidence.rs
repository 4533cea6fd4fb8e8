//! What the bytes of an artifact must be, and whether that is vouched for well enough.

use crate::format::checksums::Lookup;
use crate::model::facts::Arch;
use crate::model::{Digest, Evidence, Level, Subject};
use crate::trust::policy::{Checksums, Policy};

/// Everything known about an artifact before it is downloaded.
#[derive(Clone, Debug)]
pub struct EvidenceFacts<'a> {
    /// The artifact's file name.
    pub artifact: &'a str,
    /// The host's architecture.
    pub arch: Arch,
    /// The digest that the source's own API states, and the name of that API: `the GitHub API`.
    pub forge: Option<(&'a Digest, &'a str)>,
    /// SHA-256 of the program inside the artifact, where the source states that, and the name of the document that
    /// does: `release.json`. Every digest is then of the program, a pinned and a recorded one too.
    pub program: Option<(&'a Digest, &'a str)>,
    /// What became of looking for a checksum file.
    pub checksums: ChecksumFact<'a>,
    /// The digest that was recorded when this artifact was first accepted.
    pub locked: Option<&'a Digest>,
    /// How the artifact's first bytes arrive.
    pub transport: Transport,
    /// The weakest level that this kind of source may reach where the policy says nothing.
    pub floor: Level,
}

/// What became of looking for a checksum file.
#[derive(Clone, Debug)]
pub enum ChecksumFact<'a> {
    /// The release has none, or none was looked for.
    Absent,
    /// One was read.
    Read {
        /// Its name.
        file: &'a str,
        /// What it states about the artifact.
        lookup: &'a Lookup,
        /// Fingerprint of the key of the operator's keyring that signed it.
        signer: Option<&'a str>,
    },
    /// There may be one, but none that a key of the operator's keyring signed.
    Unsigned {
        /// What is wrong.
        why: String,
    },
    /// There is one, and it could not be had or read.
    Unusable {
        /// Its name.
        file: &'a str,
        /// Why.
        why: String,
    },
}

/// Whether a connection says who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TLS, or this host's own disk.
    Authenticated,
    /// Anybody on the way can replace the bytes.
    Plain,
}

/// One digest that the bytes must have.
struct Claim<'a> {
    level: Level,
    digest: &'a Digest,
    by: String,
}

/// Who states a digest that was recorded on this host.
const LOCKED_BY: &str = "the digest recorded when it was first accepted";

/// Settles what the bytes must be: everything stated must hold at once, and the strongest statement must
/// reach the policy's level.
///
/// A digest in the desired state replaces the recorded one, so a publisher's replacement can be accepted
/// by writing it down; it does not replace what the forge and the checksum file say now.
pub fn decide(policy: &Policy, facts: &EvidenceFacts<'_>) -> Result<Evidence, Unverified> {
    if policy.gpg.is_some() {
        signed(facts)?;
    }
    let claims = claims(policy, facts)?;
    contradiction(facts, &claims)?;
    let level = claims.iter().map(|c| c.level).max().unwrap_or_else(|| level_without_digest(facts));
    let floor = floor(policy, facts);
    if let ChecksumFact::Unusable { file, why } = &facts.checksums
        && level < Level::Checksum
        && floor >= Level::Lock
        && policy.checksums != Checksums::None
    {
        return Err(Unverified::ChecksumsUnusable {
            artifact: facts.artifact.to_owned(),
            file: (*file).to_owned(),
            why: why.clone(),
        });
    }
    if level < floor {
        return Err(Unverified::BelowFloor {
            artifact: facts.artifact.to_owned(),
            reached: level,
            floor,
            seen: seen(facts, &claims),
            remedy: remedy(level),
        });
    }
    let mut digests: Vec<Digest> = claims.iter().map(|c| c.digest.clone()).collect();
    digests.sort();
    digests.dedup();
    let stated_by = if claims.is_empty() {
        "nobody".to_owned()
    } else {
        claims.iter().map(|c| c.by.as_str()).collect::<Vec<_>>().join(", ")
    };
    let of = facts.program.map_or(Subject::Artifact, |_| Subject::Program);
    let signer = match facts.checksums {
        ChecksumFact::Read { signer, .. } => signer.map(str::to_owned),
        _ => None,
    };
    Ok(Evidence { level, digests, of, stated_by, signer })
}

/// Whether a signed checksum file states what the artifact is: nothing else stands for that where it is demanded.
fn signed(facts: &EvidenceFacts<'_>) -> Result<(), Unverified> {
    match &facts.checksums {
        ChecksumFact::Read {
            signer: Some(_),
            lookup: Lookup::Found(_) | Lookup::Conflict { .. },
            ..
        } => Ok(()),
        other => Err(Unverified::Unsigned {
            artifact: facts.artifact.to_owned(),
            why: checksum_problem(other),
        }),
    }
}

/// Every digest stated, strongest first.
fn claims<'a>(
    policy: &'a Policy,
    facts: &'a EvidenceFacts<'_>,
) -> Result<Vec<Claim<'a>>, Unverified> {
    let mut claims = Vec::new();
    let here = |arch: &Option<String>| arch.as_ref().is_none_or(|a| a == facts.arch.name());
    for pinned in policy.pinned.iter().filter(|pinned| here(&pinned.arch)) {
        let by = "the desired state".to_owned();
        claims.push(Claim { level: Level::Digest, digest: &pinned.digest, by });
    }
    let pinned = !claims.is_empty();
    if let Some((digest, by)) = facts.forge {
        claims.push(Claim { level: Level::ForgeDigest, digest, by: by.to_owned() });
    }
    if let Some((digest, by)) = facts.program {
        claims.push(Claim { level: Level::Checksum, digest, by: by.to_owned() });
    }
    if let Some(Vouched { file, digests, signer }) = checksum_digests(policy, facts)? {
        let (level, by) = match signer {
            Some(signer) => (Level::Signature, format!("{file}, signed by {}", key_id(signer))),
            None => (Level::Checksum, file.to_owned()),
        };
        claims.extend(digests.iter().map(|digest| Claim { level, digest, by: by.clone() }));
    }
    // Who asks for less than a lock wants to follow replaced files.
    if let Some(digest) = facts.locked
        && !pinned
        && floor(policy, facts) >= Level::Lock
    {
        claims.push(Claim { level: Level::Lock, digest, by: LOCKED_BY.to_owned() });
    }
    Ok(claims)
}

/// The end of a fingerprint, as gpg shows keys.
pub fn key_id(fingerprint: &str) -> &str {
    fingerprint.get(fingerprint.len().saturating_sub(16)..).unwrap_or(fingerprint)
}

/// What a checksum file says of an artifact.
struct Vouched<'a> {
    file: &'a str,
    digests: &'a [Digest],
    /// Fingerprint of the key that signed it, where that was demanded.
    signer: Option<&'a str>,
}

/// The digests of the checksum file and who signed it; a refusal where the file contradicts itself, or was asked for by name
/// and does not vouch.
fn checksum_digests<'a>(
    policy: &Policy,
    facts: &EvidenceFacts<'a>,
) -> Result<Option<Vouched<'a>>, Unverified> {
    if policy.checksums == Checksums::None {
        return Ok(None);
    }
    let why = match &facts.checksums {
        ChecksumFact::Read { file, lookup: Lookup::Found(digests), signer } => {
            return Ok(Some(Vouched { file, digests, signer: *signer }));
        }
        ChecksumFact::Read { file, lookup: Lookup::Conflict { first, second }, .. } => {
            return Err(Unverified::Contradiction(Box::new(Contradiction {
                artifact: facts.artifact.to_owned(),
                first_by: (*file).to_owned(),
                first: first.clone(),
                second_by: format!("{file} in another line"),
                second: second.clone(),
            })));
        }
        other => checksum_problem(other),
    };
    match &policy.checksums {
        Checksums::Named(_) | Checksums::Matching(_) => {
            Err(Unverified::ChecksumsDemanded { artifact: facts.artifact.to_owned(), why })
        }
        Checksums::Auto | Checksums::None => Ok(None),
    }
}

fn checksum_problem(fact: &ChecksumFact<'_>) -> String {
    match fact {
        ChecksumFact::Absent => "no checksum file was found".to_owned(),
        ChecksumFact::Unusable { file, why } => format!("{file} could not be used ({why})"),
        ChecksumFact::Unsigned { why } => why.clone(),
        ChecksumFact::Read { file, lookup, .. } => match lookup {
            Lookup::OnlyWeak { functions } => {
                format!("{file} states only {}, which is no evidence", functions.join(", "))
            }
            Lookup::NotListed => format!("{file} does not list it"),
            Lookup::Found(_) | Lookup::Conflict { .. } => format!("{file} lists it"),
        },
    }
}

/// Two different digests of one algorithm cannot both hold.
fn contradiction(facts: &EvidenceFacts<'_>, claims: &[Claim<'_>]) -> Result<(), Unverified> {
    for (index, first) in claims.iter().enumerate() {
        let contradicts = |second: &&Claim<'_>| {
            second.digest.algorithm() == first.digest.algorithm() && second.digest != first.digest
        };
        if let Some(second) = claims.iter().skip(index + 1).find(contradicts) {
            return Err(Unverified::Contradiction(Box::new(Contradiction {
                artifact: facts.artifact.to_owned(),
                first_by: first.by.clone(),
                first: first.digest.clone(),
                second_by: second.by.clone(),
                second: second.digest.clone(),
            })));
        }
    }
    Ok(())
}

/// The level demanded: what the policy says; else a digest where one is pinned for any architecture; else
/// the default of the kind of source.
fn floor(policy: &Policy, facts: &EvidenceFacts<'_>) -> Level {
    let pinned = (!policy.pinned.is_empty()).then_some(Level::Digest);
    policy.demanded().or(pinned).unwrap_or(facts.floor)
}

/// A first use over an authenticated connection is recorded, and holds from then on.
fn level_without_digest(facts: &EvidenceFacts<'_>) -> Level {
    match facts.transport {
        Transport::Authenticated => Level::Lock,
        Transport::Plain => Level::None,
    }
}

/// What there is, for people.
fn seen(facts: &EvidenceFacts<'_>, claims: &[Claim<'_>]) -> String {
    let mut parts: Vec<String> =
        claims.iter().map(|c| format!("{} states {}", c.by, c.digest.algorithm().name())).collect();
    if facts.forge.is_none() {
        parts.push("the source's API states no digest".to_owned());
    }
    if !claims.iter().any(|c| matches!(c.level, Level::Checksum | Level::Signature)) {
        parts.push(checksum_problem(&facts.checksums));
    }
    if claims.is_empty() && facts.transport == Transport::Plain {
        parts.push("the connection is not authenticated".to_owned());
    }
    parts.join("; ")
}

/// What to write to accept what there is.
fn remedy(reached: Level) -> String {
    format!(
        "write `verify: {{ digest: \"sha256:…\" }}` with a digest that you trust, or accept what there is \
         with `verify: {{ min: {} }}`",
        reached.name()
    )
}

/// Two statements about the same bytes that exclude each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "verifying {artifact}: {first_by} says {first}, but {second_by} says {second}; one of them is wrong or \
     the file was replaced, so ask the publisher, then pin the right one with `verify: {{ digest: … }}`"
)]
pub struct Contradiction {
    /// The artifact.
    pub artifact: String,
    /// Who says the first.
    pub first_by: String,
    /// The first digest.
    pub first: Digest,
    /// Who says the second.
    pub second_by: String,
    /// The second digest.
    pub second: Digest,
}

/// Why no evidence is good enough to download an artifact.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unverified {
    /// Two statements about the same bytes exclude each other.
    #[error(transparent)]
    Contradiction(Box<Contradiction>),
    /// The strongest statement is weaker than what is demanded.
    #[error(
        "verifying {artifact}: the level {} is demanded, but only {} can be reached ({seen}); {remedy}",
        floor.name(), reached.name()
    )]
    BelowFloor {
        /// The artifact.
        artifact: String,
        /// The level that can be reached.
        reached: Level,
        /// The level demanded.
        floor: Level,
        /// What there is.
        seen: String,
        /// What to write.
        remedy: String,
    },
    /// There is a checksum file that cannot be used, and nothing stronger: going on without it would let
    /// whoever breaks it lower what is demanded.
    #[error(
        "verifying {artifact}: {file} could not be used ({why}), and nothing stronger vouches for it; try \
         again, or write `verify: {{ checksums: none }}` to go without"
    )]
    ChecksumsUnusable {
        /// The artifact.
        artifact: String,
        /// The checksum file.
        file: String,
        /// Why it could not be used.
        why: String,
    },
    /// No checksum file that is signed as demanded states what the artifact is.
    #[error(
        "verifying {artifact}: a signature is demanded, but {why}; check the keyring that `verify.gpg` names, and that \
         the publisher signs its checksum file (`SHA256SUMS.asc`, `.gpg` or `.sig` beside it)"
    )]
    Unsigned {
        /// The artifact.
        artifact: String,
        /// What is wrong.
        why: String,
    },
    /// The checksum file that the desired state names does not vouch for the artifact.
    #[error(
        "verifying {artifact}: the checksum file that `verify.checksums` asks for does not vouch for it: \
         {why}; correct the name, or remove `checksums`"
    )]
    ChecksumsDemanded {
        /// The artifact.
        artifact: String,
        /// What is wrong.
        why: String,
    },
}
