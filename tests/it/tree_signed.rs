//! Trees whose index must be signed, by data that casync and gpg made: `tests/golden/signed-tree`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use reconcile::format::detached::{blocks, joined};
use reconcile::trust::openpgp::{Keyring, verify_detached};

use crate::support::server::{Reply, Server};
use crate::support::tree::remove;
use crate::support::world::{Ran, World};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/signed-tree").join(name)
}

fn date(path: &Path, text: &str) {
    let at: jiff::Timestamp = text.parse().unwrap();
    fs::File::options().append(true).open(path).unwrap().set_modified(at.into()).unwrap();
}

/// Fills a directory with an index of a version, all chunks, and signatures: the end of each name, and which golden one
/// it is.
fn offer(place: &Path, version: &str, signatures: &[(&str, &str)]) {
    fs::create_dir_all(place).unwrap();
    for end in ["", ".asc", ".gpg", ".sig"] {
        remove(&place.join(format!("site.caidx{end}")));
    }
    for directory in fs::read_dir(golden("site.castr")).unwrap() {
        for chunk in fs::read_dir(directory.unwrap().path()).unwrap() {
            let chunk = chunk.unwrap().path();
            let to = place.join(chunk.strip_prefix(golden("")).unwrap());
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            remove(&to);
            fs::write(to, fs::read(chunk).unwrap()).unwrap();
        }
    }
    let copy = |from: &str, name: &str| {
        fs::write(place.join(name), fs::read(golden(from)).unwrap()).unwrap();
        date(&place.join(name), "2025-02-01T00:00:00Z");
    };
    copy(&format!("{version}/site.caidx"), "site.caidx");
    for (end, from) in signatures {
        copy(from, &format!("site.caidx{end}"));
    }
}

/// A host, what is published for it, and a stick.
struct Host {
    world: World,
}

impl Host {
    fn new() -> Self {
        Self { world: World::new() }
    }

    fn place(&self, name: &str) -> PathBuf {
        self.world.temp().join(name)
    }

    fn offer(&self, version: &str, signatures: &[(&str, &str)]) {
        offer(&self.place("offered"), version, signatures);
    }

    fn wish_from(&mut self, from: &str, keyring: &str, more: &str) {
        let text = format!(
            "trees:\n  site:\n    path: /srv/site\n    verify: {{ gpg: {{ keyring: {} }} }}\n    source: {{ \
             casync: {{ index: \"{from}/site.caidx\", store: \"{from}/site.castr\" }} }}\n{more}",
            golden(keyring).display()
        );
        self.world.wish("desired", &text);
        self.world.tick();
    }

    fn wish(&mut self, keyring: &str, more: &str) {
        let from = self.place("offered").display().to_string();
        self.wish_from(&from, keyring, more);
    }

    /// The same with a stick for when nothing is offered.
    fn wish_with_stick(&mut self, keyring: &str, refresh: &str) {
        let stick = self.place("stick");
        let more = format!(
            "    offline: {{ casync: {{ index: {0}/site.caidx, store: {0}/site.castr, refresh: {refresh} }} }}\n",
            stick.display()
        );
        self.wish(keyring, &more);
    }

    fn installed(&self) -> Option<String> {
        fs::read_to_string(self.world.path("/srv/site/conf.d/main")).ok()
    }

    fn run(&mut self) -> Ran {
        self.world.tick();
        self.world.run(&[])
    }

    #[track_caller]
    fn converges(&mut self) {
        self.run().exits(0);
        self.world.tick();
        let dry = self.world.run(&["--dry-run"]).exits(0).stdout;
        assert!(dry.contains("No changes"), "{dry}");
    }

    #[track_caller]
    fn refused(&mut self, code: i32, why: &str) {
        let before = self.installed();
        let ran = self.run().exits(code);
        assert_eq!(ran.stdout.matches(why).count(), 1, "{why}: {ran:#?}");
        assert_eq!(self.installed(), before, "{why}");
    }
}

fn serving(root: PathBuf) -> Server {
    let server = Server::start();
    server.handle(move |request| {
        fs::read(root.join(request.bare_path().trim_start_matches('/'))).ok().map(Reply::file)
    });
    server
}

