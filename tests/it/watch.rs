//! Being watched: metrics, the HTTP API, the page, notifications.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use camino::Utf8PathBuf;
use jiff::SignedDuration;
use reconcile::host::runner::Hooks;
use reconcile::host::{Look, Places};
use reconcile::model::outcome::HistoryEntry;
use reconcile::model::window::Windows;
use reconcile::monitor::event::Severity;
use reconcile::monitor::notify::{Notifier, Notify, TELLING_TIME_MAX, Webhook};
use reconcile::monitor::{Event, Numbers, Snapshot, memory, page, serve};
use serde_json::Value;
use tokio::sync::watch;

use crate::support::offer::{Offer, TWO_RELEASES};
use crate::support::server::{Reply, Server};
use crate::support::world::World;

/// A host with one app that is installed, one that cannot be, and the metrics of the pass.
fn world() -> (World, Offer) {
    let mut world = World::new();
    let offer = Offer::start(TWO_RELEASES, world.temp());
    let wish = format!(
        "apps:\n  tool:\n    source: {{ file: {} }}\n  lost:\n    source: {{ file: /nowhere }}\n",
        offer.address()
    );
    world.wish("desired", &wish);
    let metrics = world.temp().join("reconcile.prom").display().to_string();
    world.options.extend(["--metrics-file".to_owned(), metrics]);
    (world, offer)
}

fn metrics(world: &World) -> String {
    std::fs::read_to_string(world.temp().join("reconcile.prom")).unwrap()
}

fn value(metrics: &str, series: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in\n{metrics}")).parse().unwrap()
}

/// The rules of `promtool check metrics` that apply to us, and the grammar of the format.
#[track_caller]
fn lint(text: &str) {
    let mut kinds: BTreeMap<&str, &str> = BTreeMap::new();
    let mut helped = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut ended = BTreeSet::new();
    let mut family = "";
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap();
            assert!(helped.insert(name) && !help.is_empty(), "{line}");
            continue;
        }
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert!(helped.contains(name) && kinds.insert(name, kind).is_none(), "{line}");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
            assert!(name.starts_with("reconcile_"), "{line}");
            let word = |c: char| c.is_ascii_lowercase() || c == '_';
            assert!(name.chars().all(word), "{line}");
            for unit in ["_ms", "_minutes", "_kilobytes", "_percent"] {
                assert!(!name.contains(unit), "{line}");
            }
            continue;
        }
        let (series, number) = line.rsplit_once(' ').unwrap();
        assert!(number.parse::<f64>().is_ok(), "{line}");
        assert!(seen.insert(series), "twice: {line}");
        let name = series.split('{').next().unwrap();
        let parts = ["_bucket", "_sum", "_count"];
        let base = parts.iter().find_map(|part| name.strip_suffix(part));
        let base = base.filter(|base| kinds.get(base) == Some(&"histogram")).unwrap_or(name);
        assert!(kinds.contains_key(base), "without a type: {line}");
        if base != family {
            assert!(ended.insert(family), "not together: {line}");
            family = base;
        }
        if let Some((_, labels)) = series.split_once('{') {
            assert!(labels.ends_with("\"}"), "{line}");
        }
    }
    assert!(seen.contains("reconcile_run_duration_seconds_bucket{le=\"+Inf\"}"), "{text}");
}

#[test]
fn metrics_of_a_pass_are_clean_and_true() {
    let (mut world, mut offer) = world();
    world.run(&[]).exits(69);
    let first = metrics(&world);
    lint(&first);
    assert!(
        (value(&first, "reconcile_resources{kind=\"app\",state=\"Current\"}") - 1.0).abs() < 0.1
    );
    let info =
        "reconcile_resource_info{kind=\"app\",name=\"tool\",version=\"1.0.0\",floating=\"true\"}";
    assert!((value(&first, info) - 1.0).abs() < 0.1);
    let blocked = "reconcile_resource_condition{kind=\"app\",name=\"lost\",type=\"Blocked\"}";
    assert!((value(&first, blocked) - 1.0).abs() < 0.1);
    offer.publish("1.1.0");
    world.tick();
    world.run(&[]).exits(69);
    let second = metrics(&world);
    lint(&second);
    let changes =
        "reconcile_changes_total{kind=\"app\",action=\"upgrade\",attribution=\"upstream-moved\"}";
    assert!((value(&second, changes) - 1.0).abs() < 0.1);
    assert!((value(&second, "reconcile_run_duration_seconds_count") - 2.0).abs() < 0.1);
    assert!(!world.temp().join(".reconcile.prom.reconcile").exists());
}

