//! Whether the content of an installed generation is still what it was made of.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::thread;

use crate::assemble::old::{Old, SeedPlace, Trust};
use crate::format::casync::chunk::ChunkId;

/// Most threads that hash one tree.
const THREADS_MAX: usize = 16;

/// Paths below the root of a tree whose content is not what the index says, found by hashing every chunk. A chunk
/// can hold the content of several files: each of them is told. `None` when the generation itself is damaged.
pub fn damaged(generation: PathBuf, tree: PathBuf) -> Option<BTreeSet<Vec<u8>>> {
    let place = SeedPlace {
        generation,
        tree,
        touched: HashSet::new(),
        suspects: None,
        trust: Trust::Nothing,
    };
    let old = &Old::open(place)?;
    let count = old.chunks();
    let workers = thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    let each = count.div_ceil(workers).max(1);
    let found = thread::scope(|scope| {
        let parts = (0..count).step_by(each);
        let threads: Vec<_> = parts
            .map(|from| {
                let until = (from + each).min(count);
                scope.spawn(move || {
                    let wrong = (from..until).filter(|&number| !old.is_whole(number));
                    wrong.flat_map(|number| old.files_of(number)).collect::<Vec<_>>()
                })
            })
            .collect();
        let done = threads.into_iter().map(|t| t.join().unwrap_or_else(|e| resume_unwind(e)));
        done.flatten().collect::<BTreeSet<usize>>()
    });
    Some(found.into_iter().map(|node| old.nodes.path(node)).collect())
}

/// Chunks of an installed generation that can be put together from its tree, which somebody touched. `None` when the
/// generation itself is damaged.
pub fn usable(generation: PathBuf, tree: PathBuf, trust: Trust) -> Option<HashSet<ChunkId>> {
    let place = SeedPlace { generation, tree, touched: HashSet::new(), suspects: None, trust };
    let mut old = Old::open(place)?;
    let mut touched: HashMap<usize, bool> = HashMap::new();
    let mut usable = HashSet::new();
    for number in 0..old.chunks() {
        let mut as_made = true;
        for node in old.files_of(number) {
            let touched = touched.entry(node).or_insert_with(|| old.file(node).is_none());
            as_made &= !*touched;
        }
        if as_made || old.is_whole(number) {
            usable.extend(old.id(number));
        }
    }
    Some(usable)
}
