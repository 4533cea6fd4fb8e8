//! Carrying what belongs to the host alone from one tree into the next.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use camino::Utf8Path;
use rustix::fs::{AtFlags, CWD, FileType, Mode};
use rustix::io::Errno;

use crate::host::{Change, about, beneath};
use crate::model::glob::any_covers;

impl Change {
    /// Gives everything in `from` that matches a pattern a second name at the same path in `to`, where it takes
    /// the place of whatever is there. Files stay the same files, so whoever has one open goes on with it.
    /// Nothing outside both trees is looked at or touched, whatever links they hold.
    pub fn carry(&self, from: &Utf8Path, to: &Utf8Path, patterns: &[String]) -> io::Result<()> {
        let (from, to) = (self.real(from), self.real(to));
        let open = |path: &Utf8Path| {
            rustix::fs::openat(CWD, path.as_std_path(), beneath::DIRECTORY, Mode::empty())
                .map_err(|e| about(path, &e.into()))
        };
        let mut carrier = Carrier { to: open(&to)?, patterns, above: Vec::new() };
        carrier.directory(&open(&from)?, &[]).map_err(|e| about(&from, &e))
    }
}

struct Carrier<'a> {
    /// The root of the new tree.
    to: OwnedFd,
    patterns: &'a [String],
    /// The directories from the root of the old tree to the one that is looked at.
    above: Vec<(CString, OwnedFd)>,
}

impl Carrier<'_> {
    fn directory(&mut self, from: &OwnedFd, path: &[u8]) -> io::Result<()> {
        let mut to = None;
        for (name, kind) in beneath::entries(from)? {
            let inner = match path {
                [] => name.to_bytes().to_vec(),
                _ => [path, name.to_bytes()].join(&b'/'),
            };
            if any_covers(self.patterns, &inner) {
                let to = match &to {
                    Some(to) => to,
                    None => to.insert(self.counterpart()?),
                };
                bring(from.as_fd(), &name, to.as_fd())?;
            } else if kind == FileType::Directory {
                let below = open(from, &name)?;
                self.above.push((name.clone(), below.try_clone()?));
                self.directory(&below, &inner)?;
                self.above.pop();
            }
        }
        Ok(())
    }

    /// The directory of the new tree at the path of the one that is looked at, made where it is missing.
    fn counterpart(&self) -> io::Result<OwnedFd> {
        let mut to = self.to.try_clone()?;
        for (name, from) in &self.above {
            to = match beneath::open(&to, name) {
                Ok(next) => next,
                // Nothing, or something of the archive that is no directory and gives way.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
                    beneath::remove(to.as_fd(), name)?;
                    beneath::make_like(from, &to, name)?
                }
                Err(errno) => return Err(errno.into()),
            };
        }
        Ok(to)
    }
}

fn open(parent: &OwnedFd, name: &CStr) -> io::Result<OwnedFd> {
    beneath::open(parent, name).map_err(|errno| match errno {
        Errno::XDEV => beneath::mounted(name),
        errno => errno.into(),
    })
}

pub(super) fn bring(from: BorrowedFd<'_>, name: &CStr, to: BorrowedFd<'_>) -> io::Result<()> {
    beneath::remove(to, name)?;
    if beneath::kind_of(from, name)? == Some(FileType::Directory) {
        let from = beneath::open(from, name)?;
        let to = beneath::make_like(&from, to, name)?;
        for (inner, _) in beneath::entries(&from)? {
            bring(from.as_fd(), &inner, to.as_fd())?;
        }
        return Ok(());
    }
    // Links, pipes and sockets have second names like files.
    match rustix::fs::linkat(from, name, to, name, AtFlags::empty()) {
        // Gone meanwhile.
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