#[test]
fn sources_and_what_is_kept_are_counted() {
    let (server, mut world) = (Server::start(), World::new());
    let metrics_file = world.temp().join("reconcile.prom").display().to_string();
    world.options.extend(["--metrics-file".to_owned(), metrics_file]);
    server.serve(
        "/dl/",
        Reply::file("<a href=\"tool-1.0.0-linux-x86_64\">x</a>").etag(Some("\"1\"")),
    );
    server.serve("/dl/tool-1.0.0-linux-x86_64", Reply::file("#!/bin/sh\n"));
    let source = server.url("/dl/");
    let wish = format!(
        "apps:\n  tool:\n    source: {{ http: {{ url: \"{source}\", pattern: \"tool-{{version}}-linux-x86_64\" }} }}\n    \
         verify: {{ min: none }}\n"
    );
    world.wish("desired", &wish);
    world.run(&[]).exits(0);
    let (first, at) = (metrics(&world), world.now);
    lint(&first);
    let authority = server.authority();
    let requests = |result: &str| {
        format!("reconcile_source_requests_total{{source=\"{authority}\",result=\"{result}\"}}")
    };
    assert!(value(&first, &requests("ok")) > 0.5);
    let kept = |metrics: &str, class: &str| {
        value(metrics, &format!("reconcile_store_bytes{{class=\"{class}\"}}"))
    };
    assert!((kept(&first, "releases") - 10.0).abs() < 0.1, "one file of ten bytes: {first}");
    assert!((kept(&first, "blobs") - 10.0).abs() < 0.1 && kept(&first, "documents") > 1.0);
    assert!(value(&first, "reconcile_host_condition{type=\"Ready\"}") > 0.5);
    server.serve("/dl/", Reply::status(500));
    world.tick();
    world.run(&[]).exits(0);
    let second = metrics(&world);
    lint(&second);
    assert!(value(&second, &requests("error")) > 0.5);
    let answered =
        format!("reconcile_source_last_success_timestamp_seconds{{source=\"{authority}\"}}");
    let then = at.as_duration().as_secs_f64();
    assert!((value(&second, &answered) - then).abs() < 0.1, "the failure is no success: {second}");
    assert!((kept(&second, "releases") - 10.0).abs() < 0.1);
}

#[test]
fn open_window_is_a_number() {
    let (mut world, _offer) = world();
    let config = world.temp().join("agent.yaml");
    world.options.extend(["--config".to_owned(), config.display().to_string()]);
    // World begins at midnight.
    for (start, open) in [("00:00", 1.0), ("12:00", 0.0)] {
        let window = format!("windows: {{ w: {{ start: '{start}', for: 1h, zone: UTC0 }} }}\n");
        std::fs::write(&config, window).unwrap();
        world.run(&[]).exits(69);
        let metrics = metrics(&world);
        lint(&metrics);
        assert!((value(&metrics, "reconcile_window_open") - open).abs() < 0.1, "{metrics}");
        assert!(value(&metrics, "reconcile_reboot_required") < 0.5);
    }
}

#[test]
fn pass_that_comes_to_the_same_soon_after_writes_nothing_about_it() {
    let mut world = World::new();
    let offer = Offer::start(TWO_RELEASES, world.temp());
    world.wish(
        "desired",
        &format!("apps: {{ tool: {{ source: {{ file: {} }} }} }}\n", offer.address()),
    );
    let written = |world: &World| {
        let file = std::fs::metadata(world.path("var/lib/reconcile/last-pass.json")).unwrap();
        file.ino()
    };
    world.run(&[]).exits(0);
    world.tick();
    world.run(&[]).exits(0);
    let first = written(&world);
    world.now += SignedDuration::from_secs(59);
    world.run(&[]).exits(0);
    assert_eq!(written(&world), first);
    world.now += SignedDuration::from_secs(1);
    world.run(&[]).exits(0);
    assert_ne!(written(&world), first, "a minute is too old");
    let status = world.run(&["status", "-o", "json"]).json();
    assert_eq!(status["lastPassAt"], world.now.to_string());
    let second = written(&world);
    world.wish(
        "desired",
        &format!("apps: {{ tool: {{ source: {{ file: {} }}, retain: 5 }} }}\n", offer.address()),
    );
    world.run(&[]).exits(0);
    assert_ne!(written(&world), second, "another wish is news");
}

