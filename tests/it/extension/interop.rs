//! The real systemd-sysext of this machine, in a mount namespace of its own, as root.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use data_encoding::HEXLOWER;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::lab::{HERE, did_not_run, system_root};

/// A squashfs or erofs image of an extension with one file that says its version.
fn build(directory: &Path, (name, inside, version): (&str, &str, &str), program: &str) {
    let tree = directory.join(format!("tree-{name}-{version}"));
    let release = tree.join("usr/lib/extension-release.d");
    fs::create_dir_all(&release).unwrap();
    fs::create_dir_all(tree.join("usr/share/reconcile-test")).unwrap();
    fs::write(release.join(format!("extension-release.{inside}")), "ID=_any\n").unwrap();
    fs::write(tree.join("usr/share/reconcile-test").join(name), version).unwrap();
    let image = directory.join("source").join(format!("{name}_{version}.raw"));
    let made = match program {
        "mksquashfs" => {
            let options = ["-quiet", "-noappend", "-all-root"];
            Command::new(program).arg(&tree).arg(&image).args(options).output()
        }
        _ => Command::new(program).arg(&image).arg(&tree).output(),
    };
    assert!(made.unwrap().status.success());
}

fn list(directory: &Path) {
    let mut sums = String::new();
    for entry in fs::read_dir(directory.join("source")).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if name.ends_with(".raw") {
            let digest = Sha256::digest(fs::read(entry.path()).unwrap());
            sums.push_str(&format!("{}  {name}\n", HEXLOWER.encode(&digest)));
        }
    }
    fs::write(directory.join("source/SHA256SUMS"), sums).unwrap();
}

fn isolated(directory: &Path, script: &str) -> Output {
    Command::new("unshare")
        .args(["-m", "--propagation", "private", "sh", "-c", &format!("{HERE}{script}")])
        .env("RECONCILE", env!("CARGO_BIN_EXE_reconcile"))
        .env("DIR", directory)
        .output()
        .unwrap()
}

#[test]
fn real_systemd_merges_upgrades_and_goes_back() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("source")).unwrap();
    fs::create_dir_all(dir.path().join("desired")).unwrap();
    fs::create_dir_all(dir.path().join("later")).unwrap();
    let path = dir.path().display();
    let wish = |name: &str| {
        format!(
            "  {name}:\n    source: {{ sysupdate: {{ path: {path}/source, match: \"{name}_@v.raw\" }} }}\n"
        )
    };
    let text = format!("extensions:\n{}{}", wish("alpha"), wish("beta"));
    fs::write(dir.path().join("desired/wish.yaml"), text).unwrap();
    build(dir.path(), ("alpha", "alpha", "1.0.0"), "mksquashfs");
    build(dir.path(), ("beta", "beta", "1.0.0"), "mkfs.erofs");
    list(dir.path());
    fs::rename(dir.path().join("source/SHA256SUMS"), dir.path().join("later/first")).unwrap();
    build(dir.path(), ("alpha", "alpha", "2.0.0"), "mksquashfs");
    // Fits no name: systemd would pass it over.
    build(dir.path(), ("beta", "other", "2.0.0"), "mksquashfs");
    list(dir.path());
    fs::rename(dir.path().join("source/SHA256SUMS"), dir.path().join("later/second")).unwrap();
    let script = r#"
cp "$DIR/later/first" "$DIR/source/SHA256SUMS"
$R
test "$(cat /usr/share/reconcile-test/alpha)" = 1.0.0
test "$(cat /usr/share/reconcile-test/beta)" = 1.0.0
$R --detailed-exitcode --dry-run
cp "$DIR/later/second" "$DIR/source/SHA256SUMS"
if $R; then exit 1; fi
test "$(cat /usr/share/reconcile-test/alpha)" = 2.0.0
test "$(cat /usr/share/reconcile-test/beta)" = 1.0.0
$R rollback extension/alpha --reason test
test "$(cat /usr/share/reconcile-test/alpha)" = 1.0.0
systemd-sysext unmerge
"#;
    let output = isolated(dir.path(), script);
    assert!(output.status.success(), "{output:#?}");
}

#[test]
fn refresh_that_a_foreign_image_breaks_leaves_what_was_merged() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("source")).unwrap();
    fs::create_dir_all(dir.path().join("desired")).unwrap();
    let path = dir.path().display();
    let text = format!(
        "extensions:\n  alpha:\n    source: {{ sysupdate: {{ path: {path}/source, match: \"alpha_@v.raw\" }} }}\n"
    );
    fs::write(dir.path().join("desired/wish.yaml"), text).unwrap();
    build(dir.path(), ("alpha", "alpha", "1.0.0"), "mksquashfs");
    list(dir.path());
    let script = r#"
