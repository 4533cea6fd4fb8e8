//! Directories that nobody can write to, and why: what extensions are merged into is read-only.

use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use crate::host::Look;
use crate::model::ExtensionClass;
use crate::resource::extension::layout::class_of;
use crate::resource::extension::observe::TransferObserved;

/// The classes of extensions that systemd merges.
const CLASSES: [ExtensionClass; 2] = [ExtensionClass::Sysext, ExtensionClass::Confext];

/// A directory on a file system that nobody can write to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// The directory.
    pub directory: Utf8PathBuf,
    /// What is merged over it, where that is why.
    pub by: Option<ExtensionClass>,
}

impl Sealed {
    /// Looks whether a directory is one.
    pub fn look(host: &Look, directory: &Utf8Path) -> io::Result<Option<Self>> {
        if !host.is_read_only(directory) {
            return Ok(None);
        }
        for class in CLASSES {
            for marker in class.markers().iter().map(Utf8Path::new) {
                let merged_into = marker.ancestors().nth(2);
                let covers = merged_into.is_some_and(|over| directory.starts_with(over));
                if covers && host.stat(marker)?.is_some() {
                    return Ok(Some(Self { directory: directory.to_owned(), by: Some(class) }));
                }
            }
        }
        Ok(Some(Self { directory: directory.to_owned(), by: None }))
    }

    /// Why nothing can be changed there, and what helps.
    pub fn message(&self) -> String {
        let Self { directory, by } = self;
        let Some(by) = by else { return format!("{directory} is on a read-only file system") };
        let (what, over, program) = (by.name(), by.hierarchy(), by.program());
        let place = elsewhere(directory);
        let place = place.map_or_else(String::new, |place| format!(", or {place}"));
        format!(
            "{directory} cannot be written to: a merged {what} makes {over} read-only; `{program} unmerge` first{place}"
        )
    }
}

/// A better place for the links that are in a directory.
pub fn elsewhere(directory: &Utf8Path) -> Option<String> {
    let place = class_of(directory).map(ExtensionClass::search_directory)?;
    (directory != place).then(|| format!("put the link into {place}"))
}

/// Those of the directories that some transfers have images, links and what was before in.
pub(super) fn sealed(host: &Look, transfers: &[TransferObserved]) -> io::Result<Vec<Sealed>> {
    let directories = transfers.iter().flat_map(|seen| {
        let links = seen.link.iter().chain(seen.former.iter().map(|former| &former.path));
        links.filter_map(|link| link.parent()).chain([seen.directory.as_path()])
    });
    let mut directories: Vec<&Utf8Path> = directories.collect();
    directories.sort();
    directories.dedup();
    let mut found = Vec::new();
    for directory in directories {
        found.extend(Sealed::look(host, directory)?);
    }
    Ok(found)
}
