//! One question to a repository, from asking to files that may be used.
//!
//! All of it blocks, so it runs on a thread of its own and is watched from outside: a repository may neither take too
//! long nor send too much.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use camino::Utf8Path;
use jiff::Timestamp;

use crate::repository::checkout::File;
use crate::repository::memory::{Known, Memory};
use crate::repository::signed::{self, Kind};
use crate::repository::store::{Store, Tip};
use crate::repository::{Job, RepositoryError, Source};

/// How long a repository may take: a first clone over a slow line.
const PATIENCE: Duration = Duration::from_mins(5);

/// How often is looked at how much has arrived.
const WATCH: Duration = Duration::from_millis(200);

/// How long an interrupted transfer may take to notice.
const GRACE: Duration = Duration::from_secs(2);

/// Most bytes that are fetched and kept of one repository.
const FETCH_BYTES_MAX: u64 = 512 << 20;

/// What the repository has.
#[derive(Debug)]
pub(super) enum Answer {
    /// What is in use.
    Same,
    /// Something else, and it is accepted.
    News(News),
}

/// An accepted commit and its files.
#[derive(Debug)]
pub(super) struct News {
    pub(super) commit: String,
    kind: Kind,
    id: String,
    object: Vec<u8>,
    signed_by: Option<String>,
    /// The wanted directory, parents before what is in them.
    pub(super) files: Vec<File>,
}

impl News {
    /// What to remember of it, and what to tell about it.
    pub(super) fn memory(
        &self,
        known: &Known,
        source: &Source,
        now: Timestamp,
    ) -> (Memory, Option<String>) {
        let named = (self.commit.as_str(), self.kind, self.id.as_str());
        let mut memory = Memory::new(source, named, &self.object, self.signed_by.clone(), now);
        let before = known.memory.as_ref();
        if let Some(before) = before.filter(|b| b.commit == memory.commit) {
            memory.accepted_at = before.accepted_at;
        }
        let accepting = before.and_then(|before| before.accepting.as_ref());
        let note = accepting.filter(|a| a.commit == self.commit).map(|accepting| {
            format!(
                "rewritten history up to {} is accepted: {}",
                accepting.commit, accepting.reason
            )
        });
        (memory, note)
    }
}

/// Asks, in bounded time and space.
pub(super) async fn ask(job: &Job<'_>) -> Result<Answer, RepositoryError> {
    let url = job.source.address.url().to_owned();
    let interrupt = Arc::new(AtomicBool::new(false));
    let (source, known) = (job.source.clone(), job.known.clone());
    let (store, borrow) = (job.store.to_owned(), job.borrow.map(Utf8Path::to_owned));
    let (have, now, stop) = (job.have, job.now, Arc::clone(&interrupt));
    let mut work = tokio::task::spawn_blocking(move || {
        let (store, borrow) = (store.as_path(), borrow.as_deref());
        let job = Job { source: &source, known: &known, store, borrow, have, now };
        look(&job, &stop)
    });
    let watched = job.store.as_std_path().join("objects/pack");
    let finished = |result: Result<Result<Answer, RepositoryError>, tokio::task::JoinError>| {
        result.unwrap_or_else(|panic| {
            Err(RepositoryError::Unreachable { url: url.clone(), source: Box::new(panic) })
        })
    };
    let deadline = tokio::time::sleep(PATIENCE);
    tokio::pin!(deadline);
    let why = loop {
        tokio::select! {
            biased;
            result = &mut work => return finished(result),
            () = &mut deadline => {
                let seconds = PATIENCE.as_secs();
                break RepositoryError::Slow { url: url.clone(), seconds };
            }
            () = tokio::time::sleep(WATCH) => {
                if size(&watched) > FETCH_BYTES_MAX {
                    let advice = "keep the desired state in a repository of its own";
                    let bytes = FETCH_BYTES_MAX;
                    break RepositoryError::Endless { url: url.clone(), bytes, advice };
                }
            }
        }
    };
    interrupt.store(true, Ordering::Relaxed);
    let _ = tokio::time::timeout(GRACE, work).await;
    Err(why)
}

/// Bytes of the files of a directory.
fn size(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    let sizes = entries.flatten().filter_map(|entry| entry.metadata().ok());
    sizes.map(|metadata| metadata.len()).sum()
}

/// All of it.
fn look(job: &Job<'_>, interrupt: &AtomicBool) -> Result<Answer, RepositoryError> {
    let address = &job.source.address;
    let (store, tip) = match address.local() {
        Some(path) => Store::local(path, address)?,
        None => {
            let borrow = job.borrow.map(|path| PathBuf::from(path.as_std_path()));
            let known = job.known.commit.as_deref();
            Store::fetch(
                job.source,
                (job.store.as_std_path(), borrow.as_deref()),
                known,
                interrupt,
            )?
        }
    };
    let known = job.known.memory.as_ref();
    let unchanged = known.is_some_and(|m| m.commit == tip.commit && m.id == *tip.signed_id());
    if unchanged && job.have && job.known.accepted(job.source).is_ok() {
        return Ok(Answer::Same);
    }
    let (kind, id) = (tip.kind(), tip.signed_id().clone());
    let object = store.object(&id, kind)?;
    if kind == Kind::Tag && signed::tagged_commit(&object, tip.tag_name()) != Some(&tip.commit) {
        return Err(RepositoryError::StrangeTag { tag: id, name: tip.tag_name().to_owned() });
    }
    let at = match known {
        Some(memory) if unchanged => memory.accepted_at,
        _ => job.now,
    };
    let signed_by = signed::signer(kind, &object, (&id, &job.source.keys), at)?;
    descends(job, &store, &tip)?;
    let files = store.files(&tip.commit, address.path())?;
    Ok(Answer::News(News { commit: tip.commit, kind, id, object, signed_by, files }))
}

/// A commit must descend from the known one, or be what an operator accepted.
fn descends(job: &Job<'_>, store: &Store, tip: &Tip) -> Result<(), RepositoryError> {
    let Some(known) = job.known.commit.as_deref() else { return Ok(()) };
    let accepting = job.known.memory.as_ref().and_then(|memory| memory.accepting.as_ref());
    let accepted = accepting.map(|a| a.commit.as_str());
    let roots = [Some(known), accepted];
    if roots.into_iter().flatten().any(|root| store.descends(&tip.commit, root)) {
        return Ok(());
    }
    Err(RepositoryError::Rewritten {
        reference: job.source.address.reference().to_owned(),
        known: known.to_owned(),
        found: tip.commit.clone(),
    })
}
