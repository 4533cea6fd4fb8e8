//! Indexes that are signed by the gpg of this machine while they are published.
#![cfg(feature = "interop")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use reconcile::trust::openpgp::{Keyring, verify_detached};

use crate::support::gpg::GpgHome;
use crate::support::tree;
use crate::support::world::World;

/// A publisher with two keys, and a host that follows it.
struct Site {
    world: World,
    home: GpgHome,
    /// The name of the index.
    index: String,
}

impl Site {
    fn new() -> Self {
        let users = ["first@example.net", "second@example.net"];
        let mut world = World::new();
        world.now = jiff::Timestamp::now();
        let home = GpgHome::with_keys(&users);
        let site = Self { world, home, index: "site.caidx".to_owned() };
        for user in users {
            let keys = site.path(&user.replace("@example.net", ".pgp"));
            site.gpg(&["--output", keys.to_str().unwrap(), "--export", user]);
        }
        site.write("one");
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.world.temp().join(name)
    }

    fn gpg(&self, arguments: &[&str]) {
        let ran = self.home.gpg(self.world.temp(), arguments);
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    }

    /// Changes the tree, long enough ago that it counts as settled.
    fn write(&self, text: &str) {
        tree::write(&self.path("tree/conf.d/main"), text.as_bytes());
    }

    /// Publishes, with more arguments; what it said.
    fn publish(&self, more: &[&str]) -> (i32, String) {
        let now = (jiff::Timestamp::now() + jiff::SignedDuration::from_mins(1)).to_string();
        let ran = Command::new(env!("CARGO_BIN_EXE_reconcile"))
            .env("GNUPGHOME", self.home.path())
            .args(["--clock", &now, "publish", "tree", "tree", "--index", &self.index])
            .args(more)
            .current_dir(self.world.temp())
            .output()
            .unwrap();
        let said = [ran.stdout, ran.stderr].concat();
        (ran.status.code().unwrap(), String::from_utf8(said).unwrap())
    }

    #[track_caller]
    fn publishes(&self, more: &[&str]) -> String {
        let (code, said) = self.publish(more);
        assert_eq!(code, 0, "{said}");
        said
    }

    /// Lets the host follow, trusting one of the keys.
    fn pass(&mut self, key: &str) -> (i32, String) {
        self.follow(key, "site.caidx")
    }

    /// The same by the name of the index.
    fn follow(&mut self, key: &str, index: &str) -> (i32, String) {
        let wish = format!(
            "trees:\n  site:\n    path: /srv/site\n    retain: 3\n    verify: {{ gpg: {{ keyring: {} }} }}\n    source: {{ \
             casync: {} }}\n",
            self.path(&format!("{key}.pgp")).display(),
            self.path(index).display()
        );
        self.world.wish("desired", &wish);
        self.world.tick();
        let ran = self.world.run(&[]);
        (ran.code, ran.stdout)
    }

    fn installed(&self) -> String {
        fs::read_to_string(self.world.path("/srv/site/conf.d/main")).unwrap_or_default()
    }

    fn signature(&self) -> Vec<u8> {
        fs::read(self.path("site.caidx.asc")).unwrap()
    }
}

#[test]
fn published_index_is_signed_for_gpg_and_for_clients() {
    let mut site = Site::new();
    site.publishes(&["--sign", "first@example.net"]);
    let verify = |site: &Site| {
        let paths =
            ["site.caidx.asc", "site.caidx"].map(|name| site.path(name).display().to_string());
        site.gpg(&["--verify", &paths[0], &paths[1]]);
    };
    verify(&site);
    assert_eq!(site.pass("first").0, 0);
    assert_eq!(site.installed(), "one");
    assert_eq!(site.pass("second").0, 77);
    // Without the key nothing is published.
    site.write("two");
    let (code, said) = site.publish(&[]);
    assert!(code == 1 && said.contains("clients would refuse it without --sign"), "{said}");
    let (code, said) = site.publish(&["--sign", "nobody@example.net"]);
    assert!(code == 1 && said.contains("cannot sign the index"), "{said}");
    verify(&site);
    assert_eq!(site.pass("first").0, 0);
    assert_eq!(site.installed(), "one");
    site.publishes(&["--sign", "first@example.net"]);
    verify(&site);
    assert_eq!(site.pass("first").0, 0);
    assert_eq!(site.installed(), "two");
    let names = fs::read_dir(site.world.temp()).unwrap();
    let odd = |name: &String| name.contains(".tmp") || name.contains(".made");
    let mut names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.find(odd), None);
}

