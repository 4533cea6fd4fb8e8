//! Signatures by SSH keys: whether a key of the operator's `allowed_signers` file signed these bytes.
//!
//! What `ssh-keygen -Y verify` demands is demanded here: the key is listed, for this namespace, and valid at the time
//! in question. That time is when the bytes are first accepted, never a date that the signer wrote: who has an old key
//! can write any date. Keys in hardware must say that somebody touched them.

mod allowed;
mod key;

pub use allowed::{AllowedSigners, AllowedSignersError, SIGNERS_BYTES_MAX, SIGNERS_MAX};

use jiff::Timestamp;

use crate::format::sshsig::{self, Malformed};

use key::PublicKey;

/// Who signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshSigner {
    /// The principals that the file lists for the key.
    pub principals: String,
    /// The key's fingerprint as `ssh-keygen -l` prints it: `SHA256:` and base64.
    pub fingerprint: String,
}

/// Why a signature by an SSH key was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum SshSignatureError {
    /// It is not a signature, or damaged.
    #[error("reading an SSH signature: sign again with `git config gpg.format ssh`")]
    Malformed(#[source] Malformed),
    /// Made for something else.
    #[error(
        "checking an SSH signature: it was made for `{found}`, not for `{wanted}`; sign with git itself"
    )]
    Namespace {
        /// For what it was made.
        found: String,
        /// For what it should be.
        wanted: &'static str,
    },
    /// Nobody listed the key.
    #[error(
        "checking an SSH signature: the key {fingerprint} is not in the allowed signers; if you trust it, add a \
         line with it"
    )]
    Unknown {
        /// The key.
        fingerprint: String,
    },
    /// The key is listed, and not for this.
    #[error("checking an SSH signature: the key {fingerprint} of {principals} {why}")]
    NotAllowed {
        /// The key.
        fingerprint: String,
        /// Whose it is.
        principals: String,
        /// Why it does not count.
        why: String,
    },
    /// A kind of key or digest that is not supported, or too weak.
    #[error("checking an SSH signature: {0} is not supported; use an ed25519, ECDSA or RSA key")]
    Unsupported(String),
    /// It is not over these bytes, or not by that key.
    #[error(
        "checking an SSH signature: it does not fit what was signed; one of them was damaged or replaced"
    )]
    Altered,
}

/// Whether the armoured signature over `message` is by an allowed key, for `namespace`, at the time `at`.
pub fn verify(
    message: &[u8],
    armoured: &[u8],
    allowed: &AllowedSigners,
    namespace: &'static str,
    at: Timestamp,
) -> Result<SshSigner, SshSignatureError> {
    let signature = sshsig::parse(armoured).map_err(SshSignatureError::Malformed)?;
    if signature.namespace != namespace {
        let found = signature.namespace;
        return Err(SshSignatureError::Namespace { found, wanted: namespace });
    }
    let fingerprint = key::fingerprint(&signature.key);
    let principals = allowed.permits(&signature.key, namespace, at, &fingerprint)?;
    let digest = match signature.hash.as_str() {
        "sha256" => aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, message),
        "sha512" => aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA512, message),
        other => return Err(SshSignatureError::Unsupported(format!("the digest {other:?}"))),
    };
    let signed = signature.signed(digest.as_ref());
    let key = PublicKey::parse(&signature.key)?;
    key.verify(&signature.algorithm, &signed, &signature.blob)?;
    Ok(SshSigner { principals, fingerprint })
}

#[cfg(test)]
mod tests;
