//! Updates and vacuums for scripts that know systemd-sysupdate: passes over what is followed.

use std::collections::BTreeSet;

use camino::Utf8Path;

use crate::apply::Stop;
use crate::cli::args::{JsonStyle, PassArgs, SysupdateArgs};
use crate::cli::commands::overrides::Preview;
use crate::cli::commands::pass;
use crate::cli::commands::sysupdate::contents::{Ask, sets};
use crate::cli::commands::sysupdate::held::held;
use crate::cli::commands::sysupdate::{look, not_found, print, verify};
use crate::cli::exit::{self, Exit};
use crate::cli::output::{report, text};
use crate::cli::session::{AT_ONCE, Session};
use crate::cli::{CliError, mention, say};
use crate::desired::DesiredState;
use crate::format::sysupdate::document::Vacuum;
use crate::format::sysupdate::sets::{Flag, UpdateSet};
use crate::host::Change as Host;
use crate::model::outcome::{End, Outcome};
use crate::model::{Action, Constraint, Plan, ResourceId, Step};
use crate::provider::{
    Component, NOTHING_TO_DO, orphans, resources_of, set_of, unclear_of, wish_nothing_of,
};
use crate::reconcile::{self, Request};
use crate::record::ledger;
use crate::resource::Spec;
use crate::resource::extension::ExtensionSpec;
use crate::resource::extension::spec::{Transfer, Upkeep};

/// The least that an update keeps: one in use, one to come.
const KEPT_BY_UPDATE_MIN: u32 = 2;

/// A command that changes the host.
#[derive(Clone, Copy)]
pub(super) struct Carrying<'a> {
    pub(super) session: &'a Session,
    pub(super) args: &'a SysupdateArgs,
    pub(super) pass: &'a PassArgs,
    pub(super) preview: Preview,
    pub(super) component: &'a Component,
}

/// What a pass was to do and what became of it.
struct Passed {
    plan: Plan,
    /// The wishes that it was about.
    specs: Vec<(ResourceId, ExtensionSpec)>,
    /// Nothing when it was only looked at.
    outcome: Option<Outcome>,
}

/// A version that was named.
struct Named {
    /// It, as a wish.
    version: Constraint,
    /// The newest one that there is instead.
    newer: Option<String>,
}

impl Passed {
    /// Whether everything that was to be done is done, or nothing was to be done yet.
    fn is_good(&self) -> bool {
        self.outcome.as_ref().is_none_or(|outcome| exit::of_outcome(outcome) == Exit::Ok)
    }

    /// Files and directories that were taken away, or would be.
    fn removed(&self, id: &ResourceId) -> Vec<&Utf8Path> {
        let results = self.outcome.iter().flat_map(|outcome| &outcome.results);
        let mut undone = results.filter(|result| result.end != End::Done);
        if undone.any(|result| result.resource == *id) {
            return Vec::new();
        }
        let changes = self.plan.changes.iter().filter(|change| change.resource == *id);
        let steps = changes.flat_map(|change| &change.steps);
        let removed = steps.filter_map(|step| match step {
            Step::Remove { path, .. } => Some(path.as_path()),
            _ => None,
        });
        removed.collect()
    }
}

