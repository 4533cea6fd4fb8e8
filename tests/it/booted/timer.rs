//! The other way: a oneshot service that a timer and a path unit start.

use super::fleet::{Fleet, weather};
use super::machine::Machine;

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

    let often = "[Timer]\nOnUnitInactiveSec=1s\nRandomizedDelaySec=0\nOnActiveSec=1s\n";
    machine.write("/etc/systemd/system/reconcile.timer.d/often.conf", often);
    machine.run("systemctl daemon-reload; systemctl restart reconcile.timer");
    machine.run("rm -r /opt/weather/bin");
    machine.until("/opt/weather/bin/weather | grep 0.3.0");
    machine.until(&format!("grep -q '^reconcile_resources' {METRICS}"));
}
