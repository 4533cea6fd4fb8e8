//! Chunks into the cache and into other copies, stores like any other.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::host::create_anew_at;

/// Keeps a chunk in a store. Not synced: one torn by a power failure fails its digest.
#[expect(clippy::disallowed_methods, reason = "stores of chunks are no part of the managed host")]
pub(super) fn keep(store: &Path, name: &str, stored: &[u8]) -> io::Result<()> {
    let name = Path::new(name);
    let (Some(prefix), Some(name)) = (name.parent(), name.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let prefix = store.join(prefix);
    // A link in its place could lead anywhere.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = match rustix::fs::open(&prefix, flags, Mode::empty()) {
        Err(Errno::NOENT) => {
            fs::create_dir_all(&prefix)?;
            rustix::fs::open(&prefix, flags, Mode::empty())?
        }
        opened => opened?,
    };
    let staged = Path::new(name).with_extension("new");
    // Whatever is there was left by somebody who was killed, or by somebody else.
    create_anew_at(&directory, &staged)?.write_all(stored)?;
    Ok(rustix::fs::renameat(&directory, &staged, &directory, name)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunk_is_not_written_through_a_link() {
        let (cache, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let home = cache.path();
        for _ in 0..2 {
            keep(home, "0000/0000aa.cacnk", b"chunk").unwrap();
        }
        assert_eq!(fs::read(home.join("0000/0000aa.cacnk")).unwrap(), b"chunk");
        std::os::unix::fs::symlink(outside.path(), home.join("0001")).unwrap();
        assert!(keep(home, "0001/0001aa.cacnk", b"chunk").is_err());
        let victim = outside.path().join("victim");
        std::os::unix::fs::symlink(&victim, home.join("0000/0000bb.new")).unwrap();
        keep(home, "0000/0000bb.cacnk", b"chunk").unwrap();
        assert_eq!(fs::read(home.join("0000/0000bb.cacnk")).unwrap(), b"chunk");
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}
