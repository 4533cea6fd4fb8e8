//! Where a path really is, so that two names of one place are told from two places.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;

use camino::{Utf8Path, Utf8PathBuf};

use crate::host::Look;
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
    directories: HashMap<Utf8PathBuf, Option<(u64, u64)>>,
}

impl<'h> Spots<'h> {
    /// None looked up yet.
    pub fn new(host: &'h Look) -> Self {
        Self { host, directories: HashMap::new() }
    }

    /// Where a path is: the nearest directory above it that exists, links followed, and the rest. `None` where not even
    /// the root can be looked at.
    pub fn of(&mut self, path: &Utf8Path, last: Last) -> Option<Spot> {
        let real = self.host.real(path);
        let real = match last {
            Last::Followed if real.is_symlink() => real.canonicalize_utf8().unwrap_or(real),
            Last::Followed | Last::Stays => real,
        };
        let mut above = real.ancestors().skip(1);
        let (directory, (device, inode)) =
            above.find_map(|directory| Some((directory, self.directory(directory)?)))?;
        let rest = real.strip_prefix(directory).unwrap_or(&real).to_string();
        Some(Spot { device, inode, rest })
    }

    fn directory(&mut self, real: &Utf8Path) -> Option<(u64, u64)> {
        if let Some(known) = self.directories.get(real) {
            return *known;
        }
        let found = fs::metadata(real).ok().map(|metadata| (metadata.dev(), metadata.ino()));
        self.directories.insert(real.to_owned(), found);
        found
    }
}