#[test]
fn unchanged_tree_is_signed_again_only_by_another_key_or_when_its_signature_is_gone() {
    let mut site = Site::new();
    site.publishes(&["--sign", "first@example.net"]);
    let first = site.signature();
    let said = site.publishes(&["--sign", "first@example.net"]);
    assert!(said.contains("already"), "{said}");
    assert_eq!(site.signature(), first);
    site.publishes(&["--sign", "second@example.net"]);
    assert_ne!(site.signature(), first);
    assert_eq!(site.pass("second").0, 0);
    assert_eq!(site.pass("first").0, 77);
    for bytes in [None, Some(first)] {
        match bytes {
            None => tree::remove(&site.path("site.caidx.asc")),
            Some(bytes) => fs::write(site.path("site.caidx.asc"), bytes).unwrap(),
        }
        site.publishes(&["--sign", "second@example.net"]);
        let second = site.signature();
        let said = site.publishes(&["--sign", "second@example.net"]);
        assert!(said.contains("already"), "{said}");
        assert_eq!(site.signature(), second);
        assert_eq!(site.pass("second").0, 0);
    }
}

#[test]
fn published_signature_says_which_version_it_is_of() {
    let mut site = Site::new();
    let publish = |site: &mut Site, version: &str, text: &str| {
        site.write(text);
        site.index = format!("site_{version}.caidx");
        site.publishes(&["--sign", "first@example.net"]);
    };
    let keys = Keyring::read(&fs::read(site.path("first.pgp")).unwrap()).unwrap();
    for odd in ["%k", "dö"] {
        publish(&mut site, odd, "odd");
        let name = format!("site_{odd}.caidx");
        let [index, signature] =
            ["", ".asc"].map(|end| fs::read(site.path(&format!("{name}{end}"))).unwrap());
        let signed = verify_detached(&index, &signature, &keys, site.world.now).unwrap();
        assert_eq!(signed.names, [name.as_str()]);
        for end in ["", ".asc", ".mtree", ".cks"] {
            tree::remove(&site.path(&format!("{name}{end}")));
        }
    }
    for version in ["1", "2"] {
        publish(&mut site, version, version);
    }
    let pattern = "site_@v.caidx";
    assert_eq!(site.follow("first", pattern).0, 0);
    assert_eq!(site.installed(), "2");
    // What it is called is as old as what it is.
    let copy = |site: &Site, from: &str, to: &str| {
        for end in ["", ".asc"] {
            fs::copy(site.path(&format!("{from}{end}")), site.path(&format!("{to}{end}"))).unwrap();
        }
    };
    for from in ["1", "2"] {
        copy(&site, &format!("site_{from}.caidx"), "site_9.caidx");
        let (code, said) = site.follow("first", pattern);
        let why = format!("its signature is of site_{from}.caidx");
        assert!(code == 77 && said.contains(&why), "{code} {said}");
    }
    for end in ["", ".asc"] {
        tree::remove(&site.path(&format!("site_9.caidx{end}")));
    }
    // Its publisher may publish what is old as something new.
    publish(&mut site, "3", "1");
    assert_eq!(site.follow("first", pattern).0, 0);
    assert_eq!(site.installed(), "1");
    // A name without a version says nothing that could be wrong.
    copy(&site, "site_3.caidx", "site.caidx");
    assert_eq!(site.pass("first").0, 0);
}

