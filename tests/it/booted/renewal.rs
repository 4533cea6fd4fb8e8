//! The agent keeps itself as desired: systemd sees one service that never fails.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::machine::Machine;

/// The agent as its own app, where its package has put it.
const WISH: &str = "apps:
  agent:
    layout: { file: /usr/bin/reconcile }
    source: { selfupdate: { api: /share/public, cmd: agent, platform: linux-amd64 } }
    health: { exec: [/usr/bin/reconcile, validate, /etc/reconcile/desired-state], interval: 100ms, stable: 100ms, deadline: 10s }
";

/// What starts, and is told to have understood everything.
const DOES_NOTHING: &str =
    "#!/bin/sh\ncase \"$*\" in --version) echo reconcile 4.0.0 ;; *status) ;; *) exit 1 ;; esac\n";

/// What starts, and does not understand what is here.
const UNDERSTANDS_NOTHING: &str =
    "#!/bin/sh\n[ \"$1\" = --version ] && echo reconcile 3.0.0 || exit 78\n";

/// Offers `/share/next` and nothing else: a patch from one build without optimization to the next takes minutes.
fn publish(machine: &Machine, version: &str) {
    machine.run(&format!(
        "rm -rf /share/public; reconcile publish selfupdate /share/next {version} --platform linux-amd64 --out \
         /share/public/agent"
    ));
}

fn publish_script(machine: &Machine, version: &str, script: &str) {
    fs::write(machine.share("next"), script).unwrap();
    fs::set_permissions(machine.share("next"), fs::Permissions::from_mode(0o755)).unwrap();
    publish(machine, version);
}

/// What would be another after a failure or a restart.
fn service(machine: &Machine) -> [String; 4] {
    ["MainPID", "NRestarts", "Result", "ActiveState"].map(|name| machine.property(name))
}

#[test]
fn agent_goes_on_as_its_own_new_release_and_not_as_one_that_does_not_work() {
    let machine = Machine::boot();
    machine.write("/etc/reconcile/desired-state/agent.yaml", WISH);
    // Other bytes, and the same program.
    machine.run("cp /usr/bin/reconcile /share/next; printf x >> /share/next");
    publish(&machine, "1.0.0");
    machine.run("reconcile units --install");
    machine.until("cmp /usr/bin/reconcile /share/next");
    let running = "test $(stat -Lc %i /proc/$(systemctl show -P MainPID reconcile)/exe) = $(stat -c %i /usr/bin/reconcile)";
    machine.until(running);
    machine.until("systemctl show -P StatusText reconcile | grep -q 'next pass'");
    let before = service(&machine);
    assert_eq!(before[1..], ["0", "success", "active"]);

    machine.run("printf y >> /share/next");
    publish(&machine, "2.0.0");
    machine.run("reconcile request --wait");
    machine.until("cmp /usr/bin/reconcile /share/next");
    machine.until(running);
    machine.until("systemctl show -P StatusText reconcile | grep -q 'next pass'");
    assert_eq!(service(&machine), before, "the same process, and nothing has failed");

    publish_script(&machine, "3.0.0", UNDERSTANDS_NOTHING);
    machine.run("reconcile request --wait || test $? = 1");
    machine.run("reconcile status | grep 'app/agent .*2.0.0'");
    publish_script(&machine, "4.0.0", DOES_NOTHING);
    machine.run("reconcile request --wait || test $? = 6");
    machine.run("reconcile status | grep 'HealthCheckFailed): 4.0.0'");
    // What was gone back to is a copy, and what runs is the same.
    machine.run("cmp /proc/$(systemctl show -P MainPID reconcile)/exe /usr/bin/reconcile");
    machine.run("reconcile request --wait || test $? = 3");
    machine.run("reconcile validate /etc/reconcile/desired-state");
    assert_eq!(service(&machine), before, "the same process, and nothing has failed");
    machine.run("! journalctl -u reconcile | grep -q 'Failed with result'");
}
