//! Paths below another root than `/`: no link in them leads out of it.

use std::collections::VecDeque;
use std::os::fd::{BorrowedFd, OwnedFd};

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::host::spot::Last;

/// Links that are followed for one path, as Linux does.
const LINKS_MAX: usize = 40;

/// Length of a name that no file system takes: whoever looks for it is told an error, not that nothing is there.
const NAME_TOO_LONG: usize = 256;

/// Where the directory that a path is in really is, and the rest of the path, where a link on the way would lead out of
/// `root`; `None` where the path can be used as it is written.
pub(super) fn resolve(root: &Utf8Path, path: &Utf8Path, last: Last) -> Option<Utf8PathBuf> {
    if is_plain(root, path, last) {
        return None;
    }
    let mut pending: VecDeque<String> = parts(path.as_str()).collect();
    // `DIRECTORY/.` is what the directory leads to.
    let last_stays = last == Last::Stays && !path.as_str().ends_with("/.");
    let stays = pending.pop_back_if(|part| last_stays && part != "..");
    let mut inside: Vec<String> = Vec::new();
    let mut leaves = false;
    let mut links = 0;
    while let Some(part) = pending.pop_front() {
        if part == ".." {
            leaves |= inside.pop().is_none();
            continue;
        }
        inside.push(part);
        let here = root.join(inside.join("/"));
        let Ok(target) = rustix::fs::readlink(here.as_std_path(), Vec::new()) else { continue };
        links += 1;
        if links > LINKS_MAX {
            // Linux refuses such a path, too.
            let refused = root.join("-".repeat(NAME_TOO_LONG));
            return Some(refused.join(path.as_str().trim_start_matches('/')));
        }
        let target = target.to_string_lossy();
        inside.pop();
        if target.starts_with('/') {
            leaves = true;
            inside.clear();
        }
        for part in parts(&target).collect::<Vec<_>>().into_iter().rev() {
            pending.push_front(part);
        }
    }
    inside.extend(stays);
    leaves.then(|| root.join(inside.join("/")))
}

/// The path that was refused since links lead nowhere from it, where `real` is what came of one.
pub(super) fn circle(real: &Utf8Path) -> Option<Utf8PathBuf> {
    let is_mark = |part: &Utf8Component<'_>| {
        part.as_str().len() == NAME_TOO_LONG && part.as_str().bytes().all(|byte| byte == b'-')
    };
    let parts = || real.components();
    parts().any(|part| is_mark(&part)).then(|| parts().filter(|part| !is_mark(part)).collect())
}

/// Whether no link is on the way, as one call tells. What is not there is none.
fn is_plain(root: &Utf8Path, path: &Utf8Path, last: Last) -> bool {
    let inside = path.as_str().trim_matches('/');
    let place = root.join(match last {
        Last::Followed => inside,
        Last::Stays => inside.rsplit_once('/').map_or("", |(directory, _)| directory),
    });
    // What `..` means depends on links.
    !inside.contains("..")
        && match open_plain(CWD, &place, OFlags::PATH) {
            Ok(_) => true,
            Err(error) => matches!(error, Errno::NOENT | Errno::NOTDIR),
        }
}

/// Opens a path of this machine in which no part, the last one included, is a link; [`Errno::LOOP`] where one is.
pub(super) fn open_plain(
    at: BorrowedFd<'_>,
    real: &Utf8Path,
    flags: OFlags,
) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::CLOEXEC;
    rustix::fs::openat2(at, real.as_std_path(), flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)
}

fn parts(path: &str) -> impl DoubleEndedIterator<Item = String> {
    let parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
    parts.map(str::to_owned)
}
