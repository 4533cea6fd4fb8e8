//! The status page: one document without scripts and without anything from elsewhere.
//!
//! Everything that is not written here is escaped by `Text`, and the policy sent along allows only the one style
//! sheet, by its digest.

mod history;
mod resources;

use std::fmt::{self, Display, Write};
use std::sync::LazyLock;

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::monitor::Snapshot;
use crate::status::{Condition, State};

/// The style sheet.
const STYLE: &str = include_str!("page.css");

/// Seconds between two looks of an open page.
const REFRESH_SECONDS: u32 = 30;

/// The policy for the page's answer.
pub fn content_security_policy() -> String {
    static POLICY: LazyLock<String> = LazyLock::new(|| {
        let digest = data_encoding::BASE64.encode(&Sha256::digest(STYLE));
        format!(
            "default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'"
        )
    });
    POLICY.clone()
}

/// Something to be shown as it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<T>(pub(super) T);

impl<T: Display> Display for Text<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.to_string().chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c if deceives(c) => f.write_char('\u{fffd}')?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Controls hide what stands beside them or turn it around.
fn deceives(c: char) -> bool {
    let turns = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || (c.is_control() && c != '\n')
}

/// The page.
pub fn render(snapshot: Option<&Snapshot>, now: Timestamp) -> String {
    let title = snapshot.map_or("reconcile", |snapshot| snapshot.status.hostname.as_str());
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta http-equiv=\"refresh\" content=\"{REFRESH_SECONDS}\">\
         <title>{} · reconcile</title><style>{STYLE}</style></head><body><main>",
        Text(title)
    );
    match snapshot {
        Some(snapshot) => body(&mut html, snapshot, now),
        None => html
            .push_str("<header><h1>reconcile</h1><p>The first pass is not over yet.</p></header>"),
    }
    let _ = writeln!(
        html,
        "<footer><span>reconcile {}</span><a href=\"/status\">status</a><a href=\"/plan\">plan</a>\
         <a href=\"/history\">history</a><a href=\"/metrics\">metrics</a>\
         <a href=\"/openapi.json\">openapi</a></footer></main></body></html>",
        env!("CARGO_PKG_VERSION")
    );
    html
}

fn body(html: &mut String, snapshot: &Snapshot, now: Timestamp) {
    let status = &snapshot.status;
    let _ = write!(
        html,
        "<header><h1>{}</h1>{}<p>{}</p></header>",
        Text(&status.hostname),
        pill(status.state),
        times(snapshot, now)
    );
    tiles(html, snapshot);
    let told = |c: &&Condition| !matches!(c.kind.as_str(), "Ready" | "TrustStateLost");
    let mut told = status.conditions.iter().filter(told).peekable();
    if told.peek().is_some() {
        html.push_str("<h2>Desired state</h2><div class=\"card\">");
        for condition in told {
            let (kind, message) = (Text(&condition.kind), Text(&condition.message));
            let _ = write!(html, "<div class=\"why\">{kind}: {message}</div>");
        }
        html.push_str("</div>");
    }
    if let Some(why) = status.unmade() {
        let why = Text(why);
        let _ = write!(
            html,
            "<h2>No pass is made</h2><div class=\"card\"><div class=\"why\">{why}</div></div>"
        );
    }
    if !status.losses.is_empty() {
        html.push_str("<h2>Lost memory</h2><div class=\"card\">");
        for loss in &status.losses {
            let _ = write!(html, "<div class=\"why\">{}</div>", Text(loss));
        }
        html.push_str("</div>");
    }
    resources::waiting(html, snapshot, now);
    resources::installed(html, status, now);
    history::history(html, snapshot.newest(), now);
}

fn times(snapshot: &Snapshot, now: Timestamp) -> String {
    let status = &snapshot.status;
    let mut parts = Vec::new();
    if let Some(at) = status.last_pass_at {
        parts.push(format!("looked {}", moment(at, now)));
    }
    if let Some(at) = status.last_converged_at.filter(|at| Some(*at) != status.last_pass_at) {
        parts.push(format!("as desired {}", moment(at, now)));
    }
    if let Some(at) = snapshot.next {
        let what = if at < now { "was due" } else { "looks again" };
        parts.push(format!("{what} {}", moment(at, now)));
    }
    parts.join(" · ")
}

fn tiles(html: &mut String, snapshot: &Snapshot) {
    let count = |of: fn(State) -> bool| {
        snapshot.status.resources.iter().filter(|resource| of(resource.state)).count()
    };
    let drifted = snapshot.status.resources.iter().filter(|r| !r.drift.is_empty()).count();
    let tiles = [
        (count(|state| state == State::Current), "as desired", ""),
        (count(|state| state == State::InProgress), "pending", "wait"),
        (count(|state| state >= State::Stalled), "need attention", "bad"),
        (drifted, "drifted", "wait"),
        (count(|state| state == State::Suspended), "suspended", ""),
    ];
    html.push_str("<section class=\"tiles\">");
    for (number, what, class) in tiles {
        let class = if number > 0 { class } else { "" };
        let _ =
            write!(html, "<div class=\"tile {class}\"><b>{number}</b><span>{what}</span></div>");
    }
    html.push_str("</section>");
}

/// A state as a coloured word.
pub(super) fn pill(state: State) -> String {
    let (class, word) = match state {
        State::Current => ("ok", "as desired"),
        State::Suspended => ("calm", "suspended"),
        State::InProgress => ("wait", "pending"),
        State::Stalled => ("bad", "stalled"),
        State::Failed => ("bad", "failed"),
        State::Inconsistent => ("bad", "inconsistent"),
    };
    format!("<span class=\"pill {class}\">{word}</span>")
}

/// A time, as far as one wants to know it, with the whole of it behind.
pub(super) fn moment(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(at).as_secs();
    let (number, unit) = match seconds.unsigned_abs() {
        0..60 => (seconds.unsigned_abs(), "s"),
        60..3600 => (seconds.unsigned_abs() / 60, "min"),
        3600..172_800 => (seconds.unsigned_abs() / 3600, "h"),
        _ => (seconds.unsigned_abs() / 86_400, "d"),
    };
    let text = match seconds {
        -4..=4 => "just now".to_owned(),
        5.. => format!("{number} {unit} ago"),
        _ => format!("in {number} {unit}"),
    };
    format!("<time datetime=\"{at}\" title=\"{at}\">{text}</time>")
}
