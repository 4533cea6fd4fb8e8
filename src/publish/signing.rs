//! Detached signatures of what is published: made by gpg, and judged as clients judge them.
//!
//! Whoever can write to what a web server serves is not its publisher. So nothing is signed because it lies there: only
//! bytes that were made in this run, or that a signature by the same key is of already. gpg is given a file, which lies
//! there, too; what it says is used only where it is of the bytes that were meant, and is nowhere before that.

use std::path::Path;

use crate::format::detached::NAME_NOTATION;
use crate::host::clock;
use crate::host::runner::{self, RunError};
use crate::trust::openpgp::{Keyring, KeyringError, SignatureError, count, verify_detached};

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// gpg failed.
    #[error(transparent)]
    Gpg(#[from] RunError),
    /// The key is of a kind that nobody accepts.
    #[error("cannot use the key `{key}` of gpg")]
    Key {
        /// The key, as it was named.
        key: String,
        /// Why.
        #[source]
        source: KeyringError,
    },
    /// Clients would not accept the signature.
    #[error("no client would accept the signature that gpg made with `{key}`")]
    Refused {
        /// The key, as it was named.
        key: String,
        /// Why.
        #[source]
        source: SignatureError,
    },
}

/// Who signs: a key of gpg.
#[derive(Debug)]
pub(super) struct Signer {
    key: String,
    keyring: Keyring,
}

impl Signer {
    /// With the key that gpg knows by this name, and has.
    pub(super) async fn new(key: &str) -> Result<Self, SignError> {
        let listed = gpg(&["--with-colons", "--list-secret-keys", "--", key]).await?;
        let prints = listed.lines().filter_map(|line| line.strip_prefix("fpr:")?.split(':').nth(8));
        let export = ["--armor", "--export-options", "export-minimal", "--export", "--"];
        let arguments: Vec<&str> = export.into_iter().chain(prints).collect();
        let exported = gpg(&arguments).await?;
        let keyring = Keyring::read(exported.as_bytes());
        let keyring = keyring.map_err(|source| SignError::Key { key: key.to_owned(), source })?;
        Ok(Self { key: key.to_owned(), keyring })
    }

    /// Whether one of the signatures in a file is by this key, of these bytes.
    pub(super) fn holds(&self, signatures: &[u8], bytes: &[u8]) -> bool {
        verify_detached(bytes, signatures, &self.keyring, clock::now()).is_ok()
    }

    /// The same, and there is only that one.
    pub(super) fn holds_alone(&self, signatures: &[u8], bytes: &[u8]) -> bool {
        count(signatures) == 1 && self.holds(signatures, bytes)
    }

    /// The armoured signature of some bytes, which are in a file, and which may have a name in the signature.
    pub(super) async fn sign(
        &self,
        (file, bytes): (&Path, &[u8]),
        name: Option<&str>,
    ) -> Result<String, SignError> {
        // gpg refuses control characters there, has meanings for what follows a percent sign, and takes the text for one
        // of the locale's where it is not told that it is UTF-8.
        let file = file.to_string_lossy();
        let name = name.filter(|name| !name.chars().any(char::is_control));
        let name = name.map(|name| format!("{NAME_NOTATION}={}", name.replace('%', "%%")));
        let named = name.iter().flat_map(|name| ["--utf8-strings", "--sig-notation", name]);
        let first = ["--armor", "--local-user", &self.key];
        let rest = ["--output", "-", "--detach-sign", "--", &file];
        let arguments: Vec<&str> = first.into_iter().chain(named).chain(rest).collect();
        let signature = gpg(&arguments).await?;
        let verified = verify_detached(bytes, signature.as_bytes(), &self.keyring, clock::now());
        verified.map_err(|source| SignError::Refused { key: self.key.clone(), source })?;
        Ok(signature)
    }
}

/// What gpg says.
async fn gpg(arguments: &[&str]) -> Result<String, RunError> {
    let argv = ["gpg", "--batch"].iter().chain(arguments);
    runner::output(&argv.map(|argument| (*argument).to_owned()).collect::<Vec<_>>()).await
}
