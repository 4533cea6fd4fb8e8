//! What to do about one tree; pure.

use camino::{Utf8Path, Utf8PathBuf};

use crate::model::plan::InUse;
use crate::model::step::{
    AssembleRules, DeleteMax, ExchangeBy, Existing, Expected, ReleaseHead, Reuse, Seed,
};
use crate::model::{
    Action, Attribution, BlockedReason, Change, Digest, Drift, Effect, Step, Version,
};
use crate::resource::decision::{self, ADOPTED, Decision, Leftovers, Problem, more_than};
use crate::resource::tree::layout::{Layout, is_adopted, slot_name};
use crate::resource::tree::observe::Live;
use crate::resource::tree::remove::{before, exchange_by};
use crate::resource::tree::retain::surplus;
use crate::resource::tree::spec::TreeLayout;
use crate::resource::tree::wanted::{INDEX_BYTES_MAX, Offer, State, Wanted, state};
use crate::resource::tree::{TreeObserved, TreeSpec};

/// Trees, or files of trees, of somebody else that are kept before more of them is refused: each costs space that nobody
/// gives back.
pub(super) const SET_ASIDE_MAX: usize = 3;

/// Everything that decides what happens to one tree.
pub type Situation<'a> = decision::Situation<'a, TreeSpec, TreeObserved, Wanted>;

/// Decides. Total: every situation has an answer.
pub fn plan(situation: &Situation<'_>) -> Decision {
    situation.decide(
        || situation.current_version(),
        |wanted| situation.work(wanted),
        |work| situation.change(work),
        |wanted| {
            let new = || wanted.there.then(|| slot_name(&wanted.index, std::iter::empty()));
            Some(situation.in_use(wanted, &wanted.slot.clone().or_else(new)?))
        },
    )
}

