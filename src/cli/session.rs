//! What every command works with: arguments and environment, read once.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::time::Instant;

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use tracing_subscriber::filter::LevelFilter;

use crate::cli::CliError;
use crate::cli::args::{Cli, CommonArgs, EffectsArg, HooksArg, PassArgs};
use crate::cli::exit::Exit;
use crate::desired::{CredentialRef, DesiredState, Diagnostic, Paint, render};
use crate::fetch::client::{Client, Credentials, Roots, Settings};
use crate::host::runner::Hooks;
use crate::host::{Look, Places, clock};
use crate::model::ResourceId;
use crate::plan::guard::Removals;
use crate::provider::provide;
use crate::reconcile::{Effects, Request};
use crate::resource::app::observe::Depth;

/// Where the desired state is when nothing is said, below the root.
pub(crate) const DESIRED: &str = "/etc/reconcile/desired-state";

/// The public GitHub API, for which a token is taken from the usual places.
const GITHUB: &str = "api.github.com";

/// A token file is one line.
const TOKEN_FILE_BYTES_MAX: u64 = 8192;

/// Arguments and environment of one run.
#[derive(Debug)]
pub struct Session {
    /// Options of every command.
    pub common: CommonArgs,
    /// The host.
    pub host: Look,
    /// The time of this run.
    pub now: Timestamp,
    /// Whether to colour standard error.
    pub paint: Paint,
    /// Whether to draw progress.
    pub interactive: bool,
    /// When it began.
    pub began: Instant,
    only: BTreeSet<ResourceId>,
    environment: Environment,
}

/// The variables that are looked at.
#[derive(Debug, Default)]
struct Environment {
    github_token: Option<String>,
    credentials_directory: Option<Utf8PathBuf>,
    roots: Roots,
}

impl Session {
    /// Reads arguments and environment.
    pub fn new(cli: &Cli) -> Result<Self, CliError> {
        let common = cli.common.clone();
        let level = match common.verbose {
            0 => LevelFilter::WARN,
            1 => LevelFilter::INFO,
            2 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        };
        let interactive = std::io::stderr().is_terminal();
        let colour = interactive && variable("NO_COLOR").is_none();
        tracing_subscriber::fmt()
            .with_writer(std::io::stderr)
            .with_ansi(colour)
            .with_max_level(level)
            .with_target(false)
            .init();
        let now = common.now.unwrap_or_else(clock::now);
        let root = absolute(&common.root)?;
        let mut places = Places::default();
        if let Some(state) = directory("STATE_DIRECTORY") {
            places.state = state;
        }
        if let Some(cache) = directory("CACHE_DIRECTORY") {
            places.cache = cache;
        }
        Ok(Self {
            only: common.only.iter().cloned().collect(),
            host: Look::new(root, places).with_hooks(match cli.pass.hooks {
                HooksArg::Child => Hooks::Child,
                HooksArg::Transient => Hooks::Transient,
            }),
            now,
            paint: if colour { Paint::Coloured } else { Paint::Plain },
            interactive,
            began: Instant::now(),
            environment: Environment {
                github_token: variable("GITHUB_TOKEN"),
                credentials_directory: directory("CREDENTIALS_DIRECTORY"),
                roots: match variable("SSL_CERT_FILE").or_else(|| variable("SSL_CERT_DIR")) {
                    Some(_) => Roots::All,
                    None => Roots::Bundle,
                },
            },
            common,
        })
    }

    /// The paths of the desired state.
    pub fn desired_paths(&self) -> Vec<Utf8PathBuf> {
        if self.common.desired.is_empty() {
            vec![self.host.real(DESIRED)]
        } else {
            self.common.desired.clone()
        }
    }

    /// Reads the desired state.
    pub fn desired(&self) -> Result<DesiredState, CliError> {
        let paths: Vec<_> = self.desired_paths().into_iter().map(Into::into).collect();
        let loaded = DesiredState::load(&paths);
        let mut desired = loaded.map_err(|diagnostics| self.invalid(&diagnostics))?;
        provide(&self.host, &mut desired);
        Ok(desired)
    }

    /// The error for a desired state that is not valid.
    pub fn invalid(&self, diagnostics: &[Diagnostic]) -> CliError {
        let text = render(diagnostics, self.paint);
        crate::cli::mention(text.trim_end());
        let errors = diagnostics.len();
        let plural = if errors == 1 { "error" } else { "errors" };
        CliError::new(
            Exit::Invalid,
            format!("the desired state has {errors} {plural}; nothing was done"),
        )
    }