impl Carrying<'_> {
    /// Installs the newest version, or the one that is named.
    pub(super) async fn update(&self, version: Option<&str>) -> Result<Exit, CliError> {
        if self.args.offline {
            let why = "--offline is for questions: an update fetches what it installs; what is in the cache is not fetched \
                       again";
            return Err(CliError::new(Exit::Failed, why));
        }
        if self.args.instances_max.is_some_and(|n| n < KEPT_BY_UPDATE_MIN) {
            let why = "Cannot delete all old versions: an update needs room for 2 instances.";
            return Err(CliError::new(Exit::Failed, why));
        }
        let component = self.component;
        if !component.transfers.iter().any(|transfer| transfer.is_enabled(&component.features)) {
            return Err(CliError::new(Exit::Failed, NOTHING_TO_DO));
        }
        let exact = match version {
            Some(version) => Some(self.exact(version).await?),
            None => {
                // What cannot be asked has no news, which is not the same as having nothing new.
                if let Ok((mut spec, observed)) = look(self.session, self.component) {
                    verify(self.args, &mut spec);
                    sets(self.session, &spec, &observed, Ask::Sources).await?;
                }
                None
            }
        };
        let passed = self
            .carry_out(|spec| {
                if let Some(Named { version, .. }) = &exact {
                    spec.version = version.clone();
                }
            })
            .await?;
        let held = held(self.session, &passed.plan, passed.specs.iter().map(|(id, _)| id))?;
        for why in &held {
            mention(why);
        }
        if passed.plan.changes.is_empty() && held.is_empty() {
            mention("No update needed.");
        }
        self.tell(&passed);
        if self.args.json != JsonStyle::Off
            && passed.plan.changes.iter().any(|c| c.action != Action::Tidy)
        {
            print(self.args, &counts(&passed), String::new);
        }
        if !held.is_empty() || !passed.is_good() {
            return Ok(Exit::Failed);
        }
        if let Some(Named { version, newer: Some(newer) }) = &exact {
            for (id, _) in &passed.specs {
                mention(&format!(
                    "the next pass follows `latest` and goes on to {newer}; `reconcile suspend {id} --reason WHY` keeps \
                     {id} on {version}"
                ));
            }
        }
        Ok(Exit::Ok)
    }

    /// Removes what is not kept.
    pub(super) async fn vacuum(&self) -> Result<Exit, CliError> {
        let passed = self.carry_out(|spec| spec.upkeep = Upkeep::Tidy).await?;
        self.tell(&passed);
        if self.args.json != JsonStyle::Off {
            print(self.args, &counts(&passed), String::new);
        }
        Ok(if passed.is_good() { Exit::Ok } else { Exit::Failed })
    }

    /// Removes what systemd-sysupdate's list says was installed and no definition owns any more.
    pub(super) async fn cleanup(&self) -> Result<Exit, CliError> {
        let Self { session, component, .. } = self;
        if let Some(why) = component.broken.first() {
            let why = format!("{why}: what it owns is not known, so nothing is cleaned up");
            return Err(CliError::new(Exit::Failed, why));
        }
        let failed = |e: std::io::Error| CliError::io(&e);
        let mut desired = session.desired().await?;
        // What is looked at may be what another pass is about to use.
        let lock = self.lock().await?;
        let orphans = orphans(&session.host, component, &desired).map_err(failed)?;
        let mut only: BTreeSet<_> = resources_of(component, &desired).into_iter().collect();
        if only.is_empty() {
            let ledger = ledger::load(&session.host).map_err(failed)?;
            only.extend(wish_nothing_of(component, &mut desired, &ledger));
        }
        if only.is_empty() {
            self.resources(&desired)?;
        }
        if orphans.is_empty() {
            return Ok(Exit::Ok);
        }
        let passed = self
            .carry_out_of((desired, only), lock, |spec| {
                spec.upkeep = Upkeep::Clean;
                spec.retired.clone_from(&orphans);
            })
            .await?;
        self.tell(&passed);
        Ok(if passed.is_good() { Exit::Ok } else { Exit::Failed })
    }

    /// A version that is on offer or here already.
    async fn exact(&self, version: &str) -> Result<Named, CliError> {
        let (mut spec, observed) = look(self.session, self.component)?;
        verify(self.args, &mut spec);
        let found = sets(self.session, &spec, &observed, Ask::Sources).await?;
        let set = found.sets.find(version);
        // What is half-done here, or whole under another name, and not to be had is nothing to install.
        let is_there = |set: &&UpdateSet| {
            let half_done = set.flags.has(Flag::Partial) || set.flags.has(Flag::Pending);
            set.flags.has(Flag::Available) || !half_done
        };
        let set = set.filter(is_there).ok_or_else(|| not_found(version))?;
        if set.flags.has(Flag::Obsolete) {
            let why = format!("Selected update '{}' is obsolete, refusing.", set.version);
            return Err(CliError::new(Exit::Failed, why));
        }
        // Sets are sorted: what is before it is newer.
        let newer = found.sets.all().iter().take_while(|other| other.version != set.version);
        let mut newer = newer.filter(|other| other.flags.has(Flag::Available));
        let newer = newer.next().map(|other| other.version.clone());
        let version = set.version.parse().map(Constraint::Exact).map_err(|_| not_found(version))?;
        Ok(Named { version, newer })
    }

    /// A pass over the resources that carry out the component, with a wish that differs for this pass only.
    async fn carry_out(&self, edit: impl Fn(&mut ExtensionSpec)) -> Result<Passed, CliError> {
        let desired = self.session.desired().await?;
        let only = self.resources(&desired)?;
        let lock = self.lock().await?;
        self.carry_out_of((desired, only), lock, edit).await
    }

    /// The lock of the host, where anything is to be changed.
    async fn lock(&self) -> Result<Option<Host>, CliError> {
        match self.preview {
            Preview::Only => Ok(None),
            Preview::AndApply => self.session.lock(AT_ONCE).await.map(Some),
        }
    }

    /// The same for resources of a wish.
    async fn carry_out_of(
        &self,
        (mut desired, only): (DesiredState, BTreeSet<ResourceId>),
        lock: Option<Host>,
        edit: impl Fn(&mut ExtensionSpec),
    ) -> Result<Passed, CliError> {
        let session = self.session;
        let mut specs = Vec::new();
        for id in &only {
            if let Some(declared) = desired.resources.get_mut(id)
                && let Spec::Extension(spec) = &mut declared.spec
            {
                edit(spec);
                verify(self.args, spec);
                spec.retain = self.args.instances_max.unwrap_or(spec.retain);
                specs.push((id.clone(), spec.as_ref().clone()));
            }
        }
        let client = session.client(&desired);
        let holds = session.holds(&desired, self.pass)?;
        let request = Request { only: Some(&only), ..session.request(&desired, &holds, self.pass) };
        let failed = |e: std::io::Error| CliError::io(&e);
        let Some(host) = lock else {
            let preview = reconcile::preview(&request, &session.host, &client).await;
            let plan = preview.map_err(failed)?.plan;
            return Ok(Passed { plan, specs, outcome: None });
        };
        let mut preview =
            reconcile::preview(&request, host.look(), &client).await.map_err(failed)?;
        let stop = Stop::default();
        let with = (&host, &client, &stop);
        let applying = pass::carry_out(session, &request, with, &mut preview);
        let outcome = pass::until_told(&stop, applying).await?;
        Ok(Passed { plan: preview.plan, specs, outcome: Some(outcome) })
    }

    /// What the wish follows of the component.
    fn resources(&self, desired: &DesiredState) -> Result<BTreeSet<ResourceId>, CliError> {
        if desired.follow.is_none() {
            let why = "the desired state does not follow this host's definitions, so that the next pass would \
                       take away what is installed now; `reconcile import sysupdate` prints what to write into it";
            return Err(CliError::new(Exit::Failed, why));
        }
        let its: BTreeSet<ResourceId> = resources_of(self.component, desired).into_iter().collect();
        if its.is_empty() {
            let broken = self.component.broken.first().map(String::as_str);
            let known = broken.or(unclear_of(self.component, desired)).map(str::to_owned);
            let why = known.or_else(|| set_of(&self.session.host, self.component).err());
            let why = why.unwrap_or_else(|| NOTHING_TO_DO.to_owned());
            return Err(CliError::new(Exit::Failed, why));
        }
        Ok(its)
    }

    fn tell(&self, passed: &Passed) {
        if self.args.json != JsonStyle::Off || passed.plan.changes.is_empty() {
            return;
        }
        match &passed.outcome {
            Some(outcome) => say(&report::outcome(&passed.plan, outcome)),
            None => {
                let lines = passed.plan.changes.iter().map(|c| text::headline(c) + "\n");
                say(&lines.collect::<String>());
            }
        }
    }
}

/// As systemd-sysupdate counts: instances that the transfer which lost most has lost, and transfers that were
/// emptied because they are off.
fn counts(passed: &Passed) -> Vacuum {
    let mut counted = Vacuum::default();
    for (id, spec) in &passed.specs {
        let removed = passed.removed(id);
        let lost = |transfer: &Transfer| {
            let lost = removed.iter().filter(|path| is_instance(transfer, path));
            u64::try_from(lost.count()).unwrap_or(u64::MAX)
        };
        counted.removed = spec.transfers.iter().map(lost).fold(counted.removed, u64::max);
        for transfer in &spec.retired {
            counted.disabled_transfers += u64::from(lost(transfer) > 0);
        }
    }
    counted
}

fn is_instance(transfer: &Transfer, path: &Utf8Path) -> bool {
    let name = path.strip_prefix(&transfer.directory).ok();
    name.is_some_and(|name| transfer.image(name.as_str()).fields.is_some())
}
