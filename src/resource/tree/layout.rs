//! Where things of a tree are.

use camino::{Utf8Path, Utf8PathBuf};

use crate::model::Step;
use crate::resource::decision::ADOPTED;
use crate::resource::tree::TreeObserved;

/// Everything of ours in `staging/` starts with this; nothing else there is ever touched.
pub const STAGING_PREFIX: &str = "reconcile-";

/// Name of the tree inside a generation that is not in use.
pub const TREE: &str = "tree";

/// File of a generation: [`SnapshotHead`](crate::model::snapshot::SnapshotHead) as JSON.
pub const HEAD: &str = "head.json";

/// File of a generation: the list of its nodes.
pub const NODES: &str = "nodes";

/// Digits of the index's digest that name a generation.
const NAME_DIGITS: usize = 12;

/// The paths of one tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// `/srv/site`
    pub path: Utf8PathBuf,
}

impl Layout {
    /// The layout of the tree at `path`.
    pub fn new(path: &Utf8Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// The directory beside the tree with everything else: `/srv/.site.reconcile`. Being in the same directory,
    /// it is on the same file system wherever an exchange is possible.
    pub fn beside(&self) -> Utf8PathBuf {
        let name = self.path.file_name().unwrap_or_default();
        let parent = self.path.parent().unwrap_or(Utf8Path::new("/"));
        parent.join(format!(".{name}.reconcile"))
    }

    /// The directory of generations.
    pub fn generations(&self) -> Utf8PathBuf {
        self.beside().join("generations")
    }

    /// One generation.
    pub fn generation(&self, slot: &str) -> Utf8PathBuf {
        self.generations().join(slot)
    }

    /// The tree of a generation that is not in use.
    pub fn tree(&self, slot: &str) -> Utf8PathBuf {
        self.generation(slot).join(TREE)
    }

    /// The directory of what is known about generations whose files were replaced one by one: enough to make them anew.
    pub fn earlier(&self) -> Utf8PathBuf {
        self.beside().join("earlier")
    }

    /// The directory of files of somebody else that were in a tree when another took its place.
    pub fn kept(&self) -> Utf8PathBuf {
        self.beside().join("kept")
    }

    /// The directory of half-done work.
    pub fn staging(&self) -> Utf8PathBuf {
        self.beside().join("staging")
    }

    /// Where a generation is made before it is moved to its place.
    pub fn staged(&self, slot: &str) -> Utf8PathBuf {
        self.staging().join(format!("{STAGING_PREFIX}{slot}"))
    }

    /// The text of the link to a generation's tree, for trees that are used through a link.
    pub fn link_text(&self, slot: &str) -> String {
        let beside = self.beside();
        format!("{}/generations/{slot}/{TREE}", beside.file_name().unwrap_or_default())
    }

    /// The step that removes something of ours.
    pub fn remove(&self, path: Utf8PathBuf) -> Step {
        let name = path.file_name().unwrap_or_default();
        let aside = Some(self.staging().join(format!("{STAGING_PREFIX}trash-{name}")));
        let slot = path.starts_with(self.beside()).then(|| name.to_owned());
        Step::Remove { path, aside, expects: None, slot }
    }

    /// The step that removes what an earlier pass left in `staging`.
    pub fn sweep(&self, name: &str) -> Step {
        Step::remove(self.staging().join(name))
    }

    /// The step that removes what a merge that was cut off left of a tree.
    pub fn sweep_tree(&self, slot: &str) -> Step {
        Step::remove(self.tree(slot))
    }

    /// Whether a path is the tree, in it, or in what belongs to it.
    pub fn covers(&self, path: &Utf8Path) -> bool {
        path.starts_with(&self.path) || path.starts_with(self.beside())
    }
}

/// Whether a generation has files that are not ours.
pub fn is_adopted(slot: &str) -> bool {
    slot.strip_prefix(ADOPTED).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Where files of somebody else are kept that were in the tree at a path.
pub fn set_aside(path: &Utf8Path, found: &TreeObserved) -> Vec<Utf8PathBuf> {
    let layout = Layout::new(path);
    let whole = found
        .generations
        .iter()
        .filter(|(slot, generation)| is_adopted(slot) && generation.tree.is_some());
    let whole = whole.map(|(slot, _)| layout.tree(slot));
    whole.chain(found.kept.iter().map(|name| layout.kept().join(name))).collect()
}

/// What the names of all generations of one index begin with.
pub fn base(slot: &str) -> &str {
    slot.split('.').next().unwrap_or(slot)
}

/// A name for the generation of an index that no other has, `taken` or left over: a tree that is made anew
/// never stands where the damaged one does.
pub fn slot_name<'a>(index: &crate::model::Digest, taken: impl Iterator<Item = &'a str>) -> String {
    let hex = index.hex();
    let base = hex.get(..NAME_DIGITS).unwrap_or(&hex);
    let numbers = taken.filter_map(|name| {
        let rest = name.strip_prefix(base)?;
        if rest.is_empty() { Some(1_u64) } else { rest.strip_prefix('.')?.parse().ok() }
    });
    match numbers.max() {
        None => base.to_owned(),
        Some(highest) => format!("{base}.{}", highest.saturating_add(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Algorithm, Digest};

    #[test]
    fn generation_made_anew_has_a_name_of_its_own() {
        let index = Digest::new(Algorithm::Sha256, &[0xab; 32]).unwrap();
        let name = |taken: &[&str]| slot_name(&index, taken.iter().copied());
        assert_eq!(name(&[]), "abababababab");
        assert_eq!(name(&["cdcdcdcdcdcd", "x"]), "abababababab");
        assert_eq!(name(&["abababababab"]), "abababababab.2");
        assert_eq!(name(&["abababababab.4", "abababababab"]), "abababababab.5");
    }

    #[test]
    fn everything_of_a_tree_is_at_it_or_beside_it() {
        let layout = Layout::new(Utf8Path::new("/srv/site"));
        assert_eq!(layout.beside(), "/srv/.site.reconcile");
        assert!(layout.covers(&layout.tree("x")) && layout.covers(Utf8Path::new("/srv/site/a")));
        assert!(!layout.covers(Utf8Path::new("/srv/other")));
    }
}
