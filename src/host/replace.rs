//! Replacing a file that others use: its successor keeps owner, mode and attributes.

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};

use camino::Utf8Path;
use rustix::fs::{XattrFlags, fsetxattr, lgetxattr, llistxattr};

use crate::host::{Change, about};

/// Longest list of attribute names, and longest value of one, that Linux knows.
pub(super) const XATTR_BYTES_MAX: usize = 64 << 10;

impl Change {
    /// Copies a program to `beside`, durably, as the successor of `like`: with its owner, mode and extended
    /// attributes (capabilities and labels among them), or as a program of everybody's where there is none. Says which
    /// attributes the system would not give it.
    pub fn copy_beside(
        &self,
        from: &Utf8Path,
        beside: &Utf8Path,
        like: &Utf8Path,
    ) -> io::Result<Vec<String>> {
        let (from, beside, like) = (self.real(from), self.real(beside), self.real(like));
        remove_real(&beside)?;
        let attempt = || -> io::Result<Vec<String>> {
            let mut lost = Vec::new();
            let mut source = File::open(&from)?;
            let mut copy =
                OpenOptions::new().create_new(true).write(true).mode(0o600).open(&beside)?;
            io::copy(&mut source, &mut copy)?;
            match like.symlink_metadata() {
                Ok(old) => {
                    keep_owner(&copy, &old)?;
                    // A file that nobody could run has no say in who may.
                    let runs = old.mode() & 0o111 != 0;
                    let mode = if runs { old.mode() & 0o7777 } else { 0o755 };
                    copy.set_permissions(Permissions::from_mode(mode))?;
                    lost = copy_attributes(&like, &copy)?;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    copy.set_permissions(Permissions::from_mode(0o755))?;
                }
                Err(error) => return Err(error),
            }
            copy.set_modified(source.metadata()?.modified()?)?;
            copy.sync_all()?;
            Ok(lost)
        };
        attempt().map_err(|e| about(&beside, &e))
    }

    /// Gives a file a second name where nothing is, durably enough for a copy that only people need.
    pub fn keep_as(&self, file: &Utf8Path, name: &Utf8Path) -> io::Result<()> {
        let (file, name) = (self.real(file), self.real(name));
        match std::fs::hard_link(&file, &name) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                // Some systems forbid second names of files of others.
                copy(&file, &name).map_err(|e| about(&name, &e))
            }
            linked => linked.map_err(|e| about(&name, &e)),
        }
    }

    /// The same in place of an earlier copy.
    pub fn keep_over(&self, file: &Utf8Path, name: &Utf8Path) -> io::Result<()> {
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
        remove_real(&self.real(path))
    }
}

/// A copy with the same mode and time.
fn copy(from: &Utf8Path, to: &Utf8Path) -> io::Result<()> {
    let mut source = File::open(from)?;
    let metadata = source.metadata()?;
    let mut copy = OpenOptions::new().create_new(true).write(true).mode(0o600).open(to)?;
    io::copy(&mut source, &mut copy)?;
    copy.set_permissions(metadata.permissions())?;
    copy.set_modified(metadata.modified()?)
}

fn remove_real(real: &Utf8Path) -> io::Result<()> {
    match rustix::fs::unlink(real.as_std_path()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(about(real, &error.into())),
    }
}

/// Only root may give a file away; whoever owns the old one may keep the new one.
fn keep_owner(copy: &File, old: &std::fs::Metadata) -> io::Result<()> {
    let now = copy.metadata()?;
    if (now.uid(), now.gid()) == (old.uid(), old.gid()) {
        return Ok(());
    }
    fchown(copy, Some(old.uid()), Some(old.gid()))
}

/// Attributes that a file system does not keep, or that only the system may set, are left out and named.
fn copy_attributes(from: &Utf8Path, to: &File) -> io::Result<Vec<String>> {
    let mut lost = Vec::new();
    let mut names = vec![0; XATTR_BYTES_MAX];
    let Ok(length) = llistxattr(from.as_std_path(), &mut names) else { return Ok(lost) };
    let names = names.get(..length).unwrap_or_default();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; XATTR_BYTES_MAX];
        let Ok(length) = lgetxattr(from.as_std_path(), name, &mut value) else { continue };
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
