//! Extensions end to end.
//!
//! A directory of images, a host below a temporary root, and a `systemd-sysext` that merges what is linked as
//! the real one does (as far as names go).
//!
//! Failures measured on updex, and what holds that they do not happen here:
//!
//! | | failure | covered by |
//! |---|---|---|
//! | X1 | names that begin alike are mixed up | `names_that_begin_alike_are_two_extensions` |
//! | X2 | the protected version is removed | `protected_images_are_never_removed` |
//! | X3 | no pin; going back is undone | `extension_is_installed_upgraded_and_rolled_back`, `withdrawn_newest_…` |
//! | X4 | transfers without a feature are ignored | `definitions::installation_of_another_program_…` |
//! | X5 | requisite features count as alternatives | `Transfer::is_enabled`, in `src/format/sysupdate/definition` |
//! | X6 | an installed image is never looked at again | `drift_is_repaired` |
//! | X7 | keys are read in one section only, patterns once | `src/format/sysupdate/definition/tests.rs` |
//! | X8 | one of several variants is taken at random | `first_pattern_decides_between_variants` |
//! | X9 | a withdrawn version: older ones are fetched for ever | `withdrawn_newest_…`, `extension_is_installed_…` |
//! | X10 | removing one extension unmerges all | `what_is_not_wished_any_more_goes_and_the_rest_is_merged` |
//! | X11 | a definition from the network is written unverified | there is no such thing here |
//! | X12 | two runs at once | the lock: `d17_two_passes_never_write_at_once` in `tests/it/cli.rs` |
//! | X13 | no resume | `download_is_resumed_by_a_later_process` in `tests/it/fetch/blobs.rs` |
//! | X14 | a refresh without a change | `extension_is_installed_upgraded_and_rolled_back` |
//! | X15, X16 | options without effect; a dry run needs root | there are no such options; every test runs below a root |
//! | X17 | progress in the midst of JSON | `definitions::questions_are_answered_…` parses whole outputs |
//! | X18 | an image is linked that does not fit | `image_that_is_none_is_never_linked`, `image_for_another_system_…` |
//! | X19 | one keyring for everything | `signature_is_demanded_where_a_keyring_is_named` |
//!
//! The same for systemd-sysupdate and systemd-sysext, 252 and 262:
//!
//! | | failure | covered by |
//! |---|---|---|
//! | S1 | after a download that failed, every update fails until a vacuum | `groups::wrong_bytes_cost_nothing_and_…` |
//! | S2 | the version to go back to goes before the download | the same |
//! | S3 | no resume | `download_is_resumed_by_a_later_process` in `tests/it/fetch/blobs.rs` |
//! | S4 | one download after another | `web::transfers_of_one_component_are_fetched_at_once` |
//! | S5 | a list is fetched anew each time | `web::list_that_is_unchanged_is_refused_once_…` counts the answers |
//! | S6 | two runs at once | as X12 |
//! | S7 | one bad image keeps all from being merged | `one_bad_image_of_several_is_found_and_put_back` |
//! | S8 | a refresh that fails leaves nothing merged | `interop::refresh_that_a_foreign_image_breaks_leaves_…` |
//! | S9 | an image that is found by two names keeps all from being merged | `unfit::images_beside_their_link_where_…`, `lab/alone.rs` |
//! | S10 | it never goes back, and calls what was installed last the current one | `definitions::update_and_vacuum_are_passes_…` |
//! | S11 | a prerelease is newer than its release | `extension_is_installed_upgraded_and_rolled_back` |
//! | S12 | a directory that was edited in place is not merged anew | `directory::archive_of_a_definition_becomes_…` |

mod beside;
mod classes;
mod components;
mod corpus;
mod crash;
mod definitions;
mod differential;
mod directory;
mod followed;
mod groups;
mod health;
mod linkless;
mod lost;
mod merged;
mod moved;
mod namesakes;
mod picked;
mod sets;
mod shared;
mod signed;
mod stopped;
mod tables;
mod theirs;
mod told;
mod unclear;
mod unfit;
mod vpick;
mod web;
#[cfg(feature = "interop")]
mod interop;
#[cfg(feature = "interop")]
mod lab;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use crate::support::world::{Ran, World};

