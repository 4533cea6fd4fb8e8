//! What a forge says, in all its forms.

use std::fs;

use jiff::SignedDuration;
use reconcile::fetch::{BlobRequest, Credentials, NoProgress, Reader, download, store};
use reconcile::model::cached::Cache;
use reconcile::model::version::Prereleases;
use reconcile::model::{Algorithm, Artifact, Digest};
use reconcile::resource::app::spec::{TagPattern, VersionWish};
use reconcile::source::spec::{Origin, SourceSpec};
use reconcile::source::{Class, read_small, releases};
use sha2::{Digest as _, Sha256};

use super::{ARCH, ask, names, reader, tags, wish};
use crate::fetch::{client, now, run};
use crate::support::github::{GitHub, release};
use crate::support::server::{Reply, Server};

fn around(want: &str, prefix: &str) -> VersionWish {
    let tag = TagPattern::Around { prefix: prefix.to_owned(), suffix: String::new() };
    VersionWish { tag, ..wish(want) }
}

#[test]
fn latest_release_costs_one_request() {
    let github = GitHub::start();
    let (first, second) =
        (release("v2.0.0-rc.1").prerelease(), release("v1.1.0").asset("tool.tar.gz", "bytes"));
    github.publish("acme/tool", [release("v9").draft(), first, second, release("v1.0.0")]);
    let found = ask(&github.spec("acme/tool"), &wish("latest")).unwrap();
    assert_eq!(tags(&found), ["v1.1.0"]);
    assert_eq!(found[0].version.as_str(), "1.1.0");
    assert_eq!(found[0].published, Some("2026-01-01T00:00:00Z".parse().unwrap()));
    let digest = Digest::new(Algorithm::Sha256, &Sha256::digest("bytes")).unwrap();
    assert_eq!(
        found[0].artifacts,
        [Artifact {
            content: None,
            name: "tool.tar.gz".to_owned(),
            urls: vec![github.api.url("/acme/tool/releases/download/v1.1.0/tool.tar.gz")],
            size: Some(5),
            digest: Some(digest),
        }]
    );
    assert_eq!(github.api.paths(), ["/repos/acme/tool/releases/latest"]);
    let request = &github.api.requests()[0];
    assert_eq!(request.header("accept"), Some("application/vnd.github+json"));
    assert!(request.header("user-agent").unwrap().starts_with("reconcile/"));
}

#[test]
fn only_complete_files_are_told_and_only_stated_digests() {
    let github = GitHub::start();
    let at = "2025-03-04T05:06:07Z";
    let old = release("v1.0.0").published(at).asset("a", "1").without_digest();
    github.publish("acme/tool", [old.asset("b", "2").uploading()]);
    let found = ask(&github.spec("acme/tool"), &wish("latest")).unwrap();
    assert_eq!(names(&found[0]), ["a"]);
    assert_eq!(found[0].artifacts[0].digest, None);
    assert_eq!(found[0].published, Some(at.parse().unwrap()));
}

#[test]
fn unchanged_release_is_asked_for_without_transfer() {
    let github = GitHub::start();
    github.publish("acme/tool", [release("v1.0.0").asset("tool.tar.gz", "bytes")]);
    let cache = tempfile::tempdir().unwrap();
    let mut answers = Vec::new();
    for second in 0..2 {
        let at = now() + SignedDuration::from_secs(second);
        let client = client(Credentials::default());
        let reader =
            Reader::new(client, Some(&Cache::below(cache.path())), at, SignedDuration::ZERO);
        answers.push(
            run(releases(&github.spec("acme/tool"), &wish("latest"), ARCH, &reader)).unwrap(),
        );
        store(&Cache::below(cache.path()), &reader.into_noted()).unwrap();
    }
    assert_eq!(answers[0], answers[1], "not modified is not `no release`");
    let requests = github.api.requests();
    assert_eq!((requests.len(), requests[1].status, requests[1].sent), (2, 304, 0));
}

#[test]
fn exact_version_is_asked_for_by_its_tag() {
    let github = GitHub::start();
    github.publish("acme/tool", [release("v2.0.0"), release("1.0.0")]);
    let cache = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        github.api.take_requests();
        let client = client(Credentials::default());
        let reader =
            Reader::new(client, Some(&Cache::below(cache.path())), now(), SignedDuration::ZERO);
        let found =
            run(releases(&github.spec("acme/tool"), &wish("1.0.0"), ARCH, &reader)).unwrap();
        assert_eq!(tags(&found), ["1.0.0"]);
        store(&Cache::below(cache.path()), &reader.into_noted()).unwrap();
    }
    assert!(github.api.paths().is_empty(), "known and fresh: {:?}", github.api.paths());
    let absent = ask(&github.spec("acme/tool"), &wish("3.0.0")).unwrap_err();
    assert_eq!(absent.class(), Class::NotFound);
    assert!(absent.to_string().contains("v3.0.0 or 3.0.0"), "{absent}");
    let none = ask(&github.spec("acme/none"), &wish("latest")).unwrap_err();
    assert_eq!(none.class(), Class::NotFound);
}

