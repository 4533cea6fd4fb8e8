//! Asking the running agent for a pass: a Unix socket in the runtime directory, one line each way.
//!
//! The question is `{"only":["app/ripgrep"],"wait":true}`, the answer `{"exit":0,"message":"…"}`: at once when
//! nothing is waited for, and otherwise when a pass has been made that began after the question. Only who may
//! write to the socket (its owner) can ask.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::controller::drive::Heard;
use crate::controller::queue::Scope;
use crate::host::runtime::Runtime;
use crate::model::ResourceId;

/// The socket's name in the runtime directory.
pub const SOCKET: &str = "control.sock";

/// Longest question or answer, in bytes: ten thousand resources.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// Most that ask or wait at the same time.
const ASKING_MAX: usize = 64;

/// How long somebody who connected may take to say what is wanted.
const SAY_TIME_MAX: Duration = Duration::from_secs(5);

/// What is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// Only these resources; all when empty.
    #[serde(default)]
    pub only: Vec<ResourceId>,
    /// Whether to answer only when the pass has been made.
    #[serde(default)]
    pub wait: bool,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The exit code of the pass; 0 when it was not waited for.
    pub exit: u8,
    /// What happened, in one sentence.
    pub message: String,
}

/// Why the running agent could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nobody listens.
    #[error("cannot ask the agent at {path}; is `reconcile run` running on this host?")]
    NoAgent {
        /// The socket.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It ended or said nonsense.
    #[error("the agent ended before it answered; look at its log")]
    NoAnswer(#[source] io::Error),
    /// The socket could not be made.
    #[error("cannot listen on {path}; check the runtime directory")]
    Listen {
        /// The socket.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Answers questions from now on.
pub fn listen(runtime: &Runtime, heard: mpsc::Sender<Heard>) -> Result<(), ControlError> {
    let path = runtime.path(SOCKET);
    let failed = |source| ControlError::Listen { path: path.clone(), source };
    // The runtime directory is ours alone: a socket there is one that an agent left behind.
    runtime.remove(SOCKET).map_err(failed)?;
    let listener = UnixListener::bind(&path).map_err(failed)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    tokio::spawn(async move {
        let room = Arc::new(Semaphore::new(ASKING_MAX));
        while let Ok(place) = Arc::clone(&room).acquire_owned().await {
            let Ok((stream, _)) = listener.accept().await else { break };
            let heard = heard.clone();
            tokio::spawn(async move {
                if let Err(error) = serve(stream, &heard).await {
                    tracing::debug!(%error, "somebody who asked went away");
                }
                drop(place);
            });
        }
    });
    Ok(())
}

async fn serve(mut stream: UnixStream, heard: &mpsc::Sender<Heard>) -> io::Result<()> {
    let line = tokio::time::timeout(SAY_TIME_MAX, read_line(&mut stream)).await??;
    let answer = match serde_json::from_str::<Question>(&line) {
        Ok(question) => ask_loop(question, heard).await,
        // EX_USAGE.
        Err(error) => Some(Answer { exit: 64, message: format!("no such question: {error}") }),
    };
    let Some(answer) = answer else { return Ok(()) };
    write_line(&mut stream, &answer).await
}

/// `None` when the agent ends without an answer.
async fn ask_loop(question: Question, heard: &mpsc::Sender<Heard>) -> Option<Answer> {
    let scope = match question.only.as_slice() {
        [] => Scope::All,
        only => Scope::Only(only.iter().cloned().collect()),
    };
    let (reply, answer) = oneshot::channel();
    heard.send(Heard::Requested(scope, reply)).await.ok()?;
    if question.wait {
        return answer.await.ok();
    }
    Some(Answer { exit: 0, message: "a pass will be made".to_owned() })
}

/// Asks the agent that keeps a host.
pub async fn ask(runtime: &Utf8Path, question: &Question) -> Result<Answer, ControlError> {
    let path = runtime.join(SOCKET);
    let connected = UnixStream::connect(&path).await;
    let mut stream =
        connected.map_err(|source| ControlError::NoAgent { path: path.clone(), source })?;
    write_line(&mut stream, question).await.map_err(ControlError::NoAnswer)?;
    let line = read_line(&mut stream).await.map_err(ControlError::NoAnswer)?;
    serde_json::from_str(&line).map_err(|error| ControlError::NoAnswer(io::Error::other(error)))
}

async fn read_line(stream: &mut UnixStream) -> io::Result<String> {
    let mut line = String::new();
    BufReader::new(stream.take(LINE_BYTES_MAX)).read_line(&mut line).await?;
    Ok(line)
}

async fn write_line(stream: &mut UnixStream, value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value).map_err(io::Error::other)?;
    line.push(b'\n');
    stream.write_all(&line).await
}