#[test]
fn metrics_that_cannot_be_written_fail_no_pass() {
    let (mut world, _offer) = world();
    world.options.pop();
    world.options.push("/nowhere/at/all.prom".to_owned());
    let ran = world.run(&["--only", "app/tool"]).exits(0);
    assert!(ran.stderr.contains("cannot write the metrics"), "{}", ran.stderr);
    assert!(world.path("/opt/tool/bin/tool").exists());
}

#[test]
fn conditions_keep_their_time_while_nothing_changes() {
    let (mut world, _offer) = world();
    let began = world.now;
    world.run(&[]).exits(69);
    world.tick();
    world.run(&[]).exits(69);
    let status = world.run(&["status", "-o", "json"]).exits(0).json();
    for resource in status["resources"].as_array().unwrap() {
        for condition in resource["conditions"].as_array().unwrap() {
            assert_eq!(condition["lastTransitionTime"], began.to_string(), "{condition}");
        }
    }
}

#[test]
fn one_line_says_how_a_host_is() {
    let (world, _offer) = world();
    world.run(&["--only", "app/tool"]).exits(0);
    let ran = world.run(&["status", "-o", "oneline"]).exits(0);
    assert_eq!(ran.stdout.lines().count(), 1, "{}", ran.stdout);
    assert!(ran.stdout.contains("InProgress: 1 of 2 resources as desired"), "{}", ran.stdout);
}

/// A snapshot as the program's own documents give it, after a pass that leaves something to say.
fn snapshot(world: &World) -> Snapshot {
    let json = |arguments: &[&str]| world.run(arguments).json();
    let plan = json(&["--dry-run", "-o", "json"]);
    let history: Vec<HistoryEntry> =
        serde_json::from_value(json(&["history", "-o", "json"])["entries"].take()).unwrap();
    let _ = metrics(world);
    let root = utf8(&world.path("/"));
    let counted = memory::load(&Look::new(root, Places::default()));
    let stored = counted.stored.unwrap();
    let numbers = Numbers { tally: counted.tally, stored, ..Numbers::default() };
    Snapshot {
        at: world.now,
        status: serde_json::from_value(json(&["status", "-o", "json"])).unwrap(),
        plan: serde_json::from_value(plan).unwrap(),
        history: history.into(),
        numbers,
        windows: Windows::default(),
        next: Some(world.now),
    }
}

/// A server on a loopback address and its snapshot.
struct Served {
    address: SocketAddr,
    socket: Utf8PathBuf,
    feed: watch::Sender<Option<Arc<Snapshot>>>,
    stop: Arc<tokio::sync::Notify>,
    _temp: tempfile::TempDir,
}

impl Served {
    fn new(snapshot: Option<Snapshot>) -> Self {
        let (feed, received) = watch::channel(snapshot.map(Arc::new));
        let temp = tempfile::tempdir().unwrap();
        let socket = utf8(&temp.path().join("run/api.sock"));
        let stop = Arc::new(tokio::sync::Notify::new());
        let (listening, listens) = std::sync::mpsc::channel();
        let (path, stopped) = (socket.clone(), Arc::clone(&stop));
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = serve::tcp("127.0.0.1:0".parse().unwrap()).await.unwrap();
                let address = listener.local_addr().unwrap();
                tokio::spawn(serve::serve_tcp(listener, received.clone()));
                tokio::spawn(serve::serve_unix(serve::unix(&path).unwrap(), received));
                listening.send(address).unwrap();
                stopped.notified().await;
            });
        });
        Self { address: listens.recv().unwrap(), socket, feed, stop, _temp: temp }
    }

    /// The whole answer to what is sent.
    fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn get(&self, path: &str) -> (u16, String, String) {
        split(
            &self.ask(&format!(
                "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            )),
        )
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.notify_one();
    }
}

/// Status, head in lower case, body.
fn split(answer: &str) -> (u16, String, String) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_lowercase(), body.to_owned())
}

