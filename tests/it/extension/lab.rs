//! Extensions of both classes and every kind of image, merged by a real systemd.
//!
//! Each test runs in a mount namespace of its own: on this machine's systemd, and below the root of another system
//! whose systemd is new enough for extensions of the configuration. Nothing of it can be seen outside.

mod alone;
mod sealed;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

/// Longest that a script runs.
const SCRIPT_TIME_MAX: &str = "120";

/// Runs before a script: `$R` is the program under test.
pub(super) const HERE: &str = r#"
set -eu
mount --make-rshared /
for d in /etc/extensions /var/lib/extensions /var/lib/extensions.d /var/lib/reconcile /var/cache/reconcile; do
    mkdir -p "$d"
    mount -t tmpfs t "$d"
done
mount -t tmpfs t /run
R="$RECONCILE --desired $DIR/desired"
"#;

/// The same below the root of another system, which stays as it is.
const BELOW: &str = r#"
set -eu
mount --bind "$S" "$S"
mount -t proc proc "$S/proc"
mount -t sysfs sysfs "$S/sys"
mount --rbind /dev "$S/dev"
mount -t tmpfs t "$S/run"
cp -a "$S/etc" "$S/run/etc"
mount --bind "$S/run/etc" "$S/etc"
mount -t tmpfs t "$S/var/lib"
mount -t tmpfs t "$S/var/cache"
mkdir -p "$S/run/reconcile" "$S/run/lab" "$S/var/lib/extensions" "$S/var/lib/confexts"
mount --bind "$(dirname "$RECONCILE")" "$S/run/reconcile"
mount --bind "$DIR" "$S/run/lab"
mount --make-rshared "$S"
exec chroot "$S" env DIR=/run/lab R="/run/reconcile/reconcile --desired /run/lab/desired" sh -euc "$SCRIPT"
"#;

/// What scripts are written in: which list counts, and a pass that must not succeed.
const WORDS: &str = r#"
use() { cp "$DIR/lists/$1" "$DIR/source/SHA256SUMS"; }
refused() { if $R; then exit 1; fi; }
set -x
"#;

/// What is said where there is no system that has a systemd with both classes.
const NO_SYSTEM: &str = "RECONCILE_SYSTEM_ROOT names no system with a newer systemd. Make one, as root, by\n    \
     tests/interop/system-root DIRECTORY\nand run the tests once more with RECONCILE_SYSTEM_ROOT=DIRECTORY";

/// Says past the test harness, which swallows what tests that pass have printed, that a test did not run.
pub(super) fn did_not_run(why: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    let _ = writeln!(std::io::stderr(), "\n{test} DID NOT RUN: {why}");
}

/// Another system with its own systemd, where one was made.
pub(super) fn system_root() -> Option<PathBuf> {
    let system = std::env::var_os("RECONCILE_SYSTEM_ROOT").map(PathBuf::from);
    if system.is_none() {
        did_not_run(NO_SYSTEM);
    }
    system
}

/// A directory with a source, and a wish of extensions: name, more lines of YAML, and the pattern's end.
struct Lab {
    dir: tempfile::TempDir,
    system: Option<PathBuf>,
}

