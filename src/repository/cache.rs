//! What is kept of a repository elsewhere: a bare repository that may be thrown away at any time.

use std::io;
use std::path::Path;

use camino::Utf8Path;

use crate::host::{Change, ItemKind, Look};

/// Most packs that are kept: each change of the desired state brings one.
const PACKS_MAX: usize = 64;

/// Most bytes of packs that are kept.
const BYTES_MAX: u64 = 512 << 20;

/// The directory of packs.
pub(super) const PACKS: &str = "objects/pack";

/// Where locks are taken while something is fetched.
const LOCKED: [&str; 4] = ["", "objects/info", "refs", "refs/reconcile"];

/// Removes what a fetch left behind that was killed. Nobody else uses the cache: the pass lock is held.
pub(super) fn clear(host: &Change, cache: &Utf8Path) -> io::Result<()> {
    for directory in LOCKED {
        let directory = cache.join(directory);
        for item in host.list(&directory)?.unwrap_or_default() {
            if item.name.ends_with(".lock") {
                host.remove(directory.join(item.name))?;
            }
        }
    }
    let packs = cache.join(PACKS);
    let items = host.list(&packs)?.unwrap_or_default();
    let whole = |name: &str| {
        let half = name.strip_suffix(".pack").map(|stem| format!("{stem}.idx"));
        let half = half.or_else(|| name.strip_suffix(".idx").map(|stem| format!("{stem}.pack")));
        half.is_some_and(|half| items.iter().any(|item| item.name == half))
    };
    for item in items.iter().filter(|item| !whole(&item.name)) {
        host.remove(packs.join(&item.name))?;
    }
    Ok(())
}

/// Whether a link in it could lead out of another root than the running system's: Git itself makes none.
pub(super) fn leads_out(host: &Look, cache: &Utf8Path) -> bool {
    !host.is_live() && has_link(host, cache).unwrap_or(true)
}

fn has_link(host: &Look, directory: &Utf8Path) -> io::Result<bool> {
    for item in host.list(directory)?.unwrap_or_default() {
        let found = match item.kind {
            ItemKind::Dir => has_link(host, &directory.join(item.name))?,
            kind => kind == ItemKind::Link,
        };
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Starts the cache anew when it has grown. Now is the time: what the repository has is in use, so that one commit is
/// all that has to be fetched again.
pub(super) fn tidy(host: &Change, cache: &Utf8Path) -> io::Result<()> {
    let items = host.list(cache.join(PACKS))?.unwrap_or_default();
    let packs = items.iter().filter(|item| item.name.ends_with(".pack")).count();
    let bytes = size(host.real_followed(cache.join(PACKS)).as_std_path());
    if packs > PACKS_MAX || bytes > BYTES_MAX { host.remove(cache) } else { Ok(()) }
}

/// Bytes of the files of a directory.
pub(super) fn size(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    let sizes = entries.flatten().filter_map(|entry| entry.metadata().ok());
    sizes.map(|metadata| metadata.len()).sum()
}
