//! Where a path really is, so that two names of one place are told from two places.

use std::cell::OnceCell;
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
    /// Where the directories really are that paths are in, by what they are written as.
    parents: HashMap<String, Utf8PathBuf>,
    /// Where the managed root really is.
    root: OnceCell<Option<Utf8PathBuf>>,
    /// What is known of a directory, by where it really is.
    directories: HashMap<String, Option<Directory>>,
}

/// A directory that exists.
#[derive(Clone, Debug)]
struct Directory {
    device: u64,
    inode: u64,
    /// The host path without any link, where it is inside of the root.
    canonical: Option<Utf8PathBuf>,
}

impl<'h> Spots<'h> {
    /// None looked up yet.
    pub fn new(host: &'h Look) -> Self {
        let root = OnceCell::new();
        Self { host, parents: HashMap::new(), root, directories: HashMap::new() }
    }

    /// Where a path is: the nearest directory above it that exists, links followed, and the rest. `None` where not even
    /// the root can be looked at.
    pub fn of(&mut self, path: &Utf8Path, last: Last) -> Option<Spot> {
        self.with_path(path, last).0
    }

    /// The same, and the host path of that place that holds no link, as far as it exists.
    pub fn with_path(
        &mut self,
        path: &Utf8Path,
        last: Last,
    ) -> (Option<Spot>, Option<Utf8PathBuf>) {
        let real = self.followed(path, last);
        for above in real.ancestors().skip(1) {
            let Some(directory) = self.directory(above) else { continue };
            let rest = real.as_str().get(above.as_str().len()..).unwrap_or_default();
            let rest = rest.trim_start_matches('/');
            let canonical = directory.canonical.as_ref().map(|canonical| canonical.join(rest));
            let (device, inode) = (directory.device, directory.inode);
            return (Some(Spot { device, inode, rest: rest.to_owned() }), canonical);
        }
        (None, None)
    }

    fn followed(&mut self, path: &Utf8Path, last: Last) -> Utf8PathBuf {
        let real = self.real(path);
        if last == Last::Stays || !real.is_symlink() {
            return real;
        }
        self.host.real_followed(path).canonicalize_utf8().unwrap_or(real)
    }

    /// The same as [`Look::real`]: links on the way are looked at once for all that is in a directory.
    fn real(&mut self, path: &Utf8Path) -> Utf8PathBuf {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return self.host.real(path);
        };
        if let Some(known) = self.parents.get(parent.as_str()) {
            return known.join(name);
        }
        let real = self.host.real_followed(parent);
        let joined = real.join(name);
        self.parents.insert(parent.to_string(), real);
        joined
    }

    fn directory(&mut self, real: &Utf8Path) -> Option<&Directory> {
        if !self.directories.contains_key(real.as_str()) {
            let found = self.look(real);
            self.directories.insert(real.to_string(), found);
        }
        self.directories.get(real.as_str())?.as_ref()
    }

    fn look(&self, real: &Utf8Path) -> Option<Directory> {
        let metadata = fs::metadata(real).ok()?;
        let root = self.root.get_or_init(|| self.host.root().canonicalize_utf8().ok());
        let canonical = root.as_ref().and_then(|root| {
            let canonical = real.canonicalize_utf8().ok()?;
            Some(Utf8Path::new("/").join(canonical.strip_prefix(root).ok()?))
        });
        Some(Directory { device: metadata.dev(), inode: metadata.ino(), canonical })
    }
}
