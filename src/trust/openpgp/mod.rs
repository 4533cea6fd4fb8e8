//! Detached OpenPGP signatures: whether a key of the operator's keyring signed these bytes.
//!
//! Formats after RFC 9580 (and 4880, which `gpg` writes), read by rPGP, which only checks the mathematics
//! of one signature with one key. Everything else is decided here, from the clock that is passed in:
//!
//! - A signature is of version 4 or 6, of a binary or a text, with SHA-256 or stronger, not expired, not
//!   made more than [`SKEW`] in the future, and states nothing critical that is not understood.
//! - Its key is in the keyring, existed when the signature was made, is RSA of 2048 bits or more, ECDSA or
//!   `EdDSA`, and its newest self-signatures do not forbid signing.
//! - A subkey is bound by its primary key and vouches for it in return (the back signature).
//! - Key and subkey are not expired *now*: a release does not outlive its key in the keyring, as with
//!   `apt`. Who extends a key puts the extended one into the keyring.
//! - Neither is revoked, for whatever reason and since whenever: the date of a signature is the word of who
//!   has the key.
//!
//! Of several signatures one that holds suffices. `gpg --verify` is content with expired and revoked keys,
//! with SHA-1 and with small RSA keys, which are refused here.

mod certificate;
mod keyring;
mod packets;

pub use keyring::{
    CERTIFICATES_MAX, KEYRING_BYTES_MAX, Keyring, KeyringError, systemd_keyring_paths,
};
pub use packets::EncodingError;

use jiff::{SignedDuration, Timestamp};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType, SignatureVersion};

use crate::format::detached::NAME_NOTATION;
use certificate::{Candidate, Moments};
use packets::Block;

/// How far clocks may be apart.
pub const SKEW: SignedDuration = SignedDuration::from_hours(24);
/// The longest file of signatures: what systemd reads.
pub const SIGNATURE_BYTES_MAX: usize = 1024 * 1024;
/// The most signatures in one file: each costs a pass over the data.
pub const SIGNATURES_MAX: usize = 16;

/// Who signed, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The fingerprint of the certificate's primary key: 40 upper-case hexadecimal digits (64 for version 6).
    pub primary: String,
    /// The fingerprint of the key that made the signature: the primary key or a subkey.
    pub key: String,
    /// The user ID of the newest self-signature, as its holder wrote it, without control characters.
    pub user_id: Option<String>,
    /// When the signature was made, by the signer's clock.
    pub created: Timestamp,
    /// What its signer says that the data is called; nothing in most signatures.
    pub names: Vec<String>,
}

/// Why no signature over some data was accepted.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// The file of signatures is longer than any is.
    #[error(
        "reading an OpenPGP signature: it has {bytes} bytes, and at most {SIGNATURE_BYTES_MAX} are read; check \
         that the file is a detached signature"
    )]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// It is not OpenPGP data, or damaged.
    #[error("reading an OpenPGP signature: check that the file is a whole detached signature")]
    Encoding(#[source] EncodingError),
    /// It is OpenPGP data of another kind.
    #[error(
        "reading an OpenPGP signature: it holds {found}; ask for a detached signature, as `gpg --detach-sign` \
         makes it"
    )]
    NotDetached {
        /// What it holds instead.
        found: String,
    },
    /// More signatures than are tried.
    #[error(
        "reading an OpenPGP signature: the file has more than {SIGNATURES_MAX}; remove those not needed"
    )]
    TooMany,
    /// Each signature has something wrong.
    #[error("checking an OpenPGP signature: {}", listed(.problems))]
    Refused {
        /// What is wrong with each, in the order of the file.
        problems: Vec<Problem>,
    },
}

/// What is wrong with one signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key that made it as the signature says: a fingerprint or a key id, in upper-case hexadecimal.
    pub signer: Option<String>,
    /// When it was made, by the signer's clock.
    pub created: Option<Timestamp>,
    /// What is wrong.
    pub why: Why,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.signer {
            Some(signer) => write!(f, "the signature by key {signer}")?,
            None => f.write_str("the signature by an unnamed key")?,
        }
        if let Some(created) = self.created {
            write!(f, " of {created}")?;
        }
        write!(f, " {}", self.why)
    }
}

/// Why one signature is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// Not version 4 or 6.
    #[error("has an old or unknown version of the format; ask for one made by a current program")]
    Version,
    /// Of a key, a user ID or something else.
    #[error("is not about a file ({0}); ask for a detached signature")]
    Kind(String),
    /// A hash function for which other data with the same hash can be found.
    #[error("rests on {0}, which can be forged; ask for one with SHA-256 or stronger")]
    WeakHash(String),
    /// No date that the signature covers.
    #[error("states no date")]
    Undated,
    /// It says that a verifier must understand something that this one does not.
    #[error("has a critical part that is not understood")]
    Critical,
    /// Made after now.
    #[error("is from the future; check the clock of this host")]
    Future,
    /// It said itself until when it holds.
    #[error("held until {0}; ask for a new one")]
    Expired(Timestamp),
    /// It does not say which key made it.
    #[error("does not say which key made it")]
    Unnamed,
    /// The keyring has no such key.
    #[error(
        "is by a key that is not in the keyring; if you trust it, add the key to the keyring (`gpg --export \
         KEY`)"
    )]
    UnknownKey,
    /// The data or the signature is not what was signed.
    #[error("does not fit the data; one of them was damaged or replaced")]
    Altered,
    /// A public-key or hash algorithm that cannot be computed here.
    #[error("uses an algorithm that is not supported")]
    Unsupported,
    /// A key too weak to rely on.
    #[error(
        "is by {0}, which is too weak; ask for one by RSA of 2048 bits or more, ECDSA or EdDSA"
    )]
    WeakKey(String),
    /// No valid self-signature.
    #[error("is by a key whose certificate has no valid self-signature; export it again")]
    NotSelfSigned,
    /// No valid binding or back signature.
    #[error("is by a subkey that is not validly bound to its primary key; export the key again")]
    NotBound,
    /// The key is for something else.
    #[error("is by a key that is not for signing data")]
    NotForSigning,
    /// The signature claims to be older than its key.
    #[error("claims to be older than its key, made {0}")]
    OlderThanKey(Timestamp),
    /// The key or the primary key has expired.
    #[error(
        "is by a key that expired {0}; if it was extended, put the extended key into the keyring, else ask \
         for a signature by a current key"
    )]
    KeyExpired(Timestamp),
    /// The key or the primary key is revoked.
    #[error("is by a key that was revoked ({0}); ask for a signature by a current key")]
    KeyRevoked(String),
}

