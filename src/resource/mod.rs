//! The kinds of thing that can be managed: this file alone lists them all.
//!
//! Each kind is a folder that observes, plans and explains itself; what the phases of a pass need of every
//! resource alike is asked of [`Spec`] (the wish), [`Found`] (what the host has) and [`Resolved`] (the release
//! to be on), which hand the question to the kind.

pub mod app;
pub mod back;
mod confirm;
pub mod decision;
pub mod extension;
pub mod observe;
mod source;
pub mod tree;

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use serde::Serialize;

use crate::model::ledger::{Debt, Left, Owned, Trust};
use crate::model::manifest::EntryKind;
use crate::model::plan::InUse;
use crate::model::{
    Change, Check, Constraint, Digest, Drift, Effect, Evidence, HostFacts, Level, ResourceId,
    Version,
};
use crate::resource::app::spec::VersionWish;
use crate::resource::app::{AppObserved, AppSpec};
use crate::resource::decision::{Decision, Problem, Resolution};
use crate::resource::extension::merged::InEffectBy;
use crate::resource::extension::spec::Activate;
use crate::resource::extension::{ExtensionObserved, ExtensionSpec};
use crate::resource::tree::{TreeObserved, TreeSpec};

/// The wish for one resource of any kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Spec {
    /// An app.
    App(Box<AppSpec>),
    /// An extension.
    Extension(Box<ExtensionSpec>),
    /// A tree.
    Tree(Box<TreeSpec>),
}

/// A suspension written in the desired state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SuspendWish {
    /// Why.
    pub reason: String,
    /// Until when; until edited when absent.
    pub until: Option<Timestamp>,
}

impl Spec {
    /// The path that belongs to this resource alone: what is ours is recorded with it.
    pub fn home(&self) -> &Utf8Path {
        match self {
            Self::App(spec) => &spec.home,
            Self::Extension(spec) => &spec.home,
            Self::Tree(spec) => &spec.path,
        }
    }

    /// The directories of its images, where they are not in its home.
    pub fn directories(&self) -> Vec<&Utf8Path> {
        match self {
            Self::Extension(spec) => spec.directories(),
            Self::App(_) | Self::Tree(_) => Vec::new(),
        }
    }

    /// The one file that is replaced in place, where it is one.
    pub fn file(&self) -> Option<&Utf8Path> {
        match self {
            Self::App(spec) => spec.file.as_deref(),
            Self::Extension(_) | Self::Tree(_) => None,
        }
    }

    /// The paths that nobody else may have.
    pub fn paths(&self) -> impl Iterator<Item = &Utf8Path> {
        std::iter::once(self.home()).chain(self.file())
    }

    /// Where it was before its layout was edited, of what is known.
    pub fn left(&self, owned: Option<&Owned>) -> Left {
        owned.map_or(Left::NOTHING, |owned| owned.left(self.file()))
    }

    /// What belongs to it beside its home and its file: where else nobody may put anything.
    pub fn beside(&self) -> Option<Utf8PathBuf> {
        match self {
            Self::App(spec) => spec.file.as_deref().map(app::in_place::backup),
            Self::Tree(spec) => Some(tree::layout::Layout::new(&spec.path).beside()),
            Self::Extension(_) => None,
        }
    }

    /// Left alone while this holds.
    pub fn suspend(&self) -> Option<&SuspendWish> {
        match self {
            Self::App(spec) => spec.suspend.as_ref(),
            Self::Extension(spec) => spec.suspend.as_ref(),
            Self::Tree(spec) => spec.suspend.as_ref(),
        }
    }

    /// The version asked for, as it was written.
    pub fn requested(&self) -> String {
        match self {
            Self::App(spec) => spec.version.want.to_string(),
            Self::Extension(spec) => spec.version.to_string(),
            Self::Tree(spec) => spec.requested(),
        }
    }

    /// Whether a version in use can be the wished one, as far as that tells: one that was there before a wish for the
    /// latest may be anything.
    pub fn accepts(&self, version: &Version) -> bool {
        match self {
            Self::App(spec) => {
                let VersionWish { want, prereleases, .. } = &spec.version;
                *want == Constraint::Latest || want.accepts(version, *prereleases)
            }
            Self::Extension(_) | Self::Tree(_) => true,
        }
    }

    /// Whether the version can move without an edit.
    pub fn is_floating(&self) -> bool {
        match self {
            Self::App(spec) => spec.version.want.is_floating(),
            Self::Extension(spec) => spec.version.is_floating(),
            Self::Tree(spec) => spec.is_floating(),
        }
    }

