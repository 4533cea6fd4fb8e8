//! What to do about one extension; pure.

use std::collections::BTreeMap;

use crate::format::sysupdate::pattern::Fields;
use crate::model::extension::{ImageHead, LinkTo, PlaceRules};
use crate::model::plan::InUse;
use crate::model::{
    Action, Attribution, BlockedReason, Change, Digest, Drift, Effect, ExtensionClass, Step,
};
use crate::resource::confirm::owe;
use crate::resource::decision::{self, Decision, Leftovers, Problem, SlotState, more_than};
use crate::resource::extension::former::{clear, in_use_before};
use crate::resource::extension::layout::{staged, staged_manifest};
use crate::resource::extension::observe::{Former, ImageSeen, LinkSeen, TransferObserved};
use crate::resource::extension::pick::Picks;
use crate::resource::extension::refuse::{refuse_foreign, refuse_namesake, refuse_unknown};
use crate::resource::extension::remove::before;
use crate::resource::extension::spec::{Transfer, Upkeep};
use crate::resource::extension::steps::{promote, take_away};
use crate::resource::extension::wanted::{FileOffer, WantedSet, image_state};
use crate::resource::extension::{ExtensionObserved, ExtensionSpec};

/// Everything that decides what happens to one extension.
pub type Situation<'a> = decision::Situation<'a, ExtensionSpec, ExtensionObserved, WantedSet>;

/// Decides. Total: every situation has an answer.
pub fn plan(situation: &Situation<'_>) -> Decision {
    let observed = situation.observed;
    let current = || observed.version_of(observed.current.as_deref().or(observed.linked())?);
    situation.decide(
        current,
        |wanted| situation.work(wanted),
        |work| situation.change(situation.resolution.wanted.as_ref(), work),
        |wanted| Some(situation.in_use(wanted)),
    )
}

/// What must be done to be on a release, before it becomes a change.
#[derive(Debug, Default)]
struct Work {
    steps: Vec<Step>,
    drift: Vec<Drift>,
    /// Why an image is made anew, in words.
    why: Option<String>,
    /// Links that change.
    links: Vec<LinkTo>,
    /// Images that come into systemd's sight, and that go out of it.
    picks: Picks,
    /// What systemd merges changes.
    disrupts: bool,
    /// Names as systemd may write them, by what they extend, one group for each transfer.
    names: BTreeMap<ExtensionClass, Vec<Vec<String>>>,
    /// What is installed: which transfer, and the file.
    installed: Vec<(usize, String)>,
}

