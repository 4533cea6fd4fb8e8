//! What vouches for an index: its digest, a signature by a key of the keyring, or the way it came.

use jiff::{SignedDuration, Timestamp};

use super::{Found, From, Tree};
use crate::format::detached::ENDS;
use crate::model::outcome::chain;
use crate::model::{BlockedReason, Evidence, Level, Subject};
use crate::resolve::problem_of;
use crate::resolve::signed::keyring;
use crate::resource::decision::Problem;
use crate::resource::tree::spec::TreeVersion;
use crate::resource::tree::wanted::{HERE, OFFLINE};
use crate::source::Class;
use crate::source::casync::{IndexFile, has_versions, read_anew, signature};
use crate::trust::evidence::key_id;
use crate::trust::openpgp::{Keyring, SignatureError, Why, verify_detached};

/// For how long after an index or its signature was published the other may still be on its way: publishers take
/// moments, copies from one server to the next some minutes.
const REPLACED_WITHIN: SignedDuration = SignedDuration::from_mins(15);

/// When it is looked at again meanwhile.
const RECHECK: SignedDuration = SignedDuration::from_mins(1);

/// A signature that holds.
#[derive(Clone, Debug)]
pub(super) struct Signed {
    /// Fingerprint of the primary key of who signed.
    pub(super) signer: String,
    /// When, by the clock of who signed.
    pub(super) at: Timestamp,
    /// What the index is called, as far as its signer says.
    pub(super) names: Vec<String>,
    /// What follows the name of the index in that of the signature's file.
    pub(super) end: &'static str,
    /// That file.
    pub(super) bytes: Vec<u8>,
}

/// Why no signature of an index was accepted.
#[derive(Debug)]
pub(super) enum Unsigned {
    /// None was found.
    Absent,
    /// There is one, and it is not of this index by a key that is trusted.
    Wrong {
        /// What is wrong.
        why: String,
        /// Whether it may be of an older or a newer index.
        of_another: bool,
        /// When it was published, as far as its source says.
        published: Option<Timestamp>,
    },
    /// There may be one, and it cannot be read.
    Unread(Problem),
}

impl Unsigned {
    /// What says most.
    fn or(self, other: Self) -> Self {
        match (&self, &other) {
            (Self::Absent, _) | (Self::Unread(_), Self::Wrong { .. }) => other,
            _ => self,
        }
    }
}

