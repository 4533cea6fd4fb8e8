//! The real systemd-sysext of this machine, in a mount namespace of its own, as root.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

/// Runs before the program under test: nothing it does can be seen outside.
const ISOLATED: &str = r#"
set -eu
mount --make-rshared /
for d in /etc/extensions /var/lib/extensions /var/lib/extensions.d /var/lib/reconcile /var/cache/reconcile; do
    mkdir -p "$d"
    mount -t tmpfs t "$d"
done
mount -t tmpfs t /run
R="$RECONCILE --desired $DIR/desired"
"#;

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
        .args(["-m", "--propagation", "private", "sh", "-c", &format!("{ISOLATED}{script}")])
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
! $R
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
! $R
test "$(readlink /etc/extensions/alpha.raw)" = ../../var/lib/extensions.d/alpha/alpha_1.0.0.raw
test "$(cat /usr/share/reconcile-test/alpha)" = 1.0.0
rm /var/lib/extensions/junk.raw
$R
test "$(readlink /etc/extensions/alpha.raw)" = ../../var/lib/extensions.d/alpha/alpha_1.1.0.raw
systemd-sysext unmerge
"#;
    let output = isolated(dir.path(), script);
    assert!(output.status.success(), "{output:#?}");
}
