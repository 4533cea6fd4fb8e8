//! Why a repository's state was not had or not accepted.

use std::error::Error as StdError;
use std::io;

use crate::model::revision::TroubleKind;
use crate::trust::openpgp::SignatureError;
use crate::trust::ssh::SshSignatureError;

/// Why a repository's state was not had or not accepted.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// It did not answer, or said no.
    #[error("cannot fetch the desired state from {url}")]
    Unreachable {
        /// The repository.
        url: String,
        /// Why.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// It did not finish in time.
    #[error("cannot fetch the desired state from {url}: it took longer than {seconds} s")]
    Slow {
        /// The repository.
        url: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// It sends more than a desired state has.
    #[error(
        "cannot fetch the desired state from {url}: it sends more than {bytes} bytes; {advice}"
    )]
    Endless {
        /// The repository.
        url: String,
        /// The bound.
        bytes: u64,
        /// What to do.
        advice: &'static str,
    },
    /// No such branch or tag.
    #[error("{url} has no branch or tag `{reference}`; check --ref")]
    NoReference {
        /// The repository.
        url: String,
        /// What was looked for.
        reference: String,
    },
    /// A branch and a tag of one name.
    #[error(
        "`{reference}` is both a branch and a tag in {url}; say `refs/heads/{reference}` or \
         `refs/tags/{reference}`"
    )]
    Ambiguous {
        /// The repository.
        url: String,
        /// What was looked for.
        reference: String,
    },
    /// No such directory in the commit.
    #[error("commit {commit} has no directory `{path}`; check --git-path")]
    NoPath {
        /// The commit.
        commit: String,
        /// The directory.
        path: String,
    },
    /// A signature is demanded.
    #[error(
        "{what} is not signed, and signatures are demanded; sign it with an allowed key and push again"
    )]
    Unsigned {
        /// Which object.
        what: String,
    },
    /// Signed with keys for which none is listed.
    #[error(
        "{what} is signed by {with}, for which no keys are given; give them, or sign with the other kind"
    )]
    OtherKind {
        /// Which object.
        what: String,
        /// `SSH` or `OpenPGP`.
        with: &'static str,
    },
    /// Not signed by an allowed SSH key.
    #[error("{what} is not accepted")]
    Ssh {
        /// Which object.
        what: String,
        /// Why.
        #[source]
        source: SshSignatureError,
    },
    /// Not signed by a certificate of the keyring.
    #[error("{what} is not accepted")]
    OpenPgp {
        /// Which object.
        what: String,
        /// Why.
        #[source]
        source: SignatureError,
    },
    /// A tag that does not lead to a commit, or bears another name.
    #[error(
        "the tag {tag} is not of a commit or was made under another name than `{name}`; tag again"
    )]
    StrangeTag {
        /// Its object.
        tag: String,
        /// Under which name it was found.
        name: String,
    },
    /// The new commit does not descend from the accepted one.
    #[error(
        "the history of `{reference}` was rewritten: {found} does not descend from {known}, which this host \
         accepted; if that is meant, run `reconcile accept-history {found} --reason TEXT`"
    )]
    Rewritten {
        /// The branch or tag.
        reference: String,
        /// The commit accepted before.
        known: String,
        /// The commit refused.
        found: String,
    },
    /// Another branch, tag or repository, whose history does not have what was accepted.
    #[error(
        "`{reference}` points to {found}, which does not descend from {known}, accepted from {before} before; if that \
         is meant, run `reconcile accept-history {found} --reason TEXT`"
    )]
    Unrelated {
        /// The branch or tag that is followed now.
        reference: String,
        /// The commit accepted before.
        known: String,
        /// The commit refused.
        found: String,
        /// What was followed then.
        before: String,
    },
    /// The question before has not ended.
    #[error("cannot fetch the desired state from {url}: the last attempt has not ended yet")]
    Busy {
        /// The repository.
        url: String,
    },
    /// Accepted files that are not what they were.
    #[error(
        "the files of commit {commit} on this host were changed; the next pass writes them anew"
    )]
    Edited {
        /// The commit.
        commit: String,
    },
    /// The commit accepted before is too far back to be found, if it is there at all.
    #[error(
        "commit {found} is not taken: {known}, accepted before, is not among the {looked} commits before it; if it is \
         meant, run `reconcile accept-history {found} --reason TEXT`"
    )]
    TooFar {
        /// The commit accepted before.
        known: String,
        /// The commit refused.
        found: String,
        /// How many commits were looked at.
        looked: usize,
    },
    /// More than a desired state has.
    #[error(
        "commit {commit} is not taken: {what}; keep the desired state in a directory of its own and give --git-path"
    )]
    TooMuch {
        /// The commit.
        commit: String,
        /// What there is too much of.
        what: String,
    },
    /// A name or link that could lead elsewhere.
    #[error("commit {commit} is not taken: `{path}` {why}")]
    Unsafe {
        /// The commit.
        commit: String,
        /// Which entry.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Documents that make no desired state.
    #[error("commit {commit} is no valid desired state: {what}")]
    Invalid {
        /// The commit.
        commit: String,
        /// The first mistake.
        what: String,
    },
    /// An object that is missing or is not what its name says.
    #[error("the objects of {url} are damaged or incomplete; check the repository with `git fsck`")]
    Damaged {
        /// The repository.
        url: String,
        /// Why.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// Nothing was accepted so far.
    #[error("nothing of {url} was accepted on this host yet; run `reconcile` with the same --git")]
    NothingYet {
        /// The repository.
        url: String,
    },
    /// Not a commit.
    #[error("`{text}` is no commit; give all 40 digits of the one that was refused")]
    NotACommit {
        /// What was given.
        text: String,
    },
    /// This host cannot be read or written.
    #[error("cannot keep the desired state on this host")]
    Host(#[source] io::Error),
    /// Left out when the program was built.
    #[error(
        "this program was built without the feature `git`; use --desired, or build it with `git`"
    )]
    WithoutGit,
}

impl RepositoryError {
    /// What kind of trouble this is for a host that has an accepted state.
    pub fn kind(&self) -> TroubleKind {
        match self {
            Self::Unreachable { .. }
            | Self::Slow { .. }
            | Self::Busy { .. }
            | Self::Damaged { .. } => TroubleKind::Unreachable,
            Self::Unsigned { .. }
            | Self::OtherKind { .. }
            | Self::Ssh { .. }
            | Self::OpenPgp { .. }
            | Self::StrangeTag { .. }
            | Self::Rewritten { .. }
            | Self::Unrelated { .. }
            | Self::TooFar { .. }
            | Self::Edited { .. }
            | Self::Unsafe { .. } => TroubleKind::Refused,
            Self::Endless { .. }
            | Self::NoReference { .. }
            | Self::Ambiguous { .. }
            | Self::NoPath { .. }
            | Self::TooMuch { .. }
            | Self::Invalid { .. }
            | Self::NothingYet { .. }
            | Self::NotACommit { .. }
            | Self::Host(_)
            | Self::WithoutGit => TroubleKind::Unusable,
        }
    }
}
