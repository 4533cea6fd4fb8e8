//! What to do about the one file of an app; pure.

use crate::model::step::Expected;
use crate::model::{Drift, DriftKind, Step};
use crate::resource::app::in_place::observe::FileFound;
use crate::resource::app::in_place::{beside, program};
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
        if let Some(target) = &file.leads_to {
            return Err(Problem::foreign(format!(
                "{} is a symbolic link to {target}, outside of its own directory, and is not followed there; \
                 remove the link, or write `layout: {{ file: {}, follow: {} }}` where that file is meant",
                file.path,
                file.path,
                target.parent().unwrap_or(target)
            )));
        }
        if let Some(kind) = file.other {
            return Err(Problem::foreign(format!(
                "{} is a {kind} where a program should be; move it away",
                file.path
            )));
        }
        let other_bytes = matches!(state, SlotState::Outdated(_));
        if file.slot.as_ref() == Some(&wanted.slot) && !other_bytes && !file.cannot_run() {
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
        Ok(Some(self.place(file, &wanted.slot, program, expects)))
    }

    /// The step that puts the program of a release in place.
    pub(in crate::resource::app) fn place(
        &self,
        file: &FileFound,
        slot: &str,
        program: Option<String>,
        expects: Expected,
    ) -> Step {
        // What somebody made of a program of ours, and what did not work, is nothing to go back to; and the only
        // copy of somebody else's program is never overwritten.
        let keeps = matches!(expects, Expected::File { .. })
            && !file.is_tampered(self.owned)
            && !(file.slot.is_some() && file.cannot_run())
            && !file.displaced;
        Step::Install {
            keeps,
            file: file.path.clone(),
            beside: beside(&file.path),
            release: self.layout().slot(slot),
            program,
            wished: self.spec.file.clone().unwrap_or_else(|| file.path.clone()),
            expects,
        }
    }

    /// Whether a program of somebody else stands aside for ours, now or after this pass.
    pub(in crate::resource::app) fn displaces(&self, file: &FileFound) -> bool {
        let theirs = file.stat.is_some() && file.slot.is_none() && !file.is_tampered(self.owned);
        theirs || file.displaced
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
        if last != Some(&wanted.slot) {
            return None;
        }
        if file.slot.as_ref() == Some(&wanted.slot) {
            return file.mode.filter(|_| file.cannot_run()).map(|mode| Drift {
                path: file.path.to_string(),
                kind: DriftKind::ModeChanged,
                expected: "a program that can be run".to_owned(),
                found: format!("mode {mode:04o}"),
            });
        }
        let (kind, found) = match (file.stat, file.other) {
            (None, None) if let Some(target) = &file.leads_to => {
                (DriftKind::TypeChanged, format!("-> {target}"))
            }
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