    /// The weakest evidence that the desired state accepts for a file that is fetched, where it says so.
    pub fn level_min(&self, file: &str) -> Option<Level> {
        match self {
            Self::App(spec) => spec.verify.min,
            Self::Extension(spec) => spec.level_of_file(file),
            Self::Tree(spec) => spec.verify.min,
        }
    }

    /// What a release must show before it counts as working.
    pub fn health(&self) -> Option<&Check> {
        match self {
            Self::App(spec) => spec.health.as_ref(),
            Self::Extension(spec) => spec.health.as_ref(),
            Self::Tree(spec) => spec.health.as_ref(),
        }
    }

    /// Units restarted after a switch.
    pub fn restarts(&self) -> &[String] {
        match self {
            Self::App(spec) => &spec.restart,
            Self::Extension(spec) => &spec.restart,
            Self::Tree(spec) => &spec.restart,
        }
    }

    /// Whether it is switched off, so that what it brought goes.
    pub fn is_off(&self) -> bool {
        match self {
            Self::Extension(spec) => spec.is_off(),
            Self::App(_) | Self::Tree(_) => false,
        }
    }

    /// Whether anything runs or restarts after a switch.
    pub fn has_effects(&self) -> bool {
        match self {
            Self::App(spec) => {
                !spec.restart.is_empty() || !spec.run.is_empty() || spec.health.is_some()
            }
            Self::Extension(spec) => spec.activate == extension::spec::Activate::Now,
            Self::Tree(spec) => {
                let runs = spec.run.len() + spec.triggers.len() + spec.on_start.len();
                !spec.restart.is_empty() || runs > 0 || spec.health.is_some()
            }
        }
    }

    /// Why it is off, where it is.
    pub fn why_off(&self) -> Option<&'static str> {
        match self {
            Self::Extension(spec) if spec.is_off() => Some(spec.why_off()),
            Self::App(_) | Self::Extension(_) | Self::Tree(_) => None,
        }
    }

    /// Whether anything runs once after each start of the host.
    pub fn runs_on_start(&self) -> bool {
        match self {
            Self::App(_) | Self::Extension(_) => false,
            Self::Tree(spec) => !spec.on_start.is_empty(),
        }
    }

    /// Whether this effect is one that the desired state asks for.
    pub fn wishes(&self, effect: &Effect) -> bool {
        match self {
            Self::App(spec) => match effect {
                Effect::Restart { unit } => spec.restart.contains(unit),
                Effect::Run { argv, .. } => spec.run.contains(argv),
                Effect::Confirm { .. } => spec.health.is_some(),
                Effect::Refresh { .. } => false,
            },
            Self::Extension(spec) => spec.wishes(effect),
            Self::Tree(spec) => spec.wishes(effect),
        }
    }

    /// Whether a step of this resource may touch a path.
    pub fn owns(&self, path: &Utf8Path) -> bool {
        match self {
            Self::App(spec) => path.starts_with(&spec.home),
            Self::Extension(spec) => spec.owns(path),
            Self::Tree(spec) => spec.owns(path),
        }
    }

    /// Whether a version in use raises the floor below which a floating wish never goes.
    pub fn raises(&self, floor: Option<&Version>, to: &Version) -> bool {
        match self {
            Self::App(_) | Self::Tree(_) => !to.is_opaque() && floor.is_none_or(|floor| floor < to),
            Self::Extension(spec) => floor.is_none_or(|floor| {
                let (floor, to) = (floor.as_str(), to.as_str());
                let order = extension::order::Order::of(spec.order, [floor, to].into_iter());
                order.compare(to, floor).is_gt()
            }),
        }
    }
}

/// What the host has of one resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Found {
    /// Of an app.
    App(AppObserved),
    /// Of an extension.
    Extension(ExtensionObserved),
    /// Of a tree.
    Tree(TreeObserved),
}

impl Found {
    /// The slot in use, when it is one.
    pub fn current(&self) -> Option<&str> {
        match self {
            Self::App(found) => found.current(),
            Self::Extension(found) => found.current.as_deref(),
            Self::Tree(found) => found.current.as_deref(),
        }
    }

    /// The file that is replaced in place, links followed.
    pub fn file(&self) -> Option<&Utf8Path> {
        match self {
            Self::App(found) => found.file.as_ref().map(|file| file.path.as_path()),
            Self::Extension(_) | Self::Tree(_) => None,
        }
    }

    /// SHA-256, hexadecimal, of the program that is replaced in place, or of what is known about the directory in a
    /// tree's place, where it is of no slot.
    pub fn program(&self) -> Option<&str> {
        match self {
            Self::App(found) => found.file.as_ref().and_then(|file| file.sha256.as_deref()),
            Self::Tree(found) => found.foreign.as_deref(),
            Self::Extension(_) => None,
        }
    }