#[test]
fn signed_tree_is_installed_from_disk_and_by_plain_http() {
    let names = [(".asc", "1/ours.asc"), (".gpg", "1/ours.sig"), (".sig", "1/later.sig")];
    for name in names {
        let host = Host::new();
        host.offer("1", &[name]);
        let server = serving(host.place("offered"));
        for from in [host.place("offered").display().to_string(), server.url("")] {
            let mut host = Host::new();
            host.wish_from(&from, "ours.pgp", "");
            let plan = host.world.run(&["--dry-run"]).exits(0).stdout;
            assert!(plan.contains("verified by signature"), "{plan}");
            assert!(plan.contains(", signed by "), "{plan}");
            host.converges();
            assert_eq!(host.installed().as_deref(), Some("release 1\n"), "{from} {name:?}");
            host.world.run(&["--deep", "--dry-run"]).exits(0);
        }
    }
}

#[test]
fn tree_without_the_demanded_signature_is_not_made() {
    let cases: [(&[(&str, &str)], &str); 5] = [
        (&[], "there is none beside it"),
        (&[(".asc", "1/theirs.sig")], "not in the keyring"),
        (&[(".gpg", "2/ours.sig")], "does not fit the data"),
        (&[(".sig", "1/site.caidx")], "site.caidx.sig"),
        (&[(".asc.asc", "1/ours.asc")], "there is none beside it"),
    ];
    for (signatures, why) in cases {
        let mut host = Host::new();
        host.offer("1", signatures);
        let server = serving(host.place("offered"));
        for from in [host.place("offered").display().to_string(), server.url("")] {
            host.wish_from(&from, "ours.pgp", "");
            host.refused(77, why);
        }
        assert!(!host.world.path("/srv/site").exists());
        assert!(!server.paths().iter().any(|path| path.contains("castr")), "{:?}", server.paths());
    }
}

#[test]
fn what_can_never_be_a_signature_counts_as_a_wrong_one() {
    type Put = fn(&Path);
    let put: [(Put, &str); 3] = [
        (|place| fs::create_dir(place).unwrap(), "it is not a regular file"),
        (|place| pipe(place), "it is not a regular file"),
        (
            |place| fs::write(place, vec![b'\n'; (256 << 10) + 1]).unwrap(),
            "it has more than the allowed 262144 bytes",
        ),
    ];
    for (put, why) in put {
        for place in ["offered", "stick"] {
            let mut host = Host::new();
            host.wish_with_stick("ours.pgp", "false");
            offer(&host.place(place), "1", &[]);
            put(&host.place(place).join("site.caidx.asc"));
            let code = host.run().code;
            assert_eq!(code, if place == "stick" { 69 } else { 77 }, "{why}");
            host.refused(code, why);
            assert!(!host.world.path("/srv/site").exists());
            // Another one that holds suffices, and signed indexes of a length that is read are.
            let signature = host.place(place).join("site.caidx.sig");
            fs::write(signature, fs::read(golden("1/ours.sig")).unwrap()).unwrap();
            host.run().exits(0);
            assert_eq!(host.installed().as_deref(), Some("release 1\n"));
        }
    }
    let server = Server::start();
    server.handle(|request| {
        let long = request.bare_path() == "/site.caidx.asc";
        let golden = || fs::read(golden(&format!("1{}", request.bare_path()))).ok();
        let bytes = if long { Some(vec![b'\n'; 300_000]) } else { golden() };
        bytes.map(Reply::file)
    });
    let mut host = Host::new();
    host.wish_from(&server.url(""), "ours.pgp", "");
    host.refused(77, "more than the allowed 262144 bytes");
}

fn pipe(place: &Path) {
    let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600));
    rustix::fs::mknodat(rustix::fs::CWD, place, kind, mode, 0).unwrap();
}

#[test]
fn one_signature_that_holds_suffices_whatever_else_is_there() {
    let mut host = Host::new();
    host.offer("1", &[(".asc", "1/theirs.sig"), (".gpg", "1/site.caidx"), (".sig", "1/ours.sig")]);
    host.wish("ours.pgp", "");
    host.converges();
}

