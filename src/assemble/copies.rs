//! Whole files that are copied beside the writer.
//!
//! A name in the new tree and all that a list of changes tells of a file are made by the writer; its content and its
//! times follow, and what `stat` says then is noted in the list.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::Receiver;

use rustix::fs::Timestamps;

use crate::assemble::content::copy_whole;
use crate::assemble::crew::Crew;
use crate::assemble::error::AssembleError;
use crate::host::nodes::node_stat;
use crate::model::snapshot::{NodeStat, NodesBuilder};

/// Files given away together: waking a thread takes as long as copying a small one.
const BATCH_FILES: usize = 16;

/// Bytes given away together: a large file goes by itself.
const BATCH_BYTES: u64 = 256 << 10;

/// Batches under way. Each of their files takes two descriptors, and a process may have 1,024.
const BATCHES_MAX: usize = 6;

/// A file to fill.
pub(super) struct Copy {
    /// Its number in the list.
    pub(super) number: u32,
    /// Its path below the root of the tree.
    pub(super) path: Vec<u8>,
    pub(super) from: File,
    pub(super) to: File,
    pub(super) times: Option<Timestamps>,
    /// What is known of it already.
    pub(super) stat: NodeStat,
}

type Done = Result<Vec<(u32, NodeStat)>, AssembleError>;

/// The files that are under way.
pub(super) struct Copies {
    crew: Arc<Crew>,
    /// The file system may share blocks.
    pub(super) shares: Arc<AtomicBool>,
    open: Vec<Copy>,
    bytes: u64,
    given: VecDeque<Receiver<Done>>,
}

impl Copies {
    pub(super) fn new(crew: Arc<Crew>) -> Self {
        let (open, given) = (Vec::new(), VecDeque::new());
        Self { crew, shares: Arc::new(AtomicBool::new(true)), open, bytes: 0, given }
    }

    /// Has a file filled, now or soon.
    pub(super) fn add(&mut self, copy: Copy, list: &mut NodesBuilder) -> Result<(), AssembleError> {
        self.bytes += copy.stat.size;
        self.open.push(copy);
        if self.open.len() >= BATCH_FILES || self.bytes >= BATCH_BYTES {
            self.give();
        }
        self.wait(BATCHES_MAX, list)
    }

    /// Waits for all of them.
    pub(super) fn finish(&mut self, list: &mut NodesBuilder) -> Result<(), AssembleError> {
        self.give();
        self.wait(0, list)
    }

    fn give(&mut self) {
        let (batch, shares) = (std::mem::take(&mut self.open), Arc::clone(&self.shares));
        self.bytes = 0;
        self.given.push_back(self.crew.give(move |bench| {
            let filled = batch.into_iter().map(|copy| fill(copy, &shares, &mut bench.buffer));
            filled.collect()
        }));
    }

    /// Waits until no more than so many batches are under way.
    fn wait(&mut self, most: usize, list: &mut NodesBuilder) -> Result<(), AssembleError> {
        while self.given.len() > most {
            let done = self.given.pop_front().and_then(|given| given.recv().ok());
            let died = || Err(AssembleError::Died("a copy was given up".to_owned()));
            for (number, stat) in done.unwrap_or_else(died)? {
                list.update(number, stat);
            }
        }
        Ok(())
    }
}

fn fill(
    copy: Copy,
    shares: &AtomicBool,
    buffer: &mut Vec<u8>,
) -> Result<(u32, NodeStat), AssembleError> {
    let Copy { number, path, from, to, times, stat } = copy;
    let filled = copy_whole(&from, &to, stat.size, shares, buffer).and_then(|()| {
        times.map_or(Ok(()), |times| rustix::fs::futimens(&to, &times))?;
        Ok(rustix::fs::fstat(&to)?)
    });
    let found = filled.map_err(|source| {
        let path = path.escape_ascii().to_string();
        AssembleError::Write { action: "write", path, source }
    })?;
    let NodeStat { offset, attributes, .. } = stat;
    Ok((number, NodeStat { offset, attributes, ..node_stat(&found) }))
}