#[test]
fn guessed_tag_that_was_right_once_is_asked_for_first() {
    let github = GitHub::start();
    github.publish("acme/tool", [release("1.0.0")]);
    let cache = tempfile::tempdir().unwrap();
    for second in 0..2 {
        github.api.take_requests();
        let at = now() + SignedDuration::from_secs(second);
        let client = client(Credentials::default());
        let reader =
            Reader::new(client, Some(&Cache::below(cache.path())), at, SignedDuration::ZERO);
        run(releases(&github.spec("acme/tool"), &wish("1.0.0"), ARCH, &reader)).unwrap();
        store(&Cache::below(cache.path()), &reader.into_noted()).unwrap();
    }
    assert_eq!(github.api.paths(), ["/repos/acme/tool/releases/tags/1.0.0"]);
}

#[test]
fn all_pages_are_read_up_to_a_bound() {
    let github = GitHub::start();
    let many = |count| (0..count).map(move |i| release(&format!("v1.{}", count - i)));
    github.publish("acme/tool", many(250));
    let found = ask(&github.spec("acme/tool"), &wish(">=1.1, <2")).unwrap();
    assert_eq!(found.len(), 250);
    assert_eq!(found[249].tag, "v1.1");
    assert_eq!(github.api.requests().len(), 3);
    github.publish("acme/tool", many(900));
    assert_eq!(ask(&github.spec("acme/tool"), &wish(">=1.1, <2")).unwrap().len(), 500);
}

