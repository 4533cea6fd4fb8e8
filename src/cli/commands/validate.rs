//! Checking desired-state files without root and without network.

use std::fmt::Write;

use camino::Utf8PathBuf;

use crate::cli::exit::Exit;
use crate::cli::session::Session;
use crate::cli::{CliError, say};
use crate::desired::DesiredState;
use crate::host::facts;
use crate::model::selection::Identity;

/// Reads everything and says what is wrong with it.
pub(super) async fn validate(session: &Session, paths: &[Utf8PathBuf]) -> Result<Exit, CliError> {
    if paths.is_empty() && session.common.git.git.is_some() {
        let desired = session.desired().await?;
        say(&format!("{} is valid: {}.\n", desired.roots.join(", "), desired.counts()));
        return Ok(Exit::Ok);
    }
    let paths = if paths.is_empty() { session.desired_paths()? } else { paths.to_vec() };
    let names = paths.iter().map(|p| p.as_str()).collect::<Vec<_>>().join(", ");
    let paths: Vec<_> = paths.into_iter().map(Into::into).collect();
    let hosts = DesiredState::hosts_below(&paths);
    if hosts.is_empty() {
        let desired = DesiredState::load(&paths).map_err(|errors| session.invalid(&errors))?;
        say(&format!("{names} is valid: {}.\n", desired.counts()));
        return Ok(Exit::Ok);
    }
    let mut text = String::new();
    for hostname in hosts {
        let labels = std::collections::BTreeMap::new();
        let host = Identity { hostname, machine_id: None, labels, arch: facts::arch() };
        let desired =
            DesiredState::load_for(&paths, &host).map_err(|errors| session.invalid(&errors))?;
        let _ = writeln!(text, "{names} is valid for {}: {}.", host.hostname, desired.counts());
    }
    say(&text);
    Ok(Exit::Ok)
}
