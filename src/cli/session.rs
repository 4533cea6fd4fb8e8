//! What every command works with: arguments and environment, read once.

mod checkout;
mod credentials;
mod kept;
mod parsed;
mod remembered;

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::rc::Rc;
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use jiff::{SignedDuration, Timestamp};
use tracing_subscriber::filter::LevelFilter;

use crate::cli::CliError;
use crate::cli::args::{Cli, CommonArgs, EffectsArg, GitArgs, HooksArg, PassArgs, WindowsArg};
use crate::cli::exit::Exit;
use crate::cli::imagined::Imagined;
use crate::cli::named::{Named, wished};
use crate::cli::origin::{self, Reading};
use crate::cli::output::answers::Validation;
use crate::cli::output::json::verdict;
use crate::cli::token::read_token;
use crate::controller::config::AgentConfig;
use crate::desired::{DesiredState, Diagnostic, Paint, Selection, SourceText, render};
use crate::fetch::Backoff;
use crate::fetch::client::Roots;
use crate::host::renew::RENEWED;
use crate::host::runner::Hooks;
use crate::host::{Change, LockError, Look, Places, clock, facts};
use crate::model::ResourceId;
use crate::model::outcome::chain;
use crate::model::plan::PlanMetadata;
use crate::model::selection::Identity;
use crate::plan::guard::Removals;
use crate::plan::hold::Holds;
use crate::provider::{self, provide};
use crate::reconcile::{Effects, Request};
use crate::record::ledger;
use crate::repository::{Checkout, Source};
use crate::resource::observe::Depth;

use parsed::Parsed;
pub use parsed::Texts;

/// Where the desired state is when nothing is said, below the root.
pub(crate) const DESIRED: &str = "/etc/reconcile/desired-state";

/// How long a pass waits for another to end: whoever asked for it may ask again.
pub const AT_ONCE: Duration = Duration::ZERO;

/// How long a decision or a small job waits for a pass to end.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Arguments and environment of one run.
#[derive(Clone, Debug)]
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
    /// Whether restarts and hooks run.
    pub effects: Effects,
    /// How requests are tried again within a pass.
    pub backoff: Backoff,
    environment: Environment,
    agent: OnceCell<AgentConfig>,
    reading: Reading,
    /// Whether the repository is the one that the agent's configuration names, as it names it.
    follows_configured: bool,
    lock_timeout: Option<Duration>,
    /// The other host that is planned for.
    imagined: Option<Rc<Imagined>>,
    /// What a preview fetched is there as long as the session.
    held: RefCell<Option<Rc<Checkout>>>,
    /// What was said last about a desired state that is not valid; the same for every copy of the session.
    told: Rc<RefCell<Option<String>>>,
    /// The texts of the valid wish of files that was read last, until they are kept.
    valid: RefCell<Option<Vec<SourceText>>>,
    /// The wish that was parsed last; the same for every copy of the session.
    parsed: Rc<RefCell<Option<Parsed>>>,
}