impl Lab {
    fn new(system: Option<&Path>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["source", "desired", "lists"] {
            fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        Self { dir, system: system.map(Path::to_owned) }
    }

    /// Where the script sees the directory.
    fn seen(&self) -> String {
        self.system
            .as_ref()
            .map_or_else(|| self.dir.path().display().to_string(), |_| "/run/lab".to_owned())
    }

    fn wish(&self, extensions: &[(&str, &str, &str)]) {
        let mut text = "extensions:\n".to_owned();
        for (name, more, end) in extensions {
            text.push_str(&format!(
                "  {name}:\n    source: {{ sysupdate: {{ path: {}/source, match: \"{name}_@v{end}\" }} }}\n{more}",
                self.seen()
            ));
        }
        fs::write(self.dir.path().join("desired/wish.yaml"), text).unwrap();
    }

    /// An image that the tool makes, of an extension with one file that says its version; `inside` is the name in it.
    fn build(&self, (name, inside, version): (&str, &str, &str), (class, tool): (&str, &str)) {
        let tree = self.dir.path().join(format!("tree-{name}-{version}-{tool}"));
        let (release, place) = match class {
            "confext" => ("etc/extension-release.d", "etc/reconcile-test"),
            _ => ("usr/lib/extension-release.d", "usr/share/reconcile-test"),
        };
        fs::create_dir_all(tree.join(release)).unwrap();
        fs::create_dir_all(tree.join(place)).unwrap();
        let file = tree.join(release).join(format!("extension-release.{inside}"));
        fs::write(file, "ID=_any\n").unwrap();
        fs::write(tree.join(place).join(name), version).unwrap();
        let image =
            |end: &str| self.dir.path().join("source").join(format!("{name}_{version}{end}"));
        let mut command = Command::new(tool);
        match tool {
            "mksquashfs" => {
                command.arg(&tree).arg(image(".raw")).args(["-quiet", "-noappend", "-all-root"])
            }
            "mke2fs" => command
                .args(["-q", "-F", "-t", "ext4", "-d"])
                .arg(&tree)
                .arg(image(".raw"))
                .arg("2M"),
            "tar" => command.arg("-cf").arg(image(".tar")).arg("-C").arg(&tree).arg("."),
            _ => command.arg(image(".raw")).arg(&tree),
        };
        let made = command.output().unwrap();
        assert!(made.status.success(), "{made:#?}");
    }

    /// Lists what the source has by now, for the script to make it the list that counts.
    fn list(&self, as_what: &str) {
        let mut sums = String::new();
        for entry in fs::read_dir(self.dir.path().join("source")).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            if name != "SHA256SUMS" {
                let digest = Sha256::digest(fs::read(entry.path()).unwrap());
                sums.push_str(&format!("{}  {name}\n", HEXLOWER.encode(&digest)));
            }
        }
        fs::write(self.dir.path().join("lists").join(as_what), sums).unwrap();
    }

    #[track_caller]
    fn plays(&self, script: &str) {
        let output = self.play(script);
        assert!(output.status.success(), "{output:#?}");
    }

    fn play(&self, script: &str) -> Output {
        let script = format!("{WORDS}{script}");
        let mut command = Command::new("timeout");
        command.args([SCRIPT_TIME_MAX, "unshare", "-m", "--propagation", "private", "sh", "-c"]);
        match &self.system {
            Some(system) => command.arg(BELOW).env("S", system).env("SCRIPT", script),
            None => command.arg(format!("{HERE}{script}")),
        };
        command.env("RECONCILE", env!("CARGO_BIN_EXE_reconcile")).env("DIR", self.dir.path());
        command.output().unwrap()
    }
}

/// An image of every kind, at first and upgraded.
const EVERY_KIND: &str = r#"
use first
$R
for kind in squashfs erofs ext4 directory; do
    test "$(cat /usr/share/reconcile-test/$kind)" = 1
done
test -d "$(readlink -f /var/lib/extensions/directory)"
$R --detailed-exitcode --dry-run
use second
$R
for kind in squashfs erofs ext4 directory; do
    test "$(cat /usr/share/reconcile-test/$kind)" = 2
    $R rollback extension/$kind --reason test
    test "$(cat /usr/share/reconcile-test/$kind)" = 1
done
systemd-sysext unmerge
"#;

fn every_kind(system: Option<&Path>) {
    let lab = Lab::new(system);
    let kinds = [
        ("squashfs", "mksquashfs"),
        ("erofs", "mkfs.erofs"),
        ("ext4", "mke2fs"),
        ("directory", "tar"),
    ];
    lab.wish(&[
        ("squashfs", "", ".raw"),
        ("erofs", "", ".raw"),
        ("ext4", "", ".raw"),
        ("directory", "    layout: directory\n", ".tar"),
    ]);
    for (version, list) in [("1", "first"), ("2", "second")] {
        for (name, tool) in kinds {
            lab.build((name, name, version), ("sysext", tool));
        }
        lab.list(list);
    }
    lab.plays(EVERY_KIND);
}

#[test]
fn images_of_every_kind_are_merged_by_the_systemd_of_this_machine() {
    every_kind(None);
}

#[test]
fn images_of_every_kind_are_merged_by_a_newer_systemd() {
    let Some(system) = system_root() else { return };
    every_kind(Some(&system));
}