impl Tree<'_> {
    /// Who may sign, where anybody must.
    pub(super) fn keys(&self) -> Result<Option<&Keyring>, Problem> {
        let read = self.keys.get_or_init(|| {
            let read = self.spec.verify.gpg.as_ref().map(|path| keyring(path)).transpose();
            read.map_err(|why| {
                let message = format!("verifying {}: a signature is demanded, but {why}", self.id);
                Problem { reason: BlockedReason::Unverified, message, until: None }
            })
        });
        read.as_ref().map(Option::as_ref).map_err(Clone::clone)
    }

    /// Whether an installed generation is vouched for as is demanded now: the key that did so may be trusted no longer,
    /// or nobody may have been asked for a signature then.
    pub(super) fn is_vouched_for(&self, slot: &str) -> bool {
        let Ok(Some(keys)) = self.keys() else { return self.spec.verify.gpg.is_none() };
        let signer = self.observed.head(slot).and_then(|head| head.evidence.signer.as_ref());
        signer.is_some_and(|signer| keys.fingerprints().contains(signer))
    }

    /// Who signed an index, where that is demanded. What is remembered of the source is no evidence: this is computed
    /// every time. Where index and signature do not belong together, one of them was replaced between two requests, or is
    /// an older one that the server took for unchanged: both are read once more.
    pub(super) async fn signed(
        &self,
        file: &mut IndexFile,
        from: From,
    ) -> Result<Option<Signed>, Problem> {
        let Some(keys) = self.keys()? else { return Ok(None) };
        let mut checked = self.check(file, keys).await;
        if let Err(Unsigned::Wrong { .. }) = checked
            && let Some(read) = read_anew(file, self.reader).await
        {
            *file = read.map_err(|error| problem_of(&error))?;
            checked = self.check(file, keys).await;
        }
        checked.map(Some).map_err(|unsigned| self.unsigned(file, from, unsigned))
    }

    /// Tries every signature there is: some of those names are also used for signatures of other kinds.
    pub(super) async fn check(&self, file: &IndexFile, keys: &Keyring) -> Result<Signed, Unsigned> {
        let mut unsigned = Unsigned::Absent;
        for end in ENDS {
            let found = match signature(file, end, self.reader).await {
                Ok(None) => continue,
                Ok(Some(found)) => found,
                // What is there and can never be a signature is as good as a wrong one.
                Err(error) if error.class() == Class::Malformed => {
                    let why = chain(&error);
                    let wrong = Unsigned::Wrong { why, of_another: false, published: None };
                    unsigned = unsigned.or(wrong);
                    continue;
                }
                Err(error) => {
                    unsigned = unsigned.or(Unsigned::Unread(problem_of(&error)));
                    continue;
                }
            };
            match verify_detached(&file.bytes, &found.bytes, keys, self.question.now) {
                Ok(good) => {
                    let (signer, at, names) = (good.primary, good.created, good.names);
                    return Ok(Signed { signer, at, names, end, bytes: found.bytes });
                }
                Err(error) => {
                    unsigned = unsigned.or(Unsigned::Wrong {
                        why: format!("{}{end}: {}", file.artifact.name, chain(&error)),
                        of_another: is_of_another(&error),
                        published: found.published,
                    });
                }
            }
        }
        Err(unsigned)
    }

    /// What is told of an index without the signature that is demanded.
    fn unsigned(&self, file: &IndexFile, from: From, unsigned: Unsigned) -> Problem {
        let name = &file.artifact.name;
        let (why, incomplete, published) = match unsigned {
            Unsigned::Unread(problem) => return problem,
            Unsigned::Absent => ("there is none beside it".to_owned(), true, None),
            Unsigned::Wrong { why, of_another, published } => (why, of_another, published),
        };
        let now = self.question.now;
        let newest = file.published.max(published);
        let fresh = newest.is_some_and(|newest| now.duration_since(newest).abs() < REPLACED_WITHIN);
        if incomplete && fresh && from == From::Network {
            return Problem {
                reason: BlockedReason::Waiting,
                message: format!(
                    "{name} or its signature was replaced a moment ago, and they do not belong together yet: {why}"
                ),
                until: now.checked_add(RECHECK).ok(),
            };
        }
        Problem {
            reason: BlockedReason::Unverified,
            message: format!(
                "verifying {name}: a signature is demanded, but {why}; ask its publisher for one beside it \
                 (`{name}.asc`, `.gpg` or `.sig`), or remove `verify.gpg` to go without"
            ),
            until: None,
        }
    }

    /// Refuses an index that its signer called otherwise: then its version is not what its name says.
    fn check_name(&self, found: &Found<'_>) -> Result<(), Problem> {
        let Some(signed) = found.signed.as_ref().filter(|_| found.is_bound()) else {
            return Ok(());
        };
        let name = &found.file.artifact.name;
        // A copy may be called as the copy's pattern says; a name without a version is that of every version.
        let sources = [Some(&self.spec.source), self.spec.offline.as_ref()].into_iter().flatten();
        let mut names = sources
            .filter(|source| has_versions(&source.index))
            .map(|source| source.index.file_name().replacen("@v", found.version.as_str(), 1))
            .chain([name.clone()]);
        if names.any(|name| signed.names.contains(&name)) {
            return Ok(());
        }
        Err(Problem {
            reason: BlockedReason::Unverified,
            message: format!(
                "verifying {name}: its signature is of {}, so somebody gave it another name; ask its publisher to publish it \
                 by this one",
                signed.names.join(", ")
            ),
            until: None,
        })
    }

    /// What vouches for an index, when that is enough.
    pub(super) fn evidence(&self, found: &Found<'_>) -> Result<Evidence, Problem> {
        self.check_name(found)?;
        let sha256 = &found.file.sha256;
        let pinned = self.spec.verify.pinned.iter().map(|pin| &pin.digest);
        let pinned = pinned.chain(match &self.spec.version {
            TreeVersion::Index(digest) => Some(digest),
            TreeVersion::Constraint(_) => None,
        });
        let name = &found.file.artifact.name;
        let mut level = found.file.level;
        let local = found.file.artifact.urls.iter().any(|url| url.starts_with("file:"));
        let mut stated_by = match (found.offline, local) {
            (true, _) => OFFLINE,
            (false, true) => HERE,
            (false, false) => "the source",
        }
        .to_owned();
        for digest in pinned {
            if digest != sha256 {
                return Err(Problem {
                    reason: BlockedReason::NoVersion,
                    message: format!("{name} is now {sha256}, but {digest} is wished"),
                    until: None,
                });
            }
            (level, stated_by) = (Level::Digest, "the desired state".to_owned());
        }
        let signer = found.signed.as_ref().map(|signed| signed.signer.clone());
        if let Some(signer) = &signer {
            level = level.max(Level::Signature);
            stated_by = format!("{stated_by}, signed by {}", key_id(signer));
        }
        let min = self.spec.verify.min.unwrap_or(Level::Tls);
        if level < min {
            return Err(Problem {
                reason: BlockedReason::Unverified,
                message: format!(
                    "verifying {name}: the level {} is demanded, but an index is accepted by its digest, a signature or \
                     the way it comes, which is {} here; pin it by `version: {sha256}`, name who signs with \
                     `verify.gpg`, or lower `verify.min`",
                    min.name(),
                    level.name()
                ),
                until: None,
            });
        }
        let digests = vec![sha256.clone()];
        Ok(Evidence { level, digests, stated_by, of: Subject::Artifact, signer })
    }
}

/// Whether a key that is trusted made a signature, of other bytes.
fn is_of_another(error: &SignatureError) -> bool {
    let SignatureError::Refused { problems } = error else { return false };
    problems.iter().any(|problem| problem.why == Why::Altered)
}
