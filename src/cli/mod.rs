//! The command line: prints, decides nothing; the only place with exit codes and with a dry run.

pub mod args;
mod commands;
pub mod exit;
mod hints;
pub mod imagined;
pub mod named;
pub mod origin;
pub mod output;
pub mod session;
mod takes;
mod token;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::args::{Cli, Format};
use crate::cli::exit::Exit;
use crate::cli::output::answers::Validation;
use crate::cli::output::json;
use crate::cli::session::Session;

/// How long a thread for blocking work is kept without any: longer than between two files of a pass, and short of the
/// quiet after which the agent gives its memory back.
const IDLE_THREADS_KEPT: Duration = Duration::from_secs(2);

/// Why a command ended without an answer.
#[derive(Debug)]
pub struct CliError {
    exit: Exit,
    message: String,
    document: Option<Box<Validation>>,
}

impl CliError {
    /// An error with the exit code it leads to.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), document: None }
    }

    /// The same with what programs are told instead of a result.
    pub(crate) fn with_document(self, document: Validation) -> Self {
        Self { document: Some(Box::new(document)), ..self }
    }

    /// The exit code it leads to.
    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// What went wrong.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// What is wrong with a desired state that is not valid: the first mistake, where they are known.
    pub(crate) fn refusal(&self) -> Option<String> {
        let mistakes = self.document.as_ref().map(|told| told.errors.as_slice());
        let why = mistakes.map_or_else(|| self.message.clone(), origin::first_of);
        (self.exit == Exit::Invalid).then_some(why)
    }

    /// The host cannot be read or written.
    pub(crate) fn io(error: &std::io::Error) -> Self {
        let exit = match error.kind() {
            // What is there makes no sense: an operator must repair it.
            std::io::ErrorKind::InvalidData => Exit::Failed,
            _ => Exit::CannotWrite,
        };
        Self::new(exit, error.to_string())
    }
}

/// Runs the program.
pub fn main() -> ExitCode {
    crate::host::limits::raise();
    let cli = match Cli::typed() {
        Ok(cli) => cli,
        Err(error) => {
            // clap knows whether this is an error or an answer (--help), and where to print it.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Ok.into() };
        }
    };
    hints::note(&cli.common);
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = match builder.enable_all().thread_keep_alive(IDLE_THREADS_KEPT).build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("cannot start: {error}"));
            return Exit::Failed.into();
        }
    };
    let answer = runtime.block_on(async {
        // Who listens does not die of a file that may not grow any more: writing it fails, which is told.
        let _ = signal(SignalKind::from_raw(Signal::XFSZ.as_raw()));
        let session = Session::new(&cli)?;
        commands::run(&session, &cli).await
    });
    // A download or an archive that was given up must not delay the end.
    runtime.shutdown_background();
    match answer {
        Ok(exit) => exit.into(),
        Err(error) => {
            if let Some(document) = error.document.filter(|_| cli.common.output == Format::Json) {
                say(&json::document(*document));
            }
            complain(&error.message);
            error.exit.into()
        }
    }
}

/// Prints a result. A reader that went away is no error.
pub(crate) fn say(text: &str) {
    let _ = std::io::stdout().lock().write_all(hints::result(text).as_bytes());
}

/// Prints what went wrong.
pub(crate) fn complain(message: &str) {
    let _ = writeln!(std::io::stderr().lock(), "error: {}", hints::message(message));
}

/// Prints something that is not the result.
pub(crate) fn mention(message: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", hints::message(message));
}
