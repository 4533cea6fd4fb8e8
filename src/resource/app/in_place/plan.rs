//! What to do about the one file of an app; pure.

use camino::Utf8Path;

use crate::model::step::{Expected, KeptAs};
use crate::model::{Drift, DriftKind, Step};
use crate::resource::app::in_place::observe::FileFound;
use crate::resource::app::in_place::{backup_names, beside, program};
use crate::resource::app::plan::Situation;
use crate::resource::app::wanted::Wanted;
use crate::resource::decision::{Problem, SlotState};

impl Situation<'_> {
    /// The step that brings `wanted` into use where it is not; an obstacle when something is in the way.
    pub(in crate::resource::app) fn install(
        &self,
        file: &FileFound,
        wanted: &Wanted,
        state: &SlotState,
    ) -> Result<Option<Step>, Problem> {
        if let Some(kind) = file.other.as_deref() {
            return Err(Problem::foreign(format!(
                "{} is a {kind} where a program should be; move it away",
                file.path
            )));
        }
        let other_bytes = matches!(state, SlotState::Outdated(_));
        if file.slot.as_ref() == Some(&wanted.slot) && !other_bytes {
            return Ok(None);
        }
        let known = !state.must_be_made();
        let program = if known { self.program(&wanted.slot) } else { None };
        if known && program.is_none() {
            return Err(Problem::foreign(format!(
                "{} {} has several programs and none of that name; name one with `binaries`",
                self.id, wanted.version
            )));
        }
        let expects = match file.stat {
            Some((size, mtime)) => Expected::File { size, mtime },
            None => Expected::Nothing,
        };
        let backup = if expects == Expected::Nothing { None } else { Some(self.backup(file)?) };
        Ok(Some(self.place(file, &wanted.slot, program, (expects, backup))))
    }

    /// Where the file that is there is kept: in place of what we kept there before, else where nothing is.
    fn backup(&self, file: &FileFound) -> Result<KeptAs, Problem> {
        let known = |path: &Utf8Path, stat: &Option<(u64, i64)>| {
            let backups = self.owned.iter().flat_map(|owned| &owned.backups);
            backups.into_iter().any(|b| b.path == path && Some((b.size, b.mtime)) == *stat)
        };
        let ours = file.backups.iter().find(|(path, stat)| known(path, stat));
        if let Some((path, _)) = ours {
            return Ok(KeptAs { path: path.clone(), replaces: true });
        }
        let mut free = backup_names(&file.path).skip(file.backups.len());
        let path = free.next().ok_or_else(|| {
            Problem::foreign(format!(
                "{0} cannot be kept: every name from {0}.backup on is taken; move some away",
                file.path
            ))
        })?;
        Ok(KeptAs { path, replaces: false })
    }

    /// The step that puts the program of a release in place.
    pub(in crate::resource::app) fn place(
        &self,
        file: &FileFound,
        slot: &str,
        program: Option<String>,
        (expects, backup): (Expected, Option<KeptAs>),
    ) -> Step {
        Step::Install {
            file: file.path.clone(),
            beside: beside(&file.path),
            release: self.layout().slot(slot),
            program,
            wished: self.spec.file.clone().unwrap_or_else(|| file.path.clone()),
            expects,
            backup,
        }
    }

    /// The path of the program inside a release.
    pub(in crate::resource::app) fn program(&self, slot: &str) -> Option<String> {
        let manifest = self.observed.slots.get(slot)?.manifest.as_ref()?;
        Some(program(manifest, self.spec.file.as_ref()?)?.0.to_owned())
    }

    /// What somebody else did to the file since this release was made the one in use.
    pub(in crate::resource::app) fn file_drift(
        &self,
        file: &FileFound,
        wanted: &Wanted,
    ) -> Option<Drift> {
        let last = self.owned.and_then(|owned| owned.activated.last());
        if last != Some(&wanted.slot) || file.slot.as_ref() == Some(&wanted.slot) {
            return None;
        }
        let (kind, found) = match (file.stat, file.other.as_deref()) {
            (Some(_), _) => {
                let known = file.slot.as_ref().map(|slot| format!("the program of {slot}"));
                (DriftKind::Modified, known.unwrap_or_else(|| "another file".to_owned()))
            }
            (None, Some(kind)) => (DriftKind::TypeChanged, kind.to_owned()),
            (None, None) => (DriftKind::Missing, "nothing".to_owned()),
        };
        let expected = format!("the program of {}", wanted.slot);
        Some(Drift { path: file.path.to_string(), kind, expected, found })
    }
}
