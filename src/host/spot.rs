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
    canonical: HashMap<Utf8PathBuf, Option<Utf8PathBuf>>,
}

impl<'h> Spots<'h> {
    /// None looked up yet.
    pub fn new(host: &'h Look) -> Self {
        Self { host, directories: HashMap::new(), canonical: HashMap::new() }
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
        let (directory, (device, inode)) =
            above.find_map(|directory| Some((directory, self.directory(directory)?)))?;
        let rest = real.strip_prefix(directory).unwrap_or(real).to_string();
        Some(Spot { device, inode, rest })
    }

    fn canonical(&mut self, real: &Utf8Path) -> Option<Utf8PathBuf> {
        let root = self.canonical_directory(self.host.root())?;
        let mut above = real.ancestors().skip(1);
        let (directory, canonical) =
            above.find_map(|directory| Some((directory, self.canonical_directory(directory)?)))?;
        let inside = canonical.strip_prefix(&root).ok()?;
        let rest = real.strip_prefix(directory).ok()?;
        Some(Utf8Path::new("/").join(inside).join(rest))
    }

    fn followed(&self, path: &Utf8Path, last: Last) -> Utf8PathBuf {
        let real = self.host.real(path);
        if last == Last::Stays || !real.is_symlink() {
            return real;
        }
        self.host.real(format!("{path}/.")).canonicalize_utf8().unwrap_or(real)
    }

    fn canonical_directory(&mut self, real: &Utf8Path) -> Option<Utf8PathBuf> {
        if let Some(known) = self.canonical.get(real) {
            return known.clone();
        }
        let found = real.canonicalize_utf8().ok();
        self.canonical.insert(real.to_owned(), found.clone());
        found
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
