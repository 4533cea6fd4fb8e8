//! What a real systemd finds without a link, and what it would find twice.

use std::fs;
use std::path::Path;

use super::{Lab, system_root};

/// Directories that no link leads to come, are not kept, and go.
const ALONE: &str = r#"
mkdir -p /run/sysupdate.d
cat > /run/sysupdate.d/tree.transfer <<END
[Transfer]
Verify=no
[Source]
Type=url-tar
Path=file:///run/lab/source
MatchPattern=tree_@v.tar
[Target]
Type=directory
Path=/var/lib/extensions
InstancesMax=2
MatchPattern=tree_@v
END
for list in 1 2 3; do
    use $list
    $R
    test "$(cat /usr/share/reconcile-test/tree)" = $list
done
test ! -e /var/lib/extensions/tree_1
grep -x tree_2 /usr/.systemd-sysext/extensions
if grep -x tree_1 /usr/.systemd-sysext/extensions; then exit 1; fi
$R --dry-run --detailed-exitcode
rm /run/sysupdate.d/tree.transfer
$R --confirm-removals
test ! -e /usr/share/reconcile-test
test -z "$(ls -A /var/lib/extensions)"
"#;

#[test]
fn directory_without_a_link_is_unmerged_by_the_systemd_that_merged_it() {
    let Some(system) = system_root() else { return };
    let lab = Lab::new(Some(&system));
    let wish = "sysupdate: { as: sysupdate, activate: now }\n";
    fs::write(lab.dir.path().join("desired/wish.yaml"), wish).unwrap();
    for version in ["1", "2", "3"] {
        lab.build(("tree", "tree", version), ("sysext", "tar"));
        lab.list(version);
    }
    lab.plays(ALONE);
}

/// Images beside the link that leads to them are refused, moved as it is said, and then gone back from.
const BESIDE: &str = r#"
mkdir -p /run/sysupdate.d
define() {
    cat > /run/sysupdate.d/tree.transfer <<END
[Transfer]
Verify=no
[Source]
Type=url-file
Path=file://$DIR/source
MatchPattern=tree_@v.raw
[Target]
Type=regular-file
MatchPattern=tree_@v.raw
Path=$1
CurrentSymlink=$2
END
}
define /var/lib/extensions tree.raw
cp "$DIR/source/tree_1.raw" /var/lib/extensions
ln -s tree_1.raw /var/lib/extensions/tree.raw
use 2
cp "$DIR/source/good_1.raw" /var/lib/extensions/good.raw
said=$($R) && exit 1
test ! -e /var/lib/extensions/tree_2.raw
eval "$(echo "$said" | grep -o 'mkdir -p [^`]*')"
define /var/lib/extensions.d /var/lib/extensions/tree.raw
$R
test "$(cat /usr/share/reconcile-test/tree)" = 2
test "$(cat /usr/share/reconcile-test/good)" = 1
$R rollback extension/host --reason test
test "$(cat /usr/share/reconcile-test/tree)" = 1
$R --dry-run --detailed-exitcode
systemd-sysext unmerge
"#;

fn moved_out_of_sight(system: Option<&Path>) {
    let lab = Lab::new(system);
    let wish = "sysupdate: { as: sysupdate, activate: now }\n";
    fs::write(lab.dir.path().join("desired/wish.yaml"), wish).unwrap();
    lab.build(("good", "good", "1"), ("sysext", "mksquashfs"));
    for version in ["1", "2"] {
        lab.build(("tree", "tree", version), ("sysext", "mksquashfs"));
        lab.list(version);
    }
    lab.plays(BESIDE);
}

#[test]
fn images_that_the_systemd_of_this_machine_finds_twice_are_moved_first() {
    moved_out_of_sight(None);
}

#[test]
fn images_that_a_newer_systemd_finds_twice_are_moved_first() {
    let Some(system) = system_root() else { return };
    moved_out_of_sight(Some(&system));
}
