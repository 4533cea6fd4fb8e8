//! Downloads that break off, lie, never end or come from several places.

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use reconcile::fetch::{
    BlobRequest, Client, Credentials, FetchError, NoProgress, Progress, download,
};
use reconcile::model::cached::Cache;
use reconcile::model::step::Blob;
use reconcile::model::{Algorithm, Digest};
use sha2::{Digest as _, Sha256, Sha512};

use super::{ANY, LIMIT, client, client_with, reader, run};
use crate::support::server::{Reply, Server};

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[5]).collect()
}

fn sha256(bytes: &[u8]) -> Digest {
    Digest::new(Algorithm::Sha256, &Sha256::digest(bytes)).unwrap()
}

/// A cache and what is asked of it.
struct World {
    server: Server,
    cache: tempfile::TempDir,
    client: Client,
}

impl World {
    fn new() -> Self {
        let cache = tempfile::tempdir().unwrap();
        Self { server: Server::start(), cache, client: client(Credentials::default()) }
    }

    fn kept(&self) -> Cache {
        Cache::below(self.cache.path())
    }

    /// A world that gives a silent server so long.
    fn impatient(stall_timeout: Duration) -> Self {
        Self { client: client_with(Credentials::default(), stall_timeout), ..Self::new() }
    }

    fn get(&self, urls: &[String], expect: &[Digest]) -> Result<Blob, FetchError> {
        self.get_sized(urls, expect, None)
    }

    fn get_sized(
        &self,
        urls: &[String],
        expect: &[Digest],
        size: Option<u64>,
    ) -> Result<Blob, FetchError> {
        self.watch(&BlobRequest { urls, name: "tool", size, expect, size_max: LIMIT }, &NoProgress)
    }

    fn watch(
        &self,
        request: &BlobRequest<'_>,
        progress: &dyn Progress,
    ) -> Result<Blob, FetchError> {
        run(download(&self.client, request, &self.kept(), progress))
    }

    fn url(&self) -> [String; 1] {
        [self.server.url("/tool")]
    }

    fn files(&self, directory: &str) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.cache.path().join(directory)) else {
            return Vec::new();
        };
        entries.map(|entry| entry.unwrap().path()).collect()
    }
}

#[test]
fn download_is_stored_by_its_digest() {
    let (world, body) = (World::new(), bytes(300_000));
    world.server.serve("/tool", Reply::file(body.clone()));
    let sha512 = Digest::new(Algorithm::Sha512, &Sha512::digest(&body)).unwrap();
    let blob = world.get(&world.url(), std::slice::from_ref(&sha512)).unwrap();
    assert_eq!(blob.digests, [sha256(&body), sha512]);
    assert_eq!(blob.size, 300_000);
    assert!(blob.path.ends_with(format!("blobs/sha256/{}", sha256(&body).hex())));
    assert_eq!(fs::read(&blob.path).unwrap(), body);
    assert!(world.files("partial").is_empty());
}

#[test]
fn cached_blob_needs_no_request_and_is_looked_at() {
    let (world, body) = (World::new(), bytes(1000));
    world.server.serve("/tool", Reply::file(body.clone()));
    let expect = [sha256(&body)];
    let blob = world.get(&world.url(), &expect).unwrap();
    world.get(&world.url(), &expect).unwrap();
    assert_eq!(world.server.take_requests().len(), 1);

    fs::write(&blob.path, b"damaged").unwrap();
    let blob = world.get(&world.url(), &expect).unwrap();
    assert_eq!(fs::read(&blob.path).unwrap(), body);
    assert_eq!(world.server.take_requests().len(), 1);
}

#[test]
fn resumed_download_transfers_only_the_rest() {
    let (world, body) = (World::new(), bytes(500_000));
    let whole = Reply::file(body.clone());
    world.server.serve_in_turn("/tool", [whole.clone().truncated_after(200_000), whole]);
    let blob = world.get(&world.url(), &[sha256(&body)]).unwrap();
    assert_eq!(fs::read(&blob.path).unwrap(), body);
    let requests = world.server.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[1].status, 206);
    assert!(requests[1].header("if-range").is_some());
    let sent: u64 = requests.iter().map(|request| request.sent).sum();
    assert_eq!(sent, 500_000, "every byte came once");
}

#[test]
fn download_is_resumed_by_a_later_process() {
    let (world, body) = (World::new(), bytes(500_000));
    let whole = Reply::file(body.clone());
    let broken = whole.clone().truncated_after(200_000);
    let gone = Reply::status(404);
    world.server.serve_in_turn("/tool", [broken, gone, whole]);
    assert!(matches!(
        world.get(&world.url(), &[sha256(&body)]),
        Err(FetchError::Status { status: 404, .. })
    ));
    assert_eq!(world.files("partial").len(), 2, "bytes and what they belong to");
    world.server.take_requests();
    world.get(&world.url(), &[sha256(&body)]).unwrap();
    assert_eq!(world.server.requests()[0].sent, 300_000);
    assert!(world.files("partial").is_empty());
}

