//! Checking desired-state files without root and without network.

use camino::Utf8PathBuf;

use crate::cli::exit::Exit;
use crate::cli::session::Session;
use crate::cli::{CliError, say};
use crate::desired::DesiredState;

/// Reads everything and says what is wrong with it.
pub(super) fn validate(session: &Session, paths: &[Utf8PathBuf]) -> Result<Exit, CliError> {
    let paths = if paths.is_empty() { session.desired_paths() } else { paths.to_vec() };
    let names = paths.iter().map(|p| p.as_str()).collect::<Vec<_>>().join(", ");
    let paths: Vec<_> = paths.into_iter().map(Into::into).collect();
    let desired = DesiredState::load(&paths).map_err(|errors| session.invalid(&errors, ""))?;
    say(&format!("{names} is valid: {}.\n", desired.counts()));
    Ok(Exit::Ok)
}