    /// Names of all slots.
    pub fn slots(&self) -> Vec<&str> {
        match self {
            Self::App(found) => found.slots.keys().map(String::as_str).collect(),
            Self::Extension(found) => found.versions(),
            Self::Tree(found) => found.slots().collect(),
        }
    }

    /// The version of a slot.
    pub fn version_of(&self, slot: &str, spec: Option<&Spec>) -> Option<Version> {
        match self {
            Self::App(found) => {
                let tags = match spec {
                    Some(Spec::App(spec)) => spec.version.tag.clone(),
                    _ => app::spec::TagPattern::Plain,
                };
                found.version_of(slot, &tags)
            }
            Self::Extension(found) => found.version_of(slot),
            Self::Tree(found) => found.version_of(slot),
        }
    }

    /// Digest of the artifact that a slot was made from, and what vouched for it.
    pub fn made_from(&self, slot: &str) -> Option<(&Digest, &Evidence)> {
        match self {
            Self::App(found) => {
                let manifest = found.slots.get(slot)?.manifest.as_ref()?;
                Some((&manifest.digest, &manifest.evidence))
            }
            Self::Extension(found) => {
                let manifest = found.manifest(slot)?;
                Some((&manifest.digest, &manifest.evidence))
            }
            Self::Tree(found) => found.head(slot).map(|head| (&head.index, &head.evidence)),
        }
    }

    /// The place of its own on this machine that vouches for what a slot was made from, where nothing else does.
    pub fn accepted_from_here(&self, slot: &str) -> Option<&str> {
        let Self::Tree(found) = self else { return None };
        let stated_by = found.head(slot)?.evidence.stated_by.as_str();
        [tree::wanted::HERE, tree::wanted::OFFLINE].contains(&stated_by).then_some(stated_by)
    }

    /// How people name a slot: the tag it was published under.
    pub fn tag_of(slot: &str) -> String {
        crate::model::slot::tag_of_slot(slot)
    }

    /// SHA-256 digests, hexadecimal, of the cached artifacts that may be needed again.
    pub fn artifacts(&self) -> Vec<String> {
        // Older images are there themselves, and they are large; a generation keeps its own index.
        let slots = match self {
            Self::App(_) => self.slots(),
            Self::Extension(found) => found.current.as_deref().into_iter().collect(),
            Self::Tree(_) => Vec::new(),
        };
        slots.into_iter().filter_map(|slot| Some(self.made_from(slot)?.0.hex())).collect()
    }

    /// Bytes of all slots, as their manifests say. Trees share files between generations, so of them only the one in use
    /// counts.
    pub fn bytes(&self) -> u64 {
        let sizes: Box<dyn Iterator<Item = u64> + '_> = match self {
            Self::App(found) => {
                let manifests = found.slots.values().filter_map(|slot| slot.manifest.as_ref());
                Box::new(manifests.flat_map(|manifest| &manifest.entries).filter_map(|entry| {
                    match entry.kind {
                        EntryKind::File { size, .. } => Some(size),
                        EntryKind::Dir { .. } | EntryKind::Link { .. } => None,
                    }
                }))
            }
            Self::Extension(found) => {
                let images = found.transfers.iter().flat_map(|t| t.images.values());
                Box::new(images.filter_map(|image| Some(image.manifest.as_ref()?.size)))
            }
            Self::Tree(found) => Box::new(found.current_head().map(|head| head.bytes).into_iter()),
        };
        sizes.fold(0, u64::saturating_add)
    }

    /// Whether any slot says of itself that it was made for this resource.
    pub fn was_made_for(&self, id: &ResourceId) -> bool {
        match self {
            Self::App(found) => {
                let mut manifests = found.slots.values().filter_map(|slot| slot.manifest.as_ref());
                manifests.any(|manifest| manifest.resource == id.to_string())
            }
            Self::Extension(found) => found
                .versions()
                .into_iter()
                .any(|version| found.manifest(version).is_some_and(|m| m.head.resource == *id)),
            Self::Tree(found) => {
                found.current_head().is_some_and(|head| head.resource == id.to_string())
            }
        }
    }

    /// Slots of another updater that become ours.
    pub fn adopted(&self, owned: Option<&Owned>, spec: &Spec) -> Vec<String> {
        match (self, spec) {
            (Self::App(found), Spec::App(spec)) => found.adopted(owned, &spec.version.tag),
            (Self::Extension(found), Spec::Extension(_)) => found.adopted(owned),
            _ => Vec::new(),
        }
    }

    /// What brings into effect what is in place, where it is not yet.
    pub fn pending(&self, spec: Option<&Spec>) -> Option<InEffectBy> {
        let Self::Extension(found) = self else { return None };
        let now = matches!(spec, Some(Spec::Extension(spec)) if spec.activate == Activate::Now);
        found.in_effect_by(if now { Activate::Now } else { Activate::Boot })
    }

    /// What an operator should know about it in every pass; `home` is where it is.
    pub fn note(&self, home: &Utf8Path) -> Option<String> {
        match self {
            Self::Tree(found) => tree::note(home, found),
            Self::App(_) | Self::Extension(_) => None,
        }
    }

    /// How people call a slot in use or gone back to: a tree's by its version, which every plan names.
    pub fn name_of(&self, slot: &str) -> String {
        match self {
            Self::Tree(found) => found.version_of(slot).map(|version| version.to_string()),
            Self::App(_) | Self::Extension(_) => None,
        }
        .unwrap_or_else(|| Self::tag_of(slot))
    }

    /// The steps that remove what is ours.
    pub fn remove(&self, context: &Context<'_>, owned: &Owned) -> Change {
        let Context { id, debts, facts, .. } = *context;
        match self {
            Self::App(found) => app::remove::remove(context, owned, found),
            Self::Extension(found) => {
                extension::remove::remove(id, owned, found, (debts, facts.live))
            }
            Self::Tree(found) => tree::remove::remove(id, owned, found, debts),
        }
    }
}

