//! Answers as systemd-sysupdate gives them, for scripts: text or its JSON, and its exit codes.

mod carry_out;
mod contents;
mod enable;
mod held;
mod tables;

use serde::Serialize;

use crate::cli::args::{ExitCodes, JsonStyle, PassArgs, SysupdateArgs, SysupdateCommand};
use crate::cli::commands::overrides::Preview;
use crate::cli::commands::sysupdate::carry_out::Carrying;
use crate::cli::commands::sysupdate::contents::{Ask, sets};
use crate::cli::commands::sysupdate::enable::Switch;
use crate::cli::exit::Exit;
use crate::cli::output::table::Legend;
use crate::cli::session::Session;
use crate::cli::{CliError, mention, say};
use crate::format::sysupdate::definition::Feature;
use crate::format::sysupdate::document::{
    CheckNew, ComponentNames, FeatureDetail, Features, List, VersionDetail,
};
use crate::model::Level;
use crate::provider::{Component, components, definitions_in, set_of, suggests};
use crate::resource::extension::observe::{Listings, Pending, observe};
use crate::resource::extension::{ExtensionObserved, ExtensionSpec};
use crate::resource::observe::Depth;
use crate::source::spec::DirectoryUrl;

/// What systemd-sysupdate says of a component that is off.
const DISABLED: &str = "Component is disabled.";

/// Does what is asked for.
pub(super) async fn sysupdate(
    session: &Session,
    args: &SysupdateArgs,
    (pass, preview): (&PassArgs, Preview),
) -> Result<Exit, CliError> {
    match &args.command {
        SysupdateCommand::EnableComponent { component } => {
            return enable::components(session, args, (component.as_deref(), Switch::On)).await;
        }
        SysupdateCommand::DisableComponent { component } => {
            return enable::components(session, args, (component.as_deref(), Switch::Off)).await;
        }
        _ => {}
    }
    let all = read(session, args)?;
    if matches!(args.command, SysupdateCommand::Components) {
        return Ok(list_components(&all, args));
    }
    if let SysupdateCommand::Update { version } = &args.command
        && args.component_all
    {
        if args.component.is_some() {
            let why = "one component and all of them: write --component or --component-all";
            return Err(CliError::new(Exit::Usage, why));
        }
        let carrying = |component| Carrying { session, args, pass, preview, component };
        let all = all.iter().filter(|component| !component.transfers.is_empty());
        return update_all(all.map(carrying), version.as_deref()).await;
    }
    let found = all.iter().find(|c| c.name == args.component);
    let component = found.filter(|c| !c.transfers.is_empty() || !c.features.is_empty());
    if matches!(args.command, SysupdateCommand::Cleanup) {
        let gone = Component::named(args.component.clone());
        let component = found.unwrap_or(&gone);
        return Carrying { session, args, pass, preview, component }.cleanup().await;
    }
    let component = component.ok_or_else(|| {
        let why = match &args.component {
            Some(name) => format!("No transfer definitions for component '{name}' found."),
            None => "No transfer definitions found.".to_owned(),
        };
        CliError::new(Exit::Failed, why)
    })?;
    if let SysupdateCommand::Features { feature } = &args.command {
        return features(session, component, feature.as_deref(), args);
    }
    match change(&Carrying { session, args, pass, preview, component }).await? {
        Some(exit) => Ok(exit),
        None => answer(session, args, component).await,
    }
}

/// The definitions that are meant: the host's own, or those of a directory, which are for questions alone.
fn read(session: &Session, args: &SysupdateArgs) -> Result<Vec<Component>, CliError> {
    let Some(directory) = &args.definitions else {
        return Ok(components(&session.host, &mut Vec::new()));
    };
    let is_question = matches!(
        args.command,
        SysupdateCommand::List { .. }
            | SysupdateCommand::CheckNew
            | SysupdateCommand::Features { .. }
            | SysupdateCommand::Pending
    );
    if !is_question {
        let why = "--definitions is for questions: what is installed is what the desired state wishes; `reconcile \
                   import sysupdate DIR` makes extensions of it of the definitions in a directory";
        return Err(CliError::new(Exit::Usage, why));
    }
    let directory = camino::absolute_utf8(directory).map_err(|e| CliError::io(&e))?;
    Ok(vec![definitions_in(&directory, &session.host, &mut Vec::new())])
}

