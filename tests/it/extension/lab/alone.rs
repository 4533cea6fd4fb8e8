//! Directories that systemd finds by themselves, merged and unmerged by a real systemd.

use std::fs;

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
