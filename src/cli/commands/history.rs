//! What was changed, when and why.

use std::fmt::Write;

use crate::cli::args::Format;
use crate::cli::exit::Exit;
use crate::cli::output::json;
use crate::cli::output::units::seconds;
use crate::cli::session::{Session, known};
use crate::cli::{CliError, mention, say};
use crate::model::ResourceId;
use crate::record::history::{self as record, History};
use crate::record::ledger;

/// Prints the newest entries, newest last.
pub(super) async fn history(
    session: &Session,
    resource: Option<&ResourceId>,
    limit: usize,
) -> Result<Exit, CliError> {
    let History { mut entries, damage } = record::read(&session.host);
    for lost in &damage {
        mention(lost);
    }
    entries.retain(|entry| resource.is_none_or(|id| &entry.resource == id));
    let entries = entries.split_off(entries.len().saturating_sub(limit));
    if let Some(id) = resource.filter(|_| entries.is_empty())
        && !ledger::look(&session.host).map_err(|e| CliError::io(&e))?.names(id)
    {
        known(&session.desired_if_any().await?, id)?;
    }
    if session.common.output == Format::Json {
        say(&json::render(&entries));
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
