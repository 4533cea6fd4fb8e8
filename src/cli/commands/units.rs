//! The units that keep the agent running: printed or installed.

use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};

use crate::cli::args::{ModeArg, UnitsArgs};
use crate::cli::commands::pass;
use crate::cli::exit::Exit;
use crate::cli::session::{DESIRED, Session};
use crate::cli::{CliError, mention, say};
use crate::desired::{CredentialRef, DesiredState};
use crate::host::runner::run;
use crate::host::{Change as Host, Look};
use crate::model::outcome::chain;
use crate::units::{self, Mode, Settings, UnitFile};

/// Where an administrator's units are.
const DIRECTORY: &str = "/etc/systemd/system";

/// Where tokens for units are kept.
const CREDENTIALS: &str = "/etc/reconcile/credentials";

/// The credential that is used without being named.
const GITHUB_TOKEN: &str = "github-token";

/// How long a pass that is going on is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Prints the units or installs them.
pub(super) async fn units(session: &Session, args: &UnitsArgs) -> Result<Exit, CliError> {
    let settings = settings(session, args)?;
    let files = units::render(&settings);
    if args.install {
        return install(session, settings.mode, &files).await;
    }
    for UnitFile { name, text } in &files {
        say(&format!("# {DIRECTORY}/{name}\n{text}\n"));
    }
    Ok(Exit::Ok)
}

fn settings(session: &Session, args: &UnitsArgs) -> Result<Settings, CliError> {
    let desired = if session.desired_paths().iter().any(|path| path.exists()) {
        Some(session.desired()?)
    } else {
        mention("there is no desired state yet: the units allow for what is usual");
        None
    };
    let program = match &args.program {
        Some(program) => program.clone(),
        None => std::env::current_exe()
            .ok()
            .and_then(|path| Utf8PathBuf::from_path_buf(path).ok())
            .ok_or_else(|| CliError::new(Exit::Usage, "say with --program which program to run"))?,
    };
    let absolute = |path: &Utf8PathBuf| {
        path.canonicalize_utf8().or_else(|_| camino::absolute_utf8(path)).unwrap_or(path.clone())
    };
    let named: Vec<Utf8PathBuf> = session.common.desired.iter().map(absolute).collect();
    let options: Vec<String> =
        named.iter().flat_map(|path| ["--desired".to_owned(), path.to_string()]).collect();
    // The usual place is on the host, wherever that is below here.
    let inputs = if named.is_empty() { vec![Utf8PathBuf::from(DESIRED)] } else { named };
    Ok(Settings {
        mode: match args.mode {
            ModeArg::Service => Mode::Service,
            ModeArg::Timer => Mode::Timer,
        },
        program,
        options,
        places: units::places(desired.as_ref(), &inputs),
        watched: inputs.iter().flat_map(|path| watched(path)).collect(),
        credentials: credentials(&session.host, desired.as_ref()),
    })
}

/// What changes when the desired state does. In a checkout `git pull` touches nothing of the directory itself
/// when only a file further down changes, but it always adds to the log of `HEAD`.
fn watched(input: &Utf8Path) -> Vec<Utf8PathBuf> {
    let log = input.ancestors().map(|dir| dir.join(".git/logs/HEAD")).find(|log| log.exists());
    log.into_iter().chain([input.to_owned()]).collect()
}

/// The credentials that the desired state names, and the usual one where it is there: a unit whose credential is
/// missing does not start.
fn credentials(host: &Look, desired: Option<&DesiredState>) -> Vec<(String, Utf8PathBuf)> {
    let directory = Utf8Path::new(CREDENTIALS);
    let named = desired.into_iter().flat_map(|d| d.auth.values()).filter_map(|auth| match auth {
        CredentialRef::Credential(name) => Some(name.clone()),
        CredentialRef::File(_) | CredentialRef::Env(_) => None,
    });
    let usual = Some(GITHUB_TOKEN.to_owned());
    let usual = usual.filter(|name| host.real(directory.join(name)).exists());
    let all: std::collections::BTreeSet<String> = named.chain(usual).collect();
    all.into_iter().map(|name| (name.clone(), directory.join(name))).collect()
}

async fn install(session: &Session, mode: Mode, files: &[UnitFile]) -> Result<Exit, CliError> {
    let locked = Host::lock(session.host.clone(), PATIENCE).await;
    let host = locked.map_err(|error| pass::locked(&error))?;
    let directory = Utf8Path::new(DIRECTORY);
    let stale: Vec<&str> =
        units::ALL.into_iter().filter(|name| !mode.enabled().contains(name)).collect();
    let stale: Vec<&str> =
        stale.into_iter().filter(|name| host.real(directory.join(name)).exists()).collect();
    if !stale.is_empty() {
        // What the other mode enabled; the service itself is not enabled beside a timer.
        systemctl(&host, &[&["disable"], now(&host), &stale].concat()).await?;
    }
    let io = |e: std::io::Error| CliError::io(&e);
    host.make_dirs(directory).map_err(io)?;
    for name in units::ALL.iter().filter(|name| files.iter().all(|file| file.name != **name)) {
        host.remove(directory.join(name)).map_err(io)?;
    }
    for UnitFile { name, text } in files {
        host.write(directory.join(name), text.as_bytes()).map_err(io)?;
    }
    let is_live = host.is_live();
    if is_live {
        systemctl(&host, &["daemon-reload"]).await?;
    }
    systemctl(&host, &[&["enable"], mode.enabled()].concat()).await?;
    let look = host.look().clone();
    // The service wants the lock for its first pass.
    drop(host);
    if is_live {
        systemctl(&look, &[&["restart"], mode.enabled()].concat()).await?;
    }
    for UnitFile { name, .. } in files {
        say(&format!("Installed {}\n", session.host.real(directory.join(name))));
    }
    let verb = if is_live { "Enabled and started" } else { "Enabled" };
    say(&format!("{verb} {}\n", mode.enabled().join(", ")));
    Ok(Exit::Ok)
}

fn now(host: &Look) -> &'static [&'static str] {
    if host.is_live() { &["--now"] } else { &[] }
}

async fn systemctl(host: &Look, arguments: &[&str]) -> Result<(), CliError> {
    let mut argv = vec!["systemctl".to_owned(), "--no-ask-password".to_owned()];
    if !host.is_live() {
        argv.push(format!("--root={}", host.root()));
    }
    argv.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    run(&argv, &[]).await.map_err(|error| CliError::new(Exit::Failed, chain(&error)))
}