#[test]
fn stick_without_a_signature_that_holds_is_not_used() {
    let cases = [
        ("2", &[][..], "there is none beside it"),
        ("2", &[(".asc", "2/theirs.sig")], "not in the keyring"),
        ("2", &[(".asc", "1/ours.asc")], "does not fit the data"),
        ("1", &[(".asc", "2/ours.asc")], "does not fit the data"),
    ];
    for (version, signatures, why) in cases {
        // Nothing is installed, or the first version is.
        for first in [false, true] {
            let mut host = Host::new();
            host.wish_with_stick("ours.pgp", "false");
            if first {
                host.offer("1", &[(".asc", "1/ours.asc")]);
                host.converges();
                remove(&host.place("offered/site.caidx"));
            }
            offer(&host.place("stick"), version, signatures);
            let code = host.run().code;
            assert_ne!(code, 0, "{why}");
            host.refused(code, why);
            offer(&host.place("stick"), "2", &[(".asc", "2/ours.asc")]);
            host.run().exits(0);
            assert_eq!(host.installed().as_deref(), Some("release 2\n"));
        }
    }
}

#[test]
fn stick_with_a_signature_and_chunks_of_somebody_else_installs_nothing() {
    let mut host = Host::new();
    host.wish_with_stick("ours.pgp", "false");
    offer(&host.place("stick"), "1", &[(".asc", "1/ours.asc")]);
    let store = host.place("stick/site.castr");
    let chunks: Vec<PathBuf> = fs::read_dir(&store)
        .unwrap()
        .flat_map(|directory| fs::read_dir(directory.unwrap().path()).unwrap())
        .map(|chunk| chunk.unwrap().path())
        .collect();
    // Each has the bytes of the other.
    let bytes = chunks.iter().map(|chunk| fs::read(chunk).unwrap()).rev();
    for (chunk, bytes) in chunks.iter().zip(bytes.collect::<Vec<_>>()) {
        fs::write(chunk, bytes).unwrap();
    }
    assert_ne!(host.run().code, 0);
    assert!(!host.world.path("/srv/site").exists());
    offer(&host.place("stick"), "1", &[(".asc", "1/ours.asc")]);
    host.run().exits(0);
    assert_eq!(host.installed().as_deref(), Some("release 1\n"));
}

#[test]
fn index_signed_before_the_one_in_use_is_refused_and_one_signed_again_is_taken() {
    let mut host = Host::new();
    host.offer("2", &[(".asc", "2/ours.asc")]);
    host.wish_with_stick("ours.pgp", "false");
    host.converges();
    // Somebody puts the old one back, with its own signature and a new date.
    for place in ["offered", "stick"] {
        remove(&host.place("offered/site.caidx"));
        offer(&host.place(place), "1", &[(".asc", "1/ours.asc")]);
        date(&host.place(place).join("site.caidx"), "2026-05-01T00:00:00Z");
        let why =
            if place == "stick" { "never used to go back" } else { "an old one was put back" };
        host.refused(1, why);
        remove(&host.place(place).join("site.caidx"));
    }
    host.offer("1", &[(".asc", "1/later.sig")]);
    host.converges();
    assert_eq!(host.installed().as_deref(), Some("release 1\n"));
}

/// A host that follows indexes with versions in their names.
fn following(wished: &str) -> Host {
    let mut host = Host::new();
    host.offer("1", &[]);
    remove(&host.place("offered/site.caidx"));
    host.wish_versions("offered", wished);
    host
}

impl Host {
    /// Follows what has versions in its names, and a stick of the same form.
    fn wish_versions(&mut self, place: &str, wished: &str) {
        let (from, stick) = (self.place(place), self.place("stick"));
        let text = format!(
            "trees:\n  site:\n    path: /srv/site\n    version: \"{wished}\"\n    verify: {{ gpg: {{ keyring: {0} }} \
             }}\n    source: {{ casync: {{ index: \"{1}/site_@v.caidx\", store: \"{1}/site.castr\" }} }}\n    offline: \
             {{ casync: {{ index: \"{2}/site_@v.caidx\", store: \"{2}/site.castr\" }} }}\n",
            golden("ours.pgp").display(),
            from.display(),
            stick.display()
        );
        self.world.wish("desired", &text);
        self.world.tick();
    }

