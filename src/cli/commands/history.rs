//! What was changed, when and why.

use std::fmt::Write;

use crate::cli::args::Format;
use crate::cli::exit::Exit;
use crate::cli::output::json;
use crate::cli::output::units::seconds;
use crate::cli::session::Session;
use crate::cli::{CliError, say};
use crate::model::ResourceId;
use crate::record::history as record;

/// Prints the newest entries, newest last.
pub(super) fn history(
    session: &Session,
    resource: Option<&ResourceId>,
    limit: usize,
) -> Result<Exit, CliError> {
    let mut entries = record::load(&session.host);
    entries.retain(|entry| resource.is_none_or(|id| &entry.resource == id));
    let entries = entries.split_off(entries.len().saturating_sub(limit));
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
    if entries.is_empty() {
        text.push_str("Nothing was changed yet.\n");
    }
    say(&text);
    Ok(Exit::Ok)
}