fn listed(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Whether one of the `signatures` over `data`, binary or armoured, is by a key of the keyring and holds
/// `now`.
///
/// Without one that holds, the error says what is wrong with each.
pub fn verify_detached(
    data: &[u8],
    signatures: &[u8],
    keyring: &Keyring,
    now: Timestamp,
) -> Result<Signed, SignatureError> {
    if signatures.len() > SIGNATURE_BYTES_MAX {
        return Err(SignatureError::TooLong { bytes: signatures.len() });
    }
    let mut problems = Vec::new();
    for signature in read_signatures(signatures)? {
        match verify(data, &signature, keyring, now) {
            Ok(signed) => return Ok(signed),
            Err(why) => {
                let created = signature.created().map(certificate::moment);
                problems.push(Problem { signer: certificate::signer(&signature), created, why });
            }
        }
    }
    Err(SignatureError::Refused { problems })
}

/// How many signatures a file has that can be read.
pub fn count(signatures: &[u8]) -> usize {
    read_signatures(signatures).map_or(0, |signatures| signatures.len())
}

/// The signatures of a file, at least one.
fn read_signatures(bytes: &[u8]) -> Result<Vec<Signature>, SignatureError> {
    let mut signatures = Vec::new();
    for packet in packets::read(bytes, Block::Signature).map_err(SignatureError::Encoding)? {
        match packet {
            pgp::packet::Packet::Signature(signature) => signatures.push(signature),
            other => return Err(SignatureError::NotDetached { found: packets::name(&other) }),
        }
        if signatures.len() > SIGNATURES_MAX {
            return Err(SignatureError::TooMany);
        }
    }
    if signatures.is_empty() {
        return Err(SignatureError::NotDetached { found: "no signature".to_owned() });
    }
    Ok(signatures)
}

/// Whether one signature holds.
fn verify(
    data: &[u8],
    signature: &Signature,
    keyring: &Keyring,
    now: Timestamp,
) -> Result<Signed, Why> {
    let created = acceptable(signature, now)?;
    if certificate::signer(signature).is_none() {
        return Err(Why::Unnamed);
    }
    let mut problem = Why::UnknownKey;
    for candidate in keyring.candidates(signature) {
        match verify_with(data, signature, &candidate, Moments { created, now }) {
            Ok(user_id) => {
                return Ok(Signed {
                    primary: candidate.primary_fingerprint(),
                    key: candidate.fingerprint(),
                    user_id,
                    created,
                    names: certificate::notations(signature, NAME_NOTATION),
                });
            }
            Err(why) => problem = why,
        }
    }
    Err(problem)
}

/// Whether a signature holds with the key that it names; the user ID of the certificate.
fn verify_with(
    data: &[u8],
    signature: &Signature,
    candidate: &Candidate<'_>,
    moments: Moments,
) -> Result<Option<String>, Why> {
    candidate.verify(signature, data).map_err(|error| {
        let unsupported = matches!(
            error,
            pgp::errors::Error::Unsupported { .. } | pgp::errors::Error::Unimplemented { .. }
        );
        if unsupported { Why::Unsupported } else { Why::Altered }
    })?;
    candidate.may_sign(moments)
}

/// Whether a signature is of a kind that is accepted from any key; when it was made.
fn acceptable(signature: &Signature, now: Timestamp) -> Result<Timestamp, Why> {
    let config = signature.config().ok_or(Why::Version)?;
    if !matches!(config.version(), SignatureVersion::V4 | SignatureVersion::V6) {
        return Err(Why::Version);
    }
    if !matches!(config.typ(), SignatureType::Binary | SignatureType::Text) {
        return Err(Why::Kind(format!("{:?}", config.typ())));
    }
    if !strong(config.hash_alg) {
        return Err(Why::WeakHash(config.hash_alg.to_string()));
    }
    if certificate::has_unknown_critical(config) {
        return Err(Why::Critical);
    }
    let created = signature.created().map(certificate::moment).ok_or(Why::Undated)?;
    if created.duration_since(now) > SKEW {
        return Err(Why::Future);
    }
    match certificate::end(created, signature.signature_expiration_time()) {
        Some(end) if end <= now => Err(Why::Expired(end)),
        _ => Ok(created),
    }
}

/// Whether nobody can find other data with the same hash.
fn strong(hash: HashAlgorithm) -> bool {
    matches!(
        hash,
        HashAlgorithm::Sha256
            | HashAlgorithm::Sha384
            | HashAlgorithm::Sha512
            | HashAlgorithm::Sha3_256
            | HashAlgorithm::Sha3_512
    )
}

#[cfg(test)]
mod tests;
