//! Directories on the web and on this host, in every layout.

use std::fs;
use std::path::Path;

use camino::Utf8Path;
use reconcile::model::Artifact;
use reconcile::source::spec::{DirectoryUrl, Origin, SourceSpec};
use reconcile::source::{Class, read_small};

use super::{ask, names, reader, tags, wish};
use crate::fetch::run;
use crate::support::server::{Reply, Server};

pub(super) fn web(url: &str, pattern: Option<&str>) -> SourceSpec {
    directory(DirectoryUrl::Web(url.to_owned()), pattern)
}

fn local(path: &Path, pattern: Option<&str>) -> SourceSpec {
    let path = Utf8Path::from_path(path).unwrap().to_owned();
    directory(DirectoryUrl::Local(path), pattern)
}

fn directory(url: DirectoryUrl, pattern: Option<&str>) -> SourceSpec {
    let pattern = pattern.map(ToOwned::to_owned);
    let origin = Origin::Directory { url, pattern, arch_names: Vec::new() };
    SourceSpec { origin, mirrors: Vec::new() }
}

fn write(directory: &Path, names: &[&str]) {
    for name in names {
        let path = directory.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }
}

fn sums(names: &[&str]) -> String {
    let lines: Vec<_> = names.iter().map(|n| format!("{}  {n}\n", "0".repeat(64))).collect();
    lines.concat()
}

#[test]
fn local_directory_of_files_is_grouped_by_version() {
    let root = tempfile::tempdir().unwrap();
    write(
        root.path(),
        &[
            "tool-1.0-linux-x86_64.tar.gz",
            "tool-1.0-linux-aarch64.tar.gz",
            "tool-1.0-linux-x86_64.tar.gz.sha256",
            "tool-1.10.tar.gz",
            "tool_1.10_checksums.txt",
            "SHA256SUMS",
            "README",
        ],
    );
    let found = ask(&local(root.path(), None), &wish("latest")).unwrap();
    assert_eq!(tags(&found), ["1.10", "1.0"]);
    assert_eq!(names(&found[0]), ["tool-1.10.tar.gz", "tool_1.10_checksums.txt", "SHA256SUMS"]);
    assert_eq!(names(&found[1]).len(), 4);
    let archive = &found[0].artifacts[0];
    assert_eq!(archive.size, Some(16));
    assert!(archive.urls[0].starts_with("file:///"));

    let pattern = "tool-{version}-linux-{arch}.tar.gz";
    let found = ask(&local(root.path(), Some(pattern)), &wish("latest")).unwrap();
    assert_eq!(tags(&found), ["1.0"]);
    assert_eq!(
        names(&found[0]),
        [
            "tool-1.0-linux-aarch64.tar.gz",
            "tool-1.0-linux-x86_64.tar.gz",
            "tool-1.0-linux-x86_64.tar.gz.sha256",
            "SHA256SUMS"
        ]
    );
}

#[test]
fn local_directory_of_directories_has_a_release_in_each() {
    let root = tempfile::tempdir().unwrap();
    let there = [
        "v1.2/tool-x86_64.tar.gz",
        "v1.2/SHA256SUMS",
        "1.10/tool-x86_64.tar.gz",
        "docs/tool.tar.gz",
    ];
    write(root.path(), &there);
    for pattern in [None, Some("{version}/tool-{arch}.tar.gz")] {
        let found = ask(&local(root.path(), pattern), &wish("latest")).unwrap();
        assert_eq!(tags(&found), ["1.10", "v1.2"], "{pattern:?}");
        assert_eq!(names(&found[1]), ["SHA256SUMS", "tool-x86_64.tar.gz"]);
        let found = ask(&local(root.path(), pattern), &wish("1.2")).unwrap();
        assert!(found.iter().any(|release| release.tag == "v1.2"), "{pattern:?}");
    }
    let inside = local(&root.path().join("v{version}"), Some("tool-{arch}.tar.gz"));
    assert_eq!(tags(&ask(&inside, &wish("latest")).unwrap()), ["1.2"]);
}

#[test]
fn local_listing_follows_no_link_out_and_opens_no_file() {
    let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(outside.path(), &["tool-9.0.tar.gz", "9.1/tool.tar.gz"]);
    write(root.path(), &["real-1.0.tar.gz"]);
    let link = |to: &Path, name: &str| {
        std::os::unix::fs::symlink(to, root.path().join(name)).unwrap();
    };
    link(&outside.path().join("tool-9.0.tar.gz"), "tool-9.0.tar.gz");
    link(&outside.path().join("9.1"), "9.1");
    link(Path::new("real-1.0.tar.gz"), "real-1.1.tar.gz");
    link(Path::new("nowhere"), "real-1.2.tar.gz");
    let pipe = root.path().join("pipe-3.0.tar.gz");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    let found = ask(&local(root.path(), None), &wish("latest")).unwrap();
    assert_eq!(tags(&found), ["1.1", "1.0"]);
    let absent = ask(&local(&root.path().join("none"), None), &wish("latest")).unwrap_err();
    assert_eq!(absent.class(), Class::Unreachable);
    let url = vec![format!("file://{}", pipe.display())];
    let artifact =
        Artifact { name: "pipe".to_owned(), urls: url, size: None, digest: None, content: None };
    run(read_small(&artifact, &reader(), 100)).unwrap_err();
}

