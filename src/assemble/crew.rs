//! Threads that work for the writer of a tree, one for each core up to eight.
//!
//! Chunks are opened and whole files copied beside the writer. A job is given once and looked for when its result is
//! needed, so that nobody is woken for each chunk.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use crate::format::casync::chunk::Opener;
use crate::parallel::processors;

/// Bytes of stack of each thread.
const STACK_BYTES: usize = 512 << 10;

/// What a thread keeps from one job to the next.
#[derive(Debug, Default)]
pub(super) struct Bench {
    /// Opens chunks.
    pub(super) opener: Opener,
    /// Room for bytes that were read.
    pub(super) buffer: Vec<u8>,
}

type Job = Box<dyn FnOnce(&mut Bench) + Send>;

/// The threads. Whoever drops them waits until everything given was done.
pub(super) struct Crew {
    queue: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    came: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    over: bool,
}

impl Crew {
    /// Starts the threads.
    pub(super) fn new() -> Self {
        let queue = Arc::<Queue>::default();
        let started = (0..processors()).map_while(|_| {
            let queue = Arc::clone(&queue);
            let builder = thread::Builder::new().name("crew".to_owned()).stack_size(STACK_BYTES);
            builder.spawn(move || queue.work()).ok()
        });
        let threads = started.collect();
        Self { queue, threads }
    }

    /// Has something done; the result comes there, or nothing where it was not to be done. Nobody waits here: how much
    /// is given at once is for the giver to bound.
    pub(super) fn give<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Bench) -> T + Send + 'static,
    ) -> Receiver<T> {
        let (to, done) = sync_channel(1);
        let job: Job = Box::new(move |bench| {
            // Whoever wanted it may have given up.
            let _ = to.send(job(bench));
        });
        if self.threads.is_empty() {
            job(&mut Bench::default());
        } else {
            self.queue.lock().jobs.push_back(job);
            self.queue.came.notify_one();
        }
        done
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.queue.lock().over = true;
        self.queue.came.notify_all();
        for thread in self.threads.drain(..) {
            // What a job had to say it said to whoever gave it.
            let _ = thread.join();
        }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut bench = Bench::default();
        while let Some(job) = self.next() {
            // Its giver sees that nothing comes.
            if catch_unwind(AssertUnwindSafe(|| job(&mut bench))).is_err() {
                bench = Bench::default();
            }
        }
    }

    fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            if state.over {
                return None;
            }
            state = self.came.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_given_is_done_before_the_crew_goes() {
        let done = Arc::new(Mutex::new(0));
        let crew = Crew::new();
        for _ in 0..100 {
            let done = Arc::clone(&done);
            crew.give(move |_| *done.lock().unwrap() += 1);
        }
        drop(crew);
        assert_eq!(*done.lock().unwrap(), 100);
    }

    #[test]
    fn crew_survives_a_job_that_panics() {
        let crew = Crew::new();
        let lost: Vec<Receiver<u8>> =
            (0..20).map(|_| crew.give(|_| panic!("on purpose"))).collect();
        assert!(lost.iter().all(|result| result.recv().is_err()));
        assert_eq!(crew.give(|_| 7).recv().unwrap(), 7);
    }
}