    /// How closely to look.
    pub fn depth(&self) -> Depth {
        if self.common.deep { Depth::Deep } else { Depth::Quick }
    }

    /// The pass that is asked for.
    pub fn request<'a>(&'a self, desired: &'a DesiredState, pass: &PassArgs) -> Request<'a> {
        Request {
            desired,
            depth: self.depth(),
            removals: if pass.confirm_removals { Removals::Confirmed } else { Removals::Guarded },
            only: (!self.only.is_empty()).then_some(&self.only),
            max_age: pass.max_age,
            effects: match pass.effects {
                EffectsArg::Auto => Effects::Auto,
                EffectsArg::Run => Effects::Run,
                EffectsArg::Skip => Effects::Skip,
            },
            now: self.now,
        }
    }

    /// The names given with --only must be wished.
    pub fn check_only(&self, desired: &DesiredState) -> Result<(), CliError> {
        for id in &self.only {
            known(desired, id)?;
        }
        Ok(())
    }

    /// The client, with the tokens that the desired state refers to.
    pub fn client(&self, desired: &DesiredState) -> Result<Client, CliError> {
        let mut credentials = Credentials::default();
        let config = |message: String| CliError::new(Exit::Config, message);
        let mut add = |host: &str, token: &str| {
            credentials.add(host, token).map_err(|e| config(e.to_string()))
        };
        if !desired.auth.contains_key(GITHUB) {
            let directory = self.environment.credentials_directory.as_ref();
            let file = directory.map(|d| d.join("github-token")).filter(|f| f.exists());
            let token = match file {
                Some(file) => Some(read_token(&file)?),
                None => self.environment.github_token.clone(),
            };
            if let Some(token) = token.filter(|t| !t.trim().is_empty()) {
                add(GITHUB, &token)?;
            }
        }
        for (host, reference) in &desired.auth {
            let token = match reference {
                CredentialRef::File(path) => read_token(path)?,
                CredentialRef::Env(name) => variable(name).ok_or_else(|| {
                    config(format!("the token for {host} should be in ${name}, which is not set"))
                })?,
                CredentialRef::Credential(name) => {
                    let directory = self.environment.credentials_directory.as_ref();
                    let directory = directory.ok_or_else(|| {
                        config(format!(
                            "the token for {host} should be the systemd credential `{name}`, but \
                             $CREDENTIALS_DIRECTORY is not set; add LoadCredential= to the unit"
                        ))
                    })?;
                    read_token(&directory.join(name))?
                }
            };
            add(host, &token)?;
        }
        let settings = Settings { roots: self.environment.roots, ..Settings::default() };
        Ok(Client::new(credentials, settings, self.now))
    }
}

/// Refuses a resource that nobody knows.
pub fn known(desired: &DesiredState, id: &ResourceId) -> Result<(), CliError> {
    if desired.resources.contains_key(id) {
        return Ok(());
    }
    let names: Vec<String> = desired.resources.keys().map(ToString::to_string).collect();
    let message = format!("{id} is not in the desired state, which has: {}", names.join(", "));
    Err(CliError::new(Exit::Usage, message))
}

fn read_token(path: &Utf8Path) -> Result<String, CliError> {
    use std::io::Read;
    let mut text = String::new();
    let read = std::fs::File::open(path)
        .and_then(|file| file.take(TOKEN_FILE_BYTES_MAX).read_to_string(&mut text));
    match read {
        Ok(_) => Ok(text),
        Err(error) => {
            Err(CliError::new(Exit::Config, format!("cannot read the token file {path}: {error}")))
        }
    }
}

fn absolute(path: &Utf8Path) -> Result<Utf8PathBuf, CliError> {
    let absolute = std::path::absolute(path).map_err(|e| CliError::io(&e))?;
    Utf8PathBuf::from_path_buf(absolute)
        .map_err(|p| CliError::new(Exit::Usage, format!("{} is not UTF-8", p.display())))
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The first of a colon-separated list, as systemd sets these.
fn directory(name: &str) -> Option<Utf8PathBuf> {
    let value = variable(name)?;
    let first = value.split(':').next()?;
    Utf8Path::new(first).is_absolute().then(|| first.into())
}
