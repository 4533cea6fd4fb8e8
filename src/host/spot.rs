//! Where a path really is, so that two names of one place are told from two places.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;

use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::OFlags;

use crate::host::Look;
use crate::host::inside::open_plain;
use crate::model::spot::Spot;

/// Whether a link at the path itself is followed, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// It is what the path is about.
    Stays,
    /// It is one more name.
    Followed,
}

/// Looks places up, each directory once.
#[derive(Debug)]
pub struct Spots<'h> {
    host: &'h Look,
    directories: HashMap<Utf8PathBuf, Option<Directory>>,
}

/// A directory that exists.
#[derive(Clone, Debug)]
struct Directory {
    device: u64,
    inode: u64,
    /// Its path on this machine that holds no link.
    canonical: Option<Utf8PathBuf>,
}

impl<'h> Spots<'h> {
    /// None looked up yet.
    pub fn new(host: &'h Look) -> Self {
        Self { host, directories: HashMap::new() }
    }

    /// Where a path is: the nearest directory above it that exists, links followed, and the rest. `None` where not even
    /// the root can be looked at.
    pub fn of(&mut self, path: &Utf8Path, last: Last) -> Option<Spot> {
        let real = self.followed(path, last);
        self.spot(&real)
    }

    /// The same, and the host path of that place that holds no link, as far as it exists.
    pub fn with_path(
        &mut self,
        path: &Utf8Path,
        last: Last,
    ) -> (Option<Spot>, Option<Utf8PathBuf>) {
        let real = self.followed(path, last);
        (self.spot(&real), self.canonical(&real))
    }

    fn spot(&mut self, real: &Utf8Path) -> Option<Spot> {
        let mut above = real.ancestors().skip(1);
        let (above, directory) = above.find_map(|path| Some((path, self.directory(path)?)))?;
        let rest = real.strip_prefix(above).unwrap_or(real).to_string();
        Some(Spot { device: directory.device, inode: directory.inode, rest })
    }

    fn canonical(&mut self, real: &Utf8Path) -> Option<Utf8PathBuf> {
        let root = self.directory(self.host.root())?.canonical?;
        let mut above = real.ancestors().skip(1);
        let (above, canonical) =
            above.find_map(|path| Some((path, self.directory(path)?.canonical?)))?;
        let inside = canonical.strip_prefix(&root).ok()?;
        let rest = real.strip_prefix(above).ok()?;
        Some(Utf8Path::new("/").join(inside).join(rest))
    }

    fn followed(&self, path: &Utf8Path, last: Last) -> Utf8PathBuf {
        let real = self.host.real(path);
        if last == Last::Stays || !real.is_symlink() {
            return real;
        }
        self.host.real(format!("{path}/.")).canonicalize_utf8().unwrap_or(real)
    }

    fn directory(&mut self, real: &Utf8Path) -> Option<Directory> {
        if let Some(known) = self.directories.get(real) {
            return known.clone();
        }
        let found = Directory::look(real);
        self.directories.insert(real.to_owned(), found.clone());
        found
    }
}

impl Directory {
    fn look(real: &Utf8Path) -> Option<Self> {
        let plain = open_plain(real, OFlags::PATH).and_then(rustix::fs::fstat);
        if let Ok(stat) = plain {
            // A path without links is only to be written in the one way that it has.
            let canonical = Some(real.components().collect());
            return Some(Self { device: stat.st_dev, inode: stat.st_ino, canonical });
        }
        let metadata = fs::metadata(real).ok()?;
        let canonical = real.canonicalize_utf8().ok();
        Some(Self { device: metadata.dev(), inode: metadata.ino(), canonical })
    }
}
