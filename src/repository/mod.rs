//! The desired state in a Git repository: fetched, verified, and only then switched to.
//!
//! Three ways to it: [`follow`] asks the repository and moves this host on, [`peek`] asks and writes nothing on the
//! host, [`recall`] is content with what was accepted last. What is accepted:
//!
//! - The commit, or the annotated tag that leads to it, is signed by an allowed key, where keys are given. Its
//!   ancestors need not be: only its tree is used, and the signature covers that.
//! - It descends from the commit accepted before, which is remembered in the state directory, also when another
//!   branch, tag or address is followed. Anything else is refused until an operator accepts that very commit.
//! - Every object from the commit down to each file is digested again on the way out of the object store.
//!
//! A signature counts by the keys of now at the time of acceptance, not by the date that its maker wrote. The memory
//! holds the signed object itself: a key that is struck out takes what it signed with it, without asking anybody. A
//! new commit is judged in a temporary place before it is accepted. Documents keep the names they have in the
//! repository and are resolved below `current`, so that another commit alone is another plan for nothing; the
//! repository's label, not the checkout's path, is what the inventory records.
//!
//! History is read from objects with the digests of their names; replacements, grafts and commit graphs of a
//! repository do not count. The memory also has a digest over the checked-out files: an edited checkout is not called
//! signed and is written anew. What a killed fetch left in the cache is removed before each question, and any error
//! that is not the connection's own (`meter` tells) has it fetched again once. An answer, a pack, a tree and the time
//! have bounds, and a question that was given up is not asked again while its thread still lives.
//!
//! A repository that does not answer, or has something that is not accepted or not valid, leaves the last accepted
//! state in effect, which was valid.

#![cfg_attr(
    not(feature = "git"),
    allow(dead_code, reason = "nothing is asked of a repository then")
)]

mod address;
mod cache;
mod checkout;
mod error;
mod memory;
#[cfg(feature = "git")]
mod meter;
#[cfg(feature = "git")]
mod opened;
mod signed;
#[cfg(feature = "git")]
mod store;
#[cfg(feature = "git")]
mod walk;
#[cfg(feature = "git")]
mod work;

#[cfg(not(feature = "git"))]
#[path = "without_git.rs"]
mod work;

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;

use crate::host::{Change, Look};
use crate::model::cached;
use crate::model::outcome::chain;
use crate::model::revision::{Revision, Trouble};
use crate::trust::openpgp::{Keyring, KeyringError};
use crate::trust::ssh::{AllowedSigners, AllowedSignersError};

pub use address::{Address, AddressError};
pub use error::RepositoryError;

use checkout::Checkouts;
use memory::{Accepting, Known, Memory};
use work::{Answer, News};

/// The name of what is written to a temporary directory.
const STATE: &str = "state";

/// What is followed, and what is demanded of it.
#[derive(Clone, Debug)]
pub struct Source {
    /// Where it is.
    pub address: Address,
    /// Whose signatures count.
    pub keys: Keys,
    /// How to identify to it over HTTPS.
    pub account: Option<Account>,
    /// The command used as `ssh`, as in `GIT_SSH_COMMAND`.
    pub ssh_command: Option<String>,
}

/// Whose signatures count. With neither, no signature is demanded.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    /// SSH keys.
    pub ssh: Option<AllowedSigners>,
    /// OpenPGP certificates.
    pub openpgp: Option<Keyring>,
}

