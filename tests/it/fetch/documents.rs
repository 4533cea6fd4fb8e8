//! Documents that are remembered, and hosts that do not want to be asked.

use std::fs;
use std::net::TcpListener;

use jiff::SignedDuration;
use reconcile::fetch::{Client, Credentials, FetchError, From, Reader, Settings, store};
use reconcile::model::cached::Cache;

use super::{ANY, LIMIT, NEVER, client, now, reader, reader_at, run};
use crate::support::server::{Reply, Server};

#[test]
fn document_is_asked_for_once_and_then_only_whether_it_changed() {
    let (server, cache) = (Server::start(), tempfile::tempdir().unwrap());
    server.serve("/list", Reply::file("one"));
    let url = server.url("/list");
    let first = reader(cache.path());
    let document = run(first.document(&url, ANY, LIMIT)).unwrap();
    assert_eq!((document.body.as_slice(), document.from), (b"one".as_slice(), From::Network));
    assert_eq!(run(first.document(&url, ANY, LIMIT)).unwrap().from, From::Fresh);
    assert_eq!(first.requests(), 1, "one pass asks once");
    assert!(fs::read_dir(cache.path()).unwrap().next().is_none(), "reading writes nothing");
    store(&Cache::below(cache.path()), &first.into_noted()).unwrap();

    server.take_requests();
    let later = now() + SignedDuration::from_secs(60);
    let second = reader_at(cache.path(), later, NEVER);
    let document = run(second.document(&url, ANY, LIMIT)).unwrap();
    assert_eq!((document.body.as_slice(), document.from), (b"one".as_slice(), From::NotModified));
    assert_eq!(document.checked_at, later);
    assert_eq!((server.requests()[0].status, server.requests()[0].sent), (304, 0));
    store(&Cache::below(cache.path()), &second.into_noted()).unwrap();

    let hour = SignedDuration::from_hours(1);
    let third = reader_at(cache.path(), later + SignedDuration::from_mins(59), hour);
    assert_eq!(run(third.document(&url, ANY, LIMIT)).unwrap().from, From::Fresh);
    assert_eq!(third.requests(), 0);
    let fourth = reader_at(cache.path(), later + hour, hour);
    assert_eq!(run(fourth.document(&url, ANY, LIMIT)).unwrap().from, From::NotModified);
    let early = reader_at(cache.path(), now() - hour, hour);
    let document = run(early.document(&url, ANY, LIMIT)).unwrap();
    assert_eq!(document.from, From::NotModified, "a check in the future is not believed");
}

#[test]
fn validators_are_those_of_the_stored_body() {
    let (server, cache) = (Server::start(), tempfile::tempdir().unwrap());
    let url = server.url("/list");
    server.serve("/list", Reply::file("one").etag(Some("\"1\"")));
    let first = reader(cache.path());
    run(first.document(&url, ANY, LIMIT)).unwrap();
    store(&Cache::below(cache.path()), &first.into_noted()).unwrap();
    // A pass that looks but is not recorded must not change what the next one compares with.
    server.serve("/list", Reply::file("two").etag(Some("\"2\"")));
    run(reader(cache.path()).document(&url, ANY, LIMIT)).unwrap();
    server.take_requests();
    let document = run(reader_at(cache.path(), now() + SignedDuration::from_secs(1), NEVER)
        .document(&url, ANY, LIMIT));
    assert_eq!(document.unwrap().body.as_slice(), b"two");
    let request = &server.requests()[0];
    assert_eq!((request.header("if-none-match"), request.status), (Some("\"1\""), 200));
    assert_eq!(request.header("if-modified-since"), None, "nothing is invented");
}

#[test]
fn damaged_memory_is_not_believed() {
    let (server, cache) = (Server::start(), tempfile::tempdir().unwrap());
    server.serve("/list", Reply::file("the list"));
    let first = reader(cache.path());
    run(first.document(&server.url("/list"), ANY, LIMIT)).unwrap();
    store(&Cache::below(cache.path()), &first.into_noted()).unwrap();
    let file = fs::read_dir(cache.path().join("http")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&file, bytes).unwrap();
    let document = run(reader(cache.path()).document(&server.url("/list"), ANY, LIMIT)).unwrap();
    assert_eq!((document.body.as_slice(), document.from), (b"the list".as_slice(), From::Network));
}

