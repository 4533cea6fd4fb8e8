//! Releases whose checksum file must be signed, by data that gpg made: `tests/golden/release`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::github::{FakeRelease, GitHub, release};
use crate::support::server::{Reply, Server};
use crate::support::world::World;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/release").join(name)
}

/// What is beside the checksum file: its name, and which golden signature it is.
type Signature<'a> = (&'a str, &'a str);

/// The files of a version, with signatures.
fn files(version: &str, signatures: &[Signature<'_>]) -> Vec<(String, Vec<u8>)> {
    let read = |name: &str| fs::read(golden(&format!("{version}/{name}"))).unwrap();
    let mut files: Vec<_> =
        ["tool", "SHA256SUMS"].iter().map(|name| ((*name).to_owned(), read(name))).collect();
    files.extend(signatures.iter().map(|(name, from)| ((*name).to_owned(), read(from))));
    files
}

/// A directory of versions on this machine.
struct Host {
    world: World,
}

impl Host {
    fn new() -> Self {
        Self { world: World::new() }
    }

    fn repository(&self) -> PathBuf {
        self.world.temp().join("repository")
    }

    /// Publishes a version anew.
    fn offer(&self, version: &str, signatures: &[Signature<'_>]) {
        let place = self.repository().join(version);
        let _ = fs::remove_dir_all(&place);
        fs::create_dir_all(&place).unwrap();
        for (name, bytes) in files(version, signatures) {
            fs::write(place.join(name), bytes).unwrap();
        }
    }

    fn wish(&mut self, source: &str, verify: &str) {
        let text = format!(
            "apps:\n  tool:\n    source: {source}\n    asset: tool\n    verify: {verify}\n"
        );
        self.world.wish("desired", &text);
        self.world.tick();
    }

    /// The same of the directory on this machine.
    fn wish_here(&mut self, verify: &str) {
        let source = format!("{{ file: {} }}", self.repository().display());
        self.wish(&source, verify);
    }

    fn installed(&self) -> Option<String> {
        let text = fs::read_to_string(self.world.path("opt/tool/bin/tool")).ok()?;
        Some(text.rsplit_once(' ')?.1.trim().to_owned())
    }

    #[track_caller]
    fn converges(&mut self) {
        self.world.run(&[]).exits(0);
        self.world.tick();
        let dry = self.world.run(&["--dry-run"]).exits(0).stdout;
        assert!(dry.starts_with("No changes"), "{dry}");
    }
}

fn gpg(keyring: &str) -> String {
    format!("{{ gpg: {{ keyring: {} }} }}", golden(keyring).display())
}

/// A web server for everything below a directory, with a list of the directory as web servers make it.
fn serving(root: PathBuf) -> Server {
    let server = Server::start();
    server.handle(move |request| {
        let path = root.join(request.bare_path().trim_start_matches('/'));
        if !path.is_dir() {
            return fs::read(path).ok().map(Reply::file);
        }
        let link = |entry: fs::DirEntry| {
            let slash = if entry.path().is_dir() { "/" } else { "" };
            format!("<a href=\"{0}{slash}\">{0}</a>\n", entry.file_name().display())
        };
        let mut links: Vec<String> =
            fs::read_dir(path).unwrap().map(|entry| link(entry.unwrap())).collect();
        links.sort();
        Some(Reply::file(links.concat()).header("Content-Type", "text/html"))
    });
    server
}

fn on_github(version: &str, signatures: &[Signature<'_>]) -> FakeRelease {
    let files = files(version, signatures).into_iter();
    files.fold(release(version), |release, (name, bytes)| release.asset(&name, bytes))
}

const SIGNED: Signature<'_> = ("SHA256SUMS.asc", "ours.asc");

#[test]
fn signed_release_is_installed_from_every_kind_of_source() {
    let names = [
        SIGNED,
        ("SHA256SUMS.gpg", "ours.sig"),
        ("SHA256SUMS.sig", "ours.sig"),
        ("SHA256SUMS.sig", "ours.asc"),
    ];
    for (at, signature) in names.into_iter().enumerate() {
        let keyring = ["ours.pgp", "ours.pgp.asc"][at % 2];
        let host = Host::new();
        host.offer("1.0.0", &[signature]);
        let (web, github) = (serving(host.repository()), GitHub::start());
        github.publish("acme/tool", [on_github("1.0.0", &[signature])]);
        let sources = [
            format!("{{ file: {} }}", host.repository().display()),
            format!("{{ http: \"{}\" }}", web.url("")),
            format!("{{ github: {{ repo: acme/tool, api: \"{}\" }} }}", github.api.url("")),
        ];
        for source in sources {
            let mut host = Host::new();
            host.wish(&source, &gpg(keyring));
            let plan = host.world.run(&["--dry-run"]).exits(0).stdout;
            assert!(plan.contains("signature") && plan.contains("signed by"), "{source}: {plan}");
            host.converges();
            assert_eq!(host.installed().as_deref(), Some("1.0.0"), "{source} {signature:?}");
        }
    }
}

#[test]
fn signature_is_found_beside_a_list_that_does_not_name_it() {
    let mut host = Host::new();
    host.offer("1.0.0", &[SIGNED]);
    let list = fs::read_to_string(golden("1.0.0/SHA256SUMS")).unwrap();
    let list = list.replace("  tool", "  1.0.0/tool");
    fs::write(host.repository().join("SHA256SUMS"), list).unwrap();
    let root = host.repository();
    let server = Server::start();
    server.handle(move |request| {
        fs::read(root.join(request.bare_path().trim_start_matches('/'))).ok().map(Reply::file)
    });
    host.wish(&format!("{{ http: \"{}\" }}", server.url("")), &gpg("ours.pgp"));
    host.converges();
    assert_eq!(host.installed().as_deref(), Some("1.0.0"));
}

#[test]
fn release_without_the_demanded_signature_is_not_even_fetched() {
    let text = |path: PathBuf| fs::read_to_string(path).unwrap();
    let another = text(golden("1.1.0/ours.asc"));
    let damaged = text(golden("1.0.0/ours.asc")).replace("\n\n", "\n\nAAAA");
    let cases: [(&[Signature<'_>], Option<String>, &str); 6] = [
        (&[], None, "there is no signature of SHA256SUMS"),
        (&[("SHA256SUMS.asc", "theirs.asc")], None, "not in the keyring"),
        (&[("tool.asc", "ours.asc")], None, "there is no signature of SHA256SUMS"),
        (&[], Some(another), "does not fit the data"),
        (&[], Some(damaged), "SHA256SUMS.asc"),
        (&[], Some("not a signature\n".to_owned()), "SHA256SUMS.asc"),
    ];
    for (signatures, own, why) in cases {
        let mut host = Host::new();
        host.offer("1.0.0", signatures);
        if let Some(own) = own {
            fs::write(host.repository().join("1.0.0/SHA256SUMS.asc"), own).unwrap();
        }
        let web = serving(host.repository());
        for source in [
            format!("{{ file: {} }}", host.repository().display()),
            format!("{{ http: \"{}\" }}", web.url("")),
        ] {
            host.wish(&source, &gpg("ours.pgp"));
            let ran = host.world.run(&[]).exits(77);
            assert!(ran.stdout.contains(why) || ran.stderr.contains(why), "{why}: {ran:#?}");
            assert_eq!(host.installed(), None, "{why}");
        }
        assert!(!web.paths().iter().any(|path| path.ends_with("/tool")), "{:?}", web.paths());
    }
}

#[test]
fn one_signature_that_holds_suffices_whatever_else_is_there() {
    let mut host = Host::new();
    host.offer("1.0.0", &[("SHA256SUMS.asc", "theirs.asc"), ("SHA256SUMS.sig", "ours.sig")]);
    host.wish_here(&gpg("ours.pgp"));
    host.converges();
    assert_eq!(host.installed().as_deref(), Some("1.0.0"));
}

#[test]
fn signed_list_that_was_changed_is_refused() {
    let mut host = Host::new();
    host.offer("1.0.0", &[SIGNED]);
    let list = host.repository().join("1.0.0/SHA256SUMS");
    let other = fs::read_to_string(golden("1.1.0/SHA256SUMS")).unwrap();
    fs::write(&list, other).unwrap();
    fs::copy(golden("1.1.0/tool"), host.repository().join("1.0.0/tool")).unwrap();
    host.wish_here(&gpg("ours.pgp"));
    host.world.run(&[]).exits(77);
    fs::copy(golden("1.0.0/SHA256SUMS"), &list).unwrap();
    // The list is right now, and the program is another one than it lists.
    host.world.run(&[]).exits(77);
    assert_eq!(host.installed(), None);
    host.offer("1.0.0", &[SIGNED]);
    host.converges();
}

#[test]
fn key_that_is_not_trusted_any_more_vouches_for_nothing() {
    for version in ["latest", "1.0.0"] {
        let mut host = Host::new();
        host.offer("1.0.0", &[SIGNED]);
        let web = serving(host.repository());
        let wish = |host: &mut Host, keyring: &str| {
            let source = format!("{{ http: \"{}\" }}\n    version: \"{version}\"", web.url(""));
            host.wish(&source, &gpg(keyring));
        };
        wish(&mut host, "ours.pgp");
        host.converges();
        wish(&mut host, "theirs.pgp");
        let said = host.world.run(&["--dry-run"]).exits(77).stdout;
        assert!(said.contains("not in the keyring"), "{said}");
        assert_eq!(host.installed().as_deref(), Some("1.0.0"), "what is installed stays");
        // The cache has the program, the list and the signature: none of them is evidence.
        fs::write(host.world.path("opt/tool/releases/1.0.0/tool"), "broken 0\n").unwrap();
        host.world.run(&[]).exits(77);
        assert_eq!(host.installed().as_deref(), Some("0"));
        fs::remove_dir_all(host.world.path("opt/tool/releases/1.0.0")).unwrap();
        host.world.run(&[]).exits(77);
        assert_eq!(host.installed(), None);
        host.offer("1.0.0", &[("SHA256SUMS.asc", "theirs.asc")]);
        host.converges();
        assert_eq!(host.installed().as_deref(), Some("1.0.0"));
    }
}

#[test]
fn release_of_before_signatures_were_demanded_is_verified_anew() {
    for version in ["latest", "1.0.0"] {
        let mut host = Host::new();
        host.offer("1.0.0", &[]);
        let source =
            format!("{{ file: {} }}\n    version: \"{version}\"", host.repository().display());
        host.wish(&source, "{ min: checksum }");
        host.converges();
        host.wish(&source, &gpg("ours.pgp"));
        host.world.run(&[]).exits(77);
        assert_eq!(host.installed().as_deref(), Some("1.0.0"), "what is installed stays");
        host.offer("1.0.0", &[SIGNED]);
        host.converges();
        let status = host.world.run(&["status", "-o", "json"]).exits(0).stdout;
        assert!(status.contains("1.0.0"), "{status}");
        host.world.run(&["--deep"]).exits(0);
    }
}

#[test]
fn list_that_a_server_takes_for_unchanged_is_asked_for_again_when_its_signature_is_another() {
    let mut host = Host::new();
    host.offer("1.0.0", &[SIGNED]);
    let server = Server::start();
    let (root, stale) = (host.repository(), Arc::new(AtomicBool::new(true)));
    let older = Arc::clone(&stale);
    server.handle(move |request| {
        let name = request.bare_path().trim_start_matches('/');
        let listing =
            "<a href=\"tool\"></a><a href=\"SHA256SUMS\"></a><a href=\"SHA256SUMS.asc\"></a>";
        match name {
            "" => return Some(Reply::file("<a href=\"1.0.0/\">1.0.0</a>")),
            "1.0.0/" => return Some(Reply::file(listing)),
            // Only its own readers see it: listings come from the index.
            "1.0.0/SHA256SUMS" if request.header("accept") == Some("*/*") => {
                return Some(Reply::status(404));
            }
            _ => {}
        }
        let mut bytes = fs::read(root.join(name)).ok()?;
        if name.ends_with("SHA256SUMS") && older.load(Ordering::Relaxed) {
            bytes.extend(b"\n");
        }
        // Both lists were written within one second, so that their dates are the same.
        let date = "Sat, 21 Nov 2026 10:00:00 GMT";
        Some(Reply::file(bytes).etag(None).header("Last-Modified", date))
    });
    host.wish(&format!("{{ http: \"{}\" }}", server.url("")), &gpg("ours.pgp"));
    host.world.run(&[]).exits(77);
    stale.store(false, Ordering::Relaxed);
    host.world.tick();
    host.converges();
    assert_eq!(host.installed().as_deref(), Some("1.0.0"));
}

#[test]
fn newer_release_without_a_signature_does_not_replace_a_signed_one() {
    let mut host = Host::new();
    host.offer("1.0.0", &[SIGNED]);
    host.wish_here(&gpg("ours.pgp"));
    host.converges();
    host.offer("1.1.0", &[]);
    host.world.run(&[]).exits(77);
    assert_eq!(host.installed().as_deref(), Some("1.0.0"));
    host.offer("1.1.0", &[SIGNED]);
    host.converges();
    assert_eq!(host.installed().as_deref(), Some("1.1.0"));
    host.world.run(&["rollback", "app/tool", "--reason", "test"]).exits(0);
    assert_eq!(host.installed().as_deref(), Some("1.0.0"));
}

#[test]
fn keyring_that_cannot_be_read_lets_nothing_pass() {
    let mut host = Host::new();
    host.offer("1.0.0", &[SIGNED]);
    for keyring in ["no-such-file", "1.0.0/tool", "1.0.0/ours.asc"] {
        host.wish_here(&gpg(keyring));
        let said = host.world.run(&[]).exits(77).stdout;
        assert!(said.contains("keyring"), "{said}");
    }
    assert_eq!(host.installed(), None);
}

#[test]
fn release_from_before_signatures_were_demanded_is_gone_back_to_by_name_only() {
    let mut host = Host::new();
    host.offer("1.0.0", &[]);
    host.wish_here("{ min: checksum }");
    host.converges();
    host.offer("1.1.0", &[SIGNED]);
    host.wish_here(&gpg("ours.pgp"));
    host.converges();
    let back = ["rollback", "app/tool", "--reason", "test"];
    let said = host.world.run(&back).exits(1).stderr;
    assert!(said.contains("1.0.0 of app/tool was not verified by gpg"), "{said}");
    assert_eq!(host.installed().as_deref(), Some("1.1.0"));
    let by_name = ["rollback", "app/tool", "--to", "1.0.0", "--reason", "test"];
    let said = host.world.run(&by_name).exits(0).stderr;
    assert!(said.contains("1.0.0 of app/tool was not verified by gpg"), "{said}");
    assert_eq!(host.installed().as_deref(), Some("1.0.0"));
}
