//! Bytes that are kept on a host, counted after passes that did something and never for a scrape.

use std::collections::BTreeMap;

use camino::Utf8Path;

use crate::host::{ItemKind, Look};
use crate::model::cached;
use crate::observe::Observed;
use crate::resource::Found;

/// Bytes by class: of releases as their manifests say, of the cache as its directories say.
pub(super) fn count(host: &Look, observed: &Observed) -> BTreeMap<String, u64> {
    let releases = observed.resources.values().flatten().map(Found::bytes);
    let releases = releases.fold(0_u64, u64::saturating_add);
    let cached = cached::ALL.map(|name| {
        let class = if name == cached::DOCUMENTS { "documents" } else { name };
        (class.to_owned(), files(host, &host.places().cache.join(name)))
    });
    cached.into_iter().chain([("releases".to_owned(), releases)]).collect()
}

/// Bytes of the files below a directory; what cannot be read is not counted.
fn files(host: &Look, directory: &Utf8Path) -> u64 {
    let items = host.list(directory).ok().flatten().unwrap_or_default();
    let sizes = items.into_iter().map(|item| {
        let path = directory.join(&item.name);
        match item.kind {
            ItemKind::Dir => files(host, &path),
            _ => host.stat(&path).ok().flatten().map_or(0, |stat| stat.size),
        }
    });
    sizes.fold(0, u64::saturating_add)
}
