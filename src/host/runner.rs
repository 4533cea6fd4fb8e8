//! Running programs: unit restarts and hooks.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use crate::host::renew::RENEWED;
use crate::model::check::command_line;

/// How long one hook or restart may take before it is killed.
pub const RUN_TIME_MAX: Duration = Duration::from_mins(5);

/// How long the end of a program's output is waited for once it has ended.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// How much of a program's output is kept for an error message, in bytes.
const OUTPUT_BYTES_MAX: usize = 4096;

/// How much of what a program prints is kept for those who asked for it, in bytes.
const PRINTED_BYTES_MAX: u64 = 1 << 20;

/// Where programs are looked for when nothing says so: what the C library takes.
const PATH_DEFAULT: &str = "/bin:/usr/bin";

/// Why a program did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It could not be started.
    #[error("cannot start `{program}`; is it installed and in PATH?")]
    Start {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It ran and failed.
    #[error("`{command}` failed with {status}{output}")]
    Failed {
        /// The command line.
        command: String,
        /// Exit status or signal.
        status: String,
        /// The end of what it printed.
        output: String,
    },
    /// It ran too long and was killed.
    #[error("`{command}` was killed after {} s", .after.as_secs())]
    TimedOut {
        /// The command line.
        command: String,
        /// How long it ran.
        after: Duration,
    },
}

impl RunError {
    /// Whether this says something about the program itself, and not about the host at the moment.
    pub fn blames_program(&self) -> bool {
        let no_program = Some(Errno::NOEXEC.raw_os_error());
        match self {
            Self::Failed { .. } => true,
            Self::Start { source, .. } => source.raw_os_error() == no_program,
            Self::TimedOut { .. } => false,
        }
    }
}

/// Whether a program can be found and may be run, as starting it would find it: by its path, or in PATH.
#[expect(
    clippy::disallowed_methods,
    reason = "a program is looked for where the system would look for it"
)]
pub fn can_start(program: &str) -> Result<(), RunError> {
    use rustix::fs::{Access, access};
    let may_run = |path: &Path| path.is_file() && access(path, Access::EXEC_OK).is_ok();
    let found = if program.contains('/') {
        may_run(Path::new(program))
    } else {
        let path = std::env::var_os("PATH").unwrap_or_else(|| PATH_DEFAULT.into());
        std::env::split_paths(&path).any(|directory| may_run(&directory.join(program)))
    };
    let source = || io::Error::new(io::ErrorKind::NotFound, "there is no such program");
    found
        .then_some(())
        .ok_or_else(|| RunError::Start { program: program.to_owned(), source: source() })
}

/// How the programs of operators are run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hooks {
    /// As children of this process: in its sandbox, if it has one.
    #[default]
    Child,
    /// Each as a transient unit of systemd: outside of this process's sandbox, so that what they mount or
    /// change is the host's.
    Transient,
}

/// Runs a program of an operator, without a shell, and waits for it.
pub async fn hook(
    hooks: Hooks,
    argv: &[String],
    environment: &[(&str, String)],
) -> Result<(), RunError> {
    if hooks == Hooks::Child {
        return run(argv, environment).await;
    }
    let mut unit: Vec<String> = ["systemd-run", "--wait", "--collect", "--pipe", "--quiet"]
        .into_iter()
        .chain(["--no-ask-password", "--service-type=exec"])
        .map(str::to_owned)
        .collect();
    // A unit lives on when `systemd-run` is killed.
    unit.push(format!("--property=RuntimeMaxSec={}", RUN_TIME_MAX.as_secs()));
    unit.push(format!("--description=reconcile: {}", command_line(argv)));
    unit.extend(environment.iter().map(|(key, value)| format!("--setenv={key}={value}")));
    unit.push("--".to_owned());
    // The manager expands variables in all but the program itself; `$$` is `$` in every version.
    let doubled = argv.iter().skip(1).map(|argument| argument.replace('$', "$$"));
    unit.extend(argv.first().cloned().into_iter().chain(doubled));
    run(&unit, &[]).await.map_err(|error| match error {
        RunError::Failed { status, output, .. } => {
            RunError::Failed { command: command_line(argv), status, output }
        }
        other => other,
    })
}

/// The program and everything it started, killed together unless the program [ended](Group::ended) by itself.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &tokio::process::Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self(id.and_then(Pid::from_raw))
    }

    /// What it left running on purpose goes on.
    fn ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Nobody is left when it is gone already.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Runs `argv` without a shell and waits for it. `environment` is added to our own.