/// Why keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The allowed signers.
    #[error(transparent)]
    Ssh(#[from] AllowedSignersError),
    /// The keyring.
    #[error(transparent)]
    OpenPgp(#[from] KeyringError),
}

/// The longest file of allowed signers that is read.
pub const SIGNERS_BYTES_MAX: u64 = crate::trust::ssh::SIGNERS_BYTES_MAX;

/// The longest keyring that is read.
pub const KEYRING_BYTES_MAX: u64 = crate::trust::openpgp::KEYRING_BYTES_MAX as u64;

impl Keys {
    /// Keys from the text of an `allowed_signers` file and the bytes of an OpenPGP keyring.
    pub fn read(ssh: Option<&str>, openpgp: Option<&[u8]>) -> Result<Self, KeysError> {
        let ssh = ssh.map(AllowedSigners::parse).transpose()?;
        Ok(Self { ssh, openpgp: openpgp.map(Keyring::read).transpose()? })
    }

    /// Whether a signature is demanded.
    pub fn demand(&self) -> bool {
        self.ssh.is_some() || self.openpgp.is_some()
    }
}

/// A question to the repository.
#[derive(Clone, Copy, Debug)]
struct Job<'a> {
    /// What is followed.
    source: &'a Source,
    /// What is known of it.
    known: &'a Known,
    /// Where fetched objects are kept.
    store: &'a Utf8Path,
    /// Where other objects are that need not be fetched again.
    borrow: Option<&'a Utf8Path>,
    /// Whether the known commit is checked out.
    have: bool,
    /// The time.
    now: Timestamp,
}

/// A name and a password or token.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    /// The name; most forges take any with a token.
    pub name: String,
    /// The password or token.
    pub secret: String,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account").field("name", &self.name).finish_non_exhaustive()
    }
}

/// An accepted state that can be read.
#[derive(Debug)]
pub struct Checkout {
    /// Where its files are, really.
    pub directory: Utf8PathBuf,
    /// Where they will be found from one commit to the next: what relative paths in documents are relative to.
    pub base: Utf8PathBuf,
    /// Which commit it is.
    pub revision: Revision,
    /// What an operator should know.
    pub notes: Vec<String>,
    /// True when this host knew of no commit before.
    pub first: bool,
    /// Removed with this value.
    _temporary: Option<tempfile::TempDir>,
}

/// Whether the documents of a directory, whose relative paths are relative to the second one, make a desired state; the
/// error is their first mistake.
pub type Judge<'a> = &'a dyn Fn(&Utf8Path, &Utf8Path) -> Result<(), String>;

/// Asks the repository, and moves this host on to what it has, if that is accepted and valid.
pub async fn follow(
    source: &Source,
    host: &Change,
    now: Timestamp,
    judge: Judge<'_>,
) -> Result<Checkout, RepositoryError> {
    let checkouts = Checkouts::of(host);
    let known = memory::load(host, &checkouts, source)?;
    let have = known.memory.as_ref().is_some_and(|m| checkouts.has(m));
    let cache_home = host.places().cache.join(cached::GIT).join(source.address.slug());
    let cache = host.real(&cache_home);
    host.make_dirs_unsynced(host.places().cache.join(cached::GIT))
        .map_err(RepositoryError::Host)?;
    let job = Job { source, known: &known, store: &cache, borrow: None, have, now };
    let mut answer = ask(&job, host, &cache_home).await;
    let mut notes = known.losses.clone();
    notes.extend(known.memory.as_ref().and_then(|memory| checkouts.edited(memory)));
    if let Ok(Answer::News(news)) = &answer
        && let Err(error) = temporary()
            .and_then(|(_held, path)| valid(&path.join(STATE), &checkouts.base(), news, judge))
    {
        answer = Err(error);
    }
    let (mut memory, trouble) = match answer {
        Ok(Answer::Same) => {
            // What is left over takes space and stands in nobody's way.
            if let Err(error) = cache::tidy(host, &cache_home) {
                tracing::warn!(%error, "cannot tidy the cache of the repository");
            }
            (known.accepted(source)?.clone(), None)
        }
        Ok(Answer::News(news)) => {
            let (memory, note) = news.memory(&known, source, now);
            checkouts.write(host, &memory.place(), &news.files)?;
            memory::save(host, &memory)?;
            notes.extend(note);
            (memory, None)
        }
        Err(error) => match known.accepted(source) {
            Ok(memory) if checkouts.has(memory) => (memory.clone(), Some(told(&error))),
            _ => return Err(error),
        },
    };
    memory.trouble.clone_from(&trouble);
    if known.memory.as_ref().is_some_and(|m| m.commit == memory.commit && m.trouble != trouble) {
        memory::save(host, &memory)?;
    }
    checkouts.switch(host, &memory.place())?;
    Ok(Checkout {
        directory: checkouts.real(&memory.place()),
        base: checkouts.base(),
        revision: revision(source, &memory, trouble.map(|trouble| in_effect(&memory, &trouble))),
        first: known.commit.is_none(),
        notes,
        _temporary: None,
    })
}