$R
test "$(cat /usr/share/reconcile-test/alpha)" = 1.0.0
head -c 100000 /dev/urandom > /var/lib/extensions/junk.raw
cp "$DIR/source/alpha_1.0.0.raw" "$DIR/source/alpha_1.1.0.raw"
(cd "$DIR/source" && sha256sum *.raw > SHA256SUMS)
if $R; then exit 1; fi
test "$(readlink /var/lib/extensions/alpha.raw)" = ../extensions.d/alpha/alpha_1.0.0.raw
test "$(cat /usr/share/reconcile-test/alpha)" = 1.0.0
rm /var/lib/extensions/junk.raw
$R
test "$(readlink /var/lib/extensions/alpha.raw)" = ../extensions.d/alpha/alpha_1.1.0.raw
systemd-sysext unmerge
"#;
    let output = isolated(dir.path(), script);
    assert!(output.status.success(), "{output:#?}");
}

/// An image published with a key of gpg and installed by its public part alone.
#[test]
fn image_published_with_a_key_of_gpg_is_installed_by_its_keyring() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("source")).unwrap();
    fs::create_dir_all(dir.path().join("desired")).unwrap();
    let path = dir.path().display();
    let text = format!(
        "extensions:\n  alpha:\n    verify: {{ gpg: {{ keyring: {path}/keyring.pgp }} }}\n    source: {{ sysupdate: \
         {{ path: {path}/repository/ext/alpha, match: \"alpha_@v.raw\" }} }}\n"
    );
    fs::write(dir.path().join("desired/wish.yaml"), text).unwrap();
    build(dir.path(), ("alpha", "alpha", "1.0.0"), "mksquashfs");
    build(dir.path(), ("alpha", "alpha", "1.1.0"), "mksquashfs");
    let script = r#"
export GNUPGHOME="$DIR/gnupg"
mkdir -m 700 "$GNUPGHOME"
for name in images other; do
    gpg --quiet --batch --pinentry-mode loopback --passphrase '' --quick-generate-key "$name@example.net" ed25519 sign never
done
gpg --quiet --batch --output "$DIR/keyring.pgp" --export images@example.net
publish() {
    "$RECONCILE" publish extension "$DIR/repository" "$DIR/source/alpha_$1.raw" --name alpha --version "$1" --sign "$2"
}
publish 1.0.0 images@example.net
$R
test "$(cat /usr/share/reconcile-test/alpha)" = 1.0.0
if publish 1.1.0 other@example.net; then exit 1; fi
LIST="$DIR/repository/ext/alpha/SHA256SUMS"
gpg --quiet --batch --yes --local-user other@example.net --output "$LIST.gpg" --detach-sign "$LIST"
publish 1.1.0 other@example.net
if $R; then exit 1; fi
test "$(cat /usr/share/reconcile-test/alpha)" = 1.0.0
systemd-sysext unmerge
gpgconf --kill gpg-agent
"#;
    let output = isolated(dir.path(), script);
    assert!(output.status.success(), "{output:#?}");
}

#[test]
fn extension_of_the_demo_is_merged() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("desired-state");
    std::os::unix::fs::symlink(demo, dir.path().join("desired")).unwrap();
    let script = r#"
$R --only extension/greeting
test "$(cat /usr/share/greeting/text)" = "hello from an extension"
systemd-sysext unmerge
"#;
    let output = isolated(dir.path(), script);
    assert!(output.status.success(), "{output:#?}");
}

/// Takes a minute and a half.
#[test]
fn recorded_answers_are_those_of_the_system_at_hand() {
    answers_are_recorded("sysupdate");
}

#[test]
fn recorded_picks_are_those_of_the_system_at_hand() {
    answers_are_recorded("vpick");
}

/// Asks the other system about every recorded case.
fn answers_are_recorded(of: &str) {
    let Some(system) = system_root() else { return };
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(of);
    let recorded = fs::read_to_string(golden.join("cases.jsonl")).unwrap();
    let count = recorded.lines().count().to_string();
    let mut record = Command::new("timeout");
    record.args([RECORDING_TIME_MAX, "python3"]).arg(golden.join("record.py"));
    record.arg(system).arg(count);
    let output = record.output().unwrap();
    assert!(output.status.success(), "{output:#?}");
    let answers = String::from_utf8(output.stdout).unwrap();
    let both = recorded.lines().zip(answers.lines());
    let differ: Vec<_> = both.filter(|(recorded, now)| recorded != now).collect();
    assert!(
        differ.is_empty() && answers.lines().count() == recorded.lines().count(),
        "{differ:#?}"
    );
}

