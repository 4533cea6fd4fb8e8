//! Looking after the agent itself: gc and doctor.

use std::collections::BTreeSet;

use camino::Utf8Path;

use crate::cli::args::Format;
use crate::cli::exit::Exit;
use crate::cli::output::answers::{Collection, Diagnosis, Finding};
use crate::cli::output::json;
use crate::cli::output::units::bytes;
use crate::cli::session::{PATIENCE, Session};
use crate::cli::{CliError, say};
use crate::desired::DesiredState;
use crate::host::runner::can_start;
use crate::host::{ItemKind, Look};
use crate::model::outcome::{Outcome, chain, counted};
use crate::model::{Level, cached};
use crate::monitor::notify;
use crate::observe::observe;
use crate::provider::components;
use crate::record::history::{self, History};
use crate::record::{cache, last_pass, ledger};
use crate::resource::Spec;
use crate::resource::extension::observe::{Sealed, keyrings};
use crate::resource::extension::spec::Transfer;
use crate::source::place::is_mounted;

/// Where units are.
const UNITS: [&str; 4] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// Which cached artifacts to remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gc {
    /// Those no installed release was made from.
    Unused,
    /// All of them, and remembered answers.
    All,
}

/// Removes artifacts from the cache.
pub(super) async fn gc(session: &Session, which: Gc) -> Result<Exit, CliError> {
    let io = |e: std::io::Error| CliError::io(&e);
    let host = session.lock(PATIENCE).await?;
    let mut doomed = Vec::new();
    if which == Gc::All {
        doomed.extend(cached::ALL.map(|name| host.places().cache.join(name)));
    } else {
        let desired = session.desired_if_any().await?;
        let ledger = ledger::look(&host).map_err(io)?;
        let observed = observe(&desired, &ledger, &host, session.depth());
        let last = last_pass::load(&host);
        let blocked = last.map(|last| last.blocked).unwrap_or_default();
        let unused = cache::unused(&host, (&observed, &blocked), &Outcome::default());
        doomed.extend(unused.map_err(io)?);
    }
    let (mut files, mut freed) = (0, 0);
    for path in doomed {
        let (number, size) = weigh(&host, &path).map_err(io)?;
        host.remove(&path).map_err(io)?;
        files += number;
        freed += size;
    }
    if session.common.output == Format::Json {
        say(&json::document(Collection { removed_files: files, freed_bytes: freed }));
    } else {
        let (files, freed) = (counted(files, "file"), bytes(freed));
        say(&format!("Removed {files} from the cache, {freed} freed.\n"));
    }
    Ok(Exit::Ok)
}

/// Number and size of the files below a path.
fn weigh(host: &Look, path: &camino::Utf8Path) -> std::io::Result<(usize, u64)> {
    let Some(stat) = host.stat(path)? else { return Ok((0, 0)) };
    if stat.kind != ItemKind::Dir {
        return Ok((1, stat.size));
    }
    let mut sum = (0, 0);
    for item in host.list(path)?.unwrap_or_default() {
        let (number, size) = weigh(host, &path.join(item.name))?;
        sum = (sum.0 + number, sum.1 + size);
    }
    Ok(sum)
}

/// Looks for what keeps reconcile from working well here.
pub(super) async fn doctor(session: &Session) -> Exit {
    let findings = examine(session).await;
    let ok = findings.iter().all(|found| found.ok);
    let text = if session.common.output == Format::Json {
        json::document(Diagnosis { ok, findings })
    } else {
        let line = |found: &Finding| {
            let sign = if found.ok { "ok  " } else { "BAD " };
            format!("{sign} {}: {}\n", found.what, found.says)
        };
        findings.iter().map(line).collect()
    };
    say(&text);
    if ok { Exit::Ok } else { Exit::Failed }
}

async fn examine(session: &Session) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut check = |what: &str, result: Result<String, String>| {
        let ok = result.is_ok();
        let (Ok(says) | Err(says)) = result;
        findings.push(Finding { what: what.to_owned(), ok, says });
    };
    check("configuration", configuration(session));
    let desired = session.desired().await;
    check(
        "desired state",
        match &desired {
            Ok(desired) => Ok(desired.counts()),
            Err(error) => Err(error.message().to_owned()),
        },
    );
    for (what, found) in places(session) {
        check(what, found);
    }
    match ledger::look(&session.host) {
        Ok(ledger) if ledger.losses.is_empty() => {
            let debts = ledger.debts.len();
            check("ledger", Ok(format!("readable, {} owed", counted(debts, "effect"))));
        }
        Ok(ledger) => check("ledger", Err(ledger.losses.join("; "))),
        Err(error) => check("ledger", Err(error.to_string())),
    }
    check("history", changes(&session.host));
    if let Ok(desired) = &desired {
        if desired.follow.is_some() {
            check("definitions of this host", definitions(&session.host));
        }
        if let Some(found) = keyring(&session.host, desired) {
            check("keyring of systemd", found);
        }
        for (host, token) in session.tokens(desired) {
            check(&format!("token for {host}"), token.map(|_| "there is one".to_owned()));
        }
        for (id, declared) in &desired.resources {
            check(&id.to_string(), writable(&session.host.real(declared.spec.home())));
            for directory in links(&declared.spec) {
                check(&format!("links of {id}"), linkable(&session.host, directory));
            }
            for (place, found) in sources(&declared.spec) {
                check(&format!("source of {id}"), found.map(|()| format!("{place} is there")));
            }
            for unit in declared.spec.restarts() {
                let found = UNITS.iter().any(|dir| session.host.real(dir).join(unit).exists());
                let answer =
                    if found { Ok("exists".to_owned()) } else { Err("not found".to_owned()) };
                check(&format!("{id} restarts {unit}"), answer);
            }
            for program in declared.spec.health().iter().flat_map(|health| health.programs()) {
                // One of the managed root is as good: it may be what the release brings.
                let there = session.host.real(program).exists();
                let found = can_start(program).map_err(|error| chain(&error));
                let answer = found.or_else(|why| if there { Ok(()) } else { Err(why) });
                check(
                    &format!("{id} is looked at by {program}"),
                    answer.map(|()| "exists".to_owned()),
                );
            }
        }
    }
    findings
}

