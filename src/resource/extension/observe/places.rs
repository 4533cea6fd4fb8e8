//! Listings of directories, each read once for all extensions that look into it.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use camino::Utf8PathBuf;

use crate::format::extension_release::host_in_words;
use crate::host::{Item, Look, facts};
use crate::resource::extension::observe::os_release;

/// The directories that were listed in one look at a host, which changes nothing, and what the host is.
#[derive(Debug, Default)]
pub struct Listings {
    listed: Mutex<HashMap<Utf8PathBuf, Arc<[Item]>>>,
    systemd: OnceLock<Option<u32>>,
    host: OnceLock<String>,
}

impl Listings {
    /// The entries of a directory, sorted by name; none where there is no directory.
    pub(super) fn of(&self, host: &Look, place: Utf8PathBuf) -> io::Result<Arc<[Item]>> {
        let listed = || self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(items) = listed().get(&place) {
            return Ok(Arc::clone(items));
        }
        let items: Arc<[Item]> = host.list(&place)?.unwrap_or_default().into();
        listed().insert(place, Arc::clone(&items));
        Ok(items)
    }

    /// The version of systemd, where the host has one.
    pub(super) fn systemd(&self, host: &Look) -> Option<u32> {
        *self.systemd.get_or_init(|| facts::systemd(host))
    }

    /// What of the host decides whether it merges an image.
    pub(super) fn host_in_words(&self, host: &Look) -> String {
        let systemd = || self.systemd(host).unwrap_or(facts::SYSTEMD_ASSUMED);
        self.host.get_or_init(|| host_in_words(os_release(host).as_ref(), systemd())).clone()
    }
}