    /// Puts a golden index and signature under the name of a version.
    fn name(&self, place: &str, version: &str, (index, signature): (&str, &str)) {
        let path = self.place(place).join(format!("site_{version}.caidx"));
        fs::write(&path, fs::read(golden(&format!("{index}/site.caidx"))).unwrap()).unwrap();
        let signature = fs::read(golden(&format!("{index}/{signature}"))).unwrap();
        fs::write(path.with_extension("caidx.gpg"), signature).unwrap();
    }

    fn unname(&self, place: &str, version: &str) {
        for end in ["", ".gpg"] {
            remove(&self.place(place).join(format!("site_{version}.caidx{end}")));
        }
    }
}

#[test]
fn old_index_under_the_name_of_a_newer_version_is_refused() {
    // What is offered once the second version is in use, whether the first was in use before, and what is said.
    let cases = [
        ("9", "ours.sig", false, "was signed at"),
        ("9", "ours.sig", true, "is 1 by another name"),
        // Its publisher signed everything once more, say with another key.
        ("9", "later.sig", true, "is 1 by another name"),
        ("2", "ours.sig", false, "was signed at"),
        ("2", "later.sig", true, "is 1 by another name"),
    ];
    for (version, signature, known, why) in cases {
        for place in ["offered", "stick"] {
            let mut host = following("latest");
            fs::create_dir_all(host.place("stick")).unwrap();
            if known {
                host.name("offered", "1", ("1", "ours.sig"));
                host.converges();
            }
            host.name("offered", "2", ("2", "ours.sig"));
            host.converges();
            if place == "stick" {
                offer(&host.place("stick"), "1", &[]);
                for version in ["1", "2"] {
                    host.unname("offered", version);
                }
            }
            host.name(place, version, ("1", signature));
            host.refused(1, why);
            assert_eq!(host.installed().as_deref(), Some("release 2\n"), "{version} {signature}");
            // Once for a host that lost its memory: what it keeps tells, too.
            remove(&host.world.path("/var/lib/reconcile/trust.json"));
            host.refused(1, why);
        }
    }
}

#[test]
fn what_an_index_was_is_remembered_when_no_generation_of_it_is_left() {
    let mut host = following("latest");
    let wish = fs::read_to_string(host.world.desired.join("wish.yaml")).unwrap();
    let one = wish.replace("    version:", "    retain: 1\n    version:");
    host.world.wish("desired", &one);
    for version in ["1", "2"] {
        host.name("offered", version, (version, "ours.sig"));
        host.converges();
    }
    let kept = fs::read_dir(host.world.path("/srv/.site.reconcile/generations")).unwrap();
    assert_eq!(kept.count(), 1);
    host.name("offered", "9", ("1", "later.sig"));
    host.refused(1, "is 1 by another name, and 2 was in use since");
}

#[test]
fn operator_may_take_an_old_index_under_the_name_of_a_newer_version() {
    let mut host = following("latest");
    for version in ["1", "2"] {
        host.name("offered", version, (version, "ours.sig"));
        host.converges();
    }
    host.name("offered", "9", ("1", "ours.sig"));
    host.refused(1, "write the exact version");
    for wished in ["9", "latest"] {
        host.wish_versions("offered", wished);
        host.converges();
        assert_eq!(host.installed().as_deref(), Some("release 1\n"), "{wished}");
    }
}