/// Asks one systemd about every recorded extension: `system` is what the recorder is told.
fn verdicts_are_those_of(version: &str, system: Option<&Path>) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/images");
    let recorded = golden.join("verdicts.json");
    let cases: Vec<Value> = serde_json::from_slice(&fs::read(&recorded).unwrap()).unwrap();
    let mut record = Command::new("timeout");
    record.args([RECORDING_TIME_MAX, "python3"]).arg(golden.join("record.py")).arg(version);
    let output = record.args(system).stdin(fs::File::open(recorded).unwrap()).output().unwrap();
    assert!(output.status.success(), "{output:#?}");
    let answers = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<Value> =
        answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let asked = cases.iter().filter(|case| !case[version].is_null());
    let differ: Vec<_> = asked
        .clone()
        .zip(&answers)
        .filter(|(case, now)| case["id"] != now["id"] || case[version] != now[version])
        .collect();
    assert!(differ.is_empty() && answers.len() == asked.count(), "{differ:#?}");
}

/// Takes a minute.
#[test]
fn recorded_verdicts_are_those_of_a_newer_systemd() {
    let Some(system) = system_root() else { return };
    verdicts_are_those_of("262", Some(&system));
}

/// Takes half a minute.
#[test]
fn recorded_verdicts_are_those_of_the_systemd_of_this_machine() {
    let output = Command::new("systemd-sysext").arg("--version").output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    match said.split_whitespace().nth(1) {
        Some("252") => verdicts_are_those_of("252", None),
        version => did_not_run(&format!(
            "this machine has systemd {version:?}, and answers of 252 were recorded"
        )),
    }
}

/// Longest that asking about every recorded extension takes, for `timeout`.
const RECORDING_TIME_MAX: &str = "900";

/// Runs the program below a system root that was made for tests; its directory is the first argument.
const BELOW: &str = r#"
R=$1; shift
mount -t proc proc "$R/proc" && mount --bind /dev "$R/dev" && mount -t tmpfs t "$R/run" && exec chroot "$R" "$@"
"#;

/// Longest that one answer of the other system takes, for `timeout`.
const ANSWER_TIME_MAX: &str = "60";

/// What one program lists as installed the other one cleans up, both ways.
#[test]
fn list_of_what_was_installed_is_understood_by_systemd_and_that_of_systemd_here() {
    let Some(system) = system_root() else { return };
    let system = system.as_path();
    let dir = tempfile::Builder::new().prefix("list").tempdir_in(system).unwrap();
    let root = dir.path().join("root");
    let seen = format!("--root=/{}/root", dir.path().file_name().unwrap().to_str().unwrap());
    let definitions = root.join("usr/lib/sysupdate.d");
    fs::create_dir_all(&definitions).unwrap();
    fs::create_dir_all(root.join("srv/beta-1/inside")).unwrap();
    fs::write(root.join("srv/alpha-1"), "one").unwrap();
    fs::create_dir_all(dir.path().join("desired")).unwrap();
    fs::write(dir.path().join("desired/wish.yaml"), "sysupdate: { as: sysupdate }\n").unwrap();
    let define = |id: &str, kind: &str| {
        let text = format!(
            "[Transfer]\nVerify=no\n[Source]\nType={kind}\nPath=/srv\nMatchPattern={id}-@v\n\
             [Target]\nType={kind}\nPath=/var/lib/{id}\nMatchPattern={id}-@v\n"
        );
        fs::write(definitions.join(format!("{id}.transfer")), text).unwrap();
    };
    let ours = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reconcile"));
        command.arg("--root").arg(&root).arg("--desired").arg(dir.path().join("desired"));
        let output = command.args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:#?}");
    };
    let theirs = |verb: &str| {
        let mut command = Command::new("timeout");
        command.args([ANSWER_TIME_MAX, "unshare", "-m", "--propagation", "private", "sh", "-c"]);
        command.args([BELOW, "sh"]).arg(system).arg("/usr/lib/systemd/systemd-sysupdate");
        let output = command.args([&seen, "--verify=no", verb]).output().unwrap();
        assert!(output.status.success(), "{verb}: {output:#?}");
    };
    let list = || {
        let entries = fs::read_dir(root.join("var/lib/systemd/sysupdate/installdb")).unwrap();
        let mut entries: Vec<_> =
            entries.flatten().map(|e| (e.file_name(), fs::read_link(e.path()).unwrap())).collect();
        entries.sort();
        entries
    };
    let there = |path: &str| root.join("var/lib").join(path).exists();
    let both = || {
        define("alpha", "regular-file");
        define("beta", "directory");
    };
    both();
    ours(&[]);
    let by_us = list();
    assert_eq!(by_us.len(), 2);
    theirs("cleanup");
    assert_eq!(list(), by_us, "nothing is without an owner");
    fs::remove_file(definitions.join("beta.transfer")).unwrap();
    theirs("cleanup");
    assert!(there("alpha/alpha-1") && !there("beta/beta-1"));
    fs::remove_file(definitions.join("alpha.transfer")).unwrap();
    ours(&["sysupdate", "cleanup"]);
    assert!(!there("alpha/alpha-1") && list().is_empty());
    both();
    theirs("update");
    assert_eq!(list(), by_us, "entries are the same whoever makes them");
    ours(&["sysupdate", "cleanup"]);
    assert!(there("alpha/alpha-1") && there("beta/beta-1"));
    fs::remove_file(definitions.join("beta.transfer")).unwrap();
    ours(&["sysupdate", "cleanup"]);
    assert!(there("alpha/alpha-1") && !there("beta/beta-1") && list().len() == 1);
}

