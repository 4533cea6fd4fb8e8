//! An extension image that the hardened service merges through the host's systemd-sysext.

use std::fs;
use std::process::Command;

use super::machine::Machine;

/// Makes an image with one file that says its version, and lists it.
fn publish(machine: &Machine, version: &str) {
    let tree = tempfile::tempdir().unwrap();
    let release = tree.path().join("usr/lib/extension-release.d");
    fs::create_dir_all(&release).unwrap();
    fs::write(release.join("extension-release.greeting"), "ID=_any\n").unwrap();
    let share = tree.path().join("usr/share/greeting");
    fs::create_dir_all(&share).unwrap();
    fs::write(share.join("version"), version).unwrap();
    fs::create_dir_all(machine.share("images")).unwrap();
    let image = machine.share("images").join(format!("greeting_{version}.raw"));
    let options = ["-quiet", "-noappend", "-all-root"];
    let made = Command::new("mksquashfs").arg(tree.path()).arg(image).args(options).output();
    assert!(made.unwrap().status.success());
    machine.run("cd /share/images && sha256sum *.raw > SHA256SUMS");
}

const WISH: &str = "extensions:\n  greeting:\n    source: { sysupdate: { path: /share/images, match: greeting_@v.raw } }\n";

fn merged(version: &str) -> String {
    format!("test \"$(cat /usr/share/greeting/version)\" = {version}")
}

#[test]
fn hardened_service_merges_an_extension_and_its_upgrade() {
    let machine = Machine::boot();
    publish(&machine, "1.0.0");
    machine.write("/etc/reconcile/desired-state/wish.yaml", WISH);
    machine.run("reconcile units --install");
    machine.until(&merged("1.0.0"));
    publish(&machine, "1.1.0");
    machine.run("reconcile request --wait");
    machine.run(&merged("1.1.0"));
    let status = machine.run("systemd-sysext status --json=short");
    assert!(status.contains("\"greeting\""), "{status}");

    // systemd-sysext.service is not enabled: after a reboot nobody else merges.
    machine.crash_and_boot();
    machine.until(&merged("1.1.0"));
    machine.until("reconcile --dry-run | grep '^No changes'");
    machine.run("! reconcile status | grep -q NotMerged");
}