/// The release to be on, for a resource of any kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// For an app.
    App(Resolution<app::wanted::Wanted>),
    /// For an extension.
    Extension(Resolution<extension::wanted::WantedSet>),
    /// For a tree.
    Tree(Resolution<tree::wanted::Wanted>),
}

impl Resolved {
    /// Things an operator should know.
    pub fn notes(&self) -> &[String] {
        match self {
            Self::App(resolution) => &resolution.notes,
            Self::Extension(resolution) => &resolution.notes,
            Self::Tree(resolution) => &resolution.notes,
        }
    }

    /// Why the wish itself cannot be carried out now.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::App(resolution) => resolution.problem.as_ref(),
            Self::Extension(resolution) => resolution.problem.as_ref(),
            Self::Tree(resolution) => resolution.problem.as_ref(),
        }
    }
}

/// What decides about a resource besides its wish, its state and its release.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Which resource.
    pub id: &'a ResourceId,
    /// Where the wish stands.
    pub declared_at: &'a str,
    /// What the inventory says.
    pub owned: Option<&'a Owned>,
    /// Where it was before its layout was edited.
    pub left: &'a Left,
    /// Paths of those where somebody is to be now.
    pub taken: &'a [Utf8PathBuf],
    /// What is known of releases: which of them did not work.
    pub trust: &'a Trust,
    /// Effects owed for it.
    pub debts: &'a [Debt],
    /// The host.
    pub facts: &'a HostFacts,
}

/// Decides what to do about one resource; pure.
pub fn plan(context: Context<'_>, spec: &Spec, found: &Found, resolved: &Resolved) -> Decision {
    match (spec, found, resolved) {
        (Spec::App(spec), Found::App(observed), Resolved::App(resolution)) => {
            app::plan::plan(&app::plan::Situation { context, spec, observed, resolution })
        }
        (Spec::Extension(spec), Found::Extension(observed), Resolved::Extension(resolution)) => {
            let situation = extension::plan::Situation { context, spec, observed, resolution };
            extension::plan::plan(&situation)
        }
        (Spec::Tree(spec), Found::Tree(observed), Resolved::Tree(resolution)) => {
            tree::plan::plan(&tree::plan::Situation { context, spec, observed, resolution })
        }
        // What is found and resolved is of the kind of the wish.
        _ => Decision::default(),
    }
}

/// What somebody else changed of the release that was made the one in use last; pure.
pub fn drift(context: Context<'_>, spec: &Spec, found: &Found) -> Vec<Drift> {
    match (spec, found) {
        (Spec::App(spec), Found::App(observed)) => {
            let resolution = &Resolution::default();
            app::plan::Situation { context, spec, observed, resolution }.drift()
        }
        (Spec::Extension(spec), Found::Extension(observed)) => {
            let resolution = &Resolution::default();
            extension::plan::Situation { context, spec, observed, resolution }.drift()
        }
        (Spec::Tree(_), Found::Tree(observed)) => observed.drift.clone(),
        // What is found is of the kind of the wish.
        _ => Vec::new(),
    }
}

/// What is in use, for plans about what is not wished.
pub fn in_use(found: &Found) -> Option<InUse> {
    match found {
        Found::App(found) => app::remove::before(found),
        Found::Extension(found) => extension::remove::before(found),
        Found::Tree(found) => tree::remove::before(found),
    }
}