/// A listener as systemd sets it up, in a mount namespace of its own, and one pass that installs something.
const LISTENS: &str = r#"
set -eu
mount -t proc proc "$S/proc"
mount --bind /dev "$S/dev"
mount -t tmpfs t "$S/run"
mkdir -p "$S/run/systemd/sysupdate/notify"
chroot "$S" timeout 60 systemd-socket-activate --accept --fdname=varlink \
    -l /run/systemd/sysupdate/notify/io.systemd.sysext systemd-sysext > "$DIR/heard" 2>&1 &
for i in $(seq 100); do
    test -S "$S/run/systemd/sysupdate/notify/io.systemd.sysext" && break
    sleep 0.1
done
mount --bind "$S/run" "$DIR/root/run"
"$RECONCILE" --root "$DIR/root" --desired "$DIR/desired" --effects run
kill $!
wait || true
cat "$DIR/heard"
"#;

#[test]
fn extensions_of_systemd_are_refreshed_by_what_listeners_are_told() {
    let Some(system) = system_root() else { return };
    let dir = tempfile::tempdir().unwrap();
    let definitions = dir.path().join("root/usr/lib/sysupdate.d");
    for place in [&definitions, &dir.path().join("root/run"), &dir.path().join("root/srv")] {
        fs::create_dir_all(place).unwrap();
    }
    fs::create_dir_all(dir.path().join("desired")).unwrap();
    fs::write(dir.path().join("desired/wish.yaml"), "sysupdate: { as: sysupdate }\n").unwrap();
    fs::write(dir.path().join("root/srv/alpha-1"), "one").unwrap();
    let text = "[Source]\nType=regular-file\nPath=/srv\nMatchPattern=alpha-@v\n\
                [Target]\nType=regular-file\nPath=/var/lib/alpha\nMatchPattern=alpha-@v\n";
    fs::write(definitions.join("alpha.transfer"), text).unwrap();
    let output = Command::new("timeout")
        .args(["120", "unshare", "-m", "--propagation", "private", "sh", "-c", LISTENS])
        .env("RECONCILE", env!("CARGO_BIN_EXE_reconcile"))
        .env("S", system)
        .env("DIR", dir.path())
        .output()
        .unwrap();
    let said = format!("{output:#?}");
    assert!(output.status.success(), "{said}");
    // It refreshes both classes, and finds nothing in either.
    let heard = String::from_utf8_lossy(&output.stdout).matches("No extensions found.").count();
    assert_eq!(heard, 2, "{said}");
    assert!(!said.contains("was not told"), "{said}");
}

/// The committed image is what its recipe makes; how it is packed is for the versions of the tools to say.
#[test]
fn image_of_the_demo_is_what_its_recipe_makes() {
    let dir = tempfile::tempdir().unwrap();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let made = dir.path().join("repository");
    let mut recipe = Command::new(examples.join("make-greeting"));
    let output = recipe.arg(&made).arg(env!("CARGO_BIN_EXE_reconcile")).output().unwrap();
    assert!(output.status.success(), "{output:#?}");
    let unpacked = |repository: &Path, name: &str| {
        let (packed, to) = (repository.join("ext/greeting"), dir.path().join(name));
        let packed = fs::read(packed.join("greeting_1.0.0.raw.zst")).unwrap();
        let image = to.with_extension("raw");
        fs::write(&image, zstd::decode_all(packed.as_slice()).unwrap()).unwrap();
        let output = Command::new("unsquashfs").arg("-d").arg(&to).arg(&image).output().unwrap();
        assert!(output.status.success(), "{output:#?}");
        to
    };
    let (ours, recipes) =
        (unpacked(&examples.join("repository"), "ours"), unpacked(&made, "recipes"));
    let output = Command::new("diff").arg("-r").arg(ours).arg(recipes).output().unwrap();
    assert!(output.status.success(), "{output:#?}");
    let index = |repository: &Path| fs::read_to_string(repository.join("ext/index")).unwrap();
    assert_eq!(index(&examples.join("repository")), index(&made));
}
