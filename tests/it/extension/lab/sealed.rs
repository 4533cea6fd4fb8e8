//! Extensions of `/usr` beside a confext, which makes `/etc` read-only as long as it is merged.

use std::fs;

use super::{Lab, system_root};

/// A sysext is upgraded, put back and removed while a confext is merged, and in the pass that merges it.
const BESIDE: &str = r#"
use first
$R
test "$(cat /etc/reconcile-test/image)" = 1
test "$(cat /usr/share/reconcile-test/squashfs)" = 1
if touch /etc/extensions/probe; then exit 1; fi
use second
$R
test "$(cat /usr/share/reconcile-test/squashfs)" = 2
use third
refused > "$DIR/said"
grep "ROLLED BACK" "$DIR/said"
test "$(cat /etc/reconcile-test/image)" = 3
test "$(cat /usr/share/reconcile-test/squashfs)" = 2
$R doctor
$R rollback extension/squashfs --reason test
test "$(cat /usr/share/reconcile-test/squashfs)" = 1
echo "extensions: {}" > "$DIR/desired/wish.yaml"
$R --confirm-removals
test -z "$(ls /var/lib/extensions)"
test ! -e /etc/reconcile-test
"#;

#[test]
fn sysext_is_upgraded_and_put_back_while_a_confext_is_merged() {
    let Some(system) = system_root() else { return };
    let lab = Lab::new(Some(&system));
    let health = "    health:\n      exec: [/bin/sh, -c, \"! grep -q 3 /usr/share/reconcile-test/squashfs\"]\n      \
                  interval: 100ms\n      stable: 100ms\n      deadline: 400ms\n";
    lab.wish(&[("image", "    class: confext\n", ".raw"), ("squashfs", health, ".raw")]);
    for (version, list) in [("1", "first"), ("2", "second"), ("3", "third")] {
        lab.build(("image", "image", version), ("confext", "mksquashfs"));
        lab.build(("squashfs", "squashfs", version), ("sysext", "mksquashfs"));
        lab.list(list);
    }
    lab.plays(BESIDE);
}

/// A definition names a link below `/etc`.
const NAMED: &str = r#"
mkdir -p /run/sysupdate.part.d /etc/extensions
cat > /run/sysupdate.part.d/part.transfer <<END
[Transfer]
Verify=no
[Source]
Type=url-file
Path=file:///run/lab/source
MatchPattern=part_@v.raw
[Target]
Type=regular-file
Path=/var/lib/parts
MatchPattern=part_@v.raw
CurrentSymlink=/etc/extensions/part.raw
END
printf "[Feature]\nDescription=x\n" > /run/sysupdate.part.d/more.feature
use first
refused > "$DIR/said"
grep "extension/image merges a confext in the same pass, which makes /etc read-only" "$DIR/said"
test "$(cat /etc/reconcile-test/image)" = 1
refused > "$DIR/said"
cause="a merged confext makes /etc read-only; .systemd-confext unmerge. first"
grep "$cause, or put the link into /var/lib/extensions" "$DIR/said"
test ! -e /var/lib/parts
if $R doctor > "$DIR/said"; then exit 1; fi
grep "BAD  links of extension/part: .*$cause" "$DIR/said"
if $R features enable more 2> "$DIR/said"; then exit 1; fi
grep "$cause" "$DIR/said"
systemd-confext unmerge
$R --only extension/part
test "$(cat /usr/share/reconcile-test/part)" = 1
$R
test "$(cat /etc/reconcile-test/image)" = 1
$R --dry-run --detailed-exitcode
rm /run/sysupdate.part.d/part.transfer
refused --confirm-removals > "$DIR/said"
grep "$cause" "$DIR/said"
systemd-confext unmerge
$R --confirm-removals
test ! -L /etc/extensions/part.raw
test ! -e /usr/share/reconcile-test
"#;

#[test]
fn link_below_etc_is_left_alone_before_anything_is_fetched_while_a_confext_is_merged() {
    let Some(system) = system_root() else { return };
    let lab = Lab::new(Some(&system));
    lab.wish(&[("image", "    class: confext\n", ".raw")]);
    let wish = lab.dir.path().join("desired/wish.yaml");
    let text = fs::read_to_string(&wish).unwrap() + "sysupdate: { as: sysupdate, activate: now }\n";
    fs::write(wish, text).unwrap();
    lab.build(("image", "image", "1"), ("confext", "mksquashfs"));
    lab.build(("part", "part", "1"), ("sysext", "mksquashfs"));
    lab.list("first");
    lab.plays(NAMED);
}