/// Merges by name; an image that holds BREAKS fails everything, one that holds IGNORED is left out.
const SYSEXT: &str = r#"#!/bin/sh
for a; do case $a in --root=*) R=${a#--root=};; esac; done
echo "$@" >> "$R/../refreshes"
new=
for f in "$R"/etc/extensions/* "$R"/var/lib/extensions/*; do
    [ -e "$f" ] || continue
    name=$(basename "${f%.v}" .raw)
    case $f in *.v)
        newest=$(ls "$f" | sed 's/\.raw$//' | sort -V | tail -n 1)
        [ -n "$newest" ] || continue
        case $f in *.raw.v) newest=$newest.raw;; esac
        f=$f/$newest
        echo "$newest" >> "$R/../picked";;
    esac
    if grep -rqa BREAKS "$f"; then echo "Failed to read metadata for image $f" >&2; exit 1; fi
    grep -rqa IGNORED "$f" || new="$new$name
"
done
mkdir -p "$R/usr/.systemd-sysext"
printf %s "$new" > "$R/usr/.systemd-sysext/extensions"
"#;

struct Host {
    world: World,
}

impl Host {
    fn new() -> Self {
        let mut world = World::new();
        let stub = world.temp().join("stub");
        fs::create_dir_all(&stub).unwrap();
        fs::create_dir_all(world.temp().join("source")).unwrap();
        for (name, text) in [
            ("systemd-sysext", SYSEXT),
            ("systemctl", "#!/bin/sh\necho \"systemctl $*\" >> \"$NOTES\"\n"),
        ] {
            fs::write(stub.join(name), text).unwrap();
            fs::set_permissions(stub.join(name), PermissionsExt::from_mode(0o755)).unwrap();
        }
        let notes = world.temp().join("notes").display().to_string();
        let path = format!("{}:/usr/bin:/bin", stub.display());
        world.environment = vec![("PATH".to_owned(), path), ("NOTES".to_owned(), notes)];
        world.options = ["--effects", "run", "--confirm-removals"].map(str::to_owned).to_vec();
        Self { world }
    }

    fn source(&self) -> PathBuf {
        self.world.temp().join("source")
    }

    /// Offers an image that holds `text` and lists everything anew.
    fn publish(&self, name: &str, text: &str) {
        fs::write(self.source().join(name), image(text)).unwrap();
        self.list();
    }

    fn withdraw(&self, name: &str) {
        fs::remove_file(self.source().join(name)).unwrap();
        self.list();
    }

    fn list(&self) {
        let mut sums: Vec<String> = fs::read_dir(self.source())
            .unwrap()
            .flatten()
            .filter(|e| e.file_name() != "SHA256SUMS")
            .map(|e| {
                let bytes = fs::read(e.path()).unwrap();
                let name = e.file_name().into_string().unwrap();
                format!("{}  {name}\n", HEXLOWER.encode(&Sha256::digest(bytes)))
            })
            .collect();
        sums.sort();
        fs::write(self.source().join("SHA256SUMS"), sums.concat()).unwrap();
    }

    /// Wishes extensions: name, and more lines of YAML.
    fn wish(&mut self, extensions: &[(&str, &str)]) {
        let source = self.source().display().to_string();
        let mut text = "extensions:\n".to_owned();
        for (name, more) in extensions {
            let pattern = format!("{name}_@v.raw");
            text.push_str(&format!(
                "  {name}:\n    source: {{ sysupdate: {{ path: {source}, match: \"{pattern}\" }} }}\n{more}"
            ));
        }
        if extensions.is_empty() {
            "extensions: {}\n".clone_into(&mut text);
        }
        self.world.wish("desired", &text);
    }

    #[track_caller]
    fn pass(&mut self) -> Ran {
        self.world.tick();
        self.world.run(&[])
    }

    /// A pass that succeeds, after which another one finds nothing to do.
    #[track_caller]
    fn converges(&mut self) {
        let ran = self.pass();
        assert_eq!(ran.code, 0, "{ran:#?}");
        self.is_settled();
    }

    #[track_caller]
    fn is_settled(&mut self) {
        self.world.tick();
        let plan = self.world.run(&["--dry-run", "-o", "json"]).json();
        assert_eq!(plan["spec"]["changes"], serde_json::json!([]), "{plan:#}");
    }

    fn link(&self, name: &str) -> Option<String> {
        let link =
            fs::read_link(self.world.path(&format!("var/lib/extensions/{name}.raw"))).ok()?;
        Some(link.to_str().unwrap().to_owned())
    }

    /// The version that the link of an extension leads to, if the image is there.
    fn version(&self, name: &str) -> Option<String> {
        let link = self.world.path(&format!("var/lib/extensions/{name}.raw"));
        fs::metadata(&link).ok()?;
        let file = fs::read_link(link).ok()?.file_name()?.to_str()?.to_owned();
        Some(file.strip_prefix(name)?.strip_prefix('_')?.strip_suffix(".raw")?.to_owned())
    }

    fn home(&self, name: &str) -> Vec<String> {
        let home = self.world.path(&format!("var/lib/extensions.d/{name}"));
        let mut names: Vec<String> = fs::read_dir(home)
            .into_iter()
            .flatten()
            .flatten()
            .map(|e| e.file_name().into_string().unwrap())
            .filter(|name| !name.ends_with(".reconcile.json"))
            .collect();
        names.sort();
        names
    }

    fn merged(&self) -> String {
        fs::read_to_string(self.world.path("usr/.systemd-sysext/extensions")).unwrap_or_default()
    }

    fn refreshes(&self) -> usize {
        let log = fs::read_to_string(self.world.temp().join("refreshes")).unwrap_or_default();
        log.lines().count()
    }
}

/// A whole squashfs with some text after its end.
fn image(text: &str) -> Vec<u8> {
    let packed = include_bytes!("../golden/images/squashfs-plain.raw.zst");
    let mut bytes = zstd::decode_all(packed.as_slice()).unwrap();
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

#[test]
fn extension_is_installed_upgraded_and_rolled_back() {
    let mut host = Host::new();
    host.publish("demo_1.0.0.raw", "one");
    host.wish(&[("demo", "")]);
    host.converges();
    let link = host.link("demo");
    assert_eq!(link.as_deref(), Some("../extensions.d/demo/demo_1.0.0.raw"));
    assert_eq!(host.merged(), "demo\n");
    assert_eq!(host.refreshes(), 1, "X14: no refresh without a change");
    host.publish("demo_1.1.0.raw", "two");
    host.publish("demo_1.2.0-rc1.raw", "a prerelease is passed over (X9)");
    host.converges();
    assert_eq!(host.version("demo").as_deref(), Some("1.1.0"));
    assert_eq!(host.refreshes(), 2);
    let rolled = host.world.run(&["rollback", "extension/demo", "--reason", "test"]);
    assert_eq!(rolled.code, 0, "{rolled:#?}");
    assert_eq!(host.version("demo").as_deref(), Some("1.0.0"));
    host.publish("demo_1.3.0.raw", "three");
    host.is_settled();
    host.world.run(&["resume", "extension/demo"]).exits(0);
    let planned = host.world.run(&["--dry-run"]).exits(0).stdout;
    let why = "desired-changed: no longer rolled back; the source has 1.3.0";
    assert!(planned.contains(why), "{planned}");
    host.converges();
    assert_eq!(host.version("demo").as_deref(), Some("1.3.0"));
    assert_eq!(host.home("demo").len(), 2, "retain is 2: {:?}", host.home("demo"));
}

#[test]
fn image_that_is_none_is_never_linked() {
    let mut host = Host::new();
    host.publish("demo_1.0.0.raw", "one");
    host.wish(&[("demo", "")]);
    host.converges();
    fs::write(host.source().join("demo_1.1.0.raw"), b"not an image at all").unwrap();
    host.list();
    let ran = host.pass();
    assert_ne!(ran.code, 0, "{ran:#?}");
    assert_eq!(host.version("demo").as_deref(), Some("1.0.0"), "X18");
    assert_eq!(host.home("demo"), ["demo_1.0.0.raw"]);
    assert_eq!(host.refreshes(), 1);
    host.is_settled();
    host.publish("demo_1.1.0.raw", "whole now");
    host.converges();
    assert_eq!(host.version("demo").as_deref(), Some("1.1.0"));
}

#[test]
fn one_bad_image_of_several_is_found_and_put_back() {
    let mut host = Host::new();
    for name in ["alpha", "beta", "gamma"] {
        host.publish(&format!("{name}_1.0.0.raw"), "one");
    }
    host.wish(&[("alpha", ""), ("beta", ""), ("gamma", "")]);
    host.converges();
    assert_eq!(host.refreshes(), 1, "one refresh serves all");
    host.publish("alpha_2.0.0.raw", "two");
    host.publish("beta_2.0.0.raw", "BREAKS");
    host.publish("gamma_2.0.0.raw", "IGNORED");
    let ran = host.pass();
    assert_eq!(ran.code, 6, "{ran:#?}");
    assert_eq!(host.version("alpha").as_deref(), Some("2.0.0"));
    assert_eq!(host.version("beta").as_deref(), Some("1.0.0"));
    assert_eq!(host.version("gamma").as_deref(), Some("1.0.0"));
    assert_eq!(host.merged(), "alpha\nbeta\ngamma\n");
    host.is_settled();
    host.publish("beta_2.0.1.raw", "mended");
    assert_eq!(host.pass().code, 3);
    assert_eq!(host.version("beta").as_deref(), Some("2.0.1"));
}

#[test]
fn first_install_that_breaks_the_merge_is_taken_away_again() {
    let mut host = Host::new();
    host.publish("good_1.0.0.raw", "one");
    host.publish("bad_1.0.0.raw", "BREAKS");
    host.wish(&[("good", ""), ("bad", "")]);
    let ran = host.pass();
    assert_eq!(ran.code, 6, "{ran:#?}");
    assert_eq!((host.link("bad"), host.merged().as_str()), (None, "good\n"));
}

#[test]
fn refresh_that_fails_without_us_blames_nobody() {
    let mut host = Host::new();
    let foreign = host.world.path("var/lib/extensions");
    fs::create_dir_all(&foreign).unwrap();
    fs::write(foreign.join("foreign.raw"), "BREAKS").unwrap();
    host.publish("demo_1.0.0.raw", "one");
    host.wish(&[("demo", "")]);
    let ran = host.pass();
    assert_eq!(ran.code, 1, "{ran:#?}");
    fs::remove_file(foreign.join("foreign.raw")).unwrap();
    host.converges();
    assert_eq!(host.merged(), "demo\n");
}

#[test]
fn drift_is_repaired() {
    let mut host = Host::new();
    host.publish("demo_1.0.0.raw", "one");
    host.wish(&[("demo", "")]);
    host.converges();
    let image = host.world.path("var/lib/extensions.d/demo/demo_1.0.0.raw");
    let link = host.world.path("var/lib/extensions/demo.raw");
    let whole = fs::read(&image).unwrap();
    fs::write(&image, "changed").unwrap();
    host.converges();
    assert_eq!(fs::read(&image).unwrap(), whole, "X6");
    fs::remove_file(&image).unwrap();
    host.converges();
    assert_eq!(fs::read(&image).unwrap(), whole);
    fs::remove_file(&link).unwrap();
    symlink("/dev/null", &link).unwrap();
    host.converges();
    assert_eq!(host.version("demo").as_deref(), Some("1.0.0"));
    fs::remove_file(&link).unwrap();
    host.converges();
    assert_eq!(host.version("demo").as_deref(), Some("1.0.0"));
}

#[test]
fn lost_link_comes_back_at_once_although_the_newest_cannot_be_fetched() {
    let mut host = Host::new();
    host.publish("demo_1.0.0.raw", "one");
    host.wish(&[("demo", "")]);
    host.converges();
    host.publish("demo_1.1.0.raw", "two");
    let newest = host.source().join("demo_1.1.0.raw");
    fs::rename(&newest, newest.with_extension("away")).unwrap();
    fs::remove_file(host.world.path("var/lib/extensions/demo.raw")).unwrap();
    let ran = host.pass();
    assert!(ran.stdout.contains("1.1.0 is there"), "{ran:#?}");
    assert_eq!(host.version("demo").as_deref(), Some("1.0.0"), "{ran:#?}");
    let ran = host.pass();
    assert_ne!(ran.code, 0, "{ran:#?}");
    assert_eq!(host.version("demo").as_deref(), Some("1.0.0"), "{ran:#?}");
    fs::rename(newest.with_extension("away"), &newest).unwrap();
    host.converges();
    assert_eq!(host.version("demo").as_deref(), Some("1.1.0"));
}

#[test]
fn withdrawn_newest_stays_and_is_not_replaced_by_an_older_one() {
    let mut host = Host::new();
    host.publish("demo_1.0.0.raw", "one");
    host.publish("demo_1.1.0.raw", "two");
    host.wish(&[("demo", "")]);
    host.converges();
    host.withdraw("demo_1.1.0.raw");
    host.is_settled();
    assert_eq!(host.version("demo").as_deref(), Some("1.1.0"), "X9");
    host.wish(&[("demo", "    version: 1.0.0\n")]);
    host.converges();
    assert_eq!(host.version("demo").as_deref(), Some("1.0.0"), "X3: a pin goes back");
}

#[test]
fn names_that_begin_alike_are_two_extensions() {
    let mut host = Host::new();
    host.publish("demo_1.0.0.raw", "one");
    host.publish("demo_extra_9.0.0.raw", "another");
    host.wish(&[("demo", "    order: semver\n"), ("demo_extra", "")]);
    host.converges();
    assert_eq!(host.version("demo").as_deref(), Some("1.0.0"), "X1");
    assert_eq!(host.version("demo_extra").as_deref(), Some("9.0.0"), "X1");
}

#[test]
fn protected_images_are_never_removed() {
    let mut host = Host::new();
    host.wish(&[("demo", "    retain: 1\n    protect: [1.0.0]\n")]);
    for version in ["1.0.0", "1.1.0", "1.2.0"] {
        host.publish(&format!("demo_{version}.raw"), version);
        host.converges();
    }
    assert_eq!(host.home("demo"), ["demo_1.0.0.raw", "demo_1.2.0.raw"], "X2");
}

#[test]
fn what_is_not_wished_any_more_goes_and_the_rest_is_merged() {
    let mut host = Host::new();
    host.publish("alpha_1.0.0.raw", "one");
    host.publish("beta_1.0.0.raw", "one");
    host.wish(&[("alpha", ""), ("beta", "")]);
    host.converges();
    host.wish(&[("beta", "")]);
    host.converges();
    assert_eq!((host.link("alpha"), host.merged().as_str()), (None, "beta\n"), "X10");
    assert!(!host.world.path("var/lib/extensions.d/alpha").exists());
}

#[test]
fn link_of_somebody_else_stays_whatever_its_end_is_called() {
    let mut host = Host::new();
    host.publish("demo_1.0.0.raw", "one");
    host.wish(&[("demo", "")]);
    host.converges();
    let theirs = host.world.path("srv/mine/demo_1.0.0.raw");
    fs::create_dir_all(theirs.parent().unwrap()).unwrap();
    fs::write(&theirs, image("theirs")).unwrap();
    let link = host.world.path("var/lib/extensions/demo.raw");
    fs::remove_file(&link).unwrap();
    symlink("../../../srv/mine/demo_1.0.0.raw", &link).unwrap();
    host.wish(&[]);
    let ran = host.pass();
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert_eq!(host.link("demo").as_deref(), Some("../../../srv/mine/demo_1.0.0.raw"));
    assert!(host.home("demo").is_empty(), "{:?}", host.home("demo"));
    assert!(theirs.exists());
}

#[test]
fn signature_is_demanded_where_a_keyring_is_named() {
    let mut host = Host::new();
    host.publish("demo_1.0.0.raw", "one");
    let keyring = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/openpgp/good.pgp");
    host.wish(&[("demo", &format!("    verify: {{ gpg: {{ keyring: {keyring} }} }}\n"))]);
    let ran = host.pass();
    assert_eq!(ran.code, 77, "{ran:#?}");
    fs::copy(
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/openpgp/good.sig"),
        host.source().join("SHA256SUMS.gpg"),
    )
    .unwrap();
    let ran = host.pass();
    assert_eq!(ran.code, 77, "a signature of something else: {ran:#?}");
    assert_eq!(host.link("demo"), None);
}

#[test]
fn pass_that_was_killed_before_it_looked_is_made_up_for() {
    let mut host = Host::new();
    host.publish("demo_1.0.0.raw", "one");
    host.wish(&[("demo", "")]);
    host.converges();
    // As it is after a kill between the link and the look: the new image is linked, the debts are there.
    host.publish("demo_2.0.0.raw", "BREAKS");
    let kill = host.world.temp().join("stub/systemd-sysext");
    fs::write(&kill, "#!/bin/sh\nkill -9 $PPID\n").unwrap();
    host.world.tick();
    let killed = std::process::Command::new(env!("CARGO_BIN_EXE_reconcile"))
        .envs(host.world.environment.iter().map(|(name, value)| (name, value)))
        .arg("--root")
        .arg(host.world.root())
        .arg("--desired")
        .arg(&host.world.desired)
        .args(["--clock", &host.world.now.to_string(), "--effects", "run"])
        .output()
        .unwrap();
    assert_eq!(killed.status.code(), None, "{killed:?}");
    assert_eq!(host.version("demo").as_deref(), Some("2.0.0"));
    fs::write(&kill, SYSEXT).unwrap();
    let ran = host.pass();
    assert_eq!(ran.code, 6, "{ran:#?}");
    assert!(ran.stdout.contains("1.0.0 is in use again"), "{ran:#?}");
    assert_eq!(host.version("demo").as_deref(), Some("1.0.0"));
    assert_eq!(host.merged(), "demo\n");
    host.is_settled();
}

#[test]
fn first_pattern_decides_between_variants() {
    let host = Host::new();
    let packed = zstd::encode_all(image("packed").as_slice(), 1).unwrap();
    fs::write(host.source().join("demo_1.0.0.raw.zst"), packed).unwrap();
    host.publish("demo_1.0.0.raw", "plain");
    let source = host.source().display().to_string();
    for (first, second, expected) in [(".raw.zst", ".raw", "packed"), (".raw", ".raw.zst", "plain")]
    {
        let mut fresh = Host::new();
        let text = format!(
            "extensions:\n  demo:\n    source: {{ sysupdate: {{ path: {source}, match: \
             [\"demo_@v{first}\", \"demo_@v{second}\"] }} }}\n"
        );
        fresh.world.wish("desired", &text);
        fresh.converges();
        let installed = fs::read(fresh.world.path("var/lib/extensions/demo.raw")).unwrap();
        assert!(installed.ends_with(expected.as_bytes()), "X8: {first} before {second}");
    }
}

#[test]
fn image_for_another_system_is_left_out_until_the_system_changes() {
    let mut host = Host::new();
    fs::create_dir_all(host.world.path("etc")).unwrap();
    fs::write(host.world.path("etc/os-release"), "ID=other\nVERSION_ID=1\n").unwrap();
    host.publish("demo_1.0.0.raw", "one");
    host.wish(&[("demo", "")]);
    let ran = host.pass();
    assert_ne!(ran.code, 0, "{ran:#?}");
    assert!(ran.stdout.contains("cannot be merged here"), "{ran:#?}");
    assert_eq!((host.link("demo"), host.refreshes()), (None, 0), "X18");
    let again = host.pass();
    assert!(!again.stdout.contains("FAILED"), "it is not tried again: {again:#?}");
    fs::write(host.world.path("etc/os-release"), "ID=other\nVERSION_ID=2\n").unwrap();
    let plan = host.world.run(&["--dry-run", "-o", "json"]).json();
    assert_eq!(plan["spec"]["changes"][0]["action"], "install", "{plan:#}");
}

#[test]
fn image_that_was_refused_for_a_mistake_in_the_wish_is_installed_once_that_is_mended() {
    let mut host = Host::new();
    fs::create_dir_all(host.world.path("etc")).unwrap();
    fs::write(host.world.path("etc/os-release"), "ID=debian\nVERSION_ID=12\n").unwrap();
    host.publish("demo_1.0.0.raw", "one");
    host.wish(&[("demo", "    class: confext\n")]);
    let ran = host.pass();
    assert!(ran.stdout.contains("cannot be merged here"), "{ran:#?}");
    let again = host.pass();
    assert!(!again.stdout.contains("FAILED"), "it is not tried again: {again:#?}");
    host.wish(&[("demo", "")]);
    host.converges();
    assert_eq!(host.version("demo").as_deref(), Some("1.0.0"));
}

#[test]
fn image_that_one_systemd_refuses_is_tried_with_another() {
    let mut host = Host::new();
    for place in ["etc", "usr/lib/systemd"] {
        fs::create_dir_all(host.world.path(place)).unwrap();
    }
    fs::write(host.world.path("etc/os-release"), "ID=debian\nVERSION_ID=12\n").unwrap();
    let systemd = |host: &Host, version: u32| {
        let library = format!("usr/lib/systemd/libsystemd-shared-{version}.so");
        fs::write(host.world.path(&library), "").unwrap();
        host.world.path(&library)
    };
    let old = systemd(&host, 252);
    host.publish("demo_1.0.0.raw", "one");
    host.wish(&[("demo", "    class: confext\n")]);
    let ran = host.pass();
    assert!(ran.stdout.contains("systemd 252 knows no configuration extensions"), "{ran:#?}");
    fs::remove_file(old).unwrap();
    systemd(&host, 257);
    let plan = host.world.run(&["--dry-run", "-o", "json"]).json();
    assert_eq!(plan["spec"]["changes"][0]["action"], "install", "{plan:#}");
}

#[test]
fn demo_installs_an_extension_without_network_and_without_root() {
    let mut host = Host::new();
    host.world.desired = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/desired-state"));
    host.world.options.extend(["--only", "extension/greeting"].map(str::to_owned));
    let plan = host.world.run(&["--dry-run"]).exits(0).stdout;
    assert!(plan.contains("extension/greeting"), "{plan}");
    host.converges();
    assert_eq!(host.version("greeting").as_deref(), Some("1.0.0"));
    assert_eq!(host.merged(), "greeting\n");
}
