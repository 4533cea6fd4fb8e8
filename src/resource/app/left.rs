//! Places where an app was before its layout was edited, and what goes there; pure.

use std::fmt::Write;

use camino::{Utf8Path, Utf8PathBuf};

use crate::model::Step;
use crate::model::ledger::{InPlace, Owned};
use crate::resource::app::AppObserved;
use crate::resource::app::in_place::observe::FileFound;
use crate::resource::app::layout::{Layout, parse_link};
use crate::resource::app::plan::Situation;
use crate::resource::app::remove::{is_mine, not_ours};
use crate::resource::app::spec::AppSpec;

/// Paths that are not ours, of which so many are told by name.
const PATHS_TOLD: usize = 8;

/// What goes with a file that a program was put to, and what stays there.
#[derive(Debug, Default)]
pub(super) struct Going {
    /// What is ours.
    pub(super) steps: Vec<Step>,
    /// What is not.
    pub(super) stays: Vec<Utf8PathBuf>,
    /// What is not either, and is in a directory of ours that goes.
    pub(super) go_along: Vec<Utf8PathBuf>,
}

impl Going {
    /// Takes the program in a file's place away, where it is ours, and what of ours was kept beside it.
    pub(super) fn add(
        &mut self,
        program: Option<Utf8PathBuf>,
        (file, known): (&FileFound, Option<&InPlace>),
    ) {
        let kept = |path: &Utf8Path, stat: Option<(u64, i64)>| {
            let mut backups = known.iter().flat_map(|known| &known.backups);
            backups.any(|b| b.path == path && Some((b.size, b.mtime)) == stat)
        };
        let (mine, others): (Vec<_>, Vec<_>) =
            file.backups.iter().partition(|(path, stat)| kept(path, *stat));
        let mine = mine.into_iter().map(|(path, _)| path.clone());
        let theirs = program.is_none() && (file.stat.is_some() || file.other.is_some());
        let gone = program.into_iter().chain(mine).chain(file.leftover.clone());
        self.steps.extend(gone.map(Step::remove));
        self.stays.extend(others.into_iter().map(|(path, _)| path.clone()));
        self.stays.extend(theirs.then(|| file.path.clone()));
    }

    /// Leaves paths to those who are to be there now.
    pub(super) fn spare(&mut self, taken: &[Utf8PathBuf]) {
        self.stays.retain(|path| !taken.contains(path));
        let left = |step: &Step| matches!(step, Step::Remove { path, .. } if taken.contains(path));
        self.steps.retain(|step| !left(step));
    }

    /// Says what becomes of what is not ours.
    pub(super) fn tell(&self, reason: &mut String) {
        for (paths, stay, stays) in
            [(&self.stays, "stay", "stays"), (&self.go_along, "go as well", "goes as well")]
        {
            for path in paths.iter().take(PATHS_TOLD) {
                let _ = write!(reason, "; {path} {stays}, which is not reconcile's own");
            }
            let more = paths.len().saturating_sub(PATHS_TOLD);
            if more > 0 {
                let _ = write!(reason, "; {more} more {stay}");
            }
        }
    }
}

/// The wish and what the host has by the layout that is in use, while the one that is wished now waits. `None` where no
/// other one is in use.
pub fn as_laid_out(
    spec: &AppSpec,
    observed: &AppObserved,
    owned: &Owned,
) -> Option<(AppSpec, AppObserved)> {
    let left = owned.left(spec.file.as_deref());
    if left.is_empty() {
        return None;
    }
    let in_use = left.files.last();
    let placed = in_use.and_then(|known| known.placed.as_ref());
    let file = observed.left.iter().find(|found| Some(&found.path) == placed).cloned();
    if in_use.is_some() != file.is_some() {
        return None;
    }
    let spec = AppSpec { file: in_use.map(|known| known.file.clone()), ..spec.clone() };
    Some((spec, AppObserved { file, left: Vec::new(), ..observed.clone() }))
}

/// The links of `bin` that are ours.
pub(super) fn links(observed: &AppObserved, ours: impl Fn(&str) -> bool) -> Vec<(String, String)> {
    let links = observed.bin.iter().flat_map(|bin| &bin.links);
    let ours = links.filter(|(_, text)| parse_link(text).is_some_and(|(slot, _)| ours(slot)));
    ours.map(|(name, text)| (name.clone(), text.clone())).collect()
}

impl Situation<'_> {
    /// Whether it was somewhere else before its layout was edited.
    pub(super) fn moves(&self) -> bool {
        !self.left.is_empty()
    }

    /// What is taken away where it was, once it is where it shall be.
    pub(super) fn going(&self) -> Going {
        let mut going = Going::default();
        let Some(owned) = self.owned else { return going };
        let mine = |slot: &str| is_mine(slot, self.id, owned, self.observed);
        let now = self.observed.file.as_ref().map(|file| file.path.as_path());
        for known in &self.left.files {
            let found = self.observed.left.iter();
            let placed = known.placed.as_deref().filter(|placed| Some(*placed) != now);
            let Some(file) = found.into_iter().find(|file| Some(file.path.as_path()) == placed)
            else {
                continue;
            };
            let ours = file.slot.as_deref().is_some_and(mine);
            going.add(ours.then(|| file.path.clone()), (file, Some(known)));
        }
        going.spare(self.taken);
        if self.left.links {
            let layout: Layout = self.layout();
            let theirs = |slot: &str| not_ours(slot, self.id, owned, self.observed);
            for (name, text) in links(self.observed, |slot| !theirs(slot)) {
                let path = layout.bin().join(name);
                // The file that is wished may be the very one.
                if Some(path.as_path()) != now {
                    going.steps.push(Step::remove_link(path, &text));
                }
            }
            if !going.steps.is_empty() {
                going.steps.push(Step::RemoveEmpty { path: layout.bin() });
            }
        }
        going
    }

    /// From where to where it moves.
    pub(super) fn moved(&self) -> String {
        let bin = self.layout().bin();
        let files = self.left.files.iter().map(|known| known.file.as_str());
        let from: Vec<&str> =
            self.left.links.then_some(bin.as_str()).into_iter().chain(files).collect();
        let to = self.spec.file.as_deref().unwrap_or(&bin);
        format!("it moves from {} to {to}", from.join(", "))
    }
}