/// Updates every component, one after another: one that is off, or that cannot be updated, keeps no other one back.
async fn update_all(
    all: impl Iterator<Item = Carrying<'_>>,
    version: Option<&str>,
) -> Result<Exit, CliError> {
    let mut worst = Exit::Ok;
    for carrying in all {
        let Component { name, enabled, .. } = carrying.component;
        if !enabled {
            mention(&format!("{}: {DISABLED}", name.as_deref().unwrap_or_default()));
            continue;
        }
        match update(&carrying, version).await {
            Ok(exit) => worst = worst.or(exit),
            Err(error) => {
                mention(&format!("{}: {}", name.as_deref().unwrap_or("the host"), error.message()));
                worst = worst.or(error.exit());
            }
        }
    }
    Ok(worst)
}

/// Updates one component, and cleans up after it where that is asked for.
async fn update(carrying: &Carrying<'_>, version: Option<&str>) -> Result<Exit, CliError> {
    if !carrying.component.enabled {
        return Err(CliError::new(Exit::Failed, DISABLED));
    }
    match carrying.update(version).await? {
        Exit::Ok if carrying.args.cleanup => carrying.cleanup().await,
        exit => Ok(exit),
    }
}

/// Does what changes something; `None` for a question.
async fn change(carrying: &Carrying<'_>) -> Result<Option<Exit>, CliError> {
    let Carrying { session, args, component, .. } = *carrying;
    let exit = match &args.command {
        SysupdateCommand::Update { version } => update(carrying, version.as_deref()).await?,
        SysupdateCommand::Vacuum => carrying.vacuum().await?,
        SysupdateCommand::EnableFeature { feature } => {
            enable::features((session, args), component, (feature.as_deref(), Switch::On)).await?
        }
        SysupdateCommand::DisableFeature { feature } => {
            enable::features((session, args), component, (feature.as_deref(), Switch::Off)).await?
        }
        _ => return Ok(None),
    };
    Ok(Some(exit))
}

/// Says which versions there are.
async fn answer(
    session: &Session,
    args: &SysupdateArgs,
    component: &Component,
) -> Result<Exit, CliError> {
    let (mut spec, observed) = look(session, component)?;
    if matches!(args.command, SysupdateCommand::Pending) {
        return Ok(pending(&observed, args));
    }
    verify(args, &mut spec);
    let ask = if args.offline { Ask::Nobody } else { Ask::Sources };
    let found = sets(session, &spec, &observed, ask).await?;
    let sets = &found.sets;
    match &args.command {
        SysupdateCommand::List { version: Some(version) } => {
            let set = sets.find(version).ok_or_else(|| not_found(version))?;
            let change_logs: Vec<String> =
                component.transfers.iter().flat_map(|t| t.change_log.clone()).collect();
            let detail = VersionDetail::of(set, &change_logs, found.contents(session, set));
            print(args, &detail, || tables::version(set, &detail, legend(args)));
            Ok(Exit::Ok)
        }
        SysupdateCommand::CheckNew => {
            let available = sets.candidate().map(|set| set.version.clone());
            let exit = if available.is_some() { Exit::Ok } else { none(args) };
            let text =
                available.as_ref().map_or_else(String::new, |version| format!("{version}\n"));
            print(args, &CheckNew { available }, || text);
            Ok(exit)
        }
        _ => {
            let app_streams = component.transfers.iter().flat_map(|t| t.app_stream.clone());
            let list = List::of(sets, app_streams.collect());
            print(args, &list, || tables::list(sets, legend(args)));
            Ok(Exit::Ok)
        }
    }
}

/// What is wished and there of a component.
fn look(
    session: &Session,
    component: &Component,
) -> Result<(ExtensionSpec, ExtensionObserved), CliError> {
    let nothing = |why: String| CliError::new(Exit::Failed, why);
    let (_, spec) = set_of(&session.host, component).map_err(nothing)?;
    let within = (&session.host, &Listings::default());
    let observed = observe(within, &spec, Depth::Quick).map_err(|e| CliError::io(&e))?;
    Ok((spec, observed))
}

