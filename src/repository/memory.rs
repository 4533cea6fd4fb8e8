//! Which commit was accepted: what keeps rewritten history and old signed commits out.
//!
//! `repository.json` in the state directory. When it is lost, the name of the checked-out directory still says which
//! commit it was, and the loss is reported.

use std::io;

use camino::Utf8PathBuf;
use data_encoding::HEXLOWER;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::host::{Change, Look};
use crate::model::ledger::LEDGER_FORMAT;
use crate::model::revision::Trouble;
use crate::repository::checkout::Checkouts;
use crate::repository::signed::{self, Kind};
use crate::repository::{RepositoryError, Source};

const NAME: &str = "repository.json";

/// A signed object of at most a megabyte, escaped.
const MEMORY_BYTES_MAX: u64 = 8 << 20;

/// How long an operator's word counts: until the next pass of every host that is on, and not for ever.
pub(super) const ACCEPTING_MAX: SignedDuration = SignedDuration::from_hours(24);

/// The accepted commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Memory {
    format: u32,
    pub(super) url: String,
    pub(super) reference: String,
    pub(super) path: Utf8PathBuf,
    pub(super) commit: String,
    /// Of which kind the signed object is.
    pub(super) kind: Kind,
    /// Its name.
    pub(super) id: String,
    /// The object itself in base64, so that its signature is judged again when the keys change, without the repository.
    pub(super) object: String,
    pub(super) signed_by: Option<String>,
    pub(super) accepted_at: Timestamp,
    /// A digest over its files, so that a checkout which was edited is not taken for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) files: Option<String>,
    /// A commit that is accepted without being a descendant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) accepting: Option<Accepting>,
    /// Why what the repository had when it was asked last is not used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) trouble: Option<Trouble>,
}

/// An operator's word that rewritten history is meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Accepting {
    pub(super) commit: String,
    pub(super) reason: String,
    pub(super) since: Timestamp,
}

/// What this host knows about the repository.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// The whole memory, of this repository, branch or tag.
    pub(super) memory: Option<Memory>,
    /// The memory of what was followed before this repository, branch or tag.
    pub(super) before: Option<Memory>,
    /// The commit that the next one must descend from.
    pub(super) commit: Option<String>,
    /// What was found wrong.
    pub(super) losses: Vec<String>,
}

impl Memory {
    /// What was accepted now.
    pub(super) fn new(
        source: &Source,
        (commit, kind, id): (&str, Kind, &str),
        object: &[u8],
        signed_by: Option<String>,
        now: Timestamp,
    ) -> Self {
        Self {
            format: LEDGER_FORMAT,
            url: source.address.url().to_owned(),
            reference: source.address.reference().to_owned(),
            path: source.address.path().to_owned(),
            commit: commit.to_owned(),
            kind,
            id: id.to_owned(),
            object: data_encoding::BASE64.encode(object),
            signed_by,
            accepted_at: now,
            files: None,
            accepting: None,
            trouble: None,
        }
    }

    /// The name of its directory: the commit, and which part of it when it is not the whole.
    pub(super) fn place(&self) -> String {
        if self.path.as_str().is_empty() {
            return self.commit.clone();
        }
        let digest = Sha256::digest(self.path.as_str().as_bytes());
        format!("{}-{}", self.commit, HEXLOWER.encode(digest.get(..4).unwrap_or_default()))
    }
}

impl Known {
    /// The memory, whatever was followed.
    pub(super) fn last(&self) -> Option<&Memory> {
        self.memory.as_ref().or(self.before.as_ref())
    }

    /// An operator's word for this very commit, while it counts.
    pub(super) fn accepting(&self, commit: &str, now: Timestamp) -> Option<&Accepting> {
        let accepting = self.last()?.accepting.as_ref()?;
        let age = now.duration_since(accepting.since).abs();
        (accepting.commit == commit && age <= ACCEPTING_MAX).then_some(accepting)
    }

    /// The accepted commit, if the keys that count now accept it still.
    pub(super) fn accepted(&self, source: &Source) -> Result<&Memory, RepositoryError> {
        let Some(memory) = self.memory.as_ref().filter(|m| m.path == source.address.path()) else {
            return Err(RepositoryError::NothingYet { url: source.address.label() });
        };
        let object = data_encoding::BASE64.decode(memory.object.as_bytes()).unwrap_or_default();
        let named = (memory.id.as_str(), &source.keys);
        signed::signer(memory.kind, &object, named, memory.accepted_at)?;
        Ok(memory)
    }
}

/// Reads what is known.
pub(super) fn load(
    host: &Look,
    checkouts: &Checkouts,
    source: &Source,
) -> Result<Known, RepositoryError> {
    let path = host.places().state.join(NAME);
    let mut known = Known::default();
    let bytes = host.read(&path, MEMORY_BYTES_MAX).map_err(RepositoryError::Host)?;
    match bytes.map(|bytes| serde_json::from_slice::<Memory>(&bytes)) {
        Some(Ok(memory)) => {
            let address = &source.address;
            known.commit = Some(memory.commit.clone());
            if memory.url == address.url() && memory.reference == address.reference() {
                known.memory = Some(memory);
            } else {
                known.losses.push(format!(
                    "`{}` of {} is followed from now on; before, it was `{}` of {}",
                    address.reference(),
                    address.url(),
                    memory.reference,
                    memory.url
                ));
                known.before = Some(memory);
            }
        }
        Some(Err(_)) | None => {
            known.commit = checkouts.current().map_err(RepositoryError::Host)?;
            if let Some(commit) = &known.commit {
                known.losses.push(format!(
                    "{path} is lost: who signed the commit in use is not known any more; that it is {commit} \
                     is told by the directory in use, and the next one must descend from it"
                ));
            }
        }
    }
    Ok(known)
}

/// Remembers what was accepted.
pub(super) fn save(host: &Change, memory: &Memory) -> Result<(), RepositoryError> {
    let bytes = serde_json::to_vec_pretty(memory).map_err(io::Error::other);
    bytes
        .and_then(|bytes| host.write(host.places().state.join(NAME), &bytes))
        .map_err(RepositoryError::Host)
}
