//! Asking the running agent for a pass: a Unix socket in the runtime directory, one line each way.
//!
//! The question is `{"only":["app/ripgrep"],"wait":true}`, the answer `{"exit":0,"message":"…"}`: at once when
//! nothing is waited for, and otherwise when a pass has been made that began after the question. Only who may
//! write to the socket (its owner) can ask.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::controller::drive::Heard;
use crate::controller::queue::Scope;
use crate::host::accept::accepted;
use crate::host::runtime::Runtime;
use crate::model::ResourceId;

/// The socket's name in the runtime directory.
pub const SOCKET: &str = "control.sock";

/// Where a new one is made.
const BESIDE: &str = "control.sock.new";

/// Longest question or answer, in bytes: ten thousand resources.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// Most that ask or wait at the same time.
const ASKING_MAX: usize = 64;

/// How long somebody who connected may take to say what is wanted.
const SAY_TIME_MAX: Duration = Duration::from_secs(5);

/// How long an agent that ends may take to hand over its last answers.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// How long an agent that goes on as another program may take to listen again, and how often it is tried.
const AGAIN_WITHIN: Duration = Duration::from_secs(10);
const AGAIN_PAUSE: Duration = Duration::from_millis(50);

/// How long nobody holds the lock of the one agent while a program goes on as another; after that there is none.
const BETWEEN_MAX: Duration = Duration::from_secs(2);

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

/// Those who ask, while they are listened to.
#[derive(Debug)]
pub struct Asking {
    listening: JoinHandle<()>,
    room: Arc<Semaphore>,
}

impl Asking {
    /// Listens to nobody any more, once everybody has the answer that there is for them.
    pub async fn end(self) {
        self.listening.abort();
        let _ = self.listening.await;
        let all = u32::try_from(ASKING_MAX).unwrap_or(u32::MAX);
        let _ = tokio::time::timeout(LAST_ANSWERS, self.room.acquire_many(all)).await;
    }
}

/// Answers questions from now on.
pub fn listen(runtime: &Runtime, heard: mpsc::Sender<Heard>) -> Result<Asking, ControlError> {
    let (path, beside) = (runtime.path(SOCKET), runtime.path(BESIDE));
    let failed = |source| ControlError::Listen { path: path.clone(), source };
    // The runtime directory is ours alone: a socket there is one that an agent left behind. It is replaced by one
    // rename, so that nobody who asks a program that is going on as another finds none.
    runtime.remove(BESIDE).map_err(failed)?;
    let listener = UnixListener::bind(&beside).map_err(failed)?;
    std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    rustix::fs::rename(beside.as_std_path(), path.as_std_path()).map_err(|e| failed(e.into()))?;
    let room = Arc::new(Semaphore::new(ASKING_MAX));
    let places = Arc::clone(&room);
    let listening = tokio::spawn(async move {
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            let accept =
                |cx: &mut Context<'_>| listener.poll_accept(cx).map_ok(|(stream, _)| stream);
            let stream = accepted(accept).await;
            let heard = heard.clone();
            tokio::spawn(async move {
                if let Err(error) = serve(stream, &heard).await {
                    tracing::debug!(%error, "somebody who asked went away");
                }
                drop(place);
            });
        }
    });
    Ok(Asking { listening, room })
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

/// Asks the agent that keeps a host. One that goes on as another program before it answers is asked again.
pub async fn ask(runtime: &Utf8Path, question: &Question) -> Result<Answer, ControlError> {
    let mut asked = ask_once(runtime, question).await;
    let until = Instant::now() + AGAIN_WITHIN;
    while matches!(asked, Err(ControlError::NoAnswer(_))) && Instant::now() < until {
        sleep(AGAIN_PAUSE).await;
        match ask_once(runtime, question).await {
            // It has ended for good.
            Err(ControlError::NoAgent { .. }) => break,
            again => asked = again,
        }
    }
    asked
}

/// Connects. A socket at which nobody listens is one at which somebody may listen in a moment.
async fn connect(runtime: &Utf8Path, path: &Utf8Path) -> io::Result<UnixStream> {
    let began = Instant::now();
    let mut claimed = began;
    loop {
        let now = Instant::now();
        if Runtime::is_held(runtime) {
            claimed = now;
        }
        let may_come = now - claimed < BETWEEN_MAX && now - began < AGAIN_WITHIN;
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && may_come => {
                sleep(AGAIN_PAUSE).await;
            }
            connected => return connected,
        }
    }
}

async fn ask_once(runtime: &Utf8Path, question: &Question) -> Result<Answer, ControlError> {
    let path = runtime.join(SOCKET);
    let connected = connect(runtime, &path).await;
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