/// A directory that is removed again.
fn temporary() -> Result<(tempfile::TempDir, Utf8PathBuf), RepositoryError> {
    let temporary = tempfile::tempdir().map_err(RepositoryError::Host)?;
    let path = Utf8PathBuf::from_path_buf(temporary.path().to_owned()).map_err(|path| {
        RepositoryError::Host(std::io::Error::other(format!("{}", path.display())))
    })?;
    Ok((temporary, path))
}

/// Writes what is new to a temporary place and judges it there, as what it will be where it is used: what is not valid
/// never reaches the host.
fn valid(
    directory: &Utf8Path,
    base: &Utf8Path,
    news: &News,
    judge: Judge<'_>,
) -> Result<(), RepositoryError> {
    checkout::write_temporary(directory, &news.files)?;
    let commit = news.commit.clone();
    judge(directory, base).map_err(|what| RepositoryError::Invalid { commit, what })
}

/// Asks with a cache that nobody else uses, and without what it has when that is damaged: it can be fetched again.
async fn ask(job: &Job<'_>, host: &Change, cache: &Utf8Path) -> Result<Answer, RepositoryError> {
    let local = job.source.address.is_local();
    let damaged = || cache::leads_out(host, cache) || cache::clear(host, cache).is_err();
    if !local && work::is_idle(job) && damaged() {
        host.remove(cache).map_err(RepositoryError::Host)?;
    }
    match work::ask(job).await {
        Err(RepositoryError::Damaged { .. }) if !local => {
            host.remove(cache).map_err(RepositoryError::Host)?;
            work::ask(job).await
        }
        answer => answer,
    }
}

/// Asks the repository, and writes nothing on the host: what is new is put into a temporary directory.
pub async fn peek(
    source: &Source,
    host: &Look,
    now: Timestamp,
    judge: Judge<'_>,
) -> Result<Checkout, RepositoryError> {
    let checkouts = Checkouts::of(host);
    let known = memory::load(host, &checkouts, source)?;
    let have = known.memory.as_ref().is_some_and(|m| checkouts.has(m));
    let (temporary, path) = temporary()?;
    let cache_home = host.places().cache.join(cached::GIT).join(source.address.slug());
    let cache = Some(host.real(&cache_home)).filter(|_| !cache::leads_out(host, &cache_home));
    let store = path.join("objects.git");
    let job = Job { source, known: &known, store: &store, borrow: cache.as_deref(), have, now };
    let mut notes = known.losses.clone();
    notes.extend(known.memory.as_ref().and_then(|memory| checkouts.edited(memory)));
    let mut answer = work::ask(&job).await;
    if matches!(answer, Err(RepositoryError::Damaged { .. })) && !source.address.is_local() {
        let store = path.join("anew.git");
        answer = work::ask(&Job { store: &store, borrow: None, ..job }).await;
    }
    let directory = path.join(STATE);
    if let Ok(Answer::News(news)) = &answer
        && let Err(error) = valid(&directory, &directory, news, judge)
    {
        answer = Err(error);
    }
    match answer {
        Ok(Answer::News(news)) => {
            let (memory, note) = news.memory(&known, source, now);
            notes.extend(note);
            Ok(Checkout {
                base: directory.clone(),
                directory,
                revision: revision(source, &memory, None),
                first: known.commit.is_none(),
                notes,
                _temporary: Some(temporary),
            })
        }
        Ok(Answer::Same) => recalled(source, &checkouts, known, |_| None),
        Err(error) if have && known.accepted(source).is_ok() => {
            recalled(source, &checkouts, known, |memory| Some(in_effect(memory, &told(&error))))
        }
        Err(error) => Err(error),
    }
}