#[test]
fn what_is_signed_without_a_version_becomes_none_by_its_name() {
    let mut site = Site::new();
    site.publishes(&["--sign", "first@example.net"]);
    // The stick has the fixed name that was signed, and the network versions.
    for end in ["", ".asc"] {
        fs::copy(site.path(&format!("site.caidx{end}")), site.path(&format!("site_9.caidx{end}")))
            .unwrap();
    }
    let wish = format!(
        "trees:\n  site:\n    path: /srv/site\n    verify: {{ gpg: {{ keyring: {} }} }}\n    source: {{ casync: {} }}\n    \
         offline: {{ casync: {{ index: {}, store: {} }} }}\n",
        site.path("first.pgp").display(),
        site.path("site_@v.caidx").display(),
        site.path("stick/site.caidx").display(),
        site.path("default.castr").display(),
    );
    site.world.wish("desired", &wish);
    site.world.tick();
    let ran = site.world.run(&[]).exits(77);
    assert!(ran.stdout.contains("its signature is of site.caidx"), "{ran:#?}");
}

#[test]
fn rollback_passes_over_what_nobody_signed() {
    let mut site = Site::new();
    for text in ["one", "two", "three"] {
        site.write(text);
        site.publishes(&["--sign", "first@example.net"]);
        if text != "two" {
            assert_eq!(site.pass("first").0, 0);
            continue;
        }
        tree::remove(&site.path("site.caidx.asc"));
        let wish = fs::read_to_string(site.world.desired.join("wish.yaml")).unwrap();
        let plain: Vec<&str> = wish.lines().filter(|line| !line.contains("verify")).collect();
        site.world.wish("desired", &(plain.join("\n") + "\n"));
        site.world.tick();
        site.world.run(&[]).exits(0);
        assert_eq!(site.installed(), "two");
    }
    site.world.run(&["rollback", "tree/site", "--reason", "test"]).exits(0);
    assert_eq!(site.installed(), "one");
}

#[test]
fn signature_that_nobody_can_read_is_replaced() {
    let mut site = Site::new();
    let place = site.path("site.caidx.asc");
    for pipe in [true, false] {
        site.publishes(&["--sign", "first@example.net"]);
        tree::remove(&place);
        if pipe {
            assert!(Command::new("mkfifo").arg(&place).status().unwrap().success());
        } else {
            fs::write(&place, vec![b'\n'; 300_000]).unwrap();
        }
        site.write(if pipe { "two" } else { "three" });
        site.publishes(&["--sign", "first@example.net"]);
        assert_eq!(site.pass("first").0, 0);
    }
    assert_eq!(site.installed(), "three");
}

#[test]
fn publisher_killed_at_any_moment_leaves_an_index_with_a_signature_that_holds() {
    use crate::support::trace::{Act, Program, trace};
    let mut site = Site::new();
    site.publishes(&["--sign", "first@example.net"]);
    assert_eq!(site.pass("first").0, 0);
    let program = |site: &Site| {
        let text = |name: &str| site.path(name).display().to_string();
        let index = text("site.caidx");
        let arguments =
            ["publish", "tree", &text("tree"), "--index", &index, "--sign", "first@example.net"];
        let environment = vec![
            ("PATH".to_owned(), "/usr/bin:/bin".to_owned()),
            ("GNUPGHOME".to_owned(), site.home.path().display().to_string()),
        ];
        let arguments = arguments.map(str::to_owned).to_vec();
        Program { path: env!("CARGO_BIN_EXE_reconcile").into(), arguments, environment }
    };
    site.write("0");
    let points = trace(&program(&site), Act::Watch).calls.len();
    // From the first rename of the listing on: what is before that changes nothing that clients read.
    let mut seen = Vec::new();
    for point in (1..=points).rev().take(60) {
        site.write(&format!("{point}"));
        trace(&program(&site), Act::KillBefore(point));
        let (code, said) = site.pass("first");
        assert_eq!(code, 0, "killed at {point} of {points}: {said}");
        seen.push(site.installed() == format!("{point}"));
    }
    assert!(seen.contains(&true) && seen.contains(&false), "{seen:?}");
}
