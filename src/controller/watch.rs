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
use std::path::{Path, PathBuf};

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

/// Calls `touched` from a thread of its own, once at the beginning and then whenever something at or below one
/// of the paths may have changed. The thread ends when `touched` returns false.
pub fn watch(paths: Vec<PathBuf>, touched: impl Fn() -> bool + Send + 'static) -> io::Result<()> {
    let mut watches = Watches::set(&paths)?;
    let looking = move || {
        while touched() {
            let wait = || watches.wait().and_then(|()| Watches::set(&paths));
            match wait() {
                Ok(anew) => watches = anew,
                Err(error) => {
                    tracing::warn!(%error, "cannot watch the desired state any more; it is read on schedule");
                    return;
                }
            }
        }
    };
    std::thread::Builder::new().name("watch".to_owned()).stack_size(128 << 10).spawn(looking)?;
    Ok(())
}

impl Watches {
    fn set(paths: &[PathBuf]) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC)?;
        let mut watches = Self { inotify, by_number: BTreeMap::new() };
        for path in paths {
            let path = std::path::absolute(path)?;
            let mut links_left = LINKS_MAX;
            watches.add_way(&path, &mut links_left)?;
            if path.is_dir() {
                watches.add_tree(&path)?;
            }
        }
        Ok(watches)
    }

    /// Watches each name on the way to a path that could lead elsewhere later: links, what is not there, and
    /// the last.
    fn add_way(&mut self, path: &Path, links_left: &mut usize) -> io::Result<()> {
        let mut reached = PathBuf::from("/");
        let mut names = path.components().filter_map(|part| match part {
            std::path::Component::Normal(name) => Some(name),
            _ => None,
        });
        let mut next = names.next();
        while let Some(name) = next {
            let here = reached.join(name);
            next = names.next();
            let metadata = here.symlink_metadata();
            let is_link = metadata.as_ref().is_ok_and(std::fs::Metadata::is_symlink);
            let decides = next.is_none() || is_link || metadata.is_err();
            if decides && let Some(interest) = self.add(&reached)? {
                interest.names.insert(name.to_owned());
            }
            if metadata.is_err() {
                return Ok(());
            }
            if is_link && *links_left > 0 {
                *links_left -= 1;
                let target = std::fs::read_link(&here)?;
                self.add_way(&reached.join(target), links_left)?;
            }
            reached = here;
        }
        Ok(())
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
