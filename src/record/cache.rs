//! Which cached artifacts are still worth their space: those that installed releases were made from.

use std::collections::BTreeSet;
use std::io;

use camino::Utf8PathBuf;

use crate::host::{Change as Host, Look};
use crate::model::outcome::{End, Outcome};
use crate::model::{Blocked, Digest};
use crate::observe::Observed;
use crate::resource::Found;

/// Cached artifacts that no installed release was made from and no blocked wish waits for, and downloads that were given up.
pub fn unused(
    host: &Look,
    (observed, blocked): (&Observed, &[Blocked]),
    fetched: &Outcome,
) -> io::Result<Vec<Utf8PathBuf>> {
    let installed = observed.resources.values().flatten().flat_map(Found::artifacts);
    let just_fetched =
        fetched.results.iter().filter_map(|r| r.fetched.as_ref().map(|f| f.digest.hex()));
    let ahead = blocked.iter().flat_map(|blocked| &blocked.ahead).map(Digest::hex);
    let needed: BTreeSet<String> = installed.chain(just_fetched).chain(ahead).collect();
    let mut unused = Vec::new();
    let blobs = host.places().cache.join("blobs/sha256");
    for item in host.list(&blobs)?.unwrap_or_default() {
        if !needed.contains(&item.name) {
            unused.push(blobs.join(item.name));
        }
    }
    if fetched.results.iter().all(|result| result.end == End::Done) {
        unused.push(host.places().cache.join("partial"));
        unused.push(host.places().cache.join("chunks"));
    }
    Ok(unused)
}

/// Removes them after a pass that changed something and failed at nothing, so that the cache stays bounded by what is kept.
pub fn sweep(host: &Host, known: (&Observed, &[Blocked]), outcome: &Outcome) -> io::Result<()> {
    let (observed, _) = known;
    let all_done = outcome.results.iter().all(|result| result.end == End::Done);
    let all_seen = observed.resources.values().all(Result::is_ok);
    if outcome.results.is_empty() || !all_done || !all_seen {
        return Ok(());
    }
    unused(host, known, outcome)?.into_iter().try_for_each(|path| host.remove(path))
}
