//! Files of somebody else in a tree: where they are kept when it gives way, and how that is told; pure.

use crate::model::DriftKind;
use crate::model::contents::{Hidden, KeptForeign};
use crate::resource::decision::Problem;
use crate::resource::tree::TreeObserved;
use crate::resource::tree::layout::Layout;
use crate::resource::tree::plan::{SET_ASIDE_MAX, Situation};
use crate::resource::tree::wanted::Wanted;

/// Directories of kept files that are named in a note.
const NAMED_MAX: usize = 3;

impl Situation<'_> {
    /// Refuses a generation that is kept and has no place for what is preserved. Of any other one its archive tells.
    pub(super) fn check_preserved(&self, wanted: &Wanted) -> Result<(), Problem> {
        let hidden = wanted.contents.as_ref().and_then(|contents| contents.hidden.as_ref());
        match hidden.map(|path| Hidden { path: self.spec.path.join(path) }) {
            None => Ok(()),
            Some(error) => Err(Problem::foreign(error.to_string())),
        }
    }

    /// Refuses to put away files of somebody else time and again, as they come back each time.
    pub(super) fn check_kept(&self) -> Result<(), Problem> {
        let kept = self.observed.kept.len();
        if kept < SET_ASIDE_MAX || self.observed.extras.is_none_or(|extras| extras == 0) {
            return Ok(());
        }
        Err(Problem::foreign(format!(
            "{} has files of somebody else, and {kept} directories of such files are in {} already; move what is needed, \
             remove the rest, and name what is to stay in the tree in `preserve`",
            self.spec.path,
            self.layout().kept()
        )))
    }

    /// Where what is not ours in the tree of a generation is kept when another takes its place. Nothing is ever kept
    /// under a name that is there already.
    pub(super) fn keeps(&self, slot: &str) -> KeptForeign {
        let layout = self.layout();
        let in_use = self.observed.current.as_deref() == Some(slot);
        let tree = if self.through_link() { layout.tree(slot) } else { layout.path.clone() };
        let extras = self.observed.drift.iter().filter(|d| in_use && d.kind == DriftKind::Extra);
        let below = |path: &String| {
            let below = path.strip_prefix(tree.as_str()).map(|below| below.trim_matches('/'));
            below.unwrap_or(path).to_owned()
        };
        let paths = extras.map(|drift| below(&drift.path)).collect();
        let taken = |name: &String| self.observed.kept.contains(name);
        let numbered = (2..).map(|number: u32| format!("{slot}.{number}"));
        let mut names = std::iter::once(slot.to_owned()).chain(numbered);
        let name = names.find(|name| !taken(name)).unwrap_or_else(|| slot.to_owned());
        let (generation, into) = (layout.generation(slot), layout.kept().join(name));
        KeptForeign { tree, generation, into, paths }
    }
}

/// What an operator should know about files that are kept for somebody else: nothing here ever removes them.
pub(super) fn note(layout: &Layout, observed: &TreeObserved) -> Option<String> {
    let kept = &observed.kept;
    let named: Vec<&str> = kept.iter().take(NAMED_MAX).map(String::as_str).collect();
    let more = kept.len().saturating_sub(NAMED_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!kept.is_empty()).then(|| {
        format!(
            "files of somebody else that were in the tree are kept in {}: {}{more}; move what is needed, remove the \
             rest, and name what is to stay in the tree in `preserve`",
            layout.kept(),
            named.join(", ")
        )
    })
}
