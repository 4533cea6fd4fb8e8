//! Telling others what changed: webhooks, programs, a file of JSON lines, the journal.
//!
//! What cannot be delivered is logged and dropped: telling never fails or delays a pass.

use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use aws_lc_rs::hmac;
use camino::{Utf8Path, Utf8PathBuf};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::fetch::post::post;
use crate::host::runner::{Hooks, RunError, hook};
use crate::host::{Look, open_regular, read_regular};
use crate::model::outcome::chain;
use crate::monitor::event::{Event, Severity};

/// Events that wait for a slow receiver; more are dropped, and the log says so.
const QUEUE_MAX: usize = 1000;

/// How long one receiver may take for one event.
const DELIVERY_TIME_MAX: Duration = Duration::from_secs(10);

/// How long a single pass may be kept from its end by those who are told of it.
pub const TELLING_TIME_MAX: Duration = Duration::from_secs(20);

/// The same for the loop, which others wait to see stopped.
const LAST_WORDS_TIME_MAX: Duration = Duration::from_secs(5);

/// A secret is one line, in bytes.
const SECRET_BYTES_MAX: u64 = 4096;

/// Size at which the file of events becomes `FILE.1`, in bytes.
const ROTATE_BYTES: u64 = 1 << 20;

/// Longest text of one field in the journal, in bytes: one datagram holds it.
const FIELD_BYTES_MAX: usize = 16 << 10;

/// The journal's own socket, by its native protocol.
const JOURNAL: &str = "/run/systemd/journal/socket";

/// Who is told what changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Notify {
    /// Each event is posted there as JSON.
    pub webhooks: Vec<Webhook>,
    /// Programs with their arguments, without a shell; the event is in `RECONCILE_EVENT` as JSON.
    pub run: Vec<Vec<String>>,
    /// Each event is appended to this file as one line of JSON.
    #[schemars(with = "Option<String>")]
    pub file: Option<Utf8PathBuf>,
    /// Each event is written to the systemd journal, with fields of its own.
    pub journal: bool,
}

impl Notify {
    /// The same for a host below another directory: files are below it, and nothing is told beyond them.
    #[must_use]
    pub fn below(&self, host: &Look) -> Self {
        let file = self.file.as_ref().map(|file| host.real(file));
        Self { file, ..Self::default() }
    }
}

/// A URL that is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Where to post.
    pub url: String,
    /// A file with the secret that signs what is posted: `X-Signature: sha256=HEX`, the HMAC-SHA256 of the body.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub secret_file: Option<Utf8PathBuf>,
    /// Only events of the type Warning.
    #[serde(default)]
    pub warnings_only: bool,
}

/// Tells of events from a task of its own.
#[derive(Debug)]
pub struct Notifier {
    queue: mpsc::Sender<Event>,
    telling: JoinHandle<()>,
}

impl Notifier {
    /// Starts telling.
    pub fn start(notify: Notify, hooks: Hooks) -> Self {
        let (queue, mut events) = mpsc::channel(QUEUE_MAX);
        let telling = tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                deliver(&notify, hooks, &event).await;
            }
        });
        Self { queue, telling }
    }

    /// Waits until everything handed over was told, as long as is reasonable.
    pub async fn finish(self) {
        drop(self.queue);
        if timeout(LAST_WORDS_TIME_MAX, self.telling).await.is_err() {
            tracing::warn!("not everybody could be told what changed in time");
        }
    }

    /// Hands events over; returns at once.
    pub fn tell(&self, events: Vec<Event>) {
        for event in events {
            if self.queue.try_send(event).is_err() {
                tracing::warn!("somebody who is told of events is too slow: one is dropped");
            }
        }
    }
}

/// Tells one event to everybody, in bounded time.
pub async fn deliver(notify: &Notify, hooks: Hooks, event: &Event) {
    let json = serde_json::to_string(event).unwrap_or_default();
    if let Some(file) = &notify.file
        && let Err(error) = append(file, &json)
    {
        tracing::warn!(%error, "cannot append an event to {file}");
    }
    if notify.journal
        && let Err(error) = journal(Utf8Path::new(JOURNAL), event)
    {
        tracing::warn!(%error, "cannot write an event to the journal");
    }
    for webhook in &notify.webhooks {
        if webhook.warnings_only && event.severity != Severity::Warning {
            continue;
        }
        let posting = tokio::time::timeout(DELIVERY_TIME_MAX, send(webhook, &json));
        match posting.await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => tracing::warn!("cannot tell {}: {why}", address(&webhook.url)),
            Err(_) => tracing::warn!("cannot tell {}: no answer in time", address(&webhook.url)),
        }
    }
    for argv in &notify.run {
        let mut environment = vec![
            ("RECONCILE_EVENT", json.clone()),
            ("RECONCILE_REASON", event.reason.clone()),
            ("RECONCILE_MESSAGE", event.message.clone()),
        ];
        let resource = event.resource.as_ref().map(ToString::to_string);
        environment.extend(resource.map(|id| ("RECONCILE_RESOURCE", id)));
        match tokio::time::timeout(DELIVERY_TIME_MAX, hook(hooks, argv, &environment)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("cannot tell a program: {}", bare(argv, &error)),
            Err(_) => tracing::warn!("`{}` took too long for an event", program(argv)),
        }
    }
}