#[test]
fn newer_name_for_what_is_in_use_neither_installs_anything_nor_keeps_a_newer_version_away() {
    let mut host = following("latest");
    host.name("offered", "2", ("2", "ours.sig"));
    host.converges();
    host.name("offered", "9", ("2", "ours.sig"));
    let ran = host.run().exits(0);
    assert!(ran.stdout.contains("site_9.caidx is 2 by another name"), "{ran:#?}");
    host.converges();
    let status = host.world.run(&["status"]).stdout;
    assert!(status.contains(" 2 ") && !status.contains(" 9 "), "{status}");
    // What is changed by hand is repaired as what it is.
    fs::write(host.world.path("/srv/site/conf.d/main"), "other\n").unwrap();
    host.converges();
    host.unname("offered", "9");
    host.name("offered", "3", ("1", "later.sig"));
    host.converges();
    assert_eq!(host.installed().as_deref(), Some("release 1\n"));
}

#[test]
fn wish_for_a_lower_series_goes_back_to_what_was_signed_earlier() {
    let mut host = following("latest");
    for version in ["1.4", "2.0"] {
        host.name("offered", version, (&version[..1], "ours.sig"));
    }
    host.converges();
    host.wish_versions("offered", "^1");
    host.converges();
    assert_eq!(host.installed().as_deref(), Some("release 1\n"));
    host.wish_versions("offered", "latest");
    host.converges();
    assert_eq!(host.installed().as_deref(), Some("release 2\n"));
}

#[test]
fn key_that_is_not_trusted_any_more_vouches_for_nothing() {
    let mut host = Host::new();
    host.offer("1", &[(".asc", "1/ours.asc")]);
    host.wish("ours.pgp", "");
    host.converges();
    host.wish("theirs.pgp", "");
    host.refused(77, "not in the keyring");
    // What is installed stays as it is, and is not made again.
    let main = host.world.path("/srv/site/conf.d/main");
    fs::write(&main, "other\n").unwrap();
    host.refused(77, "not in the keyring");
    assert_eq!(host.installed().as_deref(), Some("other\n"));
    remove(&host.world.path("/srv/site"));
    host.refused(77, "not in the keyring");
    assert!(!host.world.path("/srv/site").exists());
    host.offer("1", &[(".asc", "1/theirs.sig")]);
    host.converges();
    assert_eq!(host.installed().as_deref(), Some("release 1\n"));
}

#[test]
fn tree_of_before_signatures_were_demanded_is_verified_anew() {
    let index = reconcile_digest(&golden("1/site.caidx"));
    for version in ["latest", index.as_str()] {
        let mut host = Host::new();
        host.offer("1", &[]);
        host.wish("ours.pgp", &format!("    version: \"{version}\"\n"));
        let signed = fs::read_to_string(host.world.desired.join("wish.yaml")).unwrap();
        let verify = signed.lines().find(|line| line.contains("verify")).unwrap();
        host.world.wish("desired", &signed.replace(&format!("{verify}\n"), ""));
        host.converges();
        host.world.wish("desired", &signed);
        host.refused(77, "there is none beside it");
        host.offer("1", &[(".asc", "1/ours.asc")]);
        host.converges();
        let head = fs::read_dir(host.world.path("/srv/.site.reconcile/generations")).unwrap();
        let heads: Vec<String> = head
            .filter_map(|slot| fs::read_to_string(slot.unwrap().path().join("head.json")).ok())
            .collect();
        assert!(heads.iter().any(|head| head.contains("\"signer\"")), "{heads:?}");
    }
}

#[test]
fn operator_may_go_back_to_what_nobody_signed_by_naming_it() {
    let index = reconcile_digest(&golden("1/site.caidx"));
    let mut host = Host::new();
    host.offer("1", &[]);
    host.wish("ours.pgp", "");
    let signed = fs::read_to_string(host.world.desired.join("wish.yaml")).unwrap();
    let verify = signed.lines().find(|line| line.contains("verify")).unwrap();
    host.world.wish("desired", &signed.replace(&format!("{verify}\n"), ""));
    host.converges();
    host.offer("2", &[(".asc", "2/ours.asc")]);
    host.world.wish("desired", &signed);
    host.converges();
    assert_eq!(host.installed().as_deref(), Some("release 2\n"));
    let refused = host.world.run(&["rollback", "tree/site", "--reason", "test"]).exits(1);
    assert!(refused.stderr.contains("not verified by gpg"), "{refused:#?}");
    assert_eq!(host.installed().as_deref(), Some("release 2\n"));
    let unsigned = format!("index-{}", &index["sha256:".len()..][..12]);
    let ran =
        host.world.run(&["rollback", "tree/site", "--to", &unsigned, "--reason", "test"]).exits(0);
    assert!(ran.stderr.contains("not verified by gpg"), "{ran:#?}");
    assert_eq!(host.installed().as_deref(), Some("release 1\n"));
    host.converges();
}

