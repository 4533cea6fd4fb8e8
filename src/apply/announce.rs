//! Telling those who listen for updates of systemd-sysupdate what was installed.
//!
//! Source: the varlink interface `io.systemd.SysUpdate.Notify` of systemd 262. Every socket in one directory is told at
//! the same time; an answer is waited for, since who is told may have to do something first, but not for ever. What
//! goes wrong is a remark.

use std::io;
use std::time::Duration;

use futures_util::future::join_all;
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout_at};

use crate::apply::Work;
use crate::host::{ItemKind, Look};
use crate::model::Step;
use crate::model::extension::Announcement;

/// Where the sockets are.
const LISTENERS: &str = "/run/systemd/sysupdate/notify";

/// The method that is called.
const METHOD: &str = "io.systemd.SysUpdate.Notify.OnCompletedUpdate";

/// Most listeners that are told: systemd has four.
const LISTENERS_MAX: usize = 64;

/// How long answers of one listener are waited for: merging extensions takes a second, and measuring a boot some more.
const PATIENCE: Duration = Duration::from_mins(1);

/// Longest answer that is read, in bytes: it says nothing but that it was heard.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// An answer, as far as it matters.
#[derive(Deserialize)]
struct Answer {
    error: Option<String>,
}

/// Tells everybody what changes installed: each listener one after another, so that one who does not answer costs a
/// pass its patience once, and not once for each change.
pub(super) async fn announce(work: &mut [Work<'_>], host: &Look) {
    let installed = work.iter().enumerate().filter(|(_, work)| work.goes_on());
    let told: Vec<(usize, &Announcement)> = installed
        .flat_map(|(at, work)| work.change.steps.iter().map(move |step| (at, step)))
        .filter_map(|(at, step)| match step {
            Step::Announce { announcement } => Some((at, announcement)),
            _ => None,
        })
        .collect();
    if told.is_empty() {
        return;
    }
    let listeners = listeners(host);
    let notes = listeners.iter().map(|name| tell_all(host, name, &told));
    for (at, note) in join_all(notes).await.into_iter().flatten() {
        if let Some(work) = work.get_mut(at) {
            work.result.notes.push(note);
        }
    }
}

/// Tells one listener everything, and gives a note for each change that it was not told of.
async fn tell_all(
    host: &Look,
    name: &str,
    told: &[(usize, &Announcement)],
) -> Vec<(usize, String)> {
    let deadline = Instant::now() + PATIENCE;
    let mut notes = Vec::new();
    for (at, announcement) in told {
        let heard = timeout_at(deadline, tell(host, name, announcement)).await;
        if let Err(error) = heard.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            notes.push((*at, format!("{LISTENERS}/{name} was not told of the update: {error}")));
        }
    }
    notes
}

/// Names of the sockets.
fn listeners(host: &Look) -> Vec<String> {
    let items = host.list(LISTENERS).ok().flatten().unwrap_or_default();
    let sockets = items.into_iter().filter(|item| item.kind == ItemKind::Other);
    let named = sockets.map(|item| item.name).filter(|name| !name.starts_with('.'));
    named.take(LISTENERS_MAX).collect()
}

/// One call: a message ends with a byte that is zero.
async fn tell(host: &Look, name: &str, announcement: &Announcement) -> io::Result<()> {
    let mut socket = UnixStream::connect(host.real(LISTENERS).join(name).as_std_path()).await?;
    let mut call = serde_json::to_vec(&json!({ "method": METHOD, "parameters": announcement }))?;
    call.push(0);
    socket.write_all(&call).await?;
    let mut answer = Vec::new();
    let mut answers = socket.take(ANSWER_BYTES_MAX);
    while !answer.ends_with(&[0]) && answers.read_buf(&mut answer).await? > 0 {}
    let whole = answer.strip_suffix(&[0]).ok_or(io::ErrorKind::UnexpectedEof)?;
    match serde_json::from_slice::<Answer>(whole)?.error {
        Some(error) => Err(io::Error::other(error)),
        None => Ok(()),
    }
}
