//! Directories walked level by level, each by one name in an open one.
//!
//! Nothing is reached through a link or across a mount whatever happens to names meanwhile, and a path may be
//! longer than the system takes at once.

use std::ffi::{CStr, CString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, RawDir, ResolveFlags, Uid};
use rustix::io::Errno;

/// Bytes of directory entries read at once.
const DIRECTORY_BUFFER_BYTES: usize = 4096;

/// What a directory is opened with.
pub(super) const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What keeps a look-up in its directory and on its mount.
pub(super) const CONFINED: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// Opens a directory by its name in another one. `XDEV` when something is mounted there.
pub(super) fn open(parent: impl AsFd, name: &CStr) -> Result<OwnedFd, Errno> {
    match rustix::fs::openat2(&parent, name, DIRECTORY, Mode::empty(), CONFINED) {
        // Kernels before 5.6 and old seccomp profiles: a bind mount of the same file system is not seen.
        Err(Errno::NOSYS) => {
            let opened = rustix::fs::openat(&parent, name, DIRECTORY, Mode::empty())?;
            let same = rustix::fs::fstat(&opened)?.st_dev == rustix::fs::fstat(&parent)?.st_dev;
            if same { Ok(opened) } else { Err(Errno::XDEV) }
        }
        opened => opened,
    }
}

/// Names of all entries of a directory and whether each is a directory.
pub(super) fn entries(directory: &OwnedFd) -> io::Result<Vec<(CString, FileType)>> {
    let mut buffer = [const { MaybeUninit::uninit() }; DIRECTORY_BUFFER_BYTES];
    let mut entries = RawDir::new(directory, &mut buffer);
    let mut found = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => match kind_of(directory.as_fd(), name)? {
                Some(kind) => kind,
                None => continue,
            },
            known => known,
        };
        found.push((name.to_owned(), kind));
    }
    Ok(found)
}

/// What is at a name; `None` for nothing.
pub(super) fn kind_of(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<Option<FileType>> {
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Removes whatever is at a name, a directory with all it holds. A directory with something mounted in it is
/// left with that.
pub(super) fn remove(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    let refused = match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        // Linux says the first of directories, POSIX the second.
        Err(errno @ (Errno::ISDIR | Errno::PERM)) => errno,
        Err(errno) => return Err(errno.into()),
    };
    let directory = match open(parent, name) {
        Ok(directory) => directory,
        Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTDIR | Errno::LOOP) => return Err(refused.into()),
        Err(Errno::XDEV) => return Err(mounted(name)),
        Err(errno) => return Err(errno.into()),
    };
    for (inner, kind) in entries(&directory)? {
        let removed = match kind {
            FileType::Directory => Err(Errno::ISDIR),
            _ => rustix::fs::unlinkat(&directory, &inner, AtFlags::empty()),
        };
        match removed {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR) => remove(directory.as_fd(), &inner)?,
            Err(errno) => return Err(errno.into()),
        }
    }
    match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Makes a directory with the mode and, where that is allowed, the owner of another one, and opens it.
pub(super) fn make_like(from: &OwnedFd, parent: impl AsFd, name: &CStr) -> io::Result<OwnedFd> {
    let stat = rustix::fs::fstat(from)?;
    rustix::fs::mkdirat(&parent, name, Mode::RWXU)?;
    let made = open(&parent, name)?;
    let (owner, group) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    // Only root may give a directory away; for anybody else it is theirs already.
    let _ = rustix::fs::fchown(&made, Some(owner), Some(group));
    rustix::fs::fchmod(&made, Mode::from_raw_mode(stat.st_mode))?;
    Ok(made)
}

/// Why something that is mounted stays.
pub(super) fn mounted(name: &CStr) -> io::Error {
    let why = format!(
        "something is mounted at {}, which was left alone; unmount it",
        name.to_string_lossy().escape_debug()
    );
    io::Error::new(io::ErrorKind::CrossesDevices, why)
}
