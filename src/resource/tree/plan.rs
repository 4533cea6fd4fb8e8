//! What to do about one tree; pure.

use crate::model::plan::InUse;
use crate::model::step::{AssembleRules, Existing, Expected, ReleaseHead, Seed};
use crate::model::{BlockedReason, Change, Digest, Drift, Effect, Step, Version};
use crate::resource::confirm::Confirm;
use crate::resource::decision::{self, ADOPTED, Decision, Leftovers, Problem};
use crate::resource::tree::layout::{Layout, slot_name};
use crate::resource::tree::observe::Live;
use crate::resource::tree::remove::{before, exchange_by};
use crate::resource::tree::retain::surplus;
use crate::resource::tree::spec::TreeLayout;
use crate::resource::tree::wanted::{Offer, State, Wanted, state};
use crate::resource::tree::{TreeObserved, TreeSpec};

/// Largest index accepted: as large as any document that is remembered.
const INDEX_BYTES_MAX: u64 = 16 << 20;

/// Everything that decides what happens to one tree.
pub type Situation<'a> = decision::Situation<'a, TreeSpec, TreeObserved, Wanted>;

/// Decides. Total: every situation has an answer.
pub fn plan(situation: &Situation<'_>) -> Decision {
    situation.decide(
        || situation.current_version(),
        |wanted| situation.work(wanted),
        |work| situation.change(work),
        |wanted| Some(situation.in_use(wanted, wanted.slot.as_deref()?)),
    )
}

/// What must be done to be on a generation, before it becomes a change.
#[derive(Debug, Default)]
pub(super) struct Work {
    wanted: Option<Wanted>,
    /// The generation in use afterwards.
    pub(super) slot: Option<String>,
    /// A new generation is made.
    staged: bool,
    pub(super) steps: Vec<Step>,
    drift: Vec<Drift>,
    /// Why the generation is made anew, in words.
    why: Option<String>,
}

/// What becomes of the tree that was in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Replaced {
    Kept,
    Dropped,
}