/// The variables that are looked at.
#[derive(Clone, Debug, Default)]
struct Environment {
    github_token: Option<String>,
    git_token: Option<String>,
    git_ssh_command: Option<String>,
    credentials_directory: Option<Utf8PathBuf>,
    roots: Roots,
    renewed: bool,
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
            // It would say so where nobody reads, and end the program over that.
            .log_internal_errors(false)
            .init();
        let now = common.clock.unwrap_or_else(clock::now);
        let root = absolute(&common.root)?;
        let imagined = Imagined::of(cli)?;
        let host = match &imagined {
            Some(imagined) => imagined.look()?,
            None => Look::new(root, places()),
        };
        let mut session = Self {
            host: host.with_hooks(match cli.pass.hooks {
                HooksArg::Child => Hooks::Child,
                HooksArg::Transient => Hooks::Transient,
            }),
            imagined: imagined.map(Rc::new),
            now,
            paint: if colour { Paint::Coloured } else { Paint::Plain },
            interactive,
            began: Instant::now(),
            effects: match cli.pass.effects {
                EffectsArg::Auto => Effects::Auto,
                EffectsArg::Run => Effects::Run,
                EffectsArg::Skip => Effects::Skip,
            },
            backoff: Backoff::default(),
            environment: Environment {
                github_token: variable("GITHUB_TOKEN"),
                git_token: variable("RECONCILE_GIT_TOKEN"),
                git_ssh_command: variable("GIT_SSH_COMMAND"),
                credentials_directory: directory("CREDENTIALS_DIRECTORY"),
                renewed: variable(RENEWED).is_some(),
                roots: match variable("SSL_CERT_FILE").or_else(|| variable("SSL_CERT_DIR")) {
                    Some(_) => Roots::All,
                    None => Roots::Bundle,
                },
            },
            agent: OnceCell::new(),
            common,
            reading: Reading::of(cli),
            follows_configured: false,
            lock_timeout: cli.pass.lock_timeout.map(SignedDuration::unsigned_abs),
            held: RefCell::new(None),
            told: Rc::default(),
            valid: RefCell::default(),
            parsed: Rc::default(),
        };
        if cli.command.as_ref().is_none_or(origin::reads_desired) {
            session.follow_configured()?;
            session.follow_remembered(cli);
        }
        Ok(session)
    }

    /// Follows the repository of the agent's configuration where the command line names nothing else; what the
    /// command line says about it stands above the configuration. A configuration that cannot be read is reported
    /// by whoever needs it.
    fn follow_configured(&mut self) -> Result<(), CliError> {
        let needed = self.common.git.loose_option();
        let silent = self.common.desired.is_empty() && self.common.git.git.is_none();
        let configured = match silent.then(|| self.agent()) {
            Some(Err(error)) if needed.is_some() => return Err(error),
            agent => agent.and_then(Result::ok).and_then(|agent| agent.git.clone()),
        };
        match (configured, needed) {
            (Some(git), _) => origin::complete(&mut self.common.git, git),
            (None, Some(option)) => return Err(origin::nothing_to(option)),
            (None, None) => return Ok(()),
        }
        self.follows_configured = needed.is_none();
        Ok(())
    }

    /// The repository that the command line names or says something about; the one that the agent's configuration
    /// names is none.
    pub fn named_repository(&self) -> Option<&GitArgs> {
        Some(&self.common.git).filter(|git| git.git.is_some() && !self.follows_configured)
    }

    /// Refuses a root that is not there and could not be made as an empty host: a path with a wrong name in it.
    pub fn check_root(&self) -> Result<(), CliError> {
        let root = self.host.root();
        if root.is_dir() {
            return Ok(());
        }
        if !root.exists() && root.parent().is_some_and(Utf8Path::is_dir) {
            crate::cli::mention(&format!("the root {root} does not exist: an empty host"));
            return Ok(());
        }
        let why = match root.parent().filter(|parent| !parent.exists()) {
            Some(parent) => format!(
                "the root {root} cannot be an empty host, as {parent} does not exist; make that directory, or \
                 correct --root"
            ),
            None => format!("the root {root} is no directory; correct --root"),
        };
        Err(CliError::new(Exit::Usage, why))
    }

    /// The same, reading the desired state where a plan was made from it, unless the command line says where.
    #[must_use]
    pub fn reading(&self, plan: &PlanMetadata) -> Self {
        let mut session = self.clone();
        if plan.revision.is_none() && self.common.desired.is_empty() {
            session.common.desired = plan.desired.iter().map(Utf8PathBuf::from).collect();
            session.common.git.git = None;
        }
        session
    }

    /// The paths of the desired state.
    pub fn desired_paths(&self) -> Result<Vec<Utf8PathBuf>, CliError> {
        if !self.common.desired.is_empty() {
            return Ok(self.common.desired.clone());
        }
        let configured = &self.agent()?.desired;
        Ok(if configured.is_empty() { vec![self.host.real(DESIRED)] } else { configured.clone() })
    }

    /// The agent's own configuration.
    pub fn agent(&self) -> Result<&AgentConfig, CliError> {
        if let Some(agent) = self.agent.get() {
            return Ok(agent);
        }
        let agent = AgentConfig::load(&self.host, self.common.config.as_ref());
        let agent = agent.map_err(|e| CliError::new(Exit::Config, chain(&e)))?;
        Ok(self.agent.get_or_init(|| agent))
    }

    /// What the plan of a pass leaves for later.
    pub fn holds(&self, desired: &DesiredState, pass: &PassArgs) -> Result<Holds, CliError> {
        Ok(match pass.windows {
            WindowsArg::Keep => Holds::by_windows(desired, &self.agent()?.windows(), self.now),
            WindowsArg::Ignore => Holds::NONE,
        })
    }

    /// The same for a pass that begins now.
    #[must_use]
    pub fn renewed(mut self) -> Self {
        self.now = self.time();
        self
    }

    /// The time at this moment.
    pub fn time(&self) -> Timestamp {
        self.common.clock.unwrap_or_else(clock::now)
    }

    /// How long a lock is waited for: as the command line says, or else so long.
    pub fn patience(&self, usual: Duration) -> Duration {
        self.lock_timeout.unwrap_or(usual)
    }

    /// Takes the lock of the host, waiting as long for another pass as the command line says, or else as long as
    /// the command does by itself.
    pub async fn lock(&self, patience: Duration) -> Result<Change, CliError> {
        let host = Change::lock(self.host.clone(), self.patience(patience)).await;
        host.map_err(|error| locked(&error))
    }

    /// Reads the desired state: the part of it that is for this host. From a repository it is fetched first, if the
    /// command is one that does so.
    pub async fn desired(&self) -> Result<DesiredState, CliError> {
        let identity = self.identity()?;
        let mut desired = match self.repository()? {
            Some(source) => {
                let checkout = self.checkout(&source, &identity).await?;
                let mut desired = self.read_checkout(&source, &checkout, &identity)?;
                desired.repository = remembered::repository(&self.common.git);
                *self.held.borrow_mut() = Some(Rc::new(checkout));
                desired
            }
            None => self.read_files(&identity)?,
        };
        if desired.selection == Selection::Nothing {
            desired.notes.push(format!(
                "nothing in the desired state is for {}: nothing is changed and nothing removed",
                identity.hostname
            ));
        }
        provide(&self.host, &mut desired);
        Ok(desired)
    }

    /// Whether the files of the desired state say something else than they did. What a repository says is only
    /// known when it is asked.
    pub fn was_edited_since(&self, desired: &DesiredState) -> Result<bool, CliError> {
        if self.common.git.git.is_some() {
            return Ok(false);
        }
        let paths: Vec<_> = self.desired_paths()?.into_iter().map(Into::into).collect();
        let identity = self.identity()?;
        let Ok(texts) = DesiredState::texts_for(&paths, &identity) else { return Ok(true) };
        if desired.differs_from(&texts) {
            return Ok(true);
        }
        if desired.documents == desired.digest {
            // Nothing but the documents went into it.
            return Ok(false);
        }
        Ok(desired.definitions.as_ref() != Some(&provider::Texts::read(&self.host).digest()))
    }

    /// Reads the desired state; where there is none at all, nothing is wished, and what is installed can still be told.
    pub async fn desired_if_any(&self) -> Result<DesiredState, CliError> {
        let paths = self.desired_paths()?;
        if self.common.git.git.is_some() || paths.iter().any(|path| path.exists()) {
            return self.desired().await;
        }
        let shown: Vec<&str> = paths.iter().map(|path| path.as_str()).collect();
        crate::cli::mention(&format!(
            "there is no desired state: {} does not exist",
            shown.join(", ")
        ));
        DesiredState::from_texts(Vec::new()).map_err(|diagnostics| self.invalid(&diagnostics))
    }

    /// Whether this process was another program before.
    pub fn is_renewed(&self) -> bool {
        self.environment.renewed
    }

    /// What this host is chosen by.
    pub fn identity(&self) -> Result<Identity, CliError> {
        if let Some(imagined) = &self.imagined {
            return Ok(imagined.identity().clone());
        }
        facts::identity(&self.host).map_err(|why| CliError::new(Exit::Config, why))
    }

    /// The other host that is planned for.
    pub fn imagined(&self) -> Option<&Imagined> {
        self.imagined.as_deref()
    }

    /// The repository that is followed, if one is.
    pub fn repository(&self) -> Result<Option<Source>, CliError> {
        if self.common.git.git.is_none() {
            return Ok(None);
        }
        let directory = self.environment.credentials_directory.as_ref();
        let file = directory.map(|d| d.join("git-token")).filter(|f| f.exists());
        let token = match file {
            Some(file) => Some(read_token(&file)?),
            None => self.environment.git_token.clone(),
        };
        let token = token.filter(|token| !token.trim().is_empty());
        origin::source(&self.common.git, token, self.environment.git_ssh_command.clone())
            .map_err(|error| self.of_this_machine(error))
    }

    /// Says, where another root is managed, that keys and tokens are not looked for below it.
    fn of_this_machine(&self, error: CliError) -> CliError {
        if self.host.is_live() || error.exit() != Exit::Config {
            return error;
        }
        let rule = "keys and tokens are read on this machine, not below --root";
        CliError::new(error.exit(), format!("{}; {rule}", error.message()))
    }

    /// Says what is wrong with a desired state, unless it was said before.
    fn tell_once(&self, diagnostics: &[Diagnostic]) {
        let text = render(diagnostics, self.paint);
        if self.told.borrow().as_ref() != Some(&text) {
            crate::cli::mention(text.trim_end());
            self.told.replace(Some(text));
        }
    }

    /// The error for a desired state that is not valid.
    pub fn invalid(&self, diagnostics: &[Diagnostic]) -> CliError {
        self.tell_once(diagnostics);
        let errors = diagnostics.len();
        let plural = if errors == 1 { "error" } else { "errors" };
        CliError::new(Exit::Invalid, format!("the desired state has {errors} {plural}"))
            .with_document(self.refusal(diagnostics))
    }

    /// What programs are told of a desired state that is not valid.
    fn refusal(&self, diagnostics: &[Diagnostic]) -> Validation {
        let roots = match self.repository() {
            Ok(Some(source)) => vec![source.address.label()],
            _ => self.desired_paths().unwrap_or_default().iter().map(ToString::to_string).collect(),
        };
        verdict(&roots, None, Err(diagnostics))
    }

    /// How closely to look.
    pub fn depth(&self) -> Depth {
        if self.common.deep { Depth::Deep } else { Depth::Quick }
    }

    /// The pass that is asked for.
    pub fn request<'a>(
        &'a self,
        desired: &'a DesiredState,
        holds: &'a Holds,
        pass: &PassArgs,
    ) -> Request<'a> {
        Request {
            desired,
            holds,
            depth: self.depth(),
            removals: if pass.confirm_removals { Removals::Confirmed } else { Removals::Guarded },
            only: None,
            max_age: pass.max_age,
            effects: self.effects,
            now: self.now,
        }
    }

    /// The resource that is meant, wished or installed.
    pub fn find(&self, named: &Named, desired: &DesiredState) -> Result<ResourceId, CliError> {
        let ledger = ledger::look(&self.host).map_err(|e| CliError::io(&e))?;
        named.here(ledger.ids(), Ok(desired))
    }

    /// The resources that were given with --only, which must be wished; `None` where none was.
    pub fn only(&self, desired: &DesiredState) -> Result<Option<BTreeSet<ResourceId>>, CliError> {
        let mut only = BTreeSet::new();
        for named in &self.common.only {
            let id = self.find(named, desired)?;
            wished(desired, &id)?;
            only.insert(id);
        }
        Ok((!only.is_empty()).then_some(only))
    }
}

/// The error for a lock that was not had.
fn locked(error: &LockError) -> CliError {
    let exit = match error {
        LockError::Held { .. } => Exit::Locked,
        LockError::Unwritable { .. } => Exit::CannotWrite,
    };
    CliError::new(exit, crate::model::outcome::chain(error))
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

/// Where the state is: where systemd says, else the usual places.
fn places() -> Places {
    let usual = Places::default();
    Places {
        state: directory("STATE_DIRECTORY").unwrap_or(usual.state),
        cache: directory("CACHE_DIRECTORY").unwrap_or(usual.cache),
        runtime: directory("RUNTIME_DIRECTORY").unwrap_or(usual.runtime),
        // As systemd-sysupdate reads it.
        keyring: variable("SYSTEMD_OPENPGP_KEYRING").map(Utf8PathBuf::from),
    }
}

/// The first of a colon-separated list, as systemd sets these.
fn directory(name: &str) -> Option<Utf8PathBuf> {
    let value = variable(name)?;
    let first = value.split(':').next()?;
    Utf8Path::new(first).is_absolute().then(|| first.into())
}
