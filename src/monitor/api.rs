//! The read-only HTTP API: what is answered to whom.

use std::net::IpAddr;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use jiff::Timestamp;
use serde::Serialize;

use crate::host::clock;
use crate::model::document::Document;
use crate::monitor::serve::Feed;
use crate::monitor::{Snapshot, openapi, page};

/// How long after the time at which a pass is due the loop counts as hanging.
const LATE: jiff::SignedDuration = jiff::SignedDuration::from_mins(30);

/// Whose name a request may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hosts {
    /// Any: nobody but local users with the right to the socket can ask.
    Any,
    /// `localhost` and loopback addresses.
    Loopback,
}

/// All routes.
pub fn router(feed: Feed, hosts: Hosts) -> Router {
    let since = clock::now();
    Router::new()
        .route("/", with(page))
        .route("/status", with(|feed| answer(feed, |s| json(&s.status))))
        .route("/plan", with(|feed| answer(feed, |s| json(&s.plan))))
        .route("/history", with(|feed| answer(feed, |s| json(&Document::from(s.changes())))))
        .route("/metrics", with(metrics))
        .route(
            "/healthz",
            get(move |State(feed): State<Feed>| async move { healthz(&feed, since) }),
        )
        .route("/openapi.json", with(|_| json(&openapi::document())))
        .with_state(feed)
        .layer(from_fn(move |request, next| guard(hosts, request, next)))
}

/// An answer is made from what is known already, so nothing is waited for.
fn with(answer: fn(&Feed) -> Response) -> MethodRouter<Feed> {
    get(move |State(feed): State<Feed>| async move { answer(&feed) })
}

/// What holds for every answer.
async fn guard(hosts: Hosts, request: Request, next: Next) -> Response {
    let mut response = if !names_one_place(&request) {
        let why = "write a request with a path and one `Host`\n";
        (StatusCode::BAD_REQUEST, why).into_response()
    } else if hosts == Hosts::Loopback && !is_loopback(request.headers()) {
        let why = "this is only for names and addresses of this host itself\n";
        (StatusCode::MISDIRECTED_REQUEST, why).into_response()
    } else if request.method() != Method::GET && request.method() != Method::HEAD {
        let why = "nothing can be changed here\n";
        (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "GET, HEAD")], why).into_response()
    } else {
        next.run(request).await
    };
    let same_origin = HeaderName::from_static("cross-origin-resource-policy");
    let fixed = [
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (same_origin, "same-origin"),
    ];
    for (name, value) in fixed {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Whether whoever looks at a request sees one name in it and no other (RFC 9112, section 3.2).
fn names_one_place(request: &Request) -> bool {
    request.uri().authority().is_none() && request.headers().get_all(HOST).iter().count() <= 1
}

/// Whether a request names this host. Without a name nobody was deceived by one.
fn is_loopback(headers: &HeaderMap) -> bool {
    let Some(named) = headers.get(HOST) else { return true };
    let named = named.to_str().unwrap_or("?");
    let name = match named.rsplit_once(':') {
        Some((name, port)) if port.chars().all(|c| c.is_ascii_digit()) => name,
        _ => named,
    };
    let unbracketed = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let address = unbracketed.unwrap_or(name).parse::<IpAddr>();
    let name = name.strip_suffix('.').unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

/// What is said of the newest snapshot.
fn answer(feed: &Feed, say: fn(&Snapshot) -> Response) -> Response {
    match feed.borrow().clone() {
        Some(snapshot) => say(&snapshot),
        None => {
            (StatusCode::SERVICE_UNAVAILABLE, "the first pass is not over yet\n").into_response()
        }
    }
}

fn json(value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(bytes) => ([(CONTENT_TYPE, "application/json")], bytes).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

fn metrics(feed: &Feed) -> Response {
    answer(feed, |snapshot| {
        let kind = "text/plain; version=0.0.4; charset=utf-8";
        ([(CONTENT_TYPE, kind)], snapshot.metrics(clock::now())).into_response()
    })
}

/// Whether the loop goes on; not whether the host is as desired.
fn healthz(feed: &Feed, since: Timestamp) -> Response {
    // The first pass is due at once.
    let due = feed.borrow().as_ref().map_or(Some(since), |snapshot| snapshot.next);
    match late(due, clock::now()) {
        None => (StatusCode::OK, ok(feed)).into_response(),
        Some(due) => {
            let why = format!("the pass that was due at {due} has not ended\n");
            (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
        }
    }
}

/// What a loop says that goes on; starting it again would not help where no pass can be made.
fn ok(feed: &Feed) -> String {
    let newest = feed.borrow();
    let unmade = newest.as_ref().and_then(|snapshot| snapshot.status.unmade());
    unmade.map_or_else(|| "ok\n".to_owned(), |why| format!("ok, but no pass is made: {why}\n"))
}

/// Since when a pass is due that should have ended.
fn late(due: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
    due.filter(|due| now.duration_since(*due) > LATE)
}

fn page(feed: &Feed) -> Response {
    let html = page::render(feed.borrow().as_deref(), clock::now());
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
        (CONTENT_SECURITY_POLICY, page::content_security_policy()),
    ];
    (headers, html).into_response()
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[tokio::test]
    async fn first_pass_that_hangs_is_noticed_as_any_other() {
        let (_tell, feed) = tokio::sync::watch::channel(None);
        let now = clock::now();
        let second = SignedDuration::from_secs(1);
        assert_eq!(healthz(&feed, now).status(), StatusCode::OK, "it has only just begun");
        let hangs = healthz(&feed, now - LATE - second).status();
        assert_eq!(hangs, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(late(Some(now), now + LATE), None);
        assert_eq!(late(None, now + LATE + second), None, "nothing is due");
    }
}
