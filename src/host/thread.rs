//! Ending the programs that a thread of this process waits for in code that is not ours.

use std::path::Path;

use camino::{Utf8Path, Utf8PathBuf};
use rustix::process::{Pid, Signal, kill_process};

use crate::host::read_regular;

/// The thread that reads it, as `PID/task/TID`.
const THIS: &str = "/proc/thread-self";

/// The children of one thread, in bytes.
const CHILDREN_BYTES_MAX: u64 = 1 << 20;

/// A thread of this process.
#[derive(Clone, Debug)]
pub struct Thread(Utf8PathBuf);

impl Thread {
    /// The one that asks; `None` where the system does not tell.
    pub fn this() -> Option<Self> {
        let tail = Utf8PathBuf::from_path_buf(std::fs::read_link(THIS).ok()?).ok()?;
        Some(Self(Utf8Path::new("/proc").join(tail)))
    }

    /// Kills what it has started and has not waited for, and what that has started: one of them may hold the pipe that
    /// the thread reads. Returns whether there was any.
    pub fn kill_programs(&self) -> bool {
        let mut found = children(&self.0);
        let mut next = 0;
        while let Some(program) = found.get(next) {
            let tasks = format!("/proc/{}/task", program.as_raw_nonzero());
            for task in Path::new(&tasks).read_dir().into_iter().flatten().flatten() {
                if let Ok(task) = Utf8PathBuf::from_path_buf(task.path()) {
                    found.extend(children(&task));
                }
            }
            next += 1;
        }
        for program in &found {
            // Whoever ended meanwhile needs no killing.
            let _ = kill_process(*program, Signal::KILL);
        }
        !found.is_empty()
    }
}

fn children(task: &Utf8Path) -> Vec<Pid> {
    let listed = read_regular(task.join("children"), CHILDREN_BYTES_MAX).unwrap_or_default();
    let listed = String::from_utf8_lossy(&listed).into_owned();
    listed.split_whitespace().filter_map(|id| Pid::from_raw(id.parse().ok()?)).collect()
}