/// What must be done to be on a generation, before it becomes a change.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) wanted: Option<Wanted>,
    /// The generation in use afterwards.
    pub(super) slot: Option<String>,
    /// The generation to go back to, where files are replaced one by one.
    pub(super) way_back: Option<String>,
    /// A new generation is made.
    pub(super) staged: bool,
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
    /// It has files that are not ours.
    SetAside,
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
        if wanted.there {
            return Ok(work);
        }
        let state = state(self.spec, self.observed, wanted);
        work.drift.clone_from(&self.observed.drift);
        match state {
            State::InUse => {
                work.slot.clone_from(&wanted.slot);
                return Ok(work);
            }
            State::Kept(slot) if wanted.offer.is_none() => {
                self.check_path()?;
                self.check_preserved(wanted)?;
                self.check_kept()?;
                self.keep_way_back((wanted, &slot), &mut work);
                work.steps.push(self.exchange(&slot, Replaced::Kept));
                work.slot = Some(slot);
                return Ok(work);
            }
            State::Kept(slot) => {
                work.why = Some(format!("somebody changed {slot}, which was kept"));
            }
            State::Outdated(why) => work.why = Some(why),
            State::Damaged | State::Missing => {}
        }
        let offer = wanted.offer.as_ref().ok_or_else(|| self.cannot_be_had(wanted))?;
        self.check_path()?;
        self.check_preserved(wanted)?;
        let slot = slot_name(&wanted.index, self.observed.slots());
        let same = self.observed.current_head().is_some_and(|head| head.index == wanted.index);
        let replaced = match self.observed.extras {
            _ if !same => self.check_kept().map(|()| Replaced::Kept)?,
            Some(0) => Replaced::Dropped,
            _ => self.set_aside()?,
        };
        let reuse = match self.spec.layout {
            TreeLayout::InPlace if self.merges() => Reuse::Stays,
            // What stays the same file need not be moved to its place.
            TreeLayout::InPlace => Reuse::Hardlink,
            TreeLayout::Exchange | TreeLayout::Link => self.spec.reuse,
        };
        work.steps.extend(self.stage(wanted, offer, (&slot, reuse)));
        self.keep_way_back((wanted, &slot), &mut work);
        work.steps.push(self.exchange(&slot, replaced));
        work.staged = true;
        work.slot = Some(slot);
        Ok(work)
    }

    pub(super) fn through_link(&self) -> bool {
        matches!(self.observed.live, Live::Link { .. })
    }

    /// Refuses to replace what is not ours.
    fn check_path(&self) -> Result<(), Problem> {
        let path = &self.spec.path;
        if let Some(mount) = self.observed.mounts.first() {
            return Err(Problem::foreign(format!(
                "something is mounted at {mount}, and replacing {path} would take that along; unmount it"
            )));
        }
        let in_the_way = |kind: &str| {
            Problem::foreign(format!(
                "{path} is a {kind} that reconcile did not put there; move it away"
            ))
        };
        let ours = self.observed.current.is_some();
        match (&self.observed.live, self.spec.layout) {
            (Live::Nothing | Live::Empty { .. }, _) => Ok(()),
            (Live::Link { .. }, TreeLayout::Link) if ours => Ok(()),
            (Live::Directory { .. }, _) if ours || self.spec.existing == Existing::Adopted => {
                Ok(())
            }
            (Live::Directory { .. }, _) => Err(Problem::foreign(format!(
                "{path} exists and reconcile did not make it; move it away, or write `existing: adopted` to \
                 replace it (it is kept as the previous generation)"
            ))),
            (Live::Link { .. }, _) if ours => Err(Problem::foreign(format!(
                "{path} is the link of an earlier `layout: link`; remove the link, and the next pass puts the \
                 directory in its place"
            ))),
            (Live::Link { .. }, _) => Err(in_the_way("symbolic link")),
            (Live::Other(kind), _) => Err(in_the_way(kind)),
        }
    }

    /// A tree that is repaired is kept when somebody else has files in it, but not time and again.
    fn set_aside(&self) -> Result<Replaced, Problem> {
        let layout = self.layout();
        let kept = self.observed.generations.keys().filter(|slot| is_adopted(slot)).count();
        if kept < SET_ASIDE_MAX || self.through_link() {
            return Ok(Replaced::SetAside);
        }
        Err(Problem::foreign(format!(
            "{} has files of somebody else, and {kept} trees with such files are in {} already; name what \
             is to stay in `preserve`, and remove those that nobody needs",
            self.spec.path,
            layout.generations()
        )))
    }

    /// Whether a generation is moved into the directory in use, which has one of ours.
    fn merges(&self) -> bool {
        self.observed.current.is_some() && self.observed.live_inode().is_some()
    }

    pub(super) fn stage(
        &self,
        wanted: &Wanted,
        offer: &Offer,
        (slot, reuse): (&str, Reuse),
    ) -> [Step; 3] {
        let layout = self.layout();
        let staged = layout.staged(slot);
        let spec = self.spec;
        // The same again removes nothing of ours.
        let same = self.observed.current_head().is_some_and(|head| head.index == wanted.index);
        let delete_max = if same { DeleteMax::Unlimited } else { spec.delete_max };
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
                    packs: offer.packs.clone(),
                    delta: offer.delta.clone(),
                    seeds: self.seeds(),
                    path: spec.path.clone(),
                    seed_dirs: spec.seeds.clone(),
                    owner: spec.owner.clone(),
                    allow: spec.allow.clone(),
                    reuse,
                    delete_max,
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
            _ if by == ExchangeBy::InPlace && self.observed.current.is_some() => {
                self.observed.current.as_ref().map(|current| layout.generation(current))
            }
            Live::Directory { .. } => match &self.observed.current {
                Some(current) => match replaced {
                    Replaced::Kept => Some(layout.tree(current)),
                    // A link cannot take its place without the directory going elsewhere.
                    Replaced::Dropped if by == ExchangeBy::Link => Some(layout.tree(current)),
                    Replaced::SetAside => Some(layout.tree(&self.adopted_name())),
                    Replaced::Dropped => None,
                },
                None => Some(layout.tree(&self.adopted_name())),
            },
            Live::Nothing | Live::Empty { .. } | Live::Link { .. } | Live::Other(_) => None,
        };
        let set_aside =
            |old: &Utf8PathBuf| old.parent().and_then(Utf8Path::file_name).is_some_and(is_adopted);
        let current = self.observed.current.as_ref();
        let current = current.filter(|_| !old.as_ref().is_some_and(set_aside));
        Step::Exchange {
            keeps: current.map(|current| Box::new(self.keeps(current))),
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
            floating: self.spec.is_floating() && wanted.rolled_back.is_none(),
        }
    }

    /// Puts effects, retention and leftovers around the work; `None` when nothing is to be done.
    fn change(&self, mut work: Work) -> Option<Change> {
        let confirm = self.confirm(&work);
        let undo = confirm.as_ref().map(|confirm| self.undo(confirm, &work)).unwrap_or_default();
        let mut steps = std::mem::take(&mut work.steps);
        let working = !steps.is_empty();
        let mut effects = if working { self.effects(&work) } else { Vec::new() };
        let starting = self.starts(&work, &effects);
        let starts = !starting.is_empty();
        effects.extend(starting);
        let commit = steps.iter().position(|s| matches!(s, Step::Exchange { .. }));
        let commit = commit.unwrap_or(steps.len());
        let confirmed = confirm.iter().filter(|_| working).map(|confirm| confirm.effect.clone());
        let confirmed = confirmed.map(|effect| Step::Owe { effect });
        let owed: Vec<Step> = effects.iter().map(|due| due.owe(&work)).chain(confirmed).collect();
        steps.splice(commit..commit, owed);
        let effects: Vec<Effect> = effects.into_iter().map(|due| due.effect).collect();
        steps.extend(effects.iter().map(|effect| Step::Settle { effect: effect.clone() }));
        steps.extend(self.old_debts(&effects, confirm.as_ref()));
        let way_back = confirm.as_ref().and_then(|confirm| self.drop_way_back(confirm));
        steps.extend(confirm.zip(self.check()).map(|(confirm, check)| confirm.step(check)));
        let refresh = self.refresh(&work);
        let refreshes = refresh.is_some();
        steps.extend(refresh);
        let keep = work.slot.as_deref().or(self.observed.current.as_deref());
        let (mut swept, mut removed) = self.clear(&steps, keep);
        removed.extend(way_back.filter(|step| !removed.contains(step)));
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
        let offer = work.wanted.as_ref().and_then(|w| w.offer.as_ref()).filter(|_| work.staged);
        let index = offer.map_or(0, |offer| offer.index_bytes());
        let ways = offer.map(|offer| offer.ways);
        let (action, attribution, reason) = if working {
            self.explain(work.wanted.as_ref()?, &work.drift, work.why.as_deref())
        } else if starts {
            (Action::Tidy, Attribution::HostStarted, "the host was started".to_owned())
        } else if refreshes {
            let why = "the offline copy has not what is installed".to_owned();
            (Action::Tidy, Attribution::CopyBehind, why)
        } else {
            let kept = more_than(self.spec.retain, "generation");
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
            fetch_bytes: Some(index + ways.map_or(0, |ways| ways.fetched_bytes)),
            reused_bytes: ways.map_or(0, |ways| ways.reused_bytes + ways.kept_bytes),
            observed: Digest::of_json(self.observed),
            contents: work
                .wanted
                .and_then(|wanted| wanted.contents)
                .map(|contents| *contents)
                .filter(|_| working),
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
            (generation.tree.is_none() || generation.is_part()) && !in_use
        });
        let gone = surplus.into_iter().chain(dropped.map(str::to_owned));
        let mut gone: Vec<String> = gone.chain(broken.map(|(slot, _)| slot.clone())).collect();
        gone.sort();
        gone.dedup();
        (swept, self.remember(&gone, keep))
    }

    /// A pass that was killed right after an exchange left the tree that was in use where the new one had been.
    fn misplaced(&self) -> Option<Step> {
        let layout = self.layout();
        let current = self.observed.current.as_ref()?;
        if self.through_link() {
            return None;
        }
        let left = self.observed.generations.get(current)?.tree?;
        let from = layout.tree(current);
        if self.observed.head(current).is_some_and(|head| head.merged == Some(left)) {
            // What is left there has its second name in the tree in use.
            return Some(layout.sweep_tree(current));
        }
        let index = |slot: &str| self.observed.head(slot).map(|head| &head.index);
        // A repaired tree with files of somebody else goes where those are kept.
        let owner = self.observed.misplaced().filter(|owner| {
            index(owner) != index(current) || self.observed.misplaced_extras == Some(0)
        });
        let to = layout.tree(&owner.map_or_else(|| self.adopted_name(), str::to_owned));
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