impl Situation<'_> {
    pub(super) fn layout(&self) -> Layout {
        Layout::new(&self.spec.path)
    }

    fn current_version(&self) -> Option<Version> {
        self.observed.current_head().map(|head| head.version.clone())
    }

    /// The steps that lead to `wanted`, in order; an obstacle when they must not be taken.
    fn work(&self, wanted: &Wanted) -> Result<Work, Problem> {
        let mut work = Work { wanted: Some(wanted.clone()), ..Work::default() };
        let state = state(self.spec, self.observed, wanted);
        work.drift.clone_from(&self.observed.drift);
        match state {
            State::InUse if self.is_laid_out() => {
                work.slot.clone_from(&wanted.slot);
                return Ok(work);
            }
            State::Kept(slot) => {
                self.check_path()?;
                work.steps.push(self.exchange(&slot, Replaced::Kept));
                work.slot = Some(slot);
                return Ok(work);
            }
            State::Outdated(why) => work.why = Some(why),
            State::InUse => work.why = Some("the layout was edited".to_owned()),
            State::Damaged | State::Missing => {}
        }
        let offer = wanted.offer.as_ref().ok_or_else(|| self.cannot_be_had(wanted))?;
        self.check_path()?;
        let taken = self.observed.generations.keys().map(String::as_str);
        let slot = slot_name(&wanted.index, taken);
        let same = self.observed.current_head().is_some_and(|head| head.index == wanted.index);
        let replaced = if same { Replaced::Dropped } else { Replaced::Kept };
        work.steps.extend(self.stage(wanted, offer, &slot));
        work.steps.push(self.exchange(&slot, replaced));
        work.staged = true;
        work.slot = Some(slot);
        Ok(work)
    }

    /// Whether the tree in use is used as it is wished to be: through a link or not.
    fn is_laid_out(&self) -> bool {
        match self.spec.layout {
            TreeLayout::Exchange => !matches!(self.observed.live, Live::Link { .. }),
            TreeLayout::Link => matches!(self.observed.live, Live::Link { .. }),
        }
    }

    pub(super) fn through_link(&self) -> bool {
        matches!(self.observed.live, Live::Link { .. })
    }

    /// Refuses to replace what is not ours.
    fn check_path(&self) -> Result<(), Problem> {
        let path = &self.spec.path;
        let in_the_way = |kind: &str| {
            Problem::foreign(format!(
                "{path} is a {kind} that reconcile did not put there; move it away"
            ))
        };
        let ours = self.observed.current.is_some();
        match (&self.observed.live, self.spec.layout) {
            (Live::Nothing | Live::Empty { .. }, _) => Ok(()),
            (Live::Directory { .. }, TreeLayout::Exchange)
            | (Live::Link { .. }, TreeLayout::Link)
                if ours =>
            {
                Ok(())
            }
            (Live::Directory { .. }, TreeLayout::Exchange) => match self.spec.existing {
                Existing::Adopted => Ok(()),
                Existing::Refused => Err(Problem::foreign(format!(
                    "{path} exists and reconcile did not make it; move it away, or write `existing: \
                     adopted` to replace it (it is kept as the previous generation)"
                ))),
            },
            (Live::Directory { .. }, TreeLayout::Link) => Err(in_the_way("directory")),
            (Live::Link { .. }, _) => Err(in_the_way("symbolic link")),
            (Live::Other(kind), _) => Err(in_the_way(kind)),
        }
    }

    fn stage(&self, wanted: &Wanted, offer: &Offer, slot: &str) -> [Step; 3] {
        let layout = self.layout();
        let staged = layout.staged(slot);
        let spec = self.spec;
        [
            Step::Fetch {
                artifact: offer.artifact.clone(),
                evidence: offer.evidence.clone(),
                size_max: INDEX_BYTES_MAX,
                delta: None,
            },
            Step::Assemble {
                into: staged.clone(),
                rules: Box::new(AssembleRules {
                    stores: offer.stores.clone(),
                    seeds: self.seeds(),
                    path: spec.path.clone(),
                    seed_dirs: spec.seeds.clone(),
                    owner: spec.owner.clone(),
                    allow: spec.allow.clone(),
                    reuse: spec.reuse,
                    delete_max: spec.delete_max,
                    preserve: spec.preserve.clone(),
                    limits: spec.limits,
                    published: offer.published,
                }),
                release: ReleaseHead {
                    resource: self.id.clone(),
                    version: wanted.version.clone(),
                    tag: slot.to_owned(),
                    recipe: spec.recipe(),
                },
            },
            Step::Promote { from: staged, to: layout.generation(slot), replaces: false },
        ]
    }

    /// Generations to take bytes from, the one in use first.
    fn seeds(&self) -> Vec<Seed> {
        let layout = self.layout();
        let seed = |slot: &String, tree| {
            let in_use = self.observed.current.as_ref() == Some(slot);
            let verify = in_use && self.observed.rotten;
            Seed { generation: layout.generation(slot), tree, in_use, verify }
        };
        let current = self.observed.current.iter().map(|slot| {
            seed(slot, if self.through_link() { layout.tree(slot) } else { layout.path.clone() })
        });
        let kept = self.observed.generations.keys().filter(|slot| {
            self.observed.is_kept(slot) && self.observed.current.as_ref() != Some(*slot)
        });
        current.chain(kept.map(|slot| seed(slot, layout.tree(slot)))).collect()
    }

    /// Brings a generation into use. The tree that was in use is kept, unless it is a damaged one.
    fn exchange(&self, slot: &str, replaced: Replaced) -> Step {
        let layout = self.layout();
        let by = exchange_by(self.spec.layout);
        let old = match &self.observed.live {
            Live::Directory { .. } => match &self.observed.current {
                Some(current) => (replaced == Replaced::Kept).then(|| layout.tree(current)),
                None => Some(layout.tree(&self.adopted_name())),
            },
            Live::Nothing | Live::Empty { .. } | Live::Link { .. } | Live::Other(_) => None,
        };
        Step::Exchange {
            tree: layout.tree(slot),
            path: layout.path.clone(),
            old,
            expects: self
                .observed
                .live_inode()
                .map_or(Expected::Nothing, |inode| Expected::Directory { inode }),
            preserve: self.spec.preserve.clone(),
            by,
        }
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

    fn in_use(&self, wanted: &Wanted, slot: &str) -> InUse {
        let head = self.observed.head(slot);
        let offered = wanted.offer.as_ref().map(|offer| offer.evidence.clone());
        InUse {
            version: wanted.version.clone(),
            tag: slot.to_owned(),
            digest: Some(wanted.index.clone()),
            evidence: offered.or_else(|| head.map(|head| head.evidence.clone())),
            requested: Some(self.spec.requested()),
            floating: self.spec.is_floating(),
        }
    }

    /// Puts effects, retention and leftovers around the work; `None` when nothing is to be done.
    fn change(&self, work: Work) -> Option<Change> {
        let working = !work.steps.is_empty();
        let confirm = self.confirm(&work);
        let owed = self.owes(&work);
        let undo = confirm.as_ref().map(|confirm| self.undo(confirm, &work)).unwrap_or_default();
        let mut steps = work.steps;
        let effects = if working { self.effects(work.wanted.as_ref()) } else { Vec::new() };
        let commit = steps.iter().position(|s| matches!(s, Step::Exchange { .. }));
        let commit = commit.unwrap_or(steps.len());
        let confirmed = confirm.iter().filter(|_| working).map(|confirm| confirm.effect.clone());
        let confirmed = confirmed.map(|effect| Step::Owe { effect });
        steps.splice(commit..commit, owed.into_iter().filter(|_| working).chain(confirmed));
        let effects: Vec<Effect> = effects.into_iter().map(|due| due.effect).collect();
        steps.extend(effects.iter().map(|effect| Step::Settle { effect: effect.clone() }));
        steps.extend(self.old_debts(&effects, confirm.as_ref()));
        steps.extend(confirm.zip(self.check()).map(|(confirm, check)| confirm.step(check)));
        let keep = work.slot.as_deref().or(self.observed.current.as_deref());
        let (mut swept, removed) = self.clear(&steps, keep);
        if let Some(step) = self.misplaced() {
            // Before the place it is moved to is needed again.
            steps.insert(0, step.clone());
            swept.insert(0, step);
        }
        let swept_last = swept.iter().filter(|step| !matches!(step, Step::Promote { .. }));
        steps.extend(removed);
        steps.extend(swept_last.cloned());
        if steps.is_empty() {
            return None;
        }
        let ways = work.wanted.as_ref().and_then(|w| w.offer.as_ref()).map(|offer| offer.ways);
        let ways = ways.filter(|_| work.staged);
        let (action, attribution, reason) = if working {
            self.explain(work.wanted.as_ref()?, &work.drift, work.why.as_deref())
        } else {
            let kept = format!("more than {} generations are kept", self.spec.retain);
            self.explain_tidy(Leftovers::of(&swept), kept)
        };
        let after = work.wanted.as_ref().zip(work.slot.as_deref());
        Some(Change {
            resource: self.id.clone(),
            action,
            attribution,
            reason,
            declared_at: Some(self.declared_at.to_owned()),
            before: before(self.observed),
            after: after.map(|(wanted, slot)| self.in_use(wanted, slot)),
            drift: work.drift,
            fetch_bytes: Some(ways.map_or(0, |ways| ways.fetched_bytes)),
            reused_bytes: ways.map_or(0, |ways| ways.reused_bytes),
            observed: Digest::of_json(self.observed),
            steps,
            undo,
        })
    }

    /// Removes what an earlier pass left, and what is kept no longer.
    fn clear(&self, steps: &[Step], keep: Option<&str>) -> (Vec<Step>, Vec<Step>) {
        let layout = self.layout();
        let staged = |name: &&String| {
            let path = layout.staging().join(name.as_str());
            steps.iter().any(|s| matches!(s, Step::Assemble { into, .. } if into == &path))
        };
        let leftovers = self.observed.leftovers.iter().filter(|name| !staged(name));
        let swept: Vec<Step> = leftovers.map(|name| layout.sweep(name)).collect();
        let dropped = self.observed.current.as_deref().filter(|current| {
            let kept = steps.iter().any(|s| {
                matches!(s, Step::Exchange { old: Some(old), .. } if old == &layout.tree(current))
            });
            Some(*current) != keep && !kept && keep.is_some() && !self.through_link()
        });
        let surplus = surplus(self.spec, self.observed, self.owned, (keep, dropped));
        let broken = self.observed.generations.iter().filter(|(slot, generation)| {
            let in_use =
                Some(slot.as_str()) == keep || self.observed.current.as_ref() == Some(*slot);
            generation.tree.is_none() && !in_use
        });
        let gone = surplus.into_iter().chain(dropped.map(str::to_owned));
        let mut gone: Vec<String> = gone.chain(broken.map(|(slot, _)| slot.clone())).collect();
        gone.sort();
        gone.dedup();
        let removed = gone.into_iter().map(|slot| layout.remove(layout.generation(&slot)));
        (swept, removed.collect())
    }

    /// A pass that was killed right after an exchange left the tree that was in use where the new one had been.
    fn misplaced(&self) -> Option<Step> {
        let layout = self.layout();
        let current = self.observed.current.as_ref()?;
        if self.through_link() {
            return None;
        }
        let inode = self.observed.generations.get(current)?.tree?;
        let from = layout.tree(current);
        let mut owners = self.observed.generations.iter().filter(|(_, generation)| {
            generation.tree.is_none() && generation.head.as_ref().is_some_and(|h| h.inode == inode)
        });
        if let Some((slot, _)) = owners.next() {
            return Some(Step::Promote { from, to: layout.tree(slot), replaces: false });
        }
        let to = layout.tree(&self.adopted_name());
        Some(Step::Promote { from, to, replaces: false })
    }

    /// A name that no generation has for a tree that was there before us.
    fn adopted_name(&self) -> String {
        let taken = |name: &String| self.observed.generations.contains_key(name);
        let numbered = (2..).map(|number: u32| format!("{ADOPTED}.{number}"));
        let mut names = std::iter::once(ADOPTED.to_owned()).chain(numbered);
        names.find(|name| !taken(name)).unwrap_or_else(|| ADOPTED.to_owned())
    }
}

