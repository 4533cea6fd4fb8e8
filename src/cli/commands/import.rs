//! Turning another updater's configuration into a desired state.

use std::path::PathBuf;

use camino::Utf8PathBuf;

use crate::cli::args::ImportKind;
use crate::cli::exit::Exit;
use crate::cli::session::Session;
use crate::cli::{CliError, mention, say};
use crate::desired::import::{Imported, casync_updater, distronomicon};
use crate::model::outcome::{chain, counted};
use crate::provider::components;

/// Where units are when no path is given (systemd.unit(5)).
const UNITS: [&str; 4] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
];

/// Where casync-updater's client keeps its configuration.
const CASYNC_UPDATER: &str = "/etc/casync-updater";

/// Prints the YAML on standard output and what an operator must know on standard error.
pub(super) fn import(
    session: &Session,
    kind: ImportKind,
    paths: &[Utf8PathBuf],
) -> Result<Exit, CliError> {
    match kind {
        ImportKind::CasyncUpdater => return import_trees(session, paths),
        ImportKind::Sysupdate => return Ok(import_definitions(session, "sysupdate")),
        ImportKind::Updex => return Ok(import_definitions(session, "updex")),
        ImportKind::Distronomicon => {}
    }
    let paths: Vec<PathBuf> = if paths.is_empty() {
        let units = UNITS.iter().map(|path| session.host.real(path));
        units.filter(|path| path.exists()).map(Into::into).collect()
    } else {
        paths.iter().map(Into::into).collect()
    };
    let mut files = distronomicon::load(&paths).map_err(|error| {
        let why = chain(&error);
        CliError::new(Exit::Failed, format!("cannot read distronomicon's units: {why}"))
    })?;
    // Which of two units wins depends on its place, as the managed host sees it.
    for file in &mut files {
        if let Some(inside) = file.path.strip_prefix(session.host.root().as_str()) {
            file.path = format!("/{}", inside.trim_start_matches('/'));
        }
    }
    Ok(tell(&distronomicon::import(&files)))
}

/// Definitions change with the operating system, so they are followed and not copied.
fn import_definitions(session: &Session, as_what: &str) -> Exit {
    let mut notes = Vec::new();
    let found = components(&session.host, &mut notes);
    let transfers: usize = found.iter().map(|component| component.transfers.len()).sum();
    for note in &notes {
        mention(note);
    }
    mention(&format!("{} found; they are followed, not copied", counted(transfers, "transfer")));
    say(&format!(
        "# Follows this host's own sysupdate.d and sysupdate.COMPONENT.d.\nsysupdate: {{ as: {as_what} }}\n"
    ));
    Exit::Ok
}

fn import_trees(session: &Session, paths: &[Utf8PathBuf]) -> Result<Exit, CliError> {
    let paths: Vec<PathBuf> = if paths.is_empty() {
        vec![session.host.real(CASYNC_UPDATER).into()]
    } else {
        paths.iter().map(Into::into).collect()
    };
    let files = casync_updater::load(&paths).map_err(|error| {
        let why = chain(&error);
        CliError::new(Exit::Failed, format!("cannot read casync-updater's configuration: {why}"))
    })?;
    Ok(tell(&casync_updater::import(&files)))
}

fn tell(imported: &Imported) -> Exit {
    for note in &imported.notes {
        mention(&note.to_string());
    }
    say(&imported.document);
    Exit::Ok
}
