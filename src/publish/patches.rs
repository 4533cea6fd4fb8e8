//! Several patches at once: as many threads as processors, each with one old program in memory.

use std::panic::resume_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Most patches made at once: each takes several times the size of a program in memory.
const AT_ONCE_MAX: usize = 8;

/// Does `work` for each of `items` on several threads; the results are in the items' order.
pub(super) fn each<T: Sync, R: Send, E: Send>(
    items: &[T],
    work: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let threads = threads.min(AT_ONCE_MAX).min(items.len());
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(items.len()));
    let take = || {
        while let Some((at, item)) = {
            let at = next.fetch_add(1, Ordering::Relaxed);
            items.get(at).map(|item| (at, item))
        } {
            let result = work(item);
            done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((at, result));
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(take)).collect();
        for worker in workers {
            worker.join().unwrap_or_else(|panic| resume_unwind(panic));
        }
    });
    let mut done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::PublishError;

    #[test]
    fn results_are_in_the_order_of_the_items() {
        let items: Vec<usize> = (0..100).collect();
        assert_eq!(each(&items, |item| Ok::<_, PublishError>(item * 2)).unwrap()[77], 154);
        assert!(each(&[] as &[usize], |_| Ok::<_, PublishError>(())).unwrap().is_empty());
        let error = each(&items, |item| match item {
            50 => Err(PublishError::Nothing { path: "x".into() }),
            _ => Ok(()),
        });
        assert!(error.is_err());
    }
}
