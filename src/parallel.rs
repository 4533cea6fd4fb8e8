//! Work on many items with every processor.

use std::panic::resume_unwind;
use std::thread;

/// Most threads that work on one list.
pub const THREADS_MAX: usize = 8;

/// Works on all items and keeps their order. `worth` is how many of them are worth a thread: working on them takes
/// some times as long as starting one.
pub fn in_parallel<T: Sync, R: Send>(
    items: &[T],
    worth: usize,
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let workers = workers(items.len(), worth);
    if workers == 1 {
        return items.iter().map(work).collect();
    }
    let work = &work;
    thread::scope(|scope| {
        let mut parts = items.chunks(items.len().div_ceil(workers));
        let mine = parts.next().unwrap_or_default();
        let threads: Vec<_> =
            parts.map(|part| scope.spawn(|| part.iter().map(work).collect::<Vec<_>>())).collect();
        let mut done: Vec<R> = Vec::with_capacity(items.len());
        done.extend(mine.iter().map(work));
        for thread in threads {
            done.extend(thread.join().unwrap_or_else(|e| resume_unwind(e)));
        }
        done
    })
}

/// How many threads are worth it for so many items. How many processors there are is asked only where several could be
/// used: the answer is in several files.
pub fn workers(count: usize, worth: usize) -> usize {
    match count / worth.max(1) {
        0 | 1 => 1,
        enough => processors().min(enough),
    }
}

/// Processors that this program may use, at most [`THREADS_MAX`].
pub fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_items_keep_their_order() {
        let items: Vec<usize> = (0..1000).collect();
        for worth in [0, 1, 10, 999, 1001] {
            assert_eq!(in_parallel(&items, worth, |item| item + 1), (1..=1000).collect::<Vec<_>>());
        }
        assert!(in_parallel(&[] as &[usize], 1, |item| *item).is_empty());
    }
}
