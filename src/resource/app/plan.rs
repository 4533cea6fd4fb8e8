//! What to do about one app; pure.

use crate::model::manifest::Binary;
use crate::model::plan::InUse;
use crate::model::slot::tag_of_slot;
use crate::model::step::{ReleaseHead, UnpackRules};
use crate::model::{BlockedReason, Change, Digest, Drift, Effect, Step, Version};
use crate::resource::app::layout::Layout;
use crate::resource::app::links::texts;
use crate::resource::app::remove::added;
use crate::resource::app::retain::surplus;
use crate::resource::app::wanted::{Offer, Wanted, slot_state};
use crate::resource::app::{AppObserved, AppSpec};
use crate::resource::confirm::Confirm;
use crate::resource::decision::{
    self, ADOPTED, Decision, Leftovers, Problem, SlotState, more_than,
};

/// Everything that decides what happens to one app.
pub type Situation<'a> = decision::Situation<'a, AppSpec, AppObserved, Wanted>;

/// Decides. Total: every situation has an answer.
pub fn plan(situation: &Situation<'_>) -> Decision {
    situation.decide(
        || situation.current_version(),
        |wanted| situation.work(wanted),
        |work| situation.change(work),
        |wanted| Some(situation.in_use(wanted)),
    )
}

/// What must be done to be on a release, before it becomes a change.
#[derive(Debug, Default)]
struct Work {
    wanted: Option<Wanted>,
    steps: Vec<Step>,
    drift: Vec<Drift>,
    /// Why the release directory is made anew, in words.
    why: Option<String>,
    /// The running programs change: restarts are due.
    disrupts: bool,
}