#[test]
fn changed_file_starts_over() {
    let (world, old, new) = (World::new(), bytes(500_000), bytes(400_001));
    world.server.serve_in_turn(
        "/tool",
        [Reply::file(old).truncated_after(200_000), Reply::file(new.clone())],
    );
    let blob = world.get(&world.url(), &[]).unwrap();
    assert_eq!(blob.digests, [sha256(&new)]);
    assert_eq!(world.server.requests()[1].status, 200);
}

#[test]
fn weak_validator_and_server_without_ranges_start_over() {
    for change in [
        (|reply: Reply| reply.etag(Some("W/\"1\""))) as fn(Reply) -> Reply,
        |reply| reply.etag(None),
        |reply| reply.etag(None).header("Last-Modified", "Sat, 21 Nov 2026 10:00:00 GMT"),
        Reply::without_ranges,
    ] {
        let (world, body) = (World::new(), bytes(50_000));
        let whole = change(Reply::file(body.clone()));
        world.server.serve_in_turn("/tool", [whole.clone().truncated_after(20_000), whole]);
        assert_eq!(world.get(&world.url(), &[]).unwrap().digests, [sha256(&body)]);
        assert_eq!(world.server.requests()[1].status, 200);
    }
}

#[test]
fn settled_modification_time_resumes() {
    let (world, body) = (World::new(), bytes(50_000));
    let whole = Reply::file(body.clone())
        .etag(None)
        .header("Last-Modified", "Sat, 21 Nov 2026 10:00:00 GMT")
        .header("Date", "Sat, 21 Nov 2026 11:00:00 GMT");
    world.server.serve_in_turn("/tool", [whole.clone().truncated_after(20_000), whole]);
    assert_eq!(world.get(&world.url(), &[]).unwrap().digests, [sha256(&body)]);
    assert_eq!(world.server.requests()[1].sent, 30_000);
}

#[test]
fn damaged_partial_download_is_not_believed() {
    let (world, body) = (World::new(), bytes(500_000));
    let whole = Reply::file(body.clone());
    let broken = whole.clone().truncated_after(200_000);
    world.server.serve_in_turn("/tool", [broken, Reply::status(404), whole]);
    let expect = [sha256(&body)];
    world.get(&world.url(), &expect).unwrap_err();
    let partial = world.files("partial").into_iter().find(|p| p.extension().unwrap() == "0");
    let partial = partial.unwrap();
    let mut damaged = fs::read(&partial).unwrap();
    damaged[7] ^= 1;
    fs::write(&partial, damaged).unwrap();
    assert_eq!(world.get(&world.url(), &expect).unwrap().digests, expect);
}

#[test]
fn mirror_with_wrong_bytes_is_skipped_and_reported() {
    #[derive(Default)]
    struct Log(Mutex<Vec<String>>);
    impl Progress for Log {
        fn started(&self, name: &str, total: Option<u64>) {
            self.0.lock().unwrap().push(format!("{name} of {total:?}"));
        }
        fn advanced(&self, _: &str, _: u64) {}
        fn finished(&self, name: &str) {
            self.0.lock().unwrap().push(format!("{name} done"));
        }
        fn skipped(&self, _: &str, why: &FetchError) {
            let why = if matches!(why, FetchError::WrongBytes { .. }) { "wrong" } else { "other" };
            self.0.lock().unwrap().push(why.to_owned());
        }
    }
    let (world, body) = (World::new(), bytes(1000));
    world.server.serve("/mirror", Reply::file(bytes(999)));
    world.server.serve("/tool", Reply::file(body.clone()));
    let urls = ["/absent", "/mirror", "/tool"].map(|path| world.server.url(path));
    let log = Log::default();
    let expect = [sha256(&body)];
    let request =
        BlobRequest { urls: &urls, name: "tool", size: None, expect: &expect, size_max: LIMIT };
    assert_eq!(world.watch(&request, &log).unwrap().digests, expect);
    let seen = log.0.into_inner().unwrap();
    assert_eq!(seen, ["other", "tool of Some(999)", "wrong", "tool of Some(1000)", "tool done"]);
    assert!(world.files("partial").is_empty());
    assert_eq!(world.files("blobs/sha256").len(), 1, "no wrong blob stays");
}

