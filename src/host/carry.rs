//! Carrying what belongs to the host alone from one tree into the next.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use camino::Utf8Path;
use rustix::fs::{AtFlags, CWD, FileType, Mode};
use rustix::io::Errno;

use crate::host::{Change, about, beneath};
use crate::model::glob::any_covers;

/// The first path that is a directory in the tree at `real`, with something in it that matches a pattern, and where the
/// next tree `hides` that by something else: what is preserved would have no place there.
pub fn hidden(
    real: &Utf8Path,
    patterns: &[String],
    hides: &dyn Fn(&[u8]) -> bool,
) -> io::Result<Option<Vec<u8>>> {
    let root = rustix::fs::openat(CWD, real.as_std_path(), beneath::DIRECTORY, Mode::empty())
        .map_err(|e| about(real, &e.into()))?;
    hidden_below(&root, (&[], None), patterns, hides).map_err(|e| about(real, &e))
}

/// `hiding` is the directory itself or the one above that is none in the next tree.
fn hidden_below(
    directory: &OwnedFd,
    (path, hiding): (&[u8], Option<&[u8]>),
    patterns: &[String],
    hides: &dyn Fn(&[u8]) -> bool,
) -> io::Result<Option<Vec<u8>>> {
    for (name, kind) in beneath::entries(directory)? {
        let inner = match path {
            [] => name.to_bytes().to_vec(),
            _ => [path, name.to_bytes()].join(&b'/'),
        };
        if any_covers(patterns, &inner) {
            if hiding.is_some() {
                return Ok(hiding.map(<[u8]>::to_vec));
            }
        } else if kind == FileType::Directory {
            let hiding = hiding.or_else(|| hides(&inner).then_some(inner.as_slice()));
            let below = open(directory, &name)?;
            if let Some(found) = hidden_below(&below, (&inner, hiding), patterns, hides)? {
                return Ok(Some(found));
            }
        }
    }
    Ok(None)
}

/// Name of a file on its way to its place in a tree that is in use.
const AGAIN: &CStr = c".reconcile-carried";

impl Change {
    /// Gives everything in `from` that matches a pattern a second name at the same path in `to`, where it takes
    /// the place of whatever is there. Files stay the same files, so whoever has one open goes on with it.
    /// Nothing outside both trees is looked at or touched, whatever links they hold.
    pub fn carry(
        &self,
        from: &Utf8Path,
        to: &Utf8Path,
        patterns: &[String],
    ) -> io::Result<Carried> {
        let mut carried = Carried::default();
        self.carry_all(from, to, patterns, (&mut carried, Turn::First))?;
        Ok(carried)
    }

    /// Does the same for what came to another file in `from` since it was carried, and not in `to`: `to` is in use by now,
    /// and whatever is newer there stays.
    pub fn carry_again(
        &self,
        from: &Utf8Path,
        to: &Utf8Path,
        patterns: &[String],
        mut carried: Carried,
    ) -> io::Result<()> {
        self.carry_all(from, to, patterns, (&mut carried, Turn::Again))
    }

    fn carry_all(
        &self,
        from: &Utf8Path,
        to: &Utf8Path,
        patterns: &[String],
        (carried, turn): (&mut Carried, Turn),
    ) -> io::Result<()> {
        let (from, to) = (self.real(from), self.real(to));
        let open = |path: &Utf8Path| {
            rustix::fs::openat(CWD, path.as_std_path(), beneath::DIRECTORY, Mode::empty())
                .map_err(|e| about(path, &e.into()))
        };
        let to = open(&to)?;
        let mut work = Carrier { to, patterns, above: Vec::new(), carried, turn };
        work.directory(&open(&from)?, &[]).map_err(|e| about(&from, &e))
    }
}

/// Files that were carried: the inode of each by its path.
#[derive(Clone, Debug, Default)]
pub struct Carried(HashMap<Vec<u8>, u64>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    First,
    Again,
}

struct Carrier<'a> {
    carried: &'a mut Carried,
    turn: Turn,
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
                let to = to.try_clone()?;
                self.bring(from, &name, &to, &inner)?;
            } else if kind == FileType::Directory {
                let below = open(from, &name)?;
                self.above.push((name.clone(), below.try_clone()?));
                self.directory(&below, &inner)?;
                self.above.pop();
            }
        }
        Ok(())
    }

    fn bring(&mut self, from: &OwnedFd, name: &CStr, to: &OwnedFd, path: &[u8]) -> io::Result<()> {
        if beneath::kind_of(from.as_fd(), name)? == Some(FileType::Directory) {
            let from = open(from, name)?;
            let to = match self.turn {
                Turn::Again => match beneath::open(to, name) {
                    Ok(to) => to,
                    Err(Errno::NOENT) => beneath::make_like(&from, to, name)?,
                    // Something newer is there.
                    Err(_) => return Ok(()),
                },
                Turn::First => {
                    beneath::remove(to.as_fd(), name)?;
                    beneath::make_like(&from, to, name)?
                }
            };
            for (inner, _) in beneath::entries(&from)? {
                let path = [path, inner.to_bytes()].join(&b'/');
                self.bring(&from, &inner, &to, &path)?;
            }
            return Ok(());
        }
        if self.turn == Turn::First {
            bring(from.as_fd(), name, to.as_fd())?;
            // As it was linked, not as it was seen before.
            if let Some(inode) = inode(to, name)? {
                self.carried.0.insert(path.to_vec(), inode);
            }
            return Ok(());
        }
        let known = self.carried.0.get(path).copied();
        let (now, there) = (inode(from, name)?, inode(to, name)?);
        if now.is_none() || now == known || there.is_some() && (there == now || there != known) {
            return Ok(());
        }
        beneath::remove(to.as_fd(), AGAIN)?;
        link(from.as_fd(), name, to.as_fd(), AGAIN)?;
        match rustix::fs::renameat(to, AGAIN, to, name) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The directory of the new tree at the path of the one that is looked at, made where it is missing.
    fn counterpart(&self) -> io::Result<OwnedFd> {
        let mut to = self.to.try_clone()?;
        for (name, from) in &self.above {
            to = match beneath::open(&to, name) {
                Ok(next) => next,
                Err(Errno::NOENT) => beneath::make_like(from, &to, name)?,
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

fn inode(parent: &OwnedFd, name: &CStr) -> io::Result<Option<u64>> {
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat.st_ino)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
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
    link(from, name, to, name)
}

fn link(from: BorrowedFd<'_>, name: &CStr, to: BorrowedFd<'_>, new: &CStr) -> io::Result<()> {
    // Links, pipes and sockets have second names like files.
    match rustix::fs::linkat(from, name, to, new, AtFlags::empty()) {
        // Gone meanwhile.
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
