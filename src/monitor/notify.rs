//! Telling others what changed: webhooks, programs, a file of JSON lines, the journal.
//!
//! What cannot be delivered is logged and dropped: telling never fails or delays a pass.

use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use camino::{Utf8Path, Utf8PathBuf};
use futures_util::future::join_all;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::fetch::post::post;
use crate::host::runner::{Hooks, RunError, hook};
use crate::host::{open_regular, read_regular};
use crate::model::checked;
use crate::model::outcome::chain;
use crate::monitor::event::{Event, Severity};

/// Events that wait for a slow receiver, as a first pass over many resources makes at once; more are dropped, and the log
/// says so.
const QUEUE_MAX: usize = 10_000;

/// How long one receiver may take for one event.
const DELIVERY_TIME_MAX: Duration = Duration::from_secs(10);

/// How long a single pass may be kept from its end by those who are told of it.
pub const TELLING_TIME_MAX: Duration = Duration::from_secs(20);

/// The same for the loop, which others wait to see stopped.
pub const LAST_WORDS_TIME_MAX: Duration = Duration::from_secs(5);

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
    #[serde(deserialize_with = "checked::programs")]
    pub run: Vec<Vec<String>>,
    /// Each event is appended to this file as one line of JSON.
    #[serde(deserialize_with = "checked::path")]
    #[schemars(with = "Option<String>")]
    pub file: Option<Utf8PathBuf>,
    /// Each event is written to the systemd journal, with fields of its own.
    pub journal: bool,
}

/// A URL that is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Where to post.
    #[serde(deserialize_with = "checked::url")]
    pub url: String,
    /// A file with the secret that signs what is posted: `X-Signature: sha256=HEX`, the HMAC-SHA256 of the body.
    #[serde(default, deserialize_with = "checked::path")]
    #[schemars(with = "Option<String>")]
    pub secret_file: Option<Utf8PathBuf>,
    /// Only events of the type Warning.
    #[serde(default)]
    pub warnings_only: bool,
}

/// Tells of events: each receiver from a queue and a task of its own, so that nobody waits for another one.
#[derive(Debug)]
pub struct Notifier {
    notify: Notify,
    receivers: Vec<Receiver>,
}

/// One who is told and may take long.
#[derive(Debug)]
struct Receiver {
    queue: mpsc::Sender<Arc<Told>>,
    telling: JoinHandle<()>,
    /// What it is told of: this severity and above.
    least: Severity,
}

/// An event, and the same as JSON.
#[derive(Debug)]
struct Told {
    event: Event,
    json: String,
}

impl Receiver {
    fn start<F: Future<Output = ()> + Send>(
        least: Severity,
        tell: impl Fn(Arc<Told>) -> F + Send + 'static,
    ) -> Self {
        let (queue, mut events) = mpsc::channel(QUEUE_MAX);
        let telling = tokio::spawn(async move {
            while let Some(told) = events.recv().await {
                tell(told).await;
            }
        });
        Self { queue, telling, least }
    }
}

impl Notifier {
    /// Starts telling.
    pub fn start(notify: Notify, hooks: Hooks) -> Self {
        let webhooks = notify.webhooks.iter().cloned().map(|webhook| {
            let warnings = webhook.warnings_only;
            let least = if warnings { Severity::Warning } else { Severity::Normal };
            let webhook = Arc::new(webhook);
            Receiver::start(least, move |told| posting(Arc::clone(&webhook), told))
        });
        let programs = notify.run.iter().map(|argv| {
            let argv: Arc<[String]> = argv.clone().into();
            Receiver::start(Severity::Normal, move |told| running(Arc::clone(&argv), hooks, told))
        });
        let receivers = webhooks.chain(programs).collect();
        Self { notify, receivers }
    }

    /// Waits until everything handed over was told, but no longer than this.
    pub async fn finish(self, patience: Duration) {
        let telling = self.receivers.into_iter().map(|receiver| receiver.telling);
        if timeout(patience, join_all(telling)).await.is_err() {
            tracing::warn!("not everybody could be told what changed in time");
        }
    }

    /// Writes events down and hands them over; waits for nobody.
    pub fn tell(&self, events: Vec<Event>) {
        for event in events {
            let json = serde_json::to_string(&event).unwrap_or_default();
            self.write_down(&event, &json);
            let told = Arc::new(Told { event, json });
            let severity = told.event.severity;
            let wants = |r: &&Receiver| r.least == Severity::Normal || r.least == severity;
            for receiver in self.receivers.iter().filter(wants) {
                if receiver.queue.try_send(Arc::clone(&told)).is_err() {
                    tracing::warn!("somebody who is told of events is too slow: one is dropped");
                }
            }
        }
    }

    fn write_down(&self, event: &Event, json: &str) {
        if let Some(file) = &self.notify.file
            && let Err(error) = append(file, json)
        {
            tracing::warn!(%error, "cannot append an event to {file}");
        }
        if self.notify.journal
            && let Err(error) = journal(Utf8Path::new(JOURNAL), event)
        {
            tracing::warn!(%error, "cannot write an event to the journal");
        }
    }
}

/// Posts one event, in bounded time.
async fn posting(webhook: Arc<Webhook>, told: Arc<Told>) {
    match timeout(DELIVERY_TIME_MAX, send(&webhook, &told.json)).await {
        Ok(Ok(())) => {}
        Ok(Err(why)) => tracing::warn!("cannot tell {}: {why}", address(&webhook.url)),
        Err(_) => tracing::warn!("cannot tell {}: no answer in time", address(&webhook.url)),
    }
}

/// Runs a program for one event, in bounded time.
async fn running(argv: Arc<[String]>, hooks: Hooks, told: Arc<Told>) {
    let Told { event, json } = &*told;
    let mut environment = vec![
        ("RECONCILE_EVENT", json.clone()),
        ("RECONCILE_REASON", event.reason.clone()),
        ("RECONCILE_MESSAGE", event.message.clone()),
    ];
    let resource = event.resource.as_ref().map(ToString::to_string);
    environment.extend(resource.map(|id| ("RECONCILE_RESOURCE", id)));
    match timeout(DELIVERY_TIME_MAX, hook(hooks, &argv, &environment)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!("cannot tell a program: {}", bare(&argv, &error)),
        Err(_) => tracing::warn!("`{}` took too long for an event", program(&argv)),
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

/// The secret of a webhook.
pub fn secret(file: &Utf8Path) -> Result<Vec<u8>, String> {
    read_regular(file, SECRET_BYTES_MAX)
        .map_err(|error| format!("cannot read its secret {file}: {error}"))
}

/// The value of `X-Signature` for a body.
fn signature(file: &Utf8Path, body: &str) -> Result<String, String> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret(file)?.trim_ascii());
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