#[test]
fn api_answers_with_the_documents_of_the_command_line() {
    let (world, _offer) = world();
    world.run(&[]).exits(69);
    let snapshot = snapshot(&world);
    let served = Served::new(Some(snapshot.clone()));
    let schemas = [("/status", "status"), ("/plan", "plan"), ("/history", "history")];
    for (path, kind) in schemas {
        let (status, head, body) = served.get(path);
        assert_eq!(status, 200, "{path}");
        assert!(head.contains("content-type: application/json"), "{head}");
        assert!(head.contains("cache-control: no-store") && head.contains("nosniff"), "{head}");
        let document: Value = serde_json::from_str(&body).unwrap();
        let schema = world.run(&["schema", kind]).exits(0).json();
        assert!(jsonschema::validator_for(&schema).unwrap().is_valid(&document), "{path}: {body}");
    }
    let (_, _, history) = served.get("/history");
    let history: Value = serde_json::from_str(&history).unwrap();
    assert_eq!(history["entries"].as_array().unwrap().len(), 1);
    assert_eq!(served.get("/metrics").2, snapshot.metrics(world.now));
    assert_eq!(served.get("/healthz").0, 503, "the next pass is long due");
    lint(&snapshot.metrics(world.now));
    assert_eq!(served.get("/nothing").0, 404);
}

#[test]
fn api_describes_itself() {
    let served = Served::new(None);
    let document: Value = serde_json::from_str(&served.get("/openapi.json").2).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    for path in document["paths"].as_object().unwrap().keys() {
        assert_ne!(served.get(path).0, 404, "{path}");
    }
    let text = document.to_string();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for reference in text.split("\"$ref\":\"").skip(1) {
        let reference = reference.split('"').next().unwrap();
        let name = reference.strip_prefix("#/components/schemas/").unwrap();
        assert!(schemas.contains_key(name), "{reference} leads nowhere");
    }
    assert_eq!(served.get("/status").0, 503, "before the first pass there is nothing to say");
    assert_eq!(served.get("/").0, 200);
}

#[test]
fn socket_answers_as_the_address_does() {
    let served = Served::new(None);
    let mut stream = std::os::unix::net::UnixStream::connect(&served.socket).unwrap();
    let request = "GET /healthz HTTP/1.1\r\nHost: reconcile\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(split(&answer).0, 200, "{answer}");
    let mode = std::fs::metadata(&served.socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
}

#[test]
fn name_that_was_made_to_resolve_here_is_refused() {
    let served = Served::new(None);
    let status = |host: &str| {
        let request = format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        split(&served.ask(&request)).0
    };
    let port = served.address.port();
    for host in [
        "localhost",
        "LocalHost.",
        "localhost.:80",
        &format!("127.0.0.1:{port}"),
        "127.0.0.2:9797",
        "[::1]:9797",
        "localhost:80",
    ] {
        assert_eq!(status(host), 200, "{host}");
    }
    for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "", "[::2]"]
    {
        assert_eq!(status(host), 421, "{host}");
    }
}

#[test]
fn request_that_names_two_places_is_refused() {
    let served = Served::new(None);
    for request in [
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        "GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        "GET http://localhost/healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    ] {
        assert_eq!(split(&served.ask(request)).0, 400, "{request}");
    }
}

