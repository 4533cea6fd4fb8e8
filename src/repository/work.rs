//! One question to a repository, from asking to files that may be used.
//!
//! All of it blocks, so it runs on a thread of its own and is watched from outside: a repository may neither take too
//! long nor send too much.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use tokio::task::JoinHandle;

use crate::host::thread::Thread;
use crate::repository::cache::{self, PACKS};
use crate::repository::checkout::{self, File};
use crate::repository::memory::{Known, Memory};
use crate::repository::signed::{self, Kind};
use crate::repository::store::{FETCH_BYTES_MAX, Store, TOO_LARGE, Tip};
use crate::repository::{Job, RepositoryError, Source};

/// How long a repository may take: a first clone over a slow line.
const PATIENCE: Duration = Duration::from_mins(5);

/// How long a pass waits for it that can go on with what was accepted before. What is asked goes on meanwhile, and what
/// arrives is there for the next pass.
const SOON: Duration = Duration::from_secs(30);

/// How often is looked at how much has arrived.
const WATCH: Duration = Duration::from_millis(200);

/// How long an interrupted transfer may take to notice.
const GRACE: Duration = Duration::from_secs(2);

/// How often programs are killed that a transfer waits for, and how far apart: after one that was to tell what another
/// understands that one is started.
const KILLS_MAX: u32 = 20;
const KILL_PAUSE: Duration = Duration::from_millis(10);

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
        memory.files = Some(checkout::fingerprint(&self.files));
        let before = known.memory.as_ref();
        if let Some(before) = before.filter(|b| b.commit == memory.commit && b.id == memory.id) {
            memory.accepted_at = before.accepted_at;
        }
        let note = known.accepting(&self.commit, now).map(|accepting| {
            format!(
                "{} is accepted although it may not descend from the commit before: {}",
                accepting.commit, accepting.reason
            )
        });
        (memory, note)
    }
}

/// Where a question is being answered: one that was given up may go on for a while.
static ASKED: Mutex<BTreeSet<Utf8PathBuf>> = Mutex::new(BTreeSet::new());

/// One question for one place.
struct Asked(Utf8PathBuf);

impl Asked {
    /// `None` while the question before goes on.
    fn begin(store: &Utf8Path) -> Option<Self> {
        let mut asked = ASKED.lock().unwrap_or_else(PoisonError::into_inner);
        asked.insert(store.to_owned()).then(|| Self(store.to_owned()))
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        ASKED.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}

/// Whether nobody works in the place of a job.
pub(super) fn is_idle(job: &Job<'_>) -> bool {
    Asked::begin(job.store).is_some()
}

/// What is asked in a thread of its own.
#[derive(Debug, Default)]
struct Asking {
    /// Set when nobody waits any more.
    stop: AtomicBool,
    /// While it is at work.
    thread: Mutex<Option<Thread>>,
}

impl Asking {
    fn at(&self, thread: Option<Thread>) {
        *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = thread;
    }
}

/// Ends a question when nobody waits for it any more, however that came. A thread that reads what `ssh` says hears
/// nothing else before that ends.
#[derive(Debug, Default)]
struct Interrupt(Arc<Asking>);

impl Drop for Interrupt {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
        let mut killed = false;
        for _ in 0..KILLS_MAX {
            let thread = self.0.thread.lock().unwrap_or_else(PoisonError::into_inner);
            killed |= thread.as_ref().is_some_and(Thread::kill_programs);
            if !killed || thread.is_none() {
                return;
            }
            drop(thread);
            std::thread::sleep(KILL_PAUSE);
        }
    }
}

/// A question that is being asked.
#[derive(Debug)]
struct Question {
    url: String,
    work: JoinHandle<Result<Answer, RepositoryError>>,
    interrupt: Interrupt,
    /// Where arrives what is fetched.
    packs: PathBuf,
}

impl Question {
    /// Begins to ask, unless the question before goes on.
    fn begin(job: &Job<'_>) -> Result<Self, RepositoryError> {
        let url = job.source.address.url().to_owned();
        let Some(asked) = Asked::begin(job.store) else {
            return Err(RepositoryError::Busy { url });
        };
        let interrupt = Interrupt::default();
        let (source, known) = (job.source.clone(), job.known.clone());
        let (store, borrow) = (job.store.to_owned(), job.borrow.map(Utf8Path::to_owned));
        let (have, now, asking) = (job.have, job.now, Arc::clone(&interrupt.0));
        let work = tokio::task::spawn_blocking(move || {
            let _asked = asked;
            let (store, borrow) = (store.as_path(), borrow.as_deref());
            let job = Job { source: &source, known: &known, store, borrow, have, now };
            asking.at(Thread::this());
            let answer = look(&job, &asking.stop);
            asking.at(None);
            answer
        });
        Ok(Self { url, work, interrupt, packs: job.store.as_std_path().join(PACKS) })
    }

