//! Features and components switched on and off by the drop-ins that systemd-sysupdate writes.

use crate::cli::args::SysupdateArgs;
use crate::cli::exit::Exit;
use crate::cli::session::{AT_ONCE, Session};
use crate::cli::{CliError, mention};
use crate::format::sysupdate::search::folder_name;
use crate::provider::{Component, named_components, suggests};

/// The name of the drop-ins: systemd-sysupdate and reconcile write the same file.
const DROP_IN: &str = "50-systemd-sysupdate-enabled.conf";

/// Whether something is switched on or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Switch {
    On,
    Off,
}

/// One drop-in to write.
struct DropIn {
    directory: String,
    section: &'static str,
}

/// Switches features of a component.
pub(super) async fn features(
    (session, args): (&Session, &SysupdateArgs),
    component: &Component,
    (named, switch): (Option<&str>, Switch),
) -> Result<Exit, CliError> {
    let SysupdateArgs { feature_all, feature_suggested, .. } = *args;
    only_one("feature", (named, feature_all, feature_suggested))?;
    let host = suggests(&session.host);
    let chosen = component.features.iter().filter(|feature| {
        feature_all
            || named == Some(feature.id.as_str())
            || (feature_suggested && feature.suggestion.holds(&host) == Some(true))
    });
    let chosen: Vec<&str> = chosen.map(|feature| feature.id.as_str()).collect();
    if let Some(named) = named.filter(|_| chosen.is_empty()) {
        return Err(CliError::new(Exit::Failed, format!("Optional feature not found: {named}")));
    }
    let folder = folder_name(component.name.as_deref());
    let drop_ins = chosen.into_iter().map(|feature| DropIn {
        directory: format!("/etc/{folder}/{feature}.feature.d"),
        section: "Feature",
    });
    write(session, drop_ins.collect(), ("feature", switch)).await
}

/// Switches components.
pub(super) async fn components(
    session: &Session,
    args: &SysupdateArgs,
    (named, switch): (Option<&str>, Switch),
) -> Result<Exit, CliError> {
    let SysupdateArgs { component_all, component_suggested, .. } = *args;
    only_one("component", (named, component_all, component_suggested))?;
    let host = suggests(&session.host);
    let chosen = named_components(&session.host).into_iter().filter(|component| {
        component_all
            || named == Some(component.name.as_str())
            || (component_suggested && component.suggestion.holds(&host) == Some(true))
    });
    let chosen: Vec<String> = chosen.map(|component| component.name).collect();
    if let Some(named) = named.filter(|_| chosen.is_empty()) {
        return Err(CliError::new(Exit::Failed, format!("Component not found: {named}")));
    }
    let drop_ins = chosen.into_iter().map(|name| DropIn {
        directory: format!("/etc/sysupdate.{name}.component.d"),
        section: "Component",
    });
    write(session, drop_ins.collect(), ("component", switch)).await
}

/// Demands one way to choose: by name, all, or those that are suggested.
fn only_one(what: &str, choice: (Option<&str>, bool, bool)) -> Result<(), CliError> {
    match choice {
        (Some(_), false, false) | (None, true, false) | (None, false, true) => Ok(()),
        _ => {
            let why = format!("name one {what}, or write --{what}-all or --{what}-suggested");
            Err(CliError::new(Exit::Usage, why))
        }
    }
}

async fn write(
    session: &Session,
    drop_ins: Vec<DropIn>,
    (what, switch): (&str, Switch),
) -> Result<Exit, CliError> {
    let (verb, value) = match switch {
        Switch::On => ("enable", "yes"),
        Switch::Off => ("disable", "no"),
    };
    let host = session.lock(AT_ONCE).await?;
    for DropIn { directory, section } in drop_ins {
        let file = format!("{directory}/{DROP_IN}");
        let text = format!(
            "# Generated via 'systemd-sysupdate {verb}-{what}'\n\n[{section}]\nEnabled={value}\n"
        );
        let written = host.make_dirs(&directory).and_then(|()| host.write(&file, text.as_bytes()));
        written.map_err(|e| CliError::io(&e))?;
        mention(&format!("{file} was written; the next pass carries it out"));
    }
    Ok(Exit::Ok)
}