impl Situation<'_> {
    pub(super) fn layout(&self) -> Layout {
        Layout::new(&self.spec.home)
    }

    pub(super) fn current_version(&self) -> Option<Version> {
        self.observed.version_of(self.observed.current()?, &self.spec.version.tag)
    }

    pub(super) fn state(&self, wanted: &Wanted) -> SlotState {
        let arch = self.facts.arch.name();
        let state = slot_state(self.spec, self.observed, self.owned, &wanted.slot, arch);
        if wanted.as_is || wanted.rolled_back.is_some() {
            let adopted = self.owned.map_or(&[][..], |owned| &owned.adopted);
            return state.as_pinned(adopted, &wanted.slot);
        }
        match &wanted.anew {
            Some(why) if state == SlotState::Whole => SlotState::Outdated(why.clone()),
            _ => state,
        }
    }

    /// The steps that lead to `wanted`, in order; an obstacle when they must not be taken.
    fn work(&self, wanted: &Wanted) -> Result<Work, Problem> {
        let layout = self.layout();
        let mut work = Work { wanted: Some(wanted.clone()), ..Work::default() };
        let state = self.state(wanted);
        if state == SlotState::Missing && self.is_in_place(wanted) {
            return Ok(work);
        }
        work.drift = self.slot_drift(wanted, &state);
        if !self.was_in_use(&wanted.slot) {
            work.drift.extend(self.drift());
        }
        match &state {
            SlotState::Outdated(why) => work.why = Some(why.clone()),
            SlotState::Foreign if self.observed.linked_slots().is_empty() => {
                return Err(foreign_slot(&layout, wanted));
            }
            SlotState::Foreign => {
                work.why = Some("an earlier updater left it unfinished".to_owned());
            }
            SlotState::Whole | SlotState::Adopted | SlotState::Missing | SlotState::Damaged => {}
        }
        let anew = state.must_be_made();
        if anew {
            let offer = wanted.offer.as_ref().ok_or_else(|| self.cannot_be_had(wanted))?;
            work.steps.extend(self.stage(&layout, wanted, offer, &state));
        }
        let in_use_anew = anew && self.observed.current() == Some(&wanted.slot);
        let switch = match &self.observed.file {
            Some(file) => {
                work.drift.extend(self.file_drift(file, wanted));
                self.install(file, wanted, &state)?
            }
            None => self.switch(wanted, &state, &mut work.drift)?,
        };
        work.disrupts = switch.is_some() || in_use_anew;
        work.steps.extend(switch);
        Ok(work)
    }

    /// The step that links the programs of `wanted` where they are not.
    fn switch(
        &self,
        wanted: &Wanted,
        state: &SlotState,
        drift: &mut Vec<Drift>,
    ) -> Result<Option<Step>, Problem> {
        let layout = self.layout();
        let links = self.links(wanted, state);
        if *state == SlotState::Adopted && links.as_ref().is_some_and(Vec::is_empty) {
            return Err(no_programs(&layout, wanted));
        }
        let expected = links.as_ref().map(|links| texts(&wanted.slot, links));
        let ours = self.our_links();
        drift.extend(self.link_drift(wanted, expected.as_ref(), &ours));
        if expected.is_some_and(|expected| expected == ours) {
            return Ok(None);
        }
        self.check_bin(&layout, links.as_deref())?;
        Ok(Some(Step::Switch {
            bin: layout.bin(),
            beside: layout.staged_bin(),
            release: layout.slot(&wanted.slot),
            links,
            expects: Some(ours.into_iter().collect()),
        }))
    }

    fn stage(
        &self,
        layout: &Layout,
        wanted: &Wanted,
        offer: &Offer,
        state: &SlotState,
    ) -> [Step; 3] {
        let staged = layout.staged_slot(&wanted.slot);
        [
            Step::Fetch {
                artifact: offer.artifact.clone(),
                evidence: offer.evidence.clone(),
                size_max: self.spec.download_bytes_max,
                delta: offer.delta.clone(),
            },
            Step::Unpack {
                into: staged.clone(),
                rules: UnpackRules {
                    strip: self.spec.strip,
                    binaries: self.spec.binaries.clone(),
                    bare_name: self.id.name.to_string(),
                    limits: self.spec.limits,
                },
                release: ReleaseHead {
                    resource: self.id.clone(),
                    version: wanted.version.clone(),
                    tag: wanted.tag.clone(),
                    recipe: self.spec.recipe.clone(),
                },
            },
            Step::Promote {
                from: staged,
                to: layout.slot(&wanted.slot),
                replaces: *state != SlotState::Missing,
            },
        ]
    }

    /// Refuses a switch that would have to destroy or cannot carry along what is not ours.
    fn check_bin(&self, layout: &Layout, links: Option<&[Binary]>) -> Result<(), Problem> {
        let names = match links {
            Some(links) => links.iter().map(|link| link.name.as_str()).collect(),
            None => self.likely_names(),
        };
        let is_taken = |name: &String| names.contains(&name.as_str());
        let brings = if links.is_some() { "brings" } else { "most likely brings" };
        let ours = self.our_links();
        if let Some(bin) = &self.observed.bin {
            let foreign = bin.links.keys().filter(|name| !ours.contains_key(*name));
            let foreign = foreign.map(|name| (name, "symbolic link"));
            let others = bin.others.iter().map(|(name, kind)| (name, &**kind));
            if let Some((name, kind)) = others.chain(foreign).find(|(name, _)| is_taken(name)) {
                return Err(Problem::foreign(format!(
                    "{} is a {kind} that reconcile did not put there, and the release {brings} a \
                     program of that name; move it away",
                    layout.bin().join(name)
                )));
            }
            if let Some((name, kind)) = bin.immovable() {
                return Err(Problem::foreign(format!(
                    "{} is a {kind}, which cannot be carried along when all links are switched at \
                     once; move it out of {}",
                    layout.bin().join(name),
                    layout.bin()
                )));
            }
        }
        Ok(())
    }

    fn cannot_be_had(&self, wanted: &Wanted) -> Problem {
        self.resolution.problem.clone().unwrap_or_else(|| Problem {
            reason: BlockedReason::SourceUnavailable,
            message: format!(
                "{} must be made again, but the source does not offer it any more",
                wanted.version
            ),
            until: None,
        })
    }

    fn in_use(&self, wanted: &Wanted) -> InUse {
        let manifest = self.observed.slots.get(&wanted.slot).and_then(|s| s.manifest.as_ref());
        let offered = wanted.offer.as_ref().and_then(|o| o.evidence.digests.first().cloned());
        InUse {
            version: wanted.version.clone(),
            tag: wanted.tag.clone(),
            digest: offered.or_else(|| manifest.map(|m| m.digest.clone())),
            evidence: wanted
                .offer
                .as_ref()
                .map(|o| o.evidence.clone())
                .or_else(|| manifest.map(|m| m.evidence.clone())),
            requested: Some(self.spec.version.want.to_string()),
            floating: self.spec.version.want.is_floating() && wanted.rolled_back.is_none(),
        }
    }

    fn before(&self) -> Option<InUse> {
        let (slot, version) = (self.stands_on(), self.stands_on_version()?);
        let manifest = slot.and_then(|slot| self.observed.slots.get(slot)?.manifest.as_ref());
        let digest = manifest.map(|m| m.digest.clone());
        Some(InUse {
            tag: slot.map_or_else(|| version.to_string(), tag_of_slot),
            version,
            digest: digest.or_else(|| self.recognised().and_then(|known| known.digest.clone())),
            evidence: manifest.map(|m| m.evidence.clone()),
            requested: None,
            floating: false,
        })
    }

    /// Puts effects, retention and leftovers around the work; `None` when nothing is to be done.
    fn change(&self, work: Work) -> Option<Change> {
        let layout = self.layout();
        let mut steps = work.steps;
        let wanted = work.wanted.as_ref();
        let effects = if work.disrupts { self.effects(wanted) } else { Vec::new() };
        let keeps = |step: &Step| matches!(step, Step::Install { keeps: Some(_), .. });
        let kept = steps.iter().any(keeps).then_some(ADOPTED);
        let confirm = wanted.zip(self.check()).and_then(|(wanted, _)| {
            let from = self.back_to(&wanted.slot, kept);
            let switched = || Some(self.confirm_switch(&wanted.slot, from));
            if work.disrupts { switched() } else { self.confirm_owed(&wanted.slot) }
        });
        let commit = steps.iter().position(|s| !s.is_staging()).unwrap_or(steps.len());
        let trial = self.trial(&steps);
        let confirmed = confirm.as_ref().filter(|_| work.disrupts).map(|c| &c.effect);
        let owes = effects.iter().chain(confirmed);
        let owes = owes.map(|effect| Step::Owe { effect: effect.clone() });
        let before: Vec<Step> = trial.into_iter().chain(owes).collect();
        steps.splice(commit..commit, before);
        let mut going = self.going();
        let working = !steps.is_empty() || !going.steps.is_empty();
        steps.extend(effects.iter().map(|effect| Step::Settle { effect: effect.clone() }));
        steps.extend(self.old_debts(&effects, confirm.as_ref()));
        let undo = confirm.as_ref().map(|confirm| self.undo(confirm)).unwrap_or_default();
        steps.extend(confirm.zip(self.check()).map(|(confirm, check)| confirm.step(check)));
        steps.append(&mut going.steps);
        let keep =
            work.wanted.as_ref().map(|w| w.slot.as_str()).or_else(|| self.observed.current());
        let surplus = surplus(self.spec, self.observed, self.owned, keep);
        let go_along = |slot: &String| self.observed.slots.get(slot).map(added).unwrap_or_default();
        going.go_along.extend(surplus.iter().flat_map(go_along));
        steps.extend(surplus.into_iter().map(|slot| layout.remove(layout.slot(&slot))));
        // Kept for the confirmation alone, which came before.
        let spare = kept.filter(|_| self.spec.retain < 2);
        steps.extend(spare.map(|slot| layout.remove(layout.slot(slot))));
        let swept = self.swept(&steps);
        steps.extend(swept.iter().cloned());
        if steps.is_empty() {
            return None;
        }
        let offer = work.wanted.as_ref().and_then(|w| w.offer.as_ref());
        let fetches = steps.iter().any(|s| matches!(s, Step::Fetch { .. }));
        let (fetch_bytes, reused_bytes) =
            offer.filter(|_| fetches).map_or((Some(0), 0), Offer::bytes);
        let (action, attribution, mut reason) = if working {
            self.explain(work.wanted.as_ref()?, &work.drift, work.why.as_deref())
        } else {
            let kept = more_than(self.spec.retain, "release");
            self.explain_tidy(Leftovers::of(&swept), kept)
        };
        going.tell(&mut reason);
        Some(Change {
            resource: self.id.clone(),
            action,
            attribution,
            reason,
            declared_at: Some(self.declared_at.to_owned()),
            before: self.before(),
            after: work.wanted.as_ref().map(|w| self.in_use(w)),
            drift: work.drift,
            fetch_bytes,
            reused_bytes,
            observed: Digest::of_json(self.observed),
            contents: None,
            steps,
            undo,
        })
    }

    /// What an earlier pass left half-done and the work does not go on with.
    fn swept(&self, steps: &[Step]) -> Vec<Step> {
        let layout = self.layout();
        let staged = |name: &&String| {
            let path = layout.staging().join(name.as_str());
            steps.iter().any(|s| matches!(s, Step::Unpack { into, .. } if into == &path))
        };
        let leftovers = self.observed.leftovers.iter().filter(|name| !staged(name));
        let installs = steps.iter().any(|step| matches!(step, Step::Install { .. }));
        let beside = self.observed.file.as_ref().and_then(|file| file.leftover.clone());
        let beside = beside.filter(|_| !installs);
        leftovers.map(|name| layout.sweep(name)).chain(beside.map(Step::remove)).collect()
    }

    /// What a switch makes due, in order.
    pub(super) fn effects(&self, wanted: Option<&Wanted>) -> Vec<Effect> {
        if !self.facts.live {
            return Vec::new();
        }
        let restarts = self.spec.restart.iter().map(|unit| Effect::Restart { unit: unit.clone() });
        let runs = self.spec.run.iter().map(|argv| Effect::Run {
            resource: self.id.clone(),
            argv: argv.clone(),
            version: wanted.map(|w| w.version.clone()),
        });
        restarts.chain(runs).collect()
    }

    /// Effects owed from earlier passes: paid when still wished, struck out when not. On another root
    /// than the running system's they stay owed.
    fn old_debts(&self, now_owed: &[Effect], confirm: Option<&Confirm>) -> Vec<Step> {
        let again = |argv: &[String]| {
            now_owed.iter().any(|e| matches!(e, Effect::Run { argv: now, .. } if now == argv))
        };
        let mut steps = Vec::new();
        for debt in self.debts.iter().filter(|d| !now_owed.contains(&d.effect)) {
            let (wished, superseded) = match &debt.effect {
                effect @ Effect::Confirm { .. } => {
                    if confirm.is_some_and(|confirm| &confirm.effect == effect) {
                        continue;
                    }
                    (self.spec.health.is_some(), self.facts.live)
                }
                Effect::Refresh { .. } => (false, false),
                Effect::Restart { unit } => (self.spec.restart.contains(unit), false),
                Effect::Run { argv, .. } => (self.spec.run.contains(argv), again(argv)),
            };
            if wished && !superseded && !self.facts.live {
                continue;
            }
            let effect = debt.effect.clone();
            steps.push(if wished && !superseded {
                Step::Settle { effect }
            } else {
                let why = if superseded {
                    "it runs for a newer version".to_owned()
                } else {
                    "the desired state does not ask for it any more".to_owned()
                };
                Step::Forgive { effect, why }
            });
        }
        steps
    }
}

fn no_programs(layout: &Layout, wanted: &Wanted) -> Problem {
    Problem::foreign(format!(
        "{} was adopted and holds no program to link; remove it, and it is installed again",
        layout.slot(&wanted.slot)
    ))
}

fn foreign_slot(layout: &Layout, wanted: &Wanted) -> Problem {
    Problem::foreign(format!(
        "{} exists, but reconcile did not make it and nothing uses it; move it away",
        layout.slot(&wanted.slot)
    ))
}
