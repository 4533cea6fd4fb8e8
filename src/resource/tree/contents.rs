//! Which paths of a tree an update adds, changes or removes, by the list of what it will hold; pure.

use crate::model::contents::{Contents, PathChangeKind};
use crate::model::glob::any_covers;
use crate::model::snapshot::{NodeKind, NodeStat, Nodes};
use crate::model::step::Special;
use crate::resource::tree::TreeSpec;

/// One node of the tree that is to be. What is not known is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coming<'a> {
    /// Path below the root; empty for the root.
    pub path: &'a [u8],
    /// Its type.
    pub kind: NodeKind,
    /// Bytes of a file.
    pub size: u64,
    /// Permission bits, where the archive has them.
    pub mode: Option<u32>,
    /// Text of a link.
    pub target: Option<&'a [u8]>,
    /// Last modification, seconds and nanoseconds.
    pub time: Option<(i64, u32)>,
}

/// Compares what is installed with what is to be. `same_content` is asked about files of equal size, those with
/// another time first: whether their content is the same, `None` where that cannot be told.
pub fn contents<'a>(
    spec: &TreeSpec,
    nodes: &Nodes,
    coming: impl Iterator<Item = Coming<'a>>,
    mut same_content: impl FnMut(&Coming<'a>) -> Option<bool>,
) -> Contents {
    let mut contents = Contents::default();
    let mut same_times = Vec::new();
    let mut stays = vec![false; nodes.count()];
    let devices = spec.allow.contains(&Special::Devices);
    for node in coming {
        if !devices && matches!(node.kind, NodeKind::Block | NodeKind::Character) {
            continue;
        }
        let Some(number) = nodes.find(node.path) else {
            contents.note(node.path, PathChangeKind::Added, node.size);
            continue;
        };
        if let Some(stays) = stays.get_mut(number) {
            *stays = true;
        }
        let Some(stat) = nodes.stat(number) else { continue };
        let other_target = node.target.is_some_and(|target| target != nodes.target(number));
        let same = if other_about(spec, stat, &node) || other_target {
            Some(false)
        } else if node.kind != NodeKind::File {
            Some(true)
        } else if node.time == Some(stat.mtime) {
            // Nearly always the same: looked at with what the others leave of the budget.
            same_times.push(node);
            continue;
        } else {
            same_content(&node)
        };
        judge(same, &node, &mut contents);
    }
    for node in same_times {
        judge(same_content(&node), &node, &mut contents);
    }
    for (number, _) in stays.iter().enumerate().filter(|(_, stays)| !**stays) {
        let path = nodes.path(number);
        if any_covers(&spec.preserve, &path) {
            continue;
        }
        let file = nodes.stat(number).filter(|stat| stat.kind == NodeKind::File);
        contents.note(&path, PathChangeKind::Removed, file.map_or(0, |stat| stat.size));
    }
    contents.finish()
}

fn judge(same: Option<bool>, node: &Coming<'_>, contents: &mut Contents) {
    match same {
        Some(true) => {}
        Some(false) => contents.note(node.path, PathChangeKind::Changed, node.size),
        None => contents.undecided += 1,
    }
}

fn other_about(spec: &TreeSpec, stat: &NodeStat, coming: &Coming<'_>) -> bool {
    let setid = spec.allow.contains(&Special::Setid) || coming.kind == NodeKind::Directory;
    let bits = if setid { 0o7777 } else { 0o1777 };
    let other_mode = coming.mode.is_some_and(|mode| (mode ^ stat.mode) & bits != 0);
    let other_size = coming.kind == NodeKind::File && coming.size != stat.size;
    stat.kind != coming.kind || other_size || other_mode && coming.kind != NodeKind::Link
}