#[test]
fn next_page_of_another_origin_is_not_read() {
    let (server, other) = (Server::start(), Server::start());
    let link = format!("<{}>; rel=\"next\"", other.url("/page2"));
    server
        .serve("/repos/a/b/releases", Reply::file(r#"[{"tag_name":"v1"}]"#).header("Link", &link));
    let origin = Origin::Github { repo: "a/b".to_owned(), api: server.url("") };
    let found = ask(&SourceSpec { origin, mirrors: Vec::new() }, &wish(">=1")).unwrap();
    assert_eq!(tags(&found), ["v1"]);
    assert!(other.requests().is_empty());
}

#[test]
fn prereleases_and_minimum_age_look_at_the_list() {
    let github = GitHub::start();
    let rc = release("v2.0.0-rc.1").prerelease();
    github.publish("acme/tool", [release("v3").draft(), rc, release("v1.0.0")]);
    let prereleases = Prereleases::Wanted;
    let found =
        ask(&github.spec("acme/tool"), &VersionWish { prereleases, ..wish("latest") }).unwrap();
    assert_eq!(tags(&found), ["v2.0.0-rc.1", "v1.0.0"]);
    assert!(found[0].prerelease);
    let min_age = SignedDuration::from_hours(1);
    let found = ask(&github.spec("acme/tool"), &VersionWish { min_age, ..wish("latest") }).unwrap();
    assert_eq!(found.len(), 2, "the latest may be too young");
}

#[test]
fn monorepo_tags_keep_to_their_pattern() {
    let github = GitHub::start();
    let tags_there = ["web/v9.0", "cli/v1.1", "cli/v1.0", "cli/vx y", "clip/v7"];
    github.publish("acme/mono", tags_there.map(release));
    let found = ask(&github.spec("acme/mono"), &around("latest", "cli/v")).unwrap();
    assert_eq!(tags(&found), ["cli/v1.1", "cli/v1.0"]);
    github.api.take_requests();
    let found = ask(&github.spec("acme/mono"), &around("1.0", "cli/v")).unwrap();
    assert_eq!((tags(&found), found[0].version.as_str()), (vec!["cli/v1.0"], "1.0"));
    assert_eq!(github.api.paths(), ["/repos/acme/mono/releases/tags/cli%2Fv1.0"]);
}

#[test]
fn private_asset_is_fetched_over_the_api_and_the_token_stays_there() {
    let github = GitHub::start();
    github.demand_token("s3cret");
    github.publish("acme/tool", [release("v1.0.0").asset("tool.tar.gz", "bytes")]);
    let without = ask(&github.spec("acme/tool"), &wish("latest")).unwrap_err();
    assert_eq!(without.class(), Class::NotFound);
    assert!(without.to_string().contains("needs a token"), "{without}");

    let mut credentials = Credentials::default();
    credentials.add(&github.api.authority(), "s3cret");
    let client = client(credentials);
    let reader = Reader::new(client.clone(), None, now(), SignedDuration::ZERO);
    let found = run(releases(&github.spec("acme/tool"), &wish("latest"), ARCH, &reader)).unwrap();
    let artifact = &found[0].artifacts[0];
    assert!(artifact.urls[0].contains("/repos/acme/tool/releases/assets/"), "{artifact:?}");
    let cache = tempfile::tempdir().unwrap();
    let expect = [artifact.digest.clone().unwrap()];
    let request = BlobRequest {
        urls: &artifact.urls,
        name: &artifact.name,
        size: artifact.size,
        expect: &expect,
        size_max: 100,
    };
    let blob = run(download(&client, &request, &Cache::below(cache.path()), &NoProgress)).unwrap();
    assert_eq!(fs::read(blob.path).unwrap(), b"bytes");
    assert!(github.files.requests().iter().all(|r| r.header("authorization").is_none()));
    assert!(github.files.paths()[0].contains("signature="));
}

#[test]
fn mirrors_come_before_the_origin_and_are_never_asked_what_exists() {
    let (github, mirror) = (GitHub::start(), Server::start());
    github.publish("acme/tool", [release("cli/v1").asset("a b.txt", "real")]);
    let mut spec = github.spec("acme/tool");
    spec.mirrors = vec![mirror.url("/gh/")];
    let path = "/acme/tool/releases/download/cli%2Fv1/a%20b.txt";
    let reader = reader();
    let found = run(releases(&spec, &around("latest", "cli/v"), ARCH, &reader)).unwrap();
    let artifact = &found[0].artifacts[0];
    assert_eq!(artifact.urls.len(), 2);
    assert_eq!(artifact.urls[0], mirror.url(&format!("/gh{path}")));
    // What vouches for others is read from the origin.
    assert_eq!(artifact.urls[1], github.api.url("/acme/tool/releases/download/cli%2Fv1/a b.txt"));
    github.files.serve("/storage/cli/v1/a%20b.txt", Reply::file("real"));
    assert_eq!(run(read_small(artifact, &reader, 100)).unwrap(), b"real");
    assert!(mirror.requests().is_empty());
}

#[test]
fn sparse_and_foreign_answers_are_read_and_nonsense_is_told() {
    let server = Server::start();
    let origin = Origin::Github { repo: "a/b".to_owned(), api: server.url("/api/v3") };
    let spec = SourceSpec { origin, mirrors: Vec::new() };
    let path = "/api/v3/repos/a/b/releases/latest";
    let sparse = r#"{"tag_name":"v1","assets":[
        {"name":"ok","browser_download_url":"http://127.0.0.1:1/ok","digest":"md5:00"},
        {"name":"no-url"},
        {"name":"../evil","browser_download_url":"http://127.0.0.1:1/x"},
        {"name":"later","state":"starter","browser_download_url":"http://127.0.0.1:1/x"},
        {"name":"local","browser_download_url":"file:///etc/hostname"},
        {"name":"local-too","url":"FILE:///etc/hostname"},
        {"name":"api-only","url":"http://127.0.0.1:1/y","size":3}]}"#;
    server.serve(path, Reply::file(sparse));
    let found = ask(&spec, &wish("latest")).unwrap();
    assert_eq!(names(&found[0]), ["ok", "api-only"]);
    assert_eq!(found[0].artifacts[0].digest, None);
    assert_eq!(found[0].published, None);
    for (digest, counts) in [
        (format!("SHA256:{}", "AB".repeat(32)), true),
        (format!("sha256:{}", "AB".repeat(32)), true),
        (format!("sha256:{}", "ab".repeat(31)), false),
        (format!("sha256:{}", "xy".repeat(32)), false),
        ("ab".repeat(32), false),
        ("sha256".to_owned(), false),
    ] {
        server.serve(path, Reply::file(sparse.replace("md5:00", &digest)));
        match ask(&spec, &wish("latest")) {
            Ok(found) => {
                assert!(counts, "{digest}");
                let digest = found[0].artifacts[0].digest.as_ref().unwrap();
                assert_eq!(digest.hex(), "ab".repeat(32));
            }
            Err(error) => {
                assert!(!counts && error.class() == Class::Malformed, "{digest}: {error}");
                assert!(error.to_string().contains("the digest of `ok`"), "{error}");
            }
        }
    }

    server.serve(path, Reply::file("{\"tag_name\":\"v1\\u0000\"}"));
    assert!(ask(&spec, &wish("latest")).unwrap().is_empty(), "a tag with NUL is nobody's");
    for nonsense in ["", "<html>", "[]", "{\"tag_name\":1}", "{\"tag_name\":"] {
        server.serve(path, Reply::file(nonsense));
        assert_eq!(
            ask(&spec, &wish("latest")).unwrap_err().class(),
            Class::Malformed,
            "{nonsense}"
        );
    }
    for (status, class) in [
        (401, Class::Denied),
        (403, Class::Denied),
        (404, Class::NotFound),
        (500, Class::Unreachable),
        (429, Class::RateLimited),
    ] {
        server.serve(path, Reply::status(status));
        assert_eq!(ask(&spec, &wish("latest")).unwrap_err().class(), class, "{status}");
    }
}

#[test]
fn listing_that_is_too_large_is_read_in_smaller_pages() {
    let server = Server::start();
    let origin = Origin::Github { repo: "a/b".to_owned(), api: server.url("") };
    server.serve("/repos/a/b/releases?per_page=100", Reply::file(vec![b' '; (16 << 20) + 1]));
    server.serve("/repos/a/b/releases?per_page=20", Reply::file(r#"[{"tag_name":"v1"}]"#));
    let found = ask(&SourceSpec { origin, mirrors: Vec::new() }, &wish(">=1")).unwrap();
    assert_eq!(tags(&found), ["v1"]);
}