    /// The answer, in bounded time and space. Dropping the future interrupts the transfer.
    async fn answer(mut self) -> Result<Answer, RepositoryError> {
        let url = self.url;
        let before = cache::size(&self.packs);
        let deadline = tokio::time::sleep(PATIENCE);
        tokio::pin!(deadline);
        let why = loop {
            tokio::select! {
                biased;
                result = &mut self.work => return result.unwrap_or_else(|panic| {
                    Err(RepositoryError::Unreachable { url, source: Box::new(panic) })
                }),
                () = &mut deadline => {
                    break RepositoryError::Slow { url, seconds: PATIENCE.as_secs() };
                }
                () = tokio::time::sleep(WATCH) => {
                    if cache::size(&self.packs).saturating_sub(before) > FETCH_BYTES_MAX {
                        let (bytes, advice) = (FETCH_BYTES_MAX, TOO_LARGE);
                        break RepositoryError::Endless { url, bytes, advice };
                    }
                }
            }
        };
        drop(self.interrupt);
        let _ = tokio::time::timeout(GRACE, self.work).await;
        Err(why)
    }
}

/// What comes of something within a time; it goes on where that is not yet known.
async fn within<T: Send + 'static>(
    patience: Option<Duration>,
    awaited: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    let mut awaited = Box::pin(awaited);
    let Some(patience) = patience else { return Some(awaited.await) };
    if let Ok(come) = tokio::time::timeout(patience, &mut awaited).await {
        return Some(come);
    }
    tokio::spawn(awaited);
    None
}

/// Asks, in bounded time and space. Dropping the future interrupts the transfer.
pub(super) async fn ask(job: &Job<'_>) -> Result<Answer, RepositoryError> {
    let question = Question::begin(job)?;
    let url = question.url.clone();
    let can_go_on = job.have && job.known.accepted(job.source).is_ok();
    let answer = within(can_go_on.then_some(SOON), question.answer()).await;
    answer.unwrap_or(Err(RepositoryError::Slow { url, seconds: SOON.as_secs() }))
}

/// All of it.
fn look(job: &Job<'_>, interrupt: &AtomicBool) -> Result<Answer, RepositoryError> {
    let address = &job.source.address;
    let (store, tip) = match address.local() {
        Some(path) => Store::local(path, address, interrupt)?,
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
fn descends(job: &Job<'_>, store: &Store<'_>, tip: &Tip) -> Result<(), RepositoryError> {
    let Some(known) = job.known.commit.as_deref() else { return Ok(()) };
    let accepted = job.known.accepting(&tip.commit, job.now).is_some();
    if accepted || store.descends(&tip.commit, known)? {
        return Ok(());
    }
    let (reference, found) = (job.source.address.reference().to_owned(), tip.commit.clone());
    let known = known.to_owned();
    Err(match &job.known.before {
        Some(before) => {
            let before = format!("`{}` of {}", before.reference, before.url);
            RepositoryError::Unrelated { reference, known, found, before }
        }
        None => RepositoryError::Rewritten { reference, known, found },
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use camino::Utf8Path;

    use super::{Asked, within};

    #[tokio::test]
    async fn what_is_not_waited_for_any_more_goes_on() {
        let (tell, told) = tokio::sync::oneshot::channel::<u8>();
        let (done, mut heard) = tokio::sync::mpsc::channel(1);
        let awaited = async move { done.send(told.await.unwrap()).await.unwrap() };
        assert_eq!(within(Some(Duration::ZERO), awaited).await, None);
        tell.send(7).unwrap();
        assert_eq!(heard.recv().await, Some(7));
        assert_eq!(within(None, async { 8 }).await, Some(8));
    }

    #[test]
    fn place_is_asked_for_once_at_a_time() {
        let place = Utf8Path::new("/a/place/of/this/test");
        let first = Asked::begin(place);
        assert!(first.is_some() && Asked::begin(place).is_none());
        assert!(Asked::begin(&place.join("other")).is_some());
        drop(first);
        assert!(Asked::begin(place).is_some());
    }
}