/// Demands what `--verify` says of every list, for this one time.
fn verify(args: &SysupdateArgs, spec: &mut ExtensionSpec) {
    for transfer in &mut spec.transfers {
        transfer.min = match (args.verify, &transfer.from) {
            (None, _) => continue,
            (Some(true), _) => Some(Level::Signature),
            (Some(false), DirectoryUrl::Web(_)) => Some(Level::Checksum),
            (Some(false), DirectoryUrl::Local(_)) => Some(Level::Lock),
        };
    }
}

/// Whether what is installed is not in effect yet.
fn pending(observed: &ExtensionObserved, args: &SysupdateArgs) -> Exit {
    let Some(version) = observed.current.as_ref().filter(|_| observed.pending != Pending::Nothing)
    else {
        mention("What is installed is in effect.");
        return none(args);
    };
    mention(&format!("Version '{version}' is installed and not merged yet."));
    Exit::Ok
}

fn legend(args: &SysupdateArgs) -> Legend {
    if args.no_legend { Legend::Hidden } else { Legend::Shown }
}

fn not_found(version: &str) -> CliError {
    CliError::new(Exit::Failed, format!("Update '{version}' not found."))
}

/// Nothing new: 1 for systemd-sysupdate, 2 for updex, where 1 is an error.
fn none(args: &SysupdateArgs) -> Exit {
    match args.exit_codes {
        ExitCodes::Sysupdate => Exit::Failed,
        ExitCodes::Updex => Exit::Pending,
    }
}

fn print(args: &SysupdateArgs, document: &impl Serialize, text: impl FnOnce() -> String) {
    let json = match args.json {
        JsonStyle::Off => return say(&text()),
        JsonStyle::Short => serde_json::to_string(document),
        JsonStyle::Pretty => serde_json::to_string_pretty(document),
    };
    say(&format!("{}\n", json.unwrap_or_default()));
}

fn lines(names: &[String]) -> String {
    names.iter().flat_map(|name| [name.as_str(), "\n"]).collect()
}

fn list_components(all: &[Component], args: &SysupdateArgs) -> Exit {
    let shown = |component: &Component| {
        let off = if component.enabled { "" } else { " (disabled)" };
        Some(format!("{}{off}", component.name.as_ref()?))
    };
    let shown: Vec<String> = all.iter().filter_map(shown).collect();
    let names = ComponentNames {
        default: all.iter().any(|c| c.name.is_none() && !c.transfers.is_empty()),
        components: all.iter().filter_map(|component| component.name.clone()).collect(),
    };
    print(args, &names, || lines(&shown));
    Exit::Ok
}

fn features(
    session: &Session,
    component: &Component,
    feature: Option<&str>,
    args: &SysupdateArgs,
) -> Result<Exit, CliError> {
    let host = suggests(&session.host);
    let detail = |feature: &Feature| {
        let transfers = component.transfers.iter().filter(|transfer| {
            transfer.features.iter().chain(&transfer.requisite_features).any(|f| *f == feature.id)
        });
        FeatureDetail {
            id: feature.id.clone(),
            description: feature.description.clone(),
            documentation: feature.documentation.clone(),
            app_stream: feature.app_stream.clone(),
            enabled: feature.enabled,
            suggested: feature.suggestion.holds(&host),
            transfers: transfers.map(|transfer| transfer.id.clone()).collect(),
        }
    };
    let Some(wanted) = feature else {
        let details: Vec<FeatureDetail> = component.features.iter().map(detail).collect();
        let features = details.iter().map(|feature| feature.id.clone()).collect();
        print(args, &Features { features }, || tables::features(&details, legend(args)));
        return Ok(Exit::Ok);
    };
    let unknown = || CliError::new(Exit::Failed, format!("Optional feature not found: {wanted}"));
    let feature = component.features.iter().find(|f| f.id == wanted).ok_or_else(unknown)?;
    let detail = detail(feature);
    print(args, &detail, || tables::feature(&detail, legend(args)));
    Ok(Exit::Ok)
}