/// What of a webhook's URL may be logged: the rest of many is a secret.
fn address(url: &str) -> String {
    let url = reqwest::Url::parse(url).ok();
    let address = url.and_then(|url| Some(format!("{}://{}", url.scheme(), url.host_str()?)));
    address.unwrap_or_else(|| "a webhook".to_owned())
}

fn program(argv: &[String]) -> &str {
    argv.first().map_or("a program", String::as_str)
}

/// Why a program failed, without its arguments and what it printed: there may be secrets in both.
fn bare(argv: &[String], error: &RunError) -> String {
    match error {
        RunError::Start { .. } => chain(error),
        RunError::Failed { status, .. } => format!("`{}` failed with {status}", program(argv)),
        RunError::TimedOut { after, .. } => {
            format!("`{}` was killed after {} s", program(argv), after.as_secs())
        }
    }
}

async fn send(webhook: &Webhook, json: &str) -> Result<(), String> {
    let signature = webhook.secret_file.as_deref().map(|file| signature(file, json)).transpose()?;
    let headers: Vec<(&'static str, String)> =
        signature.into_iter().map(|signature| ("x-signature", signature)).collect();
    match post(&webhook.url, json.to_owned(), &headers).await {
        Ok(status) if (200..300).contains(&status) => Ok(()),
        Ok(status) => Err(format!("it answers {status}")),
        Err(error) => Err(chain(&error)),
    }
}

/// The value of `X-Signature` for a body.
fn signature(file: &Utf8Path, body: &str) -> Result<String, String> {
    let secret = read_regular(file, SECRET_BYTES_MAX)
        .map_err(|error| format!("cannot read its secret {file}: {error}"))?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.trim_ascii());
    let tag = hmac::sign(&key, body.as_bytes());
    Ok(format!("sha256={}", data_encoding::HEXLOWER.encode(tag.as_ref())))
}

#[expect(clippy::disallowed_methods, reason = "a log the operator named, not the managed host")]
fn append(file: &Utf8Path, line: &str) -> std::io::Result<()> {
    if file.metadata().is_ok_and(|metadata| metadata.len() > ROTATE_BYTES) {
        std::fs::rename(file, format!("{file}.1"))?;
    }
    let mut file = open_regular(file, std::fs::OpenOptions::new().create(true).append(true))?;
    file.write_all(format!("{line}\n").as_bytes())
}

/// One entry by the journal's native protocol: `NAME=VALUE` lines, or `NAME`, the length as a little-endian
/// 64-bit number and the value where that has more than one line.
fn journal(socket: &Utf8Path, event: &Event) -> std::io::Result<()> {
    let priority = if event.severity == Severity::Warning { "4" } else { "6" };
    let resource = event.resource.as_ref().map(ToString::to_string).unwrap_or_default();
    let subject = if resource.is_empty() { event.hostname.clone() } else { resource.clone() };
    let fields = [
        ("MESSAGE", format!("{subject}: {}: {}", event.reason, event.message)),
        ("PRIORITY", priority.to_owned()),
        ("SYSLOG_IDENTIFIER", "reconcile".to_owned()),
        ("MESSAGE_ID", event.message_id()),
        ("RECONCILE_RESOURCE", resource),
        ("RECONCILE_REASON", event.reason.clone()),
        ("RECONCILE_PLAN", event.plan.clone()),
    ];
    let mut datagram = Vec::new();
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
        let value = value.as_bytes();
        let value = value.get(..FIELD_BYTES_MAX).unwrap_or(value);
        datagram.extend_from_slice(name.as_bytes());
        datagram.push(b'\n');
        datagram.extend_from_slice(&(value.len() as u64).to_le_bytes());
        datagram.extend_from_slice(value);
        datagram.push(b'\n');
    }
    let sender = UnixDatagram::unbound()?;
    // A journal that does not read must not hold us up.
    sender.set_nonblocking(true)?;
    sender.send_to(&datagram, socket).map(drop)
}