/// Whether passes can be made by the agent's configuration.
fn configuration(session: &Session) -> Result<String, String> {
    session.agent().map(|_| "valid".to_owned()).map_err(|error| error.message().to_owned())
}

/// Whether what the agent writes and reads for itself, and for those it tells, can be written and read.
fn places(session: &Session) -> Vec<(&'static str, Result<String, String>)> {
    let host = &session.host;
    let own = [("state directory", &host.places().state), ("cache", &host.places().cache)];
    let notify = session.agent().map(|agent| &agent.notify).ok();
    let file = notify.and_then(|notify| notify.file.as_ref()).map(|file| ("file of events", file));
    let written = own.into_iter().chain(file);
    let written = written.map(|(what, place)| (what, writable(&host.real(place))));
    let webhooks = notify.into_iter().flat_map(|notify| &notify.webhooks);
    let secrets = webhooks.filter_map(|webhook| webhook.secret_file.as_ref()).map(|file| {
        let secret = notify::secret(file);
        ("secret of a webhook", secret.map(|_| format!("{file} can be read")))
    });
    written.chain(secrets).collect()
}

/// Whether all that was changed can be read.
fn changes(host: &Look) -> Result<String, String> {
    let History { entries, damage } = history::read(host);
    if damage.is_empty() { Ok(counted(entries.len(), "change")) } else { Err(damage.join("; ")) }
}

/// Whether the directories of this machine are there that releases come from.
fn sources(spec: &Spec) -> Vec<(&Utf8Path, Result<(), String>)> {
    let looked = |place: &Utf8Path| is_mounted(place.as_std_path()).map_err(|e| chain(&e));
    spec.local_sources().into_iter().map(|place| (place, looked(place))).collect()
}

/// Whether the host's own definitions can be read.
fn definitions(host: &Look) -> Result<String, String> {
    let components = components(host, &mut Vec::new());
    let broken: Vec<&str> = components.iter().flat_map(|c| &c.broken).map(String::as_str).collect();
    if !broken.is_empty() {
        return Err(broken.join("; "));
    }
    let transfers = components.iter().map(|component| component.transfers.len()).sum();
    Ok(format!("{} can be read", counted(transfers, "transfer")))
}

/// Whether systemd has a keyring where signatures by its keys are demanded.
fn keyring(host: &Look, desired: &DesiredState) -> Option<Result<String, String>> {
    let specs = desired.resources.values().filter_map(|declared| match &declared.spec {
        Spec::Extension(spec) if spec.verify.keyring.is_none() => Some(spec),
        _ => None,
    });
    let signed = specs.map(|spec| {
        let demands = |t: &&Transfer| spec.level_of(t) >= Level::Signature;
        spec.transfers.iter().filter(demands).count()
    });
    let signed = signed.sum();
    if signed == 0 {
        return None;
    }
    Some(match keyrings(host) {
        Ok(found) if found.contents.is_empty() => Err(format!(
            "there is none, yet {} demand signatures; put one at {}",
            counted(signed, "transfer"),
            found.own
        )),
        Ok(found) => Ok(format!("{} read", counted(found.contents.len(), "file"))),
        Err(error) => Err(chain(&error)),
    })
}

/// The directories that have the links of an extension.
fn links(spec: &Spec) -> BTreeSet<&Utf8Path> {
    let Spec::Extension(extension) = spec else { return BTreeSet::new() };
    let links = extension.transfers.iter().filter_map(|transfer| transfer.link.as_deref());
    links.filter_map(Utf8Path::parent).collect()
}

/// Whether links in a directory can be changed.
fn linkable(host: &Look, directory: &Utf8Path) -> Result<String, String> {
    match Sealed::look(host, directory) {
        Ok(None) => writable(&host.real(directory)),
        Ok(Some(sealed)) => Err(sealed.message()),
        Err(error) => Err(chain(&error)),
    }
}

/// Whether this process may write a path, or the nearest parent that exists.
fn writable(path: &camino::Utf8Path) -> Result<String, String> {
    use rustix::fs::{Access, access};
    let existing = path.ancestors().find(|p| p.exists()).unwrap_or(path);
    match access(existing.as_std_path(), Access::WRITE_OK) {
        Ok(()) => Ok(format!("{existing} can be written")),
        Err(error) => Err(format!("{existing} cannot be written: {error}")),
    }
}