#[test]
fn clients_that_never_ask_give_way_to_one_that_does() {
    let served = Served::new(None);
    let half = |_| {
        let mut stream = TcpStream::connect(served.address).unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: loc").unwrap();
        stream
    };
    let mut slow: Vec<TcpStream> = (0..40).map(half).collect();
    assert_eq!(served.get("/healthz").0, 200);
    // None of them had to be waited for: one that came late goes on.
    slow[30].write_all(b"alhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    slow[30].read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn nothing_can_be_changed_over_http() {
    let served = Served::new(None);
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let request = format!(
            "{method} /status HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        assert_eq!(split(&served.ask(&request)).0, 405, "{method}");
    }
}

#[test]
fn large_heads_are_refused_and_slow_clients_keep_nobody_out() {
    let served = Served::new(None);
    let long = "x".repeat(64 << 10);
    let request = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Long: {long}\r\n\r\n");
    let mut stream = TcpStream::connect(served.address).unwrap();
    // The server may close before everything was sent.
    let _ = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    let mut slow: Vec<TcpStream> =
        (0..20).map(|_| TcpStream::connect(served.address).unwrap()).collect();
    for stream in &mut slow {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: loc").unwrap();
    }
    assert_eq!(served.get("/healthz").0, 200);
    let mut rest = String::new();
    slow[0].read_to_string(&mut rest).unwrap();
    assert!(rest.is_empty() || rest.starts_with("HTTP/1.1 408"), "{rest}");
}

#[test]
fn page_shows_text_as_text() {
    let (world, _offer) = world();
    world.run(&[]).exits(69);
    let mut snapshot = snapshot(&world);
    let attack = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\u{202e}";
    snapshot.status.hostname = attack.to_owned();
    for resource in &mut snapshot.status.resources {
        resource.version = Some("1.0<script>alert(3)</script>".parse().unwrap());
        resource.requested = Some(attack.to_owned());
        resource.kept = vec![attack.to_owned()];
        for condition in &mut resource.conditions {
            condition.message = attack.to_owned();
            condition.reason = attack.to_owned();
        }
    }
    for entry in Arc::get_mut(&mut snapshot.history).unwrap() {
        entry.reason = attack.to_owned();
        entry.error = Some(attack.to_owned());
        entry.result = attack.to_owned();
        entry.plan = attack.to_owned();
    }
    snapshot.status.losses.push(attack.to_owned());
    let html = page::render(Some(&snapshot), world.now);
    assert!(html.contains("&lt;script&gt;alert(3)"), "{html}");
    for markup in ["<script", "<img", "\u{202e}"] {
        assert!(!html.contains(markup), "{markup} in {html}");
    }
    let served = Served::new(Some(snapshot));
    let (_, head, _) = served.get("/");
    assert!(head.contains("default-src 'none'; style-src 'sha256-"), "{head}");
}

#[test]
fn page_brings_everything_it_needs() {
    let (world, _offer) = world();
    world.run(&[]).exits(69);
    let html = page::render(Some(&snapshot(&world)), world.now);
    for outside in ["http://", "https://", "//cdn", "@import", "url(", "src=", " style=", " on"] {
        let found = html.match_indices(outside).find(|(at, _)| {
            // Words of a sentence are not attributes.
            outside != " on" || html[*at..].chars().take(20).any(|c| c == '=')
        });
        assert!(found.is_none(), "{outside}: {:?}", found.map(|(at, _)| &html[at..at + 40]));
    }
    assert!(html.contains("1.0.0") && html.contains("/nowhere"), "{html}");
}

#[test]
fn newer_snapshot_is_served_at_once() {
    let (world, _offer) = world();
    world.run(&[]).exits(69);
    let served = Served::new(None);
    served.feed.send_replace(Some(Arc::new(snapshot(&world))));
    assert_eq!(served.get("/status").0, 200);
}

#[test]
fn other_addresses_than_loopback_are_refused() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let refused = runtime.block_on(serve::tcp("0.0.0.0:0".parse().unwrap())).unwrap_err();
    assert!(refused.to_string().contains("use 127.0.0.1"), "{refused}");
}

fn event() -> Event {
    Event {
        at: "2026-06-01T00:00:00Z".parse().unwrap(),
        severity: Severity::Warning,
        reason: "ChangeFailed".to_owned(),
        resource: Some("app/tool".parse().unwrap()),
        message: "upgrade 1.0 -> 1.1: it went wrong".to_owned(),
        hostname: "web-03".to_owned(),
        plan: "sha256:00".to_owned(),
    }
}

fn tell(notify: &Notify) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let notifier = Notifier::start(notify.clone(), Hooks::Child);
        notifier.tell(vec![event()]);
        notifier.finish(TELLING_TIME_MAX).await;
    });
}

fn utf8(path: &Path) -> Utf8PathBuf {
    Utf8PathBuf::from_path_buf(path.to_owned()).unwrap()
}

/// An address that takes one request, answers it, and gives back what it was sent.
fn receiver() -> (String, std::thread::JoinHandle<String>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let received = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut text, mut piece) = (String::new(), [0; 4096]);
        loop {
            let count = stream.read(&mut piece).unwrap();
            text.push_str(std::str::from_utf8(&piece[..count]).unwrap());
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.to_lowercase();
            let length = length.split("content-length: ").nth(1).unwrap();
            if body.len() >= length.lines().next().unwrap().parse().unwrap() {
                break;
            }
        }
        stream.write_all(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n").unwrap();
        text
    });
    (url, received)
}

