//! Checking desired-state files without root and without network.

use std::path::PathBuf;

use camino::Utf8PathBuf;
use serde_json::json;

use crate::cli::args::Format;
use crate::cli::exit::Exit;
use crate::cli::output::json::render;
use crate::cli::session::Session;
use crate::cli::{CliError, say};
use crate::desired::DesiredState;

/// Reads everything and says what is wrong with it.
pub(super) fn validate(session: &Session, paths: &[Utf8PathBuf]) -> Result<Exit, CliError> {
    let paths = if paths.is_empty() { session.desired_paths() } else { paths.to_vec() };
    let names = paths.iter().map(|p| p.as_str()).collect::<Vec<_>>().join(", ");
    let places: Vec<PathBuf> = paths.iter().map(Into::into).collect();
    let loaded = DesiredState::load(&places);
    if session.common.output == Format::Json {
        let ids = loaded.as_ref().map(|desired| desired.resources.keys().collect::<Vec<_>>());
        let errors = loaded.as_ref().err();
        say(&render(&json!({
            "paths": paths,
            "valid": loaded.is_ok(),
            "resources": ids.unwrap_or_default(),
            "errors": errors.map(Vec::as_slice).unwrap_or_default(),
        })));
        return Ok(if loaded.is_ok() { Exit::Ok } else { Exit::Invalid });
    }
    let desired = loaded.map_err(|errors| session.invalid(&errors))?;
    say(&format!("{names} is valid: {}.\n", desired.counts()));
    Ok(Exit::Ok)
}
