//! Listings of directories, each read once for all transfers that look into it.

use std::collections::HashMap;
use std::io;
use std::rc::Rc;

use camino::Utf8PathBuf;

use crate::host::{Item, Look};

/// The directories of one look.
pub(super) struct Places<'h> {
    pub(super) host: &'h Look,
    listed: HashMap<Utf8PathBuf, Rc<[Item]>>,
}

impl<'h> Places<'h> {
    pub(super) fn new(host: &'h Look) -> Self {
        Self { host, listed: HashMap::new() }
    }

    /// The entries of a directory, sorted by name; none where there is no directory.
    pub(super) fn list(&mut self, place: Utf8PathBuf) -> io::Result<Rc<[Item]>> {
        if let Some(items) = self.listed.get(&place) {
            return Ok(Rc::clone(items));
        }
        let items: Rc<[Item]> = self.host.list(&place)?.unwrap_or_default().into();
        self.listed.insert(place, Rc::clone(&items));
        Ok(items)
    }
}
