//! Differences between a tree and its list, as they are told; pure.

use camino::Utf8Path;

use crate::model::difference::Difference;
use crate::model::snapshot::{NodeKind, NodeStat};
use crate::model::{Drift, DriftKind};

/// Differences listed per tree; more than this is "everything".
const DRIFT_MAX: usize = 1_000;

/// What somebody else changed.
pub(super) fn told(tree: &Utf8Path, found: &[Difference]) -> Vec<Drift> {
    found.iter().take(DRIFT_MAX).map(|difference| tell(tree, difference)).collect()
}

fn tell(tree: &Utf8Path, difference: &Difference) -> Drift {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let path = match difference.path.as_slice() {
        [] => tree.to_string(),
        path => format!("{tree}/{}", text(path)),
    };
    let (kind, expected, found) = match (&difference.listed, &difference.found) {
        (None, None) => (DriftKind::Extra, "nothing".to_owned(), "nothing".to_owned()),
        (None, Some(found)) => {
            (DriftKind::Extra, "nothing".to_owned(), found.kind.name().to_owned())
        }
        (Some(listed), None) => {
            (DriftKind::Missing, listed.kind.name().to_owned(), "nothing".to_owned())
        }
        (Some(listed), Some(found)) => match &difference.target {
            Some((wanted, now)) => {
                (DriftKind::Retargeted, format!("-> {}", text(wanted)), format!("-> {}", text(now)))
            }
            None => changed(listed, found),
        },
    };
    Drift { path, kind, expected, found }
}

fn changed(listed: &NodeStat, found: &NodeStat) -> (DriftKind, String, String) {
    if listed.kind != found.kind {
        let (listed, found) = (listed.kind.name().to_owned(), found.kind.name().to_owned());
        return (DriftKind::TypeChanged, listed, found);
    }
    let file = listed.kind == NodeKind::File;
    if file && listed.size != found.size {
        let bytes = |size: u64| format!("{size} bytes");
        return (DriftKind::Modified, bytes(listed.size), bytes(found.size));
    }
    if file && listed.mtime != found.mtime {
        let time = |(seconds, nanoseconds): (i64, u32)| {
            format!("{} bytes of {seconds}.{nanoseconds:09}", listed.size)
        };
        return (DriftKind::Modified, time(listed.mtime), time(found.mtime));
    }
    if (listed.uid, listed.gid) != (found.uid, found.gid) {
        let owner = |stat: &NodeStat| format!("owner {}:{}", stat.uid, stat.gid);
        return (DriftKind::ModeChanged, owner(listed), owner(found));
    }
    let mode = |stat: &NodeStat| format!("mode {:04o}", stat.mode);
    (DriftKind::ModeChanged, mode(listed), mode(found))
}
