//! Carrying what belongs to the host alone from one tree into the next.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use camino::Utf8Path;

use crate::host::{Change, about};
use crate::model::glob::any_covers;

impl Change {
    /// Gives everything in `from` that matches a pattern a second name at the same path in `to`, where it takes
    /// the place of whatever is there. Files stay the same files, so whoever has one open goes on with it.
    pub fn carry(&self, from: &Utf8Path, to: &Utf8Path, patterns: &[String]) -> io::Result<()> {
        let (from, to) = (self.real(from), self.real(to));
        let trees = Trees { from: from.as_std_path(), to: to.as_std_path(), patterns };
        trees.directory(&[]).map_err(|e| about(&from, &e))
    }
}

struct Trees<'a> {
    from: &'a Path,
    to: &'a Path,
    patterns: &'a [String],
}

impl Trees<'_> {
    fn directory(&self, path: &[u8]) -> io::Result<()> {
        for entry in fs::read_dir(below(self.from, path))? {
            let entry = entry?;
            let name = entry.file_name();
            let inner = if path.is_empty() {
                name.as_bytes().to_vec()
            } else {
                [path, name.as_bytes()].join(&b'/')
            };
            if any_covers(self.patterns, &inner) {
                self.make_parents(path)?;
                bring(&entry.path(), &below(self.to, &inner))?;
            } else if entry.file_type()?.is_dir() {
                self.directory(&inner)?;
            }
        }
        Ok(())
    }

    /// Directories above what is carried that the new tree does not have.
    fn make_parents(&self, path: &[u8]) -> io::Result<()> {
        let place = below(self.to, path);
        let found = place.symlink_metadata();
        if path.is_empty() || found.as_ref().is_ok_and(fs::Metadata::is_dir) {
            return Ok(());
        }
        let parent = path.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        self.make_parents(path.get(..parent).unwrap_or_default())?;
        clear(&place)?;
        make_like(&below(self.from, path), &place)
    }
}

fn below(directory: &Path, path: &[u8]) -> std::path::PathBuf {
    if path.is_empty() { directory.to_owned() } else { directory.join(OsStr::from_bytes(path)) }
}

fn bring(from: &Path, to: &Path) -> io::Result<()> {
    clear(to)?;
    let metadata = from.symlink_metadata()?;
    if metadata.is_dir() {
        make_like(from, to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            bring(&entry.path(), &to.join(entry.file_name()))?;
        }
        return Ok(());
    }
    // Links, pipes and sockets have second names like files.
    fs::hard_link(from, to)
}

#[expect(clippy::disallowed_methods, reason = "this is the door")]
fn clear(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn make_like(from: &Path, to: &Path) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, chown};
    let metadata = from.symlink_metadata()?;
    fs::create_dir(to)?;
    // Only root may give a directory away; for anybody else it is theirs already.
    let _ = chown(to, Some(metadata.uid()), Some(metadata.gid()));
    fs::set_permissions(to, metadata.permissions())
}