/// The whole life of a confext: installed, upgraded, refused, in the way of another one, gone back, gone.
const CONFEXT: &str = r#"
use first
$R
test "$(cat /etc/reconcile-test/image)" = 1
test "$(cat /etc/reconcile-test/tree)" = 1
$R --detailed-exitcode --dry-run
use second
$R
test "$(cat /etc/reconcile-test/image)" = 2
test "$(cat /etc/reconcile-test/tree)" = 2
use third
refused
test "$(cat /etc/reconcile-test/image)" = 2
use second
head -c 100000 /dev/urandom > /var/lib/confexts/junk.raw
use fourth
refused
test "$(basename "$(readlink /var/lib/confexts/image.raw)")" = image_2.raw
test "$(cat /etc/reconcile-test/image)" = 2
rm /var/lib/confexts/junk.raw
$R
test "$(cat /etc/reconcile-test/image)" = 4
$R rollback extension/image --reason test
test "$(cat /etc/reconcile-test/image)" = 2
echo "extensions: {}" > "$DIR/desired/wish.yaml"
$R --confirm-removals
test ! -e /etc/reconcile-test
test -z "$(ls /var/lib/confexts)"
"#;

#[test]
fn confexts_are_merged_upgraded_put_back_and_taken_away() {
    let Some(system) = system_root() else { return };
    let lab = Lab::new(Some(&system));
    let class = "    class: confext\n";
    let tree = "    class: confext\n    layout: directory\n";
    lab.wish(&[("image", class, ".raw"), ("tree", tree, ".tar")]);
    for (version, inside, list) in [
        ("1", "image", "first"),
        ("2", "image", "second"),
        ("3", "other", "third"),
        ("4", "image", "fourth"),
    ] {
        lab.build(("image", inside, version), ("confext", "mksquashfs"));
        if version < "3" {
            lab.build(("tree", "tree", version), ("confext", "tar"));
        }
        lab.list(list);
    }
    lab.plays(CONFEXT);
}

/// One component with an image for each class.
const BOTH: &str = r#"
use first
$R
test "$(cat /usr/share/reconcile-test/both)" = 1
test "$(cat /etc/reconcile-test/etc)" = 1
use second
head -c 100000 /dev/urandom > /run/confexts/junk.raw
refused
test "$(cat /usr/share/reconcile-test/both)" = 1
test "$(cat /etc/reconcile-test/etc)" = 1
rm /run/confexts/junk.raw
$R
test "$(cat /usr/share/reconcile-test/both)" = 2
test "$(cat /etc/reconcile-test/etc)" = 2
systemd-confext unmerge
systemd-sysext unmerge
"#;

#[test]
fn images_of_one_component_are_merged_each_as_its_class() {
    let Some(system) = system_root() else { return };
    let lab = Lab::new(Some(&system));
    fs::write(
        lab.dir.path().join("desired/wish.yaml"),
        "sysupdate: { as: sysupdate, activate: now }\n",
    )
    .unwrap();
    let mut script = "mkdir -p /run/sysupdate.d /run/confexts\n".to_owned();
    for (name, place) in [("both", "extensions"), ("etc", "confexts")] {
        script.push_str(&format!(
            "cat > /run/sysupdate.d/{name}.transfer <<END\n[Transfer]\nVerify=no\n[Source]\nType=url-file\n\
             Path=file:///run/lab/source\nMatchPattern={name}_@v.raw\n[Target]\nType=regular-file\n\
             Path=/var/lib/{place}.d\nCurrentSymlink=/var/lib/{place}/{name}.raw\nEND\n"
        ));
    }
    for (version, list) in [("1", "first"), ("2", "second")] {
        lab.build(("both", "both", version), ("sysext", "mksquashfs"));
        lab.build(("etc", "etc", version), ("confext", "mkfs.erofs"));
        lab.list(list);
    }
    lab.plays(&format!("{script}{BOTH}"));
}

