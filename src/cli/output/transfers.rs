//! What of a release is fetched, from where, and who vouches for it: lines of a plan.

use crate::cli::output::units::bytes;
use crate::model::plan::Change;
use crate::model::{Artifact, Delta, Evidence, Fallback, Level, Step};

/// `fetch rg.tar.gz, 1.7 MiB, verified by checksum (SHA256SUMS)`, for each file of the release.
pub fn transfers(change: &Change) -> Vec<String> {
    let fetched = |step: &Step| match step {
        Step::Fetch { artifact, evidence, delta, .. } => {
            let how = match delta {
                Some(delta) => shortcut(delta, artifact),
                None => obtained(change, artifact),
            };
            Some(format!("{how}, {}", verified(artifact, evidence)))
        }
        _ => None,
    };
    change.steps.iter().filter_map(fetched).collect()
}

/// Where an artifact comes from, and how large it is.
fn obtained(change: &Change, artifact: &Artifact) -> String {
    let is = |wanted: fn(&Step) -> bool| change.steps.iter().filter(|step| wanted(step)).count();
    let chunks = match is(|step| matches!(step, Step::Assemble { .. })) {
        0 => "",
        _ => " and its chunks",
    };
    // Of several files only their own sizes are known.
    let sizes = match is(|step| matches!(step, Step::Fetch { .. })) {
        1 => (change.fetch_bytes, change.reused_bytes),
        _ if change.fetch_bytes == Some(0) => (Some(0), artifact.size.unwrap_or_default()),
        _ => (artifact.size, 0),
    };
    let name = &artifact.name;
    match sizes {
        (Some(0), 0) => format!("reuse {name} (cached)"),
        (Some(0), reused) => format!("reuse {name} ({} cached)", bytes(reused)),
        (Some(size), _) => format!("fetch {name}{chunks} ({})", bytes(size)),
        (None, _) => format!("fetch {name} (size unknown)"),
    }
}

/// Who vouches for an artifact.
fn verified(artifact: &Artifact, evidence: &Evidence) -> String {
    match evidence.level {
        Level::None => "NOT VERIFIED".to_owned(),
        Level::Tls if is_local(artifact) => {
            "NOT VERIFIED: it comes from a path on this machine".to_owned()
        }
        Level::Tls => "NOT VERIFIED beyond TLS".to_owned(),
        Level::Lock if evidence.digests.is_empty() => {
            "NOT VERIFIED: the bytes of this first use are recorded".to_owned()
        }
        level => format!("verified by {} ({})", level.name(), evidence.stated_by),
    }
}

fn is_local(artifact: &Artifact) -> bool {
    artifact.urls.last().is_some_and(|url| url.starts_with("file:"))
}

/// `patch /opt/tool/releases/1.0/tool (fetch 12 KiB), else fetch linux-amd64.gz (4.1 MiB)`.
fn shortcut(delta: &Delta, artifact: &Artifact) -> String {
    let size = |size: Option<u64>| size.map_or_else(|| "size unknown".to_owned(), bytes);
    let Some(patch) = &delta.patch else {
        return format!("copy {} ({}), which is the program", delta.base, bytes(delta.base_bytes));
    };
    let fetched = size(patch.artifact.size.or(patch.bytes));
    let whole = format!("fetch {} ({})", artifact.name, size(artifact.size));
    let fallback = match delta.fallback {
        Fallback::Full => whole,
        Fallback::Limit(most) => format!("{whole} of at most {}", bytes(most)),
        Fallback::Fail => "fail".to_owned(),
    };
    format!("patch {} (fetch {fetched}), else {fallback}", delta.base)
}
