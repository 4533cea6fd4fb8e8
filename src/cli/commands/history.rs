//! What was changed, when and why.

use std::fmt::Write;

use crate::cli::args::Format;
use crate::cli::exit::Exit;
use crate::cli::named::Named;
use crate::cli::output::json;
use crate::cli::output::units::seconds;
use crate::cli::session::Session;
use crate::cli::{CliError, mention, say};
use crate::model::ResourceId;
use crate::model::outcome::HistoryEntry;
use crate::record::history::{self as record, History};
use crate::record::ledger;

/// Prints the newest entries, newest last.
pub(super) async fn history(
    session: &Session,
    resource: Option<&Named>,
    limit: usize,
) -> Result<Exit, CliError> {
    let History { mut entries, damage } = record::read(&session.host);
    for lost in &damage {
        mention(lost);
    }
    if let Some(named) = resource {
        let id = meant(session, named, &entries).await?;
        entries.retain(|entry| entry.resource == id);
    }
    let entries = entries.split_off(entries.len().saturating_sub(limit));
    if session.common.output == Format::Json {
        say(&json::document(History { entries, damage }));
        return Ok(Exit::Ok);
    }
    let mut text = String::new();
    for entry in &entries {
        let version = |v: &Option<crate::model::Version>| {
            v.as_ref().map_or("-".to_owned(), ToString::to_string)
        };
        let _ = writeln!(
            text,
            "{} {:<20} {:<10} {} -> {}  {} ({}: {})",
            seconds(entry.at),
            entry.resource.to_string(),
            entry.action.name(),
            version(&entry.from),
            version(&entry.to),
            entry.result,
            entry.attribution.name(),
            entry.reason,
        );
        if let Some(error) = &entry.error {
            let _ = writeln!(text, "    {error}");
        }
        for note in &entry.notes {
            let _ = writeln!(text, "    note: {note}");
        }
    }
    if entries.is_empty() && damage.is_empty() {
        text.push_str("Nothing was changed yet.\n");
    } else if entries.is_empty() {
        text.push_str("Nothing that was changed can be read any more.\n");
    }
    say(&text);
    Ok(Exit::Ok)
}

/// The resource that is meant: one that is here, or one that was.
async fn meant(
    session: &Session,
    named: &Named,
    entries: &[HistoryEntry],
) -> Result<ResourceId, CliError> {
    let ledger = ledger::look(&session.host).map_err(|e| CliError::io(&e))?;
    let desired = session.desired_if_any().await;
    let changed = entries.iter().map(|entry| &entry.resource);
    named.here(ledger.ids().chain(changed), desired.as_ref())
}
