//! Signed commits and tags taken apart, and whether an allowed key signed them.
//!
//! A commit carries its signature in the header `gpgsig`, continued on lines that begin with a blank; what was
//! signed is the commit without that header. A tag carries it at the end of its message (`gitformat-signature(5)`).

use jiff::Timestamp;

use crate::format::sshsig;
use crate::repository::{Keys, RepositoryError};
use crate::trust::{openpgp, ssh};

/// For what git has SSH keys sign.
const NAMESPACE: &str = "git";

/// The header of a commit that holds its signature.
const HEADER: &[u8] = b"gpgsig ";

/// How signatures begin.
const BEGINS: [&str; 3] =
    [sshsig::BEGIN, "-----BEGIN PGP SIGNATURE-----", "-----BEGIN PGP MESSAGE-----"];

/// Kinds of object that can be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// A commit.
    Commit,
    /// An annotated tag.
    Tag,
}

impl Kind {
    /// The name in objects and messages.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Tag => "tag",
        }
    }
}

/// Who signed an object; `None` where no signature is demanded.
pub(super) fn signer(
    kind: Kind,
    object: &[u8],
    (id, keys): (&str, &Keys),
    at: Timestamp,
) -> Result<Option<String>, RepositoryError> {
    if !keys.demand() {
        return Ok(None);
    }
    let what = || format!("{} {id}", kind.name());
    let parts = match kind {
        Kind::Commit => of_commit(object),
        Kind::Tag => of_tag(object),
    };
    let Some((message, signature)) = parts else {
        return Err(RepositoryError::Unsigned { what: what() });
    };
    if signature.starts_with(sshsig::BEGIN.as_bytes()) {
        let Some(allowed) = &keys.ssh else {
            return Err(RepositoryError::OtherKind { what: what(), with: "SSH" });
        };
        let signer = ssh::verify(&message, &signature, allowed, NAMESPACE, at)
            .map_err(|source| RepositoryError::Ssh { what: what(), source })?;
        Ok(Some(format!("{} {}", signer.principals, signer.fingerprint)))
    } else {
        let Some(keyring) = &keys.openpgp else {
            return Err(RepositoryError::OtherKind { what: what(), with: "OpenPGP" });
        };
        let signer = openpgp::verify_detached(&message, &signature, keyring, at)
            .map_err(|source| RepositoryError::OpenPgp { what: what(), source })?;
        Ok(Some(match signer.user_id {
            Some(user) => format!("{user} {}", signer.primary),
            None => signer.primary,
        }))
    }
}

/// What was signed of a commit, and the signature. One that has two signatures has none.
fn of_commit(object: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut message = Vec::with_capacity(object.len());
    let mut signature: Option<Vec<u8>> = None;
    let mut inside = false;
    let mut lines = object.split_inclusive(|&b| b == b'\n');
    for line in lines.by_ref() {
        if line == b"\n" {
            message.extend_from_slice(line);
            break;
        }
        if let Some(first) = line.strip_prefix(HEADER) {
            if signature.is_some() {
                return None;
            }
            signature = Some(first.to_vec());
            inside = true;
        } else if let Some(more) = line.strip_prefix(b" ").filter(|_| inside) {
            signature.as_mut()?.extend_from_slice(more);
        } else {
            inside = false;
            message.extend_from_slice(line);
        }
    }
    lines.for_each(|line| message.extend_from_slice(line));
    Some((message, signature?))
}

/// What was signed of a tag, and the signature: the last that begins in it.
fn of_tag(object: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let begins = |line: &[u8]| BEGINS.iter().any(|begin| line.starts_with(begin.as_bytes()));
    let mut at = 0;
    let mut last = None;
    for line in object.split_inclusive(|&b| b == b'\n') {
        if begins(line) {
            last = Some(at);
        }
        at += line.len();
    }
    let (message, signature) = object.split_at_checked(last?)?;
    Some((message.to_vec(), signature.to_vec()))
}

/// The commit that a tag is of, if it is of one and bears this name.
pub(super) fn tagged_commit<'a>(object: &'a [u8], name: &str) -> Option<&'a str> {
    let header = std::str::from_utf8(object.split(|&b| b == b'\n').next()?).ok()?;
    let commit = header.strip_prefix("object ")?;
    let mut lines = object.split(|&b| b == b'\n').skip(1);
    let of_commit = lines.next()? == b"type commit";
    let named = lines.next()?.strip_prefix(b"tag ")? == name.as_bytes();
    (of_commit && named).then_some(commit)
}
