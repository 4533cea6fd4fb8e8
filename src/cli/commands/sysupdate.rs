//! Answers as systemd-sysupdate gives them, for scripts: text or its JSON, and its exit codes.

mod carry_out;
mod contents;
mod enable;
mod held;

use std::fmt::Write;

use serde::Serialize;

use crate::cli::args::{
    Afterwards, ExitCodes, JsonStyle, PassArgs, SysupdateArgs, SysupdateCommand,
};
use crate::cli::commands::overrides::Preview;
use crate::cli::commands::sysupdate::carry_out::Carrying;
use crate::cli::commands::sysupdate::contents::sets;
use crate::cli::commands::sysupdate::enable::Switch;
use crate::cli::exit::Exit;
use crate::cli::session::Session;
use crate::cli::{CliError, mention, say};
use crate::format::sysupdate::document::{
    CheckNew, ComponentNames, FeatureDetail, Features, List, VersionDetail,
};
use crate::format::sysupdate::sets::UpdateSets;
use crate::provider::{Component, components, set_of, suggests};
use crate::resource::extension::observe::{Listings, Pending, observe};
use crate::resource::extension::{ExtensionObserved, ExtensionSpec};
use crate::resource::observe::Depth;

/// What systemd-sysupdate says of a component that is off.
const DISABLED: &str = "Component is disabled.";

/// Does what is asked for.
pub(super) async fn sysupdate(
    session: &Session,
    args: &SysupdateArgs,
    (pass, preview): (&PassArgs, Preview),
) -> Result<Exit, CliError> {
    match &args.command {
        SysupdateCommand::EnableComponent(choice) => {
            return enable::components(session, choice, Switch::On).await;
        }
        SysupdateCommand::DisableComponent(choice) => {
            return enable::components(session, choice, Switch::Off).await;
        }
        _ => {}
    }
    let all = components(&session.host, &mut Vec::new());
    if matches!(args.command, SysupdateCommand::Components) {
        return Ok(list_components(&all, args));
    }
    if let SysupdateCommand::Update { component_all: true, version, afterwards } = &args.command {
        if args.component.is_some() {
            let why = "one component and all of them: write --component or --component-all";
            return Err(CliError::new(Exit::Usage, why));
        }
        let carrying = |component| Carrying { session, args, pass, preview, component };
        let all = all.iter().filter(|component| !component.transfers.is_empty());
        return update_all(all.map(carrying), version.as_deref(), *afterwards).await;
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

/// Updates every component, one after another: one that is off, or that cannot be updated, keeps no other one back.
async fn update_all(
    all: impl Iterator<Item = Carrying<'_>>,
    version: Option<&str>,
    after: Afterwards,
) -> Result<Exit, CliError> {
    let mut worst = Exit::Ok;
    for carrying in all {
        let Component { name, enabled, .. } = carrying.component;
        if !enabled {
            mention(&format!("{}: {DISABLED}", name.as_deref().unwrap_or_default()));
            continue;
        }
        match update(&carrying, version, after).await {
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
async fn update(
    carrying: &Carrying<'_>,
    version: Option<&str>,
    after: Afterwards,
) -> Result<Exit, CliError> {
    if !carrying.component.enabled {
        return Err(CliError::new(Exit::Failed, DISABLED));
    }
    match (carrying.update(version).await?, after) {
        (Exit::Ok, Afterwards::CleanUp) => carrying.cleanup().await,
        (exit, _) => Ok(exit),
    }
}

/// Does what changes something; `None` for a question.
async fn change(carrying: &Carrying<'_>) -> Result<Option<Exit>, CliError> {
    let Carrying { session, component, .. } = *carrying;
    let exit = match &carrying.args.command {
        SysupdateCommand::Update { version, afterwards, .. } => {
            update(carrying, version.as_deref(), *afterwards).await?
        }
        SysupdateCommand::Vacuum => carrying.vacuum().await?,
        SysupdateCommand::EnableFeature(choice) => {
            enable::features(session, component, choice, Switch::On).await?
        }
        SysupdateCommand::DisableFeature(choice) => {
            enable::features(session, component, choice, Switch::Off).await?
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
    let (spec, observed) = look(session, component)?;
    if matches!(args.command, SysupdateCommand::Pending) {
        return Ok(if observed.pending != Pending::Nothing { Exit::Ok } else { none(args) });
    }
    let found = sets(session, &spec, &observed).await?;
    let sets = &found.sets;
    match &args.command {
        SysupdateCommand::List { version: Some(version) } => {
            let set = sets.find(version).ok_or_else(|| not_found(version))?;
            let change_logs: Vec<String> =
                component.transfers.iter().flat_map(|t| t.change_log.clone()).collect();
            let detail = VersionDetail::of(set, &change_logs, found.contents(session, set));
            print(args, &detail, || format!("{} {}\n", set.version, set.flags.assessment()));
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
            print(args, &list, || table(sets));
            Ok(Exit::Ok)
        }
    }
}

/// What is wished and there of a component.
fn look(
    session: &Session,
    component: &Component,
) -> Result<(ExtensionSpec, ExtensionObserved), CliError> {
    let nothing =
        || CliError::new(Exit::Failed, "No transfer definitions found that are carried out here.");
    let (_, spec) = set_of(&session.host, component).ok_or_else(nothing)?;
    let within = (&session.host, &Listings::default());
    let observed = observe(within, &spec, Depth::Quick).map_err(|e| CliError::io(&e))?;
    Ok((spec, observed))
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

fn table(sets: &UpdateSets) -> String {
    let mut text = String::new();
    for set in sets.all() {
        let flags = set.flags;
        let _ = writeln!(text, "{} {:<24} {}", flags.glyph(), set.version, flags.assessment());
    }
    text
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
    let Some(wanted) = feature else {
        let features: Vec<String> = component.features.iter().map(|f| f.id.clone()).collect();
        let text = lines(&features);
        print(args, &Features { features }, || text);
        return Ok(Exit::Ok);
    };
    let unknown = || CliError::new(Exit::Failed, format!("Optional feature not found: {wanted}"));
    let feature = component.features.iter().find(|f| f.id == wanted).ok_or_else(unknown)?;
    let named = component.transfers.iter().filter(|transfer| {
        transfer.features.iter().chain(&transfer.requisite_features).any(|f| f == wanted)
    });
    let detail = FeatureDetail {
        id: feature.id.clone(),
        description: feature.description.clone(),
        documentation: feature.documentation.clone(),
        app_stream: feature.app_stream.clone(),
        enabled: feature.enabled,
        suggested: feature.suggestion.holds(&suggests(&session.host)),
        transfers: named.map(|transfer| transfer.id.clone()).collect(),
    };
    let state = if feature.enabled { "enabled" } else { "disabled" };
    print(args, &detail, || format!("{wanted} {state}\n"));
    Ok(Exit::Ok)
}