#[test]
fn webhook_is_signed_over_the_bytes_that_are_sent() {
    let temp = tempfile::tempdir().unwrap();
    let secret = temp.path().join("secret");
    std::fs::write(&secret, "It's a Secret to Everybody\n").unwrap();
    let (url, received) = receiver();
    let webhook = Webhook { url, secret_file: Some(utf8(&secret)), warnings_only: true };
    tell(&Notify { webhooks: vec![webhook], ..Notify::default() });
    let text = received.join().unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let event: Value = serde_json::from_str(body).unwrap();
    assert_eq!(event["type"], "Warning");
    assert_eq!(event["resource"], "app/tool");
    let key =
        aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, b"It's a Secret to Everybody");
    let signature = head.lines().find_map(|l| l.strip_prefix("x-signature: sha256=")).unwrap();
    let signature = data_encoding::HEXLOWER.decode(signature.as_bytes()).unwrap();
    aws_lc_rs::hmac::verify(&key, body.as_bytes(), &signature).unwrap();
}

#[test]
fn nobody_who_cannot_be_told_keeps_others_from_being_told() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("events.jsonl");
    let ran = temp.path().join("ran");
    // Nobody listens on a port that was just given back.
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let script = format!("printf %s \"$RECONCILE_EVENT\" > {}", ran.display());
    let hook = |script: &str| vec!["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()];
    let webhook =
        |secret_file| Webhook { url: format!("http://{dead}/"), secret_file, warnings_only: false };
    tell(&Notify {
        webhooks: vec![webhook(None), webhook(Some("/nowhere/secret".into()))],
        run: vec![hook("exit 1"), vec!["/nowhere/program".to_owned()], hook(&script)],
        file: Some(utf8(&file)),
        journal: true,
    });
    for path in [&file, &ran] {
        let told: Event = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        assert_eq!(told, event());
    }
}

#[test]
fn pipe_in_the_place_of_a_file_is_not_waited_for() {
    let temp = tempfile::tempdir().unwrap();
    let pipe = utf8(&temp.path().join("events"));
    let kind = rustix::fs::FileType::Fifo;
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, pipe.as_std_path(), kind, mode, 0).unwrap();
    let (done, waits) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let url = "http://127.0.0.1:1/".to_owned();
        let webhook = Webhook { url, secret_file: Some(pipe.clone()), warnings_only: false };
        tell(&Notify { file: Some(pipe), webhooks: vec![webhook], ..Notify::default() });
        done.send(()).unwrap();
    });
    waits.recv_timeout(std::time::Duration::from_mins(1)).unwrap();
}

#[test]
fn drift_that_was_seen_before_is_told_to_be_repaired_once() {
    let (mut world, _offer) = world();
    let told = world.root().join("var/log/events.jsonl");
    std::fs::create_dir_all(told.parent().unwrap()).unwrap();
    std::fs::create_dir_all(world.root().join("etc/reconcile")).unwrap();
    let config = "notify:\n  file: /var/log/events.jsonl\n";
    std::fs::write(world.root().join("etc/reconcile/agent.yaml"), config).unwrap();
    let count = |reason: &str| {
        let text = std::fs::read_to_string(&told).unwrap();
        text.matches(&format!("\"reason\":\"{reason}\"")).count()
    };
    world.run(&[]).exits(69);
    world.run(&["suspend", "app/tool", "--reason", "looked at"]).exits(0);
    std::fs::remove_file(world.root().join("opt/tool/bin/tool")).unwrap();
    world.tick();
    world.run(&[]);
    assert_eq!(count("DriftDetected"), 1);
    world.run(&["resume", "app/tool"]).exits(0);
    world.tick();
    world.run(&[]).exits(69);
    assert_eq!(count("DriftCorrected"), 1);
    assert_eq!(count("Suspended"), count("Resumed"));
}

