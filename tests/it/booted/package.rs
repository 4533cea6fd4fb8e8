//! The Debian package: what it brings, that its own units run, and what it leaves behind.

use super::fleet::{AGENT, Fleet, weather};
use super::machine::Machine;

#[test]
fn package_brings_a_service_that_runs_and_goes_without_a_trace() {
    let machine = Machine::boot();
    let fleet = Fleet::new(&machine);
    fleet.push(&weather("0.3.0", ""));
    assert_eq!(machine.property("ActiveState"), "inactive", "installing starts nothing");
    machine.write("/etc/reconcile/agent.yaml", AGENT);
    machine.run("systemctl enable --now reconcile");
    machine.run("reconcile request --wait");
    machine.run("/opt/weather/bin/weather | grep 0.3.0");
    for file in [
        "/usr/share/man/man1/reconcile.1.gz",
        "/usr/share/bash-completion/completions/reconcile",
        "/usr/share/reconcile/schema/desired-state.v1.json",
        "/usr/share/doc/reconcile/copyright",
        "/usr/lib/systemd/system/reconcile.timer",
    ] {
        machine.run(&format!(
            "test -f {file} && test \"$(stat -c '%a %U:%G' {file})\" = '644 root:root'"
        ));
    }
    machine.run("dpkg --verify reconcile");

    machine.run("dpkg -i /share/reconcile.deb");
    machine.run("systemctl is-active reconcile");
    machine.run("dpkg -r reconcile");
    machine.run("! systemctl is-active reconcile && ! test -e /usr/bin/reconcile");
    machine.run("test -d /var/lib/reconcile && test -e /etc/reconcile/agent.yaml");
    machine.run("dpkg -i /share/reconcile.deb && dpkg --purge reconcile");
    machine.run("! test -e /var/lib/reconcile && ! test -e /var/cache/reconcile");
    machine.run("/opt/weather/bin/weather | grep 0.3.0");
}
