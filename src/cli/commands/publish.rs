//! The other side: making what sources read.

use crate::cli::args::PublishCommand;
use crate::cli::exit::Exit;
use crate::cli::{CliError, say};
use crate::model::outcome::chain;
use crate::publish::{ExtensionRelease, extension};

/// Publishes.
pub(super) async fn publish(command: &PublishCommand) -> Result<Exit, CliError> {
    let PublishCommand::Extension { repository, image, name, release, key } = command;
    let release =
        ExtensionRelease { repository, image, name, version: release, key: key.as_deref() };
    let place =
        extension(&release).await.map_err(|error| CliError::new(Exit::Failed, chain(&error)))?;
    say(&format!("{place}\n"));
    Ok(Exit::Ok)
}