/// Somebody else's extension of the same name, merged before ours comes.
const COLLISION: &str = r#"
use first
theirs=$RUN/squashfs
mkdir -p $theirs/$TREE/extension-release.d $theirs/$SHARE
echo ID=_any > $theirs/$TREE/extension-release.d/extension-release.squashfs
echo theirs > $theirs/$SHARE/theirs
$PROGRAM merge
test "$(cat /$SHARE/theirs)" = theirs
refused > "$DIR/said"
grep "$theirs is an extension of the same name as $OURS" "$DIR/said"
test "$(cat /$SHARE/theirs)" = theirs
test ! -e "$OURS"
test -z "$(ls /var/lib/extensions.d 2>/dev/null)"
rm -r $theirs
$R
test "$(cat /$SHARE/squashfs)" = 1
$PROGRAM unmerge
"#;

#[test]
fn name_of_an_extension_that_is_merged_already_is_left_to_it() {
    let lab = Lab::new(None);
    lab.wish(&[("squashfs", "", ".raw")]);
    lab.build(("squashfs", "squashfs", "1"), ("sysext", "mksquashfs"));
    lab.list("first");
    let names = "RUN=/run/extensions TREE=usr/lib SHARE=usr/share/reconcile-test PROGRAM=systemd-sysext \
                 OURS=/var/lib/extensions/squashfs.raw\n";
    lab.plays(&format!("{names}{COLLISION}"));
}

#[test]
fn name_of_a_confext_that_is_merged_already_is_left_to_it() {
    let Some(system) = system_root() else { return };
    let lab = Lab::new(Some(&system));
    lab.wish(&[("squashfs", "    class: confext\n", ".raw")]);
    lab.build(("squashfs", "squashfs", "1"), ("confext", "mksquashfs"));
    lab.list("first");
    let names = "RUN=/run/confexts TREE=etc SHARE=etc/reconcile-test PROGRAM=systemd-confext \
                 OURS=/var/lib/confexts/squashfs.raw\n";
    lab.plays(&format!("{names}{COLLISION}"));
}

/// Images for the next boot: what the last one merged is in use until then.
const NEXT_BOOT: &str = r#"
use first
$R
systemd-sysext merge
use second
$R
use third
$R
test "$(cat /usr/share/reconcile-test/ext4)" = 1
test -e /var/lib/extensions.d/ext4/ext4_1.raw
test "$(basename "$(readlink /var/lib/extensions/ext4.raw)")" = ext4_3.raw
systemd-sysext refresh
test "$(cat /usr/share/reconcile-test/ext4)" = 3
$R
test ! -e /var/lib/extensions.d/ext4/ext4_1.raw
systemd-sysext unmerge
"#;

#[test]
fn image_that_is_merged_stays_while_newer_ones_wait_for_the_next_boot() {
    let lab = Lab::new(None);
    lab.wish(&[("ext4", "    retain: 1\n    activate: boot\n", ".raw")]);
    for (version, list) in [("1", "first"), ("2", "second"), ("3", "third")] {
        lab.build(("ext4", "ext4", version), ("sysext", "mke2fs"));
        lab.list(list);
    }
    lab.plays(NEXT_BOOT);
}

/// Images that systemd picks by itself come, are replaced, gone back from, and go.
const PICKED: &str = r#"
use first
$R
test "$(cat /usr/share/reconcile-test/squashfs)" = 1
use second
$R
test "$(cat /usr/share/reconcile-test/squashfs)" = 2
$R rollback extension/squashfs --reason test
test "$(cat /usr/share/reconcile-test/squashfs)" = 1
systemd-sysext refresh
test "$(cat /usr/share/reconcile-test/squashfs)" = 1
$R --dry-run --detailed-exitcode
$R resume extension/squashfs
$R
test "$(cat /usr/share/reconcile-test/squashfs)" = 2
echo "extensions: {}" > "$DIR/desired/wish.yaml"
$R --confirm-removals
test ! -e /usr/share/reconcile-test
test -z "$(ls -A /var/lib/extensions)"
"#;

#[test]
fn image_that_systemd_picks_is_replaced_gone_back_from_and_unmerged() {
    let Some(system) = system_root() else { return };
    let lab = Lab::new(Some(&system));
    lab.wish(&[("squashfs", "    layout: versioned\n", ".raw")]);
    for (version, list) in [("1", "first"), ("2", "second")] {
        lab.build(("squashfs", "squashfs", version), ("sysext", "mksquashfs"));
        lab.list(list);
    }
    lab.plays(PICKED);
}