#[test]
fn failing_server_leaves_the_stale_document() {
    let (server, cache) = (Server::start(), tempfile::tempdir().unwrap());
    let url = server.url("/list");
    server.serve_in_turn("/list", [Reply::file("one"), Reply::status(500)]);
    let first = reader(cache.path());
    run(first.document(&url, ANY, LIMIT)).unwrap();
    store(&Cache::below(cache.path()), &first.into_noted()).unwrap();
    let second = reader_at(cache.path(), now() + SignedDuration::from_secs(9), NEVER);
    run(second.document(&url, ANY, LIMIT)).unwrap_err();
    let stale = second.stale(&url, ANY).unwrap();
    assert_eq!((stale.body.as_slice(), stale.from), (b"one".as_slice(), From::Stale));
    assert_eq!(stale.checked_at, now());
    assert!(second.into_noted().is_empty());
}

#[test]
fn another_token_has_another_memory() {
    let (server, cache) = (Server::start(), tempfile::tempdir().unwrap());
    let url = server.url("/list");
    server.serve("/list", Reply::file("one"));
    let first = reader(cache.path());
    run(first.document(&url, ANY, LIMIT)).unwrap();
    store(&Cache::below(cache.path()), &first.into_noted()).unwrap();
    server.take_requests();
    let mut credentials = Credentials::default();
    credentials.add(&server.authority(), "t");
    let hour = SignedDuration::from_hours(1);
    let with_token =
        Reader::new(client(credentials), Some(&Cache::below(cache.path())), now(), hour);
    assert_eq!(run(with_token.document(&url, ANY, LIMIT)).unwrap().from, From::Network);
    assert_eq!(server.requests()[0].header("if-none-match"), None);
}

#[test]
fn rate_limit_is_honoured_in_this_pass_and_the_next() {
    for status in [403, 429] {
        let (server, cache) = (Server::start(), tempfile::tempdir().unwrap());
        let until = now() + SignedDuration::from_mins(20);
        server.serve("/a", Reply::rate_limited(status, until.as_second()));
        server.serve("/b", Reply::file("b"));
        let is_limited = |outcome: Result<_, FetchError>| matches!(outcome, Err(FetchError::RateLimited { until: u, .. }) if u == until);
        let first = reader(cache.path());
        assert!(is_limited(run(first.document(&server.url("/a"), ANY, LIMIT)).map(drop)));
        assert!(is_limited(run(first.document(&server.url("/b"), ANY, LIMIT)).map(drop)));
        assert_eq!(first.requests(), 1);
        store(&Cache::below(cache.path()), &first.into_noted()).unwrap();

        let second = reader(cache.path());
        assert!(is_limited(run(second.document(&server.url("/b"), ANY, LIMIT)).map(drop)));
        assert_eq!(server.requests().len(), 1, "nobody asks a host that refuses");

        let after = until + SignedDuration::from_secs(1);
        let client = Client::new(Credentials::default(), Settings::default(), after);
        let third = Reader::new(client, Some(&Cache::below(cache.path())), after, NEVER);
        assert!(run(third.document(&server.url("/b"), ANY, LIMIT)).is_ok());
    }
}

#[test]
fn long_wait_is_returned_and_an_absurd_one_is_cut() {
    for (wait, expected) in
        [("3600", 3600), ("Sat, 21 Nov 2026 13:00:00 GMT", 3600), ("99999999999", 86_400)]
    {
        let (server, cache) = (Server::start(), tempfile::tempdir().unwrap());
        server.serve("/a", Reply::status(429).header("Retry-After", wait));
        let outcome = run(reader(cache.path()).document(&server.url("/a"), ANY, LIMIT));
        let Err(FetchError::RateLimited { until, .. }) = outcome else { panic!("{outcome:?}") };
        let error = (until.as_second() - now().as_second() - expected).abs();
        assert!(error <= 5, "{wait}: {until}");
        assert_eq!(server.requests().len(), 1);
    }
}