fn reconcile_digest(path: &Path) -> String {
    use sha2::Digest as _;
    let hex = data_encoding::HEXLOWER.encode(&sha2::Sha256::digest(fs::read(path).unwrap()));
    format!("sha256:{hex}")
}

#[test]
fn keyring_that_cannot_be_read_lets_nothing_pass() {
    let mut host = Host::new();
    host.offer("1", &[(".asc", "1/ours.asc")]);
    for keyring in ["no-such-file", "1/site.caidx", "1/ours.asc"] {
        host.wish(keyring, "");
        host.refused(77, "keyring");
    }
    assert_eq!(host.installed(), None);
}

/// A server whose index or signature is of the second version from so many requests for it on.
fn replacing(index_from: usize, signature_from: usize, modified: Option<&'static str>) -> Server {
    let server = Server::start();
    let asked = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    server.handle(move |request| {
        let path = request.bare_path();
        let (counter, from, name) = match path {
            "/site.caidx" => (&asked[0], index_from, "site.caidx"),
            "/site.caidx.asc" => (&asked[1], signature_from, "ours.asc"),
            _ => return fs::read(golden(path.trim_start_matches('/'))).ok().map(Reply::file),
        };
        let version = 1 + usize::from(counter.fetch_add(1, Ordering::Relaxed) >= from);
        let bytes = fs::read(golden(&format!("{version}/{name}"))).ok()?;
        let reply = Reply::file(bytes).etag(None);
        Some(match modified {
            Some(modified) => reply.header("Last-Modified", modified),
            None => reply,
        })
    });
    server
}

#[test]
fn client_that_reads_while_index_and_signature_are_replaced_gets_the_new_ones() {
    // Either of both is seen first.
    for (index, signature) in [(0, 1), (1, 0)] {
        let server = replacing(index, signature, Some("Sat, 01 Feb 2025 10:00:00 GMT"));
        let mut host = Host::new();
        host.wish_from(&server.url(""), "ours.pgp", "");
        host.converges();
        assert_eq!(host.installed().as_deref(), Some("release 2\n"));
    }
}

#[test]
fn index_that_is_replaced_after_it_was_planned_with_is_taken_by_the_next_pass() {
    let server = replacing(1, 1, None);
    let mut host = Host::new();
    host.wish_from(&server.url(""), "ours.pgp", "");
    let ran = host.run();
    assert_ne!(ran.code, 0, "{ran:#?}");
    assert!(!host.world.path("/srv/site").exists());
    host.converges();
    assert_eq!(host.installed().as_deref(), Some("release 2\n"));
}

#[test]
fn index_and_signature_that_do_not_belong_together_are_waited_for_a_while_and_then_refused() {
    let server = replacing(0, usize::MAX, Some("Sun, 31 May 2026 23:58:00 GMT"));
    let mut host = Host::new();
    host.wish_from(&server.url(""), "ours.pgp", "");
    host.refused(3, "do not belong together yet");
    host.world.run(&["--dry-run"]).exits(0);
    host.world.now += jiff::SignedDuration::from_mins(20);
    host.refused(77, "does not fit the data");
    assert!(!host.world.path("/srv/site").exists());
}