/// What was accepted last, without asking anybody. That the keys do not accept it any more is said, and no reason not
/// to look at it: nothing is done with what is recalled.
pub fn recall(source: &Source, host: &Look) -> Result<Checkout, RepositoryError> {
    let checkouts = Checkouts::of(host);
    let known = memory::load(host, &checkouts, source)?;
    let refusal = known.accepted(source).err();
    recalled(source, &checkouts, known, |memory| match refusal {
        Some(error) => Some(told(&error)),
        None => memory.trouble.as_ref().map(|trouble| in_effect(memory, trouble)),
    })
}

fn recalled(
    source: &Source,
    checkouts: &Checkouts,
    known: Known,
    trouble: impl FnOnce(&Memory) -> Option<Trouble>,
) -> Result<Checkout, RepositoryError> {
    let memory = known
        .memory
        .filter(|memory| memory.path == source.address.path() && checkouts.exists(&memory.place()));
    let Some(memory) = memory else {
        return Err(RepositoryError::NothingYet { url: source.address.label() });
    };
    let mut revision = revision(source, &memory, trouble(&memory));
    if checkouts.edited(&memory).is_some() {
        let error = RepositoryError::Edited { commit: memory.commit.clone() };
        revision.signed_by = None;
        revision.trouble = Some(Trouble { kind: error.kind(), message: chain(&error) });
    }
    Ok(Checkout {
        directory: checkouts.real(&memory.place()),
        base: checkouts.base(),
        revision,
        notes: known.losses,
        first: false,
        _temporary: None,
    })
}

fn told(error: &RepositoryError) -> Trouble {
    Trouble { kind: error.kind(), message: chain(error) }
}

/// What is said while a repository's present state cannot be used.
fn in_effect(memory: &Memory, trouble: &Trouble) -> Trouble {
    let short = memory.commit.get(..10).unwrap_or_default();
    let accepted = memory.accepted_at.round(jiff::Unit::Second).unwrap_or(memory.accepted_at);
    let message = format!(
        "{}; {}@sha1:{short}, accepted at {accepted}, stays in effect",
        trouble.message, memory.reference
    );
    Trouble { kind: trouble.kind, message }
}

fn revision(source: &Source, memory: &Memory, trouble: Option<Trouble>) -> Revision {
    Revision {
        url: source.address.url().to_owned(),
        reference: memory.reference.clone(),
        commit: memory.commit.clone(),
        signed_by: memory.signed_by.clone().filter(|_| source.keys.demand()),
        accepted_at: memory.accepted_at,
        trouble,
    }
}

/// Notes that an operator accepts a commit although it does not descend from the one accepted before. The word is for
/// this commit alone, not for what comes after it, and counts until the moment returned.
pub fn accept(
    source: &Source,
    host: &Change,
    commit: &str,
    (reason, now): (&str, Timestamp),
) -> Result<Timestamp, RepositoryError> {
    let plain = commit.len() == 40 && commit.bytes().all(|b| b.is_ascii_hexdigit());
    if !plain {
        return Err(RepositoryError::NotACommit { text: commit.to_owned() });
    }
    let known = memory::load(host, &Checkouts::of(host), source)?;
    let Some(mut memory) = known.memory.or(known.before) else {
        return Err(RepositoryError::NothingYet { url: source.address.label() });
    };
    memory.accepting = Some(Accepting {
        commit: commit.to_ascii_lowercase(),
        reason: reason.to_owned(),
        since: now,
    });
    memory::save(host, &memory)?;
    Ok(now.saturating_add(memory::ACCEPTING_MAX).unwrap_or(now))
}
