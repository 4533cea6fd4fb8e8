//! Answers as systemd-sysupdate gives them, for scripts: text or its JSON, and its exit codes.

use std::fmt::Write;

use serde::Serialize;

use crate::cli::args::{ExitCodes, SysupdateArgs, SysupdateCommand};
use crate::cli::exit::Exit;
use crate::cli::session::Session;
use crate::cli::{CliError, say};
use crate::desired::DesiredState;
use crate::fetch::Reader;
use crate::format::sysupdate::document::{
    CheckNew, ComponentNames, FeatureDetail, Features, List, VersionDetail,
};
use crate::format::sysupdate::sets::{Installed, State, UpdateSets, Versions, update_sets};
use crate::provider::{Component, components, set_of};
use crate::resolve::explain::offered_versions;
use crate::resource::app::observe::Depth;
use crate::resource::extension::observe::observe;
use crate::resource::extension::{ExtensionObserved, ExtensionSpec};

/// Does what is asked for.
pub(super) async fn sysupdate(session: &Session, args: &SysupdateArgs) -> Result<Exit, CliError> {
    let all = components(&session.host, &mut Vec::new());
    if matches!(args.command, SysupdateCommand::Components) {
        return Ok(list_components(&all, args));
    }
    let found = all.iter().find(|c| c.name == args.component);
    let component = found.filter(|c| !c.transfers.is_empty() || !c.features.is_empty());
    let component = component.ok_or_else(|| {
        let why = match &args.component {
            Some(name) => format!("No transfer definitions for component '{name}' found."),
            None => "No transfer definitions found.".to_owned(),
        };
        CliError::new(Exit::Failed, why)
    })?;
    if let SysupdateCommand::Features { feature } = &args.command {
        return features(component, feature.as_deref(), args);
    }
    let nothing =
        || CliError::new(Exit::Failed, "No transfer definitions found that are carried out here.");
    let (id, spec) = set_of(&session.host, component).ok_or_else(nothing)?;
    let place = (&session.host, &id, spec.home.as_path());
    let observed = observe(place, Some(&spec), Depth::Quick).map_err(|e| CliError::io(&e))?;
    if matches!(args.command, SysupdateCommand::Pending) {
        return Ok(if observed.pending { Exit::Ok } else { none(args) });
    }
    let sets = sets(session, &spec, &observed).await?;
    match &args.command {
        SysupdateCommand::List { version: Some(version) } => {
            let unknown = || CliError::new(Exit::Failed, format!("Update '{version}' not found."));
            let set = sets.find(version).ok_or_else(unknown)?;
            let change_logs: Vec<String> =
                component.transfers.iter().flat_map(|t| t.change_log.clone()).collect();
            let detail = VersionDetail::of(set, &change_logs, Vec::new());
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
            let list = List::of(&sets, app_streams.collect());
            print(args, &list, || table(&sets));
            Ok(Exit::Ok)
        }
    }
}

/// Nothing new: 1 for systemd-sysupdate, 2 for updex, where 1 is an error.
fn none(args: &SysupdateArgs) -> Exit {
    match args.exit_codes {
        ExitCodes::Sysupdate => Exit::Failed,
        ExitCodes::Updex => Exit::Pending,
    }
}

fn print(args: &SysupdateArgs, document: &impl Serialize, text: impl FnOnce() -> String) {
    if args.json {
        let json = serde_json::to_string(document).unwrap_or_default();
        say(&format!("{json}\n"));
    } else {
        say(&text());
    }
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
    let names = ComponentNames {
        default: all.iter().any(|c| c.name.is_none() && !c.transfers.is_empty()),
        components: all.iter().filter_map(|component| component.name.clone()).collect(),
    };
    print(args, &names, || lines(&names.components));
    Exit::Ok
}

fn features(
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
        suggested: feature.suggestion.suggest.or(Some(false)),
        transfers: named.map(|transfer| transfer.id.clone()).collect(),
    };
    let state = if feature.enabled { "enabled" } else { "disabled" };
    print(args, &detail, || format!("{wanted} {state}\n"));
    Ok(Exit::Ok)
}

async fn sets(
    session: &Session,
    spec: &ExtensionSpec,
    observed: &ExtensionObserved,
) -> Result<UpdateSets, CliError> {
    let installed: Vec<Vec<Installed>> = observed
        .transfers
        .iter()
        .map(|seen| {
            let versions = seen.images.keys().cloned();
            versions.map(|version| Installed { version, state: State::Complete }).collect()
        })
        .collect();
    let desired = DesiredState::from_texts(Vec::new()).map_err(|e| session.invalid(&e, ""))?;
    let cache = session.host.cache_dir();
    let client = session.client(&desired)?;
    let no_age = jiff::SignedDuration::ZERO;
    let reader = Reader::new(client, Some(cache.as_std_path()), session.now, no_age);
    let offered = offered_versions(spec, observed, &reader, session.now)
        .await
        .map_err(|message| CliError::new(Exit::Failed, message))?;
    let transfers: Vec<Versions<'_>> = offered
        .iter()
        .zip(&installed)
        .map(|(available, installed)| Versions {
            min_version: spec.min_version.as_deref(),
            protected_versions: &spec.protect,
            available,
            installed,
        })
        .collect();
    Ok(update_sets(&transfers))
}
