//! Watching the place of the desired state: hints that it was touched, never more than hints.
//!
//! Directories are watched, not files, because editors and checkouts put a new file in the place of the old
//! one. Every symbolic link on the way and every directory below is watched too. After each hint the watches are
//! set anew before the hint is given, so that nothing falls between.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

/// Most directories watched; what is deeper or more is left to the schedule.
const DIRECTORIES_MAX: usize = 10_000;

/// Most links followed on the way to one path, as the kernel does.
const LINKS_MAX: usize = 40;

/// Bytes of events read at once: some hundred.
const BUFFER_BYTES: usize = 16 << 10;

/// What of a directory is of interest.
#[derive(Debug, Default)]
struct Interest {
    everything: bool,
    names: BTreeSet<OsString>,
}

/// Watches on everything that decides what some paths lead to.
#[derive(Debug)]
struct Watches {
    inotify: OwnedFd,
    by_number: BTreeMap<i32, Interest>,
}

/// How long nothing is watched when watches cannot be set: a link is gone at this moment, or too much is watched on
/// this host.
const REST: Duration = Duration::from_secs(5);

/// Calls `touched` from a thread of its own, once at the beginning and then whenever something at or below one
/// of the paths may have changed. The thread ends when `touched` returns false.
pub fn watch(paths: Vec<PathBuf>, touched: impl Fn() -> bool + Send + 'static) -> io::Result<()> {
    let looking = move || {
        let mut watches = anew(&paths);
        while touched() {
            if let Err(error) = watches.wait() {
                tracing::warn!(%error, "cannot go on watching the desired state; it is watched anew");
                std::thread::sleep(REST);
            }
            watches = anew(&paths);
        }
    };
    std::thread::Builder::new().name("watch".to_owned()).stack_size(128 << 10).spawn(looking)?;
    Ok(())
}

/// Sets watches, however often that takes. What fails is said once.
fn anew(paths: &[PathBuf]) -> Watches {
    let mut said = false;
    loop {
        match Watches::set(paths) {
            Ok(watches) => return watches,
            Err(error) if said => tracing::debug!(%error, "cannot watch the desired state yet"),
            Err(error) => {
                tracing::warn!(%error, "cannot watch the desired state now; until that works it is read on schedule");
                said = true;
            }
        }
        std::thread::sleep(REST);
    }
}

impl Watches {
    fn set(paths: &[PathBuf]) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC)?;
        let mut watches = Self { inotify, by_number: BTreeMap::new() };
        for path in paths {
            let path = std::path::absolute(path)?;
            watches.add_way(&path)?;
            if path.is_dir() {
                watches.add_tree(&path)?;
            }
        }
        Ok(watches)
    }

    /// Watches each name on the way to a path that could lead elsewhere later: links, what is not there, and
    /// the last. Goes as the kernel does: `..` leads up from where a link has led.
    fn add_way(&mut self, path: &Path) -> io::Result<()> {
        let mut links_left = LINKS_MAX;
        let mut reached = PathBuf::from("/");
        let mut rest = path.to_owned();
        loop {
            let mut parts = rest.components();
            let Some(part) = parts.next() else { return Ok(()) };
            let after = parts.as_path().to_owned();
            let Component::Normal(name) = part else {
                match part {
                    Component::ParentDir => {
                        reached.pop();
                    }
                    Component::RootDir => reached = PathBuf::from("/"),
                    _ => {}
                }
                rest = after;
                continue;
            };
            let here = reached.join(name);
            let metadata = here.symlink_metadata();
            let is_link = metadata.as_ref().is_ok_and(std::fs::Metadata::is_symlink);
            let decides = after.as_os_str().is_empty() || is_link || metadata.is_err();
            if decides && let Some(interest) = self.add(&reached)? {
                interest.names.insert(name.to_owned());
            }
            if metadata.is_err() || (is_link && links_left == 0) {
                return Ok(());
            }
            if is_link {
                links_left -= 1;
                rest = std::fs::read_link(&here)?.join(after);
            } else {
                (reached, rest) = (here, after);
            }
        }
    }

    fn add_tree(&mut self, root: &Path) -> io::Result<()> {
        let mut pending = vec![root.to_owned()];
        while let Some(directory) = pending.pop() {
            match self.add(&directory)? {
                Some(interest) => interest.everything = true,
                None => continue,
            }
            for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    pending.push(entry.path());
                }
            }
        }
        Ok(())
    }

    /// Watches a directory; `None` when it is not there or would be one too many.
    fn add(&mut self, directory: &Path) -> io::Result<Option<&mut Interest>> {
        if self.by_number.len() >= DIRECTORIES_MAX {
            return Ok(None);
        }
        let flags = WatchFlags::CREATE
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::DELETE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ATTRIB
            | WatchFlags::ONLYDIR;
        match inotify::add_watch(&self.inotify, directory, flags) {
            Ok(number) => Ok(Some(self.by_number.entry(number).or_default())),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS | Errno::LOOP) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns once something of interest happened.
    fn wait(&self) -> io::Result<()> {
        let mut buffer = [const { MaybeUninit::uninit() }; BUFFER_BYTES];
        let mut events = Reader::new(&self.inotify, &mut buffer);
        loop {
            let event = match events.next() {
                Ok(event) => event,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let itself = ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::QUEUE_OVERFLOW;
            if event.events().intersects(itself | ReadFlags::UNMOUNT) {
                return Ok(());
            }
            let Some(interest) = self.by_number.get(&event.wd()) else { continue };
            let name = event.file_name().map(|name| std::ffi::OsStr::from_bytes(name.to_bytes()));
            if interest.everything || name.is_some_and(|name| interest.names.contains(name)) {
                return Ok(());
            }
        }
    }
}