#[test]
fn every_failure_of_every_place_is_told() {
    let world = World::new();
    let urls = ["/a", "/b"].map(|path| world.server.url(path));
    let error = world.get(&urls, &[]).unwrap_err().to_string();
    assert!(error.contains("/a: the server answered 404"), "{error}");
    assert!(error.contains("/b: the server answered 404"), "{error}");
}

#[test]
fn endless_body_is_stopped_at_the_cap() {
    let world = World::new();
    world.server.serve("/tool", Reply::endless());
    assert!(matches!(world.get(&world.url(), &[]), Err(FetchError::TooLarge { .. })));
    assert_eq!(world.server.requests().len(), 1);
    assert!(world.files("partial").is_empty());
    let known = world.get_sized(&world.url(), &[], Some(1000));
    assert!(matches!(known, Err(FetchError::SizeDiffers { expected: 1000, .. })));
    let cache = world.cache.path();
    let document = run(reader(cache).document(&world.url()[0], ANY, 1000));
    assert!(matches!(document, Err(FetchError::TooLarge { limit: 1000, .. })));
}

#[test]
fn announced_size_that_is_wrong_or_too_large_is_refused_before_a_byte_comes() {
    let world = World::new();
    let large = usize::try_from(LIMIT).unwrap() + 1;
    world.server.serve("/tool", Reply::file(bytes(large)).stalling_after(0));
    assert!(matches!(world.get(&world.url(), &[]), Err(FetchError::TooLarge { .. })));
    assert!(matches!(
        world.get_sized(&world.url(), &[], Some(5)),
        Err(FetchError::SizeDiffers { expected: 5, found, .. }) if found == large as u64
    ));
}

#[test]
fn truncated_download_is_an_error() {
    let world = World::new();
    world.server.serve("/tool", Reply::file(bytes(1000)).without_ranges().truncated_after(10));
    assert!(matches!(world.get(&world.url(), &[]), Err(FetchError::Interrupted { .. })));
    assert_eq!(world.server.requests().len(), 4, "tries are bounded");
    assert!(world.files("blobs/sha256").is_empty());
}

#[test]
fn stalled_download_is_resumed() {
    let (world, body) = (World::impatient(Duration::from_millis(300)), bytes(50_000));
    let whole = Reply::file(body.clone());
    world.server.serve_in_turn("/tool", [whole.clone().stalling_after(20_000), whole]);
    assert_eq!(world.get(&world.url(), &[]).unwrap().digests, [sha256(&body)]);
    assert_eq!(world.server.requests()[1].sent, 30_000);
}

#[test]
fn slow_download_has_no_total_timeout() {
    let (world, body) = (World::impatient(Duration::from_millis(600)), bytes(50_000));
    let slow = Reply::file(body.clone()).slow(2_500, Duration::from_millis(100));
    world.server.serve("/tool", slow.without_ranges());
    assert_eq!(world.get(&world.url(), &[]).unwrap().digests, [sha256(&body)]);
}

#[test]
fn a_line_that_only_trickles_is_left_for_another_place_and_continued_later() {
    let (world, body) = (World::impatient(Duration::from_millis(300)), bytes(50_000));
    let whole = Reply::file(body.clone());
    world.server.serve("/slow", whole.clone().slow(25, Duration::from_millis(50)));
    let slow = [world.server.url("/slow")];
    let error = world.get(&slow, &[sha256(&body)]).unwrap_err();
    assert!(matches!(error, FetchError::Trickling { .. }), "{error}");
    assert_eq!(world.server.take_requests().len(), 1, "it is not asked again in this pass");
    world.server.serve("/slow", whole.clone());
    world.get(&slow, &[sha256(&body)]).unwrap();
    assert_eq!(world.server.take_requests()[0].status, 206, "what came was kept");

    world.server.serve("/drip", whole.clone().slow(25, Duration::from_millis(50)));
    world.server.serve("/fast", whole);
    fs::remove_dir_all(world.cache.path().join("blobs")).unwrap();
    let both = [world.server.url("/drip"), world.server.url("/fast")];
    assert_eq!(world.get(&both, &[]).unwrap().digests, [sha256(&body)]);
}

#[test]
fn passing_failures_are_tried_again_and_lasting_ones_are_not() {
    for (status, tries) in [(500, 3), (503, 3), (408, 3), (429, 3), (404, 1), (401, 1), (403, 1)] {
        let world = World::new();
        let (bad, good) = (Reply::status(status), Reply::file(bytes(10)));
        world.server.serve_in_turn("/tool", [bad.clone(), bad, good]);
        assert_eq!(world.get(&world.url(), &[]).is_ok(), tries == 3, "{status}");
        assert_eq!(world.server.requests().len(), tries, "{status}");
    }
}