#[test]
fn short_wait_is_waited_for() {
    let (server, cache) = (Server::start(), tempfile::tempdir().unwrap());
    let wait = Reply::status(403).header("Retry-After", "0");
    server.serve_in_turn("/a", [wait, Reply::file("a")]);
    assert!(run(reader(cache.path()).document(&server.url("/a"), ANY, LIMIT)).is_ok());
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn host_that_cannot_be_reached_is_given_up_for_the_pass() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let cache = tempfile::tempdir().unwrap();
    let reader = reader(cache.path());
    let ask = |path: &str| run(reader.document(&format!("http://{address}{path}"), ANY, LIMIT));
    assert!(matches!(ask("/a"), Err(FetchError::Unreachable { .. })));
    assert!(matches!(ask("/b"), Err(FetchError::GivenUp { .. })));
    assert!(matches!(ask("/a"), Err(FetchError::GivenUp { .. })));
    assert_eq!(reader.requests(), 4, "all for the first document");
}

#[test]
fn host_that_keeps_breaking_off_is_given_up_and_one_broken_document_is_not_enough() {
    let (server, cache) = (Server::start(), tempfile::tempdir().unwrap());
    server.handle(|request| {
        let reply = Reply::file("body");
        Some(match request.path.split_at(2).0 {
            "/g" => reply,
            "/e" => Reply::status(500),
            _ => reply.truncated_after(1),
        })
    });
    let reader = reader(cache.path());
    let ask = |path: &str| run(reader.document(&server.url(path), ANY, LIMIT));
    for good in ["/g1", "/g2"] {
        for bad in ["/a", "/b"] {
            assert!(matches!(ask(bad), Err(FetchError::Interrupted { .. })));
        }
        assert!(ask(good).is_ok());
    }
    for error in ["/e1", "/e2", "/e3", "/e4"] {
        assert!(matches!(ask(error), Err(FetchError::Status { status: 500, .. })));
    }
    for bad in ["/a", "/b", "/c"] {
        assert!(matches!(ask(bad), Err(FetchError::Interrupted { .. })));
    }
    assert!(matches!(ask("/g3"), Err(FetchError::GivenUp { .. })));
}

#[test]
fn a_thousand_documents_come_over_few_connections() {
    let (server, cache) = (Server::start(), tempfile::tempdir().unwrap());
    server.handle(|request| Some(Reply::file(request.path.clone())));
    let reader = reader(cache.path());
    let urls: Vec<String> = (0..1000).map(|i| server.url(&format!("/{i}"))).collect();
    let asks = urls.iter().map(|url| reader.document(url, ANY, LIMIT));
    let documents = run(futures_util::future::join_all(asks));
    for (i, document) in documents.into_iter().enumerate() {
        assert_eq!(document.unwrap().body.as_slice(), format!("/{i}").as_bytes());
    }
    assert_eq!(reader.requests(), 1000);
}

#[test]
fn source_with_a_rhythm_of_its_own_is_asked_in_that_by_a_pass_that_is_only_due() {
    let (server, cache) = (Server::start(), tempfile::tempdir().unwrap());
    let url = server.url("/list");
    server.serve("/list", Reply::file("one").etag(Some("\"1\"")));
    let first = reader(cache.path());
    run(first.document(&url, ANY, LIMIT)).unwrap();
    store(&Cache::below(cache.path()), &first.into_noted()).unwrap();
    let (minutes, hour) = (SignedDuration::from_mins, SignedDuration::from_hours(1));
    let from = |after: SignedDuration, max_age, every| {
        let reader = reader_at(cache.path(), now() + after, max_age).every(every);
        run(reader.document(&url, ANY, LIMIT)).unwrap().from
    };
    assert_eq!(from(minutes(30), minutes(15), Some(hour)), From::Fresh, "less often than others");
    assert_eq!(from(minutes(30), hour, Some(minutes(10))), From::NotModified, "more often");
    assert_eq!(from(minutes(59), minutes(15), Some(hour)), From::NotModified, "about then");
    assert_eq!(
        from(minutes(1), NEVER, Some(hour)),
        From::NotModified,
        "asked afresh, it is asked too"
    );
    assert_eq!(from(minutes(20), minutes(15), None), From::NotModified);
}
