//! Text made from the program itself: schemas, completions, manual pages.

use camino::Utf8Path;
use schemars::schema_for;

use crate::cli::args::SchemaKind;
use crate::cli::exit::Exit;
use crate::cli::output::answers::{Collection, Diagnosis, Diff, Explanation, Releases, Validated};
use crate::cli::output::json;
use crate::cli::{CliError, say, takes};
use crate::model::document::Document;
use crate::model::plan::PlanDocument;
use crate::monitor::Event;
use crate::record::history::History;
use crate::status::HostStatus;

/// Prints a JSON Schema.
pub(super) fn schema(kind: SchemaKind) -> Exit {
    say(&json::render(&match kind {
        SchemaKind::DesiredState => crate::desired::schema::schema(),
        SchemaKind::Plan => schema_for!(PlanDocument).to_value(),
        SchemaKind::Status => schema_for!(HostStatus).to_value(),
        SchemaKind::Agent => crate::controller::config::schema(),
        SchemaKind::History => schema_for!(Document<History>).to_value(),
        SchemaKind::Diff => schema_for!(Document<Diff>).to_value(),
        SchemaKind::Explain => schema_for!(Document<Explanation>).to_value(),
        SchemaKind::List => schema_for!(Document<Releases>).to_value(),
        SchemaKind::Validate => schema_for!(Validated).to_value(),
        SchemaKind::Doctor => schema_for!(Document<Diagnosis>).to_value(),
        SchemaKind::Gc => schema_for!(Document<Collection>).to_value(),
        SchemaKind::Event => schema_for!(Event).to_value(),
        SchemaKind::Api => crate::monitor::openapi::document(),
    }));
    Exit::Ok
}

/// Prints a completion script.
pub(super) fn completions(shell: clap_complete::Shell) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut takes::described(), "reconcile", &mut script);
    say(&String::from_utf8_lossy(&script));
    Exit::Ok
}

/// Writes one manual page for the program and one for each command.
pub(super) fn man(directory: &Utf8Path) -> Result<Exit, CliError> {
    clap_mangen::generate_to(takes::described(), directory).map_err(|e| {
        CliError::new(Exit::CannotWrite, format!("cannot write manual pages to {directory}: {e}"))
    })?;
    Ok(Exit::Ok)
}