pub async fn run(argv: &[String], environment: &[(&str, String)]) -> Result<(), RunError> {
    run_within(argv, environment, RUN_TIME_MAX).await
}

/// The same; after `most` it is killed with everything that it started.
pub async fn run_within(
    argv: &[String],
    environment: &[(&str, String)],
    most: Duration,
) -> Result<(), RunError> {
    start(argv, environment, (Stdio::null(), most)).await.map(|_| ())
}

/// The same; returns the first MiB of what the program prints.
pub async fn output(argv: &[String]) -> Result<String, RunError> {
    start(argv, &[], (Stdio::piped(), RUN_TIME_MAX)).await
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that runs programs")]
async fn start(
    argv: &[String],
    environment: &[(&str, String)],
    (stdout, most): (Stdio, Duration),
) -> Result<String, RunError> {
    let typed = command_line(argv);
    let Some((program, arguments)) = argv.split_first() else { return Ok(String::new()) };
    let mut child = Command::new(program)
        .args(arguments)
        .envs(environment.iter().map(|(key, value)| (*key, value.as_str())))
        // What systemd says to the agent is not meant for its children.
        .env_remove("NOTIFY_SOCKET")
        .env_remove("WATCHDOG_USEC")
        .env_remove("WATCHDOG_PID")
        .env_remove(RENEWED)
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .process_group(0)
        .spawn()
        .map_err(|source| RunError::Start { program: program.clone(), source })?;
    let group = Group::of(&child);
    let (mut said, mut printed) = (VecDeque::new(), Vec::new());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let waited = tokio::time::timeout(most, async {
        let reading = async {
            tokio::join!(keep(stdout, PRINTED_BYTES_MAX, &mut printed), keep_end(stderr, &mut said))
        };
        let mut reading = std::pin::pin!(reading);
        tokio::select! {
            status = child.wait() => {
                // A child that it left in the background keeps the pipe open: that is not waited for.
                let _ = tokio::time::timeout(LAST_WORDS, reading).await;
                status
            }
            _ = &mut reading => child.wait().await,
        }
    })
    .await;
    if waited.is_ok() {
        group.ended();
    }
    match waited {
        Err(_) => Err(RunError::TimedOut { command: typed, after: most }),
        Ok(Err(source)) => Err(RunError::Start { program: program.clone(), source }),
        Ok(Ok(status)) if status.success() => Ok(String::from_utf8_lossy(&printed).into_owned()),
        Ok(Ok(status)) => {
            let text = told(&said);
            let output = if text.is_empty() { text } else { format!(": {text}") };
            Err(RunError::Failed { command: typed, status: status.to_string(), output })
        }
    }
}

/// Reads to the end and keeps the beginning. Failing to read what a program says is no failure of its own.
async fn keep(stream: Option<impl AsyncRead + Unpin>, limit: u64, kept: &mut Vec<u8>) {
    let Some(stream) = stream else { return };
    let mut bounded = stream.take(limit);
    let _ = bounded.read_to_end(kept).await;
    let mut rest = bounded.into_inner();
    let _ = tokio::io::copy(&mut rest, &mut tokio::io::sink()).await;
}

/// Reads to the end and keeps that: what a program says last is mostly why it failed.
async fn keep_end(stream: Option<impl AsyncRead + Unpin>, kept: &mut VecDeque<u8>) {
    let Some(mut stream) = stream else { return };
    let mut buffer = [0; OUTPUT_BYTES_MAX];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        kept.extend(buffer.get(..count).unwrap_or_default());
        kept.drain(..kept.len().saturating_sub(OUTPUT_BYTES_MAX));
    }
}

/// Whether a character does something to the text around it where it is shown, or to the whole terminal.
fn changes_display(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// What a program said, in one line, wherever it is shown. Nothing in it moves a cursor or turns text around: what it
/// says may look like anything.
fn told(said: &VecDeque<u8>) -> String {
    let (one, other) = said.as_slices();
    let text = String::from_utf8_lossy(&[one, other].concat()).into_owned();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut told = if said.len() == OUTPUT_BYTES_MAX { "… ".to_owned() } else { String::new() };
    for (number, line) in lines.enumerate() {
        told.push_str(if number == 0 { "" } else { "; " });
        for c in line.chars() {
            if c != '\t' && changes_display(c) {
                told.extend(c.escape_unicode());
            } else {
                told.push(c);
            }
        }
    }
    told
}
