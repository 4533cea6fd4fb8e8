//! One resource in full, as far as it is known without asking any source.

use std::fmt::Write;
use std::io::ErrorKind;

use camino::Utf8Path;

use crate::cli::args::Format;
use crate::cli::commands::show::{effective, judged, line};
use crate::cli::exit::Exit;
use crate::cli::named::Named;
use crate::cli::output::json;
use crate::cli::output::text::in_one_line;
use crate::cli::output::units::seconds;
use crate::cli::session::Session;
use crate::cli::{CliError, say};
use crate::desired::Declared;
use crate::host::{Look, Places};
use crate::resource::Spec;
use crate::resource::tree::spec::Place;
use crate::status::ResourceStatus;

/// What is known about one resource.
pub(super) async fn status(session: &Session, named: &Named) -> Result<Exit, CliError> {
    let (desired, exit) = effective(session).await?;
    let mut status = judged(session, &desired)?;
    let id = named.among(status.resources.iter().map(|resource| &resource.id))?;
    status.resources.retain(|resource| resource.id == id);
    if session.common.output == Format::Json {
        say(&json::render(&status));
        return Ok(exit);
    }
    let mut text = String::new();
    for resource in &status.resources {
        match session.common.output {
            Format::Oneline => oneline(&mut text, resource),
            _ => in_full(&mut text, resource, desired.resources.get(&resource.id)),
        }
    }
    say(&text);
    Ok(exit)
}

fn oneline(text: &mut String, resource: &ResourceStatus) {
    let version = resource.version.as_ref().map_or("-".to_owned(), ToString::to_string);
    let ready = resource.conditions.iter().find(|c| c.kind == "Ready" && c.status == "False");
    let why = ready.map_or(String::new(), |c| format!(" ({})", in_one_line(&c.message)));
    let _ = writeln!(text, "{} {version} {}{why}", resource.id, resource.state.name());
}

/// What is wished and installed of a resource, and what became of it last.
pub(super) fn in_full(text: &mut String, resource: &ResourceStatus, declared: Option<&Declared>) {
    line(text, resource);
    let since =
        resource.conditions.iter().find(|c| c.kind == "Ready").and_then(|c| c.last_transition_time);
    if let Some(since) = since.map(seconds) {
        let _ = writeln!(text, "  {} since {since}", resource.state.name());
    }
    if let Some(Declared { declared_at, spec, .. }) = declared {
        let _ = writeln!(text, "  declared at {declared_at}");
        let _ = writeln!(text, "  comes from {}", spec.source());
    }
    if let Some(digest) = &resource.digest {
        let _ = writeln!(text, "  made from {digest}");
    }
    if let Some(at) = resource.taken_over {
        let _ = writeln!(text, "  content taken over as it was found on {}", seconds(at));
    }
    if let Some(copy) = declared.and_then(|declared| offline(&declared.spec, resource)) {
        let _ = writeln!(text, "  offline copy {copy}");
    }
    for drift in &resource.drift {
        let (path, expected, found) = (&drift.path, &drift.expected, &drift.found);
        let _ = writeln!(text, "  {path} was {expected}, is {found}");
    }
    for effect in &resource.owed {
        let _ = writeln!(text, "  owed: {effect}");
    }
    if !resource.kept.is_empty() {
        let _ = writeln!(text, "  kept to go back to: {}", resource.kept.join(", "));
    }
    if let Some(change) = &resource.last_change {
        let _ = writeln!(
            text,
            "  last change {}: {}, {}",
            seconds(change.at),
            change.attribution.name(),
            change.result
        );
    }
}

/// Where the offline copy of a tree is, and whether it has what is installed, which a look at this machine tells.
fn offline(spec: &Spec, resource: &ResourceStatus) -> Option<String> {
    let Spec::Tree(spec) = spec else { return None };
    let offline = spec.offline.as_ref()?;
    let index = match &offline.index {
        Place::Web(url) => return Some(url.clone()),
        Place::Local(path) => path.as_str(),
    };
    let version = resource.version.as_ref().map_or("@v", |version| version.as_str());
    let index = index.replacen("@v", version, 1);
    // On this machine, whichever root is managed; a link to it is as good.
    let there = Utf8Path::new(&index).canonicalize_utf8();
    let there = there.and_then(|path| Look::new("/".into(), Places::default()).sha256(path));
    let has = match there {
        Ok(there) if Some(&there) == resource.digest.as_ref() => match lost(&offline.stores) {
            None => "has what is installed".to_owned(),
            Some(store) => format!("lists what is installed, but {store} is not there"),
        },
        Ok(_) => "has another release than what is installed".to_owned(),
        Err(error) if error.kind() == ErrorKind::NotFound => "is not there".to_owned(),
        Err(error) => format!("cannot be read: {error}"),
    };
    Some(format!("{index} {has}"))
}

/// The first store of this machine that is not there.
fn lost(stores: &[Place]) -> Option<&Utf8Path> {
    let mut local = stores.iter().filter_map(|store| match store {
        Place::Local(path) => Some(path.as_path()),
        Place::Web(_) => None,
    });
    local.find(|path| !path.exists())
}
