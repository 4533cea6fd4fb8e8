//! The other way: a oneshot service that a timer and a path unit start.

use super::fleet::{AGENT, Fleet, weather};
use super::machine::Machine;

/// Makes the timer come round each second.
const OFTEN: &str = "[Timer]\nOnUnitInactiveSec=1s\nRandomizedDelaySec=0\nOnActiveSec=1s\n";

const METRICS: &str = "/var/lib/prometheus/node-exporter/reconcile.prom";

#[test]
fn timer_repairs_and_path_unit_sees_the_last_of_many_edits() {
    let machine = Machine::boot();
    Fleet::new(&machine);
    let wish = "/etc/reconcile/desired-state/wish.yaml";
    machine.write(wish, &weather("0.3.0", ""));
    machine.run(&format!("reconcile units --install --mode timer --metrics-file {METRICS}"));
    machine.run("systemctl start reconcile.service");
    machine.run("/opt/weather/bin/weather | grep 0.3.0");

    // A path unit alone is deaf while what it starts is running.
    machine.write(wish, &weather("0.3.0", "    run: [[touch, /share/hook]]\n"));
    let last = weather("0.9.2", "    run: [[sh, -c, \"touch /share/hook; sleep 1\"]]\n");
    machine.write(wish, &last);
    machine.until("test -e /share/hook");
    machine.write(wish, &weather("0.3.0", ""));
    machine.until("/opt/weather/bin/weather | grep 0.3.0");

    machine.write("/etc/systemd/system/reconcile.timer.d/often.conf", OFTEN);
    machine.run("systemctl daemon-reload; systemctl restart reconcile.timer");
    machine.run("rm -r /opt/weather/bin");
    machine.until("/opt/weather/bin/weather | grep 0.3.0");
    machine.until(&format!("grep -q '^reconcile_resources' {METRICS}"));
}

#[test]
fn timer_follows_a_repository() {
    let machine = Machine::boot();
    let fleet = Fleet::new(&machine);
    fleet.push(&weather("0.3.0", ""));
    machine.write("/etc/reconcile/agent.yaml", AGENT);
    machine.write("/etc/systemd/system/reconcile.timer.d/often.conf", OFTEN);
    machine.run("reconcile units --install --mode timer");
    machine.until("/opt/weather/bin/weather | grep 0.3.0");
    fleet.push(&weather("0.9.2", ""));
    machine.until("/opt/weather/bin/weather | grep 0.9.2");
    // The configuration says which repository: an edit there needs no new units.
    machine.run("! grep -r fleet.git /etc/systemd/system");
}
