//! Listings of directories, each read once for all extensions that look into it.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use camino::Utf8PathBuf;

use crate::host::{Item, Look};

/// The directories that were listed in one look at a host, which changes nothing.
#[derive(Debug, Default)]
pub struct Listings(Mutex<HashMap<Utf8PathBuf, Arc<[Item]>>>);

impl Listings {
    /// The entries of a directory, sorted by name; none where there is no directory.
    pub(super) fn of(&self, host: &Look, place: Utf8PathBuf) -> io::Result<Arc<[Item]>> {
        let listed = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(items) = listed().get(&place) {
            return Ok(Arc::clone(items));
        }
        let items: Arc<[Item]> = host.list(&place)?.unwrap_or_default().into();
        listed().insert(place, Arc::clone(&items));
        Ok(items)
    }
}
