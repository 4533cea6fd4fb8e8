//! What repositories and catalogs of extensions have.

use std::fmt::Write;

use camino::Utf8Path;
use serde::Serialize;

use crate::cli::args::Format;
use crate::cli::exit::Exit;
use crate::cli::output::json;
use crate::cli::session::Session;
use crate::cli::{CliError, mention, say};
use crate::desired::DesiredState;
use crate::fetch::Reader;
use crate::model::document::{Answer, Document};
use crate::model::outcome::{chain, counted};
use crate::provider::catalogs;
use crate::source::SourceError;
use crate::source::discover::{Discovered, catalog, repository};
use crate::source::spec::DirectoryUrl;

/// Versions shown of one extension.
const VERSIONS_SHOWN: usize = 5;

/// What one repository has, with the keys of updex; versions are never null.
#[derive(Debug, Serialize)]
struct Discovery {
    url: String,
    extensions: Vec<Discovered>,
}

impl Answer for Discovery {
    const KIND: &'static str = "Discovery";
}

/// What several have.
#[derive(Debug, Serialize)]
struct DiscoveryList {
    items: Vec<Document<Discovery>>,
}

impl Answer for DiscoveryList {
    const KIND: &'static str = "DiscoveryList";
}

/// Lists what a repository has; without one, what the catalogs of the host have.
pub(super) async fn discover(session: &Session, url: Option<&str>) -> Result<Exit, CliError> {
    let desired = DesiredState::from_texts(Vec::new()).map_err(|e| session.invalid(&e))?;
    let no_age = jiff::SignedDuration::ZERO;
    let reader = Reader::new(session.client(&desired), None, session.now, no_age);
    if let Some(url) = url {
        let extensions = repository(&place(url)?, &reader).await.map_err(|e| unavailable(&e))?;
        let found = Discovery { url: url.to_owned(), extensions };
        if session.common.output == Format::Json {
            say(&json::document(found));
        } else {
            say(&table(&found));
        }
        return Ok(Exit::Ok);
    }
    let mut notes = Vec::new();
    let mut found = Vec::new();
    for named in catalogs(&session.host, &mut notes) {
        let Some(list) = &named.list else {
            notes.push(format!(
                "the catalog {} has no `ListURL=`, so it cannot be listed",
                named.name
            ));
            continue;
        };
        match catalog(&place(&named.site)?, list, &reader).await {
            Ok(extensions) => found.push(Discovery { url: named.site.clone(), extensions }),
            Err(error) => notes.push(format!("the catalog {}: {}", named.name, chain(&error))),
        }
    }
    for note in &notes {
        mention(note);
    }
    if found.is_empty() && notes.is_empty() {
        mention(
            "this host has no catalogs of extensions; name a repository: `reconcile discover URL`",
        );
    }
    if session.common.output == Format::Json {
        let items = found.into_iter().map(Document::from).collect();
        say(&json::document(DiscoveryList { items }));
    } else {
        for found in &found {
            say(&table(found));
        }
    }
    Ok(if notes.is_empty() { Exit::Ok } else { Exit::Failed })
}

fn unavailable(error: &SourceError) -> CliError {
    CliError::new(Exit::Unavailable, chain(error))
}

/// A web address, or a directory of this machine.
fn place(text: &str) -> Result<DirectoryUrl, CliError> {
    if text.starts_with("https://") || text.starts_with("http://") {
        return Ok(DirectoryUrl::Web(text.trim_end_matches('/').to_owned()));
    }
    let path = Utf8Path::new(text.strip_prefix("file://").unwrap_or(text));
    let path = path.canonicalize_utf8();
    path.map(DirectoryUrl::Local).map_err(|error| {
        CliError::new(Exit::Usage, format!("{text} is no web address and no directory: {error}"))
    })
}

fn table(found: &Discovery) -> String {
    let mut text = format!("{} in {}\n", counted(found.extensions.len(), "extension"), found.url);
    for Discovered { name, versions, error } in &found.extensions {
        let shown = versions.iter().take(VERSIONS_SHOWN).map(String::as_str).collect::<Vec<_>>();
        let more = versions.len().saturating_sub(VERSIONS_SHOWN);
        let more = if more == 0 { String::new() } else { format!(", and {more} older") };
        let said = match error {
            Some(error) => error.clone(),
            None if versions.is_empty() => "(no versions)".to_owned(),
            None => format!("{}{more}", shown.join(", ")),
        };
        let _ = writeln!(text, "  {name:<24} {said}");
    }
    text
}