impl Situation<'_> {
    /// The steps that lead to `wanted`; an obstacle when they must not be taken.
    fn work(&self, wanted: &WantedSet) -> Result<Work, Problem> {
        let mut work = Work::default();
        let mut promotions = Vec::new();
        let current = self.observed.current.as_deref() == Some(&wanted.slot);
        for (index, (transfer, seen)) in
            self.spec.transfers.iter().zip(&self.observed.transfers).enumerate()
        {
            refuse_unknown(transfer, self.observed.systemd)?;
            let image = seen.images.get(&wanted.slot);
            let asked = (wanted.slot.as_str(), transfer, image);
            let state = image_state(self.spec, self.observed, self.owned, asked);
            let offer = wanted.offers.get(index).and_then(Option::as_ref);
            work.drift.extend(self.image_drift(transfer, seen, wanted));
            let mut file = image.map(|image| image.file.clone());
            if state.must_be_made() || offer.is_some() {
                let offer = offer.ok_or_else(|| self.cannot_be_had(wanted))?;
                let fields = transfer.fields(&offer.fields, image);
                let name = file_name(transfer, (offer, image))?;
                refuse_foreign(seen, &name, &state)?;
                if let SlotState::Outdated(why) = &state {
                    work.why = Some(why.clone());
                }
                work.steps.extend(self.stage(transfer, wanted, (offer, &fields, &name)));
                promotions.extend(promote(transfer, seen, (&name, &fields), image));
                work.installed.push((index, name.clone()));
                // A link that led nowhere is not written again.
                let linked = seen.there.text().and_then(|text| transfer.linked_file(text));
                let in_use = current || linked.as_ref() == Some(&name);
                work.disrupts |= in_use || transfer.link.is_none();
                file = Some(name);
            }
            let file = file.ok_or_else(|| self.cannot_be_had(wanted))?;
            let is_made = transfer.is_picked() && image.is_none_or(|image| image.file != file);
            if is_made || image.is_some_and(|image| image.hidden) {
                work.picks.show(&transfer.directory, &file);
            }
            self.hide_newer(transfer, seen, (wanted, &mut work.picks))?;
            if let Some(class) = transfer.class {
                refuse_namesake(self.id, transfer, seen, (&file, &wanted.slot))?;
                work.names.entry(class).or_default().push(names(transfer, &file));
            }
            self.point(transfer, seen, (&file, &mut work))?;
            // Its own link was pointed anew.
            let elsewhere = |former: &&Former| transfer.link.as_ref() != Some(&former.path);
            for former in seen.former_of(self.id).filter(elsewhere) {
                work.why.get_or_insert_with(|| "its layout was another".to_owned());
                clear(former, (&mut work.links, &mut work.picks));
            }
        }
        if work.steps.is_empty() && work.links.is_empty() && work.picks.is_empty() {
            let not_merged = self.merge_again(&wanted.slot)?;
            work.disrupts |= !not_merged.is_empty();
            work.drift.extend(not_merged);
        }
        work.disrupts |= !work.links.is_empty() || !work.picks.is_empty();
        work.steps.extend(self.enlist(&self.files(&work)));
        work.steps.extend(promotions);
        Ok(work)
    }

    /// What is installed, by transfer.
    fn files(&self, work: &Work) -> Vec<(&Transfer, String)> {
        let installed = work.installed.iter();
        let files = installed
            .filter_map(|(index, file)| Some((self.spec.transfers.get(*index)?, file.clone())));
        files.collect()
    }

    fn stage(
        &self,
        transfer: &Transfer,
        wanted: &WantedSet,
        (offer, fields, file): (&FileOffer, &Fields, &str),
    ) -> [Step; 2] {
        [
            Step::Fetch {
                artifact: offer.artifact.clone(),
                evidence: offer.evidence.clone(),
                size_max: self.spec.download_bytes_max,
                delta: None,
            },
            Step::Place {
                into: staged(&transfer.directory, file),
                rules: PlaceRules {
                    class: transfer.class.unwrap_or_default(),
                    name: transfer.found_as(file).to_owned(),
                    shape: transfer.shape,
                    mode: transfer.mode_of(fields),
                    modified_us: fields.modified_us,
                    bytes_max: self.spec.image_bytes_max,
                    judged: transfer.class.is_some(),
                },
                image: ImageHead {
                    resource: self.id.clone(),
                    version: wanted.version.clone(),
                    path: transfer.directory.join(file),
                    link: transfer.link.clone(),
                    recipe: self.spec.recipe(),
                },
            },
        ]
    }

    /// Notes that a link must change; refuses where that would destroy something.
    fn point(
        &self,
        transfer: &Transfer,
        seen: &TransferObserved,
        (file, work): (&str, &mut Work),
    ) -> Result<(), Problem> {
        let Some((link, text)) = transfer.link.as_ref().zip(transfer.link_text(file)) else {
            return Ok(());
        };
        let ours = || self.owned.is_some() || seen.former_of(self.id).any(|f| f.path == *link);
        let now = match &seen.there {
            LinkSeen::Other(kind) => {
                return Err(Problem::foreign(format!(
                    "{link} is a {kind} that reconcile did not put there; move it away"
                )));
            }
            LinkSeen::Text(now) if transfer.linked_file(now).as_deref() == Some(file) => {
                return Ok(());
            }
            LinkSeen::Text(now) if transfer.linked_file(now).is_none() && !ours() => {
                return Err(Problem::foreign(format!(
                    "{link} leads to {now}, which reconcile did not put there; move it away"
                )));
            }
            LinkSeen::Text(now) => Some(now.clone()),
            LinkSeen::Nothing => None,
        };
        work.links.push(LinkTo { link: link.clone(), text: Some(text), expects: Some(now) });
        Ok(())
    }

    fn cannot_be_had(&self, wanted: &WantedSet) -> Problem {
        self.resolution.problem.clone().unwrap_or_else(|| Problem {
            reason: BlockedReason::SourceUnavailable,
            message: format!(
                "{} must be made again, but the source does not offer it any more",
                wanted.version
            ),
            until: None,
        })
    }

    fn in_use(&self, wanted: &WantedSet) -> InUse {
        let manifest = self.observed.manifest(&wanted.slot);
        let offer = wanted.offers.iter().flatten().next();
        let evidence = offer.map(|o| o.evidence.clone());
        InUse {
            version: wanted.version.clone(),
            tag: wanted.slot.clone(),
            digest: only(wanted.digests(self.observed)),
            evidence: evidence.or_else(|| manifest.map(|m| m.evidence.clone())),
            requested: Some(self.spec.version.to_string()),
            floating: self.spec.version.is_floating() && wanted.rolled_back.is_none(),
        }
    }

    /// Puts effects, the way back, retention and leftovers around the work; `None` when nothing is to be done.
    fn change(&self, wanted: Option<&WantedSet>, mut work: Work) -> Option<Change> {
        let current = self.observed.current.as_deref().filter(|slot| self.works(slot));
        let keep = wanted.map(|w| w.slot.as_str()).or(current);
        let (retired, surplus) = (self.retired(), self.hide_surplus(keep));
        let hides = retired.picks.then(surplus);
        if !retired.links.is_empty() || !hides.is_empty() {
            work.disrupts = true;
            work.why = work.why.or_else(|| work.drift.is_empty().then(|| self.kept_too_many()));
        }
        work.links.extend(retired.links);
        work.picks = work.picks.then(hides);
        let files = self.files(&work);
        let mut steps = work.steps;
        let effects = if work.disrupts { self.effects(wanted) } else { Vec::new() };
        let looks = |_: &&WantedSet| self.is_looked_at() || self.check().is_some();
        let confirm = wanted.filter(looks).and_then(|wanted| {
            let switched = || Some(self.confirm_switch(&wanted.slot, self.back_to(&wanted.slot)));
            if work.disrupts { switched() } else { self.confirm_owed(&wanted.slot) }
        });
        let confirmed = confirm.iter().filter(|_| work.disrupts).map(|c| &c.effect);
        let owed = owe(effects.iter().chain(confirmed).cloned().collect());
        let commit = steps.iter().position(|s| !s.is_staging()).unwrap_or(steps.len());
        steps.splice(commit..commit, owed);
        let undo = confirm.as_ref().map(|confirm| self.undo(confirm, &work.links, &work.picks));
        let slot = wanted.map(|w| w.slot.clone()).or_else(|| self.observed.current.clone());
        steps.extend(switch(slot.unwrap_or_default(), work.links, &work.picks));
        let working = !steps.is_empty();
        if let Some(wanted) = wanted.filter(|_| confirm.is_some() && !working) {
            // So that it can be tried again after everything was put back.
            let links = self.links_in_place();
            steps.extend(self.pick_in_place(&wanted.slot).step(&wanted.slot));
            steps.push(Step::Point { slot: wanted.slot.clone(), links });
        }
        steps.extend(effects.iter().map(|effect| Step::Settle { effect: effect.clone() }));
        steps.extend(self.old_debts(&effects, confirm.as_ref().map(|c| &c.effect)));
        let looked_at = confirm.iter().filter(|_| self.is_looked_at());
        steps.extend(looked_at.flat_map(|confirm| merged(&work.names, &confirm.effect)));
        steps.extend(confirm.zip(self.check()).map(|(confirm, check)| confirm.step(check)));
        steps.extend(wanted.and_then(|wanted| self.announce(&wanted.slot, &files)));
        let surplus = retired.removals.into_iter().chain(self.removals(keep, &steps, &work.picks));
        steps.extend(surplus.collect::<Vec<_>>());
        if steps.is_empty() {
            return None;
        }
        let (action, attribution, reason) = if let Some(wanted) = wanted.filter(|_| working) {
            self.explain(wanted, &work.drift, work.why.as_deref())
        } else if self.spec.is_off() && self.observed.retired.iter().any(|t| !t.images.is_empty()) {
            (Action::Remove, Attribution::DesiredChanged, self.spec.why_off().to_owned())
        } else {
            self.explain_tidy(Leftovers::of(&self.observed.leftovers), self.kept_too_many())
        };
        let offers = || wanted.iter().flat_map(|w| w.offers.iter().flatten());
        let to_fetch = || offers().filter(|offer| !offer.cached);
        Some(Change {
            resource: self.id.clone(),
            action,
            attribution,
            reason: reason + &self.takes_along(keep),
            declared_at: Some(self.declared_at.to_owned()),
            before: before(self.observed).or_else(|| in_use_before(self.id, self.observed)),
            after: wanted.map(|w| self.in_use(w)),
            drift: work.drift,
            fetch_bytes: to_fetch().try_fold(0, |sum, o| Some(sum + o.artifact.size?)),
            reused_bytes: offers().filter(|o| o.cached).filter_map(|o| o.artifact.size).sum(),
            observed: Digest::of_json(self.observed),
            contents: None,
            steps,
            undo: undo.unwrap_or_default(),
        })
    }

    fn kept_too_many(&self) -> String {
        match self.spec.retired.as_slice() {
            _ if self.spec.upkeep == Upkeep::Clean => {
                "no definition owns what was installed any more".to_owned()
            }
            [] => more_than(self.spec.retain, "release"),
            _ => "a transfer is switched off, or more releases are kept than wished".to_owned(),
        }
    }

    /// Images that are not kept, and what earlier passes left.
    fn removals(&self, keep: Option<&str>, steps: &[Step], picks: &Picks) -> Vec<Step> {
        let mut removals = Vec::new();
        for version in self.surplus(keep) {
            for seen in &self.observed.transfers {
                let image = seen.images.get(&version);
                let gone = image.map(|image| take_away(seen, (&version, image), picks));
                removals.extend(gone.unwrap_or_default());
            }
        }
        let made_now = |path: &&camino::Utf8PathBuf| {
            steps.iter().any(|step| match step {
                Step::Place { into, .. } => into == *path || staged_manifest(into) == **path,
                Step::Promote { to, .. } => to == *path,
                _ => false,
            }) || picks.hides(path)
        };
        let left = self.observed.leftovers.iter().filter(|path| !made_now(path));
        removals.extend(left.cloned().map(Step::remove));
        removals
    }
}

