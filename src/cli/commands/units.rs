//! The units that keep the agent running: printed or installed.

use camino::{Utf8Path, Utf8PathBuf};

use crate::cli::args::{GitArgs, ModeArg, UnitsArgs};
use crate::cli::exit::{self, Exit};
use crate::cli::session::{DESIRED, PATIENCE, Session};
use crate::cli::{CliError, mention, say};
use crate::controller::config::PLACE;
use crate::desired::{CREDENTIALS, CredentialRef, DesiredState};
use crate::host::Look;
use crate::host::runner::run;
use crate::model::outcome::chain;
use crate::units::{self, Mode, Settings, UnitFile};

/// Where an administrator's units are.
const DIRECTORY: &str = "/etc/systemd/system";

/// The credential that is used without being named.
const GITHUB_TOKEN: &str = "github-token";

/// The same for the repository with the desired state.
const GIT_TOKEN: &str = "git-token";

/// Prints the units or installs them.
pub(super) async fn units(session: &Session, args: &UnitsArgs) -> Result<Exit, CliError> {
    let settings = settings(session, args).await?;
    let files = units::render(&settings);
    if args.install {
        return install(session, settings.mode, &files).await;
    }
    for UnitFile { name, text } in &files {
        say(&format!("# {DIRECTORY}/{name}\n{text}\n"));
    }
    Ok(Exit::Ok)
}

async fn settings(session: &Session, args: &UnitsArgs) -> Result<Settings, CliError> {
    let desired = if session.common.git.git.is_some()
        || session.desired_paths()?.iter().any(|path| path.exists())
    {
        match session.desired().await {
            Ok(desired) => {
                refuse_unusable(&desired)?;
                Some(desired)
            }
            // The agent will ask again; once it has an answer the units can be made anew.
            Err(error) if error.exit() == Exit::Unavailable => {
                mention(&format!("{}: the units allow for what is usual", error.message()));
                None
            }
            Err(error) => return Err(error),
        }
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
    let mut options: Vec<String> =
        named.iter().flat_map(|path| ["--desired".to_owned(), path.to_string()]).collect();
    // What the configuration says is read from there each time.
    options
        .extend(session.named_repository().map_or_else(Vec::new, |git| git_options(git, absolute)));
    let config = session.common.config.as_ref().map(absolute);
    options.extend(config.iter().flat_map(|path| ["--config".to_owned(), path.to_string()]));
    let metrics = session.common.metrics_file.as_ref().map(absolute);
    options.extend(metrics.iter().flat_map(|path| ["--metrics-file".to_owned(), path.to_string()]));
    let inputs = match (named.is_empty(), &session.common.git.git) {
        (false, _) => named,
        // Nobody is told of a push: the timer asks. A path unit must watch something all the same.
        (true, Some(_)) => vec![config.unwrap_or_else(|| Utf8PathBuf::from(PLACE))],
        (true, None) => match session.agent()?.desired.as_slice() {
            // The usual place is on the host, wherever that is below here.
            [] => vec![Utf8PathBuf::from(DESIRED)],
            configured => configured.to_vec(),
        },
    };
    let notify = &session.agent()?.notify;
    let also = metrics.iter().chain(&notify.file);
    let also: Vec<Utf8PathBuf> = also.filter_map(|file| Some(file.parent()?.to_owned())).collect();
    let read = read(session, &inputs)?.iter().map(absolute).collect::<Vec<_>>();
    Ok(Settings {
        mode: match args.mode {
            ModeArg::Service => Mode::Service,
            ModeArg::Timer => Mode::Timer,
        },
        program,
        options,
        places: units::places(desired.as_ref(), &read, &also),
        watched: inputs.iter().flat_map(|path| watched(path)).collect(),
        credentials: credentials(&session.host, desired.as_ref()),
    })
}

/// Whatever the agent reads to know the wish, and to tell others.
fn read(session: &Session, inputs: &[Utf8PathBuf]) -> Result<Vec<Utf8PathBuf>, CliError> {
    let (git, repository) = (&session.common.git, session.repository()?);
    let local = repository.as_ref().and_then(|repository| repository.address.local());
    let secrets = session.agent()?.notify.webhooks.iter().filter_map(|w| w.secret_file.as_ref());
    let named = [&session.common.config, &git.git_allowed_signers, &git.git_keyring];
    let named = named.into_iter().flatten().chain(inputs).chain(secrets).cloned();
    Ok(named.chain(local.map(Utf8Path::to_owned)).collect())
}

/// What stays in effect of a repository is no base for units that are to keep what it has now.
fn refuse_unusable(desired: &DesiredState) -> Result<(), CliError> {
    let trouble = desired.revision.as_ref().and_then(|revision| revision.trouble.as_ref());
    match exit::of_wish(desired) {
        exit @ (Exit::Invalid | Exit::Refused) => {
            let why = trouble.map_or("", |trouble| trouble.message.as_str());
            Err(CliError::new(exit, format!("no units are made for this desired state: {why}")))
        }
        _ => Ok(()),
    }
}

/// The options that name a repository, with paths that hold anywhere.
fn git_options(git: &GitArgs, absolute: impl Fn(&Utf8PathBuf) -> Utf8PathBuf) -> Vec<String> {
    let Some(url) = &git.git else { return Vec::new() };
    let files = [
        ("--git-allowed-signers", git.git_allowed_signers.as_ref()),
        ("--git-keyring", git.git_keyring.as_ref()),
    ];
    let files =
        files.into_iter().filter_map(|(name, file)| Some((name, absolute(file?).to_string())));
    let path = git.git_path.iter().map(|path| ("--git-path", path.to_string()));
    let all = [("--git", url.clone()), ("--ref", git.reference().to_owned())];
    let all = all.into_iter().chain(path).chain(files);
    all.flat_map(|(name, value)| [name.to_owned(), value]).collect()
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
    let usual = [GITHUB_TOKEN, GIT_TOKEN].map(ToOwned::to_owned).into_iter();
    let usual = usual.filter(|name| host.real(directory.join(name)).exists());
    let all: std::collections::BTreeSet<String> = named.chain(usual).collect();
    all.into_iter().map(|name| (name.clone(), directory.join(name))).collect()
}

async fn install(session: &Session, mode: Mode, files: &[UnitFile]) -> Result<Exit, CliError> {
    let host = session.lock(PATIENCE).await?;
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
    let after = host.look().clone();
    // The service wants the lock for its first pass.
    drop(host);
    if is_live {
        systemctl(&after, &[&["restart"], mode.enabled()].concat()).await?;
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
