//! The versions that a source offers, and which one is in use.

use std::fmt::Write;

use crate::cli::args::Format;
use crate::cli::commands::show::{found, reader, remembered};
use crate::cli::exit::Exit;
use crate::cli::named::{Named, wished};
use crate::cli::output::answers::{Offered, Releases};
use crate::cli::output::json;
use crate::cli::session::Session;
use crate::cli::{CliError, mention, say};
use crate::resolve::explain::{Listed, versions};

/// Lists them, newest first.
pub(super) async fn list(session: &Session, named: &Named) -> Result<Exit, CliError> {
    let desired = session.desired().await?;
    let id = &session.find(named, &desired)?;
    let declared = wished(&desired, id)?;
    let reader = reader(session, &desired);
    let found = found(session, &desired, id)?;
    let arch = crate::host::facts::observe(&session.host).arch;
    let listed = versions(id, (&declared.spec, &found), arch, &reader, session.now)
        .await
        .map_err(|message| CliError::new(Exit::Unavailable, message))?;
    let ledger = remembered(session, &desired)?;
    let slot = found.current();
    // A tree's slots have names of their own.
    let tag = slot.map(|slot| found.name_of(slot));
    let offered = |Listed { release, accepted }| Offered {
        in_use: tag.as_ref() == Some(&release.tag),
        accepted,
        quarantined: ledger
            .trust
            .quarantine_of(id, &release.tag, &[])
            .map(|quarantined| quarantined.reason.clone()),
        release,
    };
    let releases = Releases {
        resource: id.clone(),
        in_use: slot.and_then(|slot| found.version_of(slot, Some(&declared.spec))),
        releases: listed.into_iter().map(offered).collect(),
    };
    if session.common.output == Format::Json {
        say(&json::document(releases));
        return Ok(Exit::Ok);
    }
    if !releases.releases.is_empty() {
        mention("(* is what the desired state accepts)");
    }
    say(&text(&releases));
    Ok(Exit::Ok)
}

fn text(releases: &Releases) -> String {
    let mut text = String::new();
    for Offered { release, in_use, accepted, quarantined } in &releases.releases {
        let published = release.published.map_or(String::new(), |p| p.to_string());
        let pre = if release.prerelease { " prerelease" } else { "" };
        let used = if *in_use { " in use" } else { "" };
        let mark = if *accepted && quarantined.is_none() { "*" } else { " " };
        let failed = if quarantined.is_some() { " quarantined" } else { "" };
        let version = release.version.to_string();
        let line = format!("{mark} {version:<20} {published}{pre}{used}{failed}");
        let _ = writeln!(text, "{}", line.trim_end());
    }
    if releases.releases.is_empty() {
        let id = &releases.resource;
        let _ = writeln!(text, "The source of {id} has no list of versions, only what it is now.");
    }
    text
}
