//! What is installed, what is not and why.

use std::fmt::Write;

use jiff::Timestamp;

use crate::model::{Digest, Drift, ResourceId};
use crate::monitor::Snapshot;
use crate::monitor::page::{Text, moment, pill};
use crate::status::{Condition, HostStatus, ResourceStatus, State};

/// Drifted paths shown of one resource.
const PATHS_SHOWN: usize = 20;

/// Digits of a digest that tell it from others.
const DIGITS_SHOWN: usize = 12;

/// Everything that is not as wished, and why.
pub(super) fn waiting(html: &mut String, snapshot: &Snapshot, now: Timestamp) {
    let blocked = &snapshot.plan.spec.blocked;
    let waiting = snapshot.status.resources.iter().filter(|resource| {
        // What is suspended says so where it stands; a source that is down takes nothing from what is installed.
        let left_out = blocked.iter().any(|blocked| blocked.resource == resource.id);
        resource.state > State::Suspended || (left_out && resource.state == State::Current)
    });
    let mut waiting = waiting.peekable();
    if waiting.peek().is_none() {
        return;
    }
    html.push_str("<h2>Pending</h2><div class=\"card\">");
    for resource in waiting {
        let _ = write!(html, "<div class=\"why\">{} {}", id(&resource.id), pill(resource.state));
        let ready = resource.conditions.iter().find(|c| c.kind == "Ready" && c.status == "False");
        if let Some(ready) = ready {
            let _ = write!(
                html,
                "<p><span class=\"soft\">{}{}</span><br>{}</p>",
                Text(&ready.reason),
                since(ready.last_transition_time, now),
                Text(&ready.message)
            );
        }
        for blocked in blocked.iter().filter(|blocked| blocked.resource == resource.id) {
            if ready.is_none_or(|ready| ready.message != blocked.message) {
                let _ = write!(html, "<p>{}</p>", Text(&blocked.message));
            }
            if let Some(until) = blocked.until {
                let _ = write!(html, "<p class=\"soft\">tried again {}</p>", moment(until, now));
            }
        }
        html.push_str("</div>");
    }
    html.push_str("</div>");
}

/// Every resource.
pub(super) fn installed(html: &mut String, status: &HostStatus, now: Timestamp) {
    html.push_str("<h2>Resources</h2><div class=\"card\">");
    if status.resources.is_empty() {
        html.push_str("<div class=\"empty\">Nothing is wished.</div>");
    }
    for resource in &status.resources {
        row(html, resource, now);
    }
    html.push_str("</div>");
}

fn row(html: &mut String, resource: &ResourceStatus, now: Timestamp) {
    let version = resource.version.as_ref().map_or("–".to_owned(), ToString::to_string);
    let wish = match &resource.requested {
        None => "not wished".to_owned(),
        Some(wish) if *wish == version => "pinned".to_owned(),
        Some(wish) => wish.clone(),
    };
    let _ = write!(
        html,
        "<details><summary class=\"row\">{}<span class=\"version\">{}</span>\
         <span class=\"soft\">{}</span>{}</summary><div class=\"more\">",
        id(&resource.id),
        Text(version),
        Text(wish),
        pill(resource.state)
    );
    for condition in &resource.conditions {
        let said_by_another =
            |other: &Condition| other.kind != "Ready" && other.message == condition.message;
        let repeats = condition.kind == "Ready" && resource.conditions.iter().any(said_by_another);
        if repeats || (condition.kind == "Ready" && condition.status == "True") {
            continue;
        }
        let _ = write!(
            html,
            "<p><b>{}</b> <span class=\"soft\">{}{}</span><br>{}</p>",
            Text(if condition.kind == "Ready" { "Not ready" } else { &condition.kind }),
            Text(&condition.reason),
            since(condition.last_transition_time, now),
            Text(&condition.message)
        );
    }
    drifts(html, &resource.drift);
    facts(html, resource, now);
    html.push_str("</div></details>");
}

fn facts(html: &mut String, resource: &ResourceStatus, now: Timestamp) {
    html.push_str("<dl>");
    let mut fact = |name: &str, value: String| {
        let _ = write!(html, "<dt>{name}</dt><dd>{value}</dd>");
    };
    if resource.verified.is_some() {
        fact("verified", Text(resource.verified_by()).to_string());
    }
    if let Some(digest) = &resource.digest {
        let shown = short(digest);
        fact("artifact", format!("<code title=\"{}\">{}</code>", Text(digest), Text(shown)));
    }
    if !resource.kept.is_empty() {
        fact("can go back to", Text(resource.kept.join(", ")).to_string());
    }
    if !resource.set_aside.is_empty() {
        fact("files of somebody else", Text(resource.set_aside.join(", ")).to_string());
    }
    if !resource.owed.is_empty() {
        fact("owed", Text(resource.owed.join(", ")).to_string());
    }
    match &resource.last_change {
        Some(change) => {
            let (who, how) = (change.attribution.name(), &change.result);
            let when = moment(change.at, now);
            fact("last change", format!("{when}, {}, {}", Text(who), Text(how)));
        }
        None => fact("last change", "none on record".to_owned()),
    }
    html.push_str("</dl>");
}

/// Kind and name.
pub(super) fn id(id: &ResourceId) -> String {
    format!(
        "<span class=\"name\"><span class=\"kind\">{}/</span>{}</span>",
        Text(id.kind),
        Text(&id.name)
    )
}

/// What somebody else changed, as it should be and as it was found.
pub(super) fn drifts(html: &mut String, drifts: &[Drift]) {
    if drifts.is_empty() {
        return;
    }
    html.push_str("<pre>");
    for drift in drifts.iter().take(PATHS_SHOWN) {
        let _ = write!(
            html,
            "{}\n<span class=\"del\">- {}</span>\n<span class=\"add\">+ {}</span>\n",
            Text(&drift.path),
            Text(&drift.expected),
            Text(&drift.found)
        );
    }
    if drifts.len() > PATHS_SHOWN {
        let _ = writeln!(html, "and {} more", drifts.len() - PATHS_SHOWN);
    }
    html.push_str("</pre>");
}

fn short(digest: &Digest) -> String {
    digest.hex().chars().take(DIGITS_SHOWN).collect()
}

fn since(at: Option<Timestamp>, now: Timestamp) -> String {
    at.map_or(String::new(), |at| format!(" · {}", moment(at, now)))
}