#[test]
fn web_directory_is_known_from_its_checksum_file() {
    let server = Server::start();
    let names_there = ["tool-1.0.tar.gz", "tool 1.1.tar.gz", "../evil-2.0.tar.gz"];
    server.serve("/dl/SHA256SUMS", Reply::file(sums(&names_there)));
    let found = ask(&web(&server.url("/dl"), None), &wish("latest")).unwrap();
    assert_eq!(tags(&found), ["1.1", "1.0"]);
    assert_eq!(names(&found[0]), ["tool 1.1.tar.gz", "SHA256SUMS"]);
    assert_eq!(found[0].artifacts[0].urls, [server.url("/dl/tool%201.1.tar.gz")]);
    assert_eq!(found[0].artifacts[0].size, None);
    assert_eq!(server.paths(), ["/dl/SHA256SUMS"]);
    let checksums = &found[0].artifacts[1];
    assert_eq!(run(read_small(checksums, &reader(), 1000)).unwrap(), sums(&names_there).as_bytes());
    assert!(run(read_small(checksums, &reader(), 10)).is_err());
}

#[test]
fn pattern_for_a_directory_of_versions_is_told_on_the_web_too() {
    let server = Server::start();
    server
        .serve("/dl/SHA256SUMS", Reply::file(sums(&["1.0/tool-x86_64.gz", "1.1/tool-x86_64.gz"])));
    for version in ["latest", "1.0"] {
        let asked = ask(&web(&server.url("/dl"), Some("tool-{version}")), &wish(version));
        let told = asked.unwrap_err().to_string();
        assert!(told.contains("its versions are directories"), "{told}");
        assert!(told.contains("leave `pattern` out") && !told.contains("token"), "{told}");
    }
}

#[test]
fn web_directory_is_known_from_its_index() {
    let server = Server::start();
    let html = r#"<a href="../">..</a><a href="tool-1.0-linux-x86_64.tgz">x</a>
        <a href="/dl/tool-1.1-linux-x86_64.tgz?download">x</a><a href="SHA256SUMS.sig">x</a>
        <a href="http://127.0.0.1:1/dl/tool-9.0-linux-x86_64.tgz">x</a>"#;
    server.serve("/dl/", Reply::file(html));
    let pattern = Some("tool-{version}-{os}-{arch}.tgz");
    let mut source = web(&server.url("/dl"), pattern);
    source.mirrors = vec!["https://mirror.example/x".to_owned()];
    let found = ask(&source, &wish("latest")).unwrap();
    assert_eq!(tags(&found), ["1.1", "1.0"]);
    assert_eq!(
        found[0].artifacts[0].urls,
        [
            "https://mirror.example/x/tool-1.1-linux-x86_64.tgz".to_owned(),
            server.url("/dl/tool-1.1-linux-x86_64.tgz")
        ]
    );
    assert_eq!(names(&found[0])[1], "SHA256SUMS.sig");
}

#[test]
fn web_directories_of_versions_are_listed_newest_first_up_to_a_bound() {
    let server = Server::start();
    let links: Vec<_> = (0..30).map(|i| format!("<a href=\"v1.{i}/\">x</a>")).collect();
    server.serve("/dl/", Reply::file(links.concat()));
    for i in 0..30 {
        let file = Reply::file(sums(&[&format!("tool-1.{i}.tgz"), "other.tgz"]));
        server.serve(&format!("/dl/v1.{i}/SHA256SUMS"), file);
    }
    let source = web(&server.url("/dl/v{version}"), Some("tool-{version}.tgz"));
    let found = ask(&source, &wish("<1.25")).unwrap();
    assert_eq!(found.len(), 10);
    assert_eq!(
        (found[0].tag.as_str(), names(&found[0])),
        ("1.24", vec!["SHA256SUMS", "tool-1.24.tgz"])
    );

    server.take_requests();
    let found = ask(&source, &wish("1.7")).unwrap();
    assert_eq!(tags(&found), ["1.7"]);
    assert_eq!(server.paths(), ["/dl/v1.7/SHA256SUMS"], "an exact version needs no listing");
}

#[test]
fn exact_version_without_any_listing_has_the_url_it_must_have() {
    let server = Server::start();
    let source = web(&server.url("/dl/{version}"), Some("tool-{version}.tgz"));
    let found = ask(&source, &wish("1.7")).unwrap();
    assert_eq!(found[0].artifacts[0].urls, [server.url("/dl/1.7/tool-1.7.tgz")]);
    let flat = web(&server.url("/dl"), Some("tool-{version}.tgz"));
    let found = ask(&flat, &wish("1.7")).unwrap();
    assert_eq!(found[0].artifacts[0].urls, [server.url("/dl/tool-1.7.tgz")]);
    assert_eq!(ask(&flat, &wish("latest")).unwrap_err().class(), Class::NotFound);
    let open = web(&server.url("/dl"), Some("tool-{version}-{arch}.tgz"));
    assert_eq!(ask(&open, &wish("1.7")).unwrap_err().class(), Class::NotFound);
}
