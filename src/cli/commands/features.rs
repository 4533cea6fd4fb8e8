//! Features of the host's own definitions: listed, switched on and off.

use std::fmt::Write;

use serde::Serialize;

use crate::cli::args::{FeatureCommand, FeatureSwitch, Format, PassArgs};
use crate::cli::commands::pass;
use crate::cli::exit::Exit;
use crate::cli::output::json;
use crate::cli::session::{AT_ONCE, Session};
use crate::cli::{CliError, say};
use crate::format::sysupdate::search::folder_name;
use crate::provider::{Component, HOST_SET, components};
use crate::resource::extension::observe::Sealed;

/// The file that updex writes too: it sorts first, so that an administrator's file wins.
const SWITCH_FILE: &str = "00-updex.conf";

/// One feature, with the keys of updex.
#[derive(Debug, Serialize)]
struct FeatureRow {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    documentation: Option<String>,
    enabled: bool,
    source: String,
    transfers: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    component: Option<String>,
    /// The file with the last word.
    #[serde(skip)]
    enabled_by: Option<String>,
}

impl FeatureRow {
    /// The component that it is of, or what stands for none.
    fn set(&self) -> &str {
        self.component.as_deref().unwrap_or(HOST_SET)
    }
}

/// Does what is asked for.
pub(super) async fn act(
    session: &Session,
    command: &FeatureCommand,
    pass: &PassArgs,
) -> Result<Exit, CliError> {
    let (choice, value) = match command {
        FeatureCommand::List => return Ok(list(session)),
        FeatureCommand::Enable(choice) => (choice, "true"),
        FeatureCommand::Disable(choice) => (choice, "false"),
    };
    let FeatureSwitch { feature, component, now } = choice;
    let row = switch(session, (feature, component.as_deref()), value).await?;
    let is = if row.enabled { "is on" } else { "is off" };
    if *now {
        say(&format!("{feature} {is}\n"));
        return pass::reconcile(session, pass).await;
    }
    let brought = row.transfers.join(", ");
    let next = if row.enabled || row.transfers.is_empty() {
        "the next pass carries it out".to_owned()
    } else {
        format!("the next pass removes what was installed for it by {brought}")
    };
    say(&format!("{feature} {is}; {next}\n"));
    Ok(Exit::Ok)
}

fn rows(component: &Component) -> Vec<FeatureRow> {
    let row = |feature: &crate::format::sysupdate::definition::Feature| FeatureRow {
        name: feature.id.clone(),
        description: feature.description.clone(),
        documentation: feature.documentation.first().cloned(),
        enabled: feature.enabled,
        source: feature.file.clone(),
        transfers: component
            .transfers
            .iter()
            .filter(|t| t.features.iter().chain(&t.requisite_features).any(|f| *f == feature.id))
            .map(|transfer| transfer.id.clone())
            .collect(),
        component: component.name.clone(),
        enabled_by: feature.enabled_at.as_ref().map(|place| place.file.clone()),
    };
    component.features.iter().map(row).collect()
}

fn all(session: &Session) -> Vec<FeatureRow> {
    components(&session.host, &mut Vec::new()).iter().flat_map(rows).collect()
}

fn list(session: &Session) -> Exit {
    let rows = all(session);
    if session.common.output == Format::Json {
        say(&json::render(&rows));
        return Exit::Ok;
    }
    let mut text = String::new();
    for row in &rows {
        let state = if row.enabled { "on " } else { "off" };
        let description = row.description.as_deref().unwrap_or_default();
        let of = row.component.as_ref().map(|name| format!("({name}) ")).unwrap_or_default();
        let _ = writeln!(text, "{state} {:<24} {of}{description}", row.name);
    }
    if rows.is_empty() {
        text.push_str("No features.\n");
    }
    say(&text);
    Exit::Ok
}

/// The one feature of a name, in a component where one is given.
fn named(session: &Session, feature: &str, of: Option<&str>) -> Result<FeatureRow, CliError> {
    let is_it = |row: &FeatureRow| row.name == feature && of.is_none_or(|of| row.set() == of);
    let mut known = all(session).into_iter().filter(is_it);
    let refused = |why: String| Err(CliError::new(Exit::Failed, why));
    let Some(row) = known.next() else {
        let within = of.map(|of| format!(" in component {of}")).unwrap_or_default();
        return refused(format!(
            "no feature is called `{feature}`{within}; `reconcile features list` names them"
        ));
    };
    if let Some(other) = known.next() {
        let (one, other) = (row.set(), other.set());
        return refused(format!(
            "{one} and {other} both have a feature {feature}; say which with `--component {other}`"
        ));
    }
    Ok(row)
}

/// Writes the file that says so; the feature as it is then.
async fn switch(
    session: &Session,
    (feature, component): (&str, Option<&str>),
    value: &str,
) -> Result<FeatureRow, CliError> {
    let row = named(session, feature, component)?;
    let directory = folder_name(row.component.as_deref());
    let place = format!("/etc/{directory}/{feature}.feature.d");
    let file = format!("{place}/{SWITCH_FILE}");
    let host = session.lock(AT_ONCE).await?;
    let text = format!("[Feature]\nEnabled={value}\n");
    let written = host.make_dirs(&place).and_then(|()| host.write(&file, text.as_bytes()));
    written.map_err(|error| match Sealed::look(&host, place.as_str().into()) {
        Ok(Some(sealed)) => CliError::new(Exit::CannotWrite, sealed.message()),
        Ok(None) | Err(_) => CliError::io(&error),
    })?;
    let row = named(session, feature, Some(row.set()))?;
    if row.enabled == (value == "true") {
        return Ok(row);
    }
    let wins = row.enabled_by.unwrap_or_default();
    let verb = if row.enabled { "disable" } else { "enable" };
    let why = format!(
        "{file} was written, but {wins} is read after it, says otherwise and wins; edit or remove that one, or, where \
         systemd-sysupdate wrote it, run `reconcile sysupdate {verb}-feature {feature}`"
    );
    Err(CliError::new(Exit::Failed, why))
}