#[test]
fn local_file_is_copied_with_the_same_checks() {
    let (world, body) = (World::new(), bytes(1000));
    let path = world.cache.path().join("a tool%20.tar");
    fs::write(&path, &body).unwrap();
    let url = [reqwest::Url::from_file_path(&path).unwrap().to_string()];
    let blob = world.get(&url, &[sha256(&body)]).unwrap();
    assert_eq!(fs::read(blob.path).unwrap(), body);
    assert!(path.exists());

    let wrong = world.get(&url, &[sha256(b"other")]);
    assert!(matches!(wrong, Err(FetchError::WrongBytes { .. })));
    let sized = world.get_sized(&url, &[], Some(999));
    assert!(matches!(sized, Err(FetchError::SizeDiffers { .. })));
    let directory = [format!("file://{}", world.cache.path().display())];
    assert!(matches!(world.get(&directory, &[]), Err(FetchError::Local { .. })));
    let absent = ["file:///no/such/file".to_owned()];
    assert!(matches!(world.get(&absent, &[]), Err(FetchError::Local { .. })));
    let foreign = ["ftp://127.0.0.1/x".to_owned()];
    assert!(matches!(world.get(&foreign, &[]), Err(FetchError::BadUrl { .. })));
    assert!(world.files("partial").is_empty());
}

#[test]
fn two_downloads_of_one_thing_do_not_mix() {
    let (world, body) = (World::new(), bytes(400_000));
    let reply = Reply::file(body.clone()).slow(40_000, Duration::from_millis(5));
    world.server.serve("/tool", reply);
    let (url, expect) = (world.url(), [sha256(&body)]);
    let request =
        BlobRequest { urls: &url, name: "tool", size: None, expect: &expect, size_max: LIMIT };
    let cache = world.kept();
    let get = || download(&world.client, &request, &cache, &NoProgress);
    let (one, two) = run(async { tokio::join!(get(), get()) });
    assert_eq!(fs::read(one.unwrap().path).unwrap(), body);
    assert_eq!(fs::read(two.unwrap().path).unwrap(), body);
    assert!(world.files("partial").is_empty());
}

#[test]
fn token_is_sent_to_its_host_and_nowhere_else() {
    let (api, other) = (Server::start(), Server::start());
    other.serve("/blob", Reply::file(bytes(10)));
    api.serve("/asset", Reply::redirect(&other.url("/blob")).needing_token(Some("s3cret")));
    let mut credentials = Credentials::default();
    credentials.add(&api.authority(), "s3cret");
    let cache = tempfile::tempdir().unwrap();
    let client = client(credentials);
    let urls = [api.url("/asset")];
    let request = BlobRequest { urls: &urls, name: "a", size: None, expect: &[], size_max: LIMIT };
    run(download(&client, &request, &Cache::below(cache.path()), &NoProgress)).unwrap();
    assert_eq!(api.requests()[0].header("authorization"), Some("Bearer s3cret"));
    assert_eq!(other.requests().len(), 1);
    assert_eq!(other.requests()[0].header("authorization"), None);
    assert!(!format!("{client:?}").contains("s3cret"));
}

#[test]
fn redirect_loop_ends() {
    let world = World::new();
    world.server.serve("/tool", Reply::redirect("/tool"));
    assert!(matches!(world.get(&world.url(), &[]), Err(FetchError::Redirect { .. })));
    assert_eq!(world.server.requests().len(), 6);
}

#[test]
fn broken_tls_is_told_apart() {
    let world = World::new();
    let url = [format!("https://{}/tool", world.server.authority())];
    let outcome = world.get(&url, &[]);
    assert!(matches!(outcome, Err(FetchError::Tls { .. })), "{outcome:?}");
}

#[test]
fn redirect_from_http_to_https_is_followed() {
    let world = World::new();
    let secure = format!("https://{}/tool", world.server.authority());
    world.server.serve("/tool", Reply::redirect(&secure));
    let outcome = world.get(&world.url(), &[]);
    // Nobody speaks TLS there: that it was tried is what shows.
    assert!(matches!(outcome, Err(FetchError::Tls { .. })), "{outcome:?}");
}

#[test]
fn secrets_in_urls_are_not_shown() {
    let world = World::new();
    let url = [format!("http://me:pass@{}/x?signature=abc#f", world.server.authority())];
    let error = world.get(&url, &[]).unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains("pass") && !shown.contains("abc") && !shown.contains("me:"), "{shown}");
}

#[test]
fn downloading_can_move_between_threads() {
    fn can_move(_: impl Send) {}
    let world = World::new();
    let url = world.url();
    let request =
        BlobRequest { urls: &url, name: "tool", size: None, expect: &[], size_max: LIMIT };
    can_move(download(&world.client, &request, &world.kept(), &NoProgress));
}