#[test]
fn stick_is_brought_up_with_the_signature_and_installs_elsewhere() {
    let mut host = Host::new();
    host.offer("1", &[(".gpg", "1/ours.sig")]);
    host.wish_with_stick("ours.pgp", "true");
    let stick = host.place("stick");
    fs::create_dir_all(&stick).unwrap();
    host.converges();
    assert_eq!(
        fs::read(stick.join("site.caidx.gpg")).unwrap(),
        fs::read(golden("1/ours.sig")).unwrap()
    );
    // Whatever becomes of the signature there, it comes back.
    for bytes in [None, Some(golden("1/theirs.sig")), Some(golden("1/site.caidx"))] {
        let path = stick.join("site.caidx.gpg");
        match bytes {
            None => remove(&path),
            Some(bytes) => fs::write(&path, fs::read(bytes).unwrap()).unwrap(),
        }
        host.converges();
        assert_eq!(fs::read(&path).unwrap(), fs::read(golden("1/ours.sig")).unwrap());
    }
    remove(&stick.join("site.caidx.gpg"));
    pipe(&stick.join("site.caidx.gpg"));
    host.converges();
    assert_eq!(
        fs::read(stick.join("site.caidx.gpg")).unwrap(),
        fs::read(golden("1/ours.sig")).unwrap()
    );
    host.offer("2", &[(".asc", "2/ours.asc")]);
    host.converges();
    let mut other = Host::new();
    let from = other.place("nowhere").display().to_string();
    let more = format!("    offline: {{ casync: {0}/site.caidx }}\n", stick.display());
    fs::rename(stick.join("site.castr"), stick.join("default.castr")).unwrap();
    other.wish_from(&from, "ours.pgp", &more);
    other.run().exits(0);
    assert_eq!(other.installed().as_deref(), Some("release 2\n"));
}

#[test]
fn stick_of_a_pinned_tree_gets_its_signature_from_the_source() {
    let index = reconcile_digest(&golden("1/site.caidx"));
    let mut host = Host::new();
    host.offer("1", &[(".asc", "1/ours.asc")]);
    let stick = host.place("stick");
    let more = format!(
        "    version: \"{index}\"\n    offline: {{ casync: {{ index: {0}/site.caidx, store: {0}/site.castr, refresh: \
         true }} }}\n",
        stick.display()
    );
    host.wish("ours.pgp", &more);
    host.converges();
    fs::create_dir_all(&stick).unwrap();
    // A copy that nobody could use is not made.
    let signature = host.place("offered/site.caidx.asc");
    fs::rename(&signature, host.place("aside")).unwrap();
    host.converges();
    assert_eq!(fs::read_dir(&stick).unwrap().count(), 0);
    fs::rename(host.place("aside"), &signature).unwrap();
    host.converges();
    assert!(stick.join("site.caidx").exists() && stick.join("site.caidx.asc").exists());
}

#[test]
fn one_file_holds_the_signatures_of_both_indexes_while_one_replaces_the_other() {
    let read = |name: &str| fs::read(golden(name)).unwrap();
    let keys = Keyring::read(&read("ours.pgp")).unwrap();
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    for form in ["ours.asc", "ours.sig"] {
        let both = joined(&read(&format!("2/{form}")), &read(&format!("1/{form}")));
        for index in ["1/site.caidx", "2/site.caidx"] {
            verify_detached(&read(index), &both, &keys, now).unwrap();
        }
        verify_detached(&read("ours.pgp"), &both, &keys, now).unwrap_err();
    }
    // What killed publishers left does not grow for ever.
    let many = read("1/ours.asc").repeat(9);
    assert_eq!(blocks(&many).len(), 9);
    assert_eq!(joined(&read("2/ours.asc"), &many), read("2/ours.asc"));
    // Half of a file is another file: what would be too long to be read is left out whole.
    let long = [&read("1/ours.asc"), vec![b'\n'; 200 << 10].as_slice()].concat();
    let both = joined(&read("2/ours.asc"), &long);
    verify_detached(&read("1/site.caidx"), &both, &keys, now).unwrap();
    let longer = [long.as_slice(), vec![b'\n'; 56 << 10].as_slice()].concat();
    assert_eq!(joined(&read("2/ours.asc"), &longer), read("2/ours.asc"));
    // Of two forms only the new one can be in it.
    assert_eq!(joined(&read("2/ours.asc"), &read("1/ours.sig")), read("2/ours.asc"));
    assert_eq!(joined(&read("2/ours.asc"), b""), read("2/ours.asc"));
}
