//! Replacing a file that others use: its successor keeps owner, mode and attributes.

use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io::{self, Seek as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};

use camino::Utf8Path;
use rustix::fs::{XattrFlags, fgetxattr, flistxattr, fsetxattr};

use crate::host::{Change, about};

/// Longest list of attribute names, and longest value of one, that Linux knows.
pub(super) const XATTR_BYTES_MAX: usize = 64 << 10;

/// Whose owner, mode and extended attributes (capabilities and labels among them) a copy gets.
#[derive(Clone, Copy, Debug)]
pub enum Like<'a> {
    /// Those of a program of everybody's.
    Program,
    /// Those of the file whose successor it is.
    Successor(&'a File),
    /// Those of the file that is copied.
    Itself,
}

impl Change {
    /// Copies an open file to where nothing is, durably. Says which attributes the system would not give the copy.
    /// Only what is open is read: whoever owns a directory may put something else there at any moment.
    pub fn copy_to(
        &self,
        mut source: &File,
        to: &Utf8Path,
        like: Like<'_>,
    ) -> io::Result<Vec<String>> {
        let to = self.real(to);
        let mut attempt = || -> io::Result<Vec<String>> {
            let mut copy = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&to)?;
            source.rewind()?;
            io::copy(&mut source, &mut copy)?;
            let from = source.metadata()?;
            let lost = match like {
                Like::Program => {
                    copy.set_permissions(Permissions::from_mode(0o755))?;
                    Vec::new()
                }
                Like::Successor(old) => {
                    let before = old.metadata()?;
                    // A file that nobody could run has no say in who may.
                    let runs = before.mode() & 0o111 != 0;
                    let mode = if runs { before.mode() & 0o7777 } else { 0o755 };
                    become_like(&copy, (old, &before), mode)?
                }
                Like::Itself => become_like(&copy, (source, &from), from.mode() & 0o7777)?,
            };
            copy.set_modified(from.modified()?)?;
            copy.sync_all()?;
            Ok(lost)
        };
        attempt().map_err(|e| about(&to, &e))
    }

    /// Gives a file a second name where nothing is, durably enough for a copy that only people need. It is open, too.
    pub fn keep_as(&self, (file, opened): (&Utf8Path, &File), name: &Utf8Path) -> io::Result<()> {
        let (from, to) = (self.real(file), self.real(name));
        match std::fs::hard_link(&from, &to) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                // Some systems forbid second names of files of others.
                self.copy_to(opened, name, Like::Itself).map(|_| ())
            }
            linked => linked.map_err(|e| about(&to, &e)),
        }
    }

    /// The same in place of an earlier copy.
    pub fn keep_over(&self, file: (&Utf8Path, &File), name: &Utf8Path) -> io::Result<()> {
        let new =
            name.with_file_name(format!(".{}.reconcile-new", name.file_name().unwrap_or_default()));
        self.remove_file(&new)?;
        self.keep_as(file, &new)?;
        let (from, to) = (self.real(&new), self.real(name));
        rustix::fs::rename(from.as_std_path(), to.as_std_path())
            .map_err(|e| about(&to, &e.into()))?;
        // Renaming one name of a file to another name of the same file does nothing at all.
        self.remove_file(&new)
    }

    /// Removes a file or link; nothing there is fine, a directory is an error.
    pub fn remove_file(&self, path: &Utf8Path) -> io::Result<()> {
        let real = self.real(path);
        match rustix::fs::unlink(real.as_std_path()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(error) => Err(about(&real, &error.into())),
        }
    }
}

/// Gives a copy the owner and attributes of a file, and a mode. Attributes that the system would not set are named.
fn become_like(copy: &File, (file, old): (&File, &Metadata), mode: u32) -> io::Result<Vec<String>> {
    let now = copy.metadata()?;
    // Only root may give a file away; whoever owns the old one may keep the new one.
    if (now.uid(), now.gid()) != (old.uid(), old.gid()) {
        fchown(copy, Some(old.uid()), Some(old.gid()))?;
    }
    copy.set_permissions(Permissions::from_mode(mode))?;
    copy_attributes(file, copy)
}

/// Attributes that a file system does not keep, or that only the system may set, are left out and named.
fn copy_attributes(from: &File, to: &File) -> io::Result<Vec<String>> {
    let mut lost = Vec::new();
    let mut names = vec![0; XATTR_BYTES_MAX];
    let Ok(length) = flistxattr(from, &mut names) else { return Ok(lost) };
    let names = names.get(..length).unwrap_or_default();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; XATTR_BYTES_MAX];
        let Ok(length) = fgetxattr(from, name, &mut value) else { continue };
        let value = value.get(..length).unwrap_or_default();
        match fsetxattr(to, name, value, XattrFlags::empty()) {
            Ok(()) => {}
            Err(rustix::io::Errno::NOTSUP | rustix::io::Errno::PERM) => {
                lost.push(String::from_utf8_lossy(name).into_owned());
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(lost)
}
