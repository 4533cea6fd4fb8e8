//! Where the desired state comes from: paths on this host, or a repository.

use camino::{Utf8Path, Utf8PathBuf};

use crate::cli::CliError;
use crate::cli::args::{Cli, Command, GitArgs, SysupdateCommand};
use crate::cli::exit::Exit;
use crate::controller::config::GitConfig;
use crate::desired::{Diagnostic, Origin};
use crate::host::read_bounded;
use crate::model::outcome::{chain, counted};
use crate::model::revision::TroubleKind;
use crate::repository::{
    Account, Address, KEYRING_BYTES_MAX, Keys, RepositoryError, SIGNERS_BYTES_MAX, Source,
};

/// The name sent with a token where none is given: forges look at the token alone.
const ACCOUNT: &str = "git";

/// How a command reads a desired state that is in a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Asks the repository and moves this host on.
    Follow,
    /// Asks the repository and writes nothing.
    Peek,
    /// The same, and takes what the repository has, valid or not.
    Inspect,
    /// Takes what was accepted last.
    Recall,
}

impl Reading {
    /// As the command line needs it: who changes the host follows, who plans looks, all others recall.
    pub fn of(cli: &Cli) -> Self {
        let changes = match &cli.command {
            None => true,
            Some(command) => match command {
                Command::Apply { .. } | Command::Rollback { .. } | Command::Run(_) => true,
                Command::Sysupdate(args) => match args.command {
                    SysupdateCommand::Update { .. }
                    | SysupdateCommand::Vacuum
                    | SysupdateCommand::Cleanup => true,
                    SysupdateCommand::List { .. }
                    | SysupdateCommand::CheckNew
                    | SysupdateCommand::Pending
                    | SysupdateCommand::Features { .. }
                    | SysupdateCommand::Components
                    | SysupdateCommand::EnableFeature { .. }
                    | SysupdateCommand::DisableFeature { .. }
                    | SysupdateCommand::EnableComponent { .. }
                    | SysupdateCommand::DisableComponent { .. } => false,
                },
                Command::Plan { .. } | Command::Units(_) => return Self::Peek,
                Command::Validate { .. } => return Self::Inspect,
                Command::Request { .. }
                | Command::Diff { .. }
                | Command::Status { .. }
                | Command::History { .. }
                | Command::Explain { .. }
                | Command::Suspend { .. }
                | Command::Resume { .. }
                | Command::AcceptHistory { .. }
                | Command::List { .. }
                | Command::Schema { .. }
                | Command::Import { .. }
                | Command::Gc { .. }
                | Command::Discover { .. }
                | Command::Features { .. }
                | Command::Publish { .. }
                | Command::Doctor
                | Command::Completions { .. }
                | Command::Man { .. } => false,
            },
        };
        match (changes, cli.pass.dry_run) {
            (true, true) => Self::Peek,
            (true, false) => Self::Follow,
            (false, _) => Self::Recall,
        }
    }
}

/// Commands that may want to know what is desired here; the others tell about the program itself.
pub fn reads_desired(command: &Command) -> bool {
    !matches!(command, Command::Schema { .. } | Command::Completions { .. } | Command::Man { .. })
}

/// Names the repository of the agent's configuration. What the command line says about it stands above that.
pub fn complete(named: &mut GitArgs, git: GitConfig) {
    named.git = Some(git.url);
    named.reference = named.reference.take().or(git.reference);
    named.git_path = named.git_path.take().or(git.path);
    // Whose signatures count is one choice: other keys would accept what the command line refuses.
    if named.git_allowed_signers.is_none() && named.git_keyring.is_none() {
        named.git_allowed_signers = git.allowed_signers;
        named.git_keyring = git.keyring;
    }
}

/// The error for an option about a repository where none is followed.
pub fn nothing_to(option: &str) -> CliError {
    let why =
        format!("{option} is about a repository and none is followed here; give --git as well");
    CliError::new(Exit::Usage, why)
}

/// The repository that the command line names, with the keys and the token that go with it.
pub fn source(
    args: &GitArgs,
    token: Option<String>,
    ssh_command: Option<String>,
) -> Result<Option<Source>, CliError> {
    let Some(url) = &args.git else { return Ok(None) };
    let usage = |message: String| CliError::new(Exit::Usage, message);
    let path = args.git_path.as_deref().unwrap_or(Utf8Path::new(""));
    let address =
        Address::new(url, args.reference(), path.as_str()).map_err(|e| usage(e.to_string()))?;
    let signers = args.git_allowed_signers.as_deref();
    let signers = signers.map(|file| read(file, SIGNERS_BYTES_MAX)).transpose()?;
    let signers = signers.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let keyring = args.git_keyring.as_deref();
    let keyring = keyring.map(|file| read(file, KEYRING_BYTES_MAX)).transpose()?;
    let keys = Keys::read(signers.as_deref(), keyring.as_deref());
    let keys = keys.map_err(|error| CliError::new(Exit::Config, chain(&error)))?;
    let account = token.map(|token| match token.split_once(':') {
        Some((name, secret)) => Account { name: name.to_owned(), secret: secret.trim().to_owned() },
        None => Account { name: ACCOUNT.to_owned(), secret: token.trim().to_owned() },
    });
    Ok(Some(Source { address, keys, account, ssh_command }))
}

fn read(file: &Utf8Path, limit: u64) -> Result<Vec<u8>, CliError> {
    let read = std::fs::File::open(file).and_then(|file| read_bounded(file, limit));
    read.map_err(|error| CliError::new(Exit::Config, format!("cannot read {file}: {error}")))
}

/// What is read of a checkout in a directory, and by which names; relative paths are relative to `base`.
pub fn origin(source: &Source, directory: &Utf8Path, base: &Utf8Path) -> Origin {
    Origin {
        directory: directory.to_owned(),
        label: source.address.label(),
        shown: Utf8PathBuf::from(source.address.path()),
        base: base.to_owned(),
    }
}

/// The first of some mistakes in one line, and how many more there are.
pub fn first_of(diagnostics: &[Diagnostic]) -> String {
    let Some((first, more)) = diagnostics.split_first() else { return String::new() };
    let more = match more.len() {
        0 => String::new(),
        more => format!(", and {}", counted(more, "more mistake")),
    };
    let place = match first.line {
        // It is about the file as a whole.
        0 => first.file.clone(),
        line => format!("{}:{line}", first.file),
    };
    format!("{place}: {}{more}", first.title)
}

/// The error for a repository of which nothing can be used.
pub fn refused(error: &RepositoryError) -> CliError {
    let exit = match (error, error.kind()) {
        (RepositoryError::Host(_), _) => Exit::CannotWrite,
        (RepositoryError::NotACommit { .. } | RepositoryError::WithoutGit, _) => Exit::Usage,
        (RepositoryError::NothingYet { .. }, _) | (_, TroubleKind::Unreachable) => {
            Exit::Unavailable
        }
        (_, TroubleKind::Refused) => Exit::Refused,
        (_, TroubleKind::Unusable) => Exit::Invalid,
    };
    CliError::new(exit, chain(error))
}
