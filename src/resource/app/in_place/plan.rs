//! What to do about the one file of an app; pure.

use camino::Utf8Path;

use crate::model::ledger::Recognised;
use crate::model::step::{Expected, Kept, KeptAs, ReleaseHead};
use crate::model::{Algorithm, Drift, DriftKind, Step};
use crate::resource::app::in_place::observe::FileFound;
use crate::resource::app::in_place::{backup_names, beside, program};
use crate::resource::app::plan::Situation;
use crate::resource::app::wanted::Wanted;
use crate::resource::decision::{ADOPTED, Problem, SlotState};

impl Situation<'_> {
    /// The step that brings `wanted` into use where it is not; an obstacle when something is in the way.
    pub(in crate::resource::app) fn install(
        &self,
        file: &FileFound,
        wanted: &Wanted,
        state: &SlotState,
    ) -> Result<Option<Step>, Problem> {
        if let Some(target) = &file.leads_to {
            if self.spec.file.as_ref().is_some_and(|wished| *wished != file.path) {
                return Err(Problem::foreign(format!(
                    "{} is a symbolic link to {target} that is not root's, and whoever owns it would say which file \
                     is replaced: have root own it, or name the file as `layout: {{ file }}` by the path it leads to",
                    file.path
                )));
            }
            return Err(Problem::foreign(format!(
                "{} is a symbolic link to {target}, outside of its own directory, and is not followed there; \
                 remove the link, or write `layout: {{ file: {}, follow: {} }}` where that file is meant",
                file.path,
                file.path,
                target.parent().unwrap_or(target)
            )));
        }
        if let Some(kind) = file.other.as_deref() {
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
        let spoilt = file.slot.is_some() && file.cannot_run();
        let backup = match expects {
            Expected::Nothing => None,
            _ if spoilt => None,
            _ => Some(self.backup(file)?),
        };
        let mut step = self.place(file, &wanted.slot, program, (expects, backup));
        if let Step::Install { keeps, .. } = &mut step {
            *keeps = self.keeps(file).map(Box::new);
        }
        Ok(Some(step))
    }

    /// Trying the program that is to take the place of the running agent, before it does.
    pub(in crate::resource::app) fn trial(&self, steps: &[Step]) -> Option<Step> {
        let agent = self.facts.agent.as_ref().filter(|_| self.facts.live)?;
        let (release, wished) = steps.iter().find_map(|step| match step {
            Step::Install { file, release, wished, .. } if *file == agent.file => {
                Some((release, wished))
            }
            _ => None,
        })?;
        let staged = steps.iter().find_map(|step| match step {
            Step::Unpack { into, .. } => Some(into),
            _ => None,
        });
        Some(Step::Try {
            release: staged.unwrap_or(release).clone(),
            wished: wished.clone(),
            trials: agent.trials.clone(),
        })
    }

    /// Where a program of somebody else is kept as a release when ours takes its place: to go back to by hand, or
    /// at once when ours does not show that it works.
    fn keeps(&self, file: &FileFound) -> Option<Kept> {
        let wanted = self.spec.retain >= 2 || self.check().is_some_and(|check| check.rolls_back);
        if !wanted || !file.is_foreign(self.owned) {
            return None;
        }
        let layout = self.layout();
        let known = self.recognised().filter(|known| file.is(known));
        Some(Kept {
            staged: layout.staged_slot(ADOPTED),
            release: layout.slot(ADOPTED),
            replaces: self.observed.slots.contains_key(ADOPTED),
            head: ReleaseHead {
                resource: self.id.clone(),
                version: known.map_or_else(|| ADOPTED.parse().ok(), |k| Some(k.version.clone()))?,
                tag: ADOPTED.to_owned(),
                recipe: self.spec.recipe.clone(),
            },
        })
    }

    /// What the program of somebody else in this place was recognised as.
    pub(in crate::resource::app) fn recognised(&self) -> Option<&Recognised> {
        self.observed.file.as_ref()?.recognised(self.owned)
    }

    /// What was done to such a program since.
    pub(in crate::resource::app) fn drift_of_recognised(&self) -> Option<Drift> {
        let (file, known) = (self.observed.file.as_ref()?, self.recognised()?);
        let (kind, found) = changed(file);
        let expected = format!("the program of {}", known.version);
        (!file.is(known)).then(|| Drift { path: file.path.to_string(), kind, expected, found })
    }

    /// Whether the program of somebody else in place is the very one that is wished: then there is nothing to do.
    pub(in crate::resource::app) fn is_in_place(&self, wanted: &Wanted) -> bool {
        let found = self.observed.file.as_ref().filter(|file| file.slot.is_none());
        let found = found.and_then(|file| file.sha256.as_deref());
        let stated = wanted.offer.iter().flat_map(|offer| &offer.evidence.digests);
        let mut sha256 = stated.filter(|digest| digest.algorithm() == Algorithm::Sha256);
        !self.was_active() && sha256.any(|digest| Some(digest.hex().as_str()) == found)
    }

    /// Where the file that is there is kept: in place of what we kept there before, else where nothing is. What somebody
    /// made of a program of ours is nothing to go back to, so that it never displaces anything.
    fn backup(&self, file: &FileFound) -> Result<KeptAs, Problem> {
        let known = |path: &Utf8Path, stat: &Option<(u64, i64)>| {
            let in_place = self.owned.and_then(|owned| owned.in_place.as_ref());
            let backups = in_place.iter().flat_map(|known| &known.backups);
            backups.into_iter().any(|b| b.path == path && Some((b.size, b.mtime)) == *stat)
        };
        let ours = file.backups.iter().find(|(path, stat)| known(path, stat));
        if let Some((path, _)) = ours.filter(|_| !file.is_tampered(self.owned)) {
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
            keeps: None,
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
        if self.last() != Some(&wanted.slot) || self.moves() {
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
        let (kind, found) = changed(file);
        let expected = format!("the program of {}", wanted.slot);
        Some(Drift { path: file.path.to_string(), kind, expected, found })
    }
}

/// How what is there differs from the program that should be, and what it is.
fn changed(file: &FileFound) -> (DriftKind, String) {
    match (file.stat, file.other.as_deref()) {
        (None, None) if let Some(target) = &file.leads_to => {
            (DriftKind::TypeChanged, format!("-> {target}"))
        }
        (Some(_), _) => {
            let known = file.slot.as_ref().map(|slot| format!("the program of {slot}"));
            (DriftKind::Modified, known.unwrap_or_else(|| "another file".to_owned()))
        }
        (None, Some(kind)) => (DriftKind::TypeChanged, kind.to_owned()),
        (None, None) => (DriftKind::Missing, "nothing".to_owned()),
    }
}
