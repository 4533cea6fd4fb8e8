//! Fetching beside its peers: `cargo bench --bench fetch`.
//!
//! Every line runs both sides in turn in the same run and prints the ratio of the medians. A line whose
//! peer is not installed is skipped, and says so.
#![allow(
    missing_docs,
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark prints, and ends when something is wrong"
)]

#[path = "../tests/it/support/server.rs"]
mod server;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use reconcile::fetch::{
    BlobRequest, Client, Credentials, From, NoProgress, Reader, Settings, download, store,
};
use reconcile::model::cached::Cache;
use server::{Reply, Server};

/// The artifact: as large as the archive all other figures of the project use.
const ARTIFACT_BYTES: usize = 440_000_000;

/// Runs of each side.
const PAIRS: usize = 7;

/// Sources asked in one pass.
const SOURCES: usize = 1000;

/// Connections of the reference: as many as `fetch` uses at one host.
const CONNECTIONS: usize = 16;

fn main() {
    client_construction();
    verify_while_downloading();
    conditional_requests();
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn now() -> Timestamp {
    Timestamp::from_second(1_795_000_000).unwrap()
}

fn client() -> Client {
    Client::new(Credentials::default(), Settings::default(), now())
}

/// A directory in memory, so that no disk is measured.
fn scratch() -> tempfile::TempDir {
    let memory = PathBuf::from("/dev/shm");
    let place = if memory.is_dir() { memory } else { std::env::temp_dir() };
    tempfile::Builder::new().prefix("reconcile-bench").tempdir_in(place).unwrap()
}

fn timed(work: impl FnOnce()) -> Duration {
    let started = Instant::now();
    work();
    started.elapsed()
}

/// Medians of both sides, run in turn.
fn pairs(mut ours: impl FnMut() -> Duration, mut peer: impl FnMut() -> Duration) -> [Duration; 2] {
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..PAIRS {
        times[0].push(ours());
        times[1].push(peer());
    }
    times.map(|mut side| {
        side.sort();
        side[side.len() / 2]
    })
}

fn report(line: &str, peer: &str, [ours, theirs]: [Duration; 2]) {
    let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
    println!("{line}: {ours:.1?}, {peer}: {theirs:.1?}, ratio {ratio:.2}");
}

fn client_construction() {
    let idle = timed(|| drop(client()));
    let server = Server::start();
    server.serve("/x", Reply::file("x"));
    let reader = Reader::new(client(), None, now(), SignedDuration::ZERO);
    let url = server.url("/x");
    let first = timed(|| drop(run(reader.document(&url, "*/*", 10)).unwrap()));
    println!("client made: {idle:.1?}; with its first request (roots are loaded): {first:.1?}");
}

fn verify_while_downloading() {
    let line = "P1 download and verify 440 MB";
    if [("curl", "--version"), ("openssl", "version")]
        .iter()
        .any(|(tool, arg)| Command::new(tool).arg(arg).stdout(Stdio::null()).status().is_err())
    {
        println!("{line}: skipped, its peer needs curl and openssl");
        return;
    }
    let server = Server::start();
    let mut seed = 1_u64;
    let mut body = Vec::with_capacity(ARTIFACT_BYTES + 8);
    while body.len() < ARTIFACT_BYTES {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        body.extend_from_slice(&seed.to_le_bytes());
    }
    server.serve("/big", Reply::file(body));
    let (urls, client, cache) = ([server.url("/big")], client(), scratch());
    let request =
        BlobRequest { urls: &urls, name: "big", size: None, expect: &[], size_max: u64::MAX };
    let ours = || {
        timed(|| {
            run(download(&client, &request, &Cache::below(cache.path()), &NoProgress)).unwrap();
        })
    };
    let peer = || {
        timed(|| {
            let mut curl =
                Command::new("curl").args(["-s", &urls[0]]).stdout(Stdio::piped()).spawn().unwrap();
            let bytes = curl.stdout.take().unwrap();
            let openssl = Command::new("openssl").args(["dgst", "-sha256"]).stdin(bytes).output();
            assert!(openssl.unwrap().status.success() && curl.wait().unwrap().success());
        })
    };
    report(line, "curl | openssl dgst -sha256", pairs(ours, peer));
}

fn conditional_requests() {
    let server = Server::start();
    server.handle(|request| Some(Reply::file(request.path.clone()).etag(Some("\"1\""))));
    let urls: Vec<String> = (0..SOURCES).map(|i| server.url(&format!("/{i}"))).collect();
    let cache = scratch();
    // The client is warm: what its construction costs is a line of its own.
    let pass = |second: i64| {
        let at = now() + SignedDuration::from_secs(second);
        let reader =
            Reader::new(client(), Some(&Cache::below(cache.path())), at, SignedDuration::ZERO);
        let (took, documents) = run(async {
            reader.document(&server.url("/warm"), "*/*", 1000).await.unwrap();
            let started = Instant::now();
            let asks = urls.iter().map(|url| reader.document(url, "*/*", 1000));
            let documents = futures_util::future::join_all(asks).await;
            (started.elapsed(), documents)
        });
        let expected = if second == 0 { From::Network } else { From::NotModified };
        assert!(documents.into_iter().all(|document| document.unwrap().from == expected));
        (took, reader.into_noted())
    };
    store(&Cache::below(cache.path()), &pass(0).1).unwrap();
    let address = server.authority();
    let ours = || pass(1).0;
    let reference = || {
        timed(|| {
            std::thread::scope(|scope| {
                for first in 0..CONNECTIONS {
                    let address = &address;
                    scope.spawn(move || keep_alive(address, first));
                }
            });
        })
    };
    report(
        "P11 1000 conditional requests, all in a pass",
        "keep-alive threads",
        pairs(ours, reference),
    );
    if Command::new("curl").arg("--version").stdout(Stdio::null()).status().is_err() {
        println!("P11: no comparison with processes, curl is not installed");
        return;
    }
    let few = 50;
    let processes = timed(|| {
        for url in urls.iter().take(few) {
            let header = "If-None-Match: \"1\"";
            let status = Command::new("curl").args(["-s", "-H", header, url]).status();
            assert!(status.unwrap().success());
        }
    });
    println!("P11: one curl process each would take {:.1?}", processes * 20);
}

/// The least that every 16th of the requests needs: one connection and no library.
fn keep_alive(address: &str, first: usize) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut answer = [0; 4096];
    for i in (first..SOURCES).step_by(CONNECTIONS) {
        let request = format!("GET /{i} HTTP/1.1\r\nHost: x\r\nIf-None-Match: \"1\"\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let count = stream.read(&mut answer).unwrap();
        assert!(answer[..count].starts_with(b"HTTP/1.1 304"));
    }
}
