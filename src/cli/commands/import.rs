//! Turning another updater's configuration into a desired state.

use std::path::PathBuf;

use camino::Utf8PathBuf;

use crate::cli::args::ImportKind;
use crate::cli::exit::Exit;
use crate::cli::session::Session;
use crate::cli::{CliError, mention, say};
use crate::desired::import::distronomicon;
use crate::model::outcome::chain;

/// Where units are when no path is given (systemd.unit(5)).
const UNITS: [&str; 4] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
];

/// Prints the YAML on standard output and what an operator must know on standard error.
pub(super) fn import(
    session: &Session,
    kind: ImportKind,
    paths: &[Utf8PathBuf],
) -> Result<Exit, CliError> {
    let ImportKind::Distronomicon = kind;
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
    let imported = distronomicon::import(&files);
    for note in &imported.notes {
        mention(&note.to_string());
    }
    say(&imported.document);
    Ok(Exit::Ok)
}