/// The one digest that names a release, where it is known as a whole.
pub(super) fn only(digests: Vec<Digest>) -> Option<Digest> {
    let [only] = <[Digest; 1]>::try_from(digests).ok()?;
    Some(only)
}

/// Looks whether systemd merged each of some names.
fn merged(
    names: &BTreeMap<ExtensionClass, Vec<Vec<String>>>,
    effect: &Effect,
) -> impl Iterator<Item = Step> {
    names.iter().map(|(class, names)| Step::Merged {
        class: *class,
        names: names.clone(),
        effect: effect.clone(),
    })
}

/// How the image is called that an offer becomes; `there` is the one of its version that is there.
pub fn file_name(
    transfer: &Transfer,
    (offer, there): (&FileOffer, Option<&ImageSeen>),
) -> Result<String, Problem> {
    let fields = transfer.fields(&offer.fields, there);
    let pattern = transfer.target.first();
    let name = pattern.map(|pattern| pattern.name(&fields).map_err(|e| e.to_string()));
    match name {
        Some(Ok(name)) => Ok(name),
        Some(Err(why)) => Err(Problem {
            reason: BlockedReason::NoAsset,
            message: format!("naming the image of {}: {why}", offer.artifact.name),
            until: None,
        }),
        None => Err(Problem::foreign("no pattern says how to name the image".to_owned())),
    }
}

/// How systemd may write the name: some versions print that of the file a link leads to.
pub(super) fn names(transfer: &Transfer, file: &str) -> Vec<String> {
    let file = file.rsplit('/').next().unwrap_or(file);
    let stem = file.strip_suffix(".raw").unwrap_or(file);
    let mut names = vec![transfer.name.clone(), file.to_owned(), stem.to_owned()];
    names.dedup();
    names
}

/// What comes into use does so before what was in use goes: a pass that is cut off in between leaves both.
fn switch(slot: String, links: Vec<LinkTo>, picks: &Picks) -> Vec<Step> {
    let pick = picks.clone().step(&slot);
    let pointed = !links.is_empty();
    let point = pointed.then_some(Step::Point { slot, links });
    let order = if picks.only_hide() { [point, pick] } else { [pick, point] };
    order.into_iter().flatten().collect()
}