#[test]
fn configuration_of_a_host_below_a_directory_reaches_nobody_outside_of_it() {
    let (mut world, _offer) = world();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let (ran, told) = (world.temp().join("ran"), world.root().join("var/log/events.jsonl"));
    std::fs::create_dir_all(told.parent().unwrap()).unwrap();
    std::fs::create_dir_all(world.root().join("etc/reconcile")).unwrap();
    let config = format!(
        "notify:\n  file: /var/log/events.jsonl\n  run: [[touch, {}]]\n  webhooks: [{{ url: \"http://{}/\" }}]\n",
        ran.display(),
        listener.local_addr().unwrap()
    );
    std::fs::write(world.root().join("etc/reconcile/agent.yaml"), config).unwrap();
    world.run(&[]).exits(69);
    assert!(std::fs::read_to_string(&told).unwrap().contains("ChangeApplied"));
    assert!(!ran.exists(), "a program was run");
    assert!(listener.accept().is_err(), "somebody was told");
    world.options.extend(["--effects".to_owned(), "run".to_owned()]);
    std::fs::remove_dir_all(world.root().join("opt")).unwrap();
    std::fs::remove_file(&told).unwrap();
    drop(listener);
    world.run(&[]).exits(69);
    assert!(ran.exists(), "what was asked for is run");
    assert!(told.exists(), "files are below the directory all the same");
}

#[test]
fn variables_in_arguments_are_left_to_the_program_by_systemd_too() {
    let (mut world, _offer) = world();
    let (programs, said) = (world.temp().join("programs"), world.temp().join("said"));
    std::fs::create_dir_all(&programs).unwrap();
    let script = format!("#!/bin/sh\nprintf '%s\\n' \"$@\" >> {}\n", said.display());
    std::fs::write(programs.join("systemd-run"), script).unwrap();
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(programs.join("systemd-run"), mode).unwrap();
    std::fs::create_dir_all(world.root().join("etc/reconcile")).unwrap();
    let config = "notify: { run: [[/usr/bin/pay, \"${HOME}\", $PATH, \"a $$ b\"]] }\n";
    std::fs::write(world.root().join("etc/reconcile/agent.yaml"), config).unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    world.environment.push(("PATH".to_owned(), path));
    world.options.extend(["--effects", "run", "--hooks", "transient"].map(str::to_owned));
    world.run(&[]).exits(69);
    let said = std::fs::read_to_string(&said).unwrap();
    assert!(said.contains("\n/usr/bin/pay\n$${HOME}\n$$PATH\na $$$$ b\n"), "{said}");
}

#[test]
fn webhook_that_never_answers_delays_nothing() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let webhook = Webhook { url, secret_file: None, warnings_only: false };
    let notify = Notify { webhooks: vec![webhook], ..Notify::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let notifier = Notifier::start(notify, Hooks::Child);
        // More than are kept, while the first one is never answered.
        for _ in 0..3 {
            notifier.tell(vec![event(); 10_000]);
            tokio::task::yield_now().await;
        }
    });
    runtime.shutdown_background();
}

#[test]
fn webhook_that_never_answers_keeps_nobody_else_from_being_told() {
    let temp = tempfile::tempdir().unwrap();
    let (file, ran) = (utf8(&temp.path().join("events.jsonl")), utf8(&temp.path().join("ran")));
    let hangs = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", hangs.local_addr().unwrap());
    let script = format!("echo told >> {ran}");
    let notify = Notify {
        webhooks: vec![Webhook { url, secret_file: None, warnings_only: false }],
        run: vec![vec!["/bin/sh".to_owned(), "-c".to_owned(), script]],
        file: Some(file.clone()),
        journal: false,
    };
    let lines =
        |file: &Utf8PathBuf| std::fs::read_to_string(file).unwrap_or_default().lines().count();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let notifier = Notifier::start(notify, Hooks::Child);
        notifier.tell(vec![event(); 3]);
        assert_eq!(lines(&file), 3, "the file waits for nobody");
        // Less than one event may take at the webhook.
        let told = async {
            while lines(&ran) < 3 {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(8), told).await.unwrap();
    });
    runtime.shutdown_background();
}

#[test]
fn alerts_are_about_metrics_that_exist() {
    let (world, _offer) = world();
    world.run(&[]).exits(69);
    let exported = metrics(&world);
    let alerts = include_str!("../../packaging/prometheus-alerts.yaml");
    let rules = alerts.lines().filter_map(|line| line.trim().strip_prefix("expr: "));
    let mut named = 0;
    for rule in rules {
        let name = &rule[rule.find("reconcile_").unwrap()..];
        let end = name.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap();
        let family = format!("# TYPE {} ", &name[..end]);
        let always = !name.starts_with("reconcile_last_success");
        assert!(exported.contains(&family) || !always, "{family}");
        named += 1;
    }
    assert_eq!(named, 7);
}
