//! Differences between the nodes of a tree as they were made and as they are.

use camino::Utf8PathBuf;

use crate::model::snapshot::{NodeKind, NodeStat, Nodes, Unsaid};

/// One difference between a tree and its list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Path below the root; empty for the root.
    pub path: Vec<u8>,
    /// What is listed; `None` for what is too many.
    pub listed: Option<NodeStat>,
    /// What is there; `None` for what is missing.
    pub found: Option<NodeStat>,
    /// The text of a link that is there and should be another.
    pub target: Option<(Vec<u8>, Vec<u8>)>,
}

/// What looking at every node of a generation in use came to, for whoever would otherwise look once more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The directory with its list of nodes.
    pub generation: Utf8PathBuf,
    /// Paths that are not as they were made, whether that counts or not.
    pub touched: Vec<Vec<u8>>,
    /// Numbers of the nodes of which `stat` says anything else than is listed, sorted: an edit may have been covered up.
    pub suspects: Vec<usize>,
}

impl Difference {
    /// Whether it is only in what an archive says nothing about.
    pub fn is_unsaid(&self, unsaid: Unsaid) -> bool {
        let (Some(mut listed), Some(found)) = (self.listed, self.found) else { return false };
        if unsaid.modes {
            listed.mode = found.mode;
        }
        if unsaid.owners {
            (listed.uid, listed.gid) = (found.uid, found.gid);
        }
        self.target.is_none() && !differs(&listed, &found)
    }
}

/// Whether something that is no directory is at a path of a tree.
pub fn hides(nodes: &Nodes, path: &[u8]) -> bool {
    let stat = nodes.find(path).and_then(|number| nodes.stat(number));
    stat.is_some_and(|stat| stat.kind != NodeKind::Directory)
}

/// Whether somebody changed a node. Times of directories move with everything made in them, and those of
/// links with nothing that matters.
pub fn differs(listed: &NodeStat, found: &NodeStat) -> bool {
    let same = listed.kind == found.kind && (listed.uid, listed.gid) == (found.uid, found.gid);
    let mode = listed.kind == NodeKind::Link || listed.mode == found.mode;
    let content =
        listed.kind != NodeKind::File || (listed.size == found.size && listed.mtime == found.mtime);
    !(same && mode && content)
}