/// An effect that an exchange makes due, for some paths or for all.
struct Due {
    effect: Effect,
    paths: Option<Vec<String>>,
}

impl Situation<'_> {
    /// What an exchange makes due, in order.
    fn effects(&self, wanted: Option<&Wanted>) -> Vec<Due> {
        if !self.facts.live {
            return Vec::new();
        }
        let version = wanted.map(|w| w.version.clone());
        let run = |argv: &Vec<String>| Effect::Run {
            resource: self.id.clone(),
            argv: argv.clone(),
            version: version.clone(),
        };
        let restarts = self
            .spec
            .restart
            .iter()
            .map(|unit| Due { effect: Effect::Restart { unit: unit.clone() }, paths: None });
        let triggers = self.spec.triggers.iter().flat_map(|trigger| {
            let paths = &trigger.paths;
            trigger.run.iter().map(move |argv| (argv, paths))
        });
        let triggers =
            triggers.map(|(argv, paths)| Due { effect: run(argv), paths: Some(paths.clone()) });
        let runs = self.spec.run.iter().map(|argv| Due { effect: run(argv), paths: None });
        restarts.chain(triggers).chain(runs).collect()
    }

    /// The steps that journal what an exchange makes due. Which paths changed is known only where a generation
    /// is made.
    pub(super) fn owes(&self, work: &Work) -> Vec<Step> {
        let owes = self.effects(work.wanted.as_ref()).into_iter().map(|due| match due.paths {
            Some(paths) if work.staged => Step::OweIfChanged { paths, effect: due.effect },
            _ => Step::Owe { effect: due.effect },
        });
        owes.collect()
    }

    /// Effects owed from earlier passes: paid when still wished, struck out when not. On another root
    /// than the running system's they stay owed.
    fn old_debts(&self, now_owed: &[Effect], confirm: Option<&Confirm>) -> Vec<Step> {
        let mut steps = Vec::new();
        for debt in self.debts.iter().filter(|d| !now_owed.contains(&d.effect)) {
            if confirm.is_some_and(|confirm| confirm.effect == debt.effect) {
                continue;
            }
            let superseded = matches!(debt.effect, Effect::Confirm { .. }) && self.facts.live;
            let wished = self.spec.wishes(&debt.effect) && !superseded;
            if wished && !self.facts.live {
                continue;
            }
            let effect = debt.effect.clone();
            steps.push(if wished {
                Step::Settle { effect }
            } else {
                let why = "the desired state does not ask for it any more".to_owned();
                Step::Forgive { effect, why }
            });
        }
        steps
    }
}
