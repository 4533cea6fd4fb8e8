//! Bytes that are kept on a host, counted after passes that did something and never for a scrape.

use std::collections::BTreeMap;

use camino::Utf8Path;

use crate::host::Look;
use crate::observe::Observed;
use crate::resource::Found;

/// Directories of the cache that hold files, and the class of each.
const CACHED: [(&str, &str); 3] =
    [("blobs/sha256", "blobs"), ("partial", "partial"), ("http", "documents")];

/// Bytes by class: of releases as their manifests say, of the cache as its directories say.
pub(super) fn count(host: &Look, observed: &Observed) -> BTreeMap<String, u64> {
    let releases = observed.resources.values().flatten().map(Found::bytes);
    let releases = releases.fold(0_u64, u64::saturating_add);
    let cached = CACHED.map(|(directory, class)| {
        (class.to_owned(), files(host, &host.places().cache.join(directory)))
    });
    cached.into_iter().chain([("releases".to_owned(), releases)]).collect()
}

/// Bytes of the files of one directory; what cannot be read is not counted.
fn files(host: &Look, directory: &Utf8Path) -> u64 {
    let items = host.list(directory).ok().flatten().unwrap_or_default();
    let sizes =
        items.iter().filter_map(|item| host.stat(directory.join(&item.name)).ok().flatten());
    sizes.map(|stat| stat.size).fold(0, u64::saturating_add)
}
