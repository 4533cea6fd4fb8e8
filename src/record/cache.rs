//! Which cached artifacts are still worth their space: those that installed releases were made from.

use std::collections::BTreeSet;
use std::io;

use camino::Utf8PathBuf;

use crate::host::{Change as Host, Look};
use crate::model::cached::{CHUNKS, PARTIAL};
use crate::model::outcome::{End, Outcome};
use crate::model::{Blocked, Digest};
use crate::observe::Observed;
use crate::record::last_pass::LastPass;
use crate::resource::Found;

/// Directories of the cache with downloads that are not finished: of artifacts and of the chunks of trees.
const UNFINISHED: [&str; 2] = [PARTIAL, CHUNKS];

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
        unused.extend(UNFINISHED.map(|name| host.places().cache.join(name)));
    }
    Ok(unused)
}

/// Removes them after a pass that changed something where nothing failed in it or waits for another attempt, so that
/// the cache stays bounded by what is kept.
pub fn sweep(
    host: &Host,
    (observed, last): (&Observed, &LastPass),
    outcome: &Outcome,
) -> io::Result<()> {
    let all_seen = observed.resources.values().all(Result::is_ok);
    if outcome.results.is_empty() || !last.failed.is_empty() || !all_seen {
        return Ok(());
    }
    unused(host, (observed, &last.blocked), outcome)?
        .into_iter()
        .try_for_each(|path| host.remove(path))
}
